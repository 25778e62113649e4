//! A look at the paths that a job names, before it runs: what is missing, unreadable or in the way.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};
use regent_protocol::spec::{FilesSinkSpec, FilesSourceSpec, IfExists, KafkaSinkSpec};
use regent_protocol::v1::{InspectPaths, PathProblem, PathsInspected, VertexPlan};

use super::error::TaskError;
use super::operators::config;
use super::remote::{Remote, is_remote};
use super::sources::{check_header, list_files, resolve_files};

/// Headers of a source that are looked at; the rest is found out by running.
const HEADERS_MAX: usize = 1000;
/// Final files below one path that are listed; more is a problem of its own.
const EXISTING_MAX: usize = 100_000;

/// Looks at every vertex. Blocking.
pub(crate) fn inspect(order: &InspectPaths, remote: &Remote) -> PathsInspected {
    let mut answer = PathsInspected {
        request: order.request,
        ..PathsInspected::default()
    };
    for vertex in &order.vertices {
        let looked = match (vertex.kind.as_str(), vertex.operator.as_str()) {
            ("source", "files") => inspect_source(vertex, remote),
            ("sink", "files") => inspect_sink(vertex, remote, &mut answer.existing_files),
            ("sink", "kafka") => inspect_staging(vertex),
            _ => Ok(()),
        };
        if let Err(error) = looked {
            answer.problems.push(problem(vertex, &error));
        }
    }
    answer
}

/// A column that isn't there is a matter of the job file, and of the names that would be right.
fn problem(vertex: &VertexPlan, error: &TaskError) -> PathProblem {
    let (key, valid) = match error {
        TaskError::NoColumn { column, header, .. } => {
            (vec!["columns".to_owned(), column.clone()], header.clone())
        }
        _ => Default::default(),
    };
    PathProblem {
        vertex: vertex.id.clone(),
        message: error.to_string(),
        key,
        valid,
    }
}

fn inspect_source(vertex: &VertexPlan, remote: &Remote) -> Result<(), TaskError> {
    let spec: FilesSourceSpec = config(vertex)?;
    let files = match spec.discovery_interval_ms {
        // They may come later.
        Some(_) => list_files(&spec.path, Some(remote))?,
        None => resolve_files(&spec.path, Some(remote))?,
    };
    for file in files.iter().take(HEADERS_MAX) {
        check_header(&spec, &file.path, remote)?;
    }
    Ok(())
}

/// Messages that wait need a place; brokers are asked when the sink begins.
fn inspect_staging(vertex: &VertexPlan) -> Result<(), TaskError> {
    let spec: KafkaSinkSpec = config(vertex)?;
    match spec.staging {
        Some(staging) if !is_remote(&staging) => check_writable(Path::new(&staging)),
        _ => Ok(()),
    }
}

fn inspect_sink(
    vertex: &VertexPlan,
    remote: &Remote,
    existing: &mut Vec<String>,
) -> Result<(), TaskError> {
    let spec: FilesSinkSpec = config(vertex)?;
    let path = Path::new(&spec.path);
    if !is_remote(&spec.path) {
        check_writable(path)?;
    }
    if spec.if_exists == IfExists::Append {
        return Ok(());
    }
    let mut found = Vec::new();
    if is_remote(&spec.path) {
        found = final_objects(&spec.path, remote)?;
    } else {
        final_files(path, &mut found).map_err(|e| TaskError::io("listing", path, &e))?;
    }
    if found.len() > EXISTING_MAX {
        return Err(TaskError::task(format!(
            "{} holds more than {EXISTING_MAX} files",
            spec.path
        )));
    }
    match (spec.if_exists, found.first()) {
        (IfExists::Refuse, Some(first)) => Err(TaskError::task(format!(
            "{} holds output already ({}); name another path, or set if-exists to append or \
             replace",
            spec.path,
            first.display()
        ))),
        (IfExists::Replace, Some(_)) => {
            let names = found.iter().map(|p| p.to_string_lossy().into_owned());
            existing.extend(names);
            Ok(())
        }
        _ => Ok(()),
    }
}

/// The directory, or the nearest one above it that exists, must let files be made in it.
fn check_writable(path: &Path) -> Result<(), TaskError> {
    let fail = |path: &Path, error: &io::Error| TaskError::io("writing below", path, error);
    for place in path.ancestors() {
        match fs::metadata(place) {
            Ok(found) if found.is_dir() => {
                let rights = AccessFlags::W_OK | AccessFlags::X_OK;
                return access(place, rights).map_err(|errno| fail(place, &errno.into()));
            }
            Ok(_) => {
                let error = io::Error::from(io::ErrorKind::NotADirectory);
                return Err(fail(place, &error));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(fail(place, &error)),
        }
    }
    Err(fail(path, &io::Error::from(io::ErrorKind::NotFound)))
}

/// The same in a bucket.
fn final_objects(prefix: &str, remote: &Remote) -> Result<Vec<PathBuf>, TaskError> {
    let shown = |path: &String| {
        let below = path.strip_prefix(prefix).unwrap_or(path);
        let mut names = below.split('/').filter(|name| !name.is_empty());
        !names.any(|name| name.starts_with(['.', '_']))
    };
    let listed = remote.list(prefix, EXISTING_MAX)?.into_iter();
    let paths = listed.map(|(path, _)| path).filter(shown);
    Ok(paths.map(PathBuf::from).collect())
}

/// Committed output: files of which no path component below `directory` begins with `.` or `_`.
fn final_files(directory: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for entry in entries {
        let entry = entry?;
        let hidden = entry.file_name().as_encoded_bytes().starts_with(b".")
            || entry.file_name().as_encoded_bytes().starts_with(b"_");
        if hidden || found.len() > EXISTING_MAX {
            continue;
        }
        if entry.file_type()?.is_dir() {
            final_files(&entry.path(), found)?;
        } else {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use bytes::Bytes;
    use futures::FutureExt;
    use futures::future::BoxFuture;
    use serde_json::json;

    use super::*;
    use crate::engine::{CheckpointFiles, StoreError};

    struct Nothing;
    impl CheckpointFiles for Nothing {
        fn put_create(
            &self,
            path: String,
            _: Bytes,
            _: Duration,
        ) -> BoxFuture<'static, Result<(), StoreError>> {
            std::future::ready(Err(StoreError::Failed(path))).boxed()
        }
        fn get(&self, path: String) -> BoxFuture<'static, Result<Bytes, StoreError>> {
            std::future::ready(Err(StoreError::Failed(path))).boxed()
        }
    }

    fn source(path: &Path, column: &str) -> VertexPlan {
        let config = json!({
            "path": path, "format": "csv", "on-error": "fail", "rate": null,
            "columns": [{ "name": column, "data_type": "int64" }],
        });
        vertex("source", config)
    }

    fn sink(path: &Path, if_exists: &str) -> VertexPlan {
        let config = json!({
            "path": path, "format": "csv", "delivery": "exactly-once", "if-exists": if_exists,
        });
        vertex("sink", config)
    }

    fn vertex(kind: &str, config: serde_json::Value) -> VertexPlan {
        VertexPlan {
            id: kind.to_owned(),
            kind: kind.to_owned(),
            operator: "files".to_owned(),
            config_json: config.to_string(),
            ..Default::default()
        }
    }

    fn look(vertex: VertexPlan) -> (Vec<String>, Vec<String>) {
        let order = InspectPaths {
            request: 7,
            vertices: vec![vertex],
            describe: vec![],
        };
        let answer = inspect(&order, &Remote::new(Arc::new(Nothing)));
        assert_eq!(answer.request, 7);
        let problems = answer.problems.into_iter().map(|p| p.message);
        (problems.collect(), answer.existing_files)
    }

    #[test]
    fn sources_need_files_with_their_columns() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.csv");
        fs::write(&path, "x,y\n1,2\n").unwrap();
        assert_eq!(look(source(dir.path(), "y")), (vec![], vec![]));
        let (problems, _) = look(source(&path, "z"));
        assert!(problems[0].ends_with("there is no column z in the header line"));
        let order = InspectPaths {
            vertices: vec![source(&path, "z")],
            ..InspectPaths::default()
        };
        let answer = inspect(&order, &Remote::new(Arc::new(Nothing)));
        assert_eq!(answer.problems[0].key, ["columns", "z"]);
        assert_eq!(answer.problems[0].valid, ["x", "y"]);
        let (problems, _) = look(source(&dir.path().join("b.csv"), "y"));
        assert!(problems[0].contains("b.csv"), "{problems:?}");
    }

    #[test]
    fn sinks_see_only_committed_output() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["_staging/1/part", ".tmp/x", "sub/_part", "sub/.part"] {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        assert_eq!(look(sink(dir.path(), "refuse")), (vec![], vec![]));
        let part = dir.path().join("sub/part");
        fs::write(&part, "").unwrap();
        let (problems, existing) = look(sink(dir.path(), "refuse"));
        assert!(problems[0].contains("sub/part"), "{problems:?}");
        assert!(existing.is_empty());
        let name = part.to_str().unwrap().to_owned();
        assert_eq!(look(sink(dir.path(), "replace")), (vec![], vec![name]));
        assert_eq!(look(sink(dir.path(), "append")), (vec![], vec![]));
    }

    #[test]
    fn a_sink_needs_a_place_to_write() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(
            look(sink(&dir.path().join("new/deep"), "refuse")),
            (vec![], vec![])
        );
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let (problems, _) = look(sink(&file.join("below"), "append"));
        assert_eq!(problems.len(), 1, "{problems:?}");
        let (problems, _) = look(sink(&file, "append"));
        assert_eq!(problems.len(), 1, "{problems:?}");
    }
}

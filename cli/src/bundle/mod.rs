//! `regent debug bundle`: one file with what somebody needs who helps from afar. Everything in it is asked
//! for with a bound, a part that can't be had becomes a line that says why, and secrets are taken out.

mod redact;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use regent_protocol::v1::read_request::Query;
use regent_protocol::v1::{CleanupList, LogTail, Nothing};
use regent_security::Role;
use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::client::{Access, Survey};
use crate::commands::{Context, Done};
use crate::explain;
use crate::failure::Failure;
use crate::local::Manifest;
use crate::output::words::now_ms;
use redact::redact;

/// What each part may take.
const PART_LIMIT: Duration = Duration::from_secs(3);
/// Of each log the end is taken.
const LOG_BYTES: u64 = 512 * 1024;
/// A page of metrics that is longer isn't ours.
const PAGE_BYTES: u64 = 8 * 1024 * 1024;
/// Entries of the replicated log.
const ENTRIES: u64 = 200;

const README: &str = "\
What `regent debug bundle` collected. JSON documents are those of the command line; NAME.error says why a part
is missing. Values of keys like token, password, secret and credentials, bearer tokens, names and passwords in
addresses, and PEM blocks are replaced by [redacted]; look through it all the same before you send it: paths,
host names, job names and the text of failures stay.
";

#[derive(Debug, Args)]
pub(crate) struct DebugArgs {
    #[command(subcommand)]
    verb: DebugVerb,
}

#[derive(Debug, Subcommand)]
enum DebugVerb {
    /// Collect status, explanations, metrics, logs and configuration into one .tar, without secrets
    #[command(after_help = "\
Works without a leader and without a majority: what can't be had is left out, and why is said. Logs and
configuration are taken of a local cluster only.

Examples:
  regent debug bundle
  regent debug bundle --out /tmp/regent.tar")]
    Bundle {
        /// File to write [default: regent-bundle-<time>.tar]
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
}

#[derive(Debug, Serialize)]
struct Bundled {
    file: String,
    parts: usize,
    missing: Vec<String>,
}

/// Files of the bundle: name and text.
#[derive(Debug, Default)]
struct Parts {
    files: Vec<(String, String)>,
    missing: Vec<String>,
}

impl Parts {
    fn add(&mut self, name: &str, text: Result<String, String>) {
        match text {
            Ok(text) => self.files.push((name.to_owned(), redact(&text))),
            Err(problem) => {
                self.missing.push(name.to_owned());
                self.files.push((format!("{name}.error"), redact(&problem)));
            }
        }
    }

    fn document<T: Serialize>(&mut self, name: &str, document: &T) {
        self.add(
            name,
            serde_json::to_string_pretty(document).map_err(|e| e.to_string()),
        );
    }
}

pub(crate) async fn run(args: &DebugArgs, context: &Context) -> Done {
    let DebugVerb::Bundle { out } = &args.verb;
    let file = out
        .clone()
        .unwrap_or_else(|| PathBuf::from(format!("regent-bundle-{}.tar", now_ms() / 1_000)));
    let mut parts = Parts::default();
    parts
        .files
        .push(("README.txt".to_owned(), README.to_owned()));
    let survey = context.client.survey().await;
    let access = &context.client.endpoints().access;
    of_replicas(&mut parts, &survey, access).await;
    of_cluster(&mut parts, context).await;
    of_directory(&mut parts, context).await;
    write(&file, &parts.files)?;
    let bundled = Bundled {
        file: file.display().to_string(),
        parts: parts.files.len(),
        missing: parts.missing,
    };
    context.print(&bundled, |b| {
        let missing = match b.missing.is_empty() {
            true => String::new(),
            false => format!("; missing: {}", b.missing.join(", ")),
        };
        format!("{}: {} files{missing}", b.file, b.parts)
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn of_replicas(parts: &mut Parts, survey: &Survey, access: &Access) {
    parts.document("leader-explain.json", &explain::leader(survey));
    for asked in &survey.asked {
        let name = asked.address.replace([':', '[', ']'], "_");
        let status = asked.answer.as_ref().map_err(String::clone);
        let status =
            status.and_then(|s| serde_json::to_string_pretty(s).map_err(|e| e.to_string()));
        parts.add(&format!("replicas/{name}.json"), status);
        parts.add(
            &format!("metrics/{name}.txt"),
            page(access, &asked.address).await,
        );
    }
}

/// What the leader tells, or else what the nearest replica has.
async fn of_cluster(parts: &mut Parts, context: &Context) {
    let client = context.client.with_timeout(PART_LIMIT);
    for (name, query) in [
        ("overview.json", Query::Overview(Nothing {})),
        ("jobs.json", Query::JobList(Nothing {})),
        ("workers.json", Query::WorkerList(Nothing {})),
        ("leader-history.json", Query::LeaderHistory(Nothing {})),
        (
            "cleanup.json",
            Query::CleanupList(CleanupList { dirty: false }),
        ),
        ("log-tail.json", Query::LogTail(LogTail { count: ENTRIES })),
    ] {
        let fresh: Result<serde_json::Value, Failure> = client.read(query.clone(), false).await;
        match fresh {
            Ok(document) => parts.document(name, &document),
            Err(failure) => {
                let stale: Result<serde_json::Value, Failure> = client.read(query, true).await;
                match stale {
                    Ok(document) => parts.document(&format!("stale/{name}"), &document),
                    Err(_) => parts.add(name, Err(failure.message)),
                }
            }
        }
    }
}

/// Logs, configuration and workers' metrics of a local cluster.
async fn of_directory(parts: &mut Parts, context: &Context) {
    let source = Path::new(&context.client.endpoints().source);
    let Some(dir) = source.parent().filter(|_| source.ends_with("cluster.json")) else {
        return;
    };
    let Ok(manifest) = Manifest::read(dir) else {
        return;
    };
    parts.document("cluster.json", &manifest);
    for process in &manifest.processes {
        let name = &process.name;
        let log = dir.join("logs").join(format!("{name}.log"));
        parts.add(&format!("logs/{name}.log"), tail(&log));
        let conf = dir.join("conf").join(format!("{name}.yaml"));
        parts.add(&format!("conf/{name}.yaml"), tail(&conf));
        if process.role == "taskmanager" {
            parts.add(
                &format!("metrics/{name}.txt"),
                page(&Access::default(), &process.api).await,
            );
        }
    }
}

/// The end of a file, from the beginning of a line on.
fn tail(path: &Path) -> Result<String, String> {
    use std::io::{Read, Seek, SeekFrom};
    let wrong = |e: std::io::Error| format!("{}: {e}", path.display());
    let mut file = std::fs::File::open(path).map_err(wrong)?;
    let length = file.metadata().map_err(wrong)?.len();
    let skipped = length.saturating_sub(LOG_BYTES);
    file.seek(SeekFrom::Start(skipped)).map_err(wrong)?;
    let mut bytes = Vec::new();
    file.take(LOG_BYTES)
        .read_to_end(&mut bytes)
        .map_err(wrong)?;
    let text = String::from_utf8_lossy(&bytes);
    let whole = match skipped {
        0 => 0,
        _ => text.find('\n').map_or(0, |at| at + 1),
    };
    Ok(text[whole..].to_owned())
}

/// `/metrics` of a process.
async fn page(access: &Access, address: &str) -> Result<String, String> {
    let reading = async {
        let opened = access.dialer.open(address, &[Role::Peer, Role::Worker]);
        let mut stream = opened.await.map_err(|e| e.to_string())?;
        let request = format!(
            "GET /metrics HTTP/1.1\r\nHost: {address}\r\n{}Connection: close\r\n\r\n",
            access.header()
        );
        stream
            .write_all(request.as_bytes())
            .await
            .map_err(|e| e.to_string())?;
        let mut answer = Vec::new();
        stream
            .take(PAGE_BYTES)
            .read_to_end(&mut answer)
            .await
            .map_err(|e| e.to_string())?;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = answer
            .split_once("\r\n\r\n")
            .ok_or("it doesn't speak HTTP")?;
        match head.split(' ').nth(1) {
            Some("200") => Ok(body.to_owned()),
            _ => Err(head.lines().next().unwrap_or_default().to_owned()),
        }
    };
    timeout(PART_LIMIT, reading)
        .await
        .unwrap_or_else(|_| Err("doesn't answer".to_owned()))
}

fn write(file: &Path, files: &[(String, String)]) -> Result<(), Failure> {
    let wrong = |e: std::io::Error| Failure::failed(format!("{}: {e}", file.display()));
    let mut archive = tar::Builder::new(std::fs::File::create(file).map_err(wrong)?);
    for (name, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(now_ms() / 1_000);
        archive
            .append_data(
                &mut header,
                format!("regent-bundle/{name}"),
                text.as_bytes(),
            )
            .map_err(wrong)?;
    }
    archive
        .into_inner()
        .map_err(wrong)?
        .sync_all()
        .map_err(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_archive_holds_every_part_and_says_what_is_missing() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("b.tar");
        let mut parts = Parts::default();
        parts.add("conf/jm-1.yaml", Ok("token: abc".to_owned()));
        parts.add("workers.json", Err("nobody leads".to_owned()));
        assert_eq!(parts.missing, ["workers.json"]);
        write(&file, &parts.files).unwrap();
        let mut archive = tar::Archive::new(std::fs::File::open(&file).unwrap());
        let mut found = Vec::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut text = String::new();
            std::io::Read::read_to_string(&mut entry, &mut text).unwrap();
            found.push((entry.path().unwrap().display().to_string(), text));
        }
        assert_eq!(
            found,
            [
                (
                    "regent-bundle/conf/jm-1.yaml".to_owned(),
                    "token: [redacted]\n".to_owned()
                ),
                (
                    "regent-bundle/workers.json.error".to_owned(),
                    "nobody leads\n".to_owned()
                ),
            ]
        );
    }

    #[test]
    fn the_end_of_a_long_log_begins_with_a_whole_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.log");
        std::fs::write(&path, "0123456789\n".repeat(100_000)).unwrap();
        let end = tail(&path).unwrap();
        assert!(end.len() as u64 <= LOG_BYTES && end.starts_with("0123456789\n"));
        assert!(tail(&dir.path().join("none")).unwrap_err().contains("none"));
    }
}

//! Which files a `path` means: a file, a directory (not recursive) or a glob, sorted by name.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OnceCell;

use crate::engine::error::TaskError;
use crate::engine::remote::{Remote, is_remote};

/// More files than this under one path is a mistake in the path.
const FILES_MAX: usize = 100_000;

/// One file of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileFound {
    pub(crate) path: String,
    pub(crate) length: u64,
}

/// The files of a source, sorted by name; the position in the list is the split's number.
pub(crate) type FilesFound = Vec<FileFound>;

/// The listings of one attempt: its subtasks on this worker share one look at the directory.
#[derive(Debug, Default)]
pub(crate) struct ListingCache {
    by_vertex: Mutex<HashMap<String, Arc<OnceCell<Arc<FilesFound>>>>>,
}

impl ListingCache {
    /// The files of a vertex's path as they were at the first question.
    pub(crate) async fn files(
        &self,
        vertex: &str,
        path: &str,
        remote: Option<Remote>,
    ) -> Result<Arc<FilesFound>, TaskError> {
        let cell = {
            let mut map = self
                .by_vertex
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            map.entry(vertex.to_owned()).or_default().clone()
        };
        let path = path.to_owned();
        let list = || async move {
            let listed = tokio::task::spawn_blocking(move || resolve(&path, remote.as_ref())).await;
            let files = listed.map_err(|e| TaskError::task(format!("listing files: {e}")))?;
            files.map(Arc::new)
        };
        cell.get_or_try_init(list).await.cloned()
    }
}

/// The files that a path means now. No file at all is an error: a job would silently do nothing.
pub(crate) fn resolve(path: &str, remote: Option<&Remote>) -> Result<FilesFound, TaskError> {
    let files = list(path, remote)?;
    if files.is_empty() {
        return Err(TaskError::task(format!("{path}: no file is there")));
    }
    Ok(files)
}

/// The files that a path means now, if any.
pub(crate) fn list(path: &str, remote: Option<&Remote>) -> Result<FilesFound, TaskError> {
    if let Some(remote) = remote.filter(|_| is_remote(path)) {
        return list_remote(path, remote);
    }
    let mut paths = match fs::metadata(path) {
        Ok(found) if found.is_dir() => directory(Path::new(path))?,
        Ok(_) => vec![PathBuf::from(path)],
        Err(_) if path.contains(['*', '?', '[']) => glob(path)?,
        Err(error) => return Err(TaskError::io("reading", Path::new(path), &error)),
    };
    if paths.len() > FILES_MAX {
        return Err(TaskError::task(format!(
            "{path}: more than {FILES_MAX} files"
        )));
    }
    paths.sort();
    paths.into_iter().filter_map(found).collect()
}

/// Objects that a path means: one of that name, those directly below it, or those that match.
fn list_remote(path: &str, remote: &Remote) -> Result<FilesFound, TaskError> {
    let pattern = path.trim_end_matches('/');
    let fixed = match pattern.find(['*', '?', '[']) {
        Some(wildcard) => &pattern[..pattern[..wildcard].rfind('/').unwrap_or(0)],
        None => pattern,
    };
    if fixed == pattern
        && let Ok(length) = remote.length(pattern)
    {
        let path = pattern.to_owned();
        return Ok(vec![FileFound { path, length }]);
    }
    let rest = pattern.strip_prefix(fixed).unwrap_or_default();
    let listed = remote.list(fixed, FILES_MAX)?.into_iter();
    let meant = |(path, _): &(String, u64)| {
        let below = path.strip_prefix(fixed).unwrap_or(path);
        is_meant(rest.trim_start_matches('/'), below.trim_start_matches('/'))
    };
    let found = listed.filter(meant);
    Ok(found
        .map(|(path, length)| FileFound { path, length })
        .collect())
}

/// True if a name below a prefix matches the rest of the pattern; an empty one means what lies directly
/// below and isn't hidden.
fn is_meant(rest: &str, name: &str) -> bool {
    if rest.is_empty() {
        return !name.contains('/') && !name.starts_with(['.', '_']);
    }
    let (parts, names) = (rest.split('/'), name.split('/'));
    let hidden = |part: &str, name: &str| name.starts_with('.') && !part.starts_with('.');
    parts.clone().count() == names.clone().count()
        && parts
            .zip(names)
            .all(|(part, name)| matches(part, name) && !hidden(part, name))
}

/// `None`: it is gone again.
fn found(path: PathBuf) -> Option<Result<FileFound, TaskError>> {
    match fs::metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => Some(Err(TaskError::io("reading", &path, &error))),
        Ok(meta) => Some(file_found(&path, meta.len())),
    }
}

fn file_found(path: &Path, length: u64) -> Result<FileFound, TaskError> {
    let text = path
        .to_str()
        .map(str::to_owned)
        .ok_or_else(|| TaskError::task(format!("{}: the name is not UTF-8", path.display())))?;
    Ok(FileFound { path: text, length })
}

/// Files of a directory without hidden ones and those whose name begins with `_`.
fn directory(path: &Path) -> Result<Vec<PathBuf>, TaskError> {
    let entries = names(path).map_err(|e| TaskError::io("listing", path, &e))?;
    let shown = entries.into_iter().filter(|n| !n.starts_with(['.', '_']));
    Ok(shown
        .map(|n| path.join(n))
        .filter(|p| p.is_file())
        .collect())
}

fn names(directory: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        // A name that isn't UTF-8 can't be matched or written into positions.
        names.extend(entry?.file_name().into_string().ok());
    }
    Ok(names)
}

/// Files that match a pattern with `*`, `?` and `[..]` in any component; `*` doesn't cross `/`.
fn glob(pattern: &str) -> Result<Vec<PathBuf>, TaskError> {
    let mut level = vec![PathBuf::from("/")];
    for part in pattern.split('/').filter(|part| !part.is_empty()) {
        if !part.contains(['*', '?', '[']) {
            level = level.into_iter().map(|dir| dir.join(part)).collect();
            continue;
        }
        let mut next = Vec::new();
        for dir in level.iter().filter(|dir| dir.is_dir()) {
            let entries = names(dir).map_err(|e| TaskError::io("listing", dir, &e))?;
            let hidden = |name: &str| name.starts_with('.') && !part.starts_with('.');
            let fitting = entries
                .into_iter()
                .filter(|n| !hidden(n) && matches(part, n));
            next.extend(fitting.map(|name| dir.join(name)));
        }
        level = next;
    }
    level.retain(|path| path.is_file());
    Ok(level)
}

/// True if a name matches a pattern of one component. Backtracks only to the last `*`.
fn matches(pattern: &str, name: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match one(&pattern[p..], name[n]) {
            Some(0) => {
                star = Some((p, n));
                p += 1;
            }
            Some(width) => {
                p += width;
                n += 1;
            }
            None => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    (p, n) = (at + 1, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

/// Width of the pattern's first element if it matches `c`; 0 for a `*`, `None` if it doesn't match.
fn one(pattern: &[char], c: char) -> Option<usize> {
    match pattern.first()? {
        '*' => Some(0),
        '?' => Some(1),
        '[' => class(pattern, c),
        literal => (*literal == c).then_some(1),
    }
}

/// `[abc]`, `[a-z]`, `[!a]`; without a closing bracket it is a literal `[`.
fn class(pattern: &[char], c: char) -> Option<usize> {
    let Some(close) = pattern
        .iter()
        .skip(2)
        .position(|p| *p == ']')
        .map(|at| at + 2)
    else {
        return (c == '[').then_some(1);
    };
    let negated = matches!(pattern[1], '!' | '^');
    let set = &pattern[if negated { 2 } else { 1 }..close];
    let mut found = false;
    let mut at = 0;
    while at < set.len() {
        if at + 2 < set.len() && set[at + 1] == '-' {
            found |= set[at] <= c && c <= set[at + 2];
            at += 3;
        } else {
            found |= set[at] == c;
            at += 1;
        }
    }
    (found != negated).then_some(close + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, name, expected) in [
            ("*.csv", "a.csv", true),
            ("*.csv", "a.csv.gz", false),
            ("part-?.csv", "part-1.csv", true),
            ("part-?.csv", "part-10.csv", false),
            ("part-[0-4]*", "part-3x", true),
            ("part-[!0-4]*", "part-3x", false),
            ("*a*b*c", "xxaxxbxxbc", true),
            ("*a*b*c", "xxaxxcxx", false),
            ("[", "[", true),
            ("a[b", "a[b", true),
            ("*", "", true),
            ("ü?", "üß", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn names_below_a_prefix() {
        for (rest, name, expected) in [
            ("", "a.csv", true),
            ("", "deep/a.csv", false),
            ("", "_staging", false),
            ("", ".hidden", false),
            ("*.csv", "a.csv", true),
            ("*.csv", ".a.csv", false),
            ("*.csv", "deep/a.csv", false),
            ("d*/?.csv", "deep/a.csv", true),
            ("d*/?.csv", "deep/a/b.csv", false),
        ] {
            assert_eq!(is_meant(rest, name), expected, "{rest:?} {name}");
        }
    }

    fn list(path: &Path) -> Result<Vec<String>, TaskError> {
        let files = resolve(path.to_str().unwrap(), None)?;
        let name = |f: FileFound| f.path.rsplit('/').next().unwrap().to_owned();
        Ok(files.into_iter().map(name).collect())
    }

    #[test]
    fn files_directories_and_globs() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b.csv", "a.csv", "c.txt", ".hidden.csv", "_side.csv"] {
            fs::write(dir.path().join(name), "x").unwrap();
        }
        fs::create_dir(dir.path().join("d.csv")).unwrap();
        fs::write(dir.path().join("d.csv/deep.csv"), "xy").unwrap();
        assert_eq!(list(dir.path()).unwrap(), ["a.csv", "b.csv", "c.txt"]);
        assert_eq!(list(&dir.path().join("b.csv")).unwrap(), ["b.csv"]);
        let globbed = list(&dir.path().join("*.csv")).unwrap();
        assert_eq!(globbed, ["_side.csv", "a.csv", "b.csv"]);
        assert_eq!(list(&dir.path().join("?.csv/*")).unwrap(), ["deep.csv"]);
        let missing = list(&dir.path().join("none.csv")).unwrap_err();
        assert!(missing.to_string().contains("none.csv"), "{missing}");
        assert!(list(&dir.path().join("none*")).is_err());
    }
}

//! Paths of a job file: made absolute by text alone, and compared by whole segments.

use std::path::Path;

use regent_storage::objects::S3_BUILT;

/// Why a path can't be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PathError {
    Empty,
    Url,
    NoS3,
    NoKey,
    NotText,
}

impl PathError {
    pub(super) fn message(self) -> &'static str {
        match self {
            Self::Empty => "a path can't be empty",
            Self::Url => "only paths of the file system and s3://bucket/prefix are supported",
            Self::NoS3 => "built without s3: cargo build --features s3",
            Self::NoKey => "an s3:// path needs a bucket and a prefix",
            Self::NotText => {
                "the client's working directory isn't absolute UTF-8 text; use an absolute path"
            }
        }
    }
}

/// The path as an absolute one without `.` and `..`. It is done by text, for the JobManager that
/// checks the file needn't see the client's directories.
pub(super) fn absolute(path: &str, working_dir: &Path) -> Result<String, PathError> {
    if path.trim().is_empty() {
        return Err(PathError::Empty);
    }
    let path = path.strip_prefix("file://").unwrap_or(path);
    if let Some(rest) = path.strip_prefix("s3://") {
        return in_bucket(rest);
    }
    if path.contains("://") {
        return Err(PathError::Url);
    }
    if path.starts_with('/') {
        return Ok(normal(path));
    }
    match working_dir.to_str() {
        Some(base) if base.starts_with('/') => Ok(normal(&format!("{base}/{path}"))),
        _ => Err(PathError::NotText),
    }
}

/// A sink owns its prefix, never a whole bucket.
fn in_bucket(rest: &str) -> Result<String, PathError> {
    if !S3_BUILT {
        return Err(PathError::NoS3);
    }
    match normal(rest) {
        path if path[1..].contains('/') => Ok(format!("s3:/{path}")),
        _ => Err(PathError::NoKey),
    }
}

fn normal(path: &str) -> String {
    let mut segments = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            name => segments.push(name),
        }
    }
    format!("/{}", segments.join("/"))
}

/// Whether one of two absolute paths is the other or lies below it.
pub(super) fn overlap(one: &str, other: &str) -> bool {
    is_at_or_below(one, other) || is_at_or_below(other, one)
}

/// Whether `path` is `root` or lies below it, by whole segments.
pub(super) fn is_at_or_below(path: &str, root: &str) -> bool {
    let root = root.strip_suffix('/').unwrap_or(root);
    path.strip_prefix(root)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The part of a glob that names a fixed place: every segment before the first wildcard.
pub(super) fn fixed_part(glob: &str) -> &str {
    match glob.find(['*', '?', '[']) {
        Some(wildcard) => &glob[..glob[..wildcard].rfind('/').unwrap_or(0)],
        None => glob,
    }
}

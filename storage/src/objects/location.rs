//! Where an object lies: an absolute path, a `file://` URL, or the URL of a store. Pure: parsing and
//! joining only. A location prints as it was written, so pointers keep the form their user chose.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Why a text isn't a usable location.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LocationError {
    /// Relative, empty, or with `.` or `..` in it.
    #[error("`{0}` isn't an absolute path or a URL: use /a/path, file:///a/path or s3://bucket/..")]
    NotAbsolute(String),
    /// A store that this binary doesn't speak to.
    #[error("`{location}`: built without {scheme}: cargo build --features {scheme}")]
    BuiltWithout {
        /// As asked for.
        location: String,
        /// The cargo feature.
        scheme: &'static str,
    },
    /// A URL of a kind that is never understood.
    #[error("`{0}`: unknown kind of storage; use /a/path, file:///a/path or s3://bucket/..")]
    UnknownScheme(String),
    /// A name that the local store keeps for its unfinished files.
    #[error("`{0}`: names that end in # and digits are reserved")]
    Reserved(String),
}

/// An object or directory.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Location {
    /// In a bucket its first segment is the bucket.
    path: PathBuf,
    form: Form,
}

/// How a location is spelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Form {
    Path,
    FileUrl,
    S3,
}

impl Form {
    fn scheme(self) -> &'static str {
        match self {
            Form::Path => "",
            Form::FileUrl => "file://",
            Form::S3 => "s3:/",
        }
    }
}

/// Which store a location is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place<'a> {
    Local(&'a Path),
    /// The key is empty for the bucket itself.
    S3 {
        bucket: &'a str,
        key: &'a str,
    },
}

impl Location {
    /// The location of `name` below this one. `name` may have several segments.
    pub fn join(&self, name: &str) -> Result<Location, LocationError> {
        if name.is_empty() || name.starts_with('/') {
            return Err(LocationError::NotAbsolute(name.to_owned()));
        }
        let text = format!("{}/{name}", self.path.display());
        Ok(Location {
            path: absolute(&text)?,
            form: self.form,
        })
    }

    /// The path of a local location; `None` for one in a bucket.
    pub fn local_path(&self) -> Option<&Path> {
        match self.place() {
            Place::Local(path) => Some(path),
            Place::S3 { .. } => None,
        }
    }

    /// One spelling per place, which prints as a location that can be read back, and whose segments
    /// and parents are the location's.
    pub fn name(&self) -> PathBuf {
        match self.form {
            Form::Path | Form::FileUrl => self.path.clone(),
            Form::S3 => PathBuf::from(self.to_string()),
        }
    }

    pub(super) fn place(&self) -> Place<'_> {
        if self.form != Form::S3 {
            return Place::Local(&self.path);
        }
        // Made of a text, so it is one.
        let text = self.path.to_str().unwrap_or_default();
        let rest = text.trim_start_matches('/');
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        Place::S3 { bucket, key }
    }

    /// The location one level up; `None` for the root and for a bucket.
    pub fn parent(&self) -> Option<Location> {
        let path = self.path.parent()?.to_path_buf();
        if self.form == Form::S3 && path.parent().is_none() {
            return None;
        }
        Some(Location {
            path,
            form: self.form,
        })
    }

    /// True if this is `other` or lies below it, by segments: `/a/chk-10` isn't below `/a/chk-1`.
    pub fn is_within(&self, other: &Location) -> bool {
        let same_store = (self.form == Form::S3) == (other.form == Form::S3);
        same_store && self.path.starts_with(&other.path)
    }

    pub(super) fn below(&self, path: PathBuf) -> Location {
        Location {
            path,
            form: self.form,
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.form.scheme(), self.path.display())
    }
}

impl FromStr for Location {
    type Err = LocationError;

    fn from_str(text: &str) -> Result<Location, LocationError> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return Ok(Location {
                path: absolute(text)?,
                form: Form::Path,
            });
        };
        match scheme {
            "file" => Ok(Location {
                path: absolute(rest)?,
                form: Form::FileUrl,
            }),
            "s3" | "s3a" if super::S3_BUILT => Ok(Location {
                path: absolute(&format!("/{rest}"))?,
                form: Form::S3,
            }),
            "s3" | "s3a" => Err(LocationError::BuiltWithout {
                location: text.to_owned(),
                scheme: "s3",
            }),
            _ => Err(LocationError::UnknownScheme(text.to_owned())),
        }
    }
}

/// Checks each segment and drops empty ones.
fn absolute(text: &str) -> Result<PathBuf, LocationError> {
    let not_absolute = || LocationError::NotAbsolute(text.to_owned());
    let rest = text.strip_prefix('/').ok_or_else(not_absolute)?;
    let mut path = PathBuf::from("/");
    for segment in rest.split('/').filter(|segment| !segment.is_empty()) {
        if segment == "." || segment == ".." || segment.contains('\0') {
            return Err(not_absolute());
        }
        if is_reserved(segment) {
            return Err(LocationError::Reserved(text.to_owned()));
        }
        path.push(segment);
    }
    if path.parent().is_none() {
        return Err(not_absolute());
    }
    Ok(path)
}

/// `name#12`: object_store's local files in the making.
pub(super) fn is_reserved(segment: &str) -> bool {
    segment.rsplit_once('#').is_some_and(|(_, digits)| {
        !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Location, LocationError> {
        text.parse()
    }

    #[test]
    fn paths_and_urls_print_as_written() {
        assert_eq!(parse("/a/b").unwrap().to_string(), "/a/b");
        assert_eq!(parse("/a//b/").unwrap().to_string(), "/a/b");
        assert_eq!(parse("file:///a/b").unwrap().to_string(), "file:///a/b");
        let joined = parse("file:///a").unwrap().join("b/c").unwrap();
        assert_eq!(joined.to_string(), "file:///a/b/c");
        assert_eq!(joined.local_path(), Some(Path::new("/a/b/c")));
    }

    #[test]
    fn what_is_no_location_is_refused() {
        for text in ["", "a/b", "/", "/a/../b", "/a/./b", "file://a/b", "/a\0b"] {
            assert!(
                matches!(parse(text), Err(LocationError::NotAbsolute(_))),
                "{text:?}"
            );
        }
        for name in ["", "/x", "..", "x/../y"] {
            assert!(parse("/a").unwrap().join(name).is_err(), "{name:?}");
        }
        assert!(matches!(parse("/a/b#12"), Err(LocationError::Reserved(_))));
        assert!(parse("/a/b#x").is_ok());
        assert!(matches!(
            parse("gs://b/k"),
            Err(LocationError::UnknownScheme(_))
        ));
    }

    #[cfg(feature = "s3")]
    #[test]
    fn buckets_are_their_first_segment() {
        let at = parse("s3://bucket//regent/chk-1/").unwrap();
        assert_eq!(at.to_string(), "s3://bucket/regent/chk-1");
        assert_eq!(at.name(), Path::new("s3://bucket/regent/chk-1"));
        let key = "regent/chk-1";
        let bucket = "bucket";
        assert_eq!(at.place(), Place::S3 { bucket, key });
        assert_eq!(at.local_path(), None);
        let top = at.parent().and_then(|at| at.parent()).unwrap();
        assert_eq!(top.place(), Place::S3 { bucket, key: "" });
        assert_eq!(top.parent(), None);
        assert_eq!(
            at.join("a").unwrap().to_string(),
            "s3://bucket/regent/chk-1/a"
        );
        assert!(at.is_within(&top) && !at.is_within(&parse("/bucket").unwrap()));
        assert!(parse("s3://").is_err() && parse("s3://b/../c").is_err());
    }

    #[cfg(not(feature = "s3"))]
    #[test]
    fn a_missing_feature_is_named() {
        let error = parse("s3://bucket/regent").unwrap_err();
        assert!(
            error
                .to_string()
                .contains("built without s3: cargo build --features s3")
        );
    }

    #[test]
    fn within_goes_by_segments() {
        let chk_1 = parse("/s/chk-1").unwrap();
        assert!(parse("/s/chk-1/a").unwrap().is_within(&chk_1));
        assert!(chk_1.is_within(&chk_1));
        assert!(!parse("/s/chk-10/a").unwrap().is_within(&chk_1));
    }
}

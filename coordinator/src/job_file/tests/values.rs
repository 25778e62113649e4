//! Scalars, durations, timestamps and paths, one by one.

use std::path::Path;

use crate::job_file::paths::{self, PathError};
use crate::job_file::scalar::{Scalar, duration_ms, resolve, utc_timestamp};

#[test]
fn plain_scalars_by_the_core_schema() {
    for (text, expected) in [
        ("", Scalar::Null),
        ("~", Scalar::Null),
        ("null", Scalar::Null),
        ("true", Scalar::Bool(true)),
        ("FALSE", Scalar::Bool(false)),
        ("yes", Scalar::Text),
        ("NO", Scalar::Text),
        ("NA", Scalar::Text),
        ("0", Scalar::Int(0)),
        ("-9223372036854775808", Scalar::Int(i64::MIN)),
        ("9223372036854775808", Scalar::HugeInt),
        ("+7", Scalar::Int(7)),
        ("1.5", Scalar::Float(1.5)),
        ("1e3", Scalar::Float(1000.0)),
        (".5", Scalar::Float(0.5)),
        ("-.inf", Scalar::Float(f64::NEG_INFINITY)),
        (".", Scalar::Text),
        ("e", Scalar::Text),
        ("1e", Scalar::Text),
        ("1.2.3", Scalar::Text),
        ("inf", Scalar::Text),
        ("nan", Scalar::Text),
        ("10s", Scalar::Text),
        ("-", Scalar::Text),
        ("0x10", Scalar::Text),
    ] {
        assert_eq!(resolve(text), expected, "{text:?}");
    }
    assert!(matches!(resolve(".nan"), Scalar::Float(value) if value.is_nan()));
}

#[test]
fn durations() {
    for (text, expected) in [
        ("250ms", Some(250)),
        ("0s", Some(0)),
        ("10s", Some(10_000)),
        ("5m", Some(300_000)),
        ("1h", Some(3_600_000)),
        ("8760h", Some(31_536_000_000)),
        ("365d", Some(31_536_000_000)),
        ("8761h", None),
        ("366d", None),
        ("s", None),
        ("10", None),
        ("10 s", None),
        ("1.5s", None),
        ("-1s", None),
        ("10S", None),
        ("99999999999999999999ms", None),
    ] {
        assert_eq!(duration_ms(text), expected, "{text:?}");
    }
}

#[test]
fn timestamps_are_spelled_in_utc() {
    for (text, expected) in [
        ("2013-01-01T10:00:00Z", Some("2013-01-01T10:00:00Z")),
        ("2013-01-01t10:00:00z", Some("2013-01-01T10:00:00Z")),
        (
            "2013-01-01T10:00:00.5Z",
            Some("2013-01-01T10:00:00.500000Z"),
        ),
        ("2013-01-01T00:30:00+02:00", Some("2012-12-31T22:30:00Z")),
        ("2012-02-29T23:59:59-01:30", Some("2012-03-01T01:29:59Z")),
        ("2000-02-29T00:00:00Z", Some("2000-02-29T00:00:00Z")),
        ("1969-12-31T23:59:59Z", Some("1969-12-31T23:59:59Z")),
        ("0000-01-01T00:00:00Z", Some("0000-01-01T00:00:00Z")),
        ("0000-01-01T00:00:00+01:00", None),
        ("9999-12-31T23:59:59-01:00", None),
        ("1900-02-29T00:00:00Z", None),
        ("2013-13-01T00:00:00Z", None),
        ("2013-01-00T00:00:00Z", None),
        ("2013-01-01T24:00:00Z", None),
        ("2013-01-01T10:00:00", None),
        ("2013-01-01 10:00:00Z", None),
        ("2013-01-01T10:00:00.1234567Z", None),
        ("2013-01-01T10:00:00.Z", None),
        ("2013-01-01T10:00:00+2:00", None),
        ("2013-01-01T10:00:00+0200", None),
        ("ä013-01-01T10:00:00Z", None),
        ("2013-01-01", None),
        ("", None),
    ] {
        assert_eq!(utc_timestamp(text).as_deref(), expected, "{text:?}");
    }
}

#[test]
fn paths_are_made_absolute_by_text() {
    let dir = Path::new("/work/dir");
    for (path, expected) in [
        ("out", "/work/dir/out"),
        ("./out/", "/work/dir/out"),
        ("../data/*.csv", "/work/data/*.csv"),
        ("/abs//x", "/abs/x"),
        ("file:///abs/x", "/abs/x"),
        ("../../../..", "/"),
    ] {
        assert_eq!(
            paths::absolute(path, dir).as_deref(),
            Ok(expected),
            "{path:?}"
        );
    }
    assert_eq!(paths::absolute(" ", dir), Err(PathError::Empty));
    assert_eq!(paths::absolute("gs://bucket/x", dir), Err(PathError::Url));
    let built = |path: &str, error| {
        let built = regent_storage::objects::S3_BUILT;
        if built {
            Ok(path.to_owned())
        } else {
            Err(error)
        }
    };
    let found = paths::absolute("s3://bucket//x/./y/../*.csv", dir);
    assert_eq!(found, built("s3://bucket/x/*.csv", PathError::NoS3));
    let whole = paths::absolute("s3://bucket/", dir);
    assert!(matches!(whole, Err(PathError::NoKey | PathError::NoS3)));
    assert_eq!(
        paths::absolute("out", Path::new("relative")),
        Err(PathError::NotText)
    );
    assert_eq!(
        paths::absolute("/out", Path::new("")).as_deref(),
        Ok("/out")
    );
}

#[test]
fn paths_are_compared_by_segment() {
    assert!(paths::overlap("/a/b", "/a/b"));
    assert!(paths::overlap("/a/b/c", "/a/b"));
    assert!(paths::overlap("/a", "/a/b"));
    assert!(!paths::overlap("/a/b", "/a/bc"));
    assert!(!paths::overlap("/chk-1", "/chk-10"));
    assert_eq!(paths::fixed_part("/a/b/*.csv"), "/a/b");
    assert_eq!(paths::fixed_part("/a/b*/c"), "/a");
    assert_eq!(paths::fixed_part("/a/b"), "/a/b");
}

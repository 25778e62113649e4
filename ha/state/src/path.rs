//! Paths as the machine compares them: by segment, never by prefix of the text.

/// One spelling per place: no `file://`, no empty or `.` segments, `..` resolved, no slash at the
/// end. The root of the local file system is the empty text.
pub(crate) fn normalise(path: &str) -> String {
    let path = path.strip_prefix("file://").unwrap_or(path);
    let (scheme, rest) = match path.split_once("://") {
        Some((scheme, rest)) => (Some(scheme), rest),
        None => (None, path),
    };
    let mut segments: Vec<&str> = Vec::new();
    for segment in rest.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            name => segments.push(name),
        }
    }
    let joined = segments.join("/");
    match scheme {
        Some(scheme) => format!("{scheme}://{joined}"),
        None if joined.is_empty() => joined,
        None => format!("/{joined}"),
    }
}

/// Whether one of two normalised paths is the other or lies above it.
pub(crate) fn meets(a: &str, b: &str) -> bool {
    let (short, long) = if a.len() <= b.len() { (a, b) } else { (b, a) };
    let below = long
        .strip_prefix(short)
        .is_some_and(|rest| rest.starts_with('/'));
    short == long || (below && is_url(short) == is_url(long))
}

/// The paths above a normalised one, nearest first.
pub(crate) fn above(path: &str) -> impl Iterator<Item = &str> {
    let floor = path.find("://").map_or(0, |at| at + "://".len());
    let cuts = path
        .char_indices()
        .rev()
        .filter(move |(at, c)| *c == '/' && *at >= floor);
    cuts.map(|(at, _)| &path[..at])
}

/// The texts between which all normalised paths below a normalised one lie.
pub(crate) fn below(path: &str) -> std::ops::Range<String> {
    // '0' follows '/' in every encoding that matters here.
    format!("{path}/")..format!("{path}0")
}

fn is_url(path: &str) -> bool {
    path.contains("://")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_spelling_per_place() {
        assert_eq!(normalise("/a//b/./c/"), "/a/b/c");
        assert_eq!(normalise("file:///a/b"), "/a/b");
        assert_eq!(normalise("/a/../b"), "/b");
        assert_eq!(normalise("s3://bucket//x/"), "s3://bucket/x");
        assert_eq!(normalise("/"), "");
    }

    #[test]
    fn paths_meet_by_segment() {
        assert!(meets("/out", "/out"));
        assert!(meets("/out", "/out/x"));
        assert!(meets("/out/x", "/out"));
        assert!(!meets("/out", "/outer"));
        assert!(!meets("/chk-1", "/chk-10"));
        assert!(meets("", "/out"));
        assert!(!meets("", "s3://bucket"));
    }

    #[test]
    fn everything_above_is_listed() {
        assert_eq!(above("/a/b/c").collect::<Vec<_>>(), ["/a/b", "/a", ""]);
        assert_eq!(above("s3://b/x").collect::<Vec<_>>(), ["s3://b"]);
    }
}

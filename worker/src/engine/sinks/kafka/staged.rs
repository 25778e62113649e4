//! Messages that wait in a file for their checkpoint: one behind the other, each a key and a value
//! behind its length. Frozen: files outlive the program that wrote them.

use std::fs;
use std::io;
use std::path::Path;

use bytes::Bytes;
use regent_protocol::v1::Transaction;

use super::rows::Message;
use crate::engine::effects::Effects;
use crate::engine::error::TaskError;
use crate::engine::remote::is_remote;

/// Bytes of a length, which is one more than the bytes that follow; 0: there is none.
const LENGTH_BYTES: usize = 4;

/// Appends a message.
pub(super) fn append((key, value): Message<'_>, out: &mut Vec<u8>) {
    for part in [key, value] {
        // The row's writer allows far less than 4 GiB.
        let length = part.map_or(0, |bytes| bytes.len() as u32 + 1);
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(part.unwrap_or_default());
    }
}

/// The file of a transaction, if it is what was written. Blocking.
pub(super) fn read(effects: &Effects, transaction: &Transaction) -> Result<Bytes, TaskError> {
    let path = Path::new(&transaction.staged_path);
    let bytes = content(effects, &transaction.staged_path);
    let bytes = bytes.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => TaskError::task(format!(
            "{} is gone, and its messages were not sent yet",
            path.display()
        )),
        _ => TaskError::io("reading", path, &error),
    })?;
    let same =
        bytes.len() as u64 == transaction.length && crc32c::crc32c(&bytes) == transaction.crc32c;
    if same {
        return Ok(bytes);
    }
    Err(TaskError::task(format!(
        "{}: the staged file is not the one that the checkpoint lists",
        path.display()
    )))
}

fn content(effects: &Effects, path: &str) -> io::Result<Bytes> {
    if !is_remote(path) {
        return fs::read(path).map(Bytes::from);
    }
    let found = effects.remote().and_then(|remote| remote.get(path));
    let found = found.map_err(|error| io::Error::other(error.to_string()))?;
    found.ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// The messages of a file; `None` stands for what can't be one.
pub(super) fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Option<Message<'_>>> {
    let mut broken = false;
    std::iter::from_fn(move || {
        if broken || bytes.is_empty() {
            return None;
        }
        let message = take(&mut bytes).and_then(|key| Some((key, take(&mut bytes)?)));
        broken = message.is_none();
        Some(message)
    })
}

/// One part of a message; the outer `None`: it is cut short.
fn take<'a>(bytes: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let (length, rest) = bytes.split_first_chunk::<LENGTH_BYTES>()?;
    let Some(length) = u32::from_le_bytes(*length).checked_sub(1) else {
        *bytes = rest;
        return Some(None);
    };
    let (part, rest) = rest.split_at_checked(length as usize)?;
    *bytes = rest;
    Some(Some(part))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::engine::Authority;

    struct Always;
    impl Authority for Always {
        fn may_act(&self) -> bool {
            true
        }
    }

    fn part() -> impl Strategy<Value = Option<Vec<u8>>> {
        proptest::option::of(vec(any::<u8>(), 0..20))
    }

    proptest! {
        #[test]
        fn what_was_appended_comes_back(written in vec((part(), part()), 0..20)) {
            let mut bytes = Vec::new();
            for (key, value) in &written {
                append((key.as_deref(), value.as_deref()), &mut bytes);
            }
            let own = |part: Option<&[u8]>| part.map(<[u8]>::to_vec);
            let found: Vec<_> = messages(&bytes)
                .map(|message| message.map(|(key, value)| (own(key), own(value))))
                .collect();
            let written: Vec<_> = written.into_iter().map(Some).collect();
            prop_assert_eq!(found, written);
        }

        #[test]
        fn anything_else_ends(bytes in vec(any::<u8>(), 0..60)) {
            prop_assert!(messages(&bytes).count() <= 60);
        }
    }

    #[test]
    fn a_file_that_was_changed_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("part");
        let effects = Effects::new(Arc::new(Always));
        let transaction = Transaction {
            staged_path: path.display().to_string(),
            length: 5,
            crc32c: crc32c::crc32c(b"hello"),
            ..Default::default()
        };
        let error = read(&effects, &transaction).unwrap_err().to_string();
        assert!(error.contains("is gone"), "{error}");
        fs::write(&path, "hullo").unwrap();
        let error = read(&effects, &transaction).unwrap_err().to_string();
        assert!(error.contains("not the one"), "{error}");
        fs::write(&path, "hello").unwrap();
        assert_eq!(read(&effects, &transaction).unwrap(), "hello");
    }
}

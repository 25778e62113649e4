//! The bytes of state in checkpoints. **Frozen**: readers of old checkpoints depend on them; another
//! shape gets another first byte.
//!
//! A key group: the format (1), the number of states and their names, then for each key its bytes,
//! its values as (place of the name, value), its event-time and its processing-time timers. An item
//! of a list: the format (1), the list's name, the value. Numbers are little-endian; texts and
//! values have their length first (u32).

use bytes::{Buf, Bytes};

use super::Result;

const FORMAT: u8 = 1;

pub(crate) fn begin_item(name: &str) -> Vec<u8> {
    let mut bytes = vec![FORMAT];
    put(name.as_bytes(), &mut bytes);
    bytes
}

/// Name of the list and value of an item.
pub(crate) fn split_item(mut bytes: Bytes) -> Result<(String, Bytes)> {
    take_format(&mut bytes)?;
    let name = take_text(&mut bytes)?;
    Ok((name, bytes))
}

pub(crate) fn begin_group<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> Vec<u8> {
    let mut bytes = vec![FORMAT];
    bytes.extend_from_slice(&(names.len() as u32).to_le_bytes());
    names.for_each(|name| put(name.as_bytes(), &mut bytes));
    bytes
}

pub(crate) fn put(part: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&(part.len() as u32).to_le_bytes());
    out.extend_from_slice(part);
}

/// What `write` appends, with its length first.
pub(crate) fn put_sized(
    out: &mut Vec<u8>,
    write: impl FnOnce(&mut Vec<u8>) -> Result<()>,
) -> Result<()> {
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    write(out)?;
    let length = (out.len() - at - 4) as u32;
    out[at..at + 4].copy_from_slice(&length.to_le_bytes());
    Ok(())
}

pub(crate) fn put_times(times: &[i64], out: &mut Vec<u8>) {
    out.extend_from_slice(&(times.len() as u32).to_le_bytes());
    times
        .iter()
        .for_each(|time| out.extend_from_slice(&time.to_le_bytes()));
}

/// One key with all that is kept for it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) key: Bytes,
    /// Place of the state's name in the group's list, value.
    pub(crate) values: Vec<(usize, Bytes)>,
    pub(crate) event_timers: Vec<i64>,
    pub(crate) processing_timers: Vec<i64>,
}

/// Names of the states, and the entries.
pub(crate) fn read_group(mut bytes: Bytes) -> Result<(Vec<String>, Vec<Entry>)> {
    take_format(&mut bytes)?;
    let count = take_u32(&mut bytes)?;
    let mut names = Vec::new();
    for _ in 0..count {
        names.push(take_text(&mut bytes)?);
    }
    let mut entries = Vec::new();
    while bytes.has_remaining() {
        entries.push(read_entry(&mut bytes, names.len())?);
    }
    Ok((names, entries))
}

fn read_entry(bytes: &mut Bytes, names: usize) -> Result<Entry> {
    let key = take_part(bytes)?;
    let count = take_u32(bytes)?;
    let mut values = Vec::new();
    for _ in 0..count {
        let name = take_u32(bytes)? as usize;
        if name >= names {
            return Err(damaged());
        }
        values.push((name, take_part(bytes)?));
    }
    Ok(Entry {
        key,
        values,
        event_timers: take_times(bytes)?,
        processing_timers: take_times(bytes)?,
    })
}

fn damaged() -> super::Error {
    "its bytes are damaged".into()
}

fn take_format(bytes: &mut Bytes) -> Result<()> {
    match bytes.try_get_u8() {
        Ok(FORMAT) => Ok(()),
        Ok(other) => Err(format!("format {other} of state is not known here").into()),
        Err(_) => Err(damaged()),
    }
}

fn take_u32(bytes: &mut Bytes) -> Result<u32> {
    bytes.try_get_u32_le().map_err(|_| damaged())
}

fn take_part(bytes: &mut Bytes) -> Result<Bytes> {
    let length = take_u32(bytes)? as usize;
    if bytes.len() < length {
        return Err(damaged());
    }
    Ok(bytes.split_to(length))
}

fn take_text(bytes: &mut Bytes) -> Result<String> {
    String::from_utf8(take_part(bytes)?.to_vec()).map_err(|_| damaged())
}

fn take_times(bytes: &mut Bytes) -> Result<Vec<i64>> {
    let count = take_u32(bytes)? as usize;
    if bytes.len() / 8 < count {
        return Err(damaged());
    }
    Ok((0..count).map(|_| bytes.get_i64_le()).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn group() -> Vec<u8> {
        let mut bytes = begin_group(["n", "m"].into_iter());
        put(b"key", &mut bytes);
        bytes.extend_from_slice(&1u32.to_le_bytes());
        bytes.extend_from_slice(&1u32.to_le_bytes());
        put_sized(&mut bytes, |out| {
            out.push(7);
            Ok(())
        })
        .unwrap();
        put_times(&[-1], &mut bytes);
        put_times(&[], &mut bytes);
        bytes
    }

    #[test]
    fn golden_bytes() {
        let hex = |bytes: &[u8]| -> String { bytes.iter().map(|b| format!("{b:02x}")).collect() };
        let expected = "0102000000010000006e010000006d030000006b657901000000010000000100000007\
                        01000000ffffffffffffffff00000000";
        assert_eq!(hex(&group()), expected);
        assert_eq!(hex(&begin_item("ab")), "01020000006162");
        let (names, entries) = read_group(group().into()).unwrap();
        assert_eq!(names, ["n", "m"]);
        let entry = Entry {
            key: Bytes::from_static(b"key"),
            values: vec![(1, Bytes::from_static(&[7]))],
            event_timers: vec![-1],
            processing_timers: vec![],
        };
        assert_eq!(entries, [entry]);
    }

    proptest! {
        #[test]
        fn damaged_bytes_are_an_error(cut in 0usize..51, at in 0usize..51, flip in 1u8..) {
            let mut bytes = group();
            let cut = bytes.len() - 1 - cut % (bytes.len() - 1);
            // The names alone are a group of no keys.
            if cut != 15 {
                prop_assert!(read_group(bytes[..cut].to_vec().into()).is_err());
            }
            let at = at % bytes.len();
            bytes[at] ^= flip;
            // A flipped value is still a value; the point is that nothing panics.
            let _ = read_group(bytes.into());
        }
    }
}

//! Snapshot files: whole or not there, checked when read, the newest two kept.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use regent_storage::snapshot::{SnapshotError, SnapshotFile, SnapshotStore};

use crate::names;

fn body(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 31 % 251) as u8).collect()
}

fn write(store: &SnapshotStore, index: u64, len: usize) -> SnapshotFile {
    let mut writer = store.create().unwrap();
    writer.write_all(&body(len)).unwrap();
    writer
        .finish(index, format!("meta of {index}").as_bytes())
        .unwrap()
}

fn read(file: &SnapshotFile) -> std::io::Result<Vec<u8>> {
    let mut out = Vec::new();
    file.open_reader().unwrap().read_to_end(&mut out)?;
    Ok(out)
}

#[test]
fn a_snapshot_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = SnapshotStore::open(dir.path()).unwrap();
    assert!(store.latest().unwrap().is_none());
    for (index, len) in [
        (1, 0),
        (2, 1),
        (3, 256 << 10),
        (4, (256 << 10) + 1),
        (5, 9_000_000),
    ] {
        let written = write(&store, index, len);
        let found = store.latest().unwrap().unwrap();
        assert_eq!(found.path(), written.path());
        assert_eq!(found.index(), index);
        assert_eq!(found.meta(), format!("meta of {index}").as_bytes());
        assert_eq!(found.body_len(), len as u64);
        assert_eq!(found.file_len(), found.path().metadata().unwrap().len());
        assert_eq!(read(&found).unwrap(), body(len));
        found.verify().unwrap();
    }
}

#[test]
fn the_newest_two_are_kept_by_index() {
    let dir = tempfile::tempdir().unwrap();
    let store = SnapshotStore::open(dir.path()).unwrap();
    for index in [10, 30, 20, 25] {
        write(&store, index, 100);
    }
    let list = store.list().unwrap();
    let indexes: Vec<u64> = list
        .iter()
        .map(|found| found.as_ref().unwrap().index())
        .collect();
    assert_eq!(indexes, vec![30, 25]);
    assert_eq!(names(dir.path()).len(), 2);
    // The same index again is a newer file.
    let again = write(&store, 30, 5);
    assert_eq!(store.latest().unwrap().unwrap().path(), again.path());
}

#[test]
fn unfinished_snapshots_leave_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = SnapshotStore::open(dir.path()).unwrap();
    let kept = write(&store, 7, 10);
    let mut writer = store.create().unwrap();
    writer.write_all(&body(1_000_000)).unwrap();
    drop(writer);
    assert_eq!(names(dir.path()).len(), 1);
    // As a crash leaves it: a whole file that was never renamed, and half of one.
    std::fs::copy(kept.path(), dir.path().join("writing-0000000099.tmp")).unwrap();
    std::fs::write(dir.path().join("writing-0000000100.tmp"), b"RGNTSNP").unwrap();
    let store = SnapshotStore::open(dir.path()).unwrap();
    assert_eq!(names(dir.path()).len(), 1);
    assert_eq!(store.latest().unwrap().unwrap().index(), 7);
}

#[test]
fn two_writers_at_once_do_not_meet() {
    let dir = tempfile::tempdir().unwrap();
    let store = SnapshotStore::open(dir.path()).unwrap();
    let (mut a, mut b) = (store.create().unwrap(), store.create().unwrap());
    a.write_all(b"aaa").unwrap();
    b.write_all(b"bb").unwrap();
    b.finish(5, b"b").unwrap();
    a.finish(6, b"a").unwrap();
    let list: Vec<_> = store
        .list()
        .unwrap()
        .into_iter()
        .map(Result::unwrap)
        .collect();
    assert_eq!(read(&list[0]).unwrap(), b"aaa");
    assert_eq!(read(&list[1]).unwrap(), b"bb");
}

/// Changes the file; answers what reading it says.
fn damage(path: &Path, change: impl Fn(&Path)) -> Result<Vec<u8>, String> {
    let before = std::fs::read(path).unwrap();
    change(path);
    let result = match SnapshotFile::open(path) {
        Ok(file) => read(&file).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    std::fs::write(path, before).unwrap();
    result
}

#[test]
fn every_flipped_byte_is_noticed_with_file_and_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let store = SnapshotStore::open(dir.path()).unwrap();
    let file = write(&store, 3, 700);
    for at in 0..file.file_len() {
        let flip = |path: &Path| {
            let raw = OpenOptions::new()
                .read(true)
                .write(true)
                .open(path)
                .unwrap();
            let mut byte = [0];
            raw.read_exact_at(&mut byte, at).unwrap();
            raw.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
        };
        let error = damage(file.path(), flip).expect_err("noticed");
        assert!(
            error.contains(&file.path().display().to_string()),
            "{error}"
        );
        assert!(error.contains("is damaged at offset"), "{error}");
        assert!(error.contains("move it away"), "{error}");
    }
    for len in 0..file.file_len() {
        let cut = |path: &Path| {
            OpenOptions::new()
                .write(true)
                .open(path)
                .unwrap()
                .set_len(len)
        };
        assert!(
            damage(file.path(), |path| cut(path).unwrap()).is_err(),
            "cut to {len}"
        );
    }
    assert_eq!(read(&file).unwrap(), body(700));
}

#[test]
fn a_damaged_newest_is_an_error_and_the_older_one_is_listed() {
    let dir = tempfile::tempdir().unwrap();
    let store = SnapshotStore::open(dir.path()).unwrap();
    write(&store, 1, 10);
    let newest = write(&store, 2, 10);
    std::fs::write(newest.path(), b"rubbish").unwrap();
    assert!(matches!(
        store.latest().unwrap_err(),
        SnapshotError::Damaged { .. }
    ));
    let list = store.list().unwrap();
    assert!(list[0].is_err());
    assert_eq!(list[1].as_ref().unwrap().index(), 1);
}

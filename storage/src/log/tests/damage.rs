//! Bytes that changed and files that vanished: refused with file and offset, or provably nothing
//! that was acknowledged. The one exception, the very last batch, is asserted as such.

use super::*;
use crate::log::recover;
use crate::log::segment::{MANIFEST_NAME, RESERVE_NAME};

/// A closed log over several segments, and its content before and after the last batch.
struct Sample {
    disk: SimDisk,
    before_last: Whole,
    whole: Whole,
}

fn sample() -> Sample {
    let disk = SimDisk::default();
    let log = open(&disk).unwrap();
    log.save_vote(Bytes::from("vote-1")).wait().unwrap();
    for index in 0..20 {
        append(&log, index..index + 1).unwrap();
    }
    log.save_committed(Bytes::from("committed")).unwrap();
    log.truncate_after(Some(18)).wait().unwrap();
    log.purge(3, log_id(3, 1)).wait().unwrap();
    log.append_receipt(vec![entry(19, 2)]).wait().unwrap();
    let before_last = whole(&log);
    log.append_receipt(vec![entry(20, 2), entry(21, 2)])
        .wait()
        .unwrap();
    let after = whole(&log);
    drop(log);
    assert!(segments(&disk).len() >= 3);
    Sample {
        disk,
        before_last,
        whole: after,
    }
}

/// Opens without starting a writer; the cut is done, as always.
fn reopen(disk: &SimDisk) -> Result<(Whole, bool), LogError> {
    let log = open(disk)?;
    Ok((whole(&log), log.cut_tail().is_some()))
}

fn refused(disk: &SimDisk) -> (PathBuf, u64, String) {
    match open(disk).map(|log| whole(&log)) {
        Err(error @ LogError::Corrupt { .. }) => {
            let text = error.to_string();
            assert!(text.contains("members remove"), "names the remedy: {text}");
            let LogError::Corrupt { file, offset, .. } = error else {
                unreachable!()
            };
            assert!(text.contains(&file.display().to_string()));
            (file, offset, text)
        }
        other => panic!("must be refused as damaged: {other:?}"),
    }
}

/// Where the last batch begins and ends in the last segment.
fn last_batch(disk: &SimDisk) -> (PathBuf, usize, usize) {
    let copy: Arc<dyn Disk> = Arc::new(disk.copy());
    let files = recover::open(copy, Path::new(DIR), &small()).unwrap().files;
    let path = segments(disk).pop().unwrap();
    let bytes = disk.bytes(&path);
    let (salt, id) = (files.manifest.data.salt, files.current().0);
    let end = files.end as usize;
    let is_last = |start: &usize| {
        crate::log::format::parse_batch(&bytes, *start, salt, id).is_ok_and(|b| b.body.1 == end)
    };
    let start = (0..end).rev().find(is_last).unwrap();
    (path, start, end)
}

#[test]
fn every_single_bit_flip_is_refused_or_hit_nothing_acknowledged() {
    let sample = sample();
    let (last_path, start, end) = last_batch(&sample.disk);
    let (mut refused, mut harmless, mut torn) = (0, 0, 0);
    for path in sample.disk.paths() {
        if path.ends_with(RESERVE_NAME) {
            continue;
        }
        for byte in interesting_bytes(&sample.disk, &path) {
            for bit in byte * 8..byte * 8 + 8 {
                let disk = sample.disk.copy();
                disk.flip(&path, bit);
                match reopen(&disk) {
                    Err(LogError::Corrupt { file, .. }) => {
                        assert!(file.starts_with(DIR));
                        refused += 1;
                    }
                    Err(other) => panic!("{} bit {bit}: {other}", path.display()),
                    Ok((found, _)) if found == sample.whole => harmless += 1,
                    Ok((found, cut)) => {
                        // The documented exception: the last batch looks torn.
                        assert!(
                            path == last_path && (start..end).contains(&byte),
                            "bit {bit}"
                        );
                        assert!(cut);
                        assert_eq!(found, sample.before_last);
                        torn += 1;
                    }
                }
            }
        }
    }
    assert_eq!(torn, (end - start) * 8, "exactly the last batch");
    assert!(refused > 10_000, "{refused}");
    assert!(harmless > 1000, "{harmless}");
}

/// All bytes of segments; of the manifest's two blocks those in use and some that aren't.
fn interesting_bytes(disk: &SimDisk, path: &Path) -> Vec<usize> {
    let len = disk.bytes(path).len();
    match path.ends_with(MANIFEST_NAME) {
        true => (0..64).chain(4096..4160).chain([8000]).collect(),
        false => (0..len).collect(),
    }
}

#[test]
fn the_tail_zeroed_from_every_byte_leaves_a_whole_prefix() {
    let sample = sample();
    let (path, start, end) = last_batch(&sample.disk);
    for from in start..end {
        let disk = sample.disk.copy();
        let mut bytes = disk.bytes(&path);
        let changed = bytes[from..end].iter().any(|byte| *byte != 0);
        bytes[from..].fill(0);
        disk.set_bytes(&path, bytes);
        let expected = if changed {
            &sample.before_last
        } else {
            &sample.whole
        };
        let (found, cut) = reopen(&disk).unwrap();
        assert_eq!(&found, expected, "zeros from {from}");
        assert_eq!(cut, changed && from > start);
        // Cut back durably: the next opening finds nothing to cut, and writing goes on.
        let log = open(&disk).unwrap();
        assert!(log.cut_tail().is_none());
        let next = log.state().last.unwrap().0 + 1;
        append(&log, next..next + 2).unwrap();
        drop(log);
        assert_eq!(open(&disk).unwrap().state().last.unwrap().0, next + 1);
    }
}

#[test]
fn a_file_cut_short_is_not_a_crash() {
    let sample = sample();
    let (path, ..) = last_batch(&sample.disk);
    let len = sample.disk.bytes(&path).len();
    for cut in 0..len {
        let disk = sample.disk.copy();
        let mut bytes = disk.bytes(&path);
        bytes.truncate(cut);
        disk.set_bytes(&path, bytes);
        let (file, offset, _) = refused(&disk);
        assert_eq!(file, path);
        assert!(offset as usize <= cut);
    }
}

#[test]
fn rubbish_after_the_last_batch_is_cut_off() {
    let sample = sample();
    let (path, start, end) = last_batch(&sample.disk);
    let original = sample.disk.bytes(&path);
    let whole_batch = original[start..end].to_vec();
    // A whole record followed by zeros, parts of a record followed by zeros, and plain rubbish.
    let mut tails = vec![whole_batch.clone(), vec![0xa5; 40], vec![0, 0, 0, 1]];
    tails.extend((1..whole_batch.len()).map(|len| whole_batch[..len].to_vec()));
    for tail in tails {
        let disk = sample.disk.copy();
        let mut bytes = original.clone();
        let tail = &tail[..tail.len().min(bytes.len() - end)];
        bytes[end..end + tail.len()].copy_from_slice(tail);
        disk.set_bytes(&path, bytes);
        let (found, cut) = reopen(&disk).unwrap();
        assert_eq!(found, sample.whole);
        assert!(cut);
        assert_eq!(disk.bytes(&path)[..], original[..], "cut back to zeros");
    }
}

#[test]
fn a_bad_batch_before_a_whole_one_is_damage_not_a_tear() {
    let sample = sample();
    let (path, start, _) = last_batch(&sample.disk);
    let disk = sample.disk.copy();
    let mut bytes = disk.bytes(&path);
    // All of the segment's earlier batches vanish; the last one still proves that they were there.
    bytes[super::super::format::SEGMENT_HEADER_LEN..start].fill(0);
    disk.set_bytes(&path, bytes);
    let (file, offset, text) = refused(&disk);
    assert_eq!(file, path);
    assert_eq!(offset, 64);
    assert!(text.contains("a whole batch follows at"), "{text}");
}

#[test]
fn a_missing_segment_is_named_whichever_it_is() {
    let sample = sample();
    for path in segments(&sample.disk) {
        let disk = sample.disk.copy();
        disk.delete(&path);
        let (file, _, text) = refused(&disk);
        assert_eq!(file, path);
        assert!(text.contains("missing"));
    }
}

#[test]
fn a_missing_or_foreign_manifest_is_refused() {
    let sample = sample();
    let disk = sample.disk.copy();
    disk.delete(&in_dir(MANIFEST_NAME));
    assert_eq!(refused(&disk).0, in_dir(MANIFEST_NAME));

    let disk = sample.disk.copy();
    disk.set_bytes(&in_dir(MANIFEST_NAME), vec![7; 8192]);
    assert_eq!(refused(&disk).0, in_dir(MANIFEST_NAME));

    let other = super::damage::sample();
    let disk = sample.disk.copy();
    disk.set_bytes(
        &in_dir(MANIFEST_NAME),
        other.disk.bytes(&in_dir(MANIFEST_NAME)),
    );
    refused(&disk);
}

#[test]
fn an_older_manifest_never_drops_a_segment() {
    let sample = sample();
    let path = in_dir(MANIFEST_NAME);
    let bytes = sample.disk.bytes(&path);
    // Either slot lost: the other one is taken, and must fit or be refused.
    for slot in [0, 4096] {
        let disk = sample.disk.copy();
        let mut damaged = bytes.clone();
        damaged[slot..slot + 64].fill(0xff);
        disk.set_bytes(&path, damaged);
        match reopen(&disk) {
            Ok((found, _)) => assert_eq!(found, sample.whole),
            Err(LogError::Corrupt { .. }) => {}
            Err(other) => panic!("{other}"),
        }
    }
}

#[test]
fn a_swapped_or_foreign_segment_is_refused() {
    let sample = sample();
    let paths = segments(&sample.disk);
    let disk = sample.disk.copy();
    disk.set_bytes(&paths[1], sample.disk.bytes(&paths[0]));
    assert_eq!(refused(&disk).0, paths[1]);

    let other = super::damage::sample();
    let disk = sample.disk.copy();
    disk.set_bytes(&paths[1], other.disk.bytes(&paths[1]));
    assert_eq!(refused(&disk).0, paths[1]);
}

#[test]
fn a_payload_that_looks_like_a_batch_is_not_one() {
    let disk = SimDisk::default();
    let log = open(&disk).unwrap();
    append(&log, 0..1).unwrap();
    // Entries that carry whole batches of this very log.
    let bytes = disk.bytes(&segments(&disk)[0]);
    let nasty = |index| LogRecord {
        payload: Bytes::from(bytes[64..300].to_vec()),
        ..record(index)
    };
    log.append_receipt(vec![nasty(1)]).wait().unwrap();
    log.append_receipt(vec![nasty(2)]).wait().unwrap();
    drop(log);
    // The last batch is torn: the batches within its payload must not make that "damage".
    let (path, start, _) = last_batch(&disk);
    disk.flip(&path, start * 8 + 3);
    assert_eq!(indexes(&open(&disk).unwrap()), vec![0, 1]);
}

#[test]
fn damage_found_while_reading_is_named() {
    let disk = SimDisk::default();
    let log = open(&disk).unwrap();
    append(&log, 0..60).unwrap();
    let path = segments(&disk)[0].clone();
    for byte in 64..disk.bytes(&path).len() {
        disk.flip(&path, byte * 8);
    }
    let error = log.read(0, 1, 1000).unwrap_err();
    assert!(
        matches!(error, LogError::Corrupt { ref file, .. } if *file == path),
        "{error}"
    );
}

#[test]
fn a_forged_batch_within_a_payload_needs_the_logs_secret() {
    use crate::log::format::{
        ALIGN, BATCH_HEADER_LEN, BatchBuilder, BatchPlace, RECORD_HEADER_LEN, RecordKind,
    };
    let disk = SimDisk::default();
    let log = open(&disk).unwrap();
    append(&log, 0..1).unwrap();
    drop(log);
    let copy: Arc<dyn Disk> = Arc::new(disk.copy());
    let files = recover::open(copy, Path::new(DIR), &small()).unwrap().files;
    // Whoever knows everything but the salt can predict where the payload will lie.
    let start = files.end as usize + BATCH_HEADER_LEN + RECORD_HEADER_LEN + record(1).log_id.len();
    let padding = start.next_multiple_of(ALIGN) - start;
    let mut forged = BatchBuilder::default();
    forged.reset(1024);
    forged.push(RecordKind::Vote, 0, &[], b"forged");
    let place = BatchPlace {
        salt: 0,
        segment: files.current().0,
        offset: (start + padding) as u32,
        sequence: files.next_sequence + 1,
        previous_crc: 0,
    };
    let payload = [&vec![0; padding][..], forged.finish(place).0].concat();
    let log = open(&disk).unwrap();
    let nasty = LogRecord {
        payload: Bytes::from(payload),
        ..record(1)
    };
    log.append_receipt(vec![nasty]).wait().unwrap();
    drop(log);
    // Its batch is torn. The forged one within doesn't make that damage.
    disk.flip(&segments(&disk)[0], files.end as usize * 8 + 70);
    assert_eq!(indexes(&open(&disk).unwrap()), vec![0]);
}

#[test]
fn entries_that_no_purge_accounts_for_are_missed() {
    use crate::log::segment::{Found, Manifest};
    let sample = sample();
    let disk = sample.disk.copy();
    let Found::Noted(mut manifest) = Manifest::read(&disk, Path::new(DIR)).unwrap() else {
        panic!("there is a manifest");
    };
    // A manifest that is whole but leaves out a segment with live entries.
    let (first, last) = (manifest.data.first, manifest.data.last);
    manifest.store(first + 1, last).unwrap();
    let (file, _, text) = refused(&disk);
    assert_eq!(file, segments(&sample.disk)[1]);
    assert!(text.contains("are missing before it"), "{text}");
}

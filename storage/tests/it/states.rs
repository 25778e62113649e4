//! The state store when nothing goes wrong, and when processes die.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use regent_storage::state_store::{Change, Marker, StateStore, StateStoreConfig, StateStoreError};

use crate::{child, names, rounds};

pub(crate) type Map = BTreeMap<Vec<u8>, Vec<u8>>;

pub(crate) fn put(key: &str, value: impl Into<Vec<u8>>) -> Change {
    Change {
        key: key.as_bytes().to_vec(),
        value: Some(value.into()),
    }
}

pub(crate) fn delete(key: &str) -> Change {
    Change {
        key: key.as_bytes().to_vec(),
        value: None,
    }
}

/// A stand-in for the state hash: depends on every byte.
pub(crate) fn hash(map: &Map) -> u128 {
    let of = |bytes: &[u8]| {
        bytes.iter().fold(0xcbf2_9ce4_8422_2325_u128, |h, b| {
            (h ^ u128::from(*b)).wrapping_mul(0x0100_0000_01b3_0000_0000_01b3)
        })
    };
    map.iter().fold(0, |sum, (key, value)| {
        sum.wrapping_add(of(key).rotate_left(17) ^ of(value).wrapping_add(key.len() as u128))
    })
}

pub(crate) fn marker(index: u64, map: &Map) -> Marker {
    Marker {
        last_applied_index: Some(index),
        log_id: format!("1-{index}").into_bytes(),
        membership: b"members".to_vec(),
        state_hash: hash(map),
    }
}

pub(crate) fn load(store: &StateStore) -> Result<(Marker, Map), StateStoreError> {
    let (marker, entries) = store.load()?;
    Ok((marker, entries.collect::<Result<Map, _>>()?))
}

fn open(dir: &Path) -> (StateStore, Marker) {
    StateStore::open(dir, StateStoreConfig::default()).unwrap()
}

/// Applies changes to a map and enqueues them.
pub(crate) fn apply(store: &StateStore, map: &mut Map, index: u64, changes: Vec<Change>) {
    for change in &changes {
        match &change.value {
            Some(value) => map.insert(change.key.clone(), value.clone()),
            None => map.remove(&change.key),
        };
    }
    store.enqueue(changes, marker(index, map));
}

#[test]
fn a_new_store_is_empty() {
    let dir = tempfile::tempdir().unwrap();
    let (store, found) = open(&dir.path().join("state"));
    assert_eq!(found, Marker::default());
    assert_eq!(load(&store).unwrap(), (Marker::default(), Map::new()));
}

#[test]
fn changes_and_marker_come_back_together() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let mut map = Map::new();
    apply(
        &store,
        &mut map,
        1,
        vec![put("job/a", "1"), put("job/b", "2"), put("", "empty key")],
    );
    apply(
        &store,
        &mut map,
        2,
        vec![put("job/a", "3"), delete("job/b"), delete("job/none")],
    );
    // Entries that change nothing move the marker all the same.
    apply(&store, &mut map, 3, vec![]);
    store.flush().unwrap();
    assert_eq!(store.metrics().durable_index, Some(3));
    assert_eq!(load(&store).unwrap(), (marker(3, &map), map.clone()));
    drop(store);
    let (store, found) = open(dir.path());
    assert_eq!(found, marker(3, &map));
    assert_eq!(load(&store).unwrap().1, map);
}

#[test]
fn waiting_changes_are_coalesced_and_written_in_time() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let mut map = Map::new();
    let started = Instant::now();
    for index in 1..=2000 {
        apply(
            &store,
            &mut map,
            index,
            vec![put("counter", index.to_string())],
        );
    }
    let behind = store.metrics().behind_bytes;
    assert!(behind < 100, "one key waits, not 2000: {behind}");
    while store.metrics().durable_index != Some(2000) {
        assert!(
            started.elapsed() < Duration::from_secs(10),
            "written by itself"
        );
        std::thread::yield_now();
    }
    assert!(store.metrics().batches < 20);
    assert_eq!(load(&store).unwrap().1, map);
}

#[test]
fn closing_writes_what_waits() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let mut map = Map::new();
    apply(&store, &mut map, 9, vec![put("k", "v")]);
    store.close();
    apply(&store, &mut map.clone(), 10, vec![put("late", "dropped")]);
    drop(store);
    assert_eq!(open(dir.path()).1, marker(9, &map));
}

#[test]
fn large_values_grow_shrink_and_vanish_with_their_chunks() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let mut map = Map::new();
    let sizes = [10, 40_000, 400_000, 70_000, 32 << 10, 4097, 1_000_000, 5];
    for (index, size) in sizes.into_iter().enumerate() {
        let value = vec![index as u8; size];
        apply(
            &store,
            &mut map,
            index as u64,
            vec![put("large", value), put("large2", "x")],
        );
        store.flush().unwrap();
        assert_eq!(load(&store).unwrap().1, map, "size {size}");
    }
    apply(&store, &mut map, 100, vec![put("large", vec![1; 100_000])]);
    apply(&store, &mut map, 101, vec![delete("large")]);
    store.flush().unwrap();
    drop(store);
    assert_eq!(load(&open(dir.path()).0).unwrap().1, map);
    assert!(
        !dir.path()
            .join("state-1/blobs")
            .read_dir()
            .is_ok_and(|mut d| d.next().is_some())
    );
}

#[test]
fn chunks_written_before_a_restart_are_removed_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let mut map = Map::new();
    let large = |key: &str| put(key, vec![1; 50_000]);
    apply(&store, &mut map, 1, vec![large("shrinks"), large("goes")]);
    drop(store);
    let (store, _) = open(dir.path());
    let changes = vec![put("shrinks", "x"), delete("goes")];
    apply(&store, &mut map, 2, changes);
    store.close();
    drop(store);
    let tree = sled::open(dir.path().join("state-1")).unwrap();
    assert_eq!(tree.scan_prefix(b"c").count(), 0, "pieces of old values");
    drop(tree);
    assert_eq!(load(&open(dir.path()).0).unwrap().1, map);
}

#[test]
fn installing_replaces_everything_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let mut map = Map::new();
    apply(&store, &mut map, 1, vec![put("old", "1")]);
    store.flush().unwrap();
    apply(&store, &mut map, 2, vec![put("never written", "1")]);
    let new: Map = (0..3000u32)
        .map(|n| (format!("job/{n}").into_bytes(), vec![n as u8; 700]))
        .chain([(b"large".to_vec(), vec![3; 200_000])])
        .collect();
    store.install(new.clone(), &marker(50, &new)).unwrap();
    assert_eq!(load(&store).unwrap(), (marker(50, &new), new.clone()));
    let mut map = new;
    apply(&store, &mut map, 51, vec![put("after", "2")]);
    drop(store);
    assert_eq!(names(dir.path()), vec!["CURRENT", "LOCK", "state-2"]);
    let (store, found) = open(dir.path());
    assert_eq!(found, marker(51, &map));
    assert_eq!(load(&store).unwrap().1, map);
}

#[test]
fn an_interrupted_installation_leaves_the_old_content() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let mut map = Map::new();
    apply(&store, &mut map, 1, vec![put("old", "1")]);
    drop(store);
    // As a crash before the switch leaves it.
    std::fs::create_dir(dir.path().join("state-2")).unwrap();
    std::fs::write(dir.path().join("state-2/db"), b"half").unwrap();
    std::fs::write(dir.path().join("CURRENT.tmp"), b"half").unwrap();
    let (store, found) = open(dir.path());
    assert_eq!(found, marker(1, &map));
    assert!(!dir.path().join("state-2").exists());
    store.install(Map::new(), &marker(5, &Map::new())).unwrap();
    assert_eq!(load(&store).unwrap(), (marker(5, &Map::new()), Map::new()));
}

#[test]
fn an_open_store_is_neither_opened_nor_discarded() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let mut map = Map::new();
    apply(&store, &mut map, 1, vec![put("k", "v")]);
    let again = StateStore::open_or_discard(dir.path(), StateStoreConfig::default());
    assert!(matches!(again, Err(StateStoreError::InUse { .. })));
    let discarded = StateStore::discard(dir.path());
    assert!(matches!(discarded, Err(StateStoreError::InUse { .. })));
    drop(store);
    assert_eq!(open(dir.path()).1, marker(1, &map));
}

#[test]
fn discarding_makes_room_for_a_new_one() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("state");
    StateStore::discard(&dir).unwrap();
    let (store, _) = open(&dir);
    apply(&store, &mut Map::new(), 1, vec![put("k", "v")]);
    drop(store);
    StateStore::discard(&dir).unwrap();
    assert!(!dir.exists());
    assert_eq!(open(&dir).1, Marker::default());
}

/// Not a test of its own: what the parent starts and kills.
#[test]
fn child_that_applies() {
    let Some(dir) = child::work_dir() else { return };
    let config = StateStoreConfig {
        delay_max: Duration::from_millis(3),
        ..StateStoreConfig::default()
    };
    let (store, found, damage) = StateStore::open_or_discard(dir, config).unwrap();
    let mut map = match damage {
        Some(_) => Map::new(),
        None => load(&store).unwrap().1,
    };
    let mut index = found.last_applied_index.unwrap_or(0);
    let mut rng = StdRng::seed_from_u64(index);
    child::say("ready");
    let end = Instant::now() + Duration::from_secs(20);
    while Instant::now() < end {
        index += 1;
        let key = format!("key/{}", rng.random_range(0..300));
        let change = match rng.random_range(0..4) {
            0 => delete(&key),
            1 => put(&key, vec![index as u8; rng.random_range(0..60_000)]),
            _ => put(&key, vec![index as u8; rng.random_range(0..500)]),
        };
        apply(&store, &mut map, index, vec![change]);
        if index.is_multiple_of(50) {
            store.flush().unwrap();
            child::say(&format!("durable {index}"));
        }
    }
}

#[test]
fn a_killed_process_leaves_a_consistent_or_a_discarded_store() {
    let dir = tempfile::tempdir().unwrap();
    let mut rng = StdRng::seed_from_u64(3);
    let mut opened = 0;
    for round in 0..rounds() {
        let running = child::start("states::child_that_applies", dir.path());
        running.expect("ready");
        let said = running.kill_after(Duration::from_millis(rng.random_range(1..150)));
        let durable = said
            .iter()
            .rev()
            .find_map(|line| line.strip_prefix("durable "));
        match StateStore::open(dir.path(), StateStoreConfig::default()) {
            Ok((store, found)) => {
                let (_, map) = load(&store).unwrap();
                assert_eq!(found.state_hash, hash(&map), "round {round}");
                let durable = durable.map(|index| index.parse().unwrap());
                assert!(found.last_applied_index >= durable, "round {round}");
                opened += 1;
            }
            Err(StateStoreError::Damaged { .. }) => StateStore::discard(dir.path()).unwrap(),
            Err(other) => panic!("round {round}: {other}"),
        }
    }
    assert!(opened * 2 > rounds(), "usually it opens: {opened}");
}

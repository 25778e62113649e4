//! A state store whose files were damaged or removed: never a panic, and always rebuilt.

use std::path::{Path, PathBuf};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use regent_storage::state_store::{Marker, StateStore, StateStoreConfig, StateStoreError};

use crate::states::{Map, apply, hash, load, marker, put};

fn config() -> StateStoreConfig {
    StateStoreConfig::default()
}

/// Fills a store and closes it.
fn filled(dir: &Path) -> Map {
    let (store, _) = StateStore::open(dir, config()).unwrap();
    let mut map = Map::new();
    for index in 1..=60 {
        let value = vec![index as u8; (index * 97 % 3000) as usize];
        apply(
            &store,
            &mut map,
            index,
            vec![put(&format!("job/{}", index % 17), value)],
        );
        if index % 10 == 0 {
            store.flush().unwrap();
        }
    }
    map
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
        match entry.path().is_dir() {
            true => found.extend(files(&entry.path())),
            // Taken by whoever opens the store; its content is nothing.
            false if entry.file_name() == "LOCK" => {}
            false => found.push(entry.path()),
        }
    }
    found.sort();
    found
}

/// What an owner does: opens, compares, rebuilds if need be. True if it had to.
fn open_as_owner(dir: &Path, truth: &Map) -> bool {
    let good = match StateStore::open(dir, config()) {
        Ok((store, found)) => match load(&store) {
            // An older state is fine as long as it is one: the log brings the rest.
            Ok((again, map)) => again == found && found.state_hash == hash(&map),
            Err(StateStoreError::Damaged { .. }) => false,
            Err(other) => panic!("{other}"),
        },
        Err(StateStoreError::Damaged { dir: named, .. }) => {
            assert!(named.starts_with(dir));
            false
        }
        Err(other) => panic!("{other}"),
    };
    if !good {
        StateStore::discard(dir).unwrap();
        let (store, found) = StateStore::open(dir, config()).unwrap();
        assert_eq!(found, Marker::default());
        store.install(truth.clone(), &marker(60, truth)).unwrap();
        assert_eq!(load(&store).unwrap().1, *truth);
    }
    !good
}

/// What is done to a file, and its name.
type Damage = (&'static str, fn(&Path));

#[test]
fn deleted_emptied_and_overwritten_files_are_survived() {
    let damages: [Damage; 4] = [
        ("removed", |path| std::fs::remove_file(path).unwrap()),
        ("emptied", |path| std::fs::write(path, b"").unwrap()),
        ("garbage", |path| {
            let len = std::fs::metadata(path).unwrap().len() as usize;
            std::fs::write(path, vec![0xa5; len]).unwrap();
        }),
        ("halved", |path| {
            let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
            file.set_len(file.metadata().unwrap().len() / 2).unwrap();
        }),
    ];
    let count = files_of_a_store();
    for which in 0..count {
        for (name, damage) in damages {
            let dir = tempfile::tempdir().unwrap();
            let map = filled(dir.path());
            let path = files(dir.path())[which].clone();
            damage(&path);
            open_as_owner(dir.path(), &map);
            assert!(files(dir.path()).len() >= 2, "{name}: {}", path.display());
        }
    }
}

fn files_of_a_store() -> usize {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    let count = files(dir.path()).len();
    assert!(count >= 3, "pointer, configuration, database");
    count
}

#[test]
fn random_damage_never_panics_outwards_and_never_passes_for_the_truth() {
    let rounds = crate::rounds() * 10;
    for seed in 0..u64::from(rounds) {
        let mut rng = StdRng::seed_from_u64(seed);
        let dir = tempfile::tempdir().unwrap();
        let map = filled(dir.path());
        let files = files(dir.path());
        let path = &files[rng.random_range(0..files.len())];
        let mut bytes = std::fs::read(path).unwrap();
        // Most of a database file is unused: aim at what is written.
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0) + 1;
        for _ in 0..rng.random_range(1..20) {
            bytes[rng.random_range(0..used)] = rng.random();
        }
        std::fs::write(path, bytes).unwrap();
        open_as_owner(dir.path(), &map);
    }
}

#[test]
fn a_missing_directory_or_pointer_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    std::fs::remove_dir_all(dir.path().join("state-1")).unwrap();
    let error = StateStore::open(dir.path(), config()).unwrap_err();
    assert!(error.to_string().contains("state-1 is missing"), "{error}");

    let (store, found, damage) = StateStore::open_or_discard(dir.path(), config()).unwrap();
    assert!(damage.is_some());
    assert_eq!(found, Marker::default());
    drop(store);

    let map = filled(dir.path());
    std::fs::remove_file(dir.path().join("CURRENT")).unwrap();
    let (store, found) = StateStore::open(dir.path(), config()).unwrap();
    assert_eq!(
        found,
        Marker::default(),
        "without the pointer nothing counts"
    );
    store.install(map.clone(), &marker(60, &map)).unwrap();
    assert_eq!(load(&store).unwrap().1, map);
}

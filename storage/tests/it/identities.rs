//! Identity and lock of a data directory.

use std::path::Path;

use regent_storage::identity::{DataDir, Identity, IdentityError, Member, machine_id};

use crate::child;

fn members() -> Vec<Member> {
    let member = |node_id: u64| Member {
        node_id,
        name: format!("jm-{node_id}"),
        api: format!("127.0.0.1:71{node_id:02}"),
        peer: format!("127.0.0.1:72{node_id:02}"),
    };
    (1..=3).map(member).collect()
}

fn start(dir: &Path, node_id: u64) -> Result<Identity, IdentityError> {
    DataDir::lock(dir)?.open_and_increment_incarnation(node_id)
}

#[test]
fn each_start_raises_the_incarnation() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("made/on/the/way");
    assert!(DataDir::lock(&dir).unwrap().identity().unwrap().is_none());
    for incarnation in 1..4 {
        let identity = start(&dir, 2).unwrap();
        assert_eq!(identity.incarnation, incarnation);
        assert_eq!(identity.cluster_id, None);
        assert_eq!(identity.generation, 1);
    }
}

#[test]
fn bootstrap_is_repeatable_and_for_one_cluster_only() {
    let dir = tempfile::tempdir().unwrap();
    let data = DataDir::lock(dir.path()).unwrap();
    data.open_and_increment_incarnation(1).unwrap();
    let first = data.join_cluster([7; 16], 1, members()).unwrap();
    assert_eq!(first.members, members());
    assert_eq!(data.join_cluster([7; 16], 1, members()).unwrap(), first);
    let error = data.join_cluster([8; 16], 1, members()).unwrap_err();
    assert!(matches!(error, IdentityError::WrongCluster { .. }));
    for word in ["07070707", "own directory back", "members remove 1"] {
        assert!(error.to_string().contains(word), "{word}: {error}");
    }
    drop(data);
    let again = start(dir.path(), 1).unwrap();
    assert_eq!(again.cluster_id, Some([7; 16]));
    assert_eq!(again.incarnation, 2);
}

#[test]
fn generations_only_rise() {
    let dir = tempfile::tempdir().unwrap();
    let data = DataDir::lock(dir.path()).unwrap();
    data.open_and_increment_incarnation(1).unwrap();
    assert_eq!(data.raise_generation(3).unwrap().generation, 3);
    assert_eq!(data.raise_generation(3).unwrap().generation, 3);
    let error = data.raise_generation(2).unwrap_err();
    assert!(matches!(
        error,
        IdentityError::OlderGeneration {
            found: 3,
            asked: 2,
            ..
        }
    ));
}

#[test]
fn a_foreign_damaged_or_half_wiped_directory_is_refused_with_the_remedy() {
    let dir = tempfile::tempdir().unwrap();
    start(dir.path(), 1).unwrap();
    let wrong = start(dir.path(), 2).unwrap_err();
    assert!(
        wrong
            .to_string()
            .contains("belongs to node 1, not to node 2"),
        "{wrong}"
    );

    let file = dir.path().join("identity");
    let good = std::fs::read(&file).unwrap();
    for bit in 0..good.len() * 8 {
        let mut bytes = good.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        std::fs::write(&file, bytes).unwrap();
        let error = start(dir.path(), 1).unwrap_err();
        assert!(
            matches!(error, IdentityError::Damaged { .. }),
            "bit {bit}: {error}"
        );
        assert!(error.to_string().contains("regent members remove"));
    }

    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(dir.path().join("log")).unwrap();
    let error = start(dir.path(), 1).unwrap_err();
    assert!(
        matches!(error, IdentityError::Missing { found: "log", .. }),
        "{error}"
    );
}

#[test]
fn an_unfinished_replacement_does_not_count() {
    let dir = tempfile::tempdir().unwrap();
    start(dir.path(), 1).unwrap();
    std::fs::write(dir.path().join("identity.tmp"), b"half").unwrap();
    assert_eq!(start(dir.path(), 1).unwrap().incarnation, 2);
}

#[test]
fn a_worker_has_its_own_directory() {
    let dir = tempfile::tempdir().unwrap();
    let data = DataDir::lock(dir.path()).unwrap();
    let first = data.open_worker("tm-1").unwrap();
    assert_eq!((first.worker_id.as_str(), first.incarnation), ("tm-1", 1));
    assert_eq!(first.machine_id, machine_id());
    assert!(!first.machine_id.is_empty());
    assert_eq!(data.open_worker("tm-1").unwrap().incarnation, 2);
    assert!(matches!(
        data.open_worker("tm-2").unwrap_err(),
        IdentityError::WrongWorker { .. }
    ));
}

/// Not a test of its own: holds a lock until it is killed.
#[test]
fn child_that_holds_the_lock() {
    let Some(dir) = child::work_dir() else { return };
    let _data = DataDir::lock(dir).unwrap();
    child::say(&format!("holding {}", std::process::id()));
    std::io::stdin().read_line(&mut String::new()).ok();
}

#[test]
fn a_directory_in_use_is_named_with_its_user_and_free_after_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let running = child::start("identities::child_that_holds_the_lock", dir.path());
    let pid = running.expect("holding").replace("holding ", "");
    let error = DataDir::lock(dir.path()).unwrap_err();
    let expected = format!(
        "data directory {} is in use by another process (pid {pid})",
        dir.path().display()
    );
    assert_eq!(error.to_string(), expected);
    drop(running);
    DataDir::lock(dir.path()).unwrap();
}

//! Tables: what is found, what is known, what is suspect; and what the ledger says of directories.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use regent_protocol::metadata::encode_metadata;
use regent_protocol::v1::subtask_handle::State;
use regent_protocol::v1::{CheckpointMetadata, StateFile, SubtaskHandle, VertexState};
use regent_state::Command;
use regent_state::command::{CheckpointKind, Outcome};
use regent_state::ids::ArtefactId;

use super::compare::{Content, Known, Wanted, compare, ledger};
use super::places::{Places, places, run_of, staging_dirs};
use super::{is_marker, judge, names};
use crate::testing::{Env, JOB, SinkKind, graph, tm};

fn found(files: &[(&str, u64)]) -> BTreeMap<PathBuf, u64> {
    files
        .iter()
        .map(|(path, size)| (PathBuf::from(path), *size))
        .collect()
}

fn any(artefact: u64) -> Known {
    Known {
        artefact: ArtefactId(artefact),
        job: Some(JOB),
        content: Content::Any,
    }
}

fn holds(artefact: u64, files: &[(&str, u64)]) -> Known {
    Known {
        content: Content::Files(found(files)),
        ..any(artefact)
    }
}

fn known(dirs: &[(&str, Known)]) -> BTreeMap<PathBuf, Known> {
    dirs.iter()
        .map(|(path, dir)| (PathBuf::from(path), dir.clone()))
        .collect()
}

/// What is compared in words, the files that were found, the known directories, orphans, dangling.
type Case = (
    &'static str,
    &'static [(&'static str, u64)],
    Vec<(&'static str, Known)>,
    &'static [&'static str],
    &'static [&'static str],
);

#[test]
fn found_is_held_against_known() {
    let chk = ("/s/chk-1", holds(1, &[("/s/chk-1/_metadata", 7)]));
    let cases: [Case; 9] = [
        ("nothing at all", &[], vec![], &[], &[]),
        (
            "as it should be",
            &[("/s/chk-1/_metadata", 7)],
            vec![chk.clone()],
            &[],
            &[],
        ),
        (
            "unknown directory",
            &[("/s/chk-2/a", 1)],
            vec![],
            &["/s/chk-2/a"],
            &[],
        ),
        (
            "chk-10 is not below chk-1",
            &[("/s/chk-10/a", 1)],
            vec![("/s/chk-1", any(1))],
            &["/s/chk-10/a"],
            &[],
        ),
        (
            "whatever is in a directory that waits for deletion",
            &[("/s/chk-1/a", 1), ("/s/chk-1/deep/b", 1)],
            vec![("/s/chk-1", any(1))],
            &[],
            &[],
        ),
        (
            "a stranger in a complete checkpoint",
            &[("/s/chk-1/_metadata", 7), ("/s/chk-1/x", 1)],
            vec![chk.clone()],
            &["/s/chk-1/x"],
            &[],
        ),
        (
            "another size",
            &[("/s/chk-1/_metadata", 8)],
            vec![chk.clone()],
            &[],
            &["/s/chk-1/_metadata"],
        ),
        (
            "missing, also where nothing was listed",
            &[],
            vec![chk, ("/user/sp", holds(2, &[("/user/sp/_metadata", 9)]))],
            &[],
            &["/s/chk-1/_metadata", "/user/sp/_metadata"],
        ),
        (
            "the nearest directory counts",
            &[("/s/a/inner/x", 1)],
            vec![("/s/a", any(1)), ("/s/a/inner", holds(2, &[]))],
            &["/s/a/inner/x"],
            &[],
        ),
    ];
    for (case, files, dirs, orphans, wanted) in cases {
        let suspects = compare(&found(files), &known(&dirs));
        let named: Vec<&Path> = orphans.iter().map(Path::new).collect();
        assert_eq!(suspects.orphans, named, "{case}");
        let found: Vec<&Path> = suspects.wanted.iter().map(|w| w.path.as_path()).collect();
        let named: Vec<&Path> = wanted.iter().map(Path::new).collect();
        assert_eq!(found, named, "{case}");
    }
}

#[test]
fn the_ledger_tells_what_must_stay_from_what_goes() {
    let mut env = Env::with_job(graph(1, SinkKind::ExactlyOnce));
    env.run(&[tm(1, 1)]);
    env.checkpoint(CheckpointKind::Checkpoint, false);
    env.checkpoint(CheckpointKind::Checkpoint, false);
    let of = ledger(&env.machine);
    let kept: Vec<&str> = of.kept.iter().map(|kept| kept.path.as_str()).collect();
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert!(kept[0].ends_with("/chk-2"), "{kept:?}");
    assert_eq!(of.kept[0].metadata, Some((1, 2)));
    let any: Vec<&str> = of.any.iter().map(|(path, _)| path.as_str()).collect();
    let has = |end: &str| any.iter().any(|path| path.contains(end));
    assert!(has("/chk-1") && has("/out/_staging/"), "{any:?}");
    assert_eq!(
        staging_dirs(&env.machine).into_iter().collect::<Vec<_>>(),
        ["/out/_staging"]
    );
}

#[test]
fn only_what_the_log_counts_on_still_is_reported() {
    let mut env = Env::with_job(graph(1, SinkKind::Blackhole));
    env.run(&[tm(1, 1)]);
    env.checkpoint(CheckpointKind::Checkpoint, false);
    let id = ledger(&env.machine).kept[0].artefact;
    let file = |path: &str| Wanted {
        path: path.into(),
        size_bytes: 5,
        artefact: id,
        job: Some(JOB),
    };
    let looked = || {
        vec![
            (file("/gone"), None),
            (file("/short"), Some(4)),
            (file("/was-late"), Some(5)),
        ]
    };
    let broken = || {
        vec![
            (file("/a/_metadata"), None),
            (file("/b/_metadata"), Some(5)),
            (file("/c/_metadata"), Some(6)),
        ]
    };
    let verified = judge(&env.machine, looked(), broken());
    let dangling: Vec<&str> = verified.dangling.iter().map(|d| d.path.as_str()).collect();
    assert_eq!(dangling, ["/a/_metadata", "/b/_metadata", "/gone"]);
    assert_eq!(verified.dangling[0].job_id, JOB.to_string());
    let wrong = verified.wrong_size.iter();
    let wrong: Vec<_> = wrong
        .map(|w| (w.path.as_str(), w.expected, w.found))
        .collect();
    assert_eq!(wrong, [("/c/_metadata", 5, 6), ("/short", 5, 4)]);
    assert!(!verified.is_clean());

    // Meanwhile the next one took its place.
    env.checkpoint(CheckpointKind::Checkpoint, false);
    let later = judge(&env.machine, looked(), broken());
    assert!(later.is_clean(), "{later:?}");
}

#[test]
fn what_stays_after_the_end_is_wanted_still() {
    let mut env = Env::with_job(graph(1, SinkKind::Blackhole));
    env.run(&[tm(1, 1)]);
    let target = "/sp".to_owned();
    env.client(Command::StopJob(regent_state::command::StopJob {
        job: JOB,
        target,
        drain: false,
    }));
    env.checkpoint(CheckpointKind::StopSavepoint, false);
    let ended = regent_state::command::JobTerminated {
        job: JOB,
        run: env.machine.job(JOB).unwrap().run,
        token: env.machine.job(JOB).unwrap().token,
        outcome: Outcome::Finished,
    };
    env.leader(Command::JobTerminated(ended));
    let of = ledger(&env.machine);
    assert_eq!(of.kept.len(), 1);
    assert!(of.kept[0].path.starts_with("/sp/savepoint-"));
}

#[test]
fn names_come_from_metadata_that_is_the_one_the_log_means() {
    let file = StateFile {
        name: "v-0.state".into(),
        length: 9,
        crc32c: 1,
    };
    let metadata = CheckpointMetadata {
        format_version: 1,
        vertices: vec![VertexState {
            subtasks: vec![SubtaskHandle {
                state: Some(State::File(file)),
                ..SubtaskHandle::default()
            }],
            ..VertexState::default()
        }],
        ..CheckpointMetadata::default()
    };
    let bytes = encode_metadata(&metadata).unwrap();
    let length = bytes.len() as u64;
    let crc = regent_protocol::metadata::MetadataPointer::of(&bytes).crc32c;
    let expected: BTreeMap<String, u64> = [
        ("_metadata".to_owned(), length),
        ("v-0.state".to_owned(), 9),
    ]
    .into();
    assert_eq!(names(&bytes, None), Some(expected.clone()));
    assert_eq!(names(&bytes, Some((length, crc))), Some(expected));
    assert_eq!(names(&bytes, Some((length, crc ^ 1))), None);
    assert_eq!(names(&bytes[1..], None), None);
}

#[test]
fn savepoints_elsewhere_are_looked_for_where_users_put_them() {
    let mut env = Env::with_job(graph(1, SinkKind::Blackhole));
    env.run(&[tm(1, 1)]);
    let target = "/user/sp/".to_owned();
    env.client(Command::StopJob(regent_state::command::StopJob {
        job: JOB,
        target,
        drain: false,
    }));
    let run = env.machine.job(JOB).unwrap().run;
    let of = |root: &str| places(&env.machine, root);
    let set = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    let before = Places {
        dirs: set(&["/chk"]),
        folders: set(&["/user/sp"]),
    };
    assert_eq!(of("/chk/"), before);
    assert_eq!(of("/user").folders, set(&[]));
    env.checkpoint(CheckpointKind::StopSavepoint, false);
    let own = format!("/user/sp/savepoint-{run}-1");
    let after = places(&env.machine, "/chk");
    assert!(after.dirs.contains(&own), "{after:?}");
    assert_eq!(after.folders, before.folders);
}

#[test]
fn names_of_savepoints_and_markers() {
    assert_eq!(run_of("savepoint-1.17-4"), Some("1.17"));
    for name in [
        "savepoint-1.17",
        "savepoint-1-4",
        "savepoint-a.1-4",
        "chk-4",
        "savepoint-1.-4",
    ] {
        assert_eq!(run_of(name), None, "{name}");
    }
    let markers = Some(Path::new("/s/owner"));
    assert!(is_marker(Path::new("/s/owner/1-ab"), markers));
    assert!(!is_marker(Path::new("/s/owner/notes"), markers));
    assert!(!is_marker(Path::new("/s/job/1-ab"), markers));
    assert!(!is_marker(Path::new("/1-ab"), None));
}

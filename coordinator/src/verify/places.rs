//! Where to look: below the checkpoint directory, where sinks stage, and wherever users had savepoints
//! put. Pure.
//!
//! A user's folder is no property of this cluster: there, only directories named like savepoints of a
//! run that the log knows, or that say themselves whose they are, are looked into.

use std::collections::BTreeSet;

use regent_state::Machine;
use regent_state::model::{ArtefactKind, Wanted};

/// Directories to list, and folders in which savepoints may lie.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Places {
    pub(super) dirs: BTreeSet<String>,
    pub(super) folders: BTreeSet<String>,
}

/// The places that the log knows of.
pub(super) fn places(machine: &Machine, root: &str) -> Places {
    let root = root.trim_end_matches('/');
    let mut places = Places::default();
    places.dirs.insert(root.to_owned());
    places.dirs.extend(staging_dirs(machine));
    let outside = |path: &str| {
        let rest = path.strip_prefix(root);
        !rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    for artefact in machine.artefacts().filter(|one| outside(&one.path)) {
        match &artefact.kind {
            ArtefactKind::Checkpoint { .. } => {
                places.dirs.insert(artefact.path.clone());
            }
            ArtefactKind::Savepoint { .. } => {
                places.dirs.insert(artefact.path.clone());
                let folder = artefact.path.trim_end_matches('/').rsplit_once('/');
                places
                    .folders
                    .extend(folder.map(|(folder, _)| folder.to_owned()));
            }
            _ => {}
        }
    }
    for job in machine.jobs() {
        let asked = job.savepoints.iter().map(|request| request.target.as_str());
        let stop = match &job.wanted {
            Wanted::Stop { target, .. } => Some(target.as_str()),
            Wanted::Run | Wanted::Cancel | Wanted::Fail => None,
        };
        let targets = asked.chain(stop).map(|target| target.trim_end_matches('/'));
        let targets = targets.filter(|target| outside(target) && !target.is_empty());
        places.folders.extend(targets.map(str::to_owned));
    }
    places
}

/// Where sinks of known jobs stage their files, each once.
pub(super) fn staging_dirs(machine: &Machine) -> BTreeSet<String> {
    let graphs = machine.jobs().filter_map(|job| machine.graph(job.id));
    let mut dirs = BTreeSet::new();
    for graph in graphs {
        let sinks = graph.path_sinks().map(|(_, sink)| sink);
        dirs.extend(sinks.map(|sink| format!("{}/_staging", sink.path.trim_end_matches('/'))));
    }
    dirs
}

/// The run in the name `savepoint-<run>-<id>`.
pub(super) fn run_of(name: &str) -> Option<&str> {
    let (run, id) = name.strip_prefix("savepoint-")?.rsplit_once('-')?;
    let (generation, index) = run.split_once('.')?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    [generation, index, id]
        .into_iter()
        .all(is_number)
        .then_some(run)
}

/// The runs that the log knows.
pub(super) fn runs(machine: &Machine) -> BTreeSet<String> {
    let jobs = machine.jobs().map(|job| job.run);
    let owners = machine.artefacts().filter_map(|one| one.owner);
    jobs.chain(owners.map(|(_, run)| run))
        .map(|run| run.to_string())
        .collect()
}

//! What the log counts on, held against what was found. Pure.
//!
//! Paths are compared by segment. A file belongs to the nearest directory above it that the log knows.
//! The answer is a list of suspects: the store and the log were looked at one after the other, so each
//! is looked at again before it is reported.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use regent_state::Machine;
use regent_state::ids::{ArtefactId, CheckpointId, JobId, Run};
use regent_state::model::{Artefact, ArtefactKind, ArtefactState};

/// A directory that the log knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) artefact: ArtefactId,
    pub(crate) job: Option<JobId>,
    pub(crate) content: Content,
}

/// What may and must be in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Content {
    /// It is being written, or waits for its deletion: whatever is in it is accounted for.
    Any,
    /// These files of these sizes, and nothing else.
    Files(BTreeMap<PathBuf, u64>),
}

/// A completed checkpoint or savepoint that is to stay: what must be in it stands in its `_metadata`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) artefact: ArtefactId,
    pub(crate) job: Option<JobId>,
    pub(crate) path: String,
    /// Length and crc32c of `_metadata`, while the log has them.
    pub(crate) metadata: Option<(u64, u32)>,
}

/// What the ledger says of directories.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Ledger {
    /// Accounted for as a whole.
    pub(crate) any: Vec<(String, Known)>,
    /// To be read before anything can be said of their content.
    pub(crate) kept: Vec<Kept>,
}

/// A file that the log counts on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) path: PathBuf,
    pub(crate) size_bytes: u64,
    pub(crate) artefact: ArtefactId,
    pub(crate) job: Option<JobId>,
}

/// What doesn't fit.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Suspects {
    /// Found, and the log knows nothing of it.
    pub(crate) orphans: Vec<PathBuf>,
    /// Not found, or of another size.
    pub(crate) wanted: Vec<Wanted>,
}

/// The directories of the ledger, sorted out by what can be said of them.
pub(crate) fn ledger(machine: &Machine) -> Ledger {
    let mut ledger = Ledger::default();
    for artefact in machine.artefacts() {
        // Files under a `replace` sink lie where others write too.
        if !artefact.kind.owns_path() {
            continue;
        }
        let job = artefact.owner.map(|(job, _)| job);
        match kept(machine, artefact) {
            Some(metadata) => ledger.kept.push(Kept {
                artefact: artefact.id,
                job,
                path: artefact.path.clone(),
                metadata,
            }),
            None => {
                let known = Known {
                    artefact: artefact.id,
                    job,
                    content: Content::Any,
                };
                ledger.any.push((artefact.path.clone(), known));
            }
        }
    }
    ledger
}

/// `Some` for a completed checkpoint that stays, with its `_metadata` while the log has the record.
fn kept(machine: &Machine, artefact: &Artefact) -> Option<Option<(u64, u32)>> {
    let id = match &artefact.kind {
        ArtefactKind::Checkpoint { id } => Some(*id),
        ArtefactKind::Savepoint { id, .. } => *id,
        _ => return None,
    };
    let pointer = metadata_of(machine, artefact.owner, id);
    match artefact.state {
        // Without a pointer it isn't complete yet.
        ArtefactState::Live => pointer.map(Some),
        // Its job's record may have expired.
        ArtefactState::Retained => Some(pointer),
        _ => None,
    }
}

fn metadata_of(
    machine: &Machine,
    owner: Option<(JobId, Run)>,
    id: Option<CheckpointId>,
) -> Option<(u64, u32)> {
    let (job, run) = owner?;
    let pointer = machine.checkpoint(job, run, id?)?.pointer()?.clone();
    Some((pointer.metadata_len, pointer.metadata_crc))
}

/// Holds what was found against what is known.
pub(crate) fn compare(
    found: &BTreeMap<PathBuf, u64>,
    known: &BTreeMap<PathBuf, Known>,
) -> Suspects {
    let unknown = |path: &&PathBuf| match nearest(known, path) {
        None => true,
        Some(dir) => match &dir.content {
            Content::Any => false,
            Content::Files(files) => !files.contains_key(*path),
        },
    };
    Suspects {
        orphans: found.keys().filter(unknown).cloned().collect(),
        wanted: known
            .values()
            .flat_map(wanted)
            .filter(|file| found.get(&file.path) != Some(&file.size_bytes))
            .collect(),
    }
}

fn nearest<'a>(known: &'a BTreeMap<PathBuf, Known>, file: &Path) -> Option<&'a Known> {
    file.ancestors().skip(1).find_map(|dir| known.get(dir))
}

fn wanted(known: &Known) -> Vec<Wanted> {
    let Content::Files(files) = &known.content else {
        return Vec::new();
    };
    let file = |(path, size_bytes): (&PathBuf, &u64)| Wanted {
        path: path.clone(),
        size_bytes: *size_bytes,
        artefact: known.artefact,
        job: known.job,
    };
    files.iter().map(file).collect()
}

/// Whether the log still counts on what this artefact holds.
pub(crate) fn is_kept(machine: &Machine, id: ArtefactId) -> bool {
    machine.artefact(id).is_some_and(|artefact| {
        matches!(
            artefact.state,
            ArtefactState::Live | ArtefactState::Retained
        )
    })
}

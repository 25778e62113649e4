//! What lies where: whether a path that a user names meets what the ledger or a claim holds.
//!
//! What is deleted as a directory takes everything in it along, and what lies below a sink's path is read as
//! output. So a savepoint is taken outside of both, and no sink is put over or into what the ledger keeps:
//! otherwise deleting what was given up would reach what is alive (`docs/protocol.md` §8).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::JobId;
use crate::machine::Machine;
use crate::model::{Artefact, ArtefactKind, ArtefactState};
use crate::path;

/// Who is at a path already.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Occupant {
    /// What it is, for people: the kind of an artefact, or the path of a sink.
    pub what: String,
    /// Where.
    pub path: String,
    /// Whose; `None` for a savepoint of another cluster.
    pub job: Option<JobId>,
}

impl fmt::Display for Occupant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.what, self.path)?;
        match self.job {
            Some(job) => write!(f, " of job {job}"),
            None => Ok(()),
        }
    }
}

impl Occupant {
    fn artefact(artefact: &Artefact) -> Self {
        Self {
            what: artefact.kind.to_string(),
            path: artefact.path.clone(),
            job: artefact.owner.map(|(job, _)| job),
        }
    }
}

impl Machine {
    /// What a savepoint below this folder would lie in: an artefact, with which it would be deleted, or a
    /// sink's path, where it would be taken for output. `None`: it is free.
    pub fn around_savepoints(&self, folder: &str) -> Option<Occupant> {
        let folder = path::normalise(folder);
        self.artefact_around(&folder)
            .or_else(|| self.sink_around(&folder))
    }

    /// What a sink at this path would lie in, or take into its output: an artefact around it, one below it
    /// that is alive or kept, or the folder of a savepoint that is asked for. Other sinks are the claims'.
    pub fn met_by_sink(&self, path: &str) -> Option<Occupant> {
        let path = path::normalise(path);
        self.artefact_around(&path)
            .or_else(|| self.kept_below(&path))
            .or_else(|| self.folder_within(&path))
    }

    /// Whether an artefact lies at a path or above it: whatever is there belongs to the ledger.
    pub(crate) fn is_in_artefact(&self, path: &str) -> bool {
        self.artefact_around(&path::normalise(path)).is_some()
    }

    /// Whether nothing that is known lies at a path or below it, so that a new directory there is alone.
    pub(crate) fn is_vacant(&self, path: &str) -> bool {
        let path = path::normalise(path);
        let below = path::below(&path);
        let (claims, paths) = (&self.tables.claims, &self.index.paths);
        let claimed = claims.get(&path).is_some() || claims.range(below.clone()).next().is_some();
        let declared = paths.contains_key(&path) || paths.range(below).next().is_some();
        !claimed && !declared && self.folder_within(&path).is_none()
    }

    fn artefact_around(&self, path: &str) -> Option<Occupant> {
        let at = |path: &str| self.index.paths.get(path).copied();
        let id = at_and_above(path).find_map(at)?;
        self.artefact(id).map(|found| Occupant::artefact(found))
    }

    fn sink_around(&self, path: &str) -> Option<Occupant> {
        let claims = &self.tables.claims;
        at_and_above(path).find_map(|path| {
            let claim = claims.get(&path.to_owned())?;
            Some(Occupant {
                what: "sink path".to_owned(),
                path: path.to_owned(),
                job: claim.holders.first().map(|holder| holder.job),
            })
        })
    }

    /// Staging is where sinks are, and what is given up is no loss.
    fn kept_below(&self, path: &str) -> Option<Occupant> {
        let below = self.index.paths.range(path::below(path));
        let artefacts = below.filter_map(|(_, id)| self.artefact(*id));
        let mut kept = artefacts.filter(|artefact| {
            let in_use = matches!(
                artefact.state,
                ArtefactState::Live | ArtefactState::Retained
            );
            in_use && !matches!(artefact.kind, ArtefactKind::Staging { .. })
        });
        kept.next().map(|found| Occupant::artefact(found))
    }

    /// The folder of a savepoint that is asked for and not begun yet.
    fn folder_within(&self, path: &str) -> Option<Occupant> {
        let occupant = |(folder, job): &(String, JobId)| Occupant {
            what: "savepoint folder".to_owned(),
            path: folder.clone(),
            job: Some(*job),
        };
        let targets = &self.index.targets;
        let first = JobId([0; 16]);
        let at = targets.range((path.to_owned(), first)..).next();
        let at = at.filter(|(folder, _)| folder == path);
        let below = path::below(path);
        let below = targets.range((below.start, first)..(below.end, first));
        at.into_iter().chain(below).next().map(occupant)
    }
}

fn at_and_above(path: &str) -> impl Iterator<Item = &str> {
    std::iter::once(path).chain(path::above(path))
}

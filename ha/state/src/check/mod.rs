//! Every invariant of the state, as code that runs: in tests and simulation after each entry, in
//! debug builds for the jobs that an entry touched, and whenever a snapshot is read.

mod cluster;
mod job;
mod ledger;

use std::fmt;

use thiserror::Error;

use crate::codec;
use crate::ids::JobId;
use crate::index::Index;
use crate::machine::Machine;

/// A broken invariant.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{rule}: {what}")]
pub struct Violation {
    /// What should hold.
    pub rule: &'static str,
    /// Where it doesn't.
    pub what: String,
}

type Checked = Result<(), Violation>;

/// Demands that a rule holds here.
fn must(holds: bool, rule: &'static str, what: impl fmt::Display) -> Checked {
    if holds {
        Ok(())
    } else {
        Err(Violation {
            rule,
            what: what.to_string(),
        })
    }
}

/// Demands that one thing follows from another.
fn implies(a: bool, b: bool, rule: &'static str, what: impl fmt::Display) -> Checked {
    must(!a || b, rule, what)
}

impl Machine {
    /// Checks every invariant over the whole state. Takes time in proportion to it.
    pub fn check(&self) -> Result<(), Violation> {
        self.check_hash()?;
        self.check_index()?;
        cluster::check(self)?;
        for job in self.jobs() {
            self.check_job(job.id)?;
            job::check_graph(self, job)?;
        }
        job::check_orphans(self)?;
        ledger::check(self)
    }

    /// Checks the invariants around one job; one that is not there is fine.
    pub fn check_job(&self, job: JobId) -> Result<(), Violation> {
        match self.job(job) {
            Some(found) => job::check(self, found),
            None => Ok(()),
        }
    }

    fn check_hash(&self) -> Checked {
        let sum = self.entities().fold(0_u128, |sum, (key, value)| {
            sum.wrapping_add(codec::digest(&key.to_bytes(), &value))
        });
        must(
            sum == self.hash(),
            "the hash is that of the entities",
            format!("{sum:032x}"),
        )
    }

    fn check_index(&self) -> Checked {
        let mut index = Index::default();
        for job in self.jobs() {
            index.job(None, Some(job));
        }
        for artefact in self.artefacts() {
            index.artefact(None, Some(artefact));
        }
        for (at, record) in self.tables.requests.iter() {
            index.request(*at, None, Some(record));
        }
        must(
            index == self.index,
            "the derived orders follow from the entities",
            "index",
        )
    }
}

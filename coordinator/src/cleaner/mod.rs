//! The cleaner: works the artefact ledger off, in the ledger's order, with bounded parallelism.
//!
//! Deletions run beside the loop, so one that hangs holds up only its own place; outcomes are gathered
//! and written many to an entry. What is due, when to try again and when a result becomes clean is the
//! machine's decision; `plan.rs` picks and reports, `act.rs` deletes.

mod act;
pub(crate) mod plan;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use regent_failpoint::reach;
use regent_state::command::{CleanupAttempted, CleanupReport, CleanupSwept, SweepReport};
use regent_state::ids::ArtefactId;
use regent_state::model::{Artefact, ArtefactState};
use regent_state::{Command, Effect};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::leader::rule::Rule;
use plan::{Busy, Failed, Work};

/// A look at the ledger is taken at least this often, whatever hints got lost.
const TICK: Duration = Duration::from_secs(1);
/// Outcomes that go into one entry at most.
const BATCH_MAX: usize = 64;
/// Outcomes wait this long for company.
const BATCH_WAIT: Duration = Duration::from_millis(20);
/// Pause after outcomes could not be written.
const WRITE_AGAIN: Duration = Duration::from_millis(200);

/// Artefacts that a new leader looks through for stuck ones.
const REMINDED_MAX: usize = 10_000;

const ACTOR: &str = "cleaner";

type Done = (Work, Result<(), Failed>);

struct Cleaner {
    rule: Arc<Rule>,
    running: JoinSet<Done>,
    busy: Busy,
    reports: Vec<CleanupReport>,
    sweeps: Vec<SweepReport>,
    /// When the oldest gathered outcome is to be written.
    write_at: Option<Instant>,
}

/// Runs until the reign is over.
pub(crate) async fn run(rule: Arc<Rule>) {
    let mut effects = rule.effects();
    let mut cleaner = Cleaner {
        rule: Arc::clone(&rule),
        running: JoinSet::new(),
        busy: Busy::default(),
        reports: Vec::new(),
        sweeps: Vec::new(),
        write_at: None,
    };
    cleaner.remind();
    loop {
        let wake = cleaner.start();
        tokio::select! {
            () = rule.stop.cancelled() => return,
            Some(ended) = cleaner.running.join_next() => cleaner.ended(ended),
            () = relevant(&mut effects) => {}
            () = tokio::time::sleep_until(wake) => {}
        }
        if cleaner.is_full() {
            cleaner.write().await;
        }
    }
}

async fn relevant(effects: &mut regent_ha::EffectHints) {
    loop {
        let hints = effects.next().await;
        let mine = |effect: &Effect| matches!(effect, Effect::Cleanup | Effect::LeaderAnnounced(_));
        if hints.overflowed || hints.about.iter().any(mine) {
            return;
        }
    }
}

impl Cleaner {
    /// Starts what is due as far as there is room; answers when to look again.
    fn start(&mut self) -> Instant {
        let view = self.rule.view();
        let clock_ms = self.rule.clock_ms();
        // While outcomes can't be written, nothing new is started.
        let unwritten = self.reports.len() + self.sweeps.len() >= 2 * BATCH_MAX;
        let picked = match unwritten {
            true => Vec::new(),
            false => plan::pick(&view.machine, clock_ms, &self.busy),
        };
        for work in picked {
            self.busy.begin(&work);
            self.rule.counters.cleanup_attempts.add(1);
            let rule = Arc::clone(&self.rule);
            self.running.spawn(async move {
                reach("cleanup", "picked");
                rule.writing.ended(&work.artefact.path).await;
                let result = remove(&rule, &work).await;
                reach("cleanup", "deleted");
                (work, result)
            });
        }
        let idle = self.busy.has_room();
        let next = plan::next_ms(&view.machine).filter(|at| idle && *at > clock_ms);
        let ahead = next.map(|at| Duration::from_millis(at - clock_ms));
        let tick = Instant::now() + ahead.unwrap_or(TICK).min(TICK);
        self.write_at.map_or(tick, |at| at.min(tick))
    }

    fn ended(&mut self, ended: Result<Done, tokio::task::JoinError>) {
        let (work, result) = match ended {
            Ok(done) => done,
            // Its artefact stays busy for this reign; the next one tries again.
            Err(error) => return tracing::error!(%error, "a deletion broke off"),
        };
        let artefact = &work.artefact;
        self.busy.ended(artefact.id);
        if let Err(failed) = &result {
            self.rule.counters.cleanup_failures.add(failed.kind);
            let (kind, error) = (failed.kind.name(), &failed.text);
            tracing::warn!(artefact = %artefact.id, path = %artefact.path, kind, %error, "not removed");
        }
        let error = result.err().map(|failed| failed.text);
        let clock_ms = self.rule.clock_ms();
        match work.sweep {
            None => {
                let strategy = &self.rule.config.cleanup_strategy;
                self.reports
                    .push(plan::report(artefact, error, strategy, clock_ms));
            }
            Some(last) => {
                self.sweeps
                    .push(plan::sweep_report(artefact.id, last, error, clock_ms));
            }
        }
        self.write_at
            .get_or_insert_with(|| Instant::now() + BATCH_WAIT);
    }

    fn is_full(&self) -> bool {
        let waiting = self.reports.len() + self.sweeps.len();
        waiting >= BATCH_MAX
            || (waiting > 0 && self.running.is_empty())
            || self.write_at.is_some_and(|at| at <= Instant::now())
    }

    /// Writes what was gathered. What could not be written is written later: deleting again would be
    /// harmless, but not free.
    async fn write(&mut self) {
        let rule = Arc::clone(&self.rule);
        let mut failed = false;
        if !self.reports.is_empty() {
            let outcomes = self.reports.clone();
            let ids: Vec<ArtefactId> = outcomes.iter().map(|report| report.artefact).collect();
            let command = Command::CleanupAttempted(CleanupAttempted { outcomes });
            reach("cleanup", "gathered");
            match rule.propose(ACTOR, command).await {
                Ok(_) => {
                    reach("cleanup", "recorded");
                    self.reports.clear();
                    self.free(&ids);
                    self.warn_of_stuck(&ids);
                }
                Err(_) => failed = true,
            }
        }
        if !self.sweeps.is_empty() {
            let sweeps = self.sweeps.clone();
            let ids: Vec<ArtefactId> = sweeps.iter().map(|report| report.artefact).collect();
            let command = Command::CleanupSwept(CleanupSwept { sweeps });
            reach("sweep", "gathered");
            match rule.propose(ACTOR, command).await {
                Ok(_) => {
                    reach("sweep", "recorded");
                    self.sweeps.clear();
                    self.free(&ids);
                }
                Err(_) => failed = true,
            }
        }
        self.write_at = failed.then(|| Instant::now() + WRITE_AGAIN);
        if failed {
            tokio::time::sleep(WRITE_AGAIN).await;
        }
    }

    fn free(&mut self, ids: &[ArtefactId]) {
        ids.iter().for_each(|id| self.busy.written(*id));
    }

    /// Says which of these have used up their retries.
    fn warn_of_stuck(&self, ids: &[ArtefactId]) {
        let view = self.rule.view();
        let artefacts = ids.iter().filter_map(|id| view.machine.artefact(*id));
        artefacts.for_each(|artefact| warn_if_stuck(artefact));
    }

    /// A new leader says again what waits for an operator: its log is the one that is read now.
    fn remind(&self) {
        let view = self.rule.view();
        let artefacts = view.machine.artefacts();
        artefacts
            .take(REMINDED_MAX)
            .for_each(|artefact| warn_if_stuck(artefact));
    }
}

/// Only while the storage is known to be this cluster's: another one's files are never touched.
async fn remove(rule: &Rule, work: &Work) -> Result<(), Failed> {
    let confirmed = rule.ownership.confirm(rule).await;
    confirmed.map_err(|unconfirmed| Failed {
        kind: match unconfirmed.timeout {
            true => plan::FailureKind::Timeout,
            false => plan::FailureKind::Store,
        },
        text: unconfirmed.text,
    })?;
    let owner_ended = || plan::owner_ended(&rule.view().machine, &work.artefact);
    act::remove(&rule.objects, work, owner_ended).await
}

/// The warning that an operator acts upon: what, where, why, and what to do.
fn warn_if_stuck(artefact: &Artefact) {
    if artefact.state != ArtefactState::Dirty {
        return;
    }
    let job = artefact
        .owner
        .map_or_else(String::new, |(job, _)| job.to_string());
    let cause = artefact.last_error.as_deref().unwrap_or_default();
    tracing::warn!(
        %job, artefact = %artefact.id, path = %artefact.path, attempts = artefact.attempts, cause,
        "the retries of this cleanup are used up: the job stays dirty; mend the cause, then \
         `regent cleanup retry {job}`, or `regent cleanup forget {}`", artefact.id
    );
}

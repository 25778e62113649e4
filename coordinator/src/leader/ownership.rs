//! Whether the storage root is this cluster's: looked up before reconcilers that touch it start, and again
//! before each batch of deletions. `docs/protocol.md` says why; the rule itself is in
//! `regent_storage::objects::owner`.
//!
//! A store that doesn't answer is no verdict. The scheduler then starts all the same after a moment, so
//! that running tasks are adopted: nothing it does writes to the root or deletes there. Checkpoints, the
//! cleaner and the janitor wait.

use std::sync::Arc;
use std::time::Duration;

use regent_storage::objects::owner::{self, Owner, Verdict};
use regent_storage::objects::{Location, ObjectError};
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;

use super::rule::Rule;

/// One look at the markers.
const LOOK_LIMIT: Duration = Duration::from_secs(5);
/// A look counts for this long: batches of deletions share it.
const FRESH: Duration = Duration::from_secs(1);
/// Pause before a store that didn't answer is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(500);
/// Pause before markers of others are looked at again.
const FOREIGN_AGAIN: Duration = Duration::from_secs(5);
/// How long the scheduler waits for a verdict.
pub(crate) const SCHEDULER_PATIENCE: Duration = Duration::from_secs(1);

/// What is known of the storage root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Claim {
    /// The store hasn't answered yet.
    Unknown,
    /// It is this cluster's.
    Ours,
    /// It is another's: the refusal for operators and clients.
    Foreign(String),
}

/// The claim of one reign, and the last look at it.
#[derive(Debug)]
pub(crate) struct Ownership {
    claim: watch::Sender<Claim>,
    last: Mutex<Option<(Instant, Result<(), Unconfirmed>)>>,
}

/// Why nothing may be deleted now.
#[derive(Debug, Clone)]
pub(crate) struct Unconfirmed {
    pub(crate) text: String,
    pub(crate) timeout: bool,
}

impl Default for Ownership {
    fn default() -> Self {
        Self {
            claim: watch::Sender::new(Claim::Unknown),
            last: Mutex::default(),
        }
    }
}

impl Ownership {
    /// The refusal, if the storage is another cluster's.
    pub(crate) fn refusal(&self) -> Option<String> {
        match &*self.claim.borrow() {
            Claim::Foreign(text) => Some(text.clone()),
            Claim::Unknown | Claim::Ours => None,
        }
    }

    /// Looks, unless somebody did a moment ago. One look at a time.
    pub(crate) async fn confirm(&self, rule: &Rule) -> Result<(), Unconfirmed> {
        let mut last = self.last.lock().await;
        if let Some((at, outcome)) = &*last
            && at.elapsed() < FRESH
        {
            return outcome.clone();
        }
        let outcome = self.look(rule).await;
        *last = Some((Instant::now(), outcome.clone()));
        outcome
    }

    async fn look(&self, rule: &Rule) -> Result<(), Unconfirmed> {
        let root = &rule.config.storage.checkpoint_dir;
        let own = own(rule);
        let verdict = match root.parse::<Location>() {
            Ok(location) => owner::claim(&rule.objects, &location, &own, LOOK_LIMIT).await,
            Err(error) => Err(ObjectError::Location(error)),
        };
        match verdict {
            Ok(Verdict::Ours | Verdict::Free) => {
                self.set(Claim::Ours);
                Ok(())
            }
            Ok(Verdict::Foreign(other)) => {
                let text = refusal(root, &own, &other);
                self.set(Claim::Foreign(text.clone()));
                Err(Unconfirmed {
                    text,
                    timeout: false,
                })
            }
            Err(error) => Err(Unconfirmed {
                timeout: matches!(error, ObjectError::Timeout { .. }),
                text: format!("whose storage this is can't be looked up: {error}"),
            }),
        }
    }

    fn set(&self, claim: Claim) {
        self.claim.send_if_modified(|known| {
            let changed = *known != claim;
            *known = claim;
            changed
        });
    }
}

fn own(rule: &Rule) -> Owner {
    let view = rule.view();
    let cluster = view.machine.cluster_id();
    Owner {
        generation: view.machine.generation(),
        cluster: cluster.map_or_else(String::new, |cluster| cluster.to_string()),
    }
}

/// Pure: names both, and what to do.
fn refusal(root: &str, own: &Owner, other: &Owner) -> String {
    format!(
        "storage {root} belongs to cluster {} (generation {}); this is cluster {} (generation {}) and \
         doesn't use it: set storage.checkpoint-dir to another prefix",
        other.cluster, other.generation, own.cluster, own.generation
    )
}

/// Follows the claim until the reign is over; ends early when a foreign storage has become ours, so that
/// all hands start anew.
pub(crate) async fn run(rule: Arc<Rule>) {
    tokio::select! {
        () = rule.stop.cancelled() => {}
        () = follow(&rule) => {}
    }
}

async fn follow(rule: &Rule) {
    let mut told: Option<String> = None;
    loop {
        let outcome = rule.ownership.confirm(rule).await;
        let foreign = rule.ownership.refusal();
        let pause = match (&outcome, &foreign) {
            (Ok(()), _) if told.is_some() => return,
            (Ok(()), _) => {
                let mut claim = rule.ownership.claim.subscribe();
                // The sender lives as long as the rule.
                claim
                    .wait_for(|claim| matches!(claim, Claim::Foreign(_)))
                    .await
                    .ok();
                continue;
            }
            (Err(_), Some(text)) if told.as_ref() != Some(text) => {
                tracing::error!("{text}");
                told.clone_from(&foreign);
                FOREIGN_AGAIN
            }
            (Err(_), Some(_)) => FOREIGN_AGAIN,
            (Err(unconfirmed), None) => {
                tracing::warn!("{}", unconfirmed.text);
                ASK_AGAIN
            }
        };
        tokio::time::sleep(pause.max(FRESH)).await;
    }
}

/// Runs a reconciler while the storage is this cluster's; with patience, also while nobody knows.
pub(crate) async fn while_ours(
    rule: Arc<Rule>,
    patience: Option<Duration>,
    hand: impl Future<Output = ()>,
) {
    let mut claim = rule.ownership.claim.subscribe();
    let known = claim.wait_for(|claim| *claim != Claim::Unknown);
    let is_foreign = |claim: &Claim| matches!(claim, Claim::Foreign(_));
    let foreign = match patience {
        Some(patience) => match tokio::time::timeout(patience, known).await {
            Ok(known) => known.is_ok_and(|claim| is_foreign(&claim)),
            Err(_) => false,
        },
        None => tokio::select! {
            known = known => known.is_ok_and(|claim| is_foreign(&claim)),
            () = rule.stop.cancelled() => return,
        },
    };
    if !foreign {
        tokio::select! {
            () = hand => return,
            _ = claim.wait_for(is_foreign) => {}
        }
    }
    rule.stop.cancelled().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_both_and_the_remedy() {
        let owner = |text: &str| text.parse::<Owner>().unwrap();
        let text = refusal("/s", &owner("1-aa"), &owner("2-bb"));
        for word in [
            "/s",
            "bb",
            "generation 2",
            "aa",
            "generation 1",
            "another prefix",
        ] {
            assert!(text.contains(word), "{word}: {text}");
        }
    }
}

//! Whether a worker's registration is admitted, and what it is told if not. Pure.

use regent_protocol::v1;
use regent_security::Caller;
use regent_state::ids::Epoch;
use tonic::Status;

use crate::leader::hub::read_report;
use crate::leader::seen::{Moment, Tasks};
use crate::wire;

/// Most slots that one worker may offer.
const SLOTS_MAX: u32 = 10_000;
/// Most tasks that one worker may report.
const TASKS_MAX: usize = 200_000;

/// What a worker that isn't admitted is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) reason: String,
    /// It has to stop everything before it comes again.
    pub(crate) stop_tasks: bool,
}

impl Refusal {
    fn plain(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            stop_tasks: false,
        }
    }
}

/// A worker may call itself only what its certificate calls it.
pub(crate) fn check_name(caller: &Caller, worker_id: &str) -> Result<(), Status> {
    match caller.identity() {
        Some(identity) if !identity.may_be_called(worker_id) => {
            Err(Status::permission_denied(format!(
                "the certificate is {identity}'s, the worker calls itself {worker_id}; set worker-id, or \
                 issue a certificate with URI:regent://worker/{worker_id}"
            )))
        }
        Some(_) | None => Ok(()),
    }
}

/// Checks who comes. `cluster_id` is this cluster's.
pub(crate) fn check(
    register: &v1::Register,
    cluster_id: &str,
    epoch: Epoch,
) -> Result<(), Refusal> {
    if !is_worker_id(&register.worker_id) {
        let reason = "worker-id must be 1-64 letters, digits, `.`, `_` or `-`";
        return Err(Refusal::plain(reason));
    }
    if register.slots == 0 || register.slots > SLOTS_MAX || register.tasks.len() > TASKS_MAX {
        return Err(Refusal::plain(format!("slots must be 1 to {SLOTS_MAX}")));
    }
    if register.generation > epoch.generation {
        let reason = format!(
            "this worker has met generation {} of its cluster, this JobManager is of generation {}",
            register.generation, epoch.generation
        );
        return Err(Refusal::plain(reason));
    }
    let foreign = !register.cluster_id.is_empty() && register.cluster_id != cluster_id;
    let older = register.generation < epoch.generation && !register.cluster_id.is_empty();
    if (foreign || older) && !register.tasks.is_empty() {
        return Err(refuse_tasks(register, cluster_id, epoch, older));
    }
    if foreign && !older {
        let reason = format!(
            "this worker belongs to cluster {}, this is cluster {cluster_id}; point it at its own \
             JobManagers, or give it an empty data directory",
            register.cluster_id
        );
        return Err(Refusal::plain(reason));
    }
    let highest = register.highest_epoch.as_ref().map(wire::epoch_from);
    if highest.is_some_and(|highest| !older && highest > epoch) {
        return Err(Refusal::plain("this worker has met a later leader"));
    }
    Ok(())
}

/// Nothing is adopted across clusters or generations. Only a later generation may stop what runs.
fn refuse_tasks(register: &v1::Register, cluster_id: &str, epoch: Epoch, older: bool) -> Refusal {
    let reason = format!(
        "its tasks are of cluster {} generation {}, this is cluster {cluster_id} generation {}",
        register.cluster_id, register.generation, epoch.generation
    );
    Refusal {
        reason,
        stop_tasks: older,
    }
}

fn is_worker_id(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    (1..=64).contains(&text.len()) && text.chars().all(plain)
}

/// The tasks that a registration reports.
pub(crate) fn tasks(register: &v1::Register, now: Moment) -> Tasks {
    let mut tasks = Tasks::new();
    for report in &register.tasks {
        if let Some((attempt, task, phase)) = read_report(report, now) {
            tasks.entry(attempt).or_default().insert(task, phase);
        }
    }
    tasks
}

#[cfg(test)]
mod tests {
    use super::*;
    use regent_state::ids::NodeId;

    const EPOCH: Epoch = Epoch {
        generation: 2,
        term: 5,
        node: NodeId(1),
    };

    fn register() -> v1::Register {
        v1::Register {
            cluster_id: "ours".into(),
            generation: 2,
            worker_id: "tm-1".into(),
            incarnation: 1,
            slots: 4,
            ..Default::default()
        }
    }

    fn with_tasks(register: v1::Register) -> v1::Register {
        v1::Register {
            tasks: vec![v1::TaskReport::default()],
            ..register
        }
    }

    fn at(generation: u64, term: u64) -> Option<v1::Epoch> {
        Some(v1::Epoch {
            generation,
            term,
            node: 1,
        })
    }

    #[test]
    fn admitted() {
        let known = v1::Register {
            highest_epoch: at(2, 5),
            ..with_tasks(register())
        };
        let new = v1::Register {
            cluster_id: String::new(),
            generation: 0,
            ..register()
        };
        let restored = v1::Register {
            cluster_id: "old".into(),
            generation: 1,
            highest_epoch: at(1, 99),
            ..register()
        };
        for one in [register(), known, new, restored] {
            assert_eq!(check(&one, "ours", EPOCH), Ok(()), "{one:?}");
        }
    }

    #[test]
    fn refused_and_whether_tasks_must_stop() {
        let table = [
            (
                v1::Register {
                    worker_id: "a b".into(),
                    ..register()
                },
                false,
            ),
            (
                v1::Register {
                    slots: 0,
                    ..register()
                },
                false,
            ),
            (
                v1::Register {
                    generation: 3,
                    ..register()
                },
                false,
            ),
            (
                v1::Register {
                    cluster_id: "other".into(),
                    ..register()
                },
                false,
            ),
            (
                with_tasks(v1::Register {
                    cluster_id: "other".into(),
                    ..register()
                }),
                false,
            ),
            (
                with_tasks(v1::Register {
                    generation: 1,
                    ..register()
                }),
                true,
            ),
            (
                with_tasks(v1::Register {
                    cluster_id: "old".into(),
                    generation: 1,
                    ..register()
                }),
                true,
            ),
            (
                v1::Register {
                    highest_epoch: at(2, 6),
                    ..register()
                },
                false,
            ),
        ];
        for (one, stop_tasks) in table {
            let refusal = check(&one, "ours", EPOCH).unwrap_err();
            assert_eq!(
                refusal.stop_tasks, stop_tasks,
                "{one:?}: {}",
                refusal.reason
            );
        }
    }
}

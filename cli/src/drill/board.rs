//! What the probes saw, and when each step of a recovery was seen first. Pure: moments come in.

use std::time::Duration;

use regent_protocol::view::{JobDetail, NodeStatus};
use serde::Serialize;

/// Since the probes began.
pub(super) type Moment = Duration;

/// A serving leader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lead {
    pub(super) node_id: u64,
    pub(super) name: String,
    pub(super) api: String,
    pub(super) term: u64,
}

/// What must be seen before the recovery counts as complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expects {
    /// Another leader, which adopts the job or starts it again.
    Takeover,
    /// The job is started again under the same leader.
    Restart,
    /// Nobody notices.
    Nothing,
}

/// A fault that was just done.
#[derive(Debug, Clone)]
pub(super) struct Fault {
    pub(super) at: Moment,
    /// The same on the wall clock.
    pub(super) at_ms: u64,
    /// The replica that was hurt; `None`: a worker.
    pub(super) node_id: Option<u64>,
    /// Term of the leader then.
    pub(super) term: u64,
    pub(super) expects: Expects,
    pub(super) adoptions: u64,
    pub(super) restarts: u64,
}

/// When each step was seen first, in milliseconds after the fault.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Recovery {
    /// Somebody noticed.
    pub(super) detected_ms: Option<u64>,
    /// Another leader serves.
    pub(super) elected_ms: Option<u64>,
    /// A write was accepted.
    pub(super) first_write_ms: Option<u64>,
    /// All tasks of the checking job run, adopted or started again.
    pub(super) jobs_running_ms: Option<u64>,
    /// A checkpoint was completed.
    pub(super) first_checkpoint_ms: Option<u64>,
    /// The longest time between two accepted writes.
    pub(super) longest_write_gap_ms: u64,
    /// `adopted`, `restarted` or `untouched`.
    pub(super) how: Option<&'static str>,
}

impl Recovery {
    /// Until writes are accepted and all tasks run.
    pub(super) fn total_ms(&self) -> Option<u64> {
        Some(self.first_write_ms?.max(self.jobs_running_ms?))
    }
}

/// The state of the probes.
#[derive(Debug, Default)]
pub(super) struct Board {
    pub(super) leader: Option<Lead>,
    /// (generation, applied index) as some replica told.
    pub(super) base: (u64, u64),
    pub(super) job: Option<JobDetail>,
    armed: Option<Fault>,
    recovery: Recovery,
    last_write: Option<Moment>,
}

fn ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

impl Board {
    /// From now on steps count from this fault.
    pub(super) fn arm(&mut self, fault: Fault) {
        self.armed = Some(fault);
        self.recovery = Recovery::default();
    }

    pub(super) fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// Whether everything that is expected was seen.
    pub(super) fn is_complete(&self) -> bool {
        let Some(fault) = &self.armed else {
            return false;
        };
        let seen = &self.recovery;
        let served = seen.total_ms().is_some() && seen.first_checkpoint_ms.is_some();
        served && (fault.expects != Expects::Takeover || seen.elected_ms.is_some())
    }

    /// A replica's account, asked at `begun` and answered at `at`.
    pub(super) fn saw_status(&mut self, begun: Moment, at: Moment, status: &NodeStatus) {
        self.base = self.base.max((status.generation, status.applied_index));
        let serves = status.role == "leader" && status.leading_since_ms.is_some();
        let newest = self
            .leader
            .as_ref()
            .is_none_or(|lead| status.term > lead.term);
        if serves && newest {
            self.leader = Some(Lead {
                node_id: status.node_id,
                name: status.name.clone(),
                api: status.api.clone(),
                term: status.term,
            });
        }
        let Some(fault) = self.armed.as_ref().filter(|fault| begun >= fault.at) else {
            return;
        };
        if fault.expects != Expects::Takeover
            || fault.node_id == Some(status.node_id) && status.term <= fault.term
        {
            return;
        }
        let after = ms(at - fault.at);
        if status.leader != fault.node_id {
            self.recovery.detected_ms.get_or_insert(after);
        }
        if serves && status.term > fault.term {
            self.recovery.elected_ms.get_or_insert(after);
        }
    }

    /// A write that was sent at `begun` was accepted.
    pub(super) fn wrote(&mut self, begun: Moment, at: Moment) {
        let last = self.last_write.replace(at);
        let Some(fault) = self.armed.as_ref() else {
            return;
        };
        let seen = &mut self.recovery;
        if let Some(last) = last.filter(|_| at >= fault.at) {
            seen.longest_write_gap_ms = seen.longest_write_gap_ms.max(ms(at.saturating_sub(last)));
        }
        let led = fault.expects != Expects::Takeover || seen.elected_ms.is_some();
        if begun >= fault.at && led {
            seen.first_write_ms.get_or_insert(ms(at - fault.at));
        }
    }

    /// The checking job, asked at `begun`.
    pub(super) fn saw_job(&mut self, begun: Moment, at: Moment, job: JobDetail) {
        if let Some(fault) = self.armed.as_ref().filter(|fault| begun >= fault.at) {
            let seen = &mut self.recovery;
            let after = ms(at - fault.at);
            let (adopted, restarted) = (
                job.adoptions > fault.adoptions,
                job.restarts > fault.restarts,
            );
            if fault.expects == Expects::Restart && (restarted || job.state != "RUNNING") {
                seen.detected_ms.get_or_insert(after);
            }
            let how = match fault.expects {
                _ if restarted => Some("restarted"),
                Expects::Takeover if adopted => Some("adopted"),
                Expects::Nothing => Some("untouched"),
                Expects::Takeover | Expects::Restart => None,
            };
            if job.state == "RUNNING" && how.is_some() {
                seen.jobs_running_ms.get_or_insert(after);
                seen.how = how;
            }
            let latest = job.checkpoints.latest.as_ref();
            let fresh = latest.is_some_and(|checkpoint| checkpoint.completed_at_ms > fault.at_ms);
            if fresh && seen.jobs_running_ms.is_some() {
                seen.first_checkpoint_ms.get_or_insert(after);
            }
        }
        self.job = Some(job);
    }
}

#[cfg(test)]
mod tests {
    use regent_protocol::view::LatestCheckpoint;

    use super::*;

    fn at(ms: u64) -> Moment {
        Duration::from_millis(ms)
    }

    fn status(node_id: u64, term: u64, leader: Option<u64>) -> NodeStatus {
        NodeStatus {
            node_id,
            name: format!("jm-{node_id}"),
            role: if leader == Some(node_id) {
                "leader"
            } else {
                "follower"
            }
            .to_owned(),
            term,
            leader,
            leading_since_ms: (leader == Some(node_id)).then_some(1),
            ..NodeStatus::default()
        }
    }

    fn job(adoptions: u64, restarts: u64, completed_at_ms: u64) -> JobDetail {
        let latest = LatestCheckpoint {
            id: 1,
            path: String::new(),
            size_bytes: 0,
            duration_ms: 0,
            completed_at_ms,
        };
        let mut job = JobDetail {
            state: "RUNNING".to_owned(),
            adoptions,
            restarts,
            ..JobDetail::default()
        };
        job.checkpoints.latest = Some(latest);
        job
    }

    fn fault(node_id: Option<u64>, expects: Expects) -> Fault {
        Fault {
            at: at(1_000),
            at_ms: 50_000,
            node_id,
            term: 3,
            expects,
            adoptions: 0,
            restarts: 0,
        }
    }

    #[test]
    fn a_takeover_is_split_into_its_steps() {
        let mut board = Board::default();
        board.saw_status(at(900), at(901), &status(1, 3, Some(1)));
        board.wrote(at(990), at(992));
        board.arm(fault(Some(1), Expects::Takeover));
        // Asked before the fault: tells nothing about it.
        board.saw_status(at(999), at(1_001), &status(2, 3, None));
        assert_eq!(board.recovery().detected_ms, None);
        board.saw_status(at(1_002), at(1_003), &status(2, 3, Some(1)));
        board.saw_status(at(1_009), at(1_010), &status(2, 3, None));
        board.wrote(at(1_011), at(1_012));
        assert_eq!(
            board.recovery().first_write_ms,
            None,
            "an accepted write needs the next leader"
        );
        board.saw_status(at(1_030), at(1_034), &status(3, 4, Some(3)));
        board.wrote(at(1_035), at(1_040));
        board.saw_job(at(1_036), at(1_041), job(0, 0, 49_000));
        board.saw_job(at(1_050), at(1_060), job(1, 0, 49_000));
        assert!(!board.is_complete());
        board.saw_job(at(1_500), at(1_510), job(1, 0, 50_400));
        assert!(board.is_complete());
        let seen = board.recovery();
        assert_eq!((seen.detected_ms, seen.elected_ms), (Some(10), Some(34)));
        assert_eq!(
            (
                seen.first_write_ms,
                seen.jobs_running_ms,
                seen.first_checkpoint_ms
            ),
            (Some(40), Some(60), Some(510))
        );
        assert_eq!(
            (seen.how, seen.total_ms(), seen.longest_write_gap_ms),
            (Some("adopted"), Some(60), 28)
        );
        assert_eq!(board.leader.as_ref().unwrap().name, "jm-3");
    }

    #[test]
    fn a_deposed_leader_that_wakes_up_says_nothing_about_the_recovery() {
        let mut board = Board::default();
        board.saw_status(at(900), at(901), &status(1, 3, Some(1)));
        board.arm(fault(Some(1), Expects::Takeover));
        board.saw_status(at(1_010), at(1_011), &status(1, 3, None));
        assert_eq!(board.recovery().detected_ms, None);
        board.saw_status(at(1_020), at(1_021), &status(1, 3, Some(1)));
        assert_eq!(board.leader.as_ref().unwrap().term, 3);
        assert_eq!(board.recovery().elected_ms, None);
    }

    #[test]
    fn a_restart_needs_another_attempt_and_nothing_needs_nothing() {
        let mut board = Board::default();
        board.arm(fault(None, Expects::Restart));
        board.wrote(at(1_001), at(1_002));
        board.saw_job(at(1_010), at(1_011), job(0, 0, 50_900));
        assert_eq!(board.recovery().jobs_running_ms, None);
        board.saw_job(at(1_300), at(1_305), job(0, 1, 50_900));
        assert!(board.is_complete());
        let seen = board.recovery();
        assert_eq!((seen.detected_ms, seen.how), (Some(305), Some("restarted")));

        board.arm(fault(Some(2), Expects::Nothing));
        board.wrote(at(1_400), at(1_401));
        board.saw_job(at(1_402), at(1_403), job(0, 0, 60_000));
        assert!(board.is_complete());
        assert_eq!(board.recovery().how, Some("untouched"));
    }
}

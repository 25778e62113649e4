//! What can be rehearsed. Pure.

use clap::ValueEnum;
use serde::Serialize;

/// One kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Scenario {
    /// SIGKILL to the leading JobManager.
    LeaderKill,
    /// The leading JobManager is frozen (SIGSTOP) and thawed again.
    LeaderPause,
    /// Leadership is handed over as planned.
    LeaderTransfer,
    /// SIGKILL to a JobManager that follows.
    FollowerLoss,
    /// SIGKILL to a TaskManager that runs tasks of the checking job.
    WorkerKill,
    /// Every process is stopped and started again, one after the other.
    RollingRestart,
}

impl Scenario {
    pub(super) const ALL: [Self; 6] = [
        Self::LeaderKill,
        Self::LeaderPause,
        Self::LeaderTransfer,
        Self::FollowerLoss,
        Self::WorkerKill,
        Self::RollingRestart,
    ];

    /// As the command line spells it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::LeaderKill => "leader-kill",
            Self::LeaderPause => "leader-pause",
            Self::LeaderTransfer => "leader-transfer",
            Self::FollowerLoss => "follower-loss",
            Self::WorkerKill => "worker-kill",
            Self::RollingRestart => "rolling-restart",
        }
    }

    /// What is done, in a sentence.
    pub(super) fn what(self) -> &'static str {
        match self {
            Self::LeaderKill => "the leading JobManager gets SIGKILL",
            Self::LeaderPause => {
                "the leading JobManager is frozen (SIGSTOP), and thawed once another leads"
            }
            Self::LeaderTransfer => "leadership is handed over as planned",
            Self::FollowerLoss => "a JobManager that follows gets SIGKILL",
            Self::WorkerKill => "a TaskManager that runs tasks of the checking job gets SIGKILL",
            Self::RollingRestart => {
                "every process is stopped by SIGTERM and comes back, one after the other"
            }
        }
    }

    /// What it rehearses, for people who choose one.
    pub(super) fn rehearses(self) -> &'static str {
        match self {
            Self::LeaderKill => "a crash or a lost machine",
            Self::LeaderPause => "a stalled machine, a long pause, a full network queue",
            Self::LeaderTransfer => "maintenance; the only one for a remote cluster",
            Self::FollowerLoss => "a crash that nobody should notice",
            Self::WorkerKill => "lost tasks, restored from the last checkpoint",
            Self::RollingRestart => "an upgrade",
        }
    }

    /// Whether it acts on processes, which must be on this machine.
    pub(super) fn needs_processes(self) -> bool {
        self != Self::LeaderTransfer
    }
}

//! Entities of the cluster: the head record, the leadership timeline, remembered requests and
//! claimed sink paths.

use serde::{Deserialize, Serialize};

use crate::command::Outcome;
use crate::graph::IfExists;
use crate::ids::{ArtefactId, ClusterId, Epoch, JobId, LogIndex, RequestId, Run};
use crate::response::Rejection;

/// The head record: one per cluster, rewritten by every entry.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Meta {
    /// Named by the first announcement.
    pub cluster_id: Option<ClusterId>,
    /// Of this cluster; 0 before the first announcement.
    pub generation: u64,
    /// The last announced reign.
    pub epoch: Option<Epoch>,
    /// The machine's clock in milliseconds; 0 at bootstrap, never shown.
    pub clock_ms: u64,
    /// Wall time of the last entry, for people.
    pub wall_ms: u64,
    /// Index of the last applied command.
    pub last_index: LogIndex,
    /// The next free id of the artefact ledger.
    pub next_artefact: ArtefactId,
    /// The number of the current reign; 0 before the first.
    pub reign: u64,
    /// Behaviour that is switched on.
    pub feature_level: u32,
}

/// A line of the leadership timeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reign {
    /// Who led.
    pub epoch: Epoch,
    /// Its name.
    pub node_name: String,
    /// Its client API.
    pub api: String,
    /// Why it came to lead.
    pub cause: String,
    /// Wall time of its announcement.
    pub from_ms: u64,
    /// Wall time of its end, as the successor saw it; `None` for the present leader.
    pub to_ms: Option<u64>,
    /// How long there was no leader before it.
    pub leaderless_ms: u64,
    /// What fast failover came to in the election that made this reign, as far as its leader knew when it announced
    /// itself: by its own deeds, and by the word of the voters that confirmed its predecessor's death to it.
    pub failover: FailoverTally,
    /// Attempts that it took over as they were.
    pub jobs_adopted: u64,
    /// Attempts that it had to start again.
    pub jobs_restarted: u64,
    /// The machine's clock at its announcement; leaders count `proposed_at` from here.
    pub from_clock_ms: u64,
}

/// How often replicas acted on hard signs of one leader's death, and what came of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailoverTally {
    /// Times that one of them stood for election because of it.
    pub fired: u64,
    /// Replicas that stood and had not won.
    pub lost: u64,
    /// Replicas that had the sign and did not stand.
    pub not_needed: u64,
}

/// A client request that was answered, kept for the last 100,000 entries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestRecord {
    /// The client's id.
    pub id: RequestId,
    /// How it was answered.
    pub answer: RequestAnswer,
}

/// How a client request was answered the first time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RequestAnswer {
    /// It was accepted for this run; repeated with the job's present state.
    Job {
        /// The job.
        job: JobId,
        /// Its run.
        run: Run,
    },
    /// A savepoint was requested under this number.
    Savepoint {
        /// The job.
        job: JobId,
        /// Its run.
        run: Run,
        /// The number of the request.
        request: LogIndex,
    },
    /// It was done, and there is nothing more to say.
    Done,
    /// It was refused, and stays refused.
    Rejected(Box<Rejection>),
}

/// Who may write at a sink path.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Claim {
    /// More than one only if all append.
    pub holders: Vec<ClaimHolder>,
}

/// A run that writes at a sink path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimHolder {
    /// The job.
    pub job: JobId,
    /// Its run.
    pub run: Run,
    /// How it treats what is there.
    pub mode: IfExists,
}

impl Outcome {
    /// The terminal state of that outcome.
    pub fn state(self) -> super::JobState {
        match self {
            Self::Finished => super::JobState::Finished,
            Self::Failed => super::JobState::Failed,
            Self::Canceled => super::JobState::Canceled,
        }
    }
}

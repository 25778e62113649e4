//! The drill's eyes: every replica is asked all the time what it knows, writes are sent all the time to
//! whoever leads, and the checking job is looked at. What was seen when is `board.rs`'s.
//!
//! Connections are kept open, so that a look costs a fraction of a millisecond, and a look that hangs at a
//! frozen process is dropped as soon as somebody else leads.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use regent_protocol::v1::change_request::Change;
use regent_protocol::v1::read_request::Query;
use regent_protocol::view::JobDetail;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::board::{Board, Fault, Lead, Moment, Recovery};
use super::job::CheckingJob;
use crate::args::ChangeArgs;
use crate::client::{Access, Conversation, Identity, Request, Tried, open};

/// Between two looks at a replica, two writes, two looks at the job.
const LOOK_EVERY: Duration = Duration::from_millis(4);
const WRITE_EVERY: Duration = Duration::from_millis(10);
const JOB_EVERY: Duration = Duration::from_millis(15);
/// After a refusal or a broken connection.
const AGAIN: Duration = Duration::from_millis(2);
/// An answer that takes longer is not waited for.
const ANSWER: Duration = Duration::from_millis(1_000);

/// The probes; they end when this is dropped.
#[derive(Debug)]
pub(super) struct Probe {
    eyes: Eyes,
    _tasks: JoinSet<()>,
}

#[derive(Debug, Clone)]
struct Eyes {
    began: Instant,
    access: Access,
    board: Arc<Mutex<Board>>,
    leader: Arc<watch::Sender<Option<Lead>>>,
}

impl Eyes {
    fn now(&self) -> Moment {
        self.began.elapsed()
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Probe {
    /// Begins to look at these replicas and this job.
    pub(super) fn start(access: &Access, addresses: &[String], job: &CheckingJob) -> Self {
        let eyes = Eyes {
            began: Instant::now(),
            access: access.clone(),
            board: Arc::default(),
            leader: Arc::new(watch::Sender::new(None)),
        };
        let mut tasks = JoinSet::new();
        for address in addresses {
            tasks.spawn(watch_replica(eyes.clone(), address.clone()));
        }
        tasks.spawn(keep_writing(eyes.clone(), job.clone()));
        tasks.spawn(watch_job(eyes.clone(), job.clone()));
        Self {
            eyes,
            _tasks: tasks,
        }
    }

    pub(super) fn now(&self) -> Moment {
        self.eyes.now()
    }

    pub(super) fn leader(&self) -> Option<Lead> {
        self.eyes.board().leader.clone()
    }

    pub(super) fn job(&self) -> Option<JobDetail> {
        self.eyes.board().job.clone()
    }

    pub(super) fn arm(&self, fault: Fault) {
        self.eyes.board().arm(fault);
    }

    /// What was seen since the fault, and whether that is everything.
    pub(super) fn recovery(&self) -> (Recovery, bool) {
        let board = self.eyes.board();
        (board.recovery().clone(), board.is_complete())
    }
}

async fn watch_replica(eyes: Eyes, address: String) {
    loop {
        if let Ok(conversation) = open(&eyes.access, &address).await {
            loop {
                let begun = eyes.now();
                let Ok(status) = conversation.status_again().await else {
                    break;
                };
                let leader = {
                    let mut board = eyes.board();
                    board.saw_status(begun, eyes.now(), &status);
                    board.leader.clone()
                };
                eyes.leader.send_if_modified(|known| {
                    let changed = *known != leader;
                    known.clone_from(&leader);
                    changed
                });
                sleep(LOOK_EVERY).await;
            }
        }
        sleep(AGAIN).await;
    }
}

/// An open connection to whoever leads.
#[derive(Debug)]
struct Line {
    lead: Lead,
    conversation: Conversation,
}

impl Line {
    /// The one to the present leader, kept if it is that already.
    async fn to_leader(eyes: &Eyes, kept: Option<Self>) -> Option<Self> {
        let lead = eyes.leader.borrow().clone()?;
        if let Some(line) = kept.filter(|line| line.lead == lead) {
            return Some(line);
        }
        let conversation = open(&eyes.access, &lead.api).await.ok()?;
        Some(Self { lead, conversation })
    }

    /// Asks, unless somebody else leads before the answer is there.
    async fn ask(&self, eyes: &Eyes, request: &Request) -> Option<Tried> {
        let mut leader = eyes.leader.subscribe();
        let other = leader.wait_for(|lead| lead.as_ref() != Some(&self.lead));
        tokio::select! {
            tried = self.conversation.ask(request, ANSWER) => Some(tried),
            _ = other => None,
        }
    }
}

async fn keep_writing(eyes: Eyes, job: CheckingJob) {
    let mut line = None;
    loop {
        line = Line::to_leader(&eyes, line.take()).await;
        let mut pause = AGAIN;
        if let Some(open) = &line {
            let mut identity = Identity::new(&ChangeArgs::default());
            identity.learn(eyes.board().base);
            // Changes nothing: the checking job has no cleanup that is stuck.
            let change = Change::CleanupRetry(job.reference());
            let begun = eyes.now();
            let request = Request::Change { change, identity };
            let tried = open.ask(&eyes, &request).await;
            match tried {
                Some(Tried::Done(_)) => {
                    eyes.board().wrote(begun, eyes.now());
                    pause = WRITE_EVERY;
                }
                // The connection may be dead: the next try opens it again.
                Some(Tried::Unknown(_)) | None => line = None,
                Some(Tried::NotNow(_) | Tried::Refused(_)) => {}
            }
        }
        sleep(pause).await;
    }
}

async fn watch_job(eyes: Eyes, job: CheckingJob) {
    let request = Request::Read {
        query: Query::JobShow(job.reference()),
        stale: false,
    };
    let mut line = None;
    loop {
        line = Line::to_leader(&eyes, line.take()).await;
        let mut pause = AGAIN;
        if let Some(open) = &line {
            let begun = eyes.now();
            let tried = open.ask(&eyes, &request).await;
            match tried {
                Some(Tried::Done(json)) => {
                    if let Ok(job) = serde_json::from_slice(&json) {
                        eyes.board().saw_job(begun, eyes.now(), job);
                    }
                    pause = JOB_EVERY;
                }
                // A read's failure never tells a dead connection from a leader that is none any more.
                Some(_) | None => line = None,
            }
        }
        sleep(pause).await;
    }
}

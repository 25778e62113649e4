use regent_protocol::v1::SubtaskHandle;
use regent_protocol::v1::subtask_handle::State;
use regent_state::Command;
use regent_state::command::{
    AbortCheckpoint, AttemptFailed, CheckpointKind, CheckpointPointer, CompleteCheckpoint,
    FailureKind, RequestSavepoint, SinksCommitted, StopJob,
};
use regent_state::ids::{CheckpointId, WorkerRef};

use super::plan::{Action, Coordinator, Look, Pending};
use crate::testing::*;
use crate::wire::TaskId;

/// A coordinator of a running job, and what it sees.
struct Play {
    env: Env,
    coordinator: Coordinator,
    present: Vec<(WorkerRef, u64)>,
    all_finished: bool,
}

impl Play {
    fn new(sink: SinkKind) -> Self {
        let mut env = Env::with_job(graph(2, sink));
        env.run(&[tm(1, 1), tm(2, 1)]);
        let facts = env.facts();
        let attempt = facts.current().unwrap();
        let coordinator = Coordinator::new(&facts.graph, &facts.job, attempt);
        let present = vec![(tm(1, 1), 1), (tm(2, 1), 2)];
        Self {
            env,
            coordinator,
            present,
            all_finished: false,
        }
    }

    fn look(&mut self) -> Vec<Action> {
        let facts = self.env.facts();
        let look = Look {
            job: &facts.job,
            graph: &facts.graph,
            all_finished: self.all_finished,
            present: &self.present,
            placed: 2,
            drained_at_ms: facts.drained_at_ms,
            clock_ms: self.env.clock_ms,
        };
        self.coordinator.look(&look)
    }

    fn after(&mut self, millis: u64) -> Vec<Action> {
        self.env.clock_ms += millis;
        self.look()
    }

    /// Begins a checkpoint in machine and coordinator.
    fn begin(&mut self, kind: CheckpointKind) -> Pending {
        let token = self.env.machine.job(JOB).unwrap().token.unwrap();
        let begin = regent_state::command::BeginCheckpoint {
            job: JOB,
            token,
            kind,
            root: "/chk".into(),
        };
        self.env.leader(Command::BeginCheckpoint(begin));
        let begun = self.env.machine.job(JOB).unwrap().pending.clone().unwrap();
        let pending = Pending {
            id: begun.id,
            kind,
            path: begun.path,
            begun_ms: self.env.clock_ms,
            handles: std::collections::BTreeMap::new(),
        };
        let action = self.coordinator.begun(pending.clone());
        assert_eq!(action, Some(Action::Trigger(pending.clone())));
        let sessions = Some(self.present.iter().cloned().collect());
        assert_eq!(self.coordinator.triggered(sessions), None);
        pending
    }

    fn ack(&mut self, id: CheckpointId, vertex: &str, subtask: u32) -> Option<Action> {
        self.coordinator
            .acked(id, TaskId::new(vertex, subtask), handle(subtask))
    }

    fn ack_all(&mut self, id: CheckpointId) -> Option<Action> {
        for (vertex, subtask) in [("numbers", 0), ("numbers", 1), ("out", 0)] {
            assert_eq!(self.ack(id, vertex, subtask), None);
        }
        self.ack(id, "out", 1)
    }
}

fn handle(subtask: u32) -> SubtaskHandle {
    let state = Some(State::Inline(bytes::Bytes::from_static(b"s")));
    SubtaskHandle {
        subtask,
        state,
        ..Default::default()
    }
}

#[test]
fn the_first_is_due_after_an_interval_and_nothing_else_begins_meanwhile() {
    let mut play = Play::new(SinkKind::Blackhole);
    assert!(play.after(999).is_empty());
    assert_eq!(play.after(1), [Action::Begin(CheckpointKind::Checkpoint)]);
    assert!(play.after(5_000).is_empty());
    play.coordinator.not_begun(play.env.clock_ms);
    assert!(play.after(499).is_empty());
    assert_eq!(play.after(1), [Action::Begin(CheckpointKind::Checkpoint)]);
}

#[test]
fn it_is_complete_with_the_last_acknowledgement_and_each_counts_once() {
    let mut play = Play::new(SinkKind::Blackhole);
    play.after(1_000);
    let pending = play.begin(CheckpointKind::Checkpoint);
    assert_eq!(play.ack(pending.id, "out", 1), None);
    assert_eq!(play.ack(pending.id, "out", 1), None, "the same again");
    assert_eq!(
        play.ack(CheckpointId(99), "out", 0),
        None,
        "of another checkpoint"
    );
    assert_eq!(play.ack(pending.id, "out", 7), None, "no such subtask");
    let Some(Action::Complete {
        pending: whole,
        sinks_committed_through: None,
    }) = play.ack_all_but_one(pending.id)
    else {
        panic!("not complete");
    };
    assert_eq!(whole.handles.len(), 4);
    assert_eq!(play.ack(pending.id, "out", 1), None, "late");
}

impl Play {
    fn ack_all_but_one(&mut self, id: CheckpointId) -> Option<Action> {
        assert_eq!(self.ack(id, "numbers", 0), None);
        assert_eq!(self.ack(id, "numbers", 1), None);
        self.ack(id, "out", 0)
    }
}

#[test]
fn a_timeout_counts_and_is_announced_after_its_entry() {
    let mut play = Play::new(SinkKind::Blackhole);
    play.after(1_000);
    let pending = play.begin(CheckpointKind::Checkpoint);
    assert!(play.after(4_999).is_empty());
    let abort = Action::Abort {
        id: pending.id,
        cause: "timed out".into(),
        counts: true,
    };
    assert_eq!(play.after(1), [abort]);
    assert_eq!(play.ack_all(pending.id), None, "too late");
    let announced = play
        .coordinator
        .aborted(pending.id, true, play.env.clock_ms);
    assert_eq!(announced, Some(Action::AnnounceAborted(pending.id)));
}

#[test]
fn a_decline_aborts_and_a_foreign_one_does_not() {
    let mut play = Play::new(SinkKind::Blackhole);
    play.after(1_000);
    let pending = play.begin(CheckpointKind::Checkpoint);
    let out = TaskId::new("out", 0);
    assert_eq!(play.coordinator.declined(CheckpointId(9), &out, "x"), None);
    let abort = play.coordinator.declined(pending.id, &out, "disk full");
    let cause = "out/0 declined: disk full".into();
    assert_eq!(
        abort,
        Some(Action::Abort {
            id: pending.id,
            cause,
            counts: true
        })
    );
    assert_eq!(play.coordinator.declined(pending.id, &out, "again"), None);
}

#[test]
fn a_metadata_file_that_cannot_be_written_aborts() {
    let mut play = Play::new(SinkKind::Blackhole);
    play.after(1_000);
    let pending = play.begin(CheckpointKind::Checkpoint);
    assert!(play.ack_all(pending.id).is_some());
    let abort = play.coordinator.not_completed("disk full", true);
    let cause = "disk full".into();
    assert_eq!(
        abort,
        Some(Action::Abort {
            id: pending.id,
            cause,
            counts: true
        })
    );
}

#[test]
fn what_the_log_aborted_is_only_announced() {
    let mut play = Play::new(SinkKind::Blackhole);
    play.after(1_000);
    let pending = play.begin(CheckpointKind::Checkpoint);
    let token = play.env.machine.job(JOB).unwrap().token.unwrap();
    let failed = AttemptFailed {
        job: JOB,
        token,
        cause: "x".into(),
        kind: FailureKind::WorkerLost,
        worker: None,
        vertex: None,
        subtask: None,
        jitter_permille: 0,
    };
    play.env.leader(Command::AttemptFailed(failed));
    assert_eq!(play.look(), [Action::AnnounceAborted(pending.id)]);
    assert!(
        play.after(10_000).is_empty(),
        "nothing begins for an attempt that failed"
    );
}

#[test]
fn a_pending_checkpoint_that_nobody_remembers_is_given_up_uncounted() {
    let mut play = Play::new(SinkKind::Blackhole);
    let token = play.env.machine.job(JOB).unwrap().token.unwrap();
    let (job, kind, root) = (JOB, CheckpointKind::Checkpoint, "/chk".to_owned());
    let begin = regent_state::command::BeginCheckpoint {
        job,
        token,
        kind,
        root,
    };
    play.env.leader(Command::BeginCheckpoint(begin));
    let [Action::Abort { counts: false, .. }] = play.look()[..] else {
        panic!("kept");
    };
}

#[test]
fn the_latest_is_announced_to_every_session_once() {
    let mut play = Play::new(SinkKind::ExactlyOnce);
    let id = play.env.checkpoint(CheckpointKind::Checkpoint, true);
    let told = |actions: Vec<Action>| {
        let worker = |action| match action {
            Action::AnnounceCompleted { id: of, worker, .. } if of == id => worker.to_string(),
            other => panic!("{other:?}"),
        };
        actions.into_iter().map(worker).collect::<Vec<_>>()
    };
    assert_eq!(told(play.look()), ["tm-1#1", "tm-2#1"]);
    assert!(play.look().is_empty());
    play.present[1].1 = 9;
    assert_eq!(
        told(play.look()),
        ["tm-2#1"],
        "a new session of the same worker"
    );
}

#[test]
fn commits_travel_with_the_next_completion() {
    let mut play = Play::new(SinkKind::ExactlyOnce);
    let first = play.env.checkpoint(CheckpointKind::Checkpoint, true);
    play.look();
    play.coordinator
        .sink_committed(first, &TaskId::new("out", 0));
    play.coordinator
        .sink_committed(first, &TaskId::new("out", 0));
    assert!(!play.coordinator.all_committed());
    play.coordinator
        .sink_committed(CheckpointId(9), &TaskId::new("out", 1));
    assert!(!play.coordinator.all_committed());
    play.coordinator
        .sink_committed(first, &TaskId::new("out", 1));
    assert!(play.coordinator.all_committed());
    play.after(1_000);
    let pending = play.begin(CheckpointKind::Checkpoint);
    let Some(Action::Complete {
        sinks_committed_through,
        ..
    }) = play.ack_all(pending.id)
    else {
        panic!("not complete");
    };
    assert_eq!(sinks_committed_through, Some(first));
}

#[test]
fn the_last_checkpoint_ignores_interval_and_is_taken_again_until_it_completes() {
    let mut play = Play::new(SinkKind::ExactlyOnce);
    play.all_finished = true;
    assert_eq!(play.look(), [Action::Begin(CheckpointKind::Final)]);
    let pending = play.begin(CheckpointKind::Final);
    play.after(5_000);
    play.env.leader(Command::AbortCheckpoint(
        regent_state::command::AbortCheckpoint {
            job: JOB,
            token: play.env.machine.job(JOB).unwrap().token.unwrap(),
            id: pending.id,
            cause: "timed out".into(),
            counts: true,
        },
    ));
    play.coordinator
        .aborted(pending.id, true, play.env.clock_ms);
    assert!(play.after(499).is_empty());
    assert_eq!(play.after(1), [Action::Begin(CheckpointKind::Final)]);
    // A job without exactly-once sinks needs none.
    let mut plain = Play::new(SinkKind::Blackhole);
    plain.all_finished = true;
    assert!(plain.after(60_000).is_empty());
}

#[test]
fn the_last_commit_is_reported_at_once() {
    let mut play = Play::new(SinkKind::ExactlyOnce);
    play.all_finished = true;
    let last = play.env.checkpoint(CheckpointKind::Final, true);
    assert_eq!(play.look().len(), 2, "announced to both");
    for subtask in 0..2 {
        play.coordinator
            .sink_committed(last, &TaskId::new("out", subtask));
    }
    assert_eq!(play.look(), [Action::SinksCommitted(last)]);
    assert!(play.look().is_empty(), "under way");
    play.coordinator.not_reported();
    assert_eq!(play.look(), [Action::SinksCommitted(last)]);
    let run = play.env.machine.job(JOB).unwrap().run;
    play.env.leader(Command::SinksCommitted(SinksCommitted {
        job: JOB,
        run,
        through: last,
    }));
    play.coordinator.not_reported();
    assert!(play.look().is_empty());
}

#[test]
fn savepoints_and_stops_are_taken_at_once() {
    let mut play = Play::new(SinkKind::Blackhole);
    let target = "/sp".to_owned();
    play.env.client(Command::RequestSavepoint(RequestSavepoint {
        job: JOB,
        target: target.clone(),
    }));
    let [Action::Begin(CheckpointKind::Savepoint { .. })] = play.look()[..] else {
        panic!("no savepoint");
    };
    let mut play = Play::new(SinkKind::Blackhole);
    play.env.client(Command::StopJob(StopJob {
        job: JOB,
        target,
        drain: false,
    }));
    assert_eq!(play.look(), [Action::Begin(CheckpointKind::StopSavepoint)]);
}

#[test]
fn a_session_that_ends_meanwhile_gives_it_up_uncounted_and_another_begins() {
    for present in [vec![(tm(1, 1), 1)], vec![(tm(1, 1), 1), (tm(2, 1), 9)]] {
        let mut play = Play::new(SinkKind::Blackhole);
        play.after(1_000);
        let pending = play.begin(CheckpointKind::Checkpoint);
        play.present = present;
        let actions = play.look();
        let [
            Action::Abort {
                id, counts: false, ..
            },
        ] = actions[..]
        else {
            panic!("{actions:?}");
        };
        assert_eq!(id, pending.id);
        let token = play.env.machine.job(JOB).unwrap().token.unwrap();
        let cause = "x".to_owned();
        let abort = AbortCheckpoint {
            job: JOB,
            token,
            id,
            cause,
            counts: false,
        };
        play.env.leader(Command::AbortCheckpoint(abort));
        play.coordinator.aborted(id, true, play.env.clock_ms);
        let whole = play.present.len() == 2;
        let again = play.after(1_000);
        assert_eq!(
            again.contains(&Action::Begin(CheckpointKind::Checkpoint)),
            whole
        );
    }
}

#[test]
fn a_trigger_that_finds_no_session_gives_it_up_uncounted() {
    let mut play = Play::new(SinkKind::Blackhole);
    play.after(1_000);
    let pending = play.begin(CheckpointKind::Checkpoint);
    let Some(Action::Abort {
        id, counts: false, ..
    }) = play.coordinator.triggered(None)
    else {
        panic!("kept");
    };
    assert_eq!(id, pending.id);
}

#[test]
fn nothing_begins_while_a_worker_is_away() {
    let mut play = Play::new(SinkKind::Blackhole);
    let away = play.present.pop().unwrap();
    assert!(play.after(5_000).is_empty());
    play.present.push(away);
    assert_eq!(play.look(), [Action::Begin(CheckpointKind::Checkpoint)]);
}

#[test]
fn an_abort_that_came_after_the_completion_is_not_announced() {
    let mut play = Play::new(SinkKind::ExactlyOnce);
    play.all_finished = true;
    play.look();
    let pending = play.begin(CheckpointKind::Final);
    assert!(play.ack_all(pending.id).is_some());
    // The completion is applied although its answer was lost; the abort behind it is refused.
    let abort = play.coordinator.not_completed("outcome unknown", false);
    assert!(matches!(abort, Some(Action::Abort { counts: false, .. })));
    let token = play.env.machine.job(JOB).unwrap().token.unwrap();
    let pointer = CheckpointPointer {
        path: pending.path.clone(),
        metadata_len: 1,
        metadata_crc: 2,
        size_bytes: 3,
        duration_ms: 4,
        files: 0,
        has_transactions: true,
    };
    let (job, id, sinks_committed_through) = (JOB, pending.id, None);
    let complete = CompleteCheckpoint {
        job,
        token,
        id,
        pointer,
        sinks_committed_through,
    };
    play.env.leader(Command::CompleteCheckpoint(complete));
    assert_eq!(
        play.coordinator
            .aborted(pending.id, false, play.env.clock_ms),
        None
    );
    let announced = play.look();
    assert_eq!(announced.len(), 2);
    assert!(
        announced
            .iter()
            .all(|one| matches!(one, Action::AnnounceCompleted { .. }))
    );
}

#[test]
fn an_abort_of_unknown_outcome_is_proposed_again() {
    let mut play = Play::new(SinkKind::Blackhole);
    play.after(1_000);
    let pending = play.begin(CheckpointKind::Checkpoint);
    play.after(5_000);
    assert_eq!(
        play.coordinator
            .aborted(pending.id, false, play.env.clock_ms),
        None
    );
    let again = play.look();
    assert!(
        matches!(again[..], [Action::Abort { counts: false, .. }]),
        "{again:?}"
    );
}

#[test]
fn a_drained_worker_asks_for_a_checkpoint_at_once_and_only_for_one() {
    let mut play = Play::new(SinkKind::Blackhole);
    assert_eq!(play.after(1), []);
    let (worker, drained) = ("tm-1".to_owned(), true);
    let drain = regent_state::command::DrainWorker { worker, drained };
    play.env.client(Command::DrainWorker(drain));
    assert_eq!(play.after(1), [Action::Begin(CheckpointKind::Checkpoint)]);
    play.coordinator.not_begun(play.env.clock_ms);
    play.env.clock_ms += 600;
    play.env.checkpoint(CheckpointKind::Checkpoint, false);
    let next = play.look();
    let begun = next.iter().any(|one| matches!(one, Action::Begin(_)));
    assert!(!begun, "{next:?}");
}

//! One subtask of a two-phase sink without a cluster: rows, checkpoints that are completed, aborted or
//! never heard of again, and attempts that begin with one of them.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::ArrayRef;
use regent_protocol::v1::TaskState;
use serde_json::Value;

use super::told;
use crate::engine::{AttemptId, Authority, Effects, Sink as _, restored_of};
use crate::own::two_phase::AnyTwoPhase;
use crate::own::{
    Beginning, ColumnType, Columns, Result, RunningTwoPhase, Schemas, Setup, SetupParts,
    TwoPhaseSink,
};

const VERTEX: &str = "tested";

type New = Arc<dyn Fn(&mut Setup) -> Result<Box<dyn AnyTwoPhase>> + Send + Sync>;

/// A two-phase sink that is to be tested: one subtask, without configuration.
#[must_use]
pub fn two_phase_sink<S: TwoPhaseSink>(
    new: impl Fn(&mut Setup) -> Result<S> + Send + Sync + 'static,
) -> SinkTrial {
    SinkTrial {
        new: Arc::new(move |setup| Ok(Box::new(new(setup)?) as _)),
        check: S::check,
        parts: SetupParts {
            vertex: VERTEX.to_owned(),
            what: "sink tested".to_owned(),
            version: S::VERSION,
            parallelism: 1,
            ..SetupParts::default()
        },
        attempts: Arc::default(),
    }
}

/// What a job file would say of the sink.
#[derive(Clone)]
pub struct SinkTrial {
    new: New,
    check: fn(&Setup) -> Result<()>,
    parts: SetupParts,
    attempts: Arc<AtomicU64>,
}

impl SinkTrial {
    /// The columns that come in.
    #[must_use]
    pub fn input<N: Into<String>>(
        mut self,
        columns: impl IntoIterator<Item = (N, ColumnType)>,
    ) -> Self {
        self.parts.input = Columns::of(columns);
        self
    }

    /// The vertex's `with`.
    #[must_use]
    pub fn config(mut self, with: Value) -> Self {
        self.parts.with = with;
        self
    }

    /// The first attempt of a job.
    ///
    /// # Errors
    /// What submitting the job would say, or what would fail the task.
    pub async fn start(&self) -> Result<SinkHarness> {
        self.begin(None).await
    }

    /// The next attempt of the same job, from a checkpoint of an earlier one: what that lists is
    /// committed, and the rest of the earlier ones is to go.
    ///
    /// # Errors
    /// What would fail the task.
    pub async fn restore(&self, from: &SinkCheckpoint) -> Result<SinkHarness> {
        self.begin(Some(from)).await
    }

    async fn begin(&self, from: Option<&SinkCheckpoint>) -> Result<SinkHarness> {
        let token = self.attempts.fetch_add(1, Ordering::Relaxed) + 1;
        let states = from.map(|from| std::slice::from_ref(&from.state));
        let restored = states.map(|states| restored_of(states, self.parts.version, 0, 1));
        let setup = Setup::new(self.parts.clone(), restored)?;
        (self.check)(&setup)?;
        let listed = from.map_or_else(Vec::new, |from| from.state.transactions.clone());
        let beginning = Beginning {
            attempt: AttemptId {
                job: Arc::from(VERTEX),
                run: (1, 1),
                token: (1, token),
            },
            vertex: Arc::from(VERTEX),
            subtask: 0,
            restored: from.map_or(0, |from| from.id),
            mine: listed.clone(),
            listed,
        };
        let effects = Effects::new(Arc::new(Always));
        let mut sink = RunningTwoPhase::start(setup, effects, beginning, &*self.new)?;
        sink.prepare().await.map_err(told)?;
        Ok(SinkHarness {
            sink,
            input: Schemas::new(self.parts.input.clone()),
            checkpoints: from.map_or(0, |from| from.id),
        })
    }
}

impl fmt::Debug for SinkTrial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts.fmt(f)
    }
}

/// Nobody takes the right to act away from a test.
struct Always;

impl Authority for Always {
    fn may_act(&self) -> bool {
        true
    }
}

/// A checkpoint to which the sink has contributed.
#[derive(Debug, Clone)]
pub struct SinkCheckpoint {
    id: u64,
    state: TaskState,
}

/// A running sink. Dropped, it is as good as killed.
pub struct SinkHarness {
    sink: RunningTwoPhase,
    input: Schemas,
    checkpoints: u64,
}

impl SinkHarness {
    /// Rows come in: all columns of the input, in its order.
    ///
    /// # Errors
    /// What would fail the task.
    pub async fn write(&mut self, columns: Vec<ArrayRef>) -> Result<()> {
        let rows = self.input.batch(columns)?;
        self.sink.write(rows).await.map_err(told)
    }

    /// A checkpoint's barrier: the open transaction is made durable, and all that aren't committed are
    /// listed.
    ///
    /// # Errors
    /// What would fail the task.
    pub async fn checkpoint(&mut self) -> Result<SinkCheckpoint> {
        self.checkpoints += 1;
        let id = self.checkpoints;
        self.sink.roll().await.map_err(told)?;
        let kept = self.sink.snapshot(id).map_err(told)?;
        let state = TaskState {
            operator_items: kept.items,
            transactions: kept.transactions,
            next_sequence: kept.next_sequence,
            ..TaskState::default()
        };
        Ok(SinkCheckpoint { id, state })
    }

    /// The checkpoint is complete: what it lists is committed.
    ///
    /// # Errors
    /// What would fail the task.
    pub async fn complete(&mut self, checkpoint: &SinkCheckpoint) -> Result<()> {
        self.sink.commit(checkpoint.id).await.map_err(told)?;
        Ok(())
    }

    /// The checkpoint will never be complete: its transactions stay for the next.
    pub fn abort(&mut self, checkpoint: &SinkCheckpoint) {
        self.sink.abort(checkpoint.id);
    }

    /// Transactions that aren't committed.
    #[must_use]
    pub fn pending(&self) -> u32 {
        self.sink.pending()
    }
}

impl fmt::Debug for SinkHarness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SinkHarness({} pending)", self.sink.pending())
    }
}

//! Sinks of one's own whose output appears exactly once: transactions that are written, made durable,
//! and committed when the checkpoint that lists them is complete (`docs/protocol.md` §6).

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::RecordBatch;
use futures::FutureExt;
use futures::future::BoxFuture;
use regent_protocol::v1::{LogToken, Transaction};

use super::list::Listed;
use super::operator::told;
use super::{Error, Result, Setup, in_one_line};
use crate::engine::{AttemptId, Committed, Effects, Ledger, SinkState, TaskError};

/// What a sink may leave with a transaction for its commit.
const HANDLE_BYTES_MAX: usize = 64 * 1024;

/// A sink whose output appears exactly once. One value runs each subtask. Rows go into the open
/// transaction; before each checkpoint it is made durable, and the checkpoint lists it; when that
/// is complete it is committed.
///
/// What the methods have to keep:
///
/// - Nothing of a transaction is visible before [`commit`](Self::commit), and all of it after.
/// - Once [`pre_commit`](Self::pre_commit) has answered, neither a crash of the process nor one of the
///   machine loses the transaction.
/// - A transaction is committed by its id and handle alone, perhaps by another process than wrote it,
///   perhaps by two at once, and again after it was committed: then nothing happens.
pub trait TwoPhaseSink: Send + 'static {
    /// See [`super::Operator::VERSION`].
    const VERSION: u32 = 1;

    /// See [`super::Sink::ZOMBIE_SAFE`]. Ids are never used twice, so a sink that keeps everything that
    /// isn't committed under the id of its transaction may say yes.
    const ZOMBIE_SAFE: bool = false;

    /// Looks at configuration and input when a job is submitted, where an error refuses it.
    ///
    /// # Errors
    /// What is wrong with configuration or input.
    fn check(_setup: &Setup) -> Result<()> {
        Ok(())
    }

    /// Takes rows into a transaction; its first call for an id begins it. Work that blocks belongs into
    /// `tokio::task::spawn_blocking`.
    ///
    /// # Errors
    /// Fails the task.
    fn write(
        &mut self,
        id: &TransactionId,
        rows: RecordBatch,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Makes everything of the transaction durable; no row follows. Answers what
    /// [`commit`](Self::commit) has to know beside the id, at most 64 KiB; it is kept in checkpoints.
    ///
    /// # Errors
    /// Fails the task.
    fn pre_commit(&mut self, id: &TransactionId) -> impl Future<Output = Result<Vec<u8>>> + Send;

    /// Makes the transaction visible, durably.
    ///
    /// # Errors
    /// Fails the task; after the restart it is tried again.
    fn commit(
        &mut self,
        id: &TransactionId,
        handle: &[u8],
    ) -> impl Future<Output = Result<()>> + Send;

    /// Takes away what will never be committed. Called when an attempt begins, once what its checkpoint
    /// lists is committed, and after the job's end; every subtask is asked, so what one takes away may
    /// be gone for another. A sink whose store forgets by itself needs none of it.
    ///
    /// # Errors
    /// Fails the task.
    fn abort(&mut self, _abandoned: &Abandoned) -> impl Future<Output = Result<()>> + Send {
        async { Ok(()) }
    }
}

/// Name of a transaction, never used twice in a cluster:
/// `<run>-<attempt's token>-<subtask>-<number>-<vertex>`, such as `1.17-1.23-0-4-out`. Can be written
/// as text and read back.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransactionId {
    run: (u64, u64),
    token: (u64, u64),
    subtask: u32,
    number: u64,
    vertex: Arc<str>,
}

impl TransactionId {
    fn of(transaction: &Transaction, vertex: &Arc<str>) -> Self {
        let rank = |token: &Option<LogToken>| token.as_ref().map_or((0, 0), LogToken::rank);
        Self {
            run: rank(&transaction.run),
            token: rank(&transaction.token),
            subtask: transaction.subtask,
            number: transaction.sequence,
            vertex: vertex.clone(),
        }
    }

    /// Number of the subtask that wrote it.
    #[must_use]
    pub fn subtask(&self) -> u32 {
        self.subtask
    }
}

impl fmt::Display for TransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ((run, run_at), (token, token_at)) = (self.run, self.token);
        let (subtask, number, vertex) = (self.subtask, self.number, &self.vertex);
        write!(
            f,
            "{run}.{run_at}-{token}.{token_at}-{subtask}-{number}-{vertex}"
        )
    }
}

impl FromStr for TransactionId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let read = || {
            let mut parts = text.splitn(5, '-');
            let id = Self {
                run: read_token(parts.next()?)?,
                token: read_token(parts.next()?)?,
                subtask: parts.next()?.parse().ok()?,
                number: parts.next()?.parse().ok()?,
                vertex: Arc::from(parts.next()?),
            };
            Some(id)
        };
        read().ok_or_else(|| format!("{text:?} is no transaction's id").into())
    }
}

fn read_token(text: &str) -> Option<(u64, u64)> {
    let (generation, index) = text.split_once('.')?;
    Some((generation.parse().ok()?, index.parse().ok()?))
}

/// Which transactions will never be committed: those of earlier attempts of this run and vertex that
/// the checkpoint, with which the present attempt began, doesn't list.
#[derive(Debug, Clone)]
pub struct Abandoned {
    run: (u64, u64),
    /// `None`: the job has ended.
    before: Option<(u64, u64)>,
    vertex: Arc<str>,
    listed: BTreeSet<TransactionId>,
}

impl Abandoned {
    /// Whether this transaction will never be committed. Of one that was committed already it says so,
    /// too: ask only of what is pending.
    #[must_use]
    pub fn contains(&self, id: &TransactionId) -> bool {
        let earlier = self.before.is_none_or(|token| id.token < token);
        id.run == self.run && id.vertex == self.vertex && earlier && !self.listed.contains(id)
    }
}

/// A two-phase sink without its type.
pub(crate) trait AnyTwoPhase: Send {
    fn write<'a>(
        &'a mut self,
        id: &'a TransactionId,
        rows: RecordBatch,
    ) -> BoxFuture<'a, Result<()>>;
    fn pre_commit<'a>(&'a mut self, id: &'a TransactionId) -> BoxFuture<'a, Result<Vec<u8>>>;
    fn commit<'a>(
        &'a mut self,
        id: &'a TransactionId,
        handle: &'a [u8],
    ) -> BoxFuture<'a, Result<()>>;
    fn abort<'a>(&'a mut self, abandoned: &'a Abandoned) -> BoxFuture<'a, Result<()>>;
}

impl<S: TwoPhaseSink> AnyTwoPhase for S {
    fn write<'a>(
        &'a mut self,
        id: &'a TransactionId,
        rows: RecordBatch,
    ) -> BoxFuture<'a, Result<()>> {
        TwoPhaseSink::write(self, id, rows).boxed()
    }

    fn pre_commit<'a>(&'a mut self, id: &'a TransactionId) -> BoxFuture<'a, Result<Vec<u8>>> {
        TwoPhaseSink::pre_commit(self, id).boxed()
    }

    fn commit<'a>(
        &'a mut self,
        id: &'a TransactionId,
        handle: &'a [u8],
    ) -> BoxFuture<'a, Result<()>> {
        TwoPhaseSink::commit(self, id, handle).boxed()
    }

    fn abort<'a>(&'a mut self, abandoned: &'a Abandoned) -> BoxFuture<'a, Result<()>> {
        TwoPhaseSink::abort(self, abandoned).boxed()
    }
}

/// Where a subtask's transactions stand when it begins.
#[derive(Debug, Clone)]
pub(crate) struct Beginning {
    pub(crate) attempt: AttemptId,
    pub(crate) vertex: Arc<str>,
    pub(crate) subtask: u32,
    /// The checkpoint restored from; 0: none.
    pub(crate) restored: u64,
    /// To be committed by this subtask before rows flow.
    pub(crate) mine: Vec<Transaction>,
    /// What the checkpoint lists for all subtasks.
    pub(crate) listed: Vec<Transaction>,
}

/// One subtask of a two-phase sink of one's own, as the engine runs it.
pub(crate) struct RunningTwoPhase {
    sink: Box<dyn AnyTwoPhase>,
    lists: Vec<Arc<dyn Listed>>,
    effects: Effects,
    ledger: Ledger,
    beginning: Beginning,
    /// The transaction that takes rows.
    open: Option<Transaction>,
}

impl RunningTwoPhase {
    pub(crate) fn start(
        mut setup: Setup,
        effects: Effects,
        beginning: Beginning,
        build: impl FnOnce(&mut Setup) -> Result<Box<dyn AnyTwoPhase>>,
    ) -> Result<Self> {
        let sink = build(&mut setup)?;
        let (_, lists) = setup.into_state()?;
        Ok(Self {
            sink,
            lists,
            effects,
            ledger: Ledger::new(beginning.restored),
            beginning,
            open: None,
        })
    }

    fn id(&self, transaction: &Transaction) -> TransactionId {
        TransactionId::of(transaction, &self.beginning.vertex)
    }

    async fn take(&mut self, rows: RecordBatch) -> Result<(), TaskError> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        self.effects.allowed()?;
        let open = match self.open.take() {
            Some(open) => open,
            None => self.begin(),
        };
        let id = self.id(&open);
        let open = self.open.insert(open);
        open.rows += rows.num_rows() as u64;
        told(self.sink.write(&id, rows).await)
    }

    fn begin(&mut self) -> Transaction {
        let key = self.beginning.attempt.key();
        Transaction {
            run: key.run,
            token: key.token,
            subtask: self.beginning.subtask,
            sequence: self.ledger.begin(),
            ..Transaction::default()
        }
    }

    /// Makes the open transaction durable, if there is one.
    async fn close(&mut self) -> Result<(), TaskError> {
        let Some(mut open) = self.open.take() else {
            return Ok(());
        };
        self.effects.allowed()?;
        let id = self.id(&open);
        let handle = told(self.sink.pre_commit(&id).await)?;
        if handle.len() > HANDLE_BYTES_MAX {
            return Err(TaskError::task(format!(
                "pre_commit of transaction {id} answers {} bytes, at most {HANDLE_BYTES_MAX} are kept",
                handle.len()
            )));
        }
        open.handle = handle.into();
        self.ledger.close(open);
        Ok(())
    }

    /// Commits transactions, in their order.
    pub(crate) async fn commit_these(&mut self, due: &[Transaction]) -> Result<(), TaskError> {
        for transaction in due {
            self.effects.allowed()?;
            let id = self.id(transaction);
            let committed = self.sink.commit(&id, &transaction.handle).await;
            committed.map_err(|error| {
                let cause = in_one_line(&error);
                TaskError::task(format!("committing transaction {id}: {cause}"))
            })?;
        }
        Ok(())
    }

    /// Takes away what will never be committed. `ended`: no attempt follows.
    pub(crate) async fn abort_rest(&mut self, ended: bool) -> Result<(), TaskError> {
        let beginning = &self.beginning;
        let ids = beginning.listed.iter();
        let abandoned = Abandoned {
            run: beginning.attempt.run,
            before: (!ended).then_some(beginning.attempt.token),
            vertex: beginning.vertex.clone(),
            listed: ids
                .map(|t| TransactionId::of(t, &beginning.vertex))
                .collect(),
        };
        self.effects.allowed()?;
        told(self.sink.abort(&abandoned).await)
    }

    async fn begin_attempt(&mut self) -> Result<(), TaskError> {
        let mine = std::mem::take(&mut self.beginning.mine);
        self.commit_these(&mine).await?;
        self.abort_rest(false).await?;
        self.beginning.listed = Vec::new();
        Ok(())
    }

    async fn commit_listed(&mut self, checkpoint: u64) -> Result<Committed, TaskError> {
        let Some(due) = self.ledger.due(checkpoint) else {
            return Ok(Committed::Unknown);
        };
        self.commit_these(&due).await?;
        self.ledger.committed(checkpoint);
        Ok(Committed::All)
    }

    fn state(&mut self, checkpoint: u64) -> Result<SinkState> {
        let mut items = Vec::new();
        for list in &self.lists {
            list.encode(&mut items)?;
        }
        Ok(SinkState {
            items,
            transactions: self.ledger.list(checkpoint),
            next_sequence: self.ledger.next_sequence(),
        })
    }
}

impl crate::engine::Sink for RunningTwoPhase {
    fn prepare(&mut self) -> BoxFuture<'_, Result<(), TaskError>> {
        self.begin_attempt().boxed()
    }

    fn write(&mut self, batch: RecordBatch) -> BoxFuture<'_, Result<(), TaskError>> {
        self.take(batch).boxed()
    }

    fn deadline(&self) -> Option<Instant> {
        None
    }

    fn roll(&mut self) -> BoxFuture<'_, Result<(), TaskError>> {
        self.close().boxed()
    }

    fn end(&mut self) -> BoxFuture<'_, Result<(), TaskError>> {
        self.close().boxed()
    }

    fn snapshot(&mut self, checkpoint: u64) -> Result<SinkState, TaskError> {
        told(self.state(checkpoint))
    }

    fn commit(&mut self, checkpoint: u64) -> BoxFuture<'_, Result<Committed, TaskError>> {
        self.commit_listed(checkpoint).boxed()
    }

    fn abort(&mut self, checkpoint: u64) {
        self.ledger.abort(checkpoint);
    }

    fn state_bytes(&self) -> u64 {
        let lists: u64 = self.lists.iter().map(|list| list.bytes()).sum();
        lists + self.ledger.bytes() as u64
    }

    fn pending(&self) -> u32 {
        u32::try_from(self.ledger.pending()).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_written_and_read() {
        let id: TransactionId = "1.17-2.23-0-4-late-flights".parse().unwrap();
        assert_eq!((id.run, id.token), ((1, 17), (2, 23)));
        assert_eq!(
            (id.subtask(), id.number, &*id.vertex),
            (0, 4, "late-flights")
        );
        assert_eq!(id.to_string(), "1.17-2.23-0-4-late-flights");
        for text in ["", "1.17-2.23-0-4", "1-2-0-4-v", "1.x-2.3-0-4-v"] {
            assert!(text.parse::<TransactionId>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_abandoned_is_of_earlier_attempts_and_not_listed() {
        let id = |text: &str| text.parse::<TransactionId>().unwrap();
        let listed = BTreeSet::from([id("1.5-1.9-0-2-out")]);
        let mut abandoned = Abandoned {
            run: (1, 5),
            before: Some((1, 20)),
            vertex: Arc::from("out"),
            listed,
        };
        for (text, expected) in [
            ("1.5-1.9-0-2-out", false),
            ("1.5-1.9-0-3-out", true),
            ("1.5-1.20-0-0-out", false),
            ("1.5-1.9-0-3-other", false),
            ("1.6-1.9-0-3-out", false),
        ] {
            assert_eq!(abandoned.contains(&id(text)), expected, "{text}");
        }
        abandoned.before = None;
        assert!(
            abandoned.contains(&id("1.5-1.20-0-0-out")),
            "the job has ended"
        );
    }
}

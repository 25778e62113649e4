//! `sink: print`: each row a line of the worker's log, as JSON behind `job/vertex/subtask`. After a
//! restart rows since the last checkpoint are printed again.

use std::time::Instant;

use arrow::array::RecordBatch;
use futures::FutureExt;
use futures::future::BoxFuture;
use regent_protocol::spec::FileFormat;
use regent_protocol::v1::VertexPlan;

use super::text::TextWriter;
use super::{Committed, Sink, SinkStart, SinkState};
use crate::engine::effects::Effects;
use crate::engine::error::TaskError;

/// Keeps nothing, so everything is always committed.
#[derive(Debug)]
pub(crate) struct Print {
    prefix: String,
    writer: TextWriter,
    effects: Effects,
    text: Vec<u8>,
}

impl Print {
    pub(crate) fn new(plan: &VertexPlan, start: &SinkStart) -> Result<Self, TaskError> {
        Ok(Self {
            prefix: format!("{}/{}/{}", start.job_name, plan.id, start.subtask),
            writer: TextWriter::new(FileFormat::JsonLines, &plan.columns)?,
            effects: start.effects.clone(),
            text: Vec::new(),
        })
    }

    fn print(&mut self, batch: &RecordBatch) -> Result<(), TaskError> {
        self.effects.allowed()?;
        self.text.clear();
        self.writer.rows(batch, &mut self.text)?;
        for line in String::from_utf8_lossy(&self.text).lines() {
            tracing::info!(target: "regent::print", "{}> {line}", self.prefix);
        }
        Ok(())
    }
}

impl Sink for Print {
    fn write(&mut self, batch: RecordBatch) -> BoxFuture<'_, Result<(), TaskError>> {
        std::future::ready(self.print(&batch)).boxed()
    }

    fn deadline(&self) -> Option<Instant> {
        None
    }

    fn roll(&mut self) -> BoxFuture<'_, Result<(), TaskError>> {
        std::future::ready(Ok(())).boxed()
    }

    fn end(&mut self) -> BoxFuture<'_, Result<(), TaskError>> {
        std::future::ready(Ok(())).boxed()
    }

    fn snapshot(&mut self, _checkpoint: u64) -> Result<SinkState, TaskError> {
        Ok(SinkState::default())
    }

    fn commit(&mut self, _checkpoint: u64) -> BoxFuture<'_, Result<Committed, TaskError>> {
        std::future::ready(Ok(Committed::All)).boxed()
    }

    fn abort(&mut self, _checkpoint: u64) {}

    fn pending(&self) -> u32 {
        0
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;
    use std::sync::{Arc, Mutex};

    use arrow::array::{ArrayRef, Int64Array};
    use regent_protocol::v1::Column;
    use tracing::field::{Field, Visit};
    use tracing::span::{Attributes, Id, Record};
    use tracing::{Event, Metadata, Subscriber};

    use super::*;
    use crate::engine::Authority;
    use crate::engine::ids::AttemptId;

    struct Always;
    impl Authority for Always {
        fn may_act(&self) -> bool {
            true
        }
    }

    /// Keeps the messages of events.
    #[derive(Clone, Default)]
    struct Messages(Arc<Mutex<Vec<String>>>);

    impl Visit for Messages {
        fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
            if field.name() == "message" {
                self.0.lock().unwrap().push(format!("{value:?}"));
            }
        }
    }

    impl Subscriber for Messages {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }
        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }
        fn record(&self, _: &Id, _: &Record<'_>) {}
        fn record_follows_from(&self, _: &Id, _: &Id) {}
        fn event(&self, event: &Event<'_>) {
            event.record(&mut self.clone());
        }
        fn enter(&self, _: &Id) {}
        fn exit(&self, _: &Id) {}
    }

    #[test]
    fn rows_are_lines_behind_job_vertex_and_subtask() {
        let plan = VertexPlan {
            id: "show".into(),
            columns: vec![Column {
                name: "n".into(),
                data_type: "int64".into(),
            }],
            ..VertexPlan::default()
        };
        let start = SinkStart {
            attempt: AttemptId {
                job: "j".into(),
                run: (1, 5),
                token: (1, 7),
            },
            job_name: "my job".into(),
            subtask: 3,
            restored: 0,
            items: Vec::new(),
            effects: Effects::new(Arc::new(Always)),
        };
        let mut print = Print::new(&plan, &start).unwrap();
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![Some(7), None]));
        let batch = RecordBatch::try_from_iter_with_nullable([("n", numbers, true)]).unwrap();
        let messages = Messages::default();
        tracing::subscriber::with_default(messages.clone(), || print.print(&batch).unwrap());
        let lines = messages.0.lock().unwrap().clone();
        assert_eq!(lines, ["my job/show/3> {\"n\":7}", "my job/show/3> {}"]);
    }
}

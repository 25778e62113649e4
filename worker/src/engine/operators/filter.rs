//! `operator: filter`: passes the rows for which its predicate holds.

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::Schema;
use regent_protocol::spec::FilterSpec;

use super::predicate::Compiled;
use super::{Operator, OperatorState};
use crate::engine::error::TaskError;

/// Keeps no state.
#[derive(Debug)]
pub(crate) struct Filter {
    predicate: Compiled,
}

impl Filter {
    pub(crate) fn new(spec: &FilterSpec, schema: &Schema) -> Result<Self, TaskError> {
        let predicate = Compiled::new(&spec.predicate, schema)?;
        Ok(Self { predicate })
    }
}

impl Operator for Filter {
    fn process(&mut self, batch: RecordBatch, out: &mut Vec<RecordBatch>) -> Result<(), TaskError> {
        let holds = self.predicate.evaluate(&batch);
        let count = holds.count_set_bits();
        if count == batch.num_rows() {
            out.push(batch);
        } else if count > 0 {
            out.push(filter_record_batch(&batch, &BooleanArray::from(holds))?);
        }
        Ok(())
    }

    fn end(&mut self, _out: &mut Vec<RecordBatch>) -> Result<bool, TaskError> {
        Ok(false)
    }

    fn snapshot(&mut self) -> Result<OperatorState, TaskError> {
        Ok(OperatorState::default())
    }
}

//! `operator: select`: passes some columns, in another order or under other names. Columns are
//! shared, not copied.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema, SchemaRef};
use regent_protocol::spec::SelectSpec;

use super::{Operator, OperatorState};
use crate::engine::error::TaskError;
use crate::engine::schema::{arrow_type, find_column};

/// Keeps no state.
#[derive(Debug)]
pub(crate) struct Select {
    columns: Vec<usize>,
    output: SchemaRef,
}

impl Select {
    pub(crate) fn new(spec: &SelectSpec, schema: &Schema) -> Result<Self, TaskError> {
        let mut columns = Vec::with_capacity(spec.columns.len());
        let mut fields = Vec::with_capacity(spec.columns.len());
        for selected in &spec.columns {
            let (at, kind) = find_column(schema, &selected.column)?;
            columns.push(at);
            fields.push(Field::new(&selected.name, arrow_type(kind), true));
        }
        Ok(Self {
            columns,
            output: Arc::new(Schema::new(fields)),
        })
    }
}

impl Operator for Select {
    fn process(&mut self, batch: RecordBatch, out: &mut Vec<RecordBatch>) -> Result<(), TaskError> {
        let columns = self.columns.iter().map(|at| batch.column(*at).clone());
        out.push(RecordBatch::try_new(
            self.output.clone(),
            columns.collect(),
        )?);
        Ok(())
    }

    fn end(&mut self, _out: &mut Vec<RecordBatch>) -> Result<bool, TaskError> {
        Ok(false)
    }

    fn snapshot(&mut self) -> Result<OperatorState, TaskError> {
        Ok(OperatorState::default())
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Int64Array, StringArray};
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_pass_in_the_order_and_under_the_names_of_the_job() {
        let a: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None]));
        let b: ArrayRef = Arc::new(StringArray::from(vec!["x", "y"]));
        let columns = [("a", a.clone(), true), ("b", b.clone(), true)];
        let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
        let spec = json!({ "columns": [
            { "column": "b", "name": "text" }, { "column": "a", "name": "a" }, { "column": "a", "name": "b" },
        ] });
        let spec: SelectSpec = serde_json::from_value(spec).unwrap();
        let mut select = Select::new(&spec, &batch.schema()).unwrap();
        let mut out = Vec::new();
        select.process(batch.clone(), &mut out).unwrap();
        let expected = [("text", b, true), ("a", a.clone(), true), ("b", a, true)];
        assert_eq!(
            out,
            [RecordBatch::try_from_iter_with_nullable(expected).unwrap()]
        );
        let missing = json!({ "columns": [{ "column": "c", "name": "c" }] });
        let missing: SelectSpec = serde_json::from_value(missing).unwrap();
        let error = Select::new(&missing, &batch.schema()).unwrap_err();
        assert_eq!(error.to_string(), "there is no column c");
    }
}

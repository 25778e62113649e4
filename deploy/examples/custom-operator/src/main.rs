//! A program of one's own: all that `regent` does, and one more operator.

use std::process::ExitCode;

use regent::arrow::array::Int64Array;
use regent::{ColumnType, Columns, Operator, Output, Result, Rows, Setup, ValueState};

/// Numbers the rows of each key in the order in which they come.
struct Enrich {
    seen: ValueState<i64>,
}

impl Enrich {
    fn new(setup: &mut Setup) -> Result<Self> {
        let seen = setup.value("seen")?;
        Ok(Self { seen })
    }
}

impl Operator for Enrich {
    fn schema(setup: &Setup) -> Result<Columns> {
        Ok(setup.input().and("nth", ColumnType::Int64))
    }

    fn process(&mut self, rows: &Rows<'_>, out: &mut Output<'_>) -> Result<()> {
        let mut seen = self.seen.of(rows);
        let numbers = (0..rows.num_rows()).map(|row| {
            let seen = seen.at(row).get_or_insert(0);
            *seen += 1;
            *seen
        });
        out.emit(rows.and(Int64Array::from_iter_values(numbers)))
    }
}

fn main() -> ExitCode {
    regent::main(|registry| registry.operator("enrich", Enrich::new))
}

#[cfg(test)]
mod tests;

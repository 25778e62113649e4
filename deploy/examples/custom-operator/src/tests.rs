//! The operator without a cluster.

use regent::testing::{self, column, lines};
use regent::{ColumnType, Result};

use crate::Enrich;

#[test]
fn rows_are_numbered_within_their_key_also_after_a_restore() -> Result<()> {
    let trial = testing::operator(Enrich::new)
        .input([("key", ColumnType::Int64)])
        .key(["key"]);
    let mut one = trial.start()?;
    let out = one.push(vec![column([7, 8, 7])])?;
    assert_eq!(lines(&out)?, ["7,1", "8,1", "7,2"]);

    let snapshot = one.snapshot()?;
    let mut three = trial.parallelism(3).restore(&snapshot).start()?;
    assert_eq!(lines(&three.push(vec![column([7])])?)?, ["7,3"]);
    assert_eq!(lines(&three.push(vec![column([9])])?)?, ["9,1"]);
    Ok(())
}

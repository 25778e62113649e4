//! Flink's retention matrix: what becomes of a job's checkpoints when it ends.

use crate::command::Outcome;
use crate::graph::Retention;

/// Whether completed checkpoints are kept. Savepoints always are; subsumed ones never.
pub(crate) fn keeps_checkpoints(outcome: Outcome, retention: Retention) -> bool {
    match (outcome, retention) {
        (Outcome::Finished, _) | (_, Retention::NoExternalizedCheckpoints) => false,
        (Outcome::Canceled, Retention::DeleteOnCancellation) => false,
        (Outcome::Canceled, Retention::RetainOnCancellation) => true,
        (Outcome::Failed, Retention::DeleteOnCancellation | Retention::RetainOnCancellation) => {
            true
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_matrix() {
        use Outcome::{Canceled, Failed, Finished};
        use Retention::{
            DeleteOnCancellation as Delete, NoExternalizedCheckpoints as No,
            RetainOnCancellation as Retain,
        };
        let kept = [(Canceled, Retain), (Failed, Delete), (Failed, Retain)];
        for outcome in [Finished, Canceled, Failed] {
            for retention in [No, Delete, Retain] {
                let expected = kept.contains(&(outcome, retention));
                assert_eq!(keeps_checkpoints(outcome, retention), expected);
            }
        }
    }
}

//! The legal moves of a job's life, in one place. Terminal states have none: they absorb.

use crate::command::Outcome;
use crate::model::JobState;

/// What can happen to a job's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Move {
    /// All tasks of the attempt run.
    Runs,
    /// The attempt was taken over as it was.
    Adopted,
    /// The attempt failed, another may follow.
    Restarts,
    /// The job failed for good.
    Fails,
    /// A user ended it.
    CancelAsked,
    /// A new leader has to look for the attempt's tasks.
    NewLeader,
    /// It is inherited from an earlier life of the state.
    Suspends,
    /// An operator resumes what had not run yet.
    ResumesNew,
    /// The end.
    Ends(Outcome),
}

/// Where the move leads; `None` if it is not legal.
pub(crate) fn next(state: JobState, event: Move) -> Option<JobState> {
    use JobState::*;
    use Outcome as End;
    match (state, event) {
        (Created | Restarting, Move::Runs) => Some(Running),
        (Created | Restarting | Reconciling, Move::Adopted) => Some(Running),
        (Created | Running | Restarting | Reconciling | Suspended, Move::Restarts) => {
            Some(Restarting)
        }
        (Created | Running | Restarting | Reconciling, Move::Suspends) => Some(Suspended),
        (Suspended, Move::ResumesNew) => Some(Created),
        (Created | Running | Restarting | Reconciling | Suspended, Move::Fails) => Some(Failing),
        (Created | Running | Restarting | Reconciling | Suspended | Failing, Move::CancelAsked) => {
            Some(Cancelling)
        }
        (Running, Move::NewLeader) => Some(Reconciling),
        (Running | Reconciling | Restarting, Move::Ends(End::Finished)) => Some(Finished),
        (Failing, Move::Ends(End::Failed)) => Some(Failed),
        (Cancelling, Move::Ends(End::Canceled)) => Some(Canceled),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENTS: [Move; 11] = [
        Move::Runs,
        Move::Adopted,
        Move::Restarts,
        Move::Fails,
        Move::CancelAsked,
        Move::NewLeader,
        Move::Suspends,
        Move::ResumesNew,
        Move::Ends(Outcome::Finished),
        Move::Ends(Outcome::Failed),
        Move::Ends(Outcome::Canceled),
    ];

    #[test]
    fn terminal_states_absorb() {
        for state in JobState::ALL
            .into_iter()
            .filter(|state| state.is_terminal())
        {
            assert!(
                EVENTS.iter().all(|event| next(state, *event).is_none()),
                "{state}"
            );
        }
    }

    #[test]
    fn every_other_state_can_be_left() {
        for state in JobState::ALL
            .into_iter()
            .filter(|state| !state.is_terminal())
        {
            assert!(
                EVENTS.iter().any(|event| next(state, *event).is_some()),
                "{state}"
            );
        }
    }

    #[test]
    fn only_an_end_is_terminal() {
        for state in JobState::ALL {
            for event in EVENTS {
                if let Some(after) = next(state, event) {
                    assert_eq!(after.is_terminal(), matches!(event, Move::Ends(_)));
                }
            }
        }
    }
}

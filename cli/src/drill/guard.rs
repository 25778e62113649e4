//! Whether a drill may be run now. Pure.

use regent_protocol::view::{LeaderShow, Overview};

use super::job::PARALLELISM;
use super::scenario::Scenario;
use crate::failure::Failure;
use crate::output::words::plural;

/// Refuses, with the remedy, what would do harm or can't be done.
pub(super) fn check(
    scenario: Scenario,
    processes: bool,
    show: &LeaderShow,
    overview: &Overview,
) -> Result<(), Failure> {
    if scenario.needs_processes() && !processes {
        return Err(Failure::refused(format!(
            "{} acts on processes: those of a `regent local` on this machine (--dir), or containers \
             (--compose-project); against any other cluster only leader-transfer runs",
            scenario.name()
        )));
    }
    if show.leader.is_none() {
        return Err(Failure::refused("nobody leads; see regent leader explain"));
    }
    if show.tolerates < 1 {
        return Err(Failure::refused(format!(
            "the quorum margin is 0 ({}, {} needed): one more loss and nobody leads; bring back what is away \
             (regent status), or add JobManagers until there are three",
            plural(show.voters, "voter"),
            show.quorum
        )));
    }
    let needed = u32::try_from(PARALLELISM).unwrap_or(u32::MAX);
    if overview.slots_free < needed {
        return Err(Failure::refused(format!(
            "the checking job needs {}, {} of {} are free; start a TaskManager or end a job",
            plural(u64::from(needed), "slot"),
            overview.slots_free,
            overview.slots_total
        )));
    }
    let workers = overview
        .workers
        .iter()
        .filter(|w| w.state == "registered")
        .count();
    let loses_workers = matches!(scenario, Scenario::WorkerKill | Scenario::RollingRestart);
    if loses_workers && workers < 2 {
        return Err(Failure::refused(format!(
            "{} takes a TaskManager away and there is {}; start another one",
            scenario.name(),
            plural(workers as u64, "TaskManager")
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use regent_protocol::view::{LeaderHead, WorkerView};

    use super::*;

    fn show(tolerates: u64) -> LeaderShow {
        LeaderShow {
            leader: Some(LeaderHead {
                node_id: 1,
                name: "jm-1".to_owned(),
                api: String::new(),
                term: 1,
                since_ms: 0,
            }),
            replicas: Vec::new(),
            voters: 3,
            quorum: 2,
            tolerates,
        }
    }

    fn overview(workers: usize, slots_free: u32) -> Overview {
        let worker = |n| WorkerView {
            worker: format!("tm-{n}"),
            address: String::new(),
            slots: 4,
            free: 4,
            state: "registered".to_owned(),
            last_heartbeat_ms: None,
            tasks: 0,
            stuck: 0,
        };
        Overview {
            workers: (1..=workers).map(worker).collect(),
            slots_free,
            slots_total: 8,
            ..Overview::default()
        }
    }

    #[test]
    fn what_would_do_harm_is_refused_with_exit_5_and_a_remedy() {
        let fine = overview(2, 8);
        for scenario in Scenario::ALL {
            assert!(
                check(scenario, true, &show(1), &fine).is_ok(),
                "{scenario:?}"
            );
        }
        let mut leaderless = show(1);
        leaderless.leader = None;
        let cases = [
            (
                check(Scenario::LeaderKill, false, &show(1), &fine),
                "only leader-transfer",
            ),
            (
                check(Scenario::LeaderKill, true, &show(0), &fine),
                "bring back what is away",
            ),
            (
                check(Scenario::LeaderTransfer, false, &show(0), &fine),
                "quorum margin",
            ),
            (
                check(Scenario::LeaderKill, true, &leaderless, &fine),
                "regent leader explain",
            ),
            (
                check(Scenario::LeaderKill, true, &show(1), &overview(2, 1)),
                "needs 2 slots, 1 of 8",
            ),
            (
                check(Scenario::WorkerKill, true, &show(1), &overview(1, 4)),
                "start another one",
            ),
        ];
        for (checked, remedy) in cases {
            let failure = checked.unwrap_err();
            assert_eq!(failure.code, 5, "{failure:?}");
            assert!(failure.message.contains(remedy), "{failure:?}");
        }
        assert!(check(Scenario::LeaderTransfer, false, &show(1), &fine).is_ok());
    }
}

use regent_state::ids::{AttemptToken, JobId, Run};

use super::*;

const LEASE: Duration = Duration::from_secs(10);

fn secs(n: u64) -> Moment {
    Duration::from_secs(n)
}

fn tm(incarnation: u64) -> WorkerRef {
    WorkerRef {
        worker: "tm-1".into(),
        incarnation,
    }
}

fn worker(incarnation: u64, session: u64) -> WorkerSeen {
    WorkerSeen {
        incarnation,
        machine_id: "machine".into(),
        data_dir: "/data".into(),
        slots: 4,
        data_address: "127.0.0.1:1".into(),
        offers: Arc::from([]),
        session,
        broke_at: None,
        dead: false,
        last_heard: secs(1),
        lease_from: secs(1),
        tasks: Arc::default(),
    }
}

fn seen(incarnation: u64, session: u64) -> Seen {
    let mut seen = Seen::default();
    seen.register("tm-1".into(), worker(incarnation, session));
    seen
}

#[test]
fn an_unheard_workers_lease_counts_from_the_reigns_begin() {
    let seen = Seen::default();
    assert_eq!(seen.presence(&tm(1)), Presence::Unheard);
    assert!(!seen.cannot_act(&tm(1), secs(10), LEASE));
    assert!(seen.cannot_act(&tm(1), secs(11), LEASE));
}

#[test]
fn a_broken_session_is_absence_and_only_the_lease_or_proof_fences() {
    let mut seen = seen(3, 1);
    assert_eq!(seen.presence(&tm(3)), Presence::Present);
    seen.broke("tm-1", 1, secs(5));
    assert_eq!(seen.presence(&tm(3)), Presence::Broken { since: secs(5) });
    assert!(!seen.cannot_act(&tm(3), secs(11), LEASE));
    assert!(
        seen.cannot_act(&tm(3), secs(12), LEASE),
        "1 s of grant + 11 s"
    );
    seen.died(tm(3), secs(6));
    assert!(seen.cannot_act(&tm(3), secs(6), LEASE));
}

#[test]
fn a_late_end_of_an_old_session_does_not_break_the_new_one() {
    let mut seen = seen(3, 1);
    seen.register("tm-1".into(), worker(3, 2));
    seen.broke("tm-1", 1, secs(5));
    assert_eq!(seen.presence(&tm(3)), Presence::Present);
}

#[test]
fn a_higher_incarnation_proves_death_only_from_the_same_data_directory() {
    let mut same = seen(3, 1);
    same.register("tm-1".into(), worker(4, 2));
    assert_eq!(same.presence(&tm(3)), Presence::Dead);
    let mut other = seen(3, 1);
    other.register(
        "tm-1".into(),
        WorkerSeen {
            data_dir: "/else".into(),
            ..worker(4, 2)
        },
    );
    assert_eq!(other.presence(&tm(3)), Presence::Superseded);
    assert!(!other.cannot_act(&tm(3), secs(11), LEASE));
    assert!(other.cannot_act(&tm(3), secs(12), LEASE));
}

#[test]
fn deaths_are_of_incarnations_and_are_kept_for_those_that_never_registered() {
    let mut seen = seen(3, 1);
    seen.died(tm(2), secs(1));
    assert_eq!(seen.presence(&tm(2)), Presence::Dead);
    assert_eq!(seen.presence(&tm(3)), Presence::Present);
}

#[test]
fn a_lower_incarnation_and_a_twin_from_elsewhere_are_refused() {
    let mut seen = seen(3, 1);
    let refused = |seen: &Seen, new: &WorkerSeen, now| seen.refuses("tm-1", new, now, LEASE);
    assert!(refused(&seen, &worker(2, 2), secs(1)).is_some());
    assert!(
        refused(&seen, &worker(3, 2), secs(1)).is_none(),
        "the same process again"
    );
    assert!(refused(&seen, &worker(4, 2), secs(1)).is_none());
    let twin = WorkerSeen {
        data_dir: "/else".into(),
        ..worker(3, 2)
    };
    assert!(refused(&seen, &twin, secs(1)).is_some());
    seen.broke("tm-1", 1, secs(1));
    assert!(
        refused(&seen, &twin, secs(11)).is_some(),
        "the first may still act"
    );
    assert!(
        refused(&seen, &twin, secs(12)).is_none(),
        "its lease is over"
    );
}

#[test]
fn a_silent_session_is_shown_as_broken_until_something_comes() {
    let mut seen = seen(3, 1);
    let silence = secs(2);
    assert_eq!(
        seen.shown(secs(2), silence).presence(&tm(3)),
        Presence::Present
    );
    let broken = Presence::Broken { since: secs(3) };
    assert_eq!(seen.shown(secs(5), silence).presence(&tm(3)), broken);
    seen.session_mut("tm-1", 1).unwrap().last_heard = secs(5);
    assert_eq!(
        seen.shown(secs(5), silence).presence(&tm(3)),
        Presence::Present
    );
}

#[test]
fn of_too_many_former_incarnations_the_one_with_the_oldest_lease_is_forgotten() {
    let mut seen = Seen::default();
    for incarnation in 1..=(REMEMBERED_MAX as u64 + 2) {
        // The highest incarnations were granted their lease first.
        let lease_from = Duration::from_millis(1_000_000 - incarnation);
        let new = WorkerSeen {
            data_dir: format!("/{incarnation}"),
            lease_from,
            ..worker(incarnation, 1)
        };
        seen.register("tm-1".into(), new);
    }
    assert!(seen.former.contains_key(&tm(1)));
    assert!(!seen.former.contains_key(&tm(REMEMBERED_MAX as u64 + 1)));
}

#[test]
fn what_a_new_incarnation_reports_is_not_its_predecessors() {
    let attempt = AttemptRef {
        job: JobId([1; 16]),
        run: Run::default(),
        token: AttemptToken::default(),
    };
    let mut reporting = worker(2, 1);
    let tasks = BTreeMap::from([(attempt, BTreeMap::new())]);
    reporting.tasks = Arc::new(tasks);
    let mut seen = Seen::default();
    seen.register("tm-1".into(), reporting);
    assert!(seen.tasks_of(&tm(2), &attempt).is_some());
    assert!(seen.tasks_of(&tm(1), &attempt).is_none());
    assert!(seen.tasks_of(&tm(3), &attempt).is_none());
}

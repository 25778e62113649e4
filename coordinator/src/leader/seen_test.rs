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

pub(crate) fn worker(incarnation: u64, session: u64) -> WorkerSeen {
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
    assert_eq!(seen.outdated(&tm(2)), Some(3));
    assert_eq!(seen.outdated(&tm(3)), None);
}

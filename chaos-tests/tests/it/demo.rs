//! The demonstration is a test of itself: exit 0 only if its verdict is exact.

use std::time::Duration;

use regent_chaos::cluster::alone;
use regent_chaos::knobs;
use regent_chaos::wait::Phases;

#[test]
fn the_demo_ends_with_an_exact_verdict() {
    let mut phases = Phases::of("demo");
    for round in 1..=knobs::rounds(1, 3) {
        let outcome = alone(&knobs::root(), &["demo"], Duration::from_secs(150)).expect(0);
        let verdict = outcome.stdout.lines().last().unwrap_or_default().to_owned();
        assert!(verdict.to_lowercase().contains("exact"), "{outcome}");
        phases.done(&format!("round {round}: {verdict}"));
    }
}

//! Drills as an operator runs them: the exit code, the report, and a cluster that is whole afterwards.

use std::fs;
use std::time::Duration;

use regent_chaos::cluster::{Cluster, Options};
use regent_chaos::knobs;
use regent_chaos::wait::Phases;
use serde_json::Value;

/// A round takes about five seconds; on a busy machine a few times that.
const PER_ROUND: Duration = Duration::from_secs(60);

fn drill(cluster: &Cluster, scenario: &str, rounds: u32, more: &[&str]) -> Value {
    let count = rounds.to_string();
    let mut arguments = vec!["drill", "run", scenario, "--rounds", &count];
    arguments.extend(more);
    let limit = Duration::from_secs(90) + PER_ROUND * rounds;
    let report = cluster.cli_within(&arguments, "20s", limit).json();
    assert_eq!(report["passed"], true, "{report}");
    assert_eq!(
        (&report["output"]["lost"], &report["output"]["duplicated"]),
        (&0.into(), &0.into())
    );
    report
}

fn step<'a>(report: &'a Value, name: &str) -> &'a Value {
    let steps = report["steps"].as_array().into_iter().flatten();
    let mut found = steps.filter(|step| step["name"] == name);
    found.next().unwrap_or_else(|| panic!("{name} in {report}"))
}

#[test]
fn every_scenario_recovers_with_exact_output() {
    let mut phases = Phases::of("drills");
    let mut cluster = Cluster::start(Options::default());
    let html = cluster.home().join("drill.html");
    let rounds = knobs::rounds(2, 20);
    let file = html.display().to_string();
    let report = drill(
        &cluster,
        "leader-kill",
        rounds,
        &["--report", &file, "--slo", "rto=60s,rpo=0"],
    );
    assert_eq!(
        report["rounds"].as_array().map(Vec::len),
        Some(rounds as usize)
    );
    for name in [
        "detected",
        "elected",
        "first write",
        "jobs running",
        "first checkpoint",
    ] {
        assert_eq!(
            step(&report, name)["n"],
            u64::from(rounds),
            "{name}: {report}"
        );
    }
    let page = fs::read_to_string(&html).expect("the report is there");
    assert!(
        page.contains("<svg") && page.contains("Passed"),
        "{}",
        &page[..400]
    );
    phases.done("leader-kill");

    for scenario in [
        "leader-transfer",
        "leader-pause",
        "follower-loss",
        "worker-kill",
    ] {
        drill(&cluster, scenario, knobs::rounds(1, 10), &[]);
        phases.done(scenario);
    }
    if knobs::soak() {
        drill(&cluster, "rolling-restart", 1, &[]);
        phases.done("rolling-restart");
    }
    missed(&cluster);
    cluster.wait_until_caught_up(10);
    cluster.wait_for_workers(2);
    cluster.stop();
}

fn missed(cluster: &Cluster) {
    // An objective that can't be met is exit 1, with the whole report on stdout.
    let missed = cluster.cli_within(
        &[
            "drill",
            "run",
            "leader-transfer",
            "--rounds",
            "1",
            "--slo",
            "rto=1ms",
        ],
        "20s",
        PER_ROUND * 3,
    );
    let report: Value =
        serde_json::from_str(&missed.stdout).unwrap_or_else(|e| panic!("{e}: {missed}"));
    assert_eq!(
        (missed.code, &report["passed"]),
        (Some(1), &false.into()),
        "{missed}"
    );
    assert!(
        report["failures"][0]
            .as_str()
            .unwrap_or_default()
            .contains("rto 1ms was missed"),
        "{report}"
    );
}

//! The whole year of flights through a cluster, grouped in two ways, equals a plain computation.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use regent_chaos::cluster::{Cluster, Options};
use regent_chaos::jobs::{FlightsJob, Job, assert_origin_and_month_exact, origin_and_month_text};
use regent_chaos::knobs;
use regent_chaos::output::assert_exact;
use regent_chaos::reference::{flights, per_carrier};
use regent_chaos::wait::Phases;

#[test]
fn the_whole_year_is_exact() {
    let Some(named) = knobs::year() else {
        println!("year: skipped, REGENT_DATA names no flights-2013.csv[.gz]");
        return;
    };
    let mut phases = Phases::of("year");
    let mut cluster = Cluster::start(Options::default());
    phases.done("ready");
    let input = unpacked(&named, cluster.home());
    let flights = flights(&input);
    assert!(flights.len() > 300_000, "a year: {} flights", flights.len());
    phases.done("computed plainly");

    let mut spec = FlightsJob::new(cluster.home(), "year-by-carrier", 0);
    spec.input.clone_from(&input);
    let mut by_carrier = Job::submit(&cluster, &spec.write());
    by_carrier.wait_for("FINISHED", Duration::from_secs(300));
    assert_exact(
        &spec.totals(),
        &["carrier", "flights", "miles"],
        &per_carrier(&flights),
    );
    spec.assert_exact(&flights);
    phases.done("by carrier");

    let out = cluster.home().join("out/year-by-origin-and-month");
    let file = cluster.home().join("year-by-origin-and-month.yaml");
    let text = origin_and_month_text("year-by-origin-and-month", &input, &out);
    fs::write(&file, text).expect("the job file can be written");
    let mut by_month = Job::submit(&cluster, &file);
    by_month.wait_for("FINISHED", Duration::from_secs(300));
    assert_origin_and_month_exact(&out, &flights);
    phases.done("by origin and month");
    cluster.stop();
}

/// The plain CSV, unpacked below `home` if need be.
fn unpacked(named: &Path, home: &Path) -> PathBuf {
    if named.extension().is_none_or(|extension| extension != "gz") {
        return named.to_path_buf();
    }
    let plain = home.join("flights-2013.csv");
    let file = File::create(&plain).expect("the file can be made");
    let status = Command::new("gzip")
        .arg("-dc")
        .arg(named)
        .stdout(file)
        .status();
    assert!(
        status.is_ok_and(|status| status.success()),
        "gzip -dc {}",
        named.display()
    );
    plain
}

//! A source and a sink of one's own on a real cluster: nothing is lost over a killed leader and a killed worker,
//! the source goes on from its position, and its watermarks rise.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use regent_chaos::cluster::{Cluster, Options};
use regent_chaos::jobs::Job;
use regent_chaos::wait::wait_until;

const PROGRAM: &str = env!("CARGO_BIN_EXE_source-and-sink");
const PATIENCE: Duration = Duration::from_secs(60);
const FILES: u32 = 4;
/// Eight seconds of them: 20 each 20 ms, and two subtasks.
const ROWS_OF_A_FILE: u32 = 4_000;
const FIRST_MS: i64 = 1_700_000_000_000;

fn cluster() -> Cluster {
    Cluster::start(Options {
        program: Some(PathBuf::from(PROGRAM)),
        ..Options::default()
    })
}

/// Readings of each sensor, one each millisecond.
fn write_readings(folder: &Path) {
    fs::create_dir(folder).unwrap();
    for sensor in 0..FILES {
        let line = |value| {
            format!(
                "{},s{sensor},{value}\n",
                (FIRST_MS + i64::from(value)) * 1_000
            )
        };
        let text: String = (0..ROWS_OF_A_FILE).map(line).collect();
        fs::write(folder.join(format!("s{sensor}.csv")), text).unwrap();
    }
}

fn write_job(home: &Path) -> PathBuf {
    let (file, input, out) = (home.join("job.yaml"), home.join("in"), home.join("out"));
    let text = format!(
        "name: readings
parallelism: 2
checkpointing: {{ interval: 250ms }}
restart-strategy: {{ type: fixed-delay, attempts: 100, delay: 100ms }}
vertices:
  - id: readings
    source: readings
    with: {{ folder: {}, pause_ms: 20 }}
  - id: out
    sink: journal
    inputs: [ readings ]
    with: {{ folder: {} }}
",
        input.display(),
        out.display()
    );
    fs::write(&file, text).unwrap();
    file
}

/// How often each reading, named by sensor and value, is in the journal; of lines that are whole.
fn journal(home: &Path) -> BTreeMap<(String, u32), u32> {
    let mut found = BTreeMap::new();
    for file in fs::read_dir(home.join("out")).unwrap() {
        let text = fs::read_to_string(file.unwrap().path()).unwrap();
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        for line in whole.lines() {
            let mut fields = line.split(',').skip(1);
            let sensor = fields.next().unwrap().to_owned();
            let value = fields.next().unwrap().parse().unwrap();
            *found.entry((sensor, value)).or_default() += 1;
        }
    }
    found
}

/// The watermark that has come to the sink.
fn watermark(job: &mut Job<'_>) -> Option<i64> {
    job.look()["vertices"][1]["watermark_ms"].as_i64()
}

#[test]
fn nothing_is_lost_and_what_a_checkpoint_holds_is_not_read_again() {
    let mut cluster = cluster();
    let home = cluster.home().to_owned();
    write_readings(&home.join("in"));
    let mut job = Job::submit(&cluster, &write_job(&home));
    job.wait_for_checkpoint(PATIENCE);
    let leader = cluster.wait_for_leader();
    cluster.kill(&leader);
    job.wait_for_another_checkpoint(PATIENCE);
    assert_eq!(
        job.seen().restarts,
        0,
        "running tasks go on: {:?}",
        job.seen()
    );

    // The second checkpoint from here on began after this look, so these rows are behind it.
    let early = journal(&home);
    assert!(!early.is_empty());
    job.wait_for_another_checkpoint(PATIENCE);
    job.wait_for_another_checkpoint(PATIENCE);
    let reached = wait_until(PATIENCE, "a watermark", || watermark(&mut job));
    let last = FIRST_MS + i64::from(ROWS_OF_A_FILE);
    assert!((FIRST_MS..last).contains(&reached), "{reached}");
    let shown = job.look();
    assert_eq!(shown["state"], "RUNNING", "the kill hits a running job");
    let worker = shown["tasks"][0]["worker"].as_str().unwrap().to_owned();
    cluster.kill(&worker);
    wait_until(PATIENCE, "the watermark rises in the next attempt", || {
        let now = watermark(&mut job)?;
        assert!(now >= FIRST_MS, "{now}");
        (job.seen().restarts > 0 && now > reached).then_some(())
    });
    job.wait_for("FINISHED", PATIENCE);

    let seen = job.seen();
    assert!(seen.adoptions >= 1 && seen.restarts >= 1, "{seen:?}");
    let found = journal(&home);
    let all = (0..FILES).flat_map(|s| (0..ROWS_OF_A_FILE).map(move |v| (format!("s{s}"), v)));
    assert!(found.keys().cloned().eq(all), "{} readings", found.len());
    let again = early.keys().filter(|reading| found[*reading] > 1).count();
    assert_eq!(again, 0, "of {} readings before a checkpoint", early.len());
    cluster.stop();
}

/// What its `with` lacks or misspells is said at the place in the job file.
#[test]
fn a_configuration_that_does_not_fit_is_refused_with_its_place() {
    let mut cluster = Cluster::start(Options {
        jobmanagers: 1,
        taskmanagers: 1,
        program: Some(PathBuf::from(PROGRAM)),
        ..Options::default()
    });
    let file = write_job(cluster.home());
    let text = fs::read_to_string(&file).unwrap();
    for (right, wrong, line, words) in [
        ("pause_ms", "pause", 8, "unknown field `pause`"),
        (
            "with: { folder: OUT }",
            "with: {}",
            12,
            "missing field `folder`",
        ),
    ] {
        let right = right.replace("OUT", &cluster.home().join("out").display().to_string());
        let edited = text.replace(&right, wrong);
        assert_ne!(edited, text);
        fs::write(&file, edited).unwrap();
        let refused = cluster.cli(&["job", "submit", file.to_str().unwrap()]);
        let reason = refused.refused(2);
        assert!(
            reason.contains(&format!("job.yaml:{line}:")) && reason.contains(words),
            "{reason}"
        );
    }
    cluster.stop();
}

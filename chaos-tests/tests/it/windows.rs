//! Windows of event time under fire: flights per hour and origin and how late they left, by times that are precise
//! to the minute and read out of order, over three deaths of the leader and one of a worker, equal a plain
//! computation.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::Rng;
use rand::seq::SliceRandom;
use regent_chaos::cluster::{Cluster, Options};
use regent_chaos::jobs::Job;
use regent_chaos::knobs;
use regent_chaos::output::{assert_exact, committed};
use regent_chaos::reference::Row;
use regent_chaos::wait::{Phases, pause, wait_until};

/// The job has to outlive four deaths and four recoveries.
const SECONDS: usize = 60;
/// Rows that are mixed with each other: less than a day of flights.
const MIXED: usize = 500;
const FILES: usize = 6;
const HEADER: [&str; 8] = [
    "origin",
    "flights",
    "left",
    "mean",
    "least",
    "worst",
    "window_start",
    "window_end",
];

#[test]
fn windows_are_exact_over_deaths_of_leaders_and_a_worker() {
    let mut phases = Phases::of("windows");
    let mut chance = knobs::chance("windows");
    let mut cluster = Cluster::start(Options::default());
    phases.done("ready");
    let mut rows = flights(cluster.home());
    println!("windows: {} flights", rows.len());
    let input = disordered(&mut rows, cluster.home(), &mut chance);
    let out = cluster.home().join("out/windows");
    let file = cluster.home().join("windows.yaml");
    fs::write(&file, job_file(&input, &out, rows.len() / SECONDS)).expect("written");
    let mut job = Job::submit(&cluster, &file);
    job.wait_for("RUNNING", Duration::from_secs(30));
    job.wait_for_checkpoint(Duration::from_secs(30));
    for death in ["leader", "worker", "leader", "leader"] {
        pause(Duration::from_millis(chance.random_range(300..2_000)));
        let name = match death {
            "worker" => "tm-1".to_owned(),
            _ => cluster.wait_for_leader(),
        };
        assert_eq!(job.state(), "RUNNING", "the kill hits a running job");
        let killed = cluster.kill(&name);
        assert_ne!(cluster.wait_for_new_pid(&name, killed), killed);
        cluster.wait_until_caught_up(10);
        job.wait_for("RUNNING", Duration::from_secs(60));
        phases.done(&format!("{name} killed"));
    }
    windows_flow(&mut job, &out);
    job.wait_for("FINISHED", Duration::from_secs(180));
    let seen = job.seen();
    assert!(seen.restarts >= 1 && seen.adoptions >= 1, "{seen:?}");
    assert_exact(&out, &HEADER, &per_hour(&rows));
    phases.done("exact");
    cluster.stop();
}

/// The year's when soaking, if it was named, else January's.
fn flights(home: &Path) -> Vec<Flight> {
    match knobs::year().filter(|_| knobs::soak()) {
        Some(year) => return rows_of(&plain(&year, home)),
        None if knobs::soak() => println!(
            "windows: the year is skipped, REGENT_DATA names no flights-2013.csv[.gz]; January's flights instead"
        ),
        None => {}
    }
    rows_of(&knobs::january())
}

/// Windows are committed, and their vertex tells its time, before the input has ended.
fn windows_flow(job: &mut Job<'_>, out: &Path) {
    wait_until(Duration::from_secs(60), "committed windows", || {
        let shown = job.look();
        let vertices = shown["vertices"].as_array()?;
        let vertex = vertices.iter().find(|v| v["id"] == "per-hour")?;
        let late = vertex["records_late"].as_u64();
        assert_eq!(late.unwrap_or_default(), 0, "{vertex}");
        let flows = vertex["watermark_ms"].is_i64() && !committed(out, &HEADER).is_empty();
        (flows || shown["state"] == "FINISHED").then_some(())
    });
}

fn job_file(input: &Path, out: &Path, rate: usize) -> String {
    let (input, out) = (input.display(), out.display());
    format!(
        r#"name: windows
parallelism: 2
checkpointing: {{ interval: 500ms }}
restart-strategy: {{ type: fixed-delay, attempts: 1000, delay: 100ms }}
vertices:
  - id: flights
    source: files
    with:
      path: {input}
      format: csv
      rate: {rate}
      columns: {{ scheduled: timestamp, origin: utf8, dep_delay: float64 }}
  - id: times
    operator: select
    inputs: [ flights ]
    with: {{ columns: [ {{ scheduled: at }}, origin, dep_delay ] }}
  - id: per-hour
    operator: aggregate
    inputs: [ {{ from: times, partition: hash, by: [origin] }} ]
    with:
      group-by: [origin]
      window: {{ tumbling: 1h, time: at, lateness: 2d }}
      compute:
        flights: {{ count: "*" }}
        left: {{ count: dep_delay }}
        mean: {{ avg: dep_delay }}
        least: {{ min: dep_delay }}
        worst: {{ max: dep_delay }}
  - id: out
    sink: files
    inputs: [ per-hour ]
    with: {{ path: {out}, format: csv }}
"#
    )
}

/// A flight, by time.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Flight {
    /// When it was to leave, to the minute.
    scheduled: String,
    origin: String,
    /// Minutes; `None`: it never left.
    delay: Option<i32>,
}

impl Flight {
    /// Of the hour in which it was to leave, such as `2013-01-31T23:00:00Z`, and the minute in it.
    fn new(hour: &str, minute: &str, origin: &str, delay: &str) -> Self {
        let begin = hour.strip_suffix(":00:00Z").expect("a full hour");
        let minute: u32 = minute.parse().expect("a minute");
        let delay = (!matches!(delay, "" | "NA")).then(|| delay.parse().expect("minutes"));
        Self {
            scheduled: format!("{begin}:{minute:02}:00Z"),
            origin: origin.to_owned(),
            delay,
        }
    }

    fn hour(&self) -> String {
        format!("{}:00:00Z", &self.scheduled[..13])
    }
}

/// All flights, by time.
fn rows_of(input: &Path) -> Vec<Flight> {
    let mut files = vec![input.to_path_buf()];
    if input.is_dir() {
        let entries = fs::read_dir(input).expect("a folder");
        files = entries.flatten().map(|entry| entry.path()).collect();
    }
    let mut rows = Vec::new();
    for file in files {
        let mut reader = csv::Reader::from_path(&file).expect("a CSV file");
        let header = reader.headers().expect("a header").clone();
        let at = |name| header.iter().position(|h| h == name).expect("the column");
        let columns = ["time_hour", "minute", "origin", "dep_delay"].map(at);
        for record in reader.records() {
            let record = record.expect("a row");
            let [hour, minute, origin, delay] = columns.map(|column| &record[column]);
            rows.push(Flight::new(hour, minute, origin, delay));
        }
    }
    rows.sort();
    rows
}

fn plain(named: &Path, home: &Path) -> PathBuf {
    if named.extension().is_none_or(|extension| extension != "gz") {
        return named.to_path_buf();
    }
    let plain = home.join("flights-2013.csv");
    let file = fs::File::create(&plain).expect("the file can be made");
    let unpacked = std::process::Command::new("gzip")
        .arg("-dc")
        .arg(named)
        .stdout(file)
        .status();
    assert!(
        unpacked.is_ok_and(|status| status.success()),
        "gzip -dc {}",
        named.display()
    );
    plain
}

/// Writes the rows, mixed with their neighbours, to files that follow each other in time.
fn disordered(rows: &mut [Flight], home: &Path, chance: &mut impl Rng) -> PathBuf {
    for neighbours in rows.chunks_mut(MIXED) {
        neighbours.shuffle(chance);
    }
    let folder = home.join("disordered");
    fs::create_dir_all(&folder).expect("made");
    for (number, part) in rows.chunks(rows.len().div_ceil(FILES)).enumerate() {
        let mut text = String::from("scheduled,origin,dep_delay\n");
        for flight in part {
            let delay = flight.delay.map_or_else(String::new, |d| d.to_string());
            text.push_str(&format!("{},{},{delay}\n", flight.scheduled, flight.origin));
        }
        fs::write(folder.join(format!("{number}.csv")), text).expect("written");
    }
    folder
}

/// A row as [`HEADER`] says for each hour and origin.
fn per_hour(rows: &[Flight]) -> Vec<Row> {
    let mut groups: BTreeMap<(String, &str), Vec<Option<i32>>> = BTreeMap::new();
    for flight in rows {
        let group = groups
            .entry((flight.hour(), flight.origin.as_str()))
            .or_default();
        group.push(flight.delay);
    }
    let row = |((hour, origin), all): ((String, &str), Vec<Option<i32>>)| {
        let known: Vec<f64> = all.iter().flatten().map(|delay| (*delay).into()).collect();
        let text = |number: Option<f64>| number.map_or_else(String::new, |n| format!("{n:?}"));
        let mean = known.iter().sum::<f64>() / known.len() as f64;
        vec![
            origin.to_owned(),
            all.len().to_string(),
            known.len().to_string(),
            text((!known.is_empty()).then_some(mean)),
            text(known.iter().copied().reduce(f64::min)),
            text(known.iter().copied().reduce(f64::max)),
            hour.clone(),
            next_hour(&hour),
        ]
    };
    groups.into_iter().map(row).collect()
}

/// The full hour after `2013-01-31T23:00:00Z`, in a year that isn't a leap year.
fn next_hour(hour: &str) -> String {
    const DAYS: [u32; 12] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let number = |range: std::ops::Range<usize>| hour[range].parse::<u32>().expect("a number");
    let (mut year, mut month) = (number(0..4), number(5..7));
    let (mut day, mut at) = (number(8..10), number(11..13) + 1);
    if at == 24 {
        (day, at) = (day + 1, 0);
    }
    if day > DAYS[month as usize - 1] {
        (month, day) = (month + 1, 1);
    }
    if month > 12 {
        (year, month) = (year + 1, 1);
    }
    format!("{year:04}-{month:02}-{day:02}T{at:02}:00:00Z")
}

#[test]
fn hours_follow_each_other() {
    for (hour, next) in [
        ("2013-01-01T10:00:00Z", "2013-01-01T11:00:00Z"),
        ("2013-01-31T23:00:00Z", "2013-02-01T00:00:00Z"),
        ("2013-12-31T23:00:00Z", "2014-01-01T00:00:00Z"),
    ] {
        assert_eq!(next_hour(hour), next);
    }
}

#[test]
fn groups_are_told_as_plainly_as_can_be() {
    let hour = "2013-01-31T23:00:00Z";
    let rows = [
        Flight::new(hour, "59", "JFK", "-3"),
        Flight::new(hour, "0", "JFK", "NA"),
        Flight::new(hour, "7", "JFK", "5"),
        Flight::new(hour, "7", "LGA", ""),
    ];
    assert_eq!(rows[2].scheduled, "2013-01-31T23:07:00Z");
    let lines: Vec<String> = per_hour(&rows).iter().map(|row| row.join(",")).collect();
    assert_eq!(
        lines,
        [
            "JFK,3,2,1.0,-3.0,5.0,2013-01-31T23:00:00Z,2013-02-01T00:00:00Z",
            "LGA,1,0,,,,2013-01-31T23:00:00Z,2013-02-01T00:00:00Z",
        ]
    );
}

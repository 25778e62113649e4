//! Job files over the flights, and jobs as they are seen through the command line.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::cluster::Cluster;
use crate::output::assert_exact;
use crate::reference::{Flight, numbered, per_carrier, per_origin_and_month};
use crate::sequences::SequenceJob;
use crate::wait::{poll, wait_until};

/// Ends of a job that are for good.
const TERMINAL: [&str; 3] = ["FINISHED", "FAILED", "CANCELED"];

/// A tiny job's whole life.
const FINISHED_WITHIN: Duration = Duration::from_secs(60);

/// A job over flights: totals of each carrier at the end of input, and each flight numbered within
/// its carrier as it comes.
#[derive(Debug, Clone)]
pub struct FlightsJob {
    /// Name of the job and of its file and output folder.
    pub name: String,
    /// Where the flights are.
    pub input: PathBuf,
    /// Rows per second; 0: unlimited.
    pub rate: u32,
    /// Subtasks of each vertex.
    pub parallelism: u32,
    /// Checkpoint interval.
    pub interval: &'static str,
    /// Completed checkpoints that are kept.
    pub retained: u32,
    home: PathBuf,
}

impl FlightsJob {
    /// A job of this name in `home`, over January.
    #[must_use]
    pub fn new(home: &Path, name: &str, rate: u32) -> Self {
        Self {
            name: name.to_owned(),
            input: crate::knobs::january(),
            rate,
            parallelism: 2,
            interval: "250ms",
            retained: 1,
            home: home.to_path_buf(),
        }
    }

    /// Writes the job file.
    ///
    /// # Panics
    /// If it can't be written.
    #[must_use]
    pub fn write(&self) -> PathBuf {
        let path = self.home.join(format!("{}.yaml", self.name));
        fs::write(&path, self.text()).expect("the job file can be written");
        path
    }

    /// Where its totals are committed.
    #[must_use]
    pub fn totals(&self) -> PathBuf {
        self.home.join("out").join(&self.name).join("totals")
    }

    /// Where its numbered flights are committed.
    #[must_use]
    pub fn numbers(&self) -> PathBuf {
        self.home.join("out").join(&self.name).join("numbers")
    }

    fn text(&self) -> String {
        let Self {
            name,
            parallelism,
            interval,
            retained,
            ..
        } = self;
        let input = self.input.display();
        let rate = if self.rate == 0 {
            String::new()
        } else {
            format!("rate: {}, ", self.rate)
        };
        let (totals, numbers) = (self.totals(), self.numbers());
        let (totals, numbers) = (totals.display(), numbers.display());
        format!(
            r#"name: {name}
parallelism: {parallelism}
checkpointing: {{ interval: {interval}, num-retained: {retained} }}
restart-strategy: {{ type: fixed-delay, attempts: 1000, delay: 100ms }}
vertices:
  - id: flights
    source: files
    with:
      {{ path: {input}, format: csv, {rate}columns: {{ carrier: utf8, distance: int64 }} }}
  - id: by-carrier
    operator: aggregate
    inputs: [ {{ from: flights, partition: hash, by: [carrier] }} ]
    with:
      group-by: [carrier]
      compute: {{ flights: {{ count: "*" }}, miles: {{ sum: distance }} }}
  - id: totals
    sink: files
    inputs: [ by-carrier ]
    with: {{ path: {totals}, format: csv }}
  - id: numbering
    operator: aggregate
    inputs: [ {{ from: flights, partition: hash, by: [carrier] }} ]
    with: {{ group-by: [carrier], emit: changes, compute: {{ nth: {{ count: "*" }} }} }}
  - id: numbers
    sink: files
    inputs: [ numbering ]
    with: {{ path: {numbers}, format: csv, delivery: exactly-once }}
"#
        )
    }

    /// Checks both outputs against the plain computation.
    pub fn assert_exact(&self, flights: &[Flight]) {
        let header = ["carrier", "flights", "miles"];
        assert_exact(&self.totals(), &header, &per_carrier(flights));
        assert_exact(&self.numbers(), &["carrier", "nth"], &numbered(flights));
    }
}

/// A job over flights grouped by origin and month.
#[must_use]
pub fn origin_and_month_text(name: &str, input: &Path, out: &Path) -> String {
    let (input, out) = (input.display(), out.display());
    format!(
        r#"name: {name}
parallelism: 4
checkpointing: {{ interval: 500ms }}
vertices:
  - id: flights
    source: files
    with:
      path: {input}
      format: csv
      columns: {{ origin: utf8, month: int64, distance: int64, dep_delay: float64 }}
  - id: grouped
    operator: aggregate
    inputs: [ {{ from: flights, partition: hash, by: [origin, month] }} ]
    with:
      group-by: [origin, month]
      compute:
        flights: {{ count: "*" }}
        departed: {{ count: dep_delay }}
        miles: {{ sum: distance }}
  - id: out
    sink: files
    inputs: [ grouped ]
    with: {{ path: {out}, format: csv }}
"#
    )
}

/// Checks the output of [`origin_and_month_text`].
pub fn assert_origin_and_month_exact(out: &Path, flights: &[Flight]) {
    let header = ["origin", "month", "flights", "departed", "miles"];
    assert_exact(out, &header, &per_origin_and_month(flights));
}

/// A submitted job.
#[derive(Debug)]
pub struct Job<'a> {
    cluster: &'a Cluster,
    /// 32 hex digits.
    pub id: String,
    seen: Seen,
}

/// What has been seen of a job so far; each look is checked against the one before.
#[derive(Debug, Default, Clone)]
pub struct Seen {
    /// States, without repetition.
    pub states: Vec<String>,
    /// Ids of latest checkpoints, strictly increasing.
    pub checkpoints: Vec<u64>,
    /// Takeovers that kept the attempt.
    pub adoptions: u64,
    /// Attempts after the first.
    pub restarts: u64,
    /// Attempt number.
    pub attempt: u64,
}

impl<'a> Job<'a> {
    /// Submits a job file.
    #[must_use]
    pub fn submit(cluster: &'a Cluster, file: &Path) -> Self {
        let file = file.display().to_string();
        let submitted = cluster.json(&["job", "submit", &file]);
        assert_eq!(submitted["already"], false, "{submitted}");
        Self::of(cluster, submitted["job_id"].as_str().unwrap_or_default())
    }

    /// Submits a job file although the leader may die over it: until it is answered, under one id.
    ///
    /// # Panics
    /// If it is never answered.
    #[must_use]
    pub fn submit_through(cluster: &'a Cluster, file: &Path) -> Self {
        let file = file.display().to_string();
        let asked = cluster.cli_beside(&["job", "submit", &file]);
        let submitted = asked.join().expect("the command ends").json();
        Self::of(cluster, submitted["job_id"].as_str().unwrap_or_default())
    }

    /// The job of that id.
    #[must_use]
    pub fn of(cluster: &'a Cluster, id: &str) -> Self {
        assert_eq!(id.len(), 32, "a job id: {id:?}");
        Self {
            cluster,
            id: id.to_owned(),
            seen: Seen::default(),
        }
    }

    /// Looks at it, and checks that nothing ran backwards. Its document.
    ///
    /// # Panics
    /// If a checkpoint id fell, or the latest checkpoint disappeared.
    pub fn look(&mut self) -> Value {
        let shown = self.cluster.json(&["job", "show", &self.id]);
        let state = shown["state"].as_str().unwrap_or_default().to_owned();
        if self.seen.states.last() != Some(&state) {
            self.seen.states.push(state);
        }
        let latest = shown["checkpoints"]["latest"]["id"].as_u64();
        match (self.seen.checkpoints.last(), latest) {
            (Some(before), None) => panic!("checkpoint {before} disappeared: {shown}"),
            (Some(before), Some(now)) => {
                assert!(now >= *before, "checkpoint {now} follows {before}: {shown}");
                if now > *before {
                    self.seen.checkpoints.push(now);
                }
            }
            (None, now) => self.seen.checkpoints.extend(now),
        }
        for (field, before) in [
            ("adoptions", &mut self.seen.adoptions),
            ("restarts", &mut self.seen.restarts),
            ("attempt", &mut self.seen.attempt),
        ] {
            let now = shown[field]
                .as_u64()
                .unwrap_or_else(|| panic!("{field}: {shown}"));
            assert!(now >= *before, "{field} fell from {before}: {shown}");
            *before = now;
        }
        shown
    }

    /// What has been seen.
    #[must_use]
    pub fn seen(&self) -> &Seen {
        &self.seen
    }

    /// Its state now.
    pub fn state(&mut self) -> String {
        let shown = self.look();
        shown["state"].as_str().unwrap_or_default().to_owned()
    }

    /// Waits for a state.
    ///
    /// # Panics
    /// If it isn't reached within `limit`, or the job ended otherwise.
    pub fn wait_for(&mut self, wanted: &str, limit: Duration) {
        let found = poll(limit, || {
            let state = self.state();
            (state == wanted || TERMINAL.contains(&state.as_str())).then_some(state)
        });
        let state = found.unwrap_or_else(|| panic!("not {wanted}: {}", self.look()));
        assert_eq!(state, wanted, "{}", self.look());
    }

    /// Waits until it has completed a checkpoint.
    pub fn wait_for_checkpoint(&mut self, limit: Duration) {
        wait_until(limit, "a completed checkpoint", || {
            self.look();
            self.seen.checkpoints.last().copied()
        });
    }

    /// Waits for a checkpoint behind those that were seen.
    pub fn wait_for_another_checkpoint(&mut self, limit: Duration) {
        let before = self.seen.checkpoints.last().copied();
        wait_until(limit, "another checkpoint", || {
            self.look();
            (self.seen.checkpoints.last().copied() > before).then_some(())
        });
    }

    /// Its result.
    #[must_use]
    pub fn result(&self) -> Value {
        self.cluster.json(&["job", "result", &self.id])
    }

    /// Ids of its completed checkpoints as `checkpoint list` has them.
    #[must_use]
    pub fn checkpoint_ids(&self) -> Vec<u64> {
        let listed = self.checkpoints();
        listed.into_iter().map(|(id, _)| id).collect()
    }

    /// Ids and paths of its completed checkpoints as `checkpoint list` has them.
    fn checkpoints(&self) -> Vec<(u64, String)> {
        let listed = self.cluster.json(&["checkpoint", "list", &self.id]);
        let listed = listed.as_array().into_iter().flatten();
        let one = |one: &Value| Some((one["id"].as_u64()?, one["path"].as_str()?.to_owned()));
        listed.filter_map(one).collect()
    }

    /// Waits for a checkpoint behind those that were seen, and for two to compare, and checks all that are listed
    /// then, of a job that keeps them: ids rise, no directory has two of them, and none that was seen has gone.
    /// How many they are.
    ///
    /// # Panics
    /// If that doesn't hold, or no further one completes within `limit`.
    pub fn assert_checkpoints_rise(&mut self, limit: Duration) -> usize {
        let known = self.seen.checkpoints.last().copied();
        let mut listed = Vec::new();
        wait_until(limit, "a checkpoint more in the list", || {
            let now = self.checkpoints();
            // Asked afterwards: a job that has ended lets its checkpoints go, and then the list is the one before.
            let over = TERMINAL.contains(&self.state().as_str());
            if !now.is_empty() && !over {
                listed = now;
            }
            let newer = listed.len() > 1 && listed.last().map(|(id, _)| *id) > known;
            (newer || over).then_some(())
        });
        let rising = |pair: &[(u64, String)]| pair[0].0 < pair[1].0;
        assert!(listed.windows(2).all(rising), "{listed:?}");
        let paths: BTreeSet<&String> = listed.iter().map(|(_, path)| path).collect();
        assert_eq!(paths.len(), listed.len(), "{listed:?}");
        let newest = listed.last().map_or(0, |(id, _)| *id);
        let seen = self.seen.checkpoints.iter().filter(|id| **id <= newest);
        let gone: Vec<_> = seen
            .filter(|seen| !listed.iter().any(|(id, _)| id == *seen))
            .collect();
        assert!(gone.is_empty(), "{gone:?} aren't in {listed:?}");
        listed.len()
    }
}

/// How many jobs of this id are listed.
#[must_use]
pub fn listed(cluster: &Cluster, id: &str) -> usize {
    let jobs = cluster.json(&["job", "list"]);
    let jobs = jobs.as_array().into_iter().flatten();
    jobs.filter(|job| job["job_id"] == id).count()
}

/// A job that is over and clean: what writes are about.
///
/// # Panics
/// If it doesn't finish.
#[must_use]
pub fn finished_job(cluster: &Cluster) -> String {
    let mut spec = SequenceJob::new(cluster.home(), "finished");
    spec.rows = Some(100);
    cluster.wait_for_workers(2);
    let mut job = Job::submit(cluster, &spec.write());
    job.wait_for("FINISHED", FINISHED_WITHIN);
    wait_until(FINISHED_WITHIN, "a clean result", || {
        (job.result()["clean"] == true).then_some(())
    });
    job.id
}

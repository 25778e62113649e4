//! The acts: a job runs, its leader is killed, the next leader is killed, a worker is killed, the job ends.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use regent_protocol::v1::change_request::Change;
use regent_protocol::v1::read_request::Query;
use regent_protocol::v1::{Nothing, SubmitJob};
use regent_protocol::view::{JobDetail, JobSummary, LeaderHead, Submitted};

use super::reference;
use super::report::{Event, JobFigures, Kill, Report};
use super::stage::{JOB_FILE, Stage};
use super::watch::{Watch, is_whole, latest_completed_ms};
use crate::args::{ChangeArgs, OutputFormat};
use crate::client::{Access, Client, Endpoints, Identity, random_hex};
use crate::failure::Failure;
use crate::output;
use crate::output::words::{count, now_ms, plural, span};

/// The job's pace makes it last about 34 s; with three recoveries it ends well within this.
const END_LIMIT: Duration = Duration::from_secs(70);
/// Before the first kill: enough that there is something to lose.
const ROWS_BEFORE_FIRST_KILL: u64 = 3_000;
/// Not sooner; later where the replicas need longer to be whole again.
const SECOND_KILL_AT: Duration = Duration::from_secs(13);
const THIRD_KILL_AT: Duration = Duration::from_secs(22);

/// Tells people what happens as it happens, and keeps it for the report.
#[derive(Debug)]
pub(super) struct Narrator {
    began: Instant,
    to_stdout: bool,
    events: Mutex<Vec<Event>>,
}

impl Narrator {
    /// Speaks on stdout, or on stderr where stdout is to hold one document.
    pub(super) fn new(format: OutputFormat) -> Self {
        Self {
            began: Instant::now(),
            to_stdout: format == OutputFormat::Table,
            events: Mutex::default(),
        }
    }

    fn say(&self, what: impl Into<String>) {
        let what = what.into();
        let at_ms = self.elapsed_ms();
        let line = format!("{:>3}.{}s  {what}", at_ms / 1000, at_ms / 100 % 10);
        if self.to_stdout {
            // Nobody may be reading any more; the story goes on.
            let _ = output::write_stdout(&format!("{line}\n"));
        } else {
            output::note(&line);
        }
        if let Ok(mut events) = self.events.lock() {
            events.push(Event { at_ms, what });
        }
    }

    /// Waits until the story is this old, so that its kills are spread over the job's life.
    async fn reach(&self, age: Duration) {
        tokio::time::sleep(age.saturating_sub(self.began.elapsed())).await;
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn take_events(&self) -> Vec<Event> {
        self.events
            .lock()
            .map(|mut events| std::mem::take(&mut *events))
            .unwrap_or_default()
    }
}

/// Plays the story and reports it. An error means that it couldn't be played to its end.
pub(super) async fn tell(stage: &Stage, narrator: &Narrator) -> Result<Report, Failure> {
    narrator.say("starting 3 JobManagers and 2 TaskManagers, each a process of its own");
    stage.ready().await?;
    let endpoints = Endpoints {
        addresses: stage.manifest()?.endpoints,
        source: "cluster.json".to_owned(),
        access: Access::default(),
    };
    let client = Client::new(endpoints, Duration::from_secs(10));
    let job_id = submit(stage, &client).await?;
    let play = Play {
        stage,
        narrator,
        watch: Watch::new(&client, &job_id),
    };
    let leader = play.leader().await?;
    narrator.say(format!(
        "the cluster is ready and {} leads; submitted the job flights-per-carrier",
        leader.name
    ));
    let kills = play.kills().await?;
    let end = play.end().await?;
    let comparison = reference::compare(&stage.input(), &stage.output())?;
    let mut problems = check(&client, &end, &kills).await?;
    if !comparison.exact {
        problems.push("the output isn't right".to_owned());
    }
    Ok(Report {
        timeline: narrator.take_events(),
        kills,
        job: figures(&end),
        output: comparison.finding,
        took_ms: narrator.elapsed_ms(),
        exact: problems.is_empty(),
        problems,
    })
}

async fn submit(stage: &Stage, client: &Client) -> Result<String, Failure> {
    let job = SubmitJob {
        job_id: random_hex(16),
        job_file: JOB_FILE.to_owned(),
        file_name: "flights-per-carrier.yaml".to_owned(),
        working_dir: stage.working_dir().display().to_string(),
        ..SubmitJob::default()
    };
    let mut identity = Identity::new(&ChangeArgs::default());
    let submitted: Submitted = client.change(Change::SubmitJob(job), &mut identity).await?;
    Ok(submitted.job_id)
}

/// What every act needs.
#[derive(Debug)]
struct Play<'a> {
    stage: &'a Stage,
    narrator: &'a Narrator,
    watch: Watch,
}

impl Play<'_> {
    async fn leader(&self) -> Result<LeaderHead, Failure> {
        let show = self.watch.group_until("a leader", |s| s.leader.is_some());
        show.await?
            .leader
            .ok_or_else(|| Failure::failed("nobody leads"))
    }

    /// The three kills, each of them mid-flight.
    async fn kills(&self) -> Result<Vec<Kill>, Failure> {
        let mid_flight = |job: &JobDetail| {
            job.state == "RUNNING"
                && job.checkpoints.completed >= 2
                && read(job) >= ROWS_BEFORE_FIRST_KILL
        };
        let limit = Some(Duration::from_secs(30));
        let job = self
            .watch
            .job_until("the job mid-flight", limit, mid_flight)
            .await?;
        self.narrator.say(format!(
            "the job is RUNNING: {} rows read, {} complete",
            count(read(&job)),
            plural(job.checkpoints.completed, "checkpoint")
        ));
        let first = self.kill_leader().await?;
        self.watch
            .group_until("the killed replica's return", is_whole)
            .await?;
        self.narrator
            .say("all replicas are back and trail by at most 10 entries");
        self.narrator.reach(SECOND_KILL_AT).await;
        let second = self.kill_leader().await?;
        self.watch
            .group_until("the killed replica's return", is_whole)
            .await?;
        self.narrator.reach(THIRD_KILL_AT).await;
        let third = self.kill_worker().await?;
        Ok(vec![first, second, third])
    }

    /// The job by a linearizable read, which must find it RUNNING.
    async fn running_job(&self) -> Result<JobDetail, Failure> {
        let running = |job: &JobDetail| job.state == "RUNNING";
        self.watch.job_until("a running job", None, running).await
    }

    async fn kill_leader(&self) -> Result<Kill, Failure> {
        let leader = self.leader().await?;
        let before = self.running_job().await?;
        let (killed, killed_ms) = (Instant::now(), now_ms());
        let pid = self.stage.kill(&leader.name)?;
        self.narrator.say(format!(
            "SIGKILL to {} (pid {pid}), the leader",
            leader.name
        ));
        let next = self
            .watch
            .group_until("a new leader", |show| {
                show.leader.as_ref().is_some_and(|l| l.term > leader.term)
            })
            .await?;
        let leader_after_ms = ms_since(killed);
        let name = next.leader.map_or_else(String::new, |l| l.name);
        self.narrator
            .say(format!("{name} leads after {}", span(leader_after_ms)));
        let taken_over = |job: &JobDetail| {
            job.state == "RUNNING"
                && (job.adoptions > before.adoptions || job.restarts > before.restarts)
        };
        let kill = self.recover(&before, killed, killed_ms, taken_over).await?;
        Ok(Kill {
            name: leader.name,
            role: "leader",
            pid,
            leader_after_ms: Some(leader_after_ms),
            ..kill
        })
    }

    async fn kill_worker(&self) -> Result<Kill, Failure> {
        let before = self.running_job().await?;
        let name = before
            .tasks
            .iter()
            .find(|task| task.state == "running")
            .and_then(|task| task.worker.clone())
            .ok_or_else(|| Failure::failed("no worker has a running task"))?;
        let (killed, killed_ms) = (Instant::now(), now_ms());
        let pid = self.stage.kill(&name)?;
        self.narrator.say(format!(
            "SIGKILL to {name} (pid {pid}), a worker with running tasks"
        ));
        let restarted = |job: &JobDetail| job.state == "RUNNING" && job.attempt > before.attempt;
        let kill = self.recover(&before, killed, killed_ms, restarted).await?;
        Ok(Kill {
            name,
            role: "worker",
            pid,
            ..kill
        })
    }

    /// Waits until the job runs again and has a checkpoint that was begun after the kill.
    async fn recover(
        &self,
        before: &JobDetail,
        killed: Instant,
        killed_ms: u64,
        recovered: impl Fn(&JobDetail) -> bool,
    ) -> Result<Kill, Failure> {
        let job = self
            .watch
            .job_until("the job's recovery", None, recovered)
            .await?;
        let running_after_ms = ms_since(killed);
        let how = if job.restarts > before.restarts {
            "restarted"
        } else {
            "adopted"
        };
        self.narrator.say(format!(
            "all tasks run after {} ({how}, attempt {})",
            span(running_after_ms),
            job.attempt
        ));
        let checkpointed = |job: &JobDetail| latest_completed_ms(job) > killed_ms;
        let job = self
            .watch
            .job_until("the next checkpoint", None, checkpointed)
            .await?;
        let checkpoint_after_ms = ms_since(killed);
        let id = job.checkpoints.latest.map_or(0, |c| c.id);
        self.narrator.say(format!(
            "checkpoint {id} is complete after {}",
            span(checkpoint_after_ms)
        ));
        Ok(Kill {
            name: String::new(),
            role: "",
            pid: 0,
            job_state: before.state.clone(),
            leader_after_ms: None,
            running_after_ms,
            checkpoint_after_ms,
            how,
        })
    }

    /// Waits for the job's end.
    async fn end(&self) -> Result<JobDetail, Failure> {
        self.narrator.say("now the job may finish");
        let finished = |job: &JobDetail| job.state == "FINISHED";
        let job = self
            .watch
            .job_until("FINISHED", Some(END_LIMIT), finished)
            .await?;
        self.narrator
            .say("the job is FINISHED: all its output is visible");
        Ok(job)
    }
}

/// What must hold besides the output.
async fn check(client: &Client, end: &JobDetail, kills: &[Kill]) -> Result<Vec<String>, Failure> {
    let mut problems = Vec::new();
    for kill in kills.iter().filter(|k| k.job_state != "RUNNING") {
        problems.push(format!(
            "{} was killed while the job was {}",
            kill.name, kill.job_state
        ));
    }
    let jobs: Vec<JobSummary> = client.read(Query::JobList(Nothing {}), false).await?;
    if jobs.len() != 1 {
        problems.push(format!("there are {} jobs instead of one", jobs.len()));
    }
    if end.adoptions + end.restarts < kills.len() as u64 {
        problems.push(format!(
            "{} and {} don't account for {} kills",
            plural(end.adoptions, "adoption"),
            plural(end.restarts, "restart"),
            kills.len()
        ));
    }
    Ok(problems)
}

fn figures(job: &JobDetail) -> JobFigures {
    JobFigures {
        job_id: job.job_id.clone(),
        state: job.state.clone(),
        attempts: job.attempt,
        adoptions: job.adoptions,
        restarts: job.restarts,
        checkpoints_completed: job.checkpoints.completed,
        checkpoints_failed: job.checkpoints.failed,
    }
}

/// Rows that the source has read in this attempt.
fn read(job: &JobDetail) -> u64 {
    let source = job.vertices.first();
    source
        .and_then(|v| v.records_in.max(v.records_out))
        .unwrap_or_default()
}

fn ms_since(then: Instant) -> u64 {
    u64::try_from(then.elapsed().as_millis()).unwrap_or(u64::MAX)
}

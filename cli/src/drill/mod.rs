//! `regent drill`: hurts a cluster on purpose, measures how it recovers, checks the output of a job of its
//! own, and reports.
//!
//! | module | does |
//! | --- | --- |
//! | [`scenario`] | what can be rehearsed |
//! | `guard` | whether it may be done now |
//! | `target` | what is hurt: `processes` of a `regent local`, or the containers of a `compose` project |
//! | `containers` | which container is which process |
//! | `job`, `check` | the checking job, and whether its output is exact |
//! | `probe`, `board` | looking all the time, and when each step was seen first |
//! | `rounds` | hurting and settling |
//! | `figures`, `report`, `html`, `svg` | distributions, verdict, and how they are shown |

mod board;
mod check;
mod compose;
mod containers;
mod figures;
mod guard;
mod html;
mod job;
mod probe;
mod processes;
mod report;
mod rounds;
mod scenario;
mod svg;
mod target;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use regent_protocol::v1::Nothing;
use regent_protocol::v1::read_request::Query;
use regent_protocol::view::{Overview, Reign};
use serde::Serialize;

use crate::client::{Survey, merge};
use crate::commands::{Context, Done};
use crate::failure::Failure;
use crate::output;
use crate::output::table::Table;
use crate::output::words::now_ms;

use check::Finding;
use compose::Compose;
use containers::Member;
use figures::Objective;
use job::CheckingJob;
use probe::Probe;
use processes::Local;
use report::{BIN_MS, Report};
use rounds::{Play, Round};
use scenario::Scenario;
use target::Target;

/// From the submission of the checking job to its first checkpoint.
const START_LIMIT: std::time::Duration = std::time::Duration::from_secs(60);

#[derive(Debug, Args)]
pub(crate) struct DrillArgs {
    #[command(subcommand)]
    verb: DrillVerb,
}

#[derive(Debug, Subcommand)]
enum DrillVerb {
    /// What can be rehearsed
    #[command(after_help = "Example:\n  regent drill list")]
    List,
    /// Hurt the cluster on purpose, measure its recovery, check a job's output, and report
    #[command(after_help = "\
Runs a checking job of its own (2 slots) beside whatever else runs: numbered records through a keyed
aggregation to an exactly-once sink. Kills and pauses act on the processes of a `regent local` on this
machine, or with --compose-project on containers, by the `docker` command; against any other cluster only
leader-transfer runs. Without `regent local`, --work-dir names a directory that all workers and this machine
see under the same path. Refused (exit 5) while no replica may be lost.

Exit 0 if the output is exact, every round recovered, and the objective is met; else 1.

Examples:
  regent drill run leader-kill --rounds 20 --report drill.html
  regent drill run worker-kill --slo rto=5s,rpo=0
  regent drill run leader-pause --compose-project regent --endpoints jm-1:7101 --work-dir /out/drills
  regent drill run leader-transfer --endpoints jm-1:7101 --work-dir /mnt/shared/drills")]
    Run(RunArgs),
}

#[derive(Debug, Args)]
struct RunArgs {
    /// What to rehearse
    #[arg(value_enum)]
    scenario: Scenario,
    /// How often
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1000))]
    rounds: u64,
    /// Objective: longest recovery, and records that may be lost
    #[arg(long, value_name = "rto=1s,rpo=0", value_parser = figures::parse)]
    slo: Option<Objective>,
    /// Write the report there, too; .html, .md or .json
    #[arg(long, value_name = "FILE", value_parser = report_file)]
    report: Option<PathBuf>,
    /// Directory for the checking job's output [default: drills/ in a local cluster's directory]
    #[arg(long, value_name = "DIR")]
    work_dir: Option<PathBuf>,
    /// Hurt the containers of this compose project: all JobManagers and TaskManagers must be in it
    #[arg(long, value_name = "NAME")]
    compose_project: Option<String>,
}

fn report_file(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    let known = path
        .extension()
        .is_some_and(|e| ["html", "md", "json"].iter().any(|k| e == *k));
    match known {
        true => Ok(path),
        false => Err("must end in .html, .md or .json".to_owned()),
    }
}

pub(crate) async fn run(args: &DrillArgs, context: &Context) -> Done {
    match &args.verb {
        DrillVerb::List => list(context),
        DrillVerb::Run(args) => rehearse(args, context).await,
    }
}

#[derive(Debug, Serialize)]
struct Listed {
    scenario: &'static str,
    what: &'static str,
    rehearses: &'static str,
    remote: bool,
}

fn list(context: &Context) -> Done {
    let listed = |scenario: Scenario| Listed {
        scenario: scenario.name(),
        what: scenario.what(),
        rehearses: scenario.rehearses(),
        remote: !scenario.needs_processes(),
    };
    let all: Vec<Listed> = Scenario::ALL.into_iter().map(listed).collect();
    context.print(&all, |all| {
        let mut table = Table::new(&["SCENARIO", "REMOTE", "WHAT", "REHEARSES"], "none");
        for one in all {
            let remote = if one.remote { "yes" } else { "no" };
            let cells = [one.scenario, remote, one.what, one.rehearses];
            table.row(cells.map(str::to_owned).to_vec());
        }
        table.render()
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn rehearse(args: &RunArgs, context: &Context) -> Done {
    if let Some(file) = &args.report {
        // Found out before anything is hurt, not after.
        std::fs::write(file, "")
            .map_err(|e| Failure::invalid(format!("{}: {e}", file.display())))?;
    }
    let survey = context.client.survey().await;
    let show = merge(&survey);
    let overview: Overview = context
        .client
        .read(Query::Overview(Nothing {}), false)
        .await?;
    let target = target(args, context, &members(&survey, &overview)).await?;
    guard::check(args.scenario, target.is_some(), &show.show, &overview)?;
    let dir = work_dir(args, target.as_ref())?;
    let job = CheckingJob::submit(&context.client, &dir).await?;
    output::note(&format!(
        "{}: {}; the checking job is {} (output below {})",
        args.scenario.name(),
        args.scenario.what(),
        job.name,
        dir.display()
    ));
    let started_ms = now_ms();
    let played = tokio::select! {
        played = play(args, context, target.as_ref(), &job) => played,
        () = crate::demo::interrupted() => Err(Failure::failed("interrupted; what was frozen is thawed")),
    };
    let rounds = match played {
        Ok(rounds) => rounds,
        Err(failure) => {
            job.give_up(&context.client).await;
            return Err(failure);
        }
    };
    let drill = Drill {
        args,
        job: &job,
        acts_on: target.as_ref().map(Target::words),
        cluster_id: show.cluster_id,
        started_ms,
        rounds,
    };
    let report = drill.conclude(context).await?;
    if let Some(file) = &args.report {
        write(file, &report)?;
    }
    context.print(&report, Report::text)?;
    if let Some(file) = &args.report {
        output::note(&format!("the report is in {}", file.display()));
    }
    Ok(ExitCode::from(u8::from(!report.passed)))
}

/// What can be hurt: named containers, else the local cluster that was asked, if it is one.
async fn target(
    args: &RunArgs,
    context: &Context,
    members: &[Member],
) -> Result<Option<Target>, Failure> {
    match &args.compose_project {
        Some(project) => Ok(Some(Target::Compose(
            Compose::find(project, members).await?,
        ))),
        None => Ok(Local::find(context.client.endpoints()).map(Target::Local)),
    }
}

/// All processes of the cluster, JobManagers first.
fn members(survey: &Survey, overview: &Overview) -> Vec<Member> {
    let known = survey.answers().flat_map(|status| &status.members);
    let managers: BTreeMap<u64, Member> = known
        .map(|m| {
            let member = Member {
                name: m.name.clone(),
                node_id: Some(m.node_id),
                address: m.api.clone(),
            };
            (m.node_id, member)
        })
        .collect();
    let registered = overview.workers.iter().filter(|w| w.state == "registered");
    let workers = registered.map(|w| Member {
        name: w.worker.clone(),
        node_id: None,
        address: w.address.clone(),
    });
    managers.into_values().chain(workers).collect()
}

/// A new directory for this drill.
fn work_dir(args: &RunArgs, target: Option<&Target>) -> Result<PathBuf, Failure> {
    let parent = match (&args.work_dir, target.and_then(Target::drills)) {
        (Some(dir), _) => dir.clone(),
        (None, Some(dir)) => dir,
        (None, None) => {
            return Err(Failure::invalid(
                "the checking job's output needs a directory that all workers and this machine see: --work-dir DIR",
            ));
        }
    };
    let wrong = |e: std::io::Error| Failure::invalid(format!("{}: {e}", parent.display()));
    std::fs::create_dir_all(&parent).map_err(wrong)?;
    let parent = std::fs::canonicalize(&parent).map_err(wrong)?;
    let dir = parent.join(format!("{}-{}", args.scenario.name(), now_ms()));
    std::fs::create_dir(&dir).map_err(wrong)?;
    Ok(dir)
}

async fn play(
    args: &RunArgs,
    context: &Context,
    target: Option<&Target>,
    job: &CheckingJob,
) -> Result<Vec<Round>, Failure> {
    let ready = |job: &regent_protocol::view::JobDetail| {
        job.state == "RUNNING" && job.checkpoints.completed > 0
    };
    job.until(&context.client, "the first checkpoint", START_LIMIT, ready)
        .await?;
    let addresses = addresses(context).await;
    let probe = Probe::start(&context.client.endpoints().access, &addresses, job);
    let play = Play {
        client: &context.client,
        probe: &probe,
        target,
        rounds: args.rounds,
    };
    play.all(args.scenario).await
}

/// Client addresses of all replicas.
async fn addresses(context: &Context) -> Vec<String> {
    let survey = context.client.survey().await;
    survey
        .asked
        .iter()
        .map(|asked| asked.address.clone())
        .collect()
}

/// A drill whose rounds are over.
struct Drill<'a> {
    args: &'a RunArgs,
    job: &'a CheckingJob,
    acts_on: Option<String>,
    cluster_id: Option<String>,
    started_ms: u64,
    rounds: Vec<Round>,
}

impl Drill<'_> {
    /// Ends the checking job, checks its output, and puts the report together.
    async fn conclude(self, context: &Context) -> Result<Report, Failure> {
        let ended_ms = now_ms();
        self.job.finish(&context.client).await?;
        let records = check::read(&self.job.output())?;
        let mut emitted: Vec<u64> = records.iter().map(|record| record.at_ms).collect();
        emitted.sort_unstable();
        let mut rounds = self.rounds;
        for round in &mut rounds {
            let recovered = round.recovery.total_ms().unwrap_or_default();
            round.output_gap_ms =
                check::longest_gap(&emitted, round.at_ms, round.at_ms + recovered);
        }
        let output = check::check(&records);
        let objective = self.args.slo.unwrap_or_default();
        let failures = report::judge(objective, self.args.rounds, &rounds, &output);
        let passed = failures.is_empty() && output.is_within(objective.rpo);
        let history: Vec<Reign> = context.client.leader_history().await?;
        let show = merge(&context.client.survey().await).show;
        Ok(Report {
            scenario: self.args.scenario.name(),
            what: self.args.scenario.what(),
            acts_on: self.acts_on,
            passed,
            failures,
            objective,
            cluster_id: self.cluster_id,
            version: env!("CARGO_PKG_VERSION"),
            machine: machine(),
            replicas: show
                .replicas
                .into_iter()
                .map(|replica| replica.name)
                .collect(),
            started_ms: self.started_ms,
            ended_ms,
            rounds_asked: self.args.rounds,
            steps: report::steps(&rounds),
            output,
            rounds,
            reigns: history
                .into_iter()
                .filter(|reign| reign.to_ms.is_none_or(|to| to >= self.started_ms))
                .collect(),
            output_over_time: over_time(&emitted, self.started_ms, ended_ms),
        })
    }
}

impl Finding {
    /// No record more is lost than may be, and nothing else is wrong.
    fn is_within(&self, rpo: Option<u64>) -> bool {
        let lost = Self {
            lost: 0,
            ..self.clone()
        };
        self.lost <= rpo.unwrap_or(0) && lost.is_exact()
    }
}

/// Records in each bin of the drill.
fn over_time(sorted_ms: &[u64], from_ms: u64, to_ms: u64) -> Vec<u64> {
    let bins = to_ms.saturating_sub(from_ms) / BIN_MS;
    let count = |bin: u64| {
        let at = from_ms + bin * BIN_MS;
        let below = |ms: u64| sorted_ms.partition_point(|emitted| *emitted < ms) as u64;
        below(at + BIN_MS) - below(at)
    };
    (0..bins).map(count).collect()
}

fn machine() -> String {
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    format!(
        "{processors} processors, {} {}",
        std::env::consts::OS,
        std::env::consts::ARCH
    )
}

fn write(file: &Path, report: &Report) -> Result<(), Failure> {
    let text = match file.extension().and_then(std::ffi::OsStr::to_str) {
        Some("html") => html::page(report),
        Some("md") => report.markdown(),
        _ => serde_json::to_string_pretty(report)
            .map_err(|e| Failure::failed(format!("the report can't be written as JSON: {e}")))?,
    };
    std::fs::write(file, text).map_err(|e| Failure::failed(format!("{}: {e}", file.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_binned_by_their_emission() {
        let emitted = [999, 1_000, 1_249, 1_250, 1_600, 2_100];
        assert_eq!(over_time(&emitted, 1_000, 2_000), [2, 1, 1, 0]);
        assert!(over_time(&[], 5, 5).is_empty());
    }

    #[test]
    fn reports_have_a_known_ending() {
        assert!(report_file("a/drill.html").is_ok());
        assert!(report_file("drill.pdf").is_err() && report_file("drill").is_err());
    }
}

//! The command line as a whole: global options and the table of verbs. Each family's own options live
//! with the family in `commands`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use regent_coordinator::config::parse_duration;

use crate::client::AccessArgs;
use crate::commands;
use crate::demo::DemoArgs;
use crate::local::LocalArgs;
use crate::logging::LogFormat;

const EXAMPLES: &str = "\
Examples:
  regent demo                                  a cluster, a job, three kills and a verdict, in a minute
  regent local                                 three JobManagers and two TaskManagers in ./regent-local
  regent job submit job.yaml --wait            run a job and wait for its end
  regent leader show -o json                   who leads, also while nobody does

Exit codes: 0 ok, 1 failed, 2 usage or invalid file, 3 no leader, 4 no majority, 5 refused for safety,
6 outcome unknown (the first line of stderr is the command to repeat).";

/// A replicated JobManager: jobs survive the death of whoever leads them.
#[derive(Debug, Parser)]
#[command(
    name = "regent",
    version,
    about,
    after_help = EXAMPLES,
    subcommand_required = true,
    arg_required_else_help = true,
    max_term_width = 110
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options that every verb accepts, before or after its name.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct GlobalArgs {
    /// JobManagers to ask; any may be named or dead [without it: cluster.json of --dir, of ., of
    /// ./regent-local, then 127.0.0.1:7101]
    #[arg(
        long,
        global = true,
        env = "REGENT_ENDPOINTS",
        hide_env_values = true,
        value_name = "HOST:PORT,...",
        value_delimiter = ','
    )]
    pub(crate) endpoints: Vec<String>,
    /// Directory of a local cluster
    #[arg(
        long,
        global = true,
        env = "REGENT_DIR",
        hide_env_values = true,
        value_name = "DIR"
    )]
    pub(crate) dir: Option<PathBuf>,
    /// Shape of the output
    #[arg(
        short,
        long,
        global = true,
        value_enum,
        default_value_t,
        value_name = "FORMAT"
    )]
    pub(crate) output: OutputFormat,
    /// Time for the whole command (not for --wait and --watch)
    #[arg(long, global = true, default_value = "10s", value_parser = parse_timeout, value_name = "DURATION")]
    pub(crate) timeout: Duration,
    /// Don't ask before a verb that can't be undone
    #[arg(long, global = true)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) access: AccessArgs,
    /// Shape of log lines on stderr; REGENT_LOG sets the filter
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t,
        value_name = "FORMAT"
    )]
    pub(crate) log_format: LogFormat,
}

/// Shape of the output on stdout.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputFormat {
    /// Aligned columns for people.
    #[default]
    Table,
    /// Exactly one JSON document.
    Json,
    /// One YAML document.
    Yaml,
}

/// The verbs, in the order in which a newcomer meets them.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// The whole story in about a minute: a cluster, a job, its leader killed twice, a worker killed
    Demo(DemoArgs),
    /// Run a cluster of separate processes on this machine
    Local(LocalArgs),
    /// Run one JobManager in the foreground
    Jobmanager(commands::node::NodeArgs),
    /// Run one TaskManager in the foreground
    Taskmanager(commands::node::NodeArgs),
    /// Form a cluster
    Cluster(commands::cluster::ClusterArgs),
    /// The cluster at a glance; works without a leader
    Status(commands::status::StatusArgs),
    /// Who leads, who led, and why; works without a leader. Hand leadership over
    Leader(commands::leader::LeaderArgs),
    /// The replicas: list, add, promote, demote and remove them while the cluster works
    Members(commands::members::MembersArgs),
    /// Submit, list, show, stop and cancel jobs; take savepoints
    Job(commands::job::JobArgs),
    /// Completed checkpoints of a job
    Checkpoint(commands::checkpoint::CheckpointArgs),
    /// Give up savepoints
    Savepoint(commands::savepoint::SavepointArgs),
    /// TaskManagers and their slots; drain one
    Worker(commands::worker::WorkerArgs),
    /// What is still to be removed, and whether store and log agree
    Cleanup(commands::cleanup::CleanupArgs),
    /// The replicated state as one file: save, inspect, restore
    Snapshot(commands::snapshot::SnapshotArgs),
    /// When a majority of the replicas is lost for good
    Recover(commands::recover::RecoverArgs),
    /// Rehearse failures: hurt a cluster on purpose, measure its recovery, check the output
    Drill(crate::drill::DrillArgs),
    /// The replicated log: what was written when and by whom
    Log(commands::past::LogArgs),
    /// What the cluster held after an entry of its log
    State(commands::past::StateArgs),
    /// The log of a process of a local cluster
    Logs(commands::logs::LogsArgs),
    /// Check and show configuration files
    Config(commands::config::ConfigArgs),
    /// Collect what somebody needs who helps from afar
    Debug(crate::bundle::DebugArgs),
    /// Print the manual page, or write one for each verb
    Man(commands::man::ManArgs),
    /// Write a project with an operator of one's own
    New(commands::new::NewArgs),
    /// Print a completion script
    Completions(commands::completions::CompletionsArgs),
    /// Print the version
    Version,
}

/// Options of every verb that changes something.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ChangeArgs {
    /// Check it and say what would happen, without doing it
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Id of the request, up to 32 hex digits; the same id is carried out at most once
    #[arg(long, value_name = "HEX", value_parser = parse_request_id)]
    pub(crate) request_id: Option<[u8; 16]>,
    /// The moment the request was first made, as printed in a command to repeat
    #[arg(long, value_name = "GENERATION.INDEX", value_parser = parse_base, hide = true)]
    pub(crate) request_base: Option<(u64, u64)>,
}

fn parse_timeout(text: &str) -> Result<Duration, String> {
    let timeout = parse_duration(text).map_err(|e| e.to_string())?;
    if timeout.is_zero() {
        return Err("must be above 0".to_owned());
    }
    Ok(timeout)
}

fn parse_request_id(text: &str) -> Result<[u8; 16], String> {
    let refused = || "must be 1 to 32 hex digits".to_owned();
    // `from_str_radix` would take a sign.
    if text.len() > 32 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(refused());
    }
    u128::from_str_radix(text, 16)
        .map(u128::to_be_bytes)
        .map_err(|_| refused())
}

fn parse_base(text: &str) -> Result<(u64, u64), String> {
    let refused = || "must be GENERATION.INDEX".to_owned();
    let (generation, index) = text.split_once('.').ok_or_else(refused)?;
    let generation = generation.parse().map_err(|_| refused())?;
    let index = index.parse().map_err(|_| refused())?;
    Ok((generation, index))
}

/// Prints help to stdout (exit 0) or a usage error to stderr (exit 2).
pub(crate) fn explain(error: &clap::Error) -> ExitCode {
    // A closed pipe is no error of the command.
    let _ = error.print();
    ExitCode::from(if error.use_stderr() { 2 } else { 0 })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn global_options_are_accepted_before_and_after_the_subcommand() {
        let placements: [&[&str]; 3] = [
            &["regent", "-o", "json", "--timeout", "2s", "job", "list"],
            &["regent", "job", "-o", "json", "list", "--timeout", "2s"],
            &["regent", "job", "list", "-o", "json", "--timeout", "2s"],
        ];
        for arguments in placements {
            let cli = Cli::try_parse_from(arguments).unwrap();
            assert_eq!(cli.global.output, OutputFormat::Json, "{arguments:?}");
            assert_eq!(cli.global.timeout, Duration::from_secs(2), "{arguments:?}");
        }
    }

    #[test]
    fn endpoints_are_split_at_commas() {
        for arguments in [
            ["regent", "--endpoints", "a:1,b:2", "status"],
            ["regent", "status", "--endpoints", "a:1,b:2"],
        ] {
            let cli = Cli::try_parse_from(arguments).unwrap();
            assert_eq!(cli.global.endpoints, ["a:1", "b:2"]);
        }
    }

    #[test]
    fn request_ids_are_hex_and_padded() {
        assert_eq!(parse_request_id("ff").unwrap()[15], 0xff);
        assert_eq!(parse_request_id(&"a".repeat(32)).unwrap(), [0xaa; 16]);
        for wrong in ["", "xyz", "+1", &"a".repeat(33)] {
            assert!(parse_request_id(wrong).is_err(), "{wrong}");
        }
        assert_eq!(parse_base("2.19"), Ok((2, 19)));
        assert!(parse_base("219").is_err());
    }
}

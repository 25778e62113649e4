//! `regent snapshot`: the replicated state as one file: save it, look into it, begin a new cluster with it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::{Args, Subcommand};
use regent_coordinator::JobManagerConfig;
use regent_ha::rebirth::{self, Birth, RebirthError, Saved};
use regent_ha::{Member, Node};
use regent_protocol::view::{MemberView, SnapshotRestored, SnapshotView};
use regent_state::model::JobState;
use regent_state::{Export, Key, Machine};
use regent_storage::objects::owner::{self, Owner};
use regent_storage::objects::{Location, ObjectError, Objects};
use serde::Serialize;
use serde_json::Value;

use super::confirm::confirm;
use super::{Context, Done, node};
use crate::args::ChangeArgs;
use crate::failure::Failure;
use crate::output::words::moment;
use crate::settings::{self, Assignment};

/// For listing the owner markers of a storage.
const LISTING_LIMIT: Duration = Duration::from_secs(10);

#[derive(Debug, Args)]
pub(crate) struct SnapshotArgs {
    #[command(subcommand)]
    verb: SnapshotVerb,
}

#[derive(Debug, Subcommand)]
enum SnapshotVerb {
    /// Save the replicated state, as of now, into a file
    #[command(after_help = "\
It holds jobs, placements, checkpoint pointers, results and the cleanup ledger; not the checkpoints' files.

Example:
  regent snapshot save regent-$(date +%F).snapshot")]
    Save {
        /// The new file
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Check a snapshot file and say what it holds
    #[command(after_help = "\
Examples:
  regent snapshot inspect regent.snapshot
  regent snapshot inspect regent.snapshot --entities -o json")]
    Inspect {
        /// The file
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Print every entity of the state
        #[arg(long)]
        entities: bool,
    },
    /// Begin a new cluster of one replica with a saved state, in an empty data directory
    #[command(after_help = "\
Stop the old cluster first: two clusters must not share storage. The new one has its own id and the next
generation; its jobs are SUSPENDED until `regent recover resume --yes`. Start the replica, then add others
with `regent members add`.

Example:
  regent snapshot restore regent.snapshot --config jobmanager.yaml --yes")]
    Restore {
        /// The snapshot file
        #[arg(value_name = "FILE")]
        file: PathBuf,
        #[command(flatten)]
        replica: ReplicaArgs,
        #[command(flatten)]
        change: ChangeArgs,
    },
}

/// The replica that a command works on while it is stopped.
#[derive(Debug, Args)]
pub(super) struct ReplicaArgs {
    /// Configuration of the replica, which must be stopped
    #[arg(long, value_name = "FILE")]
    pub(super) config: PathBuf,
    /// Override a key of the file
    #[arg(long, value_name = "KEY=VALUE", value_parser = Assignment::parse)]
    pub(super) set: Vec<Assignment>,
}

impl ReplicaArgs {
    pub(super) fn load(&self) -> Result<JobManagerConfig, Failure> {
        let mut overrides = node::environment()?;
        overrides.extend(self.set.iter().cloned());
        settings::jobmanager(&self.config, &overrides)
    }
}

pub(crate) async fn run(args: &SnapshotArgs, context: &Context) -> Done {
    match &args.verb {
        SnapshotVerb::Save { file } => save(file, context).await,
        SnapshotVerb::Inspect { file, entities } => inspect(file, *entities, context),
        SnapshotVerb::Restore {
            file,
            replica,
            change,
        } => restore(file, replica, change, context).await,
    }
}

async fn save(file: &Path, context: &Context) -> Done {
    if file.exists() {
        let path = file.display();
        return Err(Failure::refused(format!(
            "{path} exists; choose another name"
        )));
    }
    let name = file
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let partial = file.with_file_name(format!(".{name}.partial"));
    let saved = context
        .client
        .save_snapshot(|| std::fs::File::create(&partial))
        .await;
    let kept = saved.and_then(|()| {
        // What was received is what is checked.
        rebirth::read_snapshot(&partial).map_err(explain)?;
        std::fs::rename(&partial, file).map_err(|e| Failure::failed(e.to_string()))
    });
    if let Err(failure) = kept {
        let _ = std::fs::remove_file(&partial);
        return Err(failure);
    }
    inspect(file, false, context)
}

fn inspect(file: &Path, entities: bool, context: &Context) -> Done {
    let saved = rebirth::read_snapshot(file).map_err(explain)?;
    if entities {
        let all = export(&saved.machine);
        context.print(&all, |all| {
            let lines = all.iter().map(|(key, value)| format!("{key} = {value}"));
            lines.collect::<Vec<_>>().join("\n")
        })?;
    } else {
        context.print(&view(file, &saved), text)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn view(file: &Path, saved: &Saved) -> SnapshotView {
    let meta = saved.machine.meta();
    let mut jobs = BTreeMap::new();
    for job in saved.machine.jobs() {
        *jobs.entry(job.state.to_string()).or_default() += 1;
    }
    let members = saved.members.iter().map(|member| MemberView {
        node_id: member.node_id,
        name: member.node.name.clone(),
        role: "member".to_owned(),
        peer: member.node.peer.clone(),
        api: member.node.api.clone(),
    });
    SnapshotView {
        path: file.display().to_string(),
        size_bytes: saved.size_bytes,
        cluster_id: saved.machine.cluster_id().map(|id| id.to_string()),
        generation: meta.map_or(0, |meta| meta.generation),
        index: saved.index,
        term: saved.term,
        at_ms: meta.map_or(0, |meta| meta.wall_ms),
        state_hash: format!("{:032x}", saved.machine.hash()),
        members: members.collect(),
        jobs,
        artefacts: saved.machine.artefacts().count() as u64,
    }
}

fn text(view: &SnapshotView) -> String {
    let jobs: Vec<_> = view
        .jobs
        .iter()
        .map(|(state, count)| format!("{count} {state}"))
        .collect();
    let jobs = if jobs.is_empty() {
        "none".to_owned()
    } else {
        jobs.join(", ")
    };
    format!(
        "{} is whole: {} bytes\ncluster    {} (generation {})\nlast entry {} (term {}), {}\njobs       {jobs}\n\
         artefacts  {}\nhash       {}",
        view.path,
        view.size_bytes,
        view.cluster_id.as_deref().unwrap_or("none"),
        view.generation,
        view.index,
        view.term,
        moment(view.at_ms),
        view.artefacts,
        view.state_hash
    )
}

/// Every entity as a readable document, by its key.
struct Readable(BTreeMap<String, Value>);

impl Export for Readable {
    fn entity<E: Serialize>(&mut self, key: &Key, value: &E) {
        let value =
            serde_json::to_value(value).unwrap_or_else(|error| Value::from(error.to_string()));
        self.0.insert(key.to_string(), spelled(value));
    }
}

fn export(machine: &Machine) -> BTreeMap<String, Value> {
    let mut readable = Readable(BTreeMap::new());
    machine.export(&mut readable);
    readable.0
}

/// Ids are 16 bytes: spelled as 32 hex digits, as everywhere else.
fn spelled(value: Value) -> Value {
    match value {
        Value::Array(items) if items.len() == 16 && items.iter().all(is_byte) => {
            let digits = items
                .iter()
                .filter_map(Value::as_u64)
                .map(|byte| format!("{byte:02x}"));
            Value::from(digits.collect::<String>())
        }
        Value::Array(items) => items.into_iter().map(spelled).collect(),
        Value::Object(fields) => {
            let fields = fields
                .into_iter()
                .map(|(name, value)| (name, spelled(value)));
            Value::Object(fields.collect())
        }
        other => other,
    }
}

fn is_byte(value: &Value) -> bool {
    value
        .as_u64()
        .is_some_and(|number| number <= u64::from(u8::MAX))
}

async fn restore(
    file: &Path,
    replica: &ReplicaArgs,
    change: &ChangeArgs,
    context: &Context,
) -> Done {
    let config = replica.load()?;
    let saved = rebirth::read_snapshot(file).map_err(explain)?;
    let dir = config.data_dir.display();
    let what = format!(
        "make a new cluster of the state in {} in {dir}; the old cluster must be stopped for good",
        file.display()
    );
    confirm(context, change, &what)?;
    let known = saved.machine.meta().map_or(0, |meta| meta.generation);
    let (marked, unlisted) = highest_marker(&config).await;
    let birth = birth(&config, known.max(marked) + 1, "restored from a snapshot");
    let cluster_id = match change.dry_run {
        true => String::new(),
        false => {
            let born = rebirth::restore(file, &birth).await.map_err(explain)?;
            born.to_string()
        }
    };
    let restored = SnapshotRestored {
        cluster_id,
        generation: birth.generation,
        node_id: birth.member.node_id,
        data_dir: birth.data_dir.display().to_string(),
        suspended: suspended(&saved.machine),
    };
    context.print(&restored, |r| {
        format!(
            "cluster {} (generation {}) is in {}: start node {}; {} jobs wait for: regent recover resume",
            r.cluster_id, r.generation, r.data_dir, r.node_id, r.suspended
        )
    })?;
    // After everything that can fail: the first line of a failure is its cause.
    if let Some(unlisted) = unlisted {
        eprintln!("{unlisted}");
    }
    super::savepoint::dry_run_note(change);
    Ok(ExitCode::SUCCESS)
}

/// Jobs that a new life suspends.
pub(super) fn suspended(machine: &Machine) -> u64 {
    let ends = |state| matches!(state, JobState::Cancelling | JobState::Failing);
    machine.active_jobs().filter(|job| !ends(job.state)).count() as u64
}

/// A new life on the replica of this configuration.
pub(super) fn birth(config: &JobManagerConfig, generation: u64, cause: &str) -> Birth {
    let or = |advertised: &Option<String>, listened: &String| {
        advertised.clone().unwrap_or_else(|| listened.clone())
    };
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    Birth {
        member: Member {
            node_id: config.node_id,
            node: Node {
                name: config.display_name(),
                api: or(&config.advertise.api, &config.listen.api),
                peer: or(&config.advertise.peer, &config.listen.peer),
            },
        },
        data_dir: config.data_dir.clone(),
        generation,
        wall_ms: since.map_or(0, |since| {
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        }),
        cause: cause.to_owned(),
    }
}

/// The highest generation of the clusters that ever used the configured storage, and what to tell if that can't
/// be listed now. It is no reason to refuse: a leader looks again, and stops at a marker that goes before its own.
async fn highest_marker(config: &JobManagerConfig) -> (u64, Option<String>) {
    match listed_markers(config).await {
        Ok(found) => (found.iter().map(|o| o.generation).max().unwrap_or(0), None),
        Err(error) => {
            let dir = &config.storage.checkpoint_dir;
            let told = format!(
                "warning: which clusters have used {dir} can't be listed ({error}); if one of a higher \
                 generation has, the new leader will refuse to use it and say so"
            );
            (0, Some(told))
        }
    }
}

async fn listed_markers(config: &JobManagerConfig) -> Result<BTreeSet<Owner>, ObjectError> {
    let root: Location = config.storage.checkpoint_dir.parse()?;
    let objects = Objects::with_s3(&config.storage.access());
    owner::markers(&objects, &root, LISTING_LIMIT).await
}

pub(super) fn explain(error: RebirthError) -> Failure {
    match error {
        RebirthError::Refused(text) => Failure::refused(text),
        RebirthError::Storage(text) => Failure::failed(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ids_are_spelled_as_people_know_them() {
        let id: Vec<u64> = (0..16).collect();
        let spelled = spelled(json!({"job": id, "sizes": [1, 2], "deep": [{"id": id}]}));
        assert_eq!(spelled["job"], "000102030405060708090a0b0c0d0e0f");
        assert_eq!(spelled["deep"][0]["id"], spelled["job"]);
        assert_eq!(spelled["sizes"], json!([1, 2]));
    }
}

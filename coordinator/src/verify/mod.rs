//! `cleanup verify`: whether the store holds exactly what the log says it holds. Deletes nothing.
//!
//! The store is listed first and the state read linearizably afterwards: whatever is declared before it
//! is created is then known. What doesn't fit is looked at once more, and what the log counts on must be
//! counted on still after that look; so nothing is reported that was only under way.
//! `docs/protocol.md` §8. The comparison is in `compare.rs`.

mod compare;
mod places;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use regent_ha::{ReadError, View};
use regent_protocol::error::{ApiError, ErrorKind};
use regent_protocol::metadata::{
    METADATA_NAME, MetadataPointer, decode_metadata, files, verify_metadata,
};
use regent_protocol::view::{Dangling, Orphan, Verified, WrongSize};
use regent_state::Machine;
use regent_state::ids::{ArtefactId, JobId};
use regent_storage::objects::owner::{OWNER_DIR, Owner};
use regent_storage::objects::{Location, ObjectError, Objects};
use tokio::time::{Instant, timeout_at};

use crate::node::Node;
use compare::{Content, Kept, Known, Suspects, Wanted};

/// Files that one look takes in: some 100 bytes of memory each.
const FILES_MAX: usize = 1_000_000;
/// Files of each kind that are reported by name.
const REPORTED_MAX: usize = 10_000;
/// Reads under way at once: verifying must not starve checkpoints.
const PARALLEL: usize = 8;
/// How long one read may take.
const READ_LIMIT: Duration = Duration::from_secs(10);
/// Savepoints of one folder that are looked at.
const FOLDER_MAX: usize = 1_000;
/// Kept back from the client's timeout, so that the answer arrives within it.
const ANSWER_RESERVE: Duration = Duration::from_millis(300);
/// A read that has less time than this left says nothing about the majority when it isn't answered.
const READ_ROOM: Duration = Duration::from_millis(500);

/// Compares store and log on the serving leader, one comparison at a time.
pub(crate) async fn verify(node: &Node, deadline: Instant) -> Result<Verified, ApiError> {
    let until = deadline.checked_sub(ANSWER_RESERVE).unwrap_or(deadline);
    let whole = async {
        let _turn = node.verifying.lock().await;
        Verifier { node, until }.run().await
    };
    match timeout_at(until, whole).await {
        Ok(done) => done,
        Err(_) => Err(too_slow()),
    }
}

fn too_slow() -> ApiError {
    let text = "comparing store and log took longer than --timeout allows; repeat it with a longer \
                one, for example --timeout 5m";
    ApiError::new(ErrorKind::Failed, text)
}

struct Verifier<'a> {
    node: &'a Node,
    until: Instant,
}

/// `_metadata` that is missing (`None`) or can't be used, with the size that it has.
type Broken = (Wanted, Option<u64>);

impl Verifier<'_> {
    async fn run(&self) -> Result<Verified, ApiError> {
        // Without a majority there is nothing to compare with, however long the listing would take.
        self.confirmed().await?;
        let found = self.list().await?;
        let view = self.state().await?;
        let (known, broken) = self.known(&view.machine).await?;
        let suspects = compare::compare(&found, &known);
        self.confirm(suspects, broken).await
    }

    fn objects(&self) -> &Objects {
        &self.node.objects
    }

    /// The state as a majority confirms it; a majority that doesn't answer in time is told as such.
    async fn confirmed(&self) -> Result<Arc<View>, ApiError> {
        let read = timeout_at(self.until, self.node.replica.linearizable()).await;
        let read = read.unwrap_or(Err(ReadError::Timeout));
        read.map_err(|error| crate::api::errors::not_read(&error))
    }

    /// The same, after something that takes long.
    async fn state(&self) -> Result<Arc<View>, ApiError> {
        match self.left() < READ_ROOM {
            true => Err(too_slow()),
            false => self.confirmed().await,
        }
    }

    /// Every file at the places that belong to this cluster.
    async fn list(&self) -> Result<BTreeMap<PathBuf, u64>, ApiError> {
        let mut found = BTreeMap::new();
        let view = self.node.replica.stale();
        let root = &self.node.config.storage.checkpoint_dir;
        let mut places = places::places(&view.machine, root);
        for folder in &places.folders {
            let ours = self.savepoints_in(folder, &view.machine).await?;
            places.dirs.extend(ours);
        }
        let root = root.parse::<Location>().ok();
        let markers = root.and_then(|root| root.join(OWNER_DIR).ok());
        let markers = markers.map(|markers| markers.name());
        for dir in places.dirs {
            // A job whose sink isn't a place to list has nothing staged either.
            let Ok(dir) = dir.parse::<Location>() else {
                continue;
            };
            let room = FILES_MAX.saturating_sub(found.len());
            let listed = self.objects().list_at_most(&dir, room, self.left()).await;
            let files = listed.map_err(unlisted)?.into_iter();
            let files = files.map(|info| (info.location.name(), info.size_bytes));
            found.extend(files.filter(|(path, _)| !is_marker(path, markers.as_deref())));
        }
        Ok(found)
    }

    fn left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }

    /// Directories in a user's folder that are savepoints of this cluster: of a run that the log knows,
    /// or by the word of their `_metadata`.
    async fn savepoints_in(
        &self,
        folder: &str,
        machine: &Machine,
    ) -> Result<Vec<String>, ApiError> {
        let Ok(dir) = folder.parse::<Location>() else {
            return Ok(Vec::new());
        };
        let names = self.objects().children(&dir, self.left()).await;
        let names = names.map_err(unlisted)?;
        let (runs, cluster) = (places::runs(machine), machine.cluster_id());
        let cluster = cluster.map(|cluster| cluster.to_string());
        let mut ours = Vec::new();
        for name in names.iter().take(FOLDER_MAX) {
            let Some(run) = places::run_of(name) else {
                continue;
            };
            let claimed = self.cluster_of(&dir, name).await?;
            let is_ours = match &claimed {
                Some(by) => Some(by) == cluster.as_ref(),
                None => runs.contains(run),
            };
            if is_ours {
                ours.push(format!("{}/{name}", folder.trim_end_matches('/')));
            }
        }
        Ok(ours)
    }

    /// The cluster that the `_metadata` of this savepoint names.
    async fn cluster_of(&self, folder: &Location, name: &str) -> Result<Option<String>, ApiError> {
        let failed = |text: String| ApiError::new(ErrorKind::Failed, text);
        let metadata = folder.join(&format!("{name}/{METADATA_NAME}"));
        let metadata = metadata.map_err(|error| failed(error.to_string()))?;
        match self.objects().get(&metadata, READ_LIMIT).await {
            Ok(bytes) => Ok(decode_metadata(&bytes).ok().map(|read| read.cluster_id)),
            Err(ObjectError::NotFound { .. }) => Ok(None),
            Err(error) => Err(failed(error.to_string())),
        }
    }

    /// The directories that the log knows, with what must be in them; and unusable `_metadata`.
    async fn known(
        &self,
        machine: &Machine,
    ) -> Result<(BTreeMap<PathBuf, Known>, Vec<Broken>), ApiError> {
        let ledger = compare::ledger(machine);
        let mut known: BTreeMap<PathBuf, Known> = BTreeMap::new();
        for (path, dir) in ledger.any {
            if let Ok(location) = path.parse::<Location>() {
                known.insert(location.name(), dir);
            }
        }
        let mut broken = Vec::new();
        let mut reads = futures::stream::iter(ledger.kept)
            .map(|kept| self.content(kept))
            .buffer_unordered(PARALLEL);
        while let Some((path, dir, unusable)) = reads.try_next().await? {
            known.insert(path, dir);
            broken.extend(unusable);
        }
        Ok((known, broken))
    }

    /// What must be in the directory of a completed checkpoint, by its own word.
    async fn content(&self, kept: Kept) -> Result<(PathBuf, Known, Option<Broken>), ApiError> {
        let failed = |text: String| ApiError::new(ErrorKind::Failed, text);
        let dir: Location = kept
            .path
            .parse()
            .map_err(|e| failed(format!("{}: {e}", kept.path)))?;
        let metadata = dir
            .join(METADATA_NAME)
            .map_err(|error| failed(error.to_string()))?;
        let (artefact, job) = (kept.artefact, kept.job);
        let bytes = match self.objects().get(&metadata, READ_LIMIT).await {
            Ok(bytes) => Some(bytes),
            Err(ObjectError::NotFound { .. }) => None,
            Err(error) => return Err(failed(error.to_string())),
        };
        let names = bytes.as_ref().and_then(|bytes| names(bytes, kept.metadata));
        let content = names.as_ref().map_or(Content::Any, |names| {
            let path = |name: &String| dir.name().join(name);
            Content::Files(names.iter().map(|(name, n)| (path(name), *n)).collect())
        });
        let found = bytes.map(|bytes| bytes.len() as u64);
        let wanted = || Wanted {
            path: metadata.name(),
            // Where the log has no length, there is none to differ from.
            size_bytes: kept
                .metadata
                .map_or(found.unwrap_or(0), |(length, _)| length),
            artefact,
            job,
        };
        let broken = names.is_none().then(|| (wanted(), found));
        let known = Known {
            artefact,
            job,
            content,
        };
        Ok((dir.name(), known, broken))
    }

    /// Looks at every suspect again, and then whether the log still counts on it.
    async fn confirm(&self, suspects: Suspects, broken: Vec<Broken>) -> Result<Verified, ApiError> {
        let truncated = suspects.orphans.len() > REPORTED_MAX
            || suspects.wanted.len() + broken.len() > REPORTED_MAX;
        let orphans = suspects.orphans.into_iter().take(REPORTED_MAX);
        let orphans: Vec<Option<Orphan>> = futures::stream::iter(orphans)
            .map(|path| async move {
                let size = self.size(&path).await?;
                let path = path.display().to_string();
                Ok::<_, ApiError>(size.map(|_| Orphan { path }))
            })
            .buffered(PARALLEL)
            .try_collect()
            .await?;
        let wanted = suspects.wanted.into_iter().take(REPORTED_MAX);
        let sizes: Vec<(Wanted, Option<u64>)> = futures::stream::iter(wanted)
            .map(|file| async move {
                let size = self.size(&file.path).await?;
                Ok::<_, ApiError>((file, size))
            })
            .buffered(PARALLEL)
            .try_collect()
            .await?;
        let view = self.state().await?;
        let mut verified = judge(&view.machine, sizes, broken);
        verified.orphans = orphans.into_iter().flatten().collect();
        verified.truncated = truncated;
        Ok(verified)
    }

    /// The file's size now; `None` if it isn't there.
    async fn size(&self, path: &Path) -> Result<Option<u64>, ApiError> {
        let text = path.display().to_string();
        // What a crash left unfinished has a name that is no location; it was found a moment ago.
        let Ok(location) = text.parse::<Location>() else {
            return Ok(unfinished(path).await);
        };
        match self.objects().head(&location, READ_LIMIT).await {
            Ok(info) => Ok(Some(info.size_bytes)),
            Err(ObjectError::NotFound { .. }) => Ok(None),
            Err(error) => Err(ApiError::new(ErrorKind::Failed, error.to_string())),
        }
    }
}

fn unlisted(error: ObjectError) -> ApiError {
    match error {
        ObjectError::Timeout { .. } => too_slow(),
        error => ApiError::new(ErrorKind::Failed, error.to_string()),
    }
}

/// Says whose storage it is; no job's file.
fn is_marker(path: &Path, markers: Option<&Path>) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    path.parent() == markers && name.is_some_and(|name| name.parse::<Owner>().is_ok())
}

async fn unfinished(path: &Path) -> Option<u64> {
    tokio::fs::symlink_metadata(path)
        .await
        .ok()
        .map(|found| found.len())
}

/// The files that `_metadata` names, itself included; `None` if it can't be used.
fn names(bytes: &[u8], pointer: Option<(u64, u32)>) -> Option<BTreeMap<String, u64>> {
    let metadata = match pointer {
        Some((length, crc32c)) => verify_metadata(bytes, MetadataPointer { length, crc32c }),
        None => decode_metadata(bytes),
    };
    let metadata = metadata.ok()?;
    let named = files(&metadata).map(|(name, length)| (name.to_owned(), length));
    let own = (METADATA_NAME.to_owned(), bytes.len() as u64);
    Some(named.chain(std::iter::once(own)).collect())
}

/// Of what was missing or of another size at the second look: what the log counts on still.
fn judge(machine: &Machine, sizes: Vec<(Wanted, Option<u64>)>, broken: Vec<Broken>) -> Verified {
    let mut verified = Verified::default();
    let missing = |file: &Wanted| Dangling {
        path: file.path.display().to_string(),
        job_id: file
            .job
            .map_or_else(String::new, |job: JobId| job.to_string()),
        artefact: file.artefact.to_string(),
    };
    let wrong = |file: &Wanted, found: u64| WrongSize {
        path: file.path.display().to_string(),
        expected: file.size_bytes,
        found,
    };
    let counted = |id: ArtefactId| compare::is_kept(machine, id);
    for (file, size) in sizes.iter().filter(|(file, _)| counted(file.artefact)) {
        match size {
            None => verified.dangling.push(missing(file)),
            Some(found) if *found != file.size_bytes => {
                verified.wrong_size.push(wrong(file, *found));
            }
            Some(_) => {}
        }
    }
    for (file, size) in broken.iter().filter(|(file, _)| counted(file.artefact)) {
        match size {
            Some(found) if *found != file.size_bytes => {
                verified.wrong_size.push(wrong(file, *found));
            }
            // Of the right size, and useless.
            Some(_) | None => verified.dangling.push(missing(file)),
        }
    }
    verified.dangling.sort();
    verified.wrong_size.sort();
    verified
}

//! Who a data directory belongs to, and that only one process uses it.
//!
//! A replica's directory says which node of which cluster it is, in which generation, and how often
//! it was started (the incarnation, raised and synced before the first message of each start). A
//! directory that says something else than was expected is refused with the remedy: using it anyway
//! is how clusters get two quorums. A worker's directory has a smaller identity of the same make.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use crate::codec::{self, CodecError, Kind};
use crate::files::{create_dir_durably, replace_file};

const IDENTITY_NAME: &str = "identity";
const LOCK_NAME: &str = "lock";
/// What a used replica's directory contains; without an identity beside them something is missing.
const USED_NAMES: [&str; 3] = ["log", "snapshots", "state"];
const VERSIONS: &[u16] = &[1];

/// A replica as decided at bootstrap or when it was added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Never used again after removal.
    pub node_id: u64,
    /// For people: `jm-1`.
    pub name: String,
    /// `host:port` for clients and workers.
    pub api: String,
    /// `host:port` for other replicas.
    pub peer: String,
}

/// The identity of a replica's data directory. Frozen as version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// `None` until the cluster was bootstrapped or the replica was added to one.
    pub cluster_id: Option<[u8; 16]>,
    /// Raised by restore and recovery.
    pub generation: u64,
    /// This replica.
    pub node_id: u64,
    /// Starts of this directory so far, this one included.
    pub incarnation: u64,
    /// The cluster as decided at bootstrap; the membership that counts is in the log.
    pub members: Vec<Member>,
}

/// The identity of a worker's data directory. Frozen as version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerIdentity {
    /// As configured: `tm-1`.
    pub worker_id: String,
    /// Starts of this directory so far, this one included.
    pub incarnation: u64,
    /// The machine of the present start (see [`machine_id`]).
    pub machine_id: String,
}

/// Why a data directory isn't used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Another process has it.
    #[error("data directory {} is in use by another process (pid {pid})", dir.display())]
    InUse {
        /// The directory.
        dir: PathBuf,
        /// As that process wrote it; "unknown" if it can't be read.
        pid: String,
    },
    /// The identity file is damaged.
    #[error(
        "{} is damaged ({source}): this replica can't prove who it is; remove it from the cluster \
         and add it again with an empty data directory (`regent members remove`, then `regent \
         members add`)", file.display()
    )]
    Damaged {
        /// The identity file.
        file: PathBuf,
        /// What is wrong.
        source: CodecError,
    },
    /// The directory has data but no identity.
    #[error(
        "data directory {} has {found} but no identity: it was wiped in part or restored by hand; \
         remove the replica from the cluster and add it again with an empty directory (`regent \
         members remove`, then `regent members add`)", dir.display()
    )]
    Missing {
        /// The directory.
        dir: PathBuf,
        /// What was found there.
        found: &'static str,
    },
    /// The directory belongs to another node.
    #[error(
        "data directory {} belongs to node {found}, not to node {expected}: start this replica \
         with its own directory, or use an empty one for a new replica", dir.display()
    )]
    WrongNode {
        /// The directory.
        dir: PathBuf,
        /// As configured.
        expected: u64,
        /// As the directory says.
        found: u64,
    },
    /// The directory belongs to another worker.
    #[error(
        "data directory {} belongs to worker {found}, not to {expected}: give each worker its own \
         directory", dir.display()
    )]
    WrongWorker {
        /// The directory.
        dir: PathBuf,
        /// As configured.
        expected: String,
        /// As the directory says.
        found: String,
    },
    /// The directory belongs to another cluster.
    #[error(
        "data directory {} belongs to cluster {}, not to {}: put this node's own directory back; if \
         that is lost, remove it (regent members remove {node}) and add a replica with an empty \
         directory under a new number (regent members add)",
        dir.display(), hex(found), hex(expected)
    )]
    WrongCluster {
        /// The directory.
        dir: PathBuf,
        /// The node whose it is.
        node: u64,
        /// Asked for.
        expected: [u8; 16],
        /// As the directory says.
        found: [u8; 16],
    },
    /// A generation can only rise.
    #[error(
        "data directory {} is of generation {found}, which can't become {asked}: it was restored \
         or recovered since; remove the replica and add it again", dir.display()
    )]
    OlderGeneration {
        /// The directory.
        dir: PathBuf,
        /// As the directory says.
        found: u64,
        /// Asked for.
        asked: u64,
    },
    /// An operation on a file failed.
    #[error("cannot {action} {}: {source}", file.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        file: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}

fn io_error(action: &'static str, file: &Path) -> impl FnOnce(io::Error) -> IdentityError {
    let file = file.to_path_buf();
    move |source| IdentityError::Io {
        action,
        file,
        source,
    }
}

/// A data directory that this process holds the lock of, until dropped.
#[derive(Debug)]
pub struct DataDir {
    dir: PathBuf,
    _lock: Flock<File>,
}

impl DataDir {
    /// Makes the directory if need be and takes its lock.
    pub fn lock(dir: impl AsRef<Path>) -> Result<DataDir, IdentityError> {
        let dir = dir.as_ref().to_path_buf();
        create_dir_durably(&dir).map_err(io_error("create", &dir))?;
        let path = dir.join(LOCK_NAME);
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(io_error("open", &path))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(mut lock) => {
                // The pid is a courtesy to the next one's message.
                write_pid(&mut lock).map_err(io_error("write", &path))?;
                Ok(DataDir { dir, _lock: lock })
            }
            Err((mut file, Errno::EWOULDBLOCK)) => Err(IdentityError::InUse {
                dir,
                pid: read_pid(&mut file),
            }),
            Err((_, errno)) => Err(io_error("lock", &path)(errno.into())),
        }
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// The replica's identity, if it has one.
    pub fn identity(&self) -> Result<Option<Identity>, IdentityError> {
        self.load(Kind::IDENTITY)
    }

    /// Begins a start of replica `node_id`: checks that the directory is its own, raises the
    /// incarnation and syncs it. An empty directory gets an identity without cluster, generation 1.
    pub fn open_and_increment_incarnation(&self, node_id: u64) -> Result<Identity, IdentityError> {
        let mut identity = match self.identity()? {
            Some(identity) => identity,
            None => self.fresh(node_id)?,
        };
        if identity.node_id != node_id {
            return Err(IdentityError::WrongNode {
                dir: self.dir.clone(),
                expected: node_id,
                found: identity.node_id,
            });
        }
        identity.incarnation += 1;
        self.save(Kind::IDENTITY, &identity)?;
        Ok(identity)
    }

    fn fresh(&self, node_id: u64) -> Result<Identity, IdentityError> {
        if let Some(found) = USED_NAMES
            .into_iter()
            .find(|name| self.dir.join(name).exists())
        {
            return Err(IdentityError::Missing {
                dir: self.dir.clone(),
                found,
            });
        }
        Ok(Identity {
            cluster_id: None,
            generation: 1,
            node_id,
            incarnation: 0,
            members: Vec::new(),
        })
    }

    /// Writes down the cluster this replica belongs to. The same cluster again is success and
    /// changes nothing; another one is refused.
    pub fn join_cluster(
        &self,
        cluster_id: [u8; 16],
        generation: u64,
        members: Vec<Member>,
    ) -> Result<Identity, IdentityError> {
        let mut identity = self.expect_identity()?;
        if identity.cluster_id.is_some() {
            self.check_cluster(&identity, cluster_id)?;
            return Ok(identity);
        }
        identity.cluster_id = Some(cluster_id);
        identity.generation = generation;
        identity.members = members;
        self.save(Kind::IDENTITY, &identity)?;
        Ok(identity)
    }

    /// Checks an identity against the cluster that was asked for.
    pub fn check_cluster(
        &self,
        identity: &Identity,
        expected: [u8; 16],
    ) -> Result<(), IdentityError> {
        match identity.cluster_id {
            Some(found) if found != expected => Err(IdentityError::WrongCluster {
                dir: self.dir.clone(),
                node: identity.node_id,
                expected,
                found,
            }),
            _ => Ok(()),
        }
    }

    /// Raises the generation (restore, recovery). The present one again is success.
    pub fn raise_generation(&self, generation: u64) -> Result<Identity, IdentityError> {
        let mut identity = self.expect_identity()?;
        if generation < identity.generation {
            return Err(IdentityError::OlderGeneration {
                dir: self.dir.clone(),
                found: identity.generation,
                asked: generation,
            });
        }
        identity.generation = generation;
        self.save(Kind::IDENTITY, &identity)?;
        Ok(identity)
    }

    /// Replaces the whole identity: for restore and recovery, which make a new cluster of old data.
    pub fn replace_identity(&self, identity: &Identity) -> Result<(), IdentityError> {
        self.save(Kind::IDENTITY, identity)
    }

    fn expect_identity(&self) -> Result<Identity, IdentityError> {
        let missing = || IdentityError::Missing {
            dir: self.dir.clone(),
            found: "a lock",
        };
        self.identity()?.ok_or_else(missing)
    }

    /// Begins a start of a worker: checks that the directory is its own, raises the incarnation and
    /// syncs it.
    pub fn open_worker(&self, worker_id: &str) -> Result<WorkerIdentity, IdentityError> {
        let before: Option<WorkerIdentity> = self.load(Kind::WORKER_IDENTITY)?;
        if let Some(found) = before
            .as_ref()
            .filter(|before| before.worker_id != worker_id)
        {
            return Err(IdentityError::WrongWorker {
                dir: self.dir.clone(),
                expected: worker_id.to_owned(),
                found: found.worker_id.clone(),
            });
        }
        let identity = WorkerIdentity {
            worker_id: worker_id.to_owned(),
            incarnation: before.map_or(0, |before| before.incarnation) + 1,
            machine_id: machine_id(),
        };
        self.save(Kind::WORKER_IDENTITY, &identity)?;
        Ok(identity)
    }

    fn load<T: serde::de::DeserializeOwned>(&self, kind: Kind) -> Result<Option<T>, IdentityError> {
        let file = self.dir.join(IDENTITY_NAME);
        let bytes = match std::fs::read(&file) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(io_error("read", &file)(e)),
        };
        codec::decode(kind, VERSIONS, &bytes)
            .map(Some)
            .map_err(|source| IdentityError::Damaged { file, source })
    }

    fn save<T: Serialize>(&self, kind: Kind, identity: &T) -> Result<(), IdentityError> {
        let file = self.dir.join(IDENTITY_NAME);
        let bytes = codec::encode(kind, 1, identity).map_err(|source| IdentityError::Damaged {
            file: file.clone(),
            source,
        })?;
        replace_file(&file, &bytes).map_err(io_error("write", &file))
    }
}

fn write_pid(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    write!(file, "{}", std::process::id())
}

fn read_pid(file: &mut File) -> String {
    let mut text = String::new();
    let read = file.take(20).read_to_string(&mut text);
    match read {
        Ok(_) if text.parse::<u32>().is_ok() => text,
        _ => "unknown".to_owned(),
    }
}

fn hex(bytes: &[u8; 16]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Names this machine: `/etc/machine-id`, or the kernel's boot id. Two starts with the same answer
/// ran on the same machine; empty if the system tells neither.
pub fn machine_id() -> String {
    ["/etc/machine-id", "/proc/sys/kernel/random/boot_id"]
        .into_iter()
        .filter_map(|path| std::fs::read_to_string(path).ok())
        .map(|text| text.trim().to_owned())
        .find(|text| !text.is_empty())
        .unwrap_or_default()
}

//! The directory of a local cluster: its lock, its identity, and what survives from one start to the next.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use regent_state::ids::ClusterId;
use regent_storage::identity::{DataDir, IdentityError};

use super::manifest::ManifestFile;
use super::plan::{Plan, Shape, Wanted};
use crate::client::random_hex;
use crate::failure::Failure;
use crate::settings::Role;

/// An open directory; the lock is held for as long as this lives.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    _lock: File,
}

/// The program that the processes run: this one, also when its file was replaced meanwhile.
pub(super) fn program() -> Result<PathBuf, Failure> {
    let path = std::env::current_exe()
        .map_err(|e| Failure::failed(format!("this program's own path can't be found: {e}")))?;
    let text = path.to_string_lossy();
    Ok(text
        .strip_suffix(" (deleted)")
        .map_or_else(|| path.clone(), PathBuf::from))
}

impl Directory {
    /// Creates the directory if need be and locks it.
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let wrong = |e: std::io::Error| Failure::failed(format!("{}: {e}", path.display()));
        std::fs::create_dir_all(path).map_err(wrong)?;
        let path = path.canonicalize().map_err(wrong)?;
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path.join("lock"))
            .map_err(wrong)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(in_use(&path, &mut lock)),
            Err(TryLockError::Error(e)) => return Err(wrong(e)),
        }
        // For the message of another one that finds it locked.
        let _ = lock
            .set_len(0)
            .and_then(|()| write!(lock, "{}", std::process::id()));
        Ok(Self { path, _lock: lock })
    }

    /// Absolute.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What the cluster will consist of.
    pub(super) fn settle(&self, wanted: &Wanted) -> Result<Shape, Failure> {
        let file = self.path.join("local.json");
        let before = match std::fs::read_to_string(&file) {
            Ok(text) => Some(serde_json::from_str(&text).map_err(|e| {
                Failure::invalid(format!(
                    "{}: {e}; remove it and give the options that the cluster was made with",
                    file.display()
                ))
            })?),
            Err(e) if e.kind() == ErrorKind::NotFound => None,
            Err(e) => return Err(self.wrong("local.json", &e)),
        };
        Shape::settle(wanted, before.as_ref())
    }

    /// Writes what must be there before the first process starts; answers with the cluster's id.
    pub(super) fn prepare(&self, plan: &Plan, shape: &Shape) -> Result<ClusterId, Failure> {
        for part in ["conf", "data", "logs", "checkpoints"] {
            std::fs::create_dir_all(self.path.join(part)).map_err(|e| self.wrong(part, &e))?;
        }
        for process in &plan.processes {
            std::fs::write(&process.config, &process.config_text)
                .map_err(|e| self.wrong("conf", &e))?;
        }
        let text = serde_json::to_string_pretty(shape).unwrap_or_default() + "\n";
        self.write_synced("local.json", &text)?;
        self.cluster_id()
    }

    /// The id in `cluster-id`, made at the first start.
    fn cluster_id(&self) -> Result<ClusterId, Failure> {
        let text = match std::fs::read_to_string(self.path.join("cluster-id")) {
            Ok(text) => text,
            Err(e) if e.kind() == ErrorKind::NotFound => {
                let id = random_hex(16) + "\n";
                self.write_synced("cluster-id", &id)?;
                id
            }
            Err(e) => return Err(self.wrong("cluster-id", &e)),
        };
        text.trim().parse().map_err(|e| {
            Failure::invalid(format!("{}: {e}", self.path.join("cluster-id").display()))
        })
    }

    /// Refuses replicas' directories that belong to another cluster: with them this one would have two
    /// pasts. Whatever else is wrong with a directory its process says itself.
    pub(super) fn check_owner(&self, plan: &Plan, id: ClusterId) -> Result<(), Failure> {
        let replicas = plan.of(Role::JobManager);
        for process in replicas.filter(|process| process.data_dir.exists()) {
            let found = DataDir::lock(&process.data_dir).and_then(|dir| {
                let identity = dir.identity()?;
                identity.map_or(Ok(()), |identity| dir.check_cluster(&identity, id.0))
            });
            if let Err(wrong @ IdentityError::WrongCluster { .. }) = found {
                return Err(Failure::refused(wrong.to_string()));
            }
        }
        Ok(())
    }

    /// Whether the cluster was formed by an earlier start.
    pub(super) fn is_bootstrapped(&self) -> bool {
        self.path.join("bootstrapped").exists()
    }

    /// Remembers that the cluster is formed: its first leader has been announced.
    pub(super) fn set_bootstrapped(&self) -> Result<(), Failure> {
        self.write_synced("bootstrapped", "")
    }

    /// Writes a `cluster.json` in which nothing runs yet.
    pub(super) fn create_manifest(&self, plan: &Plan) -> Result<ManifestFile, Failure> {
        ManifestFile::create(self.path.join("cluster.json"), plan)
    }

    /// Write, sync, rename, sync directory.
    fn write_synced(&self, name: &str, text: &str) -> Result<(), Failure> {
        let staged = self.path.join(format!("{name}.new"));
        let write = || {
            let mut file = File::create(&staged)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&staged, self.path.join(name))?;
            File::open(&self.path)?.sync_all()
        };
        write().map_err(|e| self.wrong(name, &e))
    }

    fn wrong(&self, part: &str, error: &std::io::Error) -> Failure {
        Failure::failed(format!("{}: {error}", self.path.join(part).display()))
    }
}

fn in_use(path: &Path, lock: &mut File) -> Failure {
    let mut pid = String::new();
    let by = match lock.take(16).read_to_string(&mut pid) {
        Ok(n) if n > 0 => format!(" (pid {})", pid.trim()),
        _ => String::new(),
    };
    Failure::refused(format!(
        "{} is in use by another `regent local`{by}; stop that one, or choose another --dir",
        path.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(directory: &Directory) -> (Plan, Shape) {
        let shape = directory.settle(&Wanted::default()).unwrap();
        let plan = Plan::new(directory.path(), &shape, Path::new("/bin/regent")).unwrap();
        (plan, shape)
    }

    #[test]
    fn a_directory_is_opened_once() {
        let dir = tempfile::tempdir().unwrap();
        let first = Directory::open(dir.path()).unwrap();
        let failure = Directory::open(dir.path()).unwrap_err();
        assert_eq!(failure.code, 5);
        assert!(
            failure
                .message
                .contains(&format!("pid {}", std::process::id()))
        );
        drop(first);
        Directory::open(dir.path()).unwrap();
    }

    #[test]
    fn a_replica_of_another_cluster_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let directory = Directory::open(dir.path()).unwrap();
        let (plan, shape) = plan(&directory);
        let id = directory.prepare(&plan, &shape).unwrap();
        assert_eq!(
            directory.check_owner(&plan, id),
            Ok(()),
            "nothing is there yet"
        );
        let data = plan.of(Role::JobManager).nth(1).unwrap().data_dir.clone();
        let join = |cluster| {
            let replica = DataDir::lock(&data).unwrap();
            replica.open_and_increment_incarnation(2).unwrap();
            replica.join_cluster(cluster, 1, Vec::new()).unwrap();
        };
        join([7; 16]);
        let failure = directory.check_owner(&plan, id).unwrap_err();
        assert_eq!(failure.code, 5);
        assert!(
            failure.message.contains("belongs to cluster 0707"),
            "{}",
            failure.message
        );
        std::fs::remove_dir_all(&data).unwrap();
        join(id.0);
        assert_eq!(directory.check_owner(&plan, id), Ok(()));
    }

    #[test]
    fn the_cluster_id_survives() {
        let dir = tempfile::tempdir().unwrap();
        let directory = Directory::open(&dir.path().join("new/one")).unwrap();
        let (plan, shape) = plan(&directory);
        let id = directory.prepare(&plan, &shape).unwrap();
        assert_eq!(directory.prepare(&plan, &shape).unwrap(), id);
        assert!(!directory.is_bootstrapped());
        directory.set_bootstrapped().unwrap();
        assert!(directory.is_bootstrapped());
        assert!(directory.path().join("conf/jm-3.yaml").exists());
        let other = Wanted {
            jobmanagers: Some(5),
            ..Wanted::default()
        };
        assert_eq!(directory.settle(&other).unwrap_err().code, 2);
    }
}

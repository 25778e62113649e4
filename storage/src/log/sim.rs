//! A disk in memory for tests: it can run full, refuse, shorten writes, and lose power. After a
//! power cut each unsynced 512-byte sector and each unsynced change of a directory is there or not,
//! as a seed decides.

use std::any::Any;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::disk::{Disk, DiskFile};

const SECTOR: usize = 512;

/// What to do wrong, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The n-th write from now (0 is the next) fails, after writing half.
    Write(u32, io::ErrorKind),
    /// The n-th sync of a file from now fails.
    Sync(u32, io::ErrorKind),
    /// All writes are short.
    ShortWrites,
}

#[derive(Debug, Clone, Default)]
struct Content {
    durable: Vec<u8>,
    live: Vec<u8>,
    /// Sectors written since the last sync.
    dirty: std::collections::BTreeSet<usize>,
}

#[derive(Debug, Default)]
struct State {
    names: BTreeMap<PathBuf, Arc<Mutex<Content>>>,
    durable_names: BTreeMap<PathBuf, Arc<Mutex<Content>>>,
    free: Option<u64>,
    faults: Vec<Fault>,
    operations: u64,
    power_off_at: Option<u64>,
    syncs: u64,
}

/// Clones are the same disk.
#[derive(Debug, Clone, Default)]
pub(crate) struct SimDisk(Arc<Mutex<State>>);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poison| poison.into_inner())
}

impl SimDisk {
    /// Space that can still be allocated.
    pub(crate) fn set_free(&self, bytes: Option<u64>) {
        lock(&self.0).free = bytes;
    }

    pub(crate) fn inject(&self, fault: Fault) {
        lock(&self.0).faults.push(fault);
    }

    pub(crate) fn clear_faults(&self) {
        lock(&self.0).faults.clear();
    }

    /// Syncs of files so far.
    pub(crate) fn syncs(&self) -> u64 {
        lock(&self.0).syncs
    }

    /// From the n-th operation from now on nothing is done any more.
    pub(crate) fn power_off_after(&self, operations: u64) {
        let mut state = lock(&self.0);
        state.power_off_at = Some(state.operations + operations);
    }

    /// The disk as it may be found after a power cut now.
    pub(crate) fn after_power_cut(&self, seed: u64) -> SimDisk {
        let mut rng = StdRng::seed_from_u64(seed);
        let state = lock(&self.0);
        let mut names = state.durable_names.clone();
        for (path, content) in &state.names {
            if rng.random() {
                names.insert(path.clone(), Arc::clone(content));
            }
        }
        for path in state.durable_names.keys() {
            if !state.names.contains_key(path) && rng.random() {
                names.remove(path);
            }
        }
        // A rename is one step: never both names, never none.
        let mut seen: Vec<*const Mutex<Content>> = Vec::new();
        names.retain(|_, content| {
            let pointer = Arc::as_ptr(content);
            let new = !seen.contains(&pointer);
            seen.push(pointer);
            new
        });
        for (path, content) in &state.durable_names {
            let renamed = state.names.values().any(|c| Arc::ptr_eq(c, content));
            if renamed && !seen.contains(&Arc::as_ptr(content)) {
                names.insert(path.clone(), Arc::clone(content));
            }
        }
        let names: BTreeMap<_, _> = names
            .into_iter()
            .map(|(path, content)| (path, Arc::new(Mutex::new(lock(&content).cut(&mut rng)))))
            .collect();
        SimDisk::of(names)
    }

    /// The same content, durable, without faults.
    pub(crate) fn copy(&self) -> SimDisk {
        let copied = |content: &Arc<Mutex<Content>>| {
            let live = lock(content).live.clone();
            Arc::new(Mutex::new(Content {
                durable: live.clone(),
                live,
                ..Content::default()
            }))
        };
        let names = lock(&self.0)
            .names
            .iter()
            .map(|(p, c)| (p.clone(), copied(c)))
            .collect();
        SimDisk::of(names)
    }

    fn of(names: BTreeMap<PathBuf, Arc<Mutex<Content>>>) -> SimDisk {
        let state = State {
            durable_names: names.clone(),
            names,
            ..State::default()
        };
        SimDisk(Arc::new(Mutex::new(state)))
    }

    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        lock(&self.0).names.keys().cloned().collect()
    }

    pub(crate) fn bytes(&self, path: &Path) -> Vec<u8> {
        lock(&lock(&self.0).names[path]).live.clone()
    }

    pub(crate) fn set_bytes(&self, path: &Path, bytes: Vec<u8>) {
        let state = lock(&self.0);
        let mut content = lock(&state.names[path]);
        content.durable = bytes.clone();
        content.live = bytes;
    }

    pub(crate) fn flip(&self, path: &Path, bit: usize) {
        let state = lock(&self.0);
        let mut content = lock(&state.names[path]);
        content.live[bit / 8] ^= 1 << (bit % 8);
    }

    pub(crate) fn delete(&self, path: &Path) {
        let mut state = lock(&self.0);
        state.names.remove(path).unwrap();
        state.durable_names.remove(path);
    }

    fn operation(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = lock(&self.0);
        if state.power_off_at.is_some_and(|at| state.operations >= at) {
            return Err(io::Error::other("the power is off"));
        }
        state.operations += 1;
        Ok(state)
    }
}

impl Content {
    fn cut(&self, rng: &mut StdRng) -> Content {
        let mut bytes = self.durable.clone();
        bytes.resize(self.live.len(), 0);
        for sector in &self.dirty {
            let range = sector * SECTOR..((sector + 1) * SECTOR).min(self.live.len());
            if rng.random() {
                bytes[range.clone()].copy_from_slice(&self.live[range]);
            }
        }
        Content {
            durable: bytes.clone(),
            live: bytes,
            ..Content::default()
        }
    }
}

impl Disk for SimDisk {
    fn create_dir(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    fn lock(&self, _dir: &Path) -> io::Result<Box<dyn Any + Send + Sync>> {
        Ok(Box::new(()))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.operation()?;
        let in_dir = state.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(in_dir
            .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
            .collect())
    }

    fn create(&self, path: &Path, len: u64) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.operation()?;
        if let Some(free) = state.free {
            if free < len {
                return Err(io::ErrorKind::StorageFull.into());
            }
            state.free = Some(free - len);
        }
        let zeros = vec![0u8; len as usize];
        let content = Content {
            durable: zeros.clone(),
            live: zeros,
            ..Content::default()
        };
        let content = Arc::new(Mutex::new(content));
        state.names.insert(path.to_path_buf(), Arc::clone(&content));
        Ok(Arc::new(SimFile {
            disk: self.clone(),
            content,
        }))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let state = self.operation()?;
        let content = state.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(SimFile {
            disk: self.clone(),
            content: Arc::clone(content),
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.operation()?;
        let content = state.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.names.insert(to.to_path_buf(), content);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.operation()?;
        let content = state.names.remove(path).ok_or(io::ErrorKind::NotFound)?;
        let len = lock(&content).live.len() as u64;
        state.free = state.free.map(|free| free + len);
        Ok(())
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        let mut state = self.operation()?;
        state.durable_names = state.names.clone();
        Ok(())
    }
}

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    content: Arc<Mutex<Content>>,
}

impl SimFile {
    fn write(&self, buf: &[u8], offset: usize) {
        let mut content = lock(&self.content);
        let end = offset + buf.len();
        if content.live.len() < end {
            content.live.resize(end, 0);
        }
        content.live[offset..end].copy_from_slice(buf);
        content.dirty.extend(offset / SECTOR..end.div_ceil(SECTOR));
    }
}

impl DiskFile for SimFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let content = lock(&self.content);
        let rest = content.live.get(offset as usize..).unwrap_or(&[]);
        let take = rest.len().min(buf.len());
        buf[..take].copy_from_slice(&rest[..take]);
        Ok(take)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        let mut state = self.disk.operation()?;
        let mut take = buf.len();
        for fault in &mut state.faults {
            match fault {
                Fault::ShortWrites => take = take.div_ceil(3),
                Fault::Write(0, kind) => {
                    let kind = *kind;
                    self.write(&buf[..buf.len() / 2], offset as usize);
                    state.faults.retain(|f| !matches!(f, Fault::Write(0, _)));
                    return Err(kind.into());
                }
                Fault::Write(n, _) => *n -= 1,
                Fault::Sync(..) => {}
            }
        }
        self.write(&buf[..take], offset as usize);
        Ok(take)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.operation()?;
        state.syncs += 1;
        for fault in &mut state.faults {
            match fault {
                Fault::Sync(0, kind) => {
                    let kind = *kind;
                    // As Linux does it: the pages are clean afterwards, and a retry would succeed.
                    lock(&self.content).dirty.clear();
                    state.faults.retain(|f| !matches!(f, Fault::Sync(0, _)));
                    return Err(kind.into());
                }
                Fault::Sync(n, _) => *n -= 1,
                _ => {}
            }
        }
        let mut content = lock(&self.content);
        content.durable = content.live.clone();
        content.dirty.clear();
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        Ok(lock(&self.content).live.len() as u64)
    }
}

//! Hurting a process at a named moment of its work instead of at a random one: see `regent_failpoint`.
//!
//! An order lies in a directory that all processes of a cluster look into; whoever passes the moment first
//! carries it out. Only builds with debug assertions look.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use regent_failpoint::COURSES;

use crate::cluster::Cluster;
use crate::wait::poll;

/// From the order to its execution.
const HIT_WITHIN: Duration = Duration::from_secs(60);

/// Where the processes of the cluster of that test directory look for orders.
#[must_use]
pub fn directory(home: &Path) -> PathBuf {
    home.join("failpoints")
}

/// The moments of a course, in their order.
///
/// # Panics
/// If there is no such course.
#[must_use]
pub fn moments(course: &str) -> &'static [&'static str] {
    let found = COURSES.iter().find(|(name, _)| *name == course);
    found
        .unwrap_or_else(|| panic!("no course {course} in {COURSES:?}"))
        .1
}

/// What a process is to do to itself at this moment: where something has just been queued, what goes on
/// is dangerous only once it is out.
#[must_use]
pub fn deadly(moment: &str) -> &'static str {
    let queued = ["triggered", "announced", "ordered"];
    match queued.iter().any(|queued| moment.ends_with(queued)) {
        true => "flush",
        false => "kill",
    }
}

/// An order that was given.
#[derive(Debug)]
pub struct Armed {
    file: PathBuf,
}

/// Orders the process that passes this moment first to do this to itself.
///
/// # Panics
/// If the order can't be written.
#[must_use]
pub fn arm(cluster: &Cluster, course: &str, moment: &str, order: &str) -> Armed {
    assert!(moments(course).contains(&moment), "{course}.{moment}");
    let dir = directory(cluster.home());
    fs::create_dir_all(&dir).expect("the directory can be made");
    let file = dir.join(format!("{course}.{moment}"));
    let armed = Armed { file };
    // What an earlier round left.
    fs::remove_file(armed.hit()).ok();
    let draft = armed.file.with_extension("draft");
    fs::write(&draft, order).expect("the order can be written");
    fs::rename(&draft, &armed.file).expect("the order can be given");
    armed
}

impl Armed {
    fn hit(&self) -> PathBuf {
        let mut name = self.file.as_os_str().to_owned();
        name.push(".hit");
        PathBuf::from(name)
    }

    /// Waits until a process has carried it out.
    ///
    /// # Panics
    /// If none does.
    pub fn wait(&self) {
        let hit = poll(HIT_WITHIN, || self.hit().exists().then_some(()));
        assert!(
            hit.is_some(),
            "{} was not reached within {HIT_WITHIN:?}; does the binary have debug assertions?",
            self.file.display()
        );
    }
}

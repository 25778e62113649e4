//! Named dangerous moments of production code, at which a test can end or freeze the process.
//!
//! Code that passes such a moment says so: [`reach`]`("checkpoint", "begun")`. In release builds that is
//! nothing at all. In builds with debug assertions a process that was started with `REGENT_FAILPOINTS=DIR`
//! looks for an order in `DIR/checkpoint.begun`, and carries it out once:
//!
//! | content | the process |
//! | --- | --- |
//! | `kill` | kills itself with SIGKILL, at once |
//! | `flush` | lets what it has queued go out (its other threads run on for 50 ms), then kills itself |
//! | `stop` | stops itself with SIGSTOP; whoever ordered it sends SIGCONT |
//! | `sleep MS` | holds this thread for so long |
//! | `.. @N` | does so when it passes the moment for the Nth time |
//! | `.. in WORD` | does so if a word of its command line holds WORD; others pass on |
//!
//! Whoever carries an order out first renames it to `checkpoint.begun.hit`, so that of several processes one
//! takes it, and none takes it twice. What is where is listed in [`COURSES`]; the tests that use it check that
//! each moment was reached. Deciding when to hurt whom is theirs.

/// Every course of steps, and its dangerous moments in their order.
pub const COURSES: &[(&str, &[&str])] = &[
    ("checkpoint", CHECKPOINT),
    ("savepoint", SNAPSHOT),
    ("stop", SNAPSHOT),
    ("last", CHECKPOINT),
    (
        "deployment",
        &[
            "planned",
            "placed",
            "one-ordered",
            "ordered",
            "all-run",
            "running",
        ],
    ),
    ("adoption", &["complete", "adopted"]),
    ("end", &["committed", "reported", "all-over", "terminated"]),
    (
        "cancel",
        &[
            "stopped",
            "terminated",
            "commit-ordered",
            "committed",
            "reported",
        ],
    ),
    (
        "cleanup",
        &["picked", "one-deleted", "deleted", "gathered", "recorded"],
    ),
    ("sweep", &["gathered", "recorded"]),
    ("disk", &["sync"]),
];

/// A checkpoint: about to be proposed; begun; one worker told; all told; all acknowledged; `_metadata`
/// durable; completed; one worker told of that; all told.
const CHECKPOINT: &[&str] = &[
    "planned",
    "begun",
    "one-triggered",
    "triggered",
    "acknowledged",
    "written",
    "completed",
    "one-announced",
    "announced",
];

/// The same code as a checkpoint's; these moments differ in what follows.
const SNAPSHOT: &[&str] = &["planned", "begun", "triggered", "written", "completed"];

/// Code passes this moment of this course.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub fn reach(_course: &str, _moment: &str) {}

#[cfg(debug_assertions)]
pub use armed::reach;

#[cfg(debug_assertions)]
mod armed;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::COURSES;

    #[test]
    fn no_moment_is_listed_twice() {
        let all = || {
            COURSES
                .iter()
                .flat_map(|(course, moments)| moments.iter().map(move |moment| (course, moment)))
        };
        assert_eq!(all().collect::<BTreeSet<_>>().len(), all().count());
    }
}

//! What the demo found: timeline, recovery times, checkpoints, verdict.

use serde::Serialize;

use crate::output::table::Table;
use crate::output::words::{or_dash, plural, span};

/// The whole report.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    pub(super) timeline: Vec<Event>,
    pub(super) kills: Vec<Kill>,
    pub(super) job: JobFigures,
    /// What the comparison of the output found.
    pub(super) output: String,
    pub(super) took_ms: u64,
    /// Everything that was promised held.
    pub(super) exact: bool,
    /// Why not, if not.
    pub(super) problems: Vec<String>,
}

/// Something that happened.
#[derive(Debug, Serialize)]
pub(super) struct Event {
    /// Since the demo began.
    pub(super) at_ms: u64,
    pub(super) what: String,
}

/// A process that was killed, and how long it took to recover from that.
#[derive(Debug, Serialize)]
pub(super) struct Kill {
    /// `jm-1` or `tm-2`.
    pub(super) name: String,
    /// `leader` or `worker`.
    pub(super) role: &'static str,
    pub(super) pid: u32,
    /// The job's state just before.
    pub(super) job_state: String,
    /// Until another replica led; leaders only.
    pub(super) leader_after_ms: Option<u64>,
    /// Until the job's tasks all ran under it.
    pub(super) running_after_ms: u64,
    /// Until a checkpoint begun afterwards was complete.
    pub(super) checkpoint_after_ms: u64,
    /// `adopted` (no task was restarted) or `restarted`.
    pub(super) how: &'static str,
}

/// The job's own figures at its end.
#[derive(Debug, Default, Serialize)]
pub(super) struct JobFigures {
    pub(super) job_id: String,
    pub(super) state: String,
    pub(super) attempts: u64,
    pub(super) adoptions: u64,
    pub(super) restarts: u64,
    pub(super) checkpoints_completed: u64,
    pub(super) checkpoints_failed: u64,
}

impl Report {
    /// For people; the last line is the verdict.
    pub(super) fn text(&self) -> String {
        format!(
            "\nRecovery\n{}\nJob {}\n  {}; {}, {}, {}; checkpoints: {} completed, {} failed\n\
             Output\n  {}\n{}\n{}",
            indent(&self.recovery()),
            self.job.job_id,
            self.job.state,
            plural(self.job.attempts, "attempt"),
            plural(self.job.adoptions, "adoption"),
            plural(self.job.restarts, "restart"),
            self.job.checkpoints_completed,
            self.job.checkpoints_failed,
            self.output,
            self.problems
                .iter()
                .map(|p| format!("Problem\n  {p}\n"))
                .collect::<String>(),
            self.verdict(),
        )
    }

    fn recovery(&self) -> String {
        let mut table = Table::new(
            &[
                "KILLED",
                ">NEW LEADER",
                ">JOB RUNNING",
                ">CHECKPOINT",
                "TASKS",
            ],
            "nothing was killed",
        );
        for kill in &self.kills {
            table.row(vec![
                format!("{} ({}, pid {})", kill.name, kill.role, kill.pid),
                or_dash(kill.leader_after_ms.map(span)),
                span(kill.running_after_ms),
                span(kill.checkpoint_after_ms),
                kill.how.to_owned(),
            ]);
        }
        table.render()
    }

    fn verdict(&self) -> String {
        let took = span(self.took_ms);
        if self.exact {
            let kills = self.kills.len();
            format!(
                "VERDICT: exact. {kills} processes were killed, no row is lost or doubled ({took})"
            )
        } else {
            format!("VERDICT: FAILED ({took})")
        }
    }
}

fn indent(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_is_the_verdict() {
        let mut report = Report {
            exact: true,
            took_ms: 61_000,
            ..Report::default()
        };
        let last = |report: &Report| report.text().lines().last().unwrap_or_default().to_owned();
        assert!(last(&report).starts_with("VERDICT: exact. 0 processes"));
        report.job.checkpoints_completed = 7;
        report.job.checkpoints_failed = 2;
        let figures = "checkpoints: 7 completed, 2 failed\n";
        assert!(report.text().contains(figures), "{}", report.text());
        report.exact = false;
        report.problems.push("a row is missing".to_owned());
        assert!(report.text().contains("a row is missing"));
        assert_eq!(last(&report), "VERDICT: FAILED (1m 1s)");
    }
}

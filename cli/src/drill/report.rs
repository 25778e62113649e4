//! What a drill found: the document, and how it is said as text and as Markdown. Pure.

use regent_protocol::view::Reign;
use serde::Serialize;

use super::check::Finding;
use super::figures::{Objective, Spread};
use super::rounds::Round;
use crate::output::table::Table;
use crate::output::words::{count, moment, or_dash, plural, span};

/// The whole report.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Report {
    pub(super) scenario: &'static str,
    pub(super) what: &'static str,
    /// Whose processes were hurt; `None`: the cluster was asked to hand over.
    pub(super) acts_on: Option<String>,
    pub(super) passed: bool,
    /// Why not; empty if it passed.
    pub(super) failures: Vec<String>,
    pub(super) objective: Objective,
    pub(super) cluster_id: Option<String>,
    pub(super) version: &'static str,
    /// Processors and system of the machine that measured.
    pub(super) machine: String,
    pub(super) replicas: Vec<String>,
    pub(super) started_ms: u64,
    pub(super) ended_ms: u64,
    pub(super) rounds_asked: u64,
    pub(super) steps: Vec<Step>,
    pub(super) output: Finding,
    pub(super) rounds: Vec<Round>,
    pub(super) reigns: Vec<Reign>,
    /// Committed records by the quarter second of their emission, from `started_ms` on.
    pub(super) output_over_time: Vec<u64>,
}

/// Width of a bin of `output_over_time`.
pub(super) const BIN_MS: u64 = 250;

/// One step of the recovery over all rounds.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Step {
    pub(super) name: &'static str,
    pub(super) means: &'static str,
    #[serde(flatten)]
    pub(super) spread: Spread,
}

type Figure = fn(&Round) -> Option<u64>;

/// The steps in the order of the recovery.
pub(super) const STEPS: [(&str, &str, Figure); 8] = [
    ("detected", "a replica noticed", |r| r.recovery.detected_ms),
    ("elected", "another leader serves", |r| {
        r.recovery.elected_ms
    }),
    ("first write", "a write was accepted", |r| {
        r.recovery.first_write_ms
    }),
    ("jobs running", "all tasks of the job run", |r| {
        r.recovery.jobs_running_ms
    }),
    ("recovered", "both: what rto is held against", |r| {
        r.recovery.total_ms()
    }),
    ("first checkpoint", "a checkpoint was completed", |r| {
        r.recovery.first_checkpoint_ms
    }),
    (
        "write gap",
        "longest time between two accepted writes",
        |r| Some(r.recovery.longest_write_gap_ms),
    ),
    ("output gap", "longest time without a new record", |r| {
        r.output_gap_ms
    }),
];

pub(super) fn steps(rounds: &[Round]) -> Vec<Step> {
    let step = |&(name, means, figure): &(&'static str, &'static str, Figure)| {
        let spread = Spread::of(rounds.iter().filter_map(figure))?;
        Some(Step {
            name,
            means,
            spread,
        })
    };
    STEPS.iter().filter_map(step).collect()
}

/// Everything that keeps the drill from having passed.
pub(super) fn judge(
    objective: Objective,
    asked: u64,
    rounds: &[Round],
    output: &Finding,
) -> Vec<String> {
    let mut failures = Vec::new();
    for round in rounds {
        if let Some(problem) = &round.problem {
            failures.push(format!("round {}: {problem}", round.number));
        }
    }
    let played = rounds.last().map_or(0, |round| round.number);
    if played < asked {
        failures.push(format!("{played} of {asked} rounds were played"));
    }
    if let Some(rto) = objective.rto_ms {
        let late = rounds
            .iter()
            .filter(|r| r.recovery.total_ms().is_none_or(|ms| ms > rto));
        let late: Vec<String> = late.map(|r| r.number.to_string()).collect();
        if !late.is_empty() {
            failures.push(format!(
                "rto {} was missed in round {}",
                span(rto),
                late.join(", ")
            ));
        }
    }
    let allowed = objective.rpo.unwrap_or(0);
    if output.lost > allowed {
        failures.push(format!(
            "{} lost, {allowed} allowed",
            plural(output.lost, "record")
        ));
    }
    if output.duplicated > 0 {
        failures.push(format!(
            "{} duplicated",
            plural(output.duplicated, "record")
        ));
    }
    if output.miscounted > 0 {
        failures.push(format!(
            "{} counted wrong",
            plural(output.miscounted, "record")
        ));
    }
    if output.records == 0 {
        failures.push("the checking job wrote nothing".to_owned());
    }
    failures
}

impl Report {
    /// `PASSED` or `FAILED`, and why.
    pub(super) fn verdict(&self) -> String {
        let output = format!(
            "{} committed, {} lost, {} duplicated",
            plural(self.output.records, "record"),
            count(self.output.lost),
            count(self.output.duplicated)
        );
        match self.passed {
            true => format!("PASSED: {}, {output}", plural(self.rounds_asked, "round")),
            false => format!("FAILED: {}; {output}", self.failures.join("; ")),
        }
    }

    /// What was done, and to what.
    pub(super) fn deed(&self) -> String {
        match &self.acts_on {
            Some(whose) => format!("{} ({whose})", self.what),
            None => self.what.to_owned(),
        }
    }

    pub(super) fn demanded(&self) -> String {
        let rto = self.objective.rto_ms.map(|ms| format!("rto {}", span(ms)));
        let rpo = self.objective.rpo.map(|lost| format!("rpo {lost}"));
        let all: Vec<String> = rto.into_iter().chain(rpo).collect();
        match all.is_empty() {
            true => "exact output, every round recovered".to_owned(),
            false => all.join(", "),
        }
    }

    /// The figures as a table, and the verdict as the last line.
    pub(super) fn text(&self) -> String {
        let mut table = Table::new(
            &["STEP", ">N", ">P50", ">P99", ">MAX", "WHEN"],
            "no round was played",
        );
        for step in &self.steps {
            let spread = step.spread;
            table.row(vec![
                step.name.to_owned(),
                spread.n.to_string(),
                span(spread.p50_ms),
                span(spread.p99_ms),
                span(spread.max_ms),
                step.means.to_owned(),
            ]);
        }
        format!(
            "{}: {}\n\n{}\n{}\n",
            self.scenario,
            self.deed(),
            table.render(),
            self.verdict()
        )
    }

    pub(super) fn markdown(&self) -> String {
        let mut text = format!(
            "# Drill: {}\n\n**{}**\n\n{}. {}, {} to {}, regent {}, cluster {}, demanded: {}.\n\n",
            self.scenario,
            self.verdict(),
            self.deed(),
            self.machine,
            moment(self.started_ms),
            moment(self.ended_ms),
            self.version,
            or_dash(self.cluster_id.clone()),
            self.demanded()
        );
        text.push_str(
            "| step | when | n | p50 | p99 | max |\n| --- | --- | --- | --- | --- | --- |\n",
        );
        for step in &self.steps {
            let s = step.spread;
            text.push_str(&format!(
                "| {} | {} | {} | {} | {} | {} |\n",
                step.name,
                step.means,
                s.n,
                span(s.p50_ms),
                span(s.p99_ms),
                span(s.max_ms)
            ));
        }
        text.push_str("\n| round | hurt | detected | elected | first write | jobs running | how | first checkpoint |\n");
        text.push_str("| --- | --- | --- | --- | --- | --- | --- | --- |\n");
        for round in &self.rounds {
            let seen = &round.recovery;
            let cell = |ms: Option<u64>| or_dash(ms.map(span));
            text.push_str(&format!(
                "| {} | {} ({}) | {} | {} | {} | {} | {} | {} |\n",
                round.number,
                round.victim,
                round.role,
                cell(seen.detected_ms),
                cell(seen.elected_ms),
                cell(seen.first_write_ms),
                cell(seen.jobs_running_ms),
                or_dash(seen.how),
                cell(seen.first_checkpoint_ms)
            ));
        }
        text
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::board::Recovery;
    use super::*;

    pub(in super::super) fn round(number: u64, total_ms: u64) -> Round {
        Round {
            number,
            at_ms: 1_000_000 + number * 5_000,
            victim: "jm-1".to_owned(),
            role: "leader",
            recovery: Recovery {
                detected_ms: Some(total_ms / 4),
                elected_ms: Some(total_ms / 2),
                first_write_ms: Some(total_ms * 3 / 4),
                jobs_running_ms: Some(total_ms),
                first_checkpoint_ms: Some(total_ms + 400),
                longest_write_gap_ms: total_ms,
                how: Some("adopted"),
            },
            output_gap_ms: Some(20),
            problem: None,
        }
    }

    pub(in super::super) fn report() -> Report {
        let rounds: Vec<Round> = (1..=3).map(|n| round(n, 40 * n)).collect();
        let reign = |term: u64, node_id, from_ms, to_ms| Reign {
            term,
            node_id,
            name: format!("jm-{node_id}"),
            from_ms,
            to_ms,
            cause: "failover".to_owned(),
            leaderless_ms: 30,
            jobs_adopted: 1,
            jobs_restarted: 0,
            fast_failover: regent_protocol::view::FastFailover::default(),
        };
        Report {
            scenario: "leader-kill",
            what: "the leading JobManager gets SIGKILL",
            acts_on: None,
            passed: true,
            failures: Vec::new(),
            objective: Objective {
                rto_ms: Some(1_000),
                rpo: Some(0),
            },
            cluster_id: Some("c".repeat(32)),
            version: "0.1.0",
            machine: "2 processors, linux".to_owned(),
            replicas: vec!["jm-1".to_owned(), "jm-2".to_owned()],
            started_ms: 1_000_000,
            ended_ms: 1_020_000,
            rounds_asked: 3,
            steps: steps(&rounds),
            output: Finding {
                records: 20_000,
                ..Finding::default()
            },
            rounds,
            reigns: vec![
                reign(1, 1, 900_000, Some(1_005_000)),
                reign(2, 2, 1_005_040, None),
            ],
            output_over_time: vec![250; 80],
        }
    }

    #[test]
    fn the_text_has_the_distributions_and_ends_with_the_verdict() {
        let report = report();
        let text = report.text();
        let line = text.lines().find(|l| l.starts_with("recovered")).unwrap();
        assert!(line.contains("  3   80ms  120ms  120ms"), "{text}");
        assert_eq!(
            text.lines().last(),
            Some("PASSED: 3 rounds, 20,000 records committed, 0 lost, 0 duplicated")
        );
        let markdown = report.markdown();
        assert!(
            markdown.contains("| elected | another leader serves | 3 | 40ms | 60ms | 60ms |"),
            "{markdown}"
        );
        assert!(
            markdown
                .contains("| 2 | jm-1 (leader) | 20ms | 40ms | 60ms | 80ms | adopted | 480ms |")
        );
    }

    #[test]
    fn every_broken_promise_fails_the_drill() {
        let rounds = [round(1, 400), round(2, 1_200)];
        let fine = Finding {
            records: 10,
            ..Finding::default()
        };
        let objective = Objective {
            rto_ms: Some(1_000),
            rpo: Some(0),
        };
        assert_eq!(
            judge(objective, 2, &rounds, &fine),
            ["rto 1.0s was missed in round 2"]
        );
        assert_eq!(
            judge(Objective::default(), 2, &rounds, &fine),
            Vec::<String>::new()
        );
        let bad = Finding {
            records: 10,
            lost: 2,
            duplicated: 1,
            miscounted: 3,
        };
        let failures = judge(objective, 2, &rounds[..1], &bad);
        assert_eq!(failures.len(), 4, "{failures:?}");
        let lenient = Objective {
            rpo: Some(2),
            ..Objective::default()
        };
        assert!(
            !judge(lenient, 1, &rounds[..1], &bad)
                .iter()
                .any(|f| f.contains("lost"))
        );
        let mut stuck = round(1, 1);
        stuck.problem = Some("no write was accepted within 60 s".to_owned());
        assert!(judge(objective, 1, &[stuck], &fine)[0].contains("no write"));
        let nothing = Finding::default();
        assert_eq!(
            judge(objective, 1, &rounds[..1], &nothing),
            ["the checking job wrote nothing"]
        );
    }
}

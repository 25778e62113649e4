//! What was measured, as a page: tables, ratios, machine and versions. Rounds nothing up.

use std::time::Duration;

use super::section::{machine_line, today};
use super::{Contender, Findings, Row, failover};
use crate::figures::{Samples, grouped, median, table};
use crate::load::Operation;

/// The heading under which the report stands in its file.
pub(super) const HEADING: &str = "## Control plane, beside etcd and ZooKeeper";

/// The whole report.
pub(super) fn text(findings: &Findings, short: bool, took: Duration) -> String {
    let mode = if short { "short" } else { "full" };
    let mut out = format!("{HEADING}\n\n{}\n", machine(findings, mode, took));
    out += &disk(&findings.disk);
    out += "\n";
    out += &loads(findings);
    out += "\n";
    out += &ratios(findings);
    out += "\n";
    out += &memory(findings);
    if !findings.failover.is_empty() {
        out += "\n";
        out += &failovers(findings);
    }
    out
}

fn machine(findings: &Findings, mode: &str, took: Duration) -> String {
    let date = today();
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split_whitespace().next().unwrap_or("?").to_owned();
    let versions = findings.versions.join(", ");
    format!(
        "{date}, {}; {versions}. `make bench`, {mode} mode, {} s, load average at the end {load}. Three \
         members of each kind, one load generator and all clients share the machine; each kind ran twice, in \
         turn; closed loop, one connection and one request in flight for each client, clients spread over the \
         members, 256-byte values. Every write is synced by a majority before it is answered.\n",
        machine_line(),
        took.as_secs()
    )
}

fn disk(probes: &[Samples]) -> String {
    let each: Vec<String> = probes
        .iter()
        .map(|probe| {
            format!(
                "{:.2}/{:.2}",
                probe.quantile_ms(0.5),
                probe.quantile_ms(0.99)
            )
        })
        .collect();
    format!(
        "The disk by itself, 4 KiB written and `fdatasync`ed into preallocated space, p50/p99 in ms at the \
         beginning, in the middle and at the end: {}.\n",
        each.join(", ")
    )
}

fn operation_name(row: &Row) -> &'static str {
    match (row.operation, row.contender) {
        (Operation::Write, contender) => contender.label(),
        (Operation::Read, Contender::ZooKeeper) => "ZooKeeper sync + getData (weaker)",
        (Operation::Read, Contender::Etcd { .. }) => "etcd linearizable range",
        (Operation::Read, _) => "Regent, linearizable `job history`",
    }
}

fn loads(findings: &Findings) -> String {
    let mut rows: Vec<&Row> = findings.rows.iter().collect();
    rows.sort_by_key(|row| (row.operation == Operation::Read, row.clients));
    let cells = |row: &&Row| {
        let samples = &row.samples;
        let runs: Vec<String> = row.runs.iter().map(|rate| grouped(*rate)).collect();
        vec![
            operation_name(row).to_owned(),
            row.clients.to_string(),
            grouped(samples.rate()),
            runs.join(" · "),
            format!("{:.2}", samples.quantile_ms(0.5)),
            format!("{:.2}", samples.quantile_ms(0.99)),
            grouped(row.bytes_per_operation),
            grouped(row.cpu_micros_per_operation),
            samples.errors().to_string(),
        ]
    };
    let rows: Vec<Vec<String>> = rows.iter().map(cells).collect();
    table(
        &[
            "operation",
            "clients",
            "per second",
            "each run",
            "p50 ms",
            "p99 ms",
            "bytes to disk each",
            "CPU us each",
            "errors",
        ],
        &rows,
    )
}

fn find(
    findings: &Findings,
    contender: Contender,
    operation: Operation,
    clients: usize,
) -> Option<&Row> {
    findings.rows.iter().find(|row| {
        row.contender == contender && row.operation == operation && row.clients == clients
    })
}

/// Regent against the better of the peers.
fn ratios(findings: &Findings) -> String {
    let mut rows = Vec::new();
    let peers = [Contender::Etcd { tuned: false }, Contender::ZooKeeper];
    for (operation, clients) in [
        (Operation::Write, 1),
        (Operation::Write, 64),
        (Operation::Write, 256),
        (Operation::Read, 1),
        (Operation::Read, 64),
        (Operation::Read, 256),
    ] {
        let of_peers: Vec<&Row> = peers
            .iter()
            .filter_map(|peer| find(findings, *peer, operation, clients))
            .collect();
        let rates = of_peers.iter().map(|row| row.samples.rate());
        let best_rate = rates.fold(f64::NAN, f64::max);
        let medians = of_peers.iter().map(|row| row.samples.quantile_ms(0.5));
        let best_median = medians.fold(f64::NAN, f64::min);
        for own in [
            Contender::Regent,
            Contender::Checkpoints,
            Contender::Coordinator,
        ] {
            let Some(row) = find(findings, own, operation, clients) else {
                continue;
            };
            rows.push(vec![
                operation_name(row).to_owned(),
                clients.to_string(),
                format!("{:.2}", row.samples.rate() / best_rate),
                format!("{:.2}", row.samples.quantile_ms(0.5) / best_median),
            ]);
        }
    }
    let head = [
        "Regent against the better of the peers in this run",
        "clients",
        "rate, times",
        "p50, times",
    ];
    table(&head, &rows)
}

fn memory(findings: &Findings) -> String {
    let mut out = Vec::new();
    for contender in Contender::ALL {
        let runs = findings.memory.iter().filter(|(of, _)| *of == contender);
        let each: Vec<String> = runs.map(|(_, bytes)| (bytes >> 20).to_string()).collect();
        if !each.is_empty() {
            out.push(vec![contender.label().to_owned(), each.join(" · ")]);
        }
    }
    table(
        &[
            "after the loads",
            "memory of the largest member, MiB, each run",
        ],
        &out,
    )
}

fn failovers(findings: &Findings) -> String {
    let row = |(contender, took): &(Contender, Vec<f64>)| {
        vec![
            contender.label().to_owned(),
            took.len().to_string(),
            failover::summary(took),
        ]
    };
    let rows: Vec<Vec<String>> = findings.failover.iter().map(row).collect();
    let mut out = table(
        &[
            "leader killed with SIGKILL",
            "rounds",
            "first write accepted after: min / median / max",
        ],
        &rows,
    );
    let of = |wanted| {
        findings
            .failover
            .iter()
            .find(|(contender, _)| *contender == wanted)
    };
    if let (Some((_, own)), Some((_, etcd))) =
        (of(Contender::Regent), of(Contender::Etcd { tuned: true }))
    {
        let share = median(own) / median(etcd);
        out +=
            &format!("\nRegent's median is {share:.2} times that of etcd with its tuned timing.\n");
    }
    out
}

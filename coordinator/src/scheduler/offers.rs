//! Which workers have what a job's vertices need, and what is said where none has. Pure.
//!
//! What is built in every worker of this version has; the user's code is asked for by the version
//! that the job was submitted with.

use regent_protocol::WITHOUT_KAFKA;
use regent_state::JobGraph;
use regent_state::graph::{Vertex, VertexKind};
use serde::Deserialize;

use crate::job_file;
use crate::leader::seen::{Seen, WorkerSeen};

/// Workers that a message names.
const NAMED_MAX: usize = 8;

/// The word of the wire for a vertex's role.
pub(crate) fn kind_name(kind: VertexKind) -> &'static str {
    match kind {
        VertexKind::Source => "source",
        VertexKind::Operator => "operator",
        VertexKind::Sink => "sink",
    }
}

/// The part of the user's code's configuration that counts here.
#[derive(Deserialize)]
struct Pinned {
    version: u32,
}

/// The version of the user's code that a vertex needs; `None`: it is built in.
pub(crate) fn own_version(vertex: &Vertex) -> Option<u32> {
    if job_file::is_built_in(vertex.kind, &vertex.operator) {
        return None;
    }
    // Written by this program, so it can be read; 0 is a version that nobody has.
    let pinned = serde_json::from_str(&vertex.config_json);
    Some(pinned.map_or(0, |pinned: Pinned| pinned.version))
}

fn offers(worker: &WorkerSeen, vertex: &Vertex) -> bool {
    let kind = kind_name(vertex.kind);
    let mut versions = worker.versions(kind, &vertex.operator);
    match own_version(vertex) {
        None => versions.next().is_some(),
        Some(version) => versions.any(|offered| offered == version),
    }
}

/// Whether the worker has everything that the graph needs.
pub(crate) fn offers_all(graph: &JobGraph, worker: Option<&WorkerSeen>) -> bool {
    worker.is_some_and(|worker| graph.vertices.iter().all(|vertex| offers(worker, vertex)))
}

/// Whether the worker has every sink of the graph: all that committing needs.
pub(crate) fn offers_sinks(graph: &JobGraph, worker: Option<&WorkerSeen>) -> bool {
    worker.is_some_and(|worker| graph.sinks().all(|vertex| offers(worker, vertex)))
}

/// Why no worker can run the job.
pub(crate) fn missing_offer(graph: &JobGraph, seen: &Seen) -> String {
    let present = || seen.workers.values().filter(|worker| worker.present());
    let mut vertices = graph.vertices.iter();
    let missing = vertices.find(|vertex| !present().any(|worker| offers(worker, vertex)));
    match missing {
        None => "no single worker offers all operators of the job".to_owned(),
        Some(vertex) => {
            let (kind, name) = (kind_name(vertex.kind), vertex.operator.as_str());
            no_worker_offers(kind, name, own_version(vertex), seen)
        }
    }
}

/// The refusal for a name and version that no worker has; it tells which ones there are.
pub(crate) fn no_worker_offers(
    kind: &str,
    name: &str,
    version: Option<u32>,
    seen: &Seen,
) -> String {
    let mut message = format!("no worker offers {kind} {name}");
    if let Some(version) = version {
        message.push_str(&format!(" {version}"));
    }
    let present = seen.workers.iter().filter(|(_, worker)| worker.present());
    let others = present.flat_map(|(worker, seen)| {
        let versions = seen.versions(kind, name);
        versions.map(move |version| format!("{worker} offers {version}"))
    });
    let others: Vec<String> = others.take(NAMED_MAX).collect();
    if name == "kafka" && version.is_none() {
        message.push_str(&format!("; {WITHOUT_KAFKA}"));
    }
    if !others.is_empty() {
        message.push_str(&format!("; {}", others.join(", ")));
    }
    message
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use regent_protocol::v1::OperatorOffer;
    use regent_state::ids::WorkerRef;

    use super::*;
    use crate::testing::seen;

    fn graph(version: u32) -> JobGraph {
        let vertex = |id: &str, kind, operator: &str| Vertex {
            id: id.into(),
            kind,
            operator: operator.into(),
            parallelism: 1,
            inputs: Vec::new(),
            config_json: format!(r#"{{"version":{version},"with":{{"a":[1]}}}}"#),
            columns: Vec::new(),
            bounded: true,
            zombie_safe: true,
            sink: None,
        };
        let mut graph = crate::testing::graph(1, crate::testing::SinkKind::Blackhole);
        graph.vertices = vec![
            vertex("a", VertexKind::Source, "sequence"),
            vertex("b", VertexKind::Operator, "enrich"),
        ];
        graph
    }

    fn workers(offers: &[(&str, u32)]) -> Seen {
        let worker = |(name, _): &(&str, u32)| WorkerRef {
            worker: (*name).into(),
            incarnation: 1,
        };
        let mut seen = seen(&offers.iter().map(worker).collect::<Vec<_>>());
        for (name, version) in offers {
            let worker = seen.workers.get_mut(*name).unwrap();
            let enrich = OperatorOffer {
                kind: "operator".into(),
                name: "enrich".into(),
                version: *version,
                own: true,
            };
            let offers = worker.offers.iter().cloned().chain([enrich]);
            worker.offers = Arc::from(offers.collect::<Vec<_>>());
        }
        seen
    }

    #[test]
    fn the_users_code_counts_by_version() {
        let seen = workers(&[("tm-1", 1), ("tm-2", 2)]);
        let able = |graph: &JobGraph, name: &str| offers_all(graph, seen.workers.get(name));
        assert!(able(&graph(1), "tm-1"));
        assert!(!able(&graph(2), "tm-1"));
        assert!(able(&graph(2), "tm-2"));
        assert!(!able(&graph(2), "tm-3"));
    }

    #[test]
    fn what_is_missing_is_told_with_what_is_there() {
        assert_eq!(
            missing_offer(&graph(2), &workers(&[("tm-1", 1)])),
            "no worker offers operator enrich 2; tm-1 offers 1"
        );
        assert_eq!(
            missing_offer(&graph(3), &workers(&[("tm-1", 1), ("tm-2", 2)])),
            "no worker offers operator enrich 3; tm-1 offers 1, tm-2 offers 2"
        );
        assert_eq!(
            missing_offer(&graph(1), &workers(&[])),
            "no worker offers source sequence"
        );
        let mut kafka = graph(1);
        kafka.vertices[0].operator = "kafka".into();
        assert_eq!(
            missing_offer(&kafka, &workers(&[("tm-1", 1)])),
            "no worker offers source kafka; built without kafka: cargo build --features kafka"
        );
    }
}

//! Windows that wait: their rows come, and a source before them has told no time, so none of them closes.
//! Nothing fails then, and nothing comes out.

use std::collections::BTreeSet;

use regent_protocol::v1::TaskMetrics;
use regent_protocol::view::Cause;
use regent_state::graph::{JobGraph, Vertex};
use serde_json::Value;

use super::words::join;
use crate::api::documents::Live;

/// Tasks that a message names.
const NAMED_MAX: usize = 3;

/// The first vertex with windows that waits so, by the figures of the job's tasks. What counts as idle after
/// a time holds nothing up for longer than that, and isn't named.
pub(super) fn waiting_windows(graph: &JobGraph, live: &Live) -> Option<Cause> {
    let waits = |vertex: &&Vertex| {
        config(vertex)
            .get("window")
            .is_some_and(|window| !window.is_null())
            && tasks(live, vertex).any(|(_, told)| told.records_in > 0)
            && tasks(live, vertex).all(|(_, told)| !told.has_watermark)
    };
    graph.vertices.iter().filter(waits).find_map(|vertex| {
        let before = before(graph, vertex);
        let timed = before.into_iter().filter(|one| tells_time(one));
        let silent: Vec<_> = timed.flat_map(|one| silent(live, one)).collect();
        (!silent.is_empty()).then(|| cause(vertex, &silent))
    })
}

fn cause(vertex: &Vertex, silent: &[(String, bool)]) -> Cause {
    let more = silent.len().saturating_sub(NAMED_MAX);
    let named = silent.iter().take(NAMED_MAX).map(|(task, rows)| {
        let how = match rows {
            false => "no row of it has come",
            true => "a part of it has brought no row with a time, such as an empty partition",
        };
        format!("{task} ({how})")
    });
    let rest = (more > 0).then(|| format!("{more} more"));
    let names = join(named.chain(rest));
    Cause::new(
        "windows-wait",
        format!(
            "the windows of {} wait for {names}: no window closes before every source has told how far its \
             time is",
            vertex.id
        ),
    )
    .remedy(format!(
        "if it may stay silent, give the window of {} an idle-timeout, such as 10s: stop the job with a \
         savepoint and submit it so from there; else see why nothing comes",
        vertex.id
    ))
}

/// All vertices before one.
fn before<'g>(graph: &'g JobGraph, vertex: &'g Vertex) -> Vec<&'g Vertex> {
    let mut found: BTreeSet<&str> = vertex
        .inputs
        .iter()
        .map(|edge| edge.from.as_str())
        .collect();
    // In topological order, so that backwards one look at each is enough.
    for one in graph.vertices.iter().rev() {
        if found.contains(one.id.as_str()) {
            found.extend(one.inputs.iter().map(|edge| edge.from.as_str()));
        }
    }
    let vertices = graph.vertices.iter();
    vertices
        .filter(|one| found.contains(one.id.as_str()))
        .collect()
}

/// It brings event time forth, and is waited for however long it is silent.
fn tells_time(vertex: &Vertex) -> bool {
    let config = config(vertex);
    let time = config.get("event-time").filter(|time| !time.is_null());
    time.is_some_and(|time| time.get("idle-timeout-ms").is_none_or(Value::is_null))
}

/// Its tasks that have told no time, and whether rows have come of them.
fn silent(live: &Live, vertex: &Vertex) -> Vec<(String, bool)> {
    let untimed = tasks(live, vertex).filter(|(_, told)| !told.has_watermark);
    untimed
        .map(|(subtask, told)| (format!("{}/{subtask}", vertex.id), told.records_out > 0))
        .collect()
}

fn tasks<'l>(live: &'l Live, vertex: &'l Vertex) -> impl Iterator<Item = (u32, &'l TaskMetrics)> {
    let of_vertex = live
        .metrics
        .iter()
        .filter(|(task, _)| task.vertex == vertex.id);
    of_vertex.map(|(task, told)| (task.subtask, told))
}

fn config(vertex: &Vertex) -> Value {
    serde_json::from_str(&vertex.config_json).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use regent_state::graph::VertexKind;

    use super::*;
    use crate::leader::seen::Seen;
    use crate::testing::{LEASE, SinkKind, graph, ms};
    use crate::wire::TaskId;

    const TIME: &str = r#"{"event-time":{"column":"at"}}"#;
    const PATIENT: &str = r#"{"event-time":{"column":"at","idle-timeout-ms":100}}"#;

    /// `busy` and `quiet`, united in `w`, which has windows.
    fn united(quiet: &str) -> JobGraph {
        let mut graph = graph(1, SinkKind::Blackhole);
        let mut source = graph.vertices.remove(0);
        source.config_json = TIME.into();
        let named = |id: &str, config: &str| Vertex {
            id: id.into(),
            config_json: config.into(),
            ..source.clone()
        };
        let sink = &mut graph.vertices[0];
        let mut window = Vertex {
            id: "w".into(),
            kind: VertexKind::Operator,
            config_json: r#"{"window":{"tumbling-ms":1000}}"#.into(),
            ..sink.clone()
        };
        let from = |id: &str| {
            let mut edge = sink.inputs[0].clone();
            edge.from = id.into();
            edge
        };
        window.inputs = vec![from("busy"), from("quiet")];
        sink.inputs = vec![from("w")];
        let sink = graph.vertices.remove(0);
        graph.vertices = vec![named("busy", TIME), named("quiet", quiet), window, sink];
        graph
    }

    fn told(figures: &[(&str, u64, bool)]) -> Live {
        let one = |(vertex, rows, has_watermark): &(&str, u64, bool)| {
            let told = TaskMetrics {
                records_in: *rows,
                records_out: *rows,
                has_watermark: *has_watermark,
                ..TaskMetrics::default()
            };
            (TaskId::new(*vertex, 0), told)
        };
        Live {
            seen: Seen::default(),
            now: ms(1),
            lease: LEASE,
            metrics: figures.iter().map(one).collect(),
        }
    }

    #[test]
    fn the_source_that_is_waited_for_is_named() {
        let live = told(&[("busy", 90, true), ("quiet", 0, false), ("w", 90, false)]);
        let cause = waiting_windows(&united(TIME), &live).unwrap();
        assert_eq!(cause.code, "windows-wait");
        assert!(
            cause
                .text
                .contains("windows of w wait for quiet/0 (no row of it has come)"),
            "{cause:?}"
        );
        assert!(cause.remedy.unwrap().contains("idle-timeout"));
        let half = told(&[("busy", 90, true), ("quiet", 7, false), ("w", 97, false)]);
        let cause = waiting_windows(&united(TIME), &half).unwrap();
        assert!(cause.text.contains("a part of it"), "{cause:?}");
    }

    #[test]
    fn windows_that_move_or_have_nothing_to_wait_with_are_no_cause() {
        let moving = told(&[("busy", 90, true), ("quiet", 1, true), ("w", 91, true)]);
        assert_eq!(waiting_windows(&united(TIME), &moving), None);
        let empty = told(&[("busy", 0, false), ("quiet", 0, false), ("w", 0, false)]);
        assert_eq!(waiting_windows(&united(TIME), &empty), None);
        let waits = told(&[("busy", 90, true), ("quiet", 0, false), ("w", 90, false)]);
        assert_eq!(
            waiting_windows(&united(PATIENT), &waits),
            None,
            "not for long"
        );
    }
}

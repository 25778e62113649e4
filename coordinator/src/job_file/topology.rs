//! The graph between the vertices: who feeds whom, in which order, and no circles.

use std::collections::{BTreeMap, BTreeSet};

use regent_state::graph::VertexKind;

use super::error::{Problems, quoted};
use super::suggest;
use super::vertex::{RawInput, RawVertex};

/// Ids named in the message about a circle; longer circles are cut.
const CYCLE_SHOWN_MAX: usize = 10;

/// The indexes of the vertices so that each comes after its inputs, otherwise in file order.
/// `None`: problems were noted that leave no order; a dead end is noted but has one.
pub(super) fn order(vertices: &[RawVertex<'_>], problems: &mut Problems) -> Option<Vec<usize>> {
    let index_of: BTreeMap<&str, usize> = vertices
        .iter()
        .enumerate()
        .map(|(index, vertex)| (vertex.id, index))
        .collect();
    let feeds = inputs(vertices, &index_of, problems)?;
    let order = sorted(&feeds);
    if order.len() < vertices.len() {
        report_cycle(vertices, &feeds, &order, problems);
        return None;
    }
    report_dead_ends(vertices, &feeds, problems);
    Some(order)
}

/// For each vertex the indexes of those that feed it, in the order of its inputs.
fn inputs(
    vertices: &[RawVertex<'_>],
    index_of: &BTreeMap<&str, usize>,
    problems: &mut Problems,
) -> Option<Vec<Vec<usize>>> {
    let mut feeds = Vec::with_capacity(vertices.len());
    for vertex in vertices {
        let found = vertex
            .inputs
            .iter()
            .filter_map(|input| feeder(input, vertex, vertices, index_of, problems));
        feeds.push(found.collect());
    }
    problems.is_empty().then_some(feeds)
}

fn feeder(
    input: &RawInput<'_>,
    vertex: &RawVertex<'_>,
    vertices: &[RawVertex<'_>],
    index_of: &BTreeMap<&str, usize>,
    problems: &mut Problems,
) -> Option<usize> {
    let Some(index) = index_of.get(input.from).copied() else {
        return problems.none(input.from_at, || {
            let ids = vertices
                .iter()
                .filter(|other| feeds_others(other) && other.id != vertex.id);
            suggest::unknown("vertex", input.from, ids.map(|other| other.id))
        });
    };
    if vertices[index].named.kind() == VertexKind::Sink {
        return problems.none(input.from_at, || {
            format!("{} is a sink; a sink has no output", quoted(input.from))
        });
    }
    Some(index)
}

fn feeds_others(vertex: &RawVertex<'_>) -> bool {
    vertex.named.kind() != VertexKind::Sink
}

/// Takes the first vertex in file order whose inputs are all taken already, until none is left.
/// Those on a circle, and those fed from one, are never taken.
fn sorted(feeds: &[Vec<usize>]) -> Vec<usize> {
    let mut fed: Vec<Vec<usize>> = vec![Vec::new(); feeds.len()];
    let mut missing: Vec<usize> = feeds.iter().map(Vec::len).collect();
    for (index, from) in feeds.iter().enumerate() {
        for from in from {
            fed[*from].push(index);
        }
    }
    let mut ready: BTreeSet<usize> = (0..feeds.len()).filter(|at| missing[*at] == 0).collect();
    let mut order = Vec::with_capacity(feeds.len());
    while let Some(index) = ready.pop_first() {
        order.push(index);
        for next in &fed[index] {
            missing[*next] -= 1;
            if missing[*next] == 0 {
                ready.insert(*next);
            }
        }
    }
    order
}

fn report_cycle(
    vertices: &[RawVertex<'_>],
    feeds: &[Vec<usize>],
    order: &[usize],
    problems: &mut Problems,
) {
    let taken: BTreeSet<usize> = order.iter().copied().collect();
    let Some(start) = (0..vertices.len()).find(|index| !taken.contains(index)) else {
        return;
    };
    // Every vertex left over has an input that is left over too.
    let starving = |index: usize| {
        let mut inputs = feeds[index].iter().enumerate();
        inputs.find(|(_, from)| !taken.contains(from))
    };
    // Walking against the flow from any vertex left over ends in the circle that starves it.
    let mut on_circle = start;
    for _ in 0..vertices.len() {
        on_circle = starving(on_circle).map_or(on_circle, |(_, from)| *from);
    }
    let mut circle = vec![on_circle];
    let mut next = starving(on_circle).map(|(_, from)| *from);
    while let Some(index) = next.filter(|index| *index != on_circle) {
        circle.push(index);
        next = starving(index).map(|(_, from)| *from);
    }
    circle.reverse();
    let first = circle
        .iter()
        .enumerate()
        .min_by_key(|(_, index)| **index)
        .map_or(0, |(at, _)| at);
    circle.rotate_left(first);
    let vertex = &vertices[circle[0]];
    let input = starving(circle[0]).and_then(|(at, _)| vertex.inputs.get(at));
    let at = input.map_or(vertex.at, |input| input.from_at);
    problems.add(at, || {
        format!("the vertices form a cycle: {}", spelled(vertices, &circle))
    });
}

fn spelled(vertices: &[RawVertex<'_>], circle: &[usize]) -> String {
    let shown: Vec<&str> = circle
        .iter()
        .take(CYCLE_SHOWN_MAX)
        .map(|index| vertices[*index].id)
        .collect();
    let cut = if circle.len() > CYCLE_SHOWN_MAX {
        " -> ..."
    } else {
        ""
    };
    format!("{}{cut} -> {}", shown.join(" -> "), vertices[circle[0]].id)
}

/// Rows that nobody reads are a mistake, not a sink.
fn report_dead_ends(vertices: &[RawVertex<'_>], feeds: &[Vec<usize>], problems: &mut Problems) {
    let read: BTreeSet<usize> = feeds.iter().flatten().copied().collect();
    for (index, vertex) in vertices.iter().enumerate() {
        if feeds_others(vertex) && !read.contains(&index) {
            problems.add(vertex.id_at, || {
                let id = quoted(vertex.id);
                format!(
                    "vertex {id} isn't connected: nothing reads it; name it in the inputs of a sink"
                )
            });
        }
    }
}

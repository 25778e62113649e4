//! A whole job: its settings, its vertices, and the rules that concern both.

use regent_state::JobGraph;
use regent_state::graph::{CheckpointConfig, RestartStrategy, VERTICES_MAX, Vertex};

use super::ParsedJob;
use super::assemble::{Scope, assemble};
use super::error::{Place, Problems, quoted};
use super::fields::{self, Fields};
use super::own::OwnCode;
use super::tree::Node;
use super::vertex::{self, RawVertex};
use super::{settings, topology};

pub(super) const KEYS: [&str; 5] = [
    "name",
    "parallelism",
    "checkpointing",
    "restart-strategy",
    "vertices",
];

/// The job of a tree. `None`: problems were noted.
pub(super) fn build(root: &Node, scope: &Scope<'_>, problems: &mut Problems) -> Option<ParsedJob> {
    if root.is_null() {
        return problems.none(Place::FILE, || "the file holds no job".to_owned());
    }
    let map = Fields::open(root, "a job file", &KEYS, problems)?;
    let name = map.need("name", "a job", problems);
    let name = name.and_then(|node| settings::name(node, problems));
    let parallelism = match map.get("parallelism") {
        Some(node) => settings::parallelism(node, problems),
        None => Some(1),
    };
    let checkpointing = match map.get("checkpointing") {
        Some(node) => settings::checkpointing(node, problems).map(Some),
        None => Some(None),
    };
    let restart = match map.get("restart-strategy") {
        Some(node) => settings::restart_strategy(node, problems).map(Some),
        None => Some(None),
    };
    let raw = map.need("vertices", "a job", problems);
    let raw = raw.and_then(|node| vertices(node, scope.code, problems))?;
    let (name, parallelism, checkpointing) = (name?, parallelism?, checkpointing?);
    let order = topology::order(&raw, problems)?;
    let vertices = assemble(&raw, &order, parallelism, scope, problems)?;
    check_exactly_once(&raw, &vertices, checkpointing.as_ref(), problems)?;
    let has_interval = interval(checkpointing.as_ref()).is_some();
    let chosen = restart?;
    let warnings = warnings(chosen.as_ref(), checkpointing.as_ref());
    let restart_strategy =
        chosen.unwrap_or_else(|| settings::default_restart_strategy(has_interval));
    let graph = JobGraph {
        name,
        parallelism,
        checkpointing,
        restart_strategy,
        vertices,
    };
    // The machine's own rules, of which only the encoded size can still be broken here.
    match graph.validate() {
        Ok(()) => Some(ParsedJob { graph, warnings }),
        Err(error) => problems.none(Place::FILE, || error.to_string()),
    }
}

fn vertices<'n>(
    node: &'n Node,
    code: &OwnCode,
    problems: &mut Problems,
) -> Option<Vec<RawVertex<'n>>> {
    let items = fields::list(node, "vertices", problems)?;
    if !(1..=VERTICES_MAX).contains(&items.len()) {
        return problems.none(node.at, || {
            format!(
                "a job has 1 to {VERTICES_MAX} vertices, this one has {}",
                items.len()
            )
        });
    }
    let raw: Vec<RawVertex<'_>> = items
        .iter()
        .filter_map(|item| vertex::read(item, code, problems))
        .collect();
    vertex::check_ids(&raw, problems);
    problems.is_empty().then_some(raw)
}

/// Such a sink shows output when a checkpoint completes: without an interval, never.
fn check_exactly_once(
    raw: &[RawVertex<'_>],
    vertices: &[Vertex],
    checkpointing: Option<&CheckpointConfig>,
    problems: &mut Problems,
) -> Option<()> {
    let unbounded = vertices
        .iter()
        .any(|vertex| vertex.inputs.is_empty() && !vertex.bounded);
    if !unbounded || interval(checkpointing).is_some() {
        return Some(());
    }
    let exactly_once =
        |vertex: &&Vertex| vertex.sink.as_ref().is_some_and(|sink| sink.exactly_once);
    let Some(sink) = vertices.iter().find(exactly_once) else {
        return Some(());
    };
    let at = raw
        .iter()
        .find(|raw| raw.id == sink.id)
        .map_or(Place::FILE, |raw| raw.id_at);
    problems.none(at, || {
        format!(
            "sink {} is exactly-once and the job never ends: \
             add `checkpointing: {{ interval: 10s }}`, or use a sink that is at-least-once",
            quoted(&sink.id)
        )
    })
}

fn interval(checkpointing: Option<&CheckpointConfig>) -> Option<u64> {
    checkpointing.and_then(|config| config.interval_ms)
}

fn warnings(
    chosen: Option<&RestartStrategy>,
    checkpointing: Option<&CheckpointConfig>,
) -> Vec<String> {
    let mut warnings = Vec::new();
    if checkpointing.is_some_and(|config| config.interval_ms.is_none()) {
        warnings
            .push("checkpointing has no interval: no periodic checkpoints are taken".to_owned());
    }
    let restarts = chosen.is_some_and(|strategy| *strategy != RestartStrategy::None);
    if restarts && interval(checkpointing).is_none() {
        warnings.push(
            "without checkpointing.interval a restart begins at the start of the input".to_owned(),
        );
    }
    warnings
}

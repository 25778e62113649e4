//! The rules of a graph that the machine relies on. The API has checked more, and earlier, and
//! tells lines and columns; an entry that reaches the log must still not break the state.

use std::collections::BTreeSet;

use super::{
    CheckpointConfig, FAILURE_RATE_MAX, GRAPH_BYTES_MAX, GraphError, JobGraph, PARALLELISM_MAX,
    RestartStrategy, VERTICES_MAX, Vertex,
};
use crate::codec;
use crate::model::clip;
use crate::path;

/// The longest name of a job, in characters.
const NAME_CHARS_MAX: usize = 128;
/// The longest vertex id, in bytes.
const VERTEX_ID_BYTES_MAX: usize = 64;
/// The longest sink path, in bytes.
const PATH_BYTES_MAX: usize = 4_096;
/// The most checkpoints that may be retained.
const NUM_RETAINED_MAX: u32 = 1_000;

impl JobGraph {
    /// Checks the rules that the machine relies on.
    pub fn validate(&self) -> Result<(), GraphError> {
        if self.name.is_empty() || self.name.chars().count() > NAME_CHARS_MAX {
            return setting("name must have 1 to 128 characters");
        }
        self.check_vertices()?;
        self.check_sinks()?;
        if let Some(config) = &self.checkpointing {
            check_checkpointing(config)?;
        }
        check_restart_strategy(&self.restart_strategy)?;
        match codec::encode(self).len() {
            bytes if bytes > GRAPH_BYTES_MAX => Err(GraphError::TooLarge(bytes as u64)),
            _ => Ok(()),
        }
    }

    fn check_vertices(&self) -> Result<(), GraphError> {
        if self.vertices.is_empty() || self.vertices.len() > VERTICES_MAX {
            return Err(GraphError::VertexCount(self.vertices.len() as u64));
        }
        let mut seen = BTreeSet::new();
        for vertex in &self.vertices {
            check_vertex(vertex, &seen)?;
            if !seen.insert(vertex.id.as_str()) {
                return Err(GraphError::DuplicateVertex(vertex.id.clone()));
            }
        }
        Ok(())
    }

    fn check_sinks(&self) -> Result<(), GraphError> {
        let unbounded = !self.bounded();
        if unbounded && self.has_exactly_once_sink() && self.checkpoint_interval_ms().is_none() {
            return Err(GraphError::ExactlyOnceWithoutInterval);
        }
        let mut paths: Vec<String> = Vec::new();
        for (_, sink) in self.path_sinks() {
            if sink.path.is_empty() || sink.path.len() > PATH_BYTES_MAX {
                return setting("a sink's path must have 1 to 4096 bytes");
            }
            let path = path::normalise(&sink.path);
            if paths.iter().any(|other| path::meets(other, &path)) {
                return Err(GraphError::SinksOverlap(sink.path.clone()));
            }
            paths.push(path);
        }
        Ok(())
    }
}

fn check_vertex(vertex: &Vertex, before: &BTreeSet<&str>) -> Result<(), GraphError> {
    // First of all: refusals name the vertex, and refusals are remembered.
    if vertex.id.is_empty() || vertex.id.len() > VERTEX_ID_BYTES_MAX {
        return setting("a vertex id must have 1 to 64 bytes");
    }
    if !(1..=PARALLELISM_MAX).contains(&vertex.parallelism) {
        let parallelism = vertex.parallelism;
        return Err(GraphError::Parallelism {
            vertex: vertex.id.clone(),
            parallelism,
        });
    }
    match vertex
        .inputs
        .iter()
        .find(|edge| !before.contains(edge.from.as_str()))
    {
        Some(edge) => Err(GraphError::UnknownInput {
            vertex: vertex.id.clone(),
            from: clip(&edge.from),
        }),
        None => Ok(()),
    }
}

fn check_checkpointing(config: &CheckpointConfig) -> Result<(), GraphError> {
    if config.interval_ms == Some(0) {
        return setting("checkpointing.interval must not be 0");
    }
    if !(1..=NUM_RETAINED_MAX).contains(&config.num_retained) {
        return setting("checkpointing.num-retained must be 1 to 1000");
    }
    Ok(())
}

fn check_restart_strategy(strategy: &RestartStrategy) -> Result<(), GraphError> {
    match strategy {
        RestartStrategy::None | RestartStrategy::FixedDelay { .. } => Ok(()),
        RestartStrategy::ExponentialDelay {
            multiplier_permille,
            jitter_permille,
            ..
        } => {
            if *multiplier_permille < 1_000 {
                return setting("restart-strategy.backoff-multiplier must be at least 1");
            }
            if *jitter_permille > 1_000 {
                return setting("restart-strategy.jitter-factor must be 0 to 1");
            }
            Ok(())
        }
        RestartStrategy::FailureRate { max_failures, .. } if *max_failures > FAILURE_RATE_MAX => {
            setting("restart-strategy.max-failures-per-interval must be at most 100")
        }
        RestartStrategy::FailureRate { .. } => Ok(()),
    }
}

fn setting(text: &str) -> Result<(), GraphError> {
    Err(GraphError::Setting(text.to_owned()))
}

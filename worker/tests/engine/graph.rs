//! Graphs as the leader would order them to be deployed.

use regent_protocol::v1::{AttemptKey, Column, EdgePlan, LogToken, VertexPlan};

pub(crate) fn attempt(job: &Job, token: u64) -> AttemptKey {
    AttemptKey {
        job_id: job.id.clone(),
        run: Some(LogToken {
            generation: 1,
            index: 1,
        }),
        token: Some(LogToken {
            generation: 1,
            index: token,
        }),
    }
}

/// A graph being put together.
#[derive(Clone)]
pub(crate) struct Job {
    pub(crate) id: String,
    pub(crate) vertices: Vec<VertexPlan>,
}

impl Job {
    pub(crate) fn new() -> Self {
        Self {
            id: "0123456789abcdef0123456789abcdef".into(),
            vertices: Vec::new(),
        }
    }

    pub(crate) fn vertex(
        mut self,
        kind: &str,
        (id, operator): (&str, &str),
        parallelism: u32,
        config: serde_json::Value,
        columns: &[(&str, &str)],
    ) -> Self {
        let column = |(name, data_type): &(&str, &str)| Column {
            name: (*name).into(),
            data_type: (*data_type).into(),
        };
        self.vertices.push(VertexPlan {
            id: id.into(),
            kind: kind.into(),
            operator: operator.into(),
            parallelism,
            inputs: vec![],
            config_json: config.to_string(),
            columns: columns.iter().map(column).collect(),
        });
        self
    }

    /// Adds an input to the vertex that was added last.
    pub(crate) fn input(mut self, from: &str, partition: &str, by: &[&str]) -> Self {
        let edge = EdgePlan {
            from: from.into(),
            partition: partition.into(),
            by: by.iter().map(|s| (*s).to_owned()).collect(),
        };
        self.vertices.last_mut().unwrap().inputs.push(edge);
        self
    }

    pub(crate) fn with_parallelism(mut self, vertex: &str, parallelism: u32) -> Self {
        let found = self.vertices.iter_mut().find(|v| v.id == vertex);
        found.unwrap().parallelism = parallelism;
        self
    }
}

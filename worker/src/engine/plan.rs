//! From a deployment order to this worker's tasks and their channels: a pure reading of the graph
//! and the placement, which refuses orders that contradict themselves.

use std::collections::HashMap;

use regent_protocol::MAX_PARALLELISM;
use regent_protocol::v1::{Deploy, EdgePlan, SlotAssignment, VertexPlan};

use super::ids::{ChannelId, TaskId};

/// The tasks of an attempt that belong on this worker, in the order of the graph.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LocalPlan {
    pub(crate) tasks: Vec<TaskPlan>,
}

/// One subtask on this worker.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TaskPlan {
    pub(crate) id: TaskId,
    /// The vertex's place in the order.
    pub(crate) vertex: usize,
    pub(crate) inputs: Vec<InputPlan>,
    pub(crate) outputs: Vec<OutputPlan>,
}

/// A channel that a task reads.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct InputPlan {
    pub(crate) channel: ChannelId,
    /// Data address of the worker that sends, if it is another one.
    pub(crate) remote: Option<String>,
}

/// An edge that a task writes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct OutputPlan {
    pub(crate) partition: String,
    pub(crate) by: Vec<String>,
    /// A channel for each subtask downstream, and whether that is on this worker.
    pub(crate) targets: Vec<(ChannelId, bool)>,
}

/// Reads an order for the worker `(worker_id, incarnation)` with `slots` slots.
///
/// # Errors
/// What contradicts itself in the order, in one line.
pub(crate) fn plan(order: &Deploy, worker: (&str, u64), slots: u32) -> Result<LocalPlan, String> {
    let graph = Graph::read(order)?;
    let mine: Vec<u32> = graph
        .slots
        .iter()
        .filter(|slot| is_mine(slot, worker))
        .map(|slot| slot.index)
        .collect();
    if mine.len() > slots as usize {
        return Err(format!(
            "{} slots are asked of a worker with {slots}",
            mine.len()
        ));
    }
    let mut tasks = Vec::new();
    for (at, vertex) in order.vertices.iter().enumerate() {
        for subtask in mine.iter().filter(|index| **index < vertex.parallelism) {
            tasks.push(graph.task(at, *subtask, worker));
        }
    }
    Ok(LocalPlan { tasks })
}

fn is_mine(slot: &SlotAssignment, (id, incarnation): (&str, u64)) -> bool {
    slot.worker_id == id && slot.incarnation == incarnation
}

/// A checked order: every name resolves, every subtask has a slot.
struct Graph<'a> {
    vertices: &'a [VertexPlan],
    /// Sorted; slot i is at i.
    slots: Vec<&'a SlotAssignment>,
    /// Edges out of each vertex: (vertex downstream, number of its input).
    outputs: Vec<Vec<(usize, u32)>>,
}

impl<'a> Graph<'a> {
    fn read(order: &'a Deploy) -> Result<Self, String> {
        let vertices = &order.vertices;
        let mut places = HashMap::new();
        for (at, vertex) in vertices.iter().enumerate() {
            check_vertex(vertex)?;
            if places.insert(vertex.id.as_str(), at).is_some() {
                return Err(format!("vertex {} is there twice", vertex.id));
            }
        }
        let mut outputs = vec![Vec::new(); vertices.len()];
        for (at, vertex) in vertices.iter().enumerate() {
            for (input, edge) in (0..).zip(&vertex.inputs) {
                let from = places.get(edge.from.as_str()).copied();
                let from = from.ok_or_else(|| format!("no vertex {} to read", edge.from))?;
                check_edge(&vertices[from], edge, vertex)?;
                outputs[from].push((at, input));
            }
        }
        let slots = check_slots(order)?;
        Ok(Self {
            vertices,
            slots,
            outputs,
        })
    }

    fn task(&self, vertex: usize, subtask: u32, worker: (&str, u64)) -> TaskPlan {
        let id = TaskId::new(&self.vertices[vertex].id, subtask);
        let inputs = (0..).zip(&self.vertices[vertex].inputs);
        let inputs = inputs.flat_map(|(input, edge)| self.inputs(&id, input, edge, worker));
        let outputs = self.outputs[vertex].iter();
        let outputs = outputs.map(|(to, input)| self.output(&id, *to, *input, worker));
        TaskPlan {
            vertex,
            inputs: inputs.collect(),
            outputs: outputs.collect(),
            id,
        }
    }

    fn inputs(
        &self,
        task: &TaskId,
        input: u32,
        edge: &EdgePlan,
        worker: (&str, u64),
    ) -> Vec<InputPlan> {
        let from = self.vertices.iter().find(|v| v.id == edge.from);
        let parallelism = from.map_or(0, |v| v.parallelism);
        let upstream = if edge.partition == "forward" {
            task.subtask..task.subtask + 1
        } else {
            0..parallelism
        };
        let channel = |subtask: u32| {
            let slot = self.slots[subtask as usize];
            InputPlan {
                channel: ChannelId {
                    upstream: TaskId::new(&edge.from, subtask),
                    downstream: task.clone(),
                    input,
                },
                remote: (!is_mine(slot, worker)).then(|| slot.data_address.clone()),
            }
        };
        upstream.map(channel).collect()
    }

    fn output(&self, task: &TaskId, to: usize, input: u32, worker: (&str, u64)) -> OutputPlan {
        let vertex = &self.vertices[to];
        let edge = &vertex.inputs[input as usize];
        let downstream = if edge.partition == "forward" {
            task.subtask..task.subtask + 1
        } else {
            0..vertex.parallelism
        };
        let channel = |subtask: u32| {
            let channel = ChannelId {
                upstream: task.clone(),
                downstream: TaskId::new(&vertex.id, subtask),
                input,
            };
            (channel, is_mine(self.slots[subtask as usize], worker))
        };
        OutputPlan {
            partition: edge.partition.clone(),
            by: edge.by.clone(),
            targets: downstream.map(channel).collect(),
        }
    }
}

fn check_vertex(vertex: &VertexPlan) -> Result<(), String> {
    let id = &vertex.id;
    if !(1..=MAX_PARALLELISM).contains(&vertex.parallelism) {
        return Err(format!(
            "vertex {id} has parallelism {}",
            vertex.parallelism
        ));
    }
    match (vertex.kind.as_str(), vertex.inputs.len()) {
        ("source", 0) | ("operator" | "sink", 1..) => Ok(()),
        (kind @ ("source" | "operator" | "sink"), inputs) => {
            Err(format!("{kind} {id} has {inputs} inputs"))
        }
        (kind, _) => Err(format!("vertex {id} is of the unknown kind {kind}")),
    }
}

fn check_edge(from: &VertexPlan, edge: &EdgePlan, to: &VertexPlan) -> Result<(), String> {
    let name = format!("{} -> {}", from.id, to.id);
    if from.kind == "sink" {
        return Err(format!("edge {name} leaves a sink"));
    }
    match edge.partition.as_str() {
        "forward" if from.parallelism != to.parallelism => Err(format!(
            "edge {name} is forward between parallelism {} and {}",
            from.parallelism, to.parallelism
        )),
        "forward" | "hash" | "rebalance" | "broadcast" => Ok(()),
        other => Err(format!("edge {name} has the unknown partition {other}")),
    }
}

fn check_slots(order: &Deploy) -> Result<Vec<&SlotAssignment>, String> {
    let wanted = order.vertices.iter().map(|v| v.parallelism).max();
    let wanted = wanted.ok_or("the graph is empty")?;
    let mut slots: Vec<&SlotAssignment> = order.slots.iter().collect();
    slots.sort_by_key(|slot| slot.index);
    let complete = slots.len() >= wanted as usize
        && slots
            .iter()
            .zip(0..)
            .all(|(slot, index)| slot.index == index);
    if !complete {
        return Err(format!(
            "the placement has {} of {wanted} slots, or some twice",
            slots.len()
        ));
    }
    Ok(slots)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vertex(id: &str, kind: &str, parallelism: u32, inputs: &[(&str, &str)]) -> VertexPlan {
        let edge = |(from, partition): &(&str, &str)| EdgePlan {
            from: (*from).to_owned(),
            partition: (*partition).to_owned(),
            by: vec![],
        };
        VertexPlan {
            id: id.to_owned(),
            kind: kind.to_owned(),
            parallelism,
            inputs: inputs.iter().map(edge).collect(),
            ..Default::default()
        }
    }

    fn order(vertices: Vec<VertexPlan>, workers: &[(&str, u64)]) -> Deploy {
        let slot = |(index, (worker, incarnation)): (usize, &(&str, u64))| SlotAssignment {
            index: index as u32,
            worker_id: (*worker).to_owned(),
            incarnation: *incarnation,
            data_address: format!("{worker}:1"),
        };
        Deploy {
            vertices,
            slots: workers.iter().enumerate().map(slot).collect(),
            ..Default::default()
        }
    }

    fn graph() -> Vec<VertexPlan> {
        vec![
            vertex("src", "source", 2, &[]),
            vertex("op", "operator", 2, &[("src", "forward")]),
            vertex(
                "agg",
                "operator",
                3,
                &[("op", "hash"), ("src", "rebalance")],
            ),
            vertex("out", "sink", 1, &[("agg", "rebalance")]),
        ]
    }

    fn words(plan: &TaskPlan) -> String {
        let inputs = plan.inputs.iter().map(|input| {
            let remote = input.remote.as_deref().unwrap_or("here");
            let channel = &input.channel;
            format!("{}#{}@{remote}", channel.upstream, channel.input)
        });
        let outputs = plan.outputs.iter().map(|output| {
            let targets = output.targets.iter().map(|(channel, local)| {
                let place = if *local { "here" } else { "away" };
                format!("{}#{}@{place}", channel.downstream, channel.input)
            });
            targets.collect::<Vec<_>>().join(" ")
        });
        format!(
            "{}: {} => {}",
            plan.id,
            inputs.collect::<Vec<_>>().join(" "),
            outputs.collect::<Vec<_>>().join(" | ")
        )
    }

    #[test]
    fn slots_hold_a_subtask_of_every_vertex_that_is_wide_enough() {
        let order = order(graph(), &[("a", 1), ("b", 1), ("a", 1)]);
        let tasks = plan(&order, ("a", 1), 4).unwrap().tasks;
        let words: Vec<String> = tasks.iter().map(words).collect();
        assert_eq!(
            words,
            [
                "src/0:  => op/0#0@here | agg/0#1@here agg/1#1@away agg/2#1@here",
                "op/0: src/0#0@here => agg/0#0@here agg/1#0@away agg/2#0@here",
                "agg/0: op/0#0@here op/1#0@b:1 src/0#1@here src/1#1@b:1 => out/0#0@here",
                "agg/2: op/0#0@here op/1#0@b:1 src/0#1@here src/1#1@b:1 => out/0#0@here",
                "out/0: agg/0#0@here agg/1#0@b:1 agg/2#0@here => ",
            ]
        );
    }

    #[test]
    fn another_incarnation_holds_nothing() {
        let order = order(graph(), &[("a", 1), ("b", 1), ("a", 1)]);
        assert!(plan(&order, ("a", 2), 4).unwrap().tasks.is_empty());
    }

    #[test]
    fn contradictions_are_named() {
        let three = [("a", 1), ("a", 1), ("a", 1)];
        let with = |change: fn(&mut Vec<VertexPlan>)| {
            let mut vertices = graph();
            change(&mut vertices);
            plan(&order(vertices, &three), ("a", 1), 4).unwrap_err()
        };
        for (message, expected) in [
            (with(Vec::clear), "the graph is empty"),
            (
                with(|v| v[1].id = "src".into()),
                "vertex src is there twice",
            ),
            (
                with(|v| v[0].parallelism = 0),
                "vertex src has parallelism 0",
            ),
            (
                with(|v| v[0].parallelism = 129),
                "vertex src has parallelism 129",
            ),
            (
                with(|v| v[0].parallelism = 3),
                "edge src -> op is forward between parallelism 3 and 2",
            ),
            (with(|v| v[3].inputs.clear()), "sink out has 0 inputs"),
            (
                with(|v| v[3].kind = "tap".into()),
                "vertex out is of the unknown kind tap",
            ),
            (
                with(|v| v[3].inputs[0].from = "x".into()),
                "no vertex x to read",
            ),
            (
                with(|v| v[3].inputs[0].partition = "x".into()),
                "edge agg -> out has the unknown partition x",
            ),
        ] {
            assert_eq!(message, expected);
        }
        let few = plan(&order(graph(), &three[..2]), ("a", 1), 4).unwrap_err();
        assert_eq!(few, "the placement has 2 of 3 slots, or some twice");
        let many = plan(&order(graph(), &three), ("a", 1), 2).unwrap_err();
        assert_eq!(many, "3 slots are asked of a worker with 2");
    }
}

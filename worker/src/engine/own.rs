//! From a vertex of the user's code to what the engine runs, and to what is said of it when a job is
//! submitted. What the code may do is `crate::own`'s.

use regent_protocol::spec::OwnSpec;
use regent_protocol::v1::{Column, OwnDescription, OwnVertex, TaskState, Transaction, VertexPlan};

use super::effects::Effects;
use super::error::TaskError;
use super::ids::AttemptId;
use super::operators::{Operator, config};
use super::restore::{Share, cut};
use super::sinks::Sink;
use super::sources::Source;
use crate::own::{
    Beginning, Columns, Described, Entry, Make, Registry, Restored, RunningOperator, RunningSink,
    RunningSource, RunningTwoPhase, Schemas, Setup, SetupParts, describe as ask, wall_clock,
};

/// What a subtask starts from, beside its plan.
pub(crate) struct OwnStart<'a> {
    pub(crate) subtask: u32,
    /// Columns of the input; empty for a source.
    pub(crate) input: &'a [Column],
    pub(crate) share: Option<Share>,
    pub(crate) attempt: &'a AttemptId,
    /// The checkpoint restored from; 0: none.
    pub(crate) restored: u64,
    pub(crate) effects: &'a Effects,
}

/// A subtask of the user's code.
pub(crate) enum Running {
    Source(Box<dyn Source>),
    Operator(Box<dyn Operator>),
    Sink(Box<dyn Sink>),
}

/// Builds a subtask and gives it its state.
pub(crate) fn build(
    entry: &Entry,
    plan: &VertexPlan,
    start: OwnStart<'_>,
) -> Result<Running, TaskError> {
    let spec: OwnSpec = config(plan)?;
    let what = format!("{} {}", plan.kind, plan.operator);
    if spec.version != entry.version {
        let (wanted, here) = (spec.version, entry.version);
        let message = format!("the job runs {what} {wanted}, and this worker has {here}");
        return Err(TaskError::task(message));
    }
    let keyed = plan.inputs.first().filter(|edge| edge.partition == "hash");
    let parts = SetupParts {
        vertex: plan.id.clone(),
        what,
        version: entry.version,
        subtask: start.subtask,
        parallelism: plan.parallelism,
        with: spec.with,
        input: failing(Columns::of_wire(start.input))?,
        key: keyed.map(|edge| edge.by.clone()).unwrap_or_default(),
    };
    let schemas = Schemas::new(failing(Columns::of_wire(&plan.columns))?);
    let mut share = start.share;
    let mut taken = |of: fn(&mut Share) -> &mut Vec<Transaction>| {
        share
            .as_mut()
            .map(|s| std::mem::take(of(s)))
            .unwrap_or_default()
    };
    let beginning = Beginning {
        attempt: start.attempt.clone(),
        vertex: plan.id.as_str().into(),
        subtask: start.subtask,
        restored: start.restored,
        mine: taken(|share| &mut share.transactions),
        listed: taken(|share| &mut share.listed),
    };
    let restored = share.map(|share| restored(share, start.subtask, plan.parallelism));
    let setup = Setup::new(parts, restored).map_err(restoring)?;
    run(entry, (setup, beginning), schemas, start.effects)
}

fn run(
    entry: &Entry,
    (setup, beginning): (Setup, Beginning),
    schemas: Schemas,
    effects: &Effects,
) -> Result<Running, TaskError> {
    Ok(match &entry.make {
        Make::Source(new) => {
            let source = RunningSource::start(setup, schemas, new);
            Running::Source(Box::new(failing(source)?))
        }
        Make::Operator(new) => {
            let now = Box::new(wall_clock);
            let operator = RunningOperator::start(setup, schemas, now, new);
            Running::Operator(Box::new(failing(operator)?))
        }
        Make::Sink(new) => {
            let sink = RunningSink::start(setup, effects.clone(), new);
            Running::Sink(Box::new(failing(sink)?))
        }
        Make::TwoPhase(new) => {
            let sink = RunningTwoPhase::start(setup, effects.clone(), beginning, new);
            Running::Sink(Box::new(failing(sink)?))
        }
    })
}

/// A two-phase sink that only commits: nothing runs, and nothing is restored but what is listed.
pub(crate) fn build_to_commit(
    registry: &Registry,
    plan: &VertexPlan,
    beginning: Beginning,
    (input, effects): (&[Column], &Effects),
) -> Result<RunningTwoPhase, TaskError> {
    let spec: OwnSpec = config(plan)?;
    let (name, version) = (&plan.operator, spec.version);
    let entry = registry.find(&plan.kind, name);
    let entry = entry.filter(|entry| entry.version == version);
    let Some(Make::TwoPhase(new)) = entry.map(|entry| &entry.make) else {
        let message =
            format!("this worker has no sink {name} {version} that commits in two phases");
        return Err(TaskError::task(message));
    };
    let parts = SetupParts {
        vertex: plan.id.clone(),
        what: format!("sink {name}"),
        version,
        subtask: 0,
        parallelism: plan.parallelism,
        with: spec.with,
        input: failing(Columns::of_wire(input))?,
        key: Vec::new(),
    };
    let setup = failing(Setup::new(parts, None))?;
    failing(RunningTwoPhase::start(
        setup,
        effects.clone(),
        beginning,
        new,
    ))
}

/// A subtask's part of the states of all former subtasks.
pub(crate) fn restored_of(
    states: &[TaskState],
    version: u32,
    subtask: u32,
    parallelism: u32,
) -> Restored {
    let share = Share {
        version,
        ..cut(states, subtask, parallelism)
    };
    restored(share, subtask, parallelism)
}

/// Items of lists are dealt out in turn.
fn restored(share: Share, subtask: u32, parallelism: u32) -> Restored {
    let turns = (0..parallelism).cycle();
    let items = share.items.into_iter().zip(turns);
    Restored {
        version: share.version,
        key_groups: share.key_groups,
        items: items
            .filter(|(_, turn)| *turn == subtask)
            .map(|(item, _)| item)
            .collect(),
    }
}

fn failing<T>(result: crate::own::Result<T>) -> Result<T, TaskError> {
    result.map_err(|error| TaskError::task(crate::own::in_one_line(&error)))
}

fn restoring(error: crate::own::Error) -> TaskError {
    TaskError::Restore(crate::own::in_one_line(&error))
}

/// Asks the code what it makes of its configuration and input. Blocking, for as long as it takes.
pub(crate) fn describe(registry: &Registry, vertex: &OwnVertex) -> OwnDescription {
    let described = described(registry, vertex);
    let (error, found) = match described {
        Ok(found) => (String::new(), found),
        Err(error) => (error, Described::default()),
    };
    OwnDescription {
        vertex: vertex.id.clone(),
        error,
        columns: found.columns.to_wire(),
        bounded: found.bounded,
        zombie_safe: found.zombie_safe,
        two_phase: found.two_phase,
    }
}

fn described(registry: &Registry, vertex: &OwnVertex) -> Result<Described, String> {
    let what = format!("{} {}", vertex.kind, vertex.name);
    let entry = registry.find(&vertex.kind, &vertex.name);
    let entry = entry.filter(|entry| entry.version == vertex.version);
    let entry = entry.ok_or_else(|| format!("this worker has no {what} {}", vertex.version))?;
    let one_line = |error: crate::own::Error| crate::own::in_one_line(&error);
    let parts = SetupParts {
        vertex: vertex.id.clone(),
        what,
        version: entry.version,
        subtask: 0,
        parallelism: vertex.parallelism,
        with: serde_json::from_str(&vertex.with_json).map_err(|error| error.to_string())?,
        input: Columns::of_wire(&vertex.input).map_err(one_line)?,
        key: vertex.key.clone(),
    };
    ask(entry, &Setup::new(parts, None).map_err(one_line)?)
}

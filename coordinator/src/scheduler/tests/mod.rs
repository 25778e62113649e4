//! Tables of the scheduler's plans, by what they are about.

mod deployment;
mod endings;
mod losses;
mod orphans;
mod placement;
mod takeover;

use regent_state::command::*;
use regent_state::graph::RestartStrategy;
use regent_state::ids::WorkerRef;
use regent_state::{Command, Response};

use super::plan::{self, Plan, Step};
use super::slots::{Room, Slots, live_attempts};
use super::world::{Commit, Inspection, Memory, World};
use super::{Scope, leftovers, pass};
use crate::leader::seen::{Moment, Phase, Seen};
use crate::testing::*;
use crate::wire::{AttemptRef, TaskId};

/// Plans for the job and prints the steps, one a line.
fn steps(env: &Env, seen: &Seen, memory: &Memory, now: Moment) -> Vec<String> {
    printed(&planned(env, seen, memory, now))
}

fn planned(env: &Env, seen: &Seen, memory: &Memory, now: Moment) -> Plan {
    let world = world(env, seen, memory, now);
    let count = || Slots::count(seen, live_attempts(&env.machine));
    plan::plan(&world, &mut Room::counted_by(&count), &env.facts())
}

fn world<'a>(env: &Env, seen: &'a Seen, memory: &'a Memory, now: Moment) -> World<'a> {
    World {
        seen,
        memory,
        now,
        clock_ms: env.clock_ms,
        epoch: env.epoch,
        lease: LEASE,
    }
}

fn printed(plan: &Plan) -> Vec<String> {
    plan.steps.iter().map(ToString::to_string).collect()
}

fn job_steps(env: &Env, seen: &Seen, now: Moment) -> Vec<String> {
    steps(env, seen, &Memory::default(), now)
}

fn inspected(env: &Env, problems: &[&str], existing: &[&str]) -> Memory {
    let mut memory = Memory::default();
    let strings = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
    let answer = Inspection::Answered {
        problems: strings(problems),
        existing: strings(existing),
    };
    let job = env.machine.job(JOB).unwrap();
    memory.inspections.insert((JOB, job.run), answer);
    memory
}

fn failed(kind: &str, at: u64) -> Phase {
    Phase::Failed {
        cause: "boom".into(),
        kind: kind.into(),
        at: ms(at),
    }
}

/// Two workers run the job; the second leader has just been announced and both have registered.
fn taken_over(sink: SinkKind) -> (Env, AttemptRef, Seen) {
    let mut env = Env::with_job(graph(2, sink));
    let attempt = env.run(&[tm(1, 1), tm(2, 1)]);
    env.new_leader();
    let mut seen = seen(&[tm(1, 1), tm(2, 1)]);
    report(&mut seen, &env, &tm(1, 1), attempt, 0, &Phase::Running);
    report(&mut seen, &env, &tm(2, 1), attempt, 1, &Phase::Running);
    (env, attempt, seen)
}

fn over(attempt: AttemptRef) -> String {
    let (run, tokens) = (attempt.run, vec![attempt.token]);
    let over = AttemptsOver {
        job: JOB,
        run,
        tokens,
    };
    Step::Propose(Command::AttemptsOver(over)).to_string()
}

fn running(sink: SinkKind) -> (Env, AttemptRef, Seen) {
    let mut env = Env::with_job(graph(2, sink));
    let attempt = env.run(&[tm(1, 1), tm(2, 1)]);
    let mut seen = seen(&[tm(1, 1), tm(2, 1)]);
    report(&mut seen, &env, &tm(1, 1), attempt, 0, &Phase::Running);
    report(&mut seen, &env, &tm(2, 1), attempt, 1, &Phase::Running);
    (env, attempt, seen)
}

fn worker_steps(env: &Env, seen: &Seen, memory: &Memory, now: Moment) -> Vec<String> {
    let world = world(env, seen, memory, now);
    let of = |scope| pass::plan_leftovers(&world, &env.machine, &scope);
    let steps: Vec<String> = of(Scope::All).values().flat_map(printed).collect();
    let held = seen.workers.values().flat_map(|worker| worker.tasks.keys());
    let ordered = memory.ordered.keys().map(|(attempt, ..)| attempt);
    let jobs = held.chain(ordered).map(|attempt| attempt.job).collect();
    let named = of(Scope::Jobs(jobs));
    let named: Vec<String> = named.values().flat_map(printed).collect();
    assert_eq!(
        named, steps,
        "a pass over those jobs sees what a pass over all does"
    );
    steps
}

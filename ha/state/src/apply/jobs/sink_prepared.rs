//! `SinkPrepared`.

use super::super::{Context, ledger};
use super::wrong_state;
use crate::command::SinkPrepared;
use crate::ids::Run;
use crate::model::{ArtefactKind, Job};
use crate::response::{Effect, Rejection, Response};

pub(in crate::apply) fn apply(
    ctx: &mut Context<'_>,
    command: &SinkPrepared,
) -> Result<Response, Rejection> {
    let mut job = ctx.job_of_run(command.job, command.run)?;
    if !job.awaits_deployment() {
        return Err(wrong_state(
            &job,
            "a job that waits for its first deployment",
        ));
    }
    check_files(job.run, &command.files)?;
    let position = job
        .unprepared_sinks
        .iter()
        .position(|sink| *sink == command.vertex);
    let Some(position) = position else {
        let vertex = command.vertex.clone();
        return Err(Rejection::UnknownSink {
            job: job.id,
            vertex,
        });
    };
    replace(ctx, &job, command)?;
    job.unprepared_sinks.remove(position);
    ctx.effect(Effect::Schedule(job.id));
    ctx.put_job(job);
    Ok(Response::Done)
}

/// Declares the listed files and gives them up in the same entry.
fn replace(ctx: &mut Context<'_>, job: &Job, command: &SinkPrepared) -> Result<(), Rejection> {
    let graph = ctx.graph(job.id)?;
    let sink = graph
        .vertex(&command.vertex)
        .and_then(|vertex| vertex.sink.as_ref());
    let Some(sink) = sink else { return Ok(()) };
    let files = unowned(ctx, &sink.path, &command.files);
    if files.is_empty() {
        return Ok(());
    }
    let kind = ArtefactKind::Replaced {
        vertex: command.vertex.clone(),
        files,
    };
    let owner = Some((job.id, job.run));
    let artefact = ledger::declare(ctx, owner, kind, sink.path.clone(), None);
    ledger::give_up(ctx, artefact, None);
    Ok(())
}

/// What the ledger holds goes by its own entry or not at all: submission refuses such a path, but what an
/// earlier version declared may be there.
fn unowned(ctx: &Context<'_>, sink: &str, files: &[String]) -> Vec<String> {
    let owned = |file: &&String| ctx.machine.is_in_artefact(&format!("{sink}/{file}"));
    files.iter().filter(|file| !owned(file)).cloned().collect()
}

/// Only plain names below the sink's path, and none that this run could write itself.
fn check_files(run: Run, files: &[String]) -> Result<(), Rejection> {
    let bytes: usize = files.iter().map(String::len).sum();
    if files.len() > SinkPrepared::FILES_MAX || bytes > SinkPrepared::BYTES_MAX {
        let (count, bytes) = (SinkPrepared::FILES_MAX, SinkPrepared::BYTES_MAX);
        let text = format!("at most {count} files with {bytes} bytes of names are replaced");
        return Err(Rejection::Invalid(text));
    }
    let own = format!("part-{run}-");
    let is_ours = |file: &str| {
        file.rsplit('/')
            .next()
            .is_some_and(|name| name.starts_with(&own))
    };
    let is_wild = |file: &str| file.split('/').any(|name| matches!(name, "" | "." | ".."));
    match files.iter().find(|file| is_ours(file) || is_wild(file)) {
        Some(file) => Err(Rejection::Invalid(format!(
            "file `{file}` may not be replaced"
        ))),
        None => Ok(()),
    }
}

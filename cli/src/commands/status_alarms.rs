//! What needs attention, from what replicas say and what the leader has stored. Pure; each alarm has a
//! name that scripts and alerts use, the fact, and what to do.

use regent_protocol::view::{Cause, NodeStatus, Overview, ReplicaView};

use crate::client::{Asked, Picture, Survey};
use crate::output::words::{count, plural, span};

/// Clocks that are certainly further apart than this raise an alarm.
const SKEW_MS_MAX: u64 = 500;
/// A replica that trails by more entries raises an alarm.
const TRAILS_MAX: u64 = 1_000;
/// A certificate that ends within this time, and in the last quarter of its own, raises an alarm.
const ENDS_MS_MAX: u64 = 14 * 24 * 3_600 * 1_000;
/// A job that has not run for longer raises an alarm.
const IDLE_MS_MAX: u64 = 10_000;

/// Everything that needs attention, the worst first.
pub(super) fn find(survey: &Survey, picture: &Picture, overview: Option<&Overview>) -> Vec<Cause> {
    let mut found = Vec::new();
    found.extend(leadership(picture, overview));
    found.extend(picture.alarms.iter().cloned());
    found.extend(survey.answers().filter_map(diverged));
    found.extend(survey.answers().flat_map(sick));
    found.extend(survey.answers().filter_map(certificate));
    found.extend(picture.show.replicas.iter().filter_map(replica));
    found.extend(margin(picture));
    found.extend(skew(survey));
    found.extend(overview.into_iter().flat_map(stored));
    found
}

/// `Name: text; remedy`.
pub(super) fn line(cause: &Cause) -> String {
    match &cause.remedy {
        Some(remedy) => format!("{}: {}; {remedy}", cause.code, cause.text),
        None => format!("{}: {}", cause.code, cause.text),
    }
}

fn leadership(picture: &Picture, overview: Option<&Overview>) -> Option<Cause> {
    let explain = "regent leader explain";
    if picture.cluster_id.is_none() {
        let cause = Cause::new(
            "NoCluster",
            "the replicas that answer belong to no cluster yet",
        );
        return Some(cause.remedy("regent cluster bootstrap"));
    }
    if !picture.majority_answers() {
        let text = format!(
            "{} of {} voters answer, {} are needed",
            picture.voters_answering, picture.show.voters, picture.show.quorum
        );
        return Some(Cause::new("NoQuorum", text).remedy(explain));
    }
    if picture.show.leader.is_none() {
        return Some(Cause::new("NoLeader", "nobody leads").remedy(explain));
    }
    let silent = Cause::new("LeaderSilent", "the leader doesn't answer reads").remedy(explain);
    overview.is_none().then_some(silent)
}

/// A group that serves, and would not after one more loss.
fn margin(picture: &Picture) -> Option<Cause> {
    let show = &picture.show;
    if show.leader.is_none() || show.tolerates > 0 {
        return None;
    }
    if show.voters < 3 {
        let text = format!("{} can't lose any", plural(show.voters, "voter"));
        return Some(
            Cause::new("NoQuorumMargin", text)
                .remedy("add JobManagers until there are three voters"),
        );
    }
    let away: Vec<&str> = away(picture).collect();
    let text = "no other replica may be lost, or nobody leads".to_owned();
    Some(Cause::new("NoQuorumMargin", text).remedy(format!("bring back {}", away.join(" or "))))
}

fn away(picture: &Picture) -> impl Iterator<Item = &str> {
    let replicas = picture.show.replicas.iter();
    replicas
        .filter(|r| r.role == "unreachable")
        .map(|r| r.name.as_str())
}

fn diverged(status: &NodeStatus) -> Option<Cause> {
    let what = status.divergence.as_ref()?;
    let text = format!("by the word of {}, {what}", status.name);
    Some(Cause::new("ReplicaDiverged", text).remedy(
        "stop the replica that is wrong (a third one tells), keep its data directory, and report it",
    ))
}

fn sick(status: &NodeStatus) -> Vec<Cause> {
    let (name, disk) = (&status.name, &status.disk);
    let mut found = Vec::new();
    if let Some(reason) = &status.refused {
        found.push(Cause::new(
            "TakesNoPart",
            format!("{name} takes no part: {reason}"),
        ));
    }
    if disk.poisoned {
        let text = format!("a write to the log of {name} failed");
        found.push(Cause::new("LogFailed", text).remedy(format!(
            "start {name} again; if it recurs, its disk is broken"
        )));
    } else if disk.full {
        let text = format!("the disk of {name} is full ({})", disk.data_dir);
        found.push(
            Cause::new("DiskFull", text)
                .remedy(format!("free space there, and start {name} again")),
        );
    }
    found
}

/// A certificate that isn't the one on disk, or that ends before long.
fn certificate(status: &NodeStatus) -> Option<Cause> {
    let (name, tls) = (&status.name, status.tls.as_ref()?);
    if let Some(problem) = &tls.refused {
        let text = format!("{name} doesn't use what its files hold: {problem}");
        let remedy = "mend them; they are read again every 10 s and at SIGHUP";
        return Some(Cause::new("CertificateRefused", text).remedy(remedy));
    }
    let (from, until) = (tls.from_ms?, tls.until_ms?);
    let left = until.saturating_sub(status.now_ms);
    let soon = ENDS_MS_MAX.min(until.saturating_sub(from) / 4);
    let text = match left {
        0 => format!("the certificate of {name} has ended: nobody new connects to it"),
        left => format!("the certificate of {name} ends in {}", span(left)),
    };
    let cause = Cause::new("CertificateEnds", text);
    let remedy = "put a new one in its place: files are read again by themselves";
    (left < soon).then(|| cause.remedy(remedy))
}

fn replica(replica: &ReplicaView) -> Option<Cause> {
    let name = &replica.name;
    if replica.role == "unreachable" {
        let cause = Cause::new("ReplicaAway", format!("{name} doesn't answer"));
        return Some(cause.remedy(format!("start {name}, or see regent leader explain")));
    }
    let trails = replica.trails_by.filter(|trails| *trails > TRAILS_MAX)?;
    let text = format!("{name} trails by {} entries", count(trails));
    Some(
        Cause::new("ReplicaLagging", text)
            .remedy(format!("look at the disk and the network of {name}")),
    )
}

/// The clock of a replica, against this client's: it lies between these two differences.
fn offsets(asked: &Asked) -> Option<(&str, i128, i128)> {
    let status = asked
        .answer
        .as_ref()
        .ok()
        .filter(|status| status.now_ms > 0)?;
    let there = i128::from(status.now_ms);
    let (sent, received) = asked.asked_ms;
    Some((
        &status.name,
        there - i128::from(received),
        there - i128::from(sent),
    ))
}

/// Two clocks that are certainly apart, whatever time the answers took.
fn skew(survey: &Survey) -> Option<Cause> {
    let offsets: Vec<_> = survey.asked.iter().filter_map(offsets).collect();
    let (behind, _, latest) = offsets.iter().min_by_key(|(.., high)| *high)?;
    let (ahead, earliest, _) = offsets.iter().max_by_key(|(_, low, _)| *low)?;
    let apart = u64::try_from(earliest - latest)
        .ok()
        .filter(|apart| *apart > SKEW_MS_MAX)?;
    let text = format!(
        "the clock of {ahead} is at least {} ahead of {behind}'s",
        span(apart)
    );
    Some(Cause::new("ClockSkew", text).remedy(
        "synchronise the hosts' clocks; nothing is decided by them, but times that are shown don't fit",
    ))
}

fn stored(seen: &Overview) -> Vec<Cause> {
    let mut found = Vec::new();
    for worker in seen.workers.iter().filter(|w| w.state != "registered") {
        let cause = Cause::new(
            "WorkerAway",
            format!("worker {} is {}", worker.worker, worker.state),
        );
        found.push(cause.remedy(format!("start {}, or see its log", worker.worker)));
    }
    for worker in seen.workers.iter().filter(|w| w.stuck > 0) {
        let text = format!(
            "{} of worker {} were told to end and don't; their slots aren't used again",
            plural(worker.stuck.into(), "task"),
            worker.worker
        );
        let remedy = format!("end the process of {}: it comes back whole", worker.worker);
        found.push(Cause::new("TaskStuck", text).remedy(remedy));
    }
    for job in seen
        .not_running
        .iter()
        .filter(|job| job.for_ms > IDLE_MS_MAX)
    {
        let reason = job
            .reason
            .as_ref()
            .map_or_else(String::new, |r| format!(": {r}"));
        let text = format!(
            "job {} is {} for {}{reason}",
            job.name,
            job.state,
            span(job.for_ms)
        );
        let remedy = format!("regent job explain {}", job.job_id);
        found.push(Cause::new("JobDeclaredNotRunning", text).remedy(remedy));
    }
    if seen.cleanup_dirty > 0 {
        let text = format!(
            "{} can't be removed",
            plural(seen.cleanup_dirty, "artefact")
        );
        found.push(Cause::new("CleanupDirty", text).remedy("regent cleanup list --dirty"));
    }
    found
}

#[cfg(test)]
#[path = "status_alarms_test.rs"]
mod tests;

//! Invariants of the cluster's own records.

use super::{Checked, implies, must};
use crate::apply::{REIGNS_MAX, REQUEST_WINDOW};
use crate::graph::IfExists;
use crate::machine::Machine;
use crate::model::Claim;
use crate::path;

pub(super) fn check(machine: &Machine) -> Checked {
    check_meta(machine)?;
    check_reigns(machine)?;
    check_requests(machine)?;
    check_claims(machine)
}

fn check_meta(machine: &Machine) -> Checked {
    let Some(meta) = machine.meta() else {
        return must(
            machine.hash() == 0,
            "without a head there is nothing",
            "hash",
        );
    };
    let announced = meta.epoch.is_some();
    must(
        announced == meta.cluster_id.is_some(),
        "a reign and a cluster id come together",
        "meta",
    )?;
    let generation = meta.epoch.map_or(0, |epoch| epoch.generation);
    must(
        generation == meta.generation,
        "the epoch is of this generation",
        meta.generation,
    )?;
    implies(
        machine.job_count() > 0,
        announced,
        "no job before the first reign",
        "jobs",
    )
}

fn check_reigns(machine: &Machine) -> Checked {
    let count = machine.reigns().count() as u64;
    must(count <= REIGNS_MAX, "the timeline is bounded", count)?;
    let mut last = None;
    for reign in machine.reigns() {
        must(
            Some(reign.epoch) > last,
            "epochs rise along the timeline",
            reign.epoch,
        )?;
        last = Some(reign.epoch);
        let is_present = Some(reign.epoch) == machine.epoch();
        must(
            is_present == reign.to_ms.is_none(),
            "only the present reign is open",
            reign.epoch,
        )?;
    }
    // A new life begins without a reign: nobody has announced itself in it yet.
    let unannounced = machine.epoch().is_some_and(|epoch| epoch.term == 0);
    must(
        last == machine.epoch() || (unannounced && last < machine.epoch()),
        "the last line is the present reign",
        "timeline",
    )
}

fn check_requests(machine: &Machine) -> Checked {
    let requests = &machine.tables.requests;
    let (records, ids) = (requests.len(), machine.index.requests.len());
    must(records == ids, "a request is remembered once", ids)?;
    let bound = usize::try_from(REQUEST_WINDOW)
        .unwrap_or(usize::MAX)
        .saturating_add(1);
    must(records <= bound, "remembered requests are bounded", records)?;
    let newest = requests.iter().next_back().map(|(index, _)| *index);
    must(
        newest.is_none_or(|index| index <= machine.last_index()),
        "none is ahead",
        "requests",
    )
}

fn check_claims(machine: &Machine) -> Checked {
    for (path, claim) in machine.claims() {
        must(!claim.holders.is_empty(), "a claim has a holder", path)?;
        let one = claim.holders.len() == 1;
        must(one || appends(claim), "only appenders share a path", path)?;
        for holder in &claim.holders {
            let job = machine.job(holder.job).filter(|job| job.run == holder.run);
            let open = job.is_some_and(|job| !job.is_terminal() || job.is_dirty());
            must(open, "a claim is of a run that is not clean", path)?;
        }
        let mut above = path::above(path).filter_map(|path| machine.tables.claims.get(path));
        let shared = above.all(|other| appends(other) && appends(claim));
        must(shared, "only appenders share a tree", path)?;
    }
    Ok(())
}

fn appends(claim: &Claim) -> bool {
    claim
        .holders
        .iter()
        .all(|holder| holder.mode == IfExists::Append)
}

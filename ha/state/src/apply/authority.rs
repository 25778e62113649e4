//! Who may propose what: epochs, announced leaders, and the cluster's feature level.

use super::Context;
use crate::command::{Authority, Envelope, SetFeatureLevel};
use crate::ids::Epoch;
use crate::response::{Rejection, Response};

/// A reconciler speaks in the last announced epoch, a client in none, and neither before the
/// entry's own leader has announced itself. This check counts; earlier ones only save work.
pub(super) fn check(ctx: &Context<'_>, envelope: &Envelope) -> Result<(), Rejection> {
    match envelope.command.authority() {
        Authority::NewLeader => Ok(()),
        Authority::Reconciler => {
            let given = envelope
                .epoch
                .ok_or_else(|| wrong("a reconciler gives its epoch"))?;
            let current = ctx.meta.epoch.ok_or(Rejection::LeaderNotAnnounced)?;
            if given != current {
                return Err(Rejection::StaleEpoch { given, current });
            }
            leader_announced(ctx, current)
        }
        Authority::Client => {
            if envelope.epoch.is_some() {
                return Err(wrong("a client's command carries no epoch"));
            }
            leader_announced(ctx, ctx.meta.epoch.ok_or(Rejection::LeaderNotAnnounced)?)
        }
    }
}

fn leader_announced(ctx: &Context<'_>, announced: Epoch) -> Result<(), Rejection> {
    let of_entry = (ctx.entry.term, ctx.entry.node);
    if (announced.term, announced.node) == of_entry {
        Ok(())
    } else {
        Err(Rejection::LeaderNotAnnounced)
    }
}

fn wrong(why: &str) -> Rejection {
    Rejection::WrongAuthority(why.to_owned())
}

pub(super) fn set_feature_level(
    ctx: &mut Context<'_>,
    command: &SetFeatureLevel,
) -> Result<Response, Rejection> {
    let current = ctx.meta.feature_level;
    if command.level < current {
        return Err(Rejection::FeatureLevelFalls { current });
    }
    ctx.meta.feature_level = command.level;
    Ok(Response::Done)
}

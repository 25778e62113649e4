//! `ChangeMember` and `DrainWorker`: what operators want is noted here, and made so by the leader.

use super::Context;
use crate::command::{ChangeMember, DrainWorker};
use crate::model::{Drain, MemberRole, MemberWish, clip};
use crate::response::{Effect, Rejection, Response};

/// Replicas whose wishes are kept, removed ones included; far above what a cluster ever sees.
const MEMBERS_MAX: usize = 4_096;
/// Workers that may be drained at once.
const DRAINS_MAX: usize = 4_096;
/// The longest worker id or address.
const NAME_BYTES_MAX: usize = 256;

pub(super) fn change_member(
    ctx: &mut Context<'_>,
    command: &ChangeMember,
) -> Result<Response, Rejection> {
    let ChangeMember {
        node,
        name,
        api,
        peer,
        wanted,
    } = command;
    if [name, api, peer]
        .iter()
        .any(|text| text.is_empty() || text.len() > NAME_BYTES_MAX)
    {
        return Err(Rejection::Invalid(
            "a member has a name and two addresses".to_owned(),
        ));
    }
    let known = ctx.get::<MemberWish>(node);
    if let Some(known) = &known {
        check_known(node.0, known, command)?;
    } else if ctx.machine.tables.members.iter().count() >= MEMBERS_MAX {
        return Err(Rejection::Invalid(format!(
            "{MEMBERS_MAX} members are known already"
        )));
    }
    if *wanted != MemberRole::Removed {
        check_address_free(ctx, command)?;
    }
    let wish = MemberWish {
        name: name.clone(),
        api: api.clone(),
        peer: peer.clone(),
        wanted: *wanted,
        by: clip(ctx.actor),
        at_ms: ctx.wall_ms(),
    };
    ctx.put::<MemberWish>(*node, wish);
    ctx.effect(Effect::Members);
    Ok(Response::Done)
}

fn check_known(node: u64, known: &MemberWish, command: &ChangeMember) -> Result<(), Rejection> {
    if known.wanted == MemberRole::Removed && command.wanted != MemberRole::Removed {
        return Err(Rejection::MemberRemoved { node });
    }
    if known.peer != command.peer {
        let peer = known.peer.clone();
        return Err(Rejection::MemberElsewhere { node, peer });
    }
    Ok(())
}

fn check_address_free(ctx: &Context<'_>, command: &ChangeMember) -> Result<(), Rejection> {
    let taken = ctx.machine.tables.members.iter().find(|(node, wish)| {
        **node != command.node && wish.wanted != MemberRole::Removed && wish.peer == command.peer
    });
    match taken {
        Some((node, wish)) => Err(Rejection::MemberElsewhere {
            node: node.0,
            peer: wish.peer.clone(),
        }),
        None => Ok(()),
    }
}

pub(super) fn drain_worker(
    ctx: &mut Context<'_>,
    command: &DrainWorker,
) -> Result<Response, Rejection> {
    let DrainWorker { worker, drained } = command;
    if worker.is_empty() || worker.len() > NAME_BYTES_MAX {
        return Err(Rejection::Invalid(
            "a worker id has 1 to 256 bytes".to_owned(),
        ));
    }
    let stands = ctx.get::<Drain>(worker).is_some();
    match (*drained, stands) {
        (true, false) => {
            if ctx.machine.tables.drains.iter().count() >= DRAINS_MAX {
                return Err(Rejection::Invalid(format!(
                    "{DRAINS_MAX} workers are drained already"
                )));
            }
            let drain = Drain {
                by: clip(ctx.actor),
                at_ms: ctx.wall_ms(),
            };
            ctx.put::<Drain>(worker.clone(), drain);
        }
        (false, true) => ctx.remove::<Drain>(worker),
        (true, true) | (false, false) => {}
    }
    ctx.effect(Effect::Workers);
    Ok(Response::Done)
}

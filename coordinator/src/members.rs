//! Makes the members what operators want them to be: one step, then look again.
//!
//! What is wanted stands in the log, so a step that a dead leader began is carried on by the next one.
//! Which step may be taken is `regent_ha::membership::plan`'s; the same plan refuses, when an operator
//! asks, what would cost the majority.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use regent_ha::membership::plan::{Step, Wish, steps};
use regent_ha::{Member, Node as Address, NodeId};
use regent_state::model::MemberRole;
use regent_state::{Effect, Machine};

use crate::leader::rule::Rule;

/// A learner that catches up, or a voter that comes back, is noticed this soon.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// While nothing is wanted.
const IDLE: Duration = Duration::from_secs(5);
/// After a step that failed.
const RETRY: Duration = Duration::from_secs(1);

/// Runs until the reign is over.
pub(crate) async fn run(rule: Arc<Rule>) {
    let mut effects = rule.effects();
    let mut told = String::new();
    loop {
        let pause = pass(&rule, &mut told).await;
        tokio::select! {
            () = rule.stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
            () = wished(&mut effects) => {}
        }
    }
}

async fn wished(effects: &mut regent_ha::EffectHints) {
    loop {
        let hints = effects.next().await;
        let mine = |effect: &Effect| matches!(effect, Effect::Members | Effect::LeaderAnnounced(_));
        if hints.overflowed || hints.about.iter().any(mine) {
            return;
        }
    }
}

/// Takes the first step that can be taken; answers how long nothing needs to be looked at.
async fn pass(rule: &Rule, told: &mut String) -> Duration {
    let wishes = wishes(&rule.view().machine);
    let due = steps(&wishes, &rule.members_seen());
    let Some(step) = due.first() else {
        told.clear();
        return IDLE;
    };
    let line = step.to_string();
    if *told != line {
        tracing::info!(step = %line, "members");
        told.clone_from(&line);
    }
    if matches!(step, Step::Wait { .. }) {
        return LOOK_AGAIN;
    }
    let doing = tokio::select! {
        () = rule.stop.cancelled() => return IDLE,
        done = rule.change_members(step) => done,
    };
    match doing {
        Ok(()) => Duration::ZERO,
        Err(error) => {
            tracing::warn!(step = %line, %error, "the step is tried again");
            RETRY
        }
    }
}

/// What operators want, as the planner takes it.
pub(crate) fn wishes(machine: &Machine) -> BTreeMap<NodeId, Wish> {
    let wishes = machine.member_wishes().map(|(node, wish)| {
        let member = Member {
            node_id: node.0,
            node: Address {
                name: wish.name.clone(),
                api: wish.api.clone(),
                peer: wish.peer.clone(),
            },
        };
        let wish = match wish.wanted {
            MemberRole::Voter => Wish::Voter(member),
            MemberRole::Learner => Wish::Learner(member),
            MemberRole::Removed => Wish::Gone,
        };
        (node.0, wish)
    });
    wishes.collect()
}

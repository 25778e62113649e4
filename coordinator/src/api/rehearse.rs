//! Dry runs: the command is applied to a copy of the state, which is then forgotten. So a dry run is
//! refused for exactly the reasons for which the real one would be.

use regent_ha::View;
use regent_protocol::error::ApiError;
use regent_state::command::Envelope;
use regent_state::ids::{EntryId, LogIndex};
use regent_state::{Command, RequestTag};

use super::errors;
use crate::leader::rule::Rule;
use crate::node::wall_ms;

/// Whether the leader's state would accept the command now.
pub(super) fn rehearse(rule: &Rule, tag: RequestTag, command: Command) -> Result<(), ApiError> {
    let view = rule.view();
    let envelope = Envelope {
        epoch: None,
        request: Some(tag),
        proposed_at_ms: rule.clock_ms(),
        wall_ms: wall_ms(),
        actor: "dry run".to_owned(),
        command,
    };
    let entry = EntryId {
        index: LogIndex(next_index(&view)),
        term: rule.reign.epoch.term,
        node: rule.reign.epoch.node,
    };
    let mut copy = view.machine.clone();
    let answer = copy.apply(entry, &envelope).response.into_result();
    answer
        .map(drop)
        .map_err(|refused| errors::rejected(&refused))
}

fn next_index(view: &View) -> u64 {
    view.applied_index().max(view.machine.last_index().0) + 1
}

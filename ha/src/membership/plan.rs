//! What a change of members would cost, and which step comes next. Pure.
//!
//! A voter may go only if those that stay and answer are still a majority of what would be left; a new
//! replica gets its vote only once it has caught up.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::types::{Member, NodeId};

/// A learner with no more than this many entries to go gets its vote.
const CAUGHT_UP_ENTRIES: u64 = 1_000;

/// The members and how they do, as the leader sees them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The leader itself.
    pub own: NodeId,
    /// All members.
    pub members: BTreeMap<NodeId, Member>,
    /// Those that vote; in a change under way, those that will.
    pub voters: BTreeSet<NodeId>,
    /// Heard lately, the leader included.
    pub live: BTreeSet<NodeId>,
    /// How far each peer's log is known to be.
    pub matched: BTreeMap<NodeId, u64>,
    /// The leader's last entry.
    pub last_index: u64,
    /// A change is under way (or a dead leader left it half done).
    pub joint: bool,
    /// Numbers that were removed once.
    pub removed: BTreeSet<NodeId>,
}

/// How much the group stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Margin {
    /// Voters.
    pub voters: u64,
    /// How many of them are needed.
    pub quorum: u64,
    /// How many of them answer.
    pub live: u64,
    /// How many more may be lost.
    pub tolerates: u64,
}

/// What a replica is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// A voter, once it has caught up.
    Voter(Member),
    /// A member without a vote.
    Learner(Member),
    /// No member.
    Gone,
}

/// What to do about one wish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Introduce it and give it the log.
    Add(Member),
    /// Give it a vote.
    Promote(NodeId),
    /// Take its vote, and keep it.
    Demote(NodeId),
    /// Take it out for good.
    Remove(NodeId),
    /// The leader itself is to go: another leads first.
    HandOver(NodeId),
    /// Complete a change that was begun.
    Finish,
    /// Not yet, or not at all: the text says why.
    Wait {
        /// Whom it is about.
        node: NodeId,
        /// Why, and what would help.
        cause: String,
    },
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Add(member) => write!(
                f,
                "add node {} ({}) as a learner",
                member.node_id, member.node.name
            ),
            Self::Promote(node) => write!(f, "give node {node} a vote"),
            Self::Demote(node) => write!(f, "make node {node} a learner"),
            Self::Remove(node) => write!(f, "remove node {node}"),
            Self::HandOver(node) => write!(f, "hand leadership to node {node}"),
            Self::Finish => f.write_str("complete the change that was begun"),
            Self::Wait { node, cause } => write!(f, "node {node} waits: {cause}"),
        }
    }
}

impl Step {
    fn rank(&self) -> u8 {
        match self {
            Self::Finish => 0,
            Self::Add(_) => 1,
            Self::Promote(_) => 2,
            Self::Demote(_) => 3,
            Self::Remove(_) => 4,
            Self::HandOver(_) => 5,
            Self::Wait { .. } => 6,
        }
    }
}

impl Seen {
    /// The margin as it is.
    pub fn margin(&self) -> Margin {
        self.margin_of(&self.voters)
    }

    fn margin_of(&self, voters: &BTreeSet<NodeId>) -> Margin {
        let live = voters.intersection(&self.live).count() as u64;
        let voters = voters.len() as u64;
        let quorum = voters / 2 + 1;
        Margin {
            voters,
            quorum,
            live,
            tolerates: live.saturating_sub(quorum),
        }
    }

    fn name(&self, node: NodeId) -> String {
        match self.members.get(&node) {
            Some(member) => member.node.name.clone(),
            None => format!("node {node}"),
        }
    }

    /// Why the group must not consist of these voters, if it must not.
    fn objection(&self, after: &BTreeSet<NodeId>) -> Option<String> {
        if after.is_empty() {
            return Some("it is the last voter".to_owned());
        }
        let margin = self.margin_of(after);
        if margin.live >= margin.quorum {
            return None;
        }
        let silent: Vec<_> = after
            .difference(&self.live)
            .map(|id| self.name(*id))
            .collect();
        Some(format!(
            "of the {} voters then left only {} answer and {} are needed; start {} first, or remove it first",
            margin.voters,
            margin.live,
            margin.quorum,
            silent.join(", ")
        ))
    }

    /// The voters without one.
    fn without(&self, node: NodeId) -> BTreeSet<NodeId> {
        self.voters
            .iter()
            .copied()
            .filter(|id| *id != node)
            .collect()
    }

    fn caught_up(&self, node: NodeId) -> bool {
        let matched = self.matched.get(&node).copied().unwrap_or(0);
        self.live.contains(&node) && self.last_index.saturating_sub(matched) <= CAUGHT_UP_ENTRIES
    }

    /// The live voter that holds most of the log, the leader not counted.
    fn successor(&self) -> Option<NodeId> {
        let others = self.without(self.own);
        let live = others.intersection(&self.live).copied();
        live.max_by_key(|id| self.matched.get(id).copied())
    }
}

/// The step towards one wish; nothing if it is fulfilled.
pub fn step(node: NodeId, wish: &Wish, seen: &Seen) -> Option<Step> {
    let is_member = seen.members.contains_key(&node);
    let votes = seen.voters.contains(&node);
    match wish {
        Wish::Voter(_) | Wish::Learner(_) if seen.removed.contains(&node) => Some(wait(
            node,
            "its number was removed once and never comes back; give the replica a new node-id",
        )),
        Wish::Voter(member) | Wish::Learner(member) if !is_member => {
            Some(Step::Add(member.clone()))
        }
        Wish::Voter(_) if !votes => Some(promote(node, seen)),
        Wish::Learner(_) if votes => Some(withdraw(node, seen, Step::Demote(node))),
        Wish::Gone if votes => Some(withdraw(node, seen, Step::Remove(node))),
        Wish::Gone if is_member => Some(Step::Remove(node)),
        Wish::Voter(_) | Wish::Learner(_) | Wish::Gone => None,
    }
}

fn wait(node: NodeId, cause: impl Into<String>) -> Step {
    let cause = cause.into();
    Step::Wait { node, cause }
}

fn promote(node: NodeId, seen: &Seen) -> Step {
    let mut after = seen.voters.clone();
    after.insert(node);
    if let Some(cause) = seen.objection(&after) {
        return wait(node, cause);
    }
    if seen.caught_up(node) {
        return Step::Promote(node);
    }
    let matched = seen.matched.get(&node).copied().unwrap_or(0);
    let text = format!(
        "it is catching up, at entry {matched} of {}",
        seen.last_index
    );
    wait(node, text)
}

fn withdraw(node: NodeId, seen: &Seen, how: Step) -> Step {
    if let Some(cause) = seen.objection(&seen.without(node)) {
        return wait(node, cause);
    }
    if node != seen.own {
        return how;
    }
    match seen.successor() {
        Some(successor) => Step::HandOver(successor),
        None => wait(node, "it leads, and no other voter answers that could lead"),
    }
}

/// The steps that are due, what can be done now before what must wait. While a change is under way
/// there is only that.
pub fn steps(wishes: &BTreeMap<NodeId, Wish>, seen: &Seen) -> Vec<Step> {
    if seen.joint {
        return vec![Step::Finish];
    }
    let mut steps: Vec<_> = wishes
        .iter()
        .filter_map(|(node, wish)| step(*node, wish, seen))
        .collect();
    steps.sort_by_key(Step::rank);
    steps
}

/// The members as they will be after a step, if all goes well. For rehearsals.
pub fn after(seen: &Seen, step: &Step) -> Seen {
    let mut next = seen.clone();
    match step {
        Step::Add(member) => {
            next.members.insert(member.node_id, member.clone());
            next.live.insert(member.node_id);
            next.matched.insert(member.node_id, seen.last_index);
        }
        Step::Promote(node) => drop(next.voters.insert(*node)),
        Step::Demote(node) => drop(next.voters.remove(node)),
        Step::Remove(node) => {
            next.voters.remove(node);
            next.members.remove(node);
            next.removed.insert(*node);
        }
        Step::HandOver(node) => {
            next.own = *node;
            next.matched.insert(seen.own, seen.last_index);
        }
        Step::Finish => next.joint = false,
        Step::Wait { .. } => {}
    }
    next
}

/// All steps to the wishes, one after the other, each with the members after it.
pub fn rehearse(wishes: &BTreeMap<NodeId, Wish>, seen: &Seen) -> Vec<(Step, Seen)> {
    let mut now = seen.clone();
    let mut told = Vec::new();
    // Each wish takes four steps at most: add, promote, or hand over, remove.
    for _ in 0..=wishes.len() * 4 {
        let steps = steps(wishes, &now);
        let Some(next) = steps.first() else { break };
        if matches!(next, Step::Wait { .. }) {
            told.extend(steps.into_iter().map(|step| (step, now.clone())));
            break;
        }
        now = after(&now, next);
        told.push((next.clone(), now.clone()));
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Node;

    fn member(node_id: NodeId) -> Member {
        let node = Node {
            name: format!("jm-{node_id}"),
            api: format!("jm-{node_id}:7101"),
            peer: format!("jm-{node_id}:7201"),
        };
        Member { node_id, node }
    }

    /// Node 1 leads; the named ones answer.
    fn seen(voters: &[NodeId], live: &[NodeId]) -> Seen {
        Seen {
            own: 1,
            members: voters.iter().map(|id| (*id, member(*id))).collect(),
            voters: voters.iter().copied().collect(),
            live: live.iter().copied().collect(),
            matched: voters.iter().map(|id| (*id, 5_000)).collect(),
            last_index: 5_000,
            joint: false,
            removed: BTreeSet::new(),
        }
    }

    fn cause(step: Option<Step>) -> String {
        match step {
            Some(Step::Wait { cause, .. }) => cause,
            other => panic!("not refused: {other:?}"),
        }
    }

    #[test]
    fn a_new_replica_is_a_learner_first_and_votes_when_it_has_caught_up() {
        let mut seen = seen(&[1], &[1]);
        let wish = Wish::Voter(member(2));
        let added = step(2, &wish, &seen).unwrap();
        assert_eq!(added, Step::Add(member(2)));
        seen = after(&seen, &added);
        seen.matched.insert(2, 10);
        assert!(cause(step(2, &wish, &seen)).contains("at entry 10 of 5000"));
        seen.matched.insert(2, 4_500);
        assert_eq!(step(2, &wish, &seen), Some(Step::Promote(2)));
        seen.live.remove(&2);
        assert!(cause(step(2, &wish, &seen)).contains("start jm-2 first"));
        seen.voters.insert(2);
        assert_eq!(step(2, &wish, &seen), None);
    }

    #[test]
    fn the_dead_one_may_go_and_a_living_one_then_may_not() {
        let seen = seen(&[1, 2, 3], &[1, 2]);
        assert_eq!(step(3, &Wish::Gone, &seen), Some(Step::Remove(3)));
        let refused = cause(step(2, &Wish::Gone, &seen));
        assert!(refused.contains("of the 2 voters then left only 1 answer and 2 are needed"));
        assert!(refused.contains("jm-3"), "{refused}");
        assert!(cause(step(2, &Wish::Learner(member(2)), &seen)).contains("jm-3"));
    }

    #[test]
    fn the_last_voter_stays() {
        assert!(cause(step(1, &Wish::Gone, &seen(&[1], &[1]))).contains("last voter"));
    }

    #[test]
    fn the_leader_hands_over_before_it_goes() {
        let mut seen = seen(&[1, 2, 3], &[1, 2, 3]);
        seen.matched.insert(2, 4_000);
        assert_eq!(step(1, &Wish::Gone, &seen), Some(Step::HandOver(3)));
        let told = rehearse(&BTreeMap::from([(1, Wish::Gone)]), &seen);
        let steps: Vec<_> = told.iter().map(|(step, _)| step.clone()).collect();
        assert_eq!(steps, [Step::HandOver(3), Step::Remove(1)]);
        assert_eq!(told[1].1.margin().tolerates, 0);
    }

    #[test]
    fn a_removed_number_is_refused_and_an_unfinished_change_comes_first() {
        let mut seen = seen(&[1, 2, 3], &[1, 2, 3]);
        seen.removed.insert(4);
        let wishes = BTreeMap::from([(4, Wish::Voter(member(4)))]);
        assert!(cause(steps(&wishes, &seen).pop()).contains("never comes back"));
        seen.joint = true;
        assert_eq!(steps(&wishes, &seen), [Step::Finish]);
    }

    #[test]
    fn replacing_a_dead_member_never_lowers_the_margin() {
        let seen = seen(&[1, 2, 3], &[1, 2]);
        let wishes = BTreeMap::from([(3, Wish::Gone), (4, Wish::Voter(member(4)))]);
        let told = rehearse(&wishes, &seen);
        let steps: Vec<_> = told.iter().map(|(step, _)| step.clone()).collect();
        assert_eq!(
            steps,
            [Step::Add(member(4)), Step::Promote(4), Step::Remove(3)]
        );
        let tolerated: Vec<_> = told
            .iter()
            .map(|(_, seen)| seen.margin().tolerates)
            .collect();
        assert_eq!(tolerated, [0, 0, 1]);
    }

    #[test]
    fn growing_and_shrinking_tell_every_step() {
        let seen = seen(&[1, 2, 3], &[1, 2, 3]);
        let wishes = [4, 5].map(|id| (id, Wish::Voter(member(id))));
        let told = rehearse(&BTreeMap::from(wishes), &seen);
        assert_eq!(told.len(), 4);
        let grown = &told[3].1;
        assert_eq!(
            grown.margin(),
            Margin {
                voters: 5,
                quorum: 3,
                live: 5,
                tolerates: 2
            }
        );
        let told = rehearse(&BTreeMap::from([(4, Wish::Gone), (5, Wish::Gone)]), grown);
        assert_eq!(told[1].1.margin().tolerates, 1);
    }
}

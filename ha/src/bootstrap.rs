//! Forms a cluster, once: asks all named replicas, writes to all of them, initialises one.
//!
//! Repeatable after a crash at any step. Never done for a part of the named replicas: whoever doesn't
//! answer might be initialised already. The decision is a pure function of the answers; this module's
//! other half only asks. What a replica does when asked is `founding.rs`'s.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::join_all;
use regent_security::Dialer;
use regent_state::ids::ClusterId;
use tokio::time::timeout;
use tonic::{Response, Status};

use crate::error::BootstrapError;
use crate::link::{self, CallError};
use crate::shared::cluster_id_from;
use crate::types::{Member, NodeId};
use crate::wire::{self, proto};

/// How long one replica may take to answer one question.
const ASK_TIMEOUT: Duration = Duration::from_secs(3);

/// How bootstrap ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The cluster was formed now (or an interrupted bootstrap was finished).
    Formed(ClusterId),
    /// It had been formed before; nothing was done.
    AlreadyFormed(ClusterId),
}

impl Outcome {
    /// The cluster.
    pub fn cluster_id(&self) -> ClusterId {
        match self {
            Self::Formed(id) | Self::AlreadyFormed(id) => *id,
        }
    }
}

/// What a replica says about itself to anybody who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probed {
    /// Its number.
    pub node_id: NodeId,
    /// Its name.
    pub name: String,
    /// The cluster of its data directory.
    pub cluster_id: Option<ClusterId>,
    /// The cluster's generation.
    pub generation: u64,
    /// How often a process was started on the data directory.
    pub incarnation: u64,
    /// True once its log holds a membership.
    pub initialized: bool,
    /// Members that the log, or before that the bootstrap, names.
    pub members: Vec<Member>,
    /// Numbers that were removed.
    pub removed: BTreeSet<NodeId>,
    /// Whom it takes for the leader.
    pub leader: Option<NodeId>,
    /// Its Raft term.
    pub term: u64,
    /// Its role, for people.
    pub role: String,
    /// Index of its last entry.
    pub last_log_index: u64,
    /// Index up to which it has applied the log.
    pub applied_index: u64,
    /// Why it takes no part, if it doesn't.
    pub refusal: Option<String>,
    /// How clients reach it.
    pub api: String,
}

/// Asks the replica at `address` (`host:port` of its peer service) about itself. The error is for people.
pub async fn probe(dialer: &Dialer, address: &str) -> Result<Probed, String> {
    ask_probe(dialer, address).await.map_err(|e| e.to_string())
}

async fn ask_probe(dialer: &Dialer, address: &str) -> Result<Probed, CallError> {
    let mut client = link::client(link::channel(dialer, address)?);
    let reply = asked(client.probe(proto::ProbeRequest {})).await?;
    Ok(probed(&reply))
}

async fn asked<T>(
    question: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, CallError> {
    match timeout(ASK_TIMEOUT, question).await {
        Ok(Ok(reply)) => Ok(reply.into_inner()),
        Ok(Err(status)) => Err(link::classify(&status)),
        Err(_) => Err(CallError::Timeout(ASK_TIMEOUT)),
    }
}

fn probed(reply: &proto::ProbeReply) -> Probed {
    Probed {
        node_id: reply.node_id,
        name: reply.name.clone(),
        cluster_id: cluster_id_from(&reply.cluster_id),
        generation: reply.generation,
        incarnation: reply.incarnation,
        initialized: reply.initialized,
        members: reply.members.iter().map(wire::member_from).collect(),
        removed: reply.removed.iter().copied().collect(),
        leader: (reply.leader != 0).then_some(reply.leader),
        term: reply.term,
        role: reply.role.clone(),
        last_log_index: reply.last_log_index,
        applied_index: reply.applied_index,
        refusal: (!reply.refusal.is_empty()).then(|| reply.refusal.clone()),
        api: reply.api.clone(),
    }
}

/// Forms the cluster of exactly `members`, named `cluster_id` (or, if `None`, as an interrupted bootstrap
/// named it, or at random). Under TLS the dialer shows a certificate of the role admin or peer.
pub async fn bootstrap(
    dialer: &Dialer,
    members: &[Member],
    cluster_id: Option<ClusterId>,
) -> Result<Outcome, BootstrapError> {
    check_members(members)?;
    let answers = join_all(members.iter().map(|m| ask_probe(dialer, &m.node.peer))).await;
    let cluster_id = match decide(members, cluster_id, &answers)? {
        Decision::Already(cluster_id) => return Ok(Outcome::AlreadyFormed(cluster_id)),
        Decision::Form(Some(cluster_id)) => cluster_id,
        Decision::Form(None) => ClusterId(rand::random()),
    };
    for member in members {
        prepare(dialer, member, cluster_id, members).await?;
    }
    initialize(dialer, founder(members), cluster_id).await?;
    Ok(Outcome::Formed(cluster_id))
}

/// The one that is initialised: always the same, so that repeating can't initialise a second.
fn founder(members: &[Member]) -> &Member {
    members
        .iter()
        .min_by_key(|member| member.node_id)
        .expect("members were checked not to be empty")
}

fn check_members(members: &[Member]) -> Result<(), BootstrapError> {
    let wrong = |text: String| Err(BootstrapError::Members(text));
    if members.is_empty() {
        return wrong("none are named".to_owned());
    }
    let mut ids = BTreeSet::new();
    let mut addresses = BTreeSet::new();
    for member in members {
        if member.node_id == 0 {
            return wrong(format!("{} has node id 0", member.node.name));
        }
        if !ids.insert(member.node_id) {
            return wrong(format!("node id {} is named twice", member.node_id));
        }
        if !addresses.insert(&member.node.peer) {
            return wrong(format!("address {} is named twice", member.node.peer));
        }
    }
    Ok(())
}

#[derive(Debug, PartialEq, Eq)]
enum Decision {
    Already(ClusterId),
    Form(Option<ClusterId>),
}

fn decide(
    members: &[Member],
    wanted: Option<ClusterId>,
    answers: &[Result<Probed, CallError>],
) -> Result<Decision, BootstrapError> {
    if let Some(decision) = initialised_before(members, wanted, answers)? {
        return Ok(decision);
    }
    let mut cluster_id = wanted;
    for (member, answer) in members.iter().zip(answers) {
        let probed = answer
            .as_ref()
            .map_err(|error| unreachable(member, error))?;
        check_replica(member, members, probed)?;
        let Some(theirs) = probed.cluster_id else {
            continue;
        };
        match cluster_id {
            Some(ours) if ours != theirs => return Err(foreign(member, theirs, ours)),
            _ => cluster_id = Some(theirs),
        }
    }
    Ok(Decision::Form(cluster_id))
}

/// Any initialised replica ends the matter, whoever else answers.
fn initialised_before(
    members: &[Member],
    wanted: Option<ClusterId>,
    answers: &[Result<Probed, CallError>],
) -> Result<Option<Decision>, BootstrapError> {
    let mut found: Option<ClusterId> = None;
    for (member, answer) in members.iter().zip(answers) {
        let Ok(probed) = answer else { continue };
        let Some(theirs) = probed.cluster_id.filter(|_| probed.initialized) else {
            continue;
        };
        if let Some(ours) = wanted.or(found).filter(|ours| *ours != theirs) {
            return Err(foreign(member, theirs, ours));
        }
        found = Some(theirs);
    }
    Ok(found.map(Decision::Already))
}

fn check_replica(
    member: &Member,
    members: &[Member],
    probed: &Probed,
) -> Result<(), BootstrapError> {
    if probed.node_id != member.node_id {
        return Err(BootstrapError::Refused(format!(
            "{} is node {}, not node {}",
            member.node.peer, probed.node_id, member.node_id
        )));
    }
    if let Some(reason) = &probed.refusal {
        return Err(BootstrapError::Refused(format!(
            "node {}: {reason}",
            member.node_id
        )));
    }
    if probed.cluster_id.is_some() && !same_members(members, &probed.members) {
        return Err(BootstrapError::Refused(format!(
            "node {} was prepared for other members; name the same ones, or empty its data directory",
            member.node_id
        )));
    }
    Ok(())
}

/// True if both lists name the same replicas, in any order.
pub(crate) fn same_members(a: &[Member], b: &[Member]) -> bool {
    a.len() == b.len() && a.iter().all(|member| b.contains(member))
}

fn foreign(member: &Member, theirs: ClusterId, ours: ClusterId) -> BootstrapError {
    BootstrapError::Refused(format!(
        "node {} at {} belongs to cluster {theirs}, not to {ours}; name other replicas, or give it an \
         empty data directory",
        member.node_id, member.node.peer
    ))
}

fn unreachable(member: &Member, error: &CallError) -> BootstrapError {
    BootstrapError::Unreachable {
        member: format!("{} ({})", member.node.name, member.node.peer),
        cause: error.to_string(),
    }
}

/// Writes cluster id and members into one replica's data directory.
async fn prepare(
    dialer: &Dialer,
    member: &Member,
    cluster_id: ClusterId,
    members: &[Member],
) -> Result<(), BootstrapError> {
    let request = proto::PrepareRequest {
        cluster_id: cluster_id.to_string(),
        members: members.iter().map(wire::member_to).collect(),
    };
    let channel = link::channel(dialer, &member.node.peer).map_err(|e| unreachable(member, &e))?;
    let reply = asked(link::client(channel).prepare(request))
        .await
        .map_err(|e| unreachable(member, &e))?;
    accepted(member, reply.accepted, reply.refusal)
}

async fn initialize(
    dialer: &Dialer,
    member: &Member,
    cluster_id: ClusterId,
) -> Result<(), BootstrapError> {
    let request = proto::InitializeRequest {
        cluster_id: cluster_id.to_string(),
    };
    let channel = link::channel(dialer, &member.node.peer).map_err(|e| unreachable(member, &e))?;
    let reply = asked(link::client(channel).initialize(request))
        .await
        .map_err(|e| unreachable(member, &e))?;
    accepted(member, reply.accepted, reply.refusal)
}

fn accepted(member: &Member, accepted: bool, refusal: String) -> Result<(), BootstrapError> {
    if accepted {
        return Ok(());
    }
    Err(BootstrapError::Refused(format!(
        "node {}: {refusal}",
        member.node_id
    )))
}

/// The steps of bootstrap, for tests that end it between two of them.
#[doc(hidden)]
pub mod steps {
    use super::*;

    /// The step that writes to one replica.
    pub async fn prepare(
        member: &Member,
        cluster_id: ClusterId,
        members: &[Member],
    ) -> Result<(), BootstrapError> {
        super::prepare(&Dialer::plain(), member, cluster_id, members).await
    }

    /// The step that writes the first membership on one replica.
    pub async fn initialize(member: &Member, cluster_id: ClusterId) -> Result<(), BootstrapError> {
        super::initialize(&Dialer::plain(), member, cluster_id).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Node;

    fn member(node_id: NodeId) -> Member {
        Member {
            node_id,
            node: Node {
                name: format!("jm-{node_id}"),
                api: format!("127.0.0.1:710{node_id}"),
                peer: format!("127.0.0.1:720{node_id}"),
            },
        }
    }

    fn three() -> Vec<Member> {
        (1..=3).map(member).collect()
    }

    fn id(byte: u8) -> ClusterId {
        ClusterId([byte; 16])
    }

    fn empty(node_id: NodeId) -> Probed {
        let mut probed = probed(&proto::ProbeReply::default());
        probed.node_id = node_id;
        probed
    }

    fn prepared(node_id: NodeId, cluster: u8) -> Probed {
        let mut probed = empty(node_id);
        probed.cluster_id = Some(id(cluster));
        probed.members = three();
        probed
    }

    fn initialised(node_id: NodeId, cluster: u8) -> Probed {
        let mut probed = prepared(node_id, cluster);
        probed.initialized = true;
        probed
    }

    fn gone() -> Result<Probed, CallError> {
        Err(CallError::Unreachable("refused".to_owned()))
    }

    #[test]
    fn all_empty_is_formed_and_a_prepared_one_names_the_cluster() {
        let answers = [1, 2, 3].map(|n| Ok(empty(n)));
        assert_eq!(
            decide(&three(), None, &answers).unwrap(),
            Decision::Form(None)
        );
        let answers = [Ok(empty(1)), Ok(prepared(2, 7)), Ok(empty(3))];
        assert_eq!(
            decide(&three(), None, &answers).unwrap(),
            Decision::Form(Some(id(7)))
        );
    }

    #[test]
    fn an_initialised_one_ends_the_matter_even_if_others_are_gone() {
        let answers = [gone(), Ok(initialised(2, 7)), gone()];
        assert_eq!(
            decide(&three(), Some(id(7)), &answers).unwrap(),
            Decision::Already(id(7))
        );
        let other = decide(&three(), Some(id(8)), &answers);
        assert!(matches!(other, Err(BootstrapError::Refused(_))));
    }

    #[test]
    fn never_for_a_part() {
        let answers = [Ok(empty(1)), gone(), Ok(empty(3))];
        let decision = decide(&three(), None, &answers);
        assert!(matches!(decision, Err(BootstrapError::Unreachable { .. })));
    }

    #[test]
    fn other_nodes_clusters_and_members_are_refused() {
        let strangers: [[Probed; 3]; 4] = [
            [empty(1), empty(9), empty(3)],
            [prepared(1, 7), prepared(2, 8), empty(3)],
            [empty(1), empty(2), {
                let mut other = prepared(3, 7);
                other.members.pop();
                other
            }],
            [empty(1), empty(2), {
                let mut refusing = empty(3);
                refusing.refusal = Some("lost data".to_owned());
                refusing
            }],
        ];
        for answers in strangers {
            let decision = decide(&three(), None, &answers.map(Ok));
            assert!(matches!(decision, Err(BootstrapError::Refused(_))));
        }
    }

    #[test]
    fn members_must_be_distinct() {
        assert!(check_members(&[]).is_err());
        assert!(check_members(&[member(1), member(1)]).is_err());
        let mut same_address = member(2);
        same_address.node.peer = member(1).node.peer;
        assert!(check_members(&[member(1), same_address]).is_err());
        assert!(check_members(&three()).is_ok());
    }
}

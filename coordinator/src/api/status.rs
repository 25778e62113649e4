//! What this replica says of itself. Works without a leader and without a majority; asks nobody.

use regent_ha::{Leadership, Phase, Role};
use regent_protocol::view;

use crate::node::{Node, wall_ms};

pub(crate) fn node_status(node: &Node) -> view::NodeStatus {
    let status = node.replica.status();
    let view = node.replica.stale();
    let leadership = node.replica.leadership().borrow().clone();
    let leading = matches!(leadership, Leadership::Leading(_));
    let reign = view.machine.reign().filter(|_| leading);
    let member = |member: &regent_ha::Member| view::MemberView {
        node_id: member.node_id,
        name: member.node.name.clone(),
        role: if status.voters.contains(&member.node_id) {
            "voter"
        } else {
            "learner"
        }
        .to_owned(),
        peer: member.node.peer.clone(),
        api: member.node.api.clone(),
    };
    let peer = |peer: &regent_ha::PeerProgress| view::PeerView {
        node_id: peer.node_id,
        matched_index: peer.matched_index,
        last_contact_ms: peer.last_contact_ms,
    };
    let mut members: Vec<_> = status.members.iter().map(member).collect();
    if members.is_empty() {
        // Before bootstrap it names itself, so that a client learns how peers reach it.
        members.push(view::MemberView {
            node_id: status.node_id,
            name: status.name.clone(),
            role: "learner".to_owned(),
            peer: peer_address(node),
            api: node.api.clone(),
        });
    }
    view::NodeStatus {
        role: role(&status.phase, status.role, status.bootstrapped).to_owned(),
        cluster_id: status.cluster_id.clone(),
        generation: status.generation,
        node_id: status.node_id,
        name: status.name.clone(),
        api: node.api.clone(),
        term: status.term,
        leader: status.leader.as_ref().map(|leader| leader.node_id),
        last_log_index: status.last_log_index.unwrap_or(0),
        applied_index: status.applied_index,
        state_hash: format!("{:032x}", status.hash),
        leading_since_ms: reign.map(|reign| reign.from_ms),
        last_contact_ms: status.leader_heard_ms.filter(|_| !leading),
        incarnation: status.incarnation,
        members,
        peers: status.peers.iter().map(peer).collect(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        now_ms: wall_ms(),
        committed_index: status.committed_index,
        contacts: status.contacts.iter().map(contact).collect(),
        refused: match &status.phase {
            Phase::Refused(reason) => Some(reason.clone()),
            Phase::Empty | Phase::Member => None,
        },
        failure: status.failure.clone(),
        divergence: status.divergence.clone(),
        disk: disk(node),
        tls: tls(node),
    }
}

fn tls(node: &Node) -> Option<view::TlsView> {
    node.security.credentials.as_ref()?;
    let renewal = node.security.renewal();
    let ms = |seconds: u64| seconds.saturating_mul(1_000);
    Some(view::TlsView {
        from_ms: renewal.validity.map(|v| ms(v.from_s)),
        until_ms: renewal.validity.map(|v| ms(v.until_s)),
        renewed: renewal.renewed,
        refused: renewal.refused,
    })
}

fn contact(contact: &regent_ha::Contact) -> view::ContactView {
    view::ContactView {
        node_id: contact.node_id,
        heard_ms: contact.heard_ms,
    }
}

fn disk(node: &Node) -> view::DiskView {
    let log = node.replica.log_metrics();
    let age = |since: std::time::Instant| u64::try_from(since.elapsed().as_millis()).ok();
    view::DiskView {
        data_dir: node.config.data_dir.display().to_string(),
        full: log.disk_full,
        poisoned: log.poisoned,
        outstanding_ms: log.outstanding_since.and_then(age),
    }
}

/// How other replicas are told to reach this one.
fn peer_address(node: &Node) -> String {
    let told = node.config.advertise.peer.clone();
    told.unwrap_or_else(|| node.replica.peer_address().to_string())
}

fn role(phase: &Phase, role: Role, bootstrapped: bool) -> &'static str {
    match (phase, role) {
        (Phase::Empty, _) => "uninitialised",
        (Phase::Member, _) if !bootstrapped => "uninitialised",
        (Phase::Refused(_), _) | (_, Role::Down) => "learner",
        (_, Role::Leader) => "leader",
        (_, Role::Follower) => "follower",
        (_, Role::Candidate) => "candidate",
        (_, Role::Learner) => "learner",
    }
}

//! **The one table of who may do what.** Whatever isn't in a deed's list is refused.
//!
//! Callers are checked against it twice: by the path of the request before it is decoded
//! (`gatekeeper.rs`), and by the decoded command where one path carries many (reads and changes).

use std::fmt;

use crate::connection::{Origin, Shown};
use crate::identity::{Identity, Role};
use crate::tokens::Tokens;

/// Something that is asked of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Deed {
    /// `/livez`, `/readyz`, `/leader`.
    LookAtHealth,
    /// `/metrics`.
    ReadMetrics,
    /// What a replica alone knows.
    ReadStatus,
    /// Jobs, checkpoints, workers, cleanup, members, history.
    Read,
    /// Entries of the log and the state after each, configuration of jobs included.
    ReadLog,
    /// A comparison of log and object store, which lists the whole store.
    CompareStore,
    /// Runs, stops and cancels jobs, takes savepoints, drains workers, retries cleanups.
    Operate,
    /// Members, leadership, giving up what is kept.
    Administer,
    /// The whole replicated state as a file.
    SaveState,
    /// Requests of others, passed on by a replica that has authorised them.
    Forward,
    /// A TaskManager's session with the leader.
    HoldSession,
    /// Who leads, as it changes.
    WatchLeader,
    /// A worker's process was reaped.
    ReportDeath,
    /// Raft between replicas.
    Replicate,
    /// Forming a cluster: who is there, first identity, first membership.
    Found,
    /// Rows from another worker's tasks.
    TakeRows,
}

impl Deed {
    /// All deeds.
    pub const ALL: [Self; 16] = [
        Self::LookAtHealth,
        Self::ReadMetrics,
        Self::ReadStatus,
        Self::Read,
        Self::ReadLog,
        Self::CompareStore,
        Self::Operate,
        Self::Administer,
        Self::SaveState,
        Self::Forward,
        Self::HoldSession,
        Self::WatchLeader,
        Self::ReportDeath,
        Self::Replicate,
        Self::Found,
        Self::TakeRows,
    ];
}

/// Who may do it. Health is for everybody, with and without a certificate.
#[must_use]
pub fn allowed(deed: Deed) -> &'static [Role] {
    use Role::{Admin, Operator, Peer, Viewer, Worker};
    match deed {
        Deed::LookAtHealth => &Role::ALL,
        Deed::ReadMetrics | Deed::Read => &[Viewer, Operator, Admin],
        Deed::ReadStatus => &[Viewer, Operator, Admin, Peer],
        Deed::ReadLog | Deed::CompareStore | Deed::Operate => &[Operator, Admin],
        Deed::Administer | Deed::SaveState | Deed::ReportDeath => &[Admin],
        Deed::Forward | Deed::Replicate => &[Peer],
        Deed::Found => &[Peer, Admin],
        Deed::HoldSession | Deed::WatchLeader | Deed::TakeRows => &[Worker],
    }
}

/// Somebody who asks for something.
#[derive(Debug, Clone)]
pub struct Caller(Standing);

#[derive(Debug, Clone)]
enum Standing {
    /// Reached a process that has no TLS.
    Trusted,
    /// Somebody with a certificate, and the role that certificate and token give.
    Known(Identity),
    /// Nobody, and what was missing.
    Nobody(String),
}

/// A refusal with its remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Denied(pub String);

impl Caller {
    /// Everybody who reaches a process without TLS.
    #[must_use]
    pub fn trusted() -> Self {
        Self(Standing::Trusted)
    }

    /// Nobody in particular.
    #[must_use]
    pub fn nobody() -> Self {
        Self(Standing::Nobody(NO_CERTIFICATE.to_owned()))
    }

    /// Works out who calls, from the connection and the `authorization` header.
    #[must_use]
    pub fn of(origin: Option<&Origin>, authorization: Option<&[u8]>, tokens: &Tokens) -> Self {
        match origin.map(|origin| &origin.shown) {
            Some(Shown::Plain) => Self::trusted(),
            Some(Shown::Certificate(identity)) => {
                let token = authorization.map(|header| token_role(header, tokens));
                Self(standing(identity, token))
            }
            Some(Shown::Nobody(why)) => Self(Standing::Nobody(format!("your certificate {why}"))),
            Some(Shown::Nothing) | None => Self::nobody(),
        }
    }

    /// Whether it may do this.
    ///
    /// # Errors
    /// It may not; the text says what it is, what is needed, and how to get there.
    pub fn may(&self, deed: Deed) -> Result<(), Denied> {
        let denied = match &self.0 {
            Standing::Trusted => return Ok(()),
            // Probes come without a certificate.
            _ if deed == Deed::LookAtHealth => return Ok(()),
            Standing::Known(identity) if allowed(deed).contains(&identity.role) => return Ok(()),
            Standing::Known(identity) => {
                let roles: Vec<_> = allowed(deed).iter().map(|role| role.name()).collect();
                let remedy = match identity.role.reach() {
                    Some(_) => "; take another certificate, or a token: --token-file FILE",
                    None => "",
                };
                format!(
                    "this needs the role {}, you are {identity}{remedy}",
                    roles.join(" or ")
                )
            }
            Standing::Nobody(why) => why.clone(),
        };
        Err(Denied(denied))
    }

    /// Whether there is no TLS, so that everybody may do everything.
    pub(crate) fn is_trusted(&self) -> bool {
        matches!(self.0, Standing::Trusted)
    }

    /// Whether it is a JobManager of this cluster.
    #[must_use]
    pub fn is_peer(&self) -> bool {
        matches!(&self.0, Standing::Known(identity) if identity.role == Role::Peer)
    }

    /// The holder of the certificate, with the role that counts. `None`: there is no TLS, or nobody.
    #[must_use]
    pub fn identity(&self) -> Option<&Identity> {
        match &self.0 {
            Standing::Known(identity) => Some(identity),
            Standing::Trusted | Standing::Nobody(_) => None,
        }
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Standing::Trusted => f.write_str("trusted"),
            Standing::Known(identity) => identity.fmt(f),
            Standing::Nobody(_) => f.write_str("nobody"),
        }
    }
}

const NO_CERTIFICATE: &str = "a certificate of the cluster's authority is needed: --tls-ca, \
                              --tls-certificate and --tls-key";

/// The token's role, or why there is none.
fn token_role(header: &[u8], tokens: &Tokens) -> Result<Role, &'static str> {
    let (scheme, token) = header
        .split_at_checked(7)
        .ok_or("the token isn't known here")?;
    if !scheme.eq_ignore_ascii_case(b"bearer ") {
        return Err("only bearer tokens are understood");
    }
    tokens.role(token).ok_or("the token isn't known here")
}

/// What certificate and token come to. A token raises a client, never a process; a wrong one is said.
fn standing(identity: &Identity, token: Option<Result<Role, &'static str>>) -> Standing {
    let role = match token {
        None => identity.role,
        Some(_) if identity.role.reach().is_none() => identity.role,
        Some(Ok(role)) if role.reach() > identity.role.reach() => role,
        Some(Ok(_)) => identity.role,
        Some(Err(why)) => return Standing::Nobody(why.to_owned()),
    };
    Standing::Known(Identity {
        role,
        name: identity.name.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(role: Role, token: Option<Role>) -> Caller {
        let identity = Identity {
            role,
            name: "x".to_owned(),
        };
        Caller(standing(&identity, token.map(Ok)))
    }

    #[test]
    fn the_table_as_a_whole() {
        let may = |caller: &Caller| {
            let deeds = Deed::ALL.iter().filter(|deed| caller.may(**deed).is_ok());
            deeds.copied().collect::<Vec<_>>()
        };
        use Deed::*;
        assert_eq!(may(&Caller::nobody()), [LookAtHealth]);
        assert_eq!(may(&known(Role::Client, None)), [LookAtHealth]);
        let viewer = [LookAtHealth, ReadMetrics, ReadStatus, Read];
        assert_eq!(may(&known(Role::Viewer, None)), viewer);
        let operator = [&viewer[..], &[ReadLog, CompareStore, Operate]].concat();
        assert_eq!(may(&known(Role::Operator, None)), operator);
        let admin = [&operator[..], &[Administer, SaveState, ReportDeath, Found]].concat();
        assert_eq!(may(&known(Role::Admin, None)), admin);
        let worker = [LookAtHealth, HoldSession, WatchLeader, TakeRows];
        assert_eq!(may(&known(Role::Worker, None)), worker);
        let peer = [LookAtHealth, ReadStatus, Forward, Replicate, Found];
        assert_eq!(may(&known(Role::Peer, None)), peer);
        assert_eq!(may(&Caller::trusted()), Deed::ALL);
    }

    #[test]
    fn a_token_raises_a_client_and_never_a_process() {
        let role = |role, token| known(role, token).identity().map(|known| known.role);
        assert_eq!(
            role(Role::Client, Some(Role::Operator)),
            Some(Role::Operator)
        );
        assert_eq!(role(Role::Admin, Some(Role::Viewer)), Some(Role::Admin));
        assert_eq!(role(Role::Worker, Some(Role::Admin)), Some(Role::Worker));
        assert_eq!(role(Role::Peer, Some(Role::Admin)), Some(Role::Peer));
    }

    #[test]
    fn a_wrong_token_is_said_and_gives_nothing() {
        let identity = Identity {
            role: Role::Admin,
            name: "x".to_owned(),
        };
        let tokens = Tokens::default();
        for header in ["", "Bearer", "Bearer ", "Bearer abc", "Basic abc"] {
            let role = token_role(header.as_bytes(), &tokens);
            let caller = Caller(standing(&identity, Some(role)));
            assert!(caller.may(Deed::Read).is_err(), "{header}");
        }
    }
}

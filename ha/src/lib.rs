//! Replication around the pure centre: every replica applies the same log to the same machine.
//!
//! `regent_state` decides what entries mean and `regent_storage` keeps bytes; this crate puts openraft
//! between them and lets replicas talk. It knows nothing of jobs, workers or clients.
//!
//! | a reader looks for | in |
//! | --- | --- |
//! | what a JobManager calls | [`replica`] |
//! | who leads, and since when it counts | [`leadership`] |
//! | forming a cluster | [`mod@bootstrap`], `founding`, `lookout` |
//! | who the members are to be | [`membership`] |
//! | proposing, reading | `proposals`, `reads`, `rounds` |
//! | restoring a snapshot, recovering from a lost majority | [`rebirth`] |
//! | whom a replica believes | `memory`, `shared` |
//! | messages between replicas | `network`, `link`, `server`, `wire`, `proto/peer.proto` |
//! | log, state and snapshots as openraft sees them | `log`, `machine`, `snapshot`, `recovery`, `entry` |
//! | noticing that replicas or their clocks disagree | `agreement`, `clocks` |
//! | when each step of a takeover happened, and what fast failover came to | `takeover`, `tally` |
//! | entries of the log and the state as it was | [`past`] |
//! | handing leadership over, noticing a death early | `transfer`, `turn`, `failover`, `watching` |
//! | noticing that nothing moves | `watchdog` |

mod agreement;
pub mod bootstrap;
mod clocks;
pub mod config;
mod entry;
pub mod error;
pub mod failover;
mod founding;
pub mod hints;
pub mod leadership;
mod link;
mod log;
mod lookout;
mod machine;
pub mod membership;
mod memory;
mod network;
pub mod past;
mod proposals;
mod raft;
mod reads;
pub mod rebirth;
mod receive_snapshot;
mod recovery;
pub mod replica;
mod rounds;
mod send_snapshot;
mod server;
mod shared;
mod snapshot;
mod snapshotting;
mod startup;
pub mod status;
#[cfg(test)]
mod suite;
mod takeover;
mod tally;
pub mod transfer;
mod turn;
pub mod types;
pub mod view;
mod watchdog;
mod watching;
mod wire;

pub use regent_security::Dialer;

pub use bootstrap::{Outcome, Probed, bootstrap, probe};
pub use config::{ReplicaConfig, Timing};
pub use error::{BootstrapError, ProposeError, ReadError, StartError, TransferError};
pub use hints::{Announcer, EffectHints, Hints, Listener};
pub use leadership::{Leadership, Reign};
pub use membership::MembershipError;
pub use past::{LastChange, PastContent, PastEntry, PastError, PastState};
pub use proposals::Proposed;
pub use replica::{ClientProposal, Replica};
pub use shared::Phase;
pub use status::{Contact, PeerProgress, Role, Status};
pub use takeover::Takeover;
pub use tally::FailoverCounts;
pub use transfer::Transferred;
pub use types::{Member, Node, NodeId};
pub use view::{Standing, View, Views};

/// The peer service as an encoded `FileDescriptorSet`, for tools that read any of its messages.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

//! One replica with a door for any command: the real log, replication and state machine, without API and
//! reconcilers. It exists because clients can't ask for what only the leader's reconcilers propose.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use regent_ha::{ClientProposal, Leadership, Reign, Replica, ReplicaConfig};
use regent_state::Command;
use regent_state::command::Authority;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

use crate::Outcome as Done;
use crate::proto::door::door_server::{Door, DoorServer};
use crate::proto::door::{Outcome, Proposal};

/// What a member is started with.
#[derive(Debug, clap::Args)]
pub(crate) struct Settings {
    /// Its data directory
    #[arg(long)]
    dir: PathBuf,
    /// Its number
    #[arg(long)]
    node: u64,
    /// Where the door is
    #[arg(long)]
    door: SocketAddr,
    /// Where other members reach it
    #[arg(long)]
    peer: String,
    /// Where it reaches the others
    #[arg(long, value_delimiter = ',')]
    peers: Vec<String>,
}

/// A value as the door carries it.
pub(crate) fn packed(value: &impl serde::Serialize) -> Done<Bytes> {
    let bytes = bincode::serde::encode_to_vec(value, bincode::config::standard())?;
    Ok(Bytes::from(bytes))
}

/// A value that the door carried.
pub(crate) fn unpacked<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Done<T> {
    let config = bincode::config::standard().with_limit::<{ 16 << 20 }>();
    Ok(bincode::serde::decode_from_slice(bytes, config)?.0)
}

/// Runs until it is killed.
pub(crate) async fn run(settings: Settings) -> Done<()> {
    tracing_subscriber::fmt().with_ansi(false).init();
    let mut config =
        ReplicaConfig::new(settings.dir, settings.node, format!("jm-{}", settings.node));
    config.api = settings.door.to_string();
    config.listen_peer = settings.peer;
    config.peers = settings.peers;
    let listener = tokio::net::TcpListener::bind(settings.door).await?;
    let replica = Replica::start(config).await?;
    let doorkeeper = Doorkeeper { replica };
    Server::builder()
        .tcp_nodelay(true)
        .add_service(DoorServer::new(doorkeeper))
        .serve_with_incoming(TcpListenerStream::new(listener))
        .await?;
    Ok(())
}

struct Doorkeeper {
    replica: Replica,
}

fn unavailable(error: impl std::fmt::Display) -> Status {
    Status::unavailable(error.to_string())
}

#[tonic::async_trait]
impl Door for Doorkeeper {
    type ProposeStream = Pin<Box<dyn Stream<Item = Result<Outcome, Status>> + Send>>;

    async fn propose(
        &self,
        request: Request<Streaming<Proposal>>,
    ) -> Result<Response<Self::ProposeStream>, Status> {
        let standing = self.replica.leadership().borrow().clone();
        let reign = match standing {
            Leadership::Leading(reign) => reign,
            Leadership::Following { leader, .. } => {
                // The caller goes there: the coordinator that it stands for is always with the leader.
                return Err(Status::failed_precondition(leader.node.api));
            }
            Leadership::None => return Err(unavailable("no leader")),
        };
        let replica = self.replica.clone();
        let outcomes = request.into_inner().then(move |proposal| {
            let (replica, reign) = (replica.clone(), reign.clone());
            async move { propose(&replica, &reign, &proposal?).await }
        });
        Ok(Response::new(Box::pin(outcomes)))
    }
}

async fn propose(replica: &Replica, reign: &Reign, proposal: &Proposal) -> Result<Outcome, Status> {
    let command: Command = unpacked(&proposal.command).map_err(unavailable)?;
    let proposed = match command.authority() {
        Authority::Client => {
            let proposal = ClientProposal {
                request: None,
                actor: "benchmark".to_owned(),
                command,
            };
            replica.propose_client(proposal).await
        }
        _ => {
            replica
                .propose_as_leader(reign, "checkpoints", command)
                .await
        }
    };
    let proposed = proposed.map_err(unavailable)?;
    Ok(Outcome {
        response: packed(&proposed.response).map_err(unavailable)?,
    })
}

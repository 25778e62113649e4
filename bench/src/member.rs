//! One replica with a door for any command: the real log, replication and state machine, without API and
//! reconcilers. It exists because clients can't ask for what only the leader's reconcilers propose.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use regent_ha::{ClientProposal, Leadership, Reign, Replica, ReplicaConfig};
use regent_state::command::Authority;
use regent_state::{Command, Response as Answer};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

use crate::Outcome as Done;
use crate::client::{CheckpointClient, Client};
use crate::load::{self, Operation, Span};
use crate::proto::door::door_server::{Door, DoorServer};
use crate::proto::door::{Load, Measured, Outcome, Proposal};

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

impl Doorkeeper {
    fn reign(&self) -> Result<Reign, Status> {
        match self.replica.leadership().borrow().clone() {
            Leadership::Leading(reign) => Ok(reign),
            // The caller goes there: the coordinator that it stands for is always with the leader.
            Leadership::Following { leader, .. } => {
                Err(Status::failed_precondition(leader.node.api))
            }
            Leadership::None => Err(unavailable("no leader")),
        }
    }
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
        let reign = self.reign()?;
        let replica = self.replica.clone();
        let outcomes = request.into_inner().then(move |proposal| {
            let (replica, reign) = (replica.clone(), reign.clone());
            async move { propose(&replica, &reign, &proposal?).await }
        });
        Ok(Response::new(Box::pin(outcomes)))
    }

    async fn repeat(&self, request: Request<Load>) -> Result<Response<Measured>, Status> {
        let reign = self.reign()?;
        let load = request.into_inner();
        let span = Span {
            warm_up: Duration::from_millis(load.warm_up_ms),
            measured: Duration::from_millis(load.measured_ms),
        };
        let mut clients = Vec::new();
        for _ in 0..load.clients {
            let inside = Inside {
                replica: self.replica.clone(),
                reign: reign.clone(),
            };
            let client = CheckpointClient::inside(inside)
                .await
                .map_err(unavailable)?;
            clients.push(Client::Door(Box::new(client)));
        }
        let measured = load::repeat_all(clients, Operation::Write, span, || ()).await;
        let (micros, errors, _) = measured.map_err(unavailable)?;
        Ok(Response::new(Measured { micros, errors }))
    }
}

/// A client's way to the log from inside the leader's process.
#[derive(Debug)]
pub(crate) struct Inside {
    replica: Replica,
    reign: Reign,
}

impl Inside {
    /// Proposes and waits until it is applied.
    pub(crate) async fn propose(&self, command: Command) -> Done<Answer> {
        Ok(carry_in(&self.replica, &self.reign, command).await?)
    }
}

async fn propose(replica: &Replica, reign: &Reign, proposal: &Proposal) -> Result<Outcome, Status> {
    let command: Command = unpacked(&proposal.command).map_err(unavailable)?;
    let response = carry_in(replica, reign, command).await?;
    Ok(Outcome {
        response: packed(&response).map_err(unavailable)?,
    })
}

async fn carry_in(replica: &Replica, reign: &Reign, command: Command) -> Result<Answer, Status> {
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
    Ok(proposed.map_err(unavailable)?.response)
}

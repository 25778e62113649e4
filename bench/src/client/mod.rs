//! One client, one connection, one request in flight; a kind for each kind of server.
//!
//! Each kind's own module knows how to ask; this one only chooses.

mod api;
mod checkpoints;
mod etcd;
mod zookeeper;

use tonic::transport::{Channel, Endpoint};

use crate::Outcome;

pub(crate) use api::{Submitter, prepare as prepare_api};
pub(crate) use checkpoints::{CheckpointClient, repeat_inside};
pub(crate) use etcd::leader as etcd_leader;
pub(crate) use zookeeper::{
    is_leader as zookeeper_leads, prepare as prepare_zookeeper, version as zookeeper_version,
};

/// Bytes of a value.
pub(crate) const VALUE_BYTES: usize = 256;

/// What kind of server is asked, and for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// JobManagers, through the API that every client uses.
    Api,
    /// Replicas, through the benchmark's door: checkpoints begun and completed.
    Door,
    /// The same inside the leader's process.
    Inside,
    /// etcd.
    Etcd,
    /// ZooKeeper.
    ZooKeeper,
}

/// Whom a load goes to.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) kind: Kind,
    /// `host:port` of each member.
    pub(crate) members: Vec<String>,
    /// The job that the API's clients ask about.
    pub(crate) job: String,
}

impl Target {
    /// The member that a client talks to.
    pub(crate) fn member(&self, number: usize) -> &str {
        &self.members[number % self.members.len()]
    }
}

/// A connected client.
#[derive(Debug)]
pub(crate) enum Client {
    Api(api::ApiClient),
    Door(Box<checkpoints::CheckpointClient>),
    Etcd(etcd::EtcdClient),
    ZooKeeper(zookeeper::ZooKeeperClient),
}

impl Client {
    /// The client of that number, on its member.
    pub(crate) async fn connect(target: &Target, number: usize) -> Outcome<Self> {
        let member = target.member(number);
        Ok(match target.kind {
            Kind::Api => Self::Api(api::ApiClient::connect(member, &target.job).await?),
            // Whether it serves is seen from outside either way.
            Kind::Door | Kind::Inside => Self::Door(Box::new(
                checkpoints::CheckpointClient::connect(member).await?,
            )),
            Kind::Etcd => Self::Etcd(etcd::EtcdClient::connect(member, number).await?),
            Kind::ZooKeeper => {
                Self::ZooKeeper(zookeeper::ZooKeeperClient::connect(member, number).await?)
            }
        })
    }

    /// Which kind it is.
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Api(_) => Kind::Api,
            Self::Door(_) => Kind::Door,
            Self::Etcd(_) => Kind::Etcd,
            Self::ZooKeeper(_) => Kind::ZooKeeper,
        }
    }

    /// One durable write.
    pub(crate) async fn write(&mut self) -> Outcome<()> {
        match self {
            Self::Api(client) => client.write().await,
            Self::Door(client) => client.write().await,
            Self::Etcd(client) => client.write().await,
            Self::ZooKeeper(client) => client.write().await,
        }
    }

    /// One read that sees every write completed before it (ZooKeeper: sync, then get).
    pub(crate) async fn read(&mut self) -> Outcome<()> {
        match self {
            Self::Api(client) => client.read().await,
            Self::Door(_) => Err("the door has no reads".into()),
            Self::Etcd(client) => client.read().await,
            Self::ZooKeeper(client) => client.read().await,
        }
    }
}

/// A connection of its own.
async fn connect(address: &str) -> Outcome<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
    Ok(endpoint.tcp_nodelay(true).connect().await?)
}

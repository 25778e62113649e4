//! A client of etcd: put and linearizable range of a 256-byte value.

use bytes::Bytes;
use tonic::transport::Channel;

use super::VALUE_BYTES;
use crate::Outcome;
use crate::proto::etcd::kv_client::KvClient;
use crate::proto::etcd::maintenance_client::MaintenanceClient;
use crate::proto::etcd::{PutRequest, RangeRequest, StatusRequest};

#[derive(Debug)]
pub(crate) struct EtcdClient {
    client: KvClient<Channel>,
    key: Bytes,
    value: Bytes,
}

impl EtcdClient {
    pub(crate) async fn connect(member: &str, number: usize) -> Outcome<Self> {
        let mut connected = Self {
            client: KvClient::new(super::connect(member).await?),
            key: Bytes::from(format!("/benchmark/{number}")),
            value: Bytes::from(vec![b'v'; VALUE_BYTES]),
        };
        connected.write().await?;
        Ok(connected)
    }

    pub(crate) async fn write(&mut self) -> Outcome<()> {
        let put = PutRequest {
            key: self.key.clone(),
            value: self.value.clone(),
        };
        self.client.put(put).await?;
        Ok(())
    }

    pub(crate) async fn read(&mut self) -> Outcome<()> {
        let range = RangeRequest {
            key: self.key.clone(),
        };
        match self.client.range(range).await?.into_inner().count {
            1 => Ok(()),
            found => Err(format!("{found} values where one was written").into()),
        }
    }
}

/// Whether the member at `address` leads, and etcd's version.
pub(crate) async fn leader(address: &str) -> Outcome<(bool, String)> {
    let mut client = MaintenanceClient::new(super::connect(address).await?);
    let status = client.status(StatusRequest {}).await?.into_inner();
    let own = status.header.map(|header| header.member_id);
    Ok((
        own == Some(status.leader) && status.leader != 0,
        status.version,
    ))
}

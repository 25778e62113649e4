//! The TaskManager's agent: who this worker is, who may give it orders, and for how long.
//!
//! Decisions are pure ([`fence`], [`lease`], [`session_plan`]) and tested by tables; the rest is
//! dull IO around them. What a task does is the engine's.

mod error;

use std::future::Future;

use tokio::net::TcpListener;

pub use error::WorkerError;

use crate::config::TaskManagerConfig;

/// Runs a TaskManager until `shutdown` is ready, then cancels its tasks and says goodbye.
///
/// # Errors
/// When it can't start (configuration, data directory in use, port in use), or when what it must
/// remember can't be written.
pub async fn run(
    config: TaskManagerConfig,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), WorkerError> {
    config.validate()?;
    let _api = listen("listen.api", &config.listen.api).await?;
    let _data = listen("listen.data", &config.listen.data).await?;
    shutdown.await;
    Ok(())
}

async fn listen(key: &'static str, address: &str) -> Result<TcpListener, WorkerError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| WorkerError::Listen {
            key,
            address: address.to_owned(),
            source,
        })
}

//! Whether the ports and directories of a cluster are free, said before anything starts.

use std::net::TcpListener;
use std::time::Duration;

use rand::Rng;
use regent_storage::identity::{DataDir, IdentityError};
use tokio::time::{Instant, sleep};

use super::plan::{BASE_PORT_MAX, Plan, Process};
use crate::failure::Failure;

/// Processes of a supervisor that was killed end by themselves; their ports are free soon.
pub(super) const PATIENCE: Duration = Duration::from_secs(4);
const PAUSE: Duration = Duration::from_millis(100);
/// Below the range from which systems take ports for outgoing connections.
const SEARCH: std::ops::Range<u16> = 28_000..32_000;

/// Whether something listens on the address, or it can't be listened on.
fn in_use(address: &str) -> bool {
    TcpListener::bind(address).is_err()
}

/// Waits a little until nothing is taken; `taken` names the first thing that is.
pub(super) async fn wait_free(
    taken: impl Fn() -> Option<Failure>,
    patience: Duration,
) -> Result<(), Failure> {
    let deadline = Instant::now() + patience;
    while let Some(failure) = taken() {
        if Instant::now() >= deadline {
            return Err(failure);
        }
        sleep(PAUSE).await;
    }
    Ok(())
}

/// The first of these addresses on which something listens.
pub(super) fn taken_port(ports: &[(String, String)]) -> Option<Failure> {
    let (address, what) = ports.iter().find(|(address, _)| in_use(address))?;
    Some(Failure::failed(format!(
        "port {address} ({what}) is in use; stop what listens there, or choose another --base-port"
    )))
}

/// The first of these processes whose data directory another process holds.
pub(super) fn taken_directory(plan: &Plan) -> Option<Failure> {
    let held = |process: &&Process| {
        process.data_dir.exists()
            && matches!(
                DataDir::lock(&process.data_dir),
                Err(IdentityError::InUse { .. })
            )
    };
    let process = plan.processes.iter().find(held)?;
    Some(Failure::refused(format!(
        "{} runs already, started by hand (it holds {}); stop it first",
        process.name,
        process.data_dir.display()
    )))
}

/// A base port whose fifty ports are free now.
pub(crate) fn free_base_port() -> Result<u16, Failure> {
    const { assert!(SEARCH.end <= BASE_PORT_MAX) };
    let free = |base: &u16| (*base..*base + 50).all(|port| !in_use(&format!("127.0.0.1:{port}")));
    (0..200)
        .map(|_| rand::rng().random_range(SEARCH))
        .find(free)
        .ok_or_else(|| Failure::failed("no fifty free ports in a row on 127.0.0.1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_in_use_is_named() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap().to_string();
        assert!(in_use(&address));
        let patience = Duration::from_millis(150);
        let ports = [(address.clone(), "jm-1 api".to_owned())];
        let failure = wait_free(|| taken_port(&ports), patience)
            .await
            .unwrap_err();
        assert!(failure.message.contains(&format!("{address} (jm-1 api)")));
        drop(taken);
        assert_eq!(wait_free(|| taken_port(&ports), patience).await, Ok(()));
    }
}

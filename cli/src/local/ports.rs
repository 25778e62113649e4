//! Whether the ports of a cluster are free, said before anything starts.

use std::net::TcpListener;
use std::time::Duration;

use rand::Rng;
use tokio::time::{Instant, sleep};

use super::plan::BASE_PORT_MAX;
use crate::failure::Failure;

/// Processes of a supervisor that was killed end by themselves; their ports are free soon.
pub(super) const PATIENCE: Duration = Duration::from_secs(4);
const PAUSE: Duration = Duration::from_millis(100);
/// Below the range from which systems take ports for outgoing connections.
const SEARCH: std::ops::Range<u16> = 10_000..32_000;

/// Whether something listens on the address, or it can't be listened on.
fn in_use(address: &str) -> bool {
    TcpListener::bind(address).is_err()
}

/// Waits a little for all addresses to be free; names the first that isn't.
pub(super) async fn wait_free(
    ports: &[(String, String)],
    patience: Duration,
) -> Result<(), Failure> {
    let deadline = Instant::now() + patience;
    loop {
        let Some((address, what)) = ports.iter().find(|(address, _)| in_use(address)) else {
            return Ok(());
        };
        if Instant::now() >= deadline {
            return Err(Failure::failed(format!(
                "port {address} ({what}) is in use; stop what listens there, or choose another --base-port"
            )));
        }
        sleep(PAUSE).await;
    }
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
        let failure = wait_free(&[(address.clone(), "jm-1 api".to_owned())], patience)
            .await
            .unwrap_err();
        assert!(failure.message.contains(&format!("{address} (jm-1 api)")));
        drop(taken);
        assert!(
            wait_free(&[(address, String::new())], patience)
                .await
                .is_ok()
        );
    }
}

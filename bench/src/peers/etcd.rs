//! etcd's members, as its own documentation starts three on one machine.

use std::path::Path;

use super::cluster::Plan;
use crate::Outcome;
use crate::process::installed;

/// What is missing here, if anything.
pub(super) fn missing() -> Option<&'static str> {
    match installed("etcd") {
        true => None,
        false => Some("no etcd on the PATH; apt-get install etcd-server"),
    }
}

/// Three members; `tuned`: heartbeat 50 ms and election 250 ms instead of 100 and 1000.
pub(super) fn plan(dir: &Path, tuned: bool) -> Outcome<Plan> {
    let ports = std::array::from_fn::<u16, 6, _>(|_| regent_ports::free_port());
    let client = |number: usize| format!("http://127.0.0.1:{}", ports[number]);
    let peer = |number: usize| format!("http://127.0.0.1:{}", ports[3 + number]);
    let all: Vec<String> = (0..3)
        .map(|number| format!("n{number}={}", peer(number)))
        .collect();
    let command = |number: usize| {
        let mut command = vec![
            "etcd".to_owned(),
            format!("--name=n{number}"),
            format!("--data-dir={}", dir.join(format!("n{number}")).display()),
            format!("--listen-client-urls={}", client(number)),
            format!("--advertise-client-urls={}", client(number)),
            format!("--listen-peer-urls={}", peer(number)),
            format!("--initial-advertise-peer-urls={}", peer(number)),
            format!("--initial-cluster={}", all.join(",")),
            "--initial-cluster-state=new".to_owned(),
        ];
        if tuned {
            command.push("--heartbeat-interval=50".to_owned());
            command.push("--election-timeout=250".to_owned());
        }
        command
    };
    let endpoint = |number: usize| format!("127.0.0.1:{}", ports[number]);
    Ok(Plan {
        commands: (0..3).map(command).collect(),
        endpoints: (0..3).map(endpoint).collect(),
    })
}

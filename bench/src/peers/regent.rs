//! Regent's members: JobManagers as users run them, or replicas with the benchmark's door.

use std::path::Path;
use std::time::{Duration, Instant};

use regent_ha::types::{Member, Node};
use regent_protocol::v1::NodeStatusRequest;
use regent_protocol::v1::job_manager_api_client::JobManagerApiClient;
use regent_protocol::view::NodeStatus;

use super::cluster::Plan;
use crate::Outcome;

/// How long members may take to be asked.
const START_LIMIT: Duration = Duration::from_secs(30);

/// `regent jobmanager` with a configuration of nothing but addresses and directories.
pub(super) fn job_managers(dir: &Path, regent: &Path, members: usize) -> Outcome<Plan> {
    let (api, peer) = addresses(members);
    let mut commands = Vec::new();
    for number in 0..members {
        let data = dir.join(format!("jm-{}", number + 1));
        let config = serde_json::json!({
            "node-id": number + 1,
            "data-dir": data,
            "listen": { "api": api[number], "peer": peer[number] },
            "peers": peer,
            "storage": { "checkpoint-dir": dir.join("checkpoints") },
        });
        let file = dir.join(format!("jm-{}.yaml", number + 1));
        std::fs::write(&file, serde_json::to_vec(&config)?)?;
        commands.push(vec![
            regent.display().to_string(),
            "jobmanager".to_owned(),
            "--config".to_owned(),
            file.display().to_string(),
            format!("--set=listen.peer={}", peer[number]),
        ]);
    }
    let endpoints = api;
    Ok(Plan {
        commands,
        endpoints,
    })
}

/// This program as a replica.
pub(super) fn replicas(dir: &Path) -> Outcome<Plan> {
    let (api, peer) = addresses(3);
    let own = std::env::current_exe()?.display().to_string();
    let command = |number: usize| {
        let data = dir.join(format!("jm-{}", number + 1));
        vec![
            own.clone(),
            "member".to_owned(),
            format!("--dir={}", data.display()),
            format!("--node={}", number + 1),
            format!("--door={}", api[number]),
            format!("--peers={}", peer.join(",")),
            format!("--peer={}", peer[number]),
        ]
    };
    let commands = (0..3).map(command).collect();
    Ok(Plan {
        commands,
        endpoints: api,
    })
}

fn addresses(members: usize) -> (Vec<String>, Vec<String>) {
    let some = || (0..members).map(|_| format!("127.0.0.1:{}", regent_ports::free_port()));
    (some().collect(), some().collect())
}

/// Forms the cluster, once its members can be asked. The last argument of each command is its peer address.
pub(super) async fn bootstrap(commands: &[Vec<String>], apis: &[String]) -> Outcome<()> {
    let peer = |command: &[String]| {
        let last = command.last().map_or("", String::as_str);
        last.rsplit_once('=')
            .map_or("", |(_, peer)| peer)
            .to_owned()
    };
    let member = |(at, (command, api)): (usize, (&Vec<String>, &String))| Member {
        node_id: at as u64 + 1,
        node: Node {
            name: format!("jm-{}", at + 1),
            api: api.clone(),
            peer: peer(command),
        },
    };
    let members: Vec<Member> = commands.iter().zip(apis).enumerate().map(member).collect();
    let begun = Instant::now();
    loop {
        match regent_ha::bootstrap(&regent_ha::Dialer::plain(), &members, None).await {
            Ok(_) => return Ok(()),
            Err(error) if begun.elapsed() > START_LIMIT => return Err(error.into()),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Whether the JobManager at this address leads.
pub(super) async fn leads(address: &str) -> Outcome<bool> {
    let mut client = JobManagerApiClient::connect(format!("http://{address}")).await?;
    let status = client.node_status(NodeStatusRequest {}).await?.into_inner();
    let status: NodeStatus = serde_json::from_slice(&status.json)?;
    Ok(status.role == "leader")
}

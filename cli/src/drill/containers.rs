//! Which container of a compose project is which JobManager or TaskManager, and whether it is back after
//! it was hurt. Pure: what the engine says comes in.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::failure::Failure;

/// Compose writes both labels, whatever its version.
pub(super) const PROJECT: &str = "com.docker.compose.project";
const SERVICE: &str = "com.docker.compose.service";

/// A process of the cluster, as the cluster itself names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) name: String,
    /// Of a JobManager.
    pub(super) node_id: Option<u64>,
    /// `host:port` under which others reach it.
    pub(super) address: String,
}

impl Member {
    fn host(&self) -> &str {
        let host = self.address.rsplit_once(':');
        let host = host.map_or(self.address.as_str(), |(host, _)| host);
        host.trim_start_matches('[').trim_end_matches(']')
    }
}

/// A container, as `docker inspect` describes it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Container {
    pub(super) id: String,
    name: String,
    pub(super) state: State,
    config: Config,
    network_settings: NetworkSettings,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct State {
    status: String,
    running: bool,
    paused: bool,
    /// Tells one life of a container from the next.
    pub(super) started_at: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Config {
    #[serde(default)]
    hostname: String,
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct NetworkSettings {
    #[serde(default)]
    networks: Option<BTreeMap<String, Network>>,
}

#[derive(Debug, Clone, Deserialize)]
struct Network {
    #[serde(rename = "Aliases", default)]
    aliases: Option<Vec<String>>,
    #[serde(rename = "IPAddress", default)]
    address: String,
    #[serde(rename = "GlobalIPv6Address", default)]
    address_v6: String,
}

impl Container {
    /// As people see it in `docker ps`.
    pub(super) fn name(&self) -> &str {
        self.name.trim_start_matches('/')
    }

    fn service(&self) -> Option<&str> {
        let labels = self.config.labels.as_ref()?;
        labels.get(SERVICE).map(String::as_str)
    }

    /// Every name and address under which others may reach it.
    fn names(&self) -> BTreeSet<&str> {
        let networks = self.network_settings.networks.iter().flatten();
        let reached = networks.flat_map(|(_, network)| {
            let addresses = [network.address.as_str(), network.address_v6.as_str()];
            let aliases = network.aliases.iter().flatten().map(String::as_str);
            aliases.chain(addresses)
        });
        let own = [self.name(), self.config.hostname.as_str()];
        let names = reached.chain(own).chain(self.service());
        names.filter(|name| !name.is_empty()).collect()
    }

    /// Runs, and isn't paused.
    pub(super) fn is_up(&self) -> bool {
        self.state.running && !self.state.paused
    }

    /// Has ended, so that `docker start` would start it.
    pub(super) fn is_down(&self) -> bool {
        !self.state.running
    }
}

/// A process and its container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Placed {
    pub(super) member: Member,
    pub(super) container: String,
}

/// Finds everybody's container. Refused if one isn't found, doesn't run, or could be several: a drill
/// that doesn't see all processes could hurt two at once.
pub(super) fn place(
    project: &str,
    members: &[Member],
    containers: &[Container],
) -> Result<Vec<Placed>, Failure> {
    let mut taken: BTreeMap<&str, &str> = BTreeMap::new();
    let mut placed = Vec::new();
    for member in members {
        let container = container_of(project, member, containers)?;
        if !container.is_up() {
            return Err(Failure::refused(format!(
                "the container {} of {} is {}; bring it back first: docker start {0}, docker unpause {0}",
                container.name(),
                member.name,
                container.state.status
            )));
        }
        if let Some(other) = taken.insert(&container.id, &member.name) {
            return Err(Failure::refused(format!(
                "{other} and {} are both in the container {}; a drill hurts one process at a time",
                member.name,
                container.name()
            )));
        }
        placed.push(Placed {
            member: member.clone(),
            container: container.id.clone(),
        });
    }
    Ok(placed)
}

/// By the address that it advertises; by the name of the service if no container is reached under that.
fn container_of<'a>(
    project: &str,
    member: &Member,
    containers: &'a [Container],
) -> Result<&'a Container, Failure> {
    let reached = |c: &&Container| c.names().contains(member.host());
    let mut found: Vec<&Container> = containers.iter().filter(reached).collect();
    if found.is_empty() {
        let served = |c: &&Container| c.service() == Some(&member.name);
        found = containers.iter().filter(served).collect();
    }
    match found[..] {
        [one] => Ok(one),
        [] => Err(Failure::refused(format!(
            "no container of the project {project} is {} ({}), only {}; a drill must see all processes of the cluster",
            member.name,
            member.address,
            names(containers.iter())
        ))),
        _ => Err(Failure::refused(format!(
            "{} ({}) could be each of {}; give every process an address of its own",
            member.name,
            member.address,
            names(found.into_iter())
        ))),
    }
}

fn names<'a>(containers: impl Iterator<Item = &'a Container>) -> String {
    let names: Vec<&str> = containers.map(Container::name).collect();
    match names.is_empty() {
        true => "none".to_owned(),
        false => names.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shortened from what Docker Engine 20.10 says.
    const INSPECTED: &str = r#"[
      { "Id": "a1", "Name": "/regent-compose_jm-1_1", "Created": "2026-11-26T07:06:33Z",
        "State": { "Status": "running", "Running": true, "Paused": false, "Pid": 12, "StartedAt": "2026-11-26T07:06:34.1Z" },
        "Config": { "Hostname": "a1", "Labels": { "com.docker.compose.project": "regent-compose", "com.docker.compose.service": "jm-1" } },
        "NetworkSettings": { "Networks": { "regent-compose_cluster": { "Aliases": ["jm-1", "a1"], "IPAddress": "172.18.0.4", "GlobalIPv6Address": "" } } } },
      { "Id": "b2", "Name": "/regent-compose_jm-2_1",
        "State": { "Status": "paused", "Running": true, "Paused": true, "StartedAt": "2026-11-26T07:06:34.2Z" },
        "Config": { "Hostname": "b2", "Labels": { "com.docker.compose.service": "jm-2" } },
        "NetworkSettings": { "Networks": { "regent-compose_cluster": { "Aliases": ["jm-2"], "IPAddress": "172.18.0.5" } } } },
      { "Id": "c3", "Name": "/regent-compose_worker_1",
        "State": { "Status": "running", "Running": true, "Paused": false, "StartedAt": "2026-11-26T07:06:34.3Z" },
        "Config": { "Hostname": "c3", "Labels": { "com.docker.compose.service": "worker" } },
        "NetworkSettings": { "Networks": { "regent-compose_cluster": { "Aliases": ["worker"], "IPAddress": "172.18.0.6" } } } },
      { "Id": "d4", "Name": "/regent-compose_worker_2",
        "State": { "Status": "exited", "Running": false, "Paused": false, "StartedAt": "2026-11-26T07:06:34.4Z" },
        "Config": { "Hostname": "d4", "Labels": { "com.docker.compose.service": "worker" } },
        "NetworkSettings": { "Networks": { "regent-compose_cluster": { "Aliases": ["worker"], "IPAddress": "" } } } },
      { "Id": "e5", "Name": "/regent-compose_no-net_1",
        "State": { "Status": "running", "Running": true, "Paused": false, "StartedAt": "2026-11-26T07:06:34.5Z" },
        "Config": { "Hostname": "e5", "Labels": null }, "NetworkSettings": { "Networks": null } }
    ]"#;

    fn containers() -> Vec<Container> {
        serde_json::from_str(INSPECTED).unwrap()
    }

    fn member(name: &str, address: &str) -> Member {
        Member {
            name: name.to_owned(),
            node_id: None,
            address: address.to_owned(),
        }
    }

    #[test]
    fn a_process_is_found_by_its_address_or_its_service() {
        let places = [
            (member("one", "jm-1:7101"), "a1"),
            (member("one", "172.18.0.4:7101"), "a1"),
            (member("one", "regent-compose_jm-1_1:7101"), "a1"),
            (member("jm-1", "host.example:7101"), "a1"),
            (member("tm-1", "172.18.0.6:7301"), "c3"),
            (member("tm-1", "e5:7301"), "e5"),
        ];
        for (member, id) in places {
            let placed = place("p", std::slice::from_ref(&member), &containers()).unwrap();
            assert_eq!(placed[0].container, id, "{member:?}");
        }
    }

    #[test]
    fn what_is_not_certain_is_refused_with_exit_5_and_names() {
        let refused = [
            (
                vec![member("jm-9", "jm-9:7101")],
                "no container of the project p is jm-9 (jm-9:7101), only regent-compose_jm-1_1, ",
            ),
            (
                vec![member("tm-1", "worker:7301")],
                "could be each of regent-compose_worker_1, regent-compose_worker_2",
            ),
            (
                vec![member("jm-2", "jm-2:7101")],
                "regent-compose_jm-2_1 of jm-2 is paused",
            ),
            (
                vec![member("tm-2", "regent-compose_worker_2:7301")],
                "is exited; bring it back first: docker start regent-compose_worker_2",
            ),
            (
                vec![member("jm-1", "jm-1:7101"), member("jm-2", "jm-1:7111")],
                "jm-1 and jm-2 are both in the container regent-compose_jm-1_1",
            ),
        ];
        for (members, words) in refused {
            let failure = place("p", &members, &containers()).unwrap_err();
            assert_eq!(failure.code, 5, "{failure:?}");
            assert!(failure.message.contains(words), "{failure:?}");
        }
        let failure = place("p", &[member("jm-1", "jm-1:7101")], &[]).unwrap_err();
        assert!(failure.message.contains("only none"), "{failure:?}");
    }
}

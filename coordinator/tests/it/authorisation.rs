//! Every RPC of every service, every command that one of them carries, and every HTTP route, tried by every
//! role and by nobody. What exists is read from the descriptors, so nothing new can be forgotten: whatever
//! the table below doesn't list fails the test.

use std::collections::BTreeMap;

use http_body_util::BodyExt;
use prost_types::field_descriptor_proto::Type;
use prost_types::{DescriptorProto, FileDescriptorSet};
use regent_certificates::{Authority, Issued, Wanted};
use regent_coordinator::{JobManager, JobManagerConfig};
use regent_ha::{Member, Node};
use regent_security::{Credentials, Dialer, Role, TlsFiles};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::transport::{Channel, Endpoint};
use tower::ServiceExt;

use crate::cluster::{PATIENCE, until};

/// Who may do what, spelled out once more and independently of the program.
const TABLE: [(&str, &str); 54] = [
    ("JobManagerApi/Read/job_list", "viewer operator admin"),
    ("JobManagerApi/Read/job_show", "viewer operator admin"),
    ("JobManagerApi/Read/job_result", "viewer operator admin"),
    ("JobManagerApi/Read/job_history", "viewer operator admin"),
    (
        "JobManagerApi/Read/checkpoint_list",
        "viewer operator admin",
    ),
    ("JobManagerApi/Read/retained_list", "viewer operator admin"),
    ("JobManagerApi/Read/worker_list", "viewer operator admin"),
    ("JobManagerApi/Read/cleanup_list", "viewer operator admin"),
    ("JobManagerApi/Read/leader_history", "viewer operator admin"),
    ("JobManagerApi/Read/overview", "viewer operator admin"),
    (
        "JobManagerApi/Read/checkpoint_show",
        "viewer operator admin",
    ),
    ("JobManagerApi/Read/cleanup_verify", "operator admin"),
    ("JobManagerApi/Read/cleanup_show", "viewer operator admin"),
    ("JobManagerApi/Read/members_plan", "viewer operator admin"),
    ("JobManagerApi/Read/job_explain", "viewer operator admin"),
    ("JobManagerApi/Read/log_tail", "operator admin"),
    ("JobManagerApi/Read/log_show", "operator admin"),
    ("JobManagerApi/Read/state_at", "operator admin"),
    ("JobManagerApi/Change/submit_job", "operator admin"),
    ("JobManagerApi/Change/cancel_job", "operator admin"),
    ("JobManagerApi/Change/stop_job", "operator admin"),
    ("JobManagerApi/Change/savepoint", "operator admin"),
    ("JobManagerApi/Change/transfer_leader", "admin"),
    ("JobManagerApi/Change/cleanup_retry", "operator admin"),
    ("JobManagerApi/Change/cleanup_forget", "admin"),
    ("JobManagerApi/Change/dispose_savepoint", "admin"),
    ("JobManagerApi/Change/member", "admin"),
    ("JobManagerApi/Change/drain_worker", "operator admin"),
    ("JobManagerApi/Change/resume_jobs", "admin"),
    ("JobManagerApi/Forward", "peer"),
    ("JobManagerApi/NodeStatus", "viewer operator admin peer"),
    ("JobManagerApi/SaveSnapshot", "admin"),
    ("WorkerGateway/Session", "worker"),
    ("WorkerGateway/WatchLeader", "worker"),
    ("WorkerGateway/ReportWorkerDeath", "admin"),
    ("DataPlane/Subscribe", "worker"),
    ("Peer/Handshake", "peer"),
    ("Peer/Append", "peer"),
    ("Peer/Vote", "peer"),
    ("Peer/PreVote", "peer"),
    ("Peer/TransferLeader", "peer"),
    ("Peer/Snapshot", "peer"),
    ("Peer/ReadIndex", "peer"),
    ("Peer/Watch", "peer"),
    ("Peer/LeaderGone", "peer"),
    ("Peer/Probe", "peer admin"),
    ("Peer/Prepare", "peer admin"),
    ("Peer/Initialize", "peer admin"),
    ("Peer/Join", "peer"),
    ("/livez", "client viewer operator admin worker peer nobody"),
    ("/readyz", "client viewer operator admin worker peer nobody"),
    ("/leader", "client viewer operator admin worker peer nobody"),
    ("/metrics", "viewer operator admin"),
    ("/nothing-here", ""),
];

/// One thing that can be asked, as raw as it travels.
#[derive(Debug, Clone)]
struct Asked {
    /// As the table spells it.
    name: String,
    path: String,
    message: Vec<u8>,
}

/// Everything that the descriptors know, each with an empty message.
fn all_rpcs() -> Vec<Asked> {
    let mut found = Vec::new();
    for bytes in [regent_protocol::DESCRIPTORS, regent_ha::DESCRIPTORS] {
        let set: FileDescriptorSet = prost::Message::decode(bytes).unwrap();
        let messages: BTreeMap<String, DescriptorProto> = set
            .file
            .iter()
            .flat_map(|file| {
                let package = file.package().to_owned();
                let named =
                    move |m: &DescriptorProto| (format!(".{package}.{}", m.name()), m.clone());
                file.message_type.iter().map(named)
            })
            .collect();
        for file in &set.file {
            for service in &file.service {
                for method in &service.method {
                    let rpc = Asked {
                        name: format!("{}/{}", service.name(), method.name()),
                        path: format!("/{}.{}/{}", file.package(), service.name(), method.name()),
                        message: Vec::new(),
                    };
                    let carried = carried(&messages[method.input_type()], &rpc);
                    found.extend(carried.unwrap_or_else(|| vec![rpc]));
                }
            }
        }
    }
    found
}

/// The commands of a request that carries one of many.
fn carried(message: &DescriptorProto, rpc: &Asked) -> Option<Vec<Asked>> {
    let many = ["query", "change"];
    let at = message
        .oneof_decl
        .iter()
        .position(|one| many.contains(&one.name()))?;
    let of_it = |field: &&prost_types::FieldDescriptorProto| {
        field.oneof_index == i32::try_from(at).ok() && field.r#type() == Type::Message
    };
    let commands = message.field.iter().filter(of_it).map(|field| {
        // Key of a length-delimited field, and the length 0; numbers of two bytes at most.
        let key = u32::try_from(field.number()).unwrap() << 3 | 2;
        let message = match u8::try_from(key) {
            Ok(key) if key < 0x80 => vec![key, 0],
            _ => vec![(key & 0x7f | 0x80) as u8, (key >> 7) as u8, 0],
        };
        Asked {
            name: format!("{}/{}", rpc.name, field.name()),
            path: rpc.path.clone(),
            message,
        }
    });
    Some(commands.collect())
}

/// A JobManager and a TaskManager with TLS, and a certificate of every role.
struct Secured {
    api: String,
    peer: String,
    worker_api: String,
    worker_data: String,
    authority: Authority,
    dir: tempfile::TempDir,
}

fn files(issued: &Issued) -> TlsFiles {
    TlsFiles {
        certificate: issued.certificate.clone(),
        key: issued.key.clone(),
        ca: issued.ca.clone(),
    }
}

impl Secured {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for role in ["viewer", "operator", "admin"] {
            std::fs::write(dir.path().join(role), token(role)).unwrap();
        }
        let address = || format!("127.0.0.1:{}", regent_ports::free_port());
        Self {
            api: address(),
            peer: address(),
            worker_api: address(),
            worker_data: address(),
            authority: Authority::new(&dir.path().join("tls")),
            dir,
        }
    }

    fn security(&self, name: &str, uri: &str) -> serde_json::Value {
        let issued = self.authority.issue(name, &Wanted::process(uri));
        serde_json::json!({
            "tls": files(&issued),
            "tokens": {
                "viewer": self.dir.path().join("viewer"),
                "operator": self.dir.path().join("operator"),
                "admin": self.dir.path().join("admin"),
            }
        })
    }

    fn jobmanager(&self) -> JobManagerConfig {
        let json = serde_json::json!({
            "node-id": 1,
            "data-dir": self.dir.path().join("jm-1"),
            "listen": { "api": self.api, "peer": self.peer },
            "storage": { "checkpoint-dir": self.dir.path().join("checkpoints") },
            "security": self.security("jm-1", "regent://peer/jm-1"),
        });
        serde_json::from_value(json).unwrap()
    }

    fn taskmanager(&self) -> regent_worker::TaskManagerConfig {
        let json = serde_json::json!({
            "worker-id": "tm-1",
            "data-dir": self.dir.path().join("tm-1"),
            "listen": { "api": self.worker_api, "data": self.worker_data },
            "jobmanagers": [self.api],
            "storage": { "checkpoint-dir": self.dir.path().join("checkpoints") },
            "security": self.security("tm-1", "regent://worker/tm-1"),
        });
        serde_json::from_value(json).unwrap()
    }

    fn credentials(&self, role: &str) -> Credentials {
        let uri = format!("regent://{role}/someone");
        let issued = self
            .authority
            .issue(&format!("someone-{role}"), &Wanted::process(&uri));
        Credentials::load(&files(&issued), &Role::ALL, &[]).unwrap()
    }

    fn dialer(&self, who: &str) -> Dialer {
        match who {
            "nobody" => Dialer::stranger(&self.credentials("client")),
            role => Dialer::new(Some(&self.credentials(role))),
        }
    }

    fn member(&self) -> Member {
        Member {
            node_id: 1,
            node: Node {
                name: "jm-1".to_owned(),
                api: self.api.clone(),
                peer: self.peer.clone(),
            },
        }
    }

    /// Where an RPC is served, and by whom.
    fn place(&self, rpc: &Asked) -> (&str, Role) {
        match rpc.name.split('/').next() {
            Some("Peer") => (&self.peer, Role::Peer),
            Some("DataPlane") => (&self.worker_data, Role::Worker),
            _ => (&self.api, Role::Peer),
        }
    }
}

fn token(role: &str) -> String {
    format!("{role}-0123456789abcdef")
}

fn channel(dialer: &Dialer, address: &str, serves: Role) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    dialer.lazy(&endpoint, serves)
}

/// Whether it is refused for who asks: by gRPC's own code, or because there is no connection at all.
async fn is_denied(channel: &Channel, asked: &Asked, token: Option<&str>) -> bool {
    let mut body = vec![0];
    body.extend(u32::try_from(asked.message.len()).unwrap().to_be_bytes());
    body.extend(&asked.message);
    let body = http_body_util::Full::new(bytes::Bytes::from(body));
    let mut request = http::Request::post(format!("http://regent{}", asked.path))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let never = |never: std::convert::Infallible| match never {};
    let request = request
        .body(tonic::body::Body::new(body.map_err(never)))
        .unwrap();
    let answered = tokio::time::timeout(PATIENCE, channel.clone().oneshot(request)).await;
    let Ok(answer) = answered.unwrap_or_else(|_| panic!("no answer to {}", asked.name)) else {
        return true;
    };
    let status = answer.headers().get("grpc-status");
    status.is_some_and(|status| status == "7")
}

/// Whether a GET is refused; the path's own answer, good or bad, counts as let in.
async fn get_denied(dialer: &Dialer, address: &str, path: &str, token: Option<&str>) -> bool {
    let opened = dialer.open(address, &[Role::Peer, Role::Worker]).await;
    let mut stream = opened.unwrap();
    let token = token.map_or_else(String::new, |token| {
        format!("Authorization: Bearer {token}\r\n")
    });
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n{token}Connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let read = stream.read_to_string(&mut answer);
    // The end may come without TLS's own goodbye; what counts has arrived then.
    let _ = tokio::time::timeout(PATIENCE, read).await.unwrap();
    let code = answer.split(' ').nth(1).unwrap_or_default();
    assert!(!code.is_empty(), "{path}: {answer}");
    code == "403"
}

const EVERYBODY: [&str; 7] = [
    "client", "viewer", "operator", "admin", "worker", "peer", "nobody",
];

#[test]
fn every_rpc_is_in_the_table_and_the_table_holds_nothing_else() {
    let mut found: Vec<_> = all_rpcs().into_iter().map(|rpc| rpc.name).collect();
    found.extend(["/livez", "/readyz", "/leader", "/metrics", "/nothing-here"].map(str::to_owned));
    found.sort();
    let mut listed: Vec<_> = TABLE.iter().map(|(name, _)| (*name).to_owned()).collect();
    listed.sort();
    assert_eq!(found, listed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn everybody_may_do_what_the_table_says_and_nothing_else() {
    let secured = Secured::new();
    let manager = JobManager::start(secured.jobmanager()).await.unwrap();
    let admin = secured.dialer("admin");
    regent_ha::bootstrap(&admin, &[secured.member()], None)
        .await
        .unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let worker = tokio::spawn(regent_worker::run(secured.taskmanager(), async {
        stopped.await.ok();
    }));
    until("the worker answers", async || {
        let dialer = secured.dialer("client");
        dialer.open(&secured.worker_api, &[Role::Worker]).await.ok()
    })
    .await;
    let table: BTreeMap<_, _> = TABLE.into_iter().collect();
    let allowed = |name: &str, who: &str| table[name].split(' ').any(|role| role == who);
    let mut wrong = Vec::new();
    let mut tried = 0;
    for who in EVERYBODY {
        let dialer = secured.dialer(who);
        for rpc in all_rpcs() {
            let (address, serves) = secured.place(&rpc);
            let channel = channel(&dialer, address, serves);
            let denied = is_denied(&channel, &rpc, None).await;
            tried += 1;
            if denied == allowed(&rpc.name, who) {
                wrong.push(format!("{who}: {} denied={denied}", rpc.name));
            }
        }
        for path in ["/livez", "/readyz", "/leader", "/metrics", "/nothing-here"] {
            for address in [&secured.api, &secured.worker_api] {
                let denied = get_denied(&dialer, address, path, None).await;
                tried += 1;
                if denied == allowed(path, who) {
                    wrong.push(format!("{who}: {path} at {address} denied={denied}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    println!("{tried} tries");
    a_token_counts_for_a_client_only(&secured).await;
    stop.send(()).ok();
    worker.await.unwrap().unwrap();
    manager.shutdown().await;
}

async fn a_token_counts_for_a_client_only(secured: &Secured) {
    let forget = all_rpcs();
    let forget = forget
        .iter()
        .find(|rpc| rpc.name.ends_with("cleanup_forget"))
        .unwrap();
    for (who, shown, denied) in [
        ("client", token("admin"), false),
        ("client", token("operator"), true),
        ("viewer", token("admin"), false),
        ("nobody", token("admin"), true),
        ("worker", token("admin"), true),
        ("peer", token("admin"), true),
        ("admin", "wrong".to_owned(), true),
        ("client", String::new(), true),
    ] {
        let channel = channel(&secured.dialer(who), &secured.api, Role::Peer);
        let found = is_denied(&channel, forget, Some(&shown)).await;
        assert_eq!(found, denied, "{who} with {shown}");
    }
    let client = secured.dialer("client");
    let viewer = token("viewer");
    for address in [&secured.api, &secured.worker_api] {
        assert!(!get_denied(&client, address, "/metrics", Some(&viewer)).await);
        assert!(get_denied(&client, address, "/metrics", Some("wrong")).await);
    }
}

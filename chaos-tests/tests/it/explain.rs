//! What an operator is told when things are not as they should be: `leader explain`, `status` and `job
//! explain`, as text and as JSON, in the situations that processes can be brought into.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::Signal;
use regent_chaos::client::Client;
use regent_chaos::cluster::{Cluster, Options};
use regent_chaos::command::{regent, run};
use regent_chaos::jobs::finished_job;
use regent_chaos::proxy::Proxy;
use regent_chaos::wait::{Phases, wait_until};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(45);

/// The same command as people see it.
fn text(cluster: &Cluster, arguments: &[&str]) -> String {
    let mut command = regent(cluster.home());
    command.arg("--dir").arg(cluster.dir()).args(arguments);
    run(command, Duration::from_secs(25)).expect(0).stdout
}

/// The text begins with what the document says, and with the same remedy.
fn says_the_same(cluster: &Cluster, told: &Value) {
    let summary = told["summary"].as_str().expect("a summary");
    let remedy = told["remedy"].as_str().expect("a remedy");
    let head = format!("{summary}\n  do: {remedy}\n");
    let screen = text(cluster, &["leader", "explain"]);
    assert!(screen.starts_with(&head), "{head}\n{screen}");
}

fn explained(cluster: &Cluster) -> Value {
    cluster.json(&["leader", "explain"])
}

/// Waits until the situation is this one; its document.
fn situation(cluster: &Cluster, wanted: &str) -> Value {
    wait_until(PATIENCE, &format!("the situation {wanted}"), || {
        let told = explained(cluster);
        (told["situation"] == wanted).then_some(told)
    })
}

fn why(told: &Value, name: &str) -> String {
    let replicas = told["replicas"].as_array().into_iter().flatten();
    let mut found = replicas.filter(|replica| replica["name"] == name);
    let replica = found.next().unwrap_or_else(|| panic!("{name} in {told}"));
    replica["why"].as_str().unwrap_or_default().to_owned()
}

fn alarms(cluster: &Cluster) -> Vec<String> {
    let status = cluster.json(&["status"]);
    let alarms = status["attention"].as_array().into_iter().flatten();
    alarms
        .filter_map(|alarm| alarm["code"].as_str().map(str::to_owned))
        .collect()
}

fn write(cluster: &Cluster, name: &str, text: &str) -> String {
    let path: PathBuf = cluster.home().join(format!("{name}.yaml"));
    fs::write(&path, text).expect("the job file can be written");
    path.display().to_string()
}

fn submit(cluster: &Cluster, name: &str, text: &str) -> String {
    let file = write(cluster, name, text);
    let submitted = cluster.json(&["job", "submit", &file]);
    submitted["job_id"].as_str().expect("an id").to_owned()
}

/// Waits until the first cause is this one; the document.
fn job_cause(cluster: &Cluster, id: &str, wanted: &str) -> Value {
    wait_until(PATIENCE, &format!("the cause {wanted}"), || {
        let told = cluster.json(&["job", "explain", id]);
        (told["causes"][0]["code"] == wanted).then_some(told)
    })
}

const GREEDY: &str = "
name: greedy
parallelism: 16
vertices:
  - { id: numbers, source: sequence, with: { rate: 10 } }
  - { id: out, sink: blackhole, inputs: [ numbers ] }
";

fn failing(missing: &str) -> String {
    format!(
        "
name: failing
restart-strategy: {{ type: fixed-delay, attempts: 1000, delay: 60s }}
vertices:
  - id: rows
    source: files
    with: {{ path: {missing}, format: csv, columns: {{ n: int64 }} }}
  - {{ id: out, sink: blackhole, inputs: [ rows ] }}
"
    )
}

#[test]
fn an_operator_is_told_what_is_wrong_and_what_to_do() {
    let mut phases = Phases::of("explain");
    let mut cluster = Cluster::start(Options {
        restart: "never",
        ..Options::default()
    });
    let leader = cluster.wait_for_leader();
    let names = cluster.manifest().names("jobmanager");
    let followers: Vec<String> = names.into_iter().filter(|name| *name != leader).collect();
    healthy(&cluster, &leader);
    phases.done("healthy");
    let greedy = not_enough_slots(&cluster);
    phases.done("not enough slots");
    restarting(&cluster);
    phases.done("restarting");
    frozen_follower(&cluster, &followers[0]);
    phases.done("a frozen follower");
    lost_follower(&cluster, &followers[0]);
    phases.done("a follower lost, a drill refused");
    cluster.kill(&leader);
    no_quorum(&cluster, &followers[1], &greedy);
    phases.done("no quorum");
    cluster.start_by_hand(&leader);
    let told = situation(&cluster, "degraded");
    assert!(told["leader"].is_string(), "{told}");
    cluster.stop_by_hand();
    cluster.stop();
}

fn healthy(cluster: &Cluster, leader: &str) {
    let told = situation(cluster, "healthy");
    let nothing = told["remedy"].is_null() && told["differences"] == serde_json::json!([]);
    assert!(nothing, "{told}");
    assert_eq!(alarms(cluster), Vec::<String>::new());
    let screen = text(cluster, &["leader", "explain"]);
    let head = format!("{leader} leads, and every voter follows it\n  nothing has to be done\n");
    assert!(screen.starts_with(&head), "{screen}");
    let screen = text(cluster, &["status"]);
    assert!(screen.contains("nothing needs attention"), "{screen}");
    assert!(screen.contains("trails by"), "{screen}");
}

fn not_enough_slots(cluster: &Cluster) -> String {
    let greedy = submit(cluster, "greedy", GREEDY);
    let told = job_cause(cluster, &greedy, "not-enough-slots");
    assert_eq!(told["slots_needed"], 16, "{told}");
    assert_eq!(told["slots_free"], 8, "{told}");
    assert_eq!(told["running"], false, "{told}");
    let screen = text(cluster, &["job", "explain", "greedy"]);
    assert!(
        screen.contains("it needs 16 slots and 8 are free"),
        "{screen}"
    );
    assert!(
        screen.contains("do: start TaskManagers with 8 slots more"),
        "{screen}"
    );
    let idle = || {
        let raised = alarms(cluster);
        raised
            .contains(&"JobDeclaredNotRunning".to_owned())
            .then_some(())
    };
    wait_until(PATIENCE, "the alarm of a job that doesn't run", idle);
    greedy
}

fn restarting(cluster: &Cluster) {
    let rows = cluster.home().join("rows.csv");
    fs::write(&rows, "n\n1\nx\n").expect("written");
    let id = submit(cluster, "failing", &failing(&rows.display().to_string()));
    let told = job_cause(cluster, &id, "backoff");
    let cause = told["causes"][0].to_string();
    assert!(
        cause.contains("waits for") && cause.contains("regent job history"),
        "{told}"
    );
    let screen = text(cluster, &["job", "explain", "failing"]);
    assert!(
        screen.contains("waits for") && screen.contains("regent job history"),
        "{screen}"
    );
}

fn frozen_follower(cluster: &Cluster, follower: &str) {
    cluster.signal(follower, Signal::SIGSTOP);
    wait_until(PATIENCE, "it is known to be frozen", || {
        let told = explained(cluster);
        (told["situation"] == "degraded" && why(&told, follower).contains("frozen")).then_some(())
    });
    cluster.signal(follower, Signal::SIGCONT);
    situation(cluster, "healthy");
}

fn lost_follower(cluster: &Cluster, follower: &str) {
    cluster.kill(follower);
    // A connection that was being made is reset first; after that nothing listens.
    let start = format!("start {follower}");
    wait_until(PATIENCE, "the remedy is to start it", || {
        let told = explained(cluster);
        (told["situation"] == "degraded" && told["remedy"] == start.as_str()).then_some(())
    });
    says_the_same(cluster, &explained(cluster));
    let screen = text(cluster, &["status"]);
    let away = format!("ReplicaAway: {follower} doesn't answer\n      do: start {follower}");
    assert!(screen.contains(&away), "{screen}");
    wait_until(PATIENCE, "both alarms", || {
        let raised = alarms(cluster);
        let all = ["NoQuorumMargin", "ReplicaAway"].map(|alarm| raised.contains(&alarm.to_owned()));
        all.iter().all(|raised| *raised).then_some(())
    });
    let refused = cluster.cli(&["drill", "run", "leader-kill"]);
    assert!(
        refused.refused(5).contains("quorum margin is 0"),
        "{refused}"
    );
}

fn no_quorum(cluster: &Cluster, survivor: &str, job: &str) {
    // Right after the kill the survivor still believes that it hears the dead, and connections are reset.
    let (told, remedy) = wait_until(PATIENCE, "the survivor knows that it is alone", || {
        let told = explained(cluster);
        let said = why(&told, survivor);
        let alone = said.contains("can't be elected: it hears 1 of 3 voters");
        let pretends = said.contains("leads nobody");
        let remedy = told["remedy"].as_str().unwrap_or_default().to_owned();
        let one = remedy.contains("(one is enough); if they are lost for good");
        let to_start =
            remedy.starts_with("start ") && one && remedy.ends_with("regent recover plan");
        let settled = told["situation"] == "no-quorum" && (alone || pretends) && to_start;
        let settled = settled && !remedy.contains("look at");
        settled.then_some((told, remedy))
    });
    assert!(told["leader"].is_null(), "{told}");
    says_the_same(cluster, &told);
    let told = wait_until(PATIENCE, "the job's cause is the cluster's", || {
        let told = cluster.json(&["job", "explain", job]);
        let cause = &told["causes"][0];
        (cause["code"] == "no-leader" && cause["remedy"] == remedy.as_str()).then_some(told)
    });
    assert_eq!(told["stale"], true, "{told}");
    let screen = text(cluster, &["status"]);
    assert!(
        screen.contains("nobody leads: regent leader explain"),
        "{screen}"
    );
    assert!(
        screen.contains("NoQuorum: 1 of 3 voters answer"),
        "{screen}"
    );
}

/// Entries that nobody else writes meanwhile, a few hundred more than make a replica count as lagging.
const WRITES: usize = 1_300;
const WRITES_AT_ONCE: usize = 100;

#[test]
fn a_replica_that_is_cut_off_and_falls_behind_is_told() {
    let mut phases = Phases::of("explain_cut_off");
    let proxy = Proxy::default();
    let cluster = Cluster::assemble(Options::default(), &proxy);
    let (client, finished) = (Client::of(&cluster), finished_job(&cluster));
    let alone = cluster.wait_for_leader();
    proxy.isolate(&alone, &cluster.manifest().names("jobmanager"));
    let mend = format!("mend the network between {alone} (");
    let told = wait_until(PATIENCE, "the minority is told", || {
        let told = explained(&cluster);
        let remedy = told["remedy"]
            .as_str()
            .is_some_and(|r| r.starts_with(&mend));
        (told["situation"] == "degraded" && remedy).then_some(told)
    });
    let leader = cluster.wait_for_leader();
    assert_ne!(leader, alone, "the majority has one of its own: {told}");
    says_the_same(&cluster, &told);
    phases.done("cut off");

    let base = client.status(&leader).expect("it answers");
    for _ in 0..WRITES / WRITES_AT_ONCE {
        let writes: Vec<_> = (0..WRITES_AT_ONCE)
            .map(|_| client.write(&leader, &finished, &base, PATIENCE))
            .collect();
        let accepted = writes.into_iter().map(|write| write.accepted());
        assert_eq!(accepted.count(), WRITES_AT_ONCE);
    }
    let lagging = format!("ReplicaLagging: {alone} trails by ");
    let remedy = format!("do: look at the disk and the network of {alone}");
    let screen = wait_until(PATIENCE, "it lags", || {
        let raised = alarms(&cluster).contains(&"ReplicaLagging".to_owned());
        raised.then(|| text(&cluster, &["status"]))
    });
    for words in [&lagging, &remedy] {
        assert!(screen.contains(words), "{words}: {screen}");
    }
    let pretends = why(&explained(&cluster), &alone);
    assert!(pretends.contains("was deposed"), "{pretends}");
    let screen = text(&cluster, &["leader", "explain"]);
    assert!(screen.contains("was deposed"), "{screen}");
    phases.done("lags");

    proxy.mend();
    let told = situation(&cluster, "healthy");
    says_the_same_but_for_a_remedy(&cluster, &told);
    phases.done("healthy");
}

fn says_the_same_but_for_a_remedy(cluster: &Cluster, told: &Value) {
    assert!(told["remedy"].is_null(), "{told}");
    let summary = told["summary"].as_str().expect("a summary");
    let screen = text(cluster, &["leader", "explain"]);
    assert!(screen.starts_with(summary), "{summary}\n{screen}");
}

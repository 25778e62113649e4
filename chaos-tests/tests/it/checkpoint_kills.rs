//! SIGKILL of leader and workers during checkpoints, many times: nothing is left that the log doesn't know.

use std::path::PathBuf;
use std::time::Duration;

use rand::Rng;
use regent_chaos::cleanup::{assert_verified, stored, wait_for_clean, wait_for_rest, written};
use regent_chaos::cluster::{Cluster, Options};
use regent_chaos::jobs::Job;
use regent_chaos::knobs;
use regent_chaos::output::hidden_files;
use regent_chaos::wait::{Phases, pause, wait_until};

const SOON: Duration = Duration::from_secs(60);
/// A checkpoint is under way most of the time.
const MOMENTS_MS: std::ops::Range<u64> = 0..400;

/// States that don't fit into `_metadata`, and staged output.
fn job(out: &std::path::Path) -> String {
    let out = out.display();
    format!(
        r#"name: busy
parallelism: 2
checkpointing: {{ interval: 50ms }}
restart-strategy: {{ type: fixed-delay, attempts: 100000, delay: 50ms }}
vertices:
  - {{ id: numbers, source: sequence, with: {{ rate: 20000, keys: 5000 }} }}
  - id: counts
    operator: aggregate
    inputs: [ {{ from: numbers, partition: hash, by: [key] }} ]
    with: {{ group-by: [key], emit: changes, compute: {{ n: {{ count: "*" }} }} }}
  - {{ id: out, sink: files, inputs: [ counts ], with: {{ path: {out}, format: csv }} }}
"#
    )
}

#[test]
fn kills_during_checkpoints_leave_no_orphan() {
    let mut phases = Phases::of("checkpoint_kills");
    let mut chance = knobs::chance("checkpoint_kills");
    let mut cluster = Cluster::start(Options::default());
    let out = cluster.home().join("out");
    let file = written(&cluster, "busy", &job(&out));
    let mut busy = Job::submit(&cluster, &file);
    let id = busy.id.clone();
    busy.wait_for_checkpoint(SOON);
    for round in 1..=knobs::rounds(4, 100) {
        pause(Duration::from_millis(chance.random_range(MOMENTS_MS)));
        let leader = cluster.wait_for_leader();
        let worker = format!("tm-{}", chance.random_range(1..=2));
        let victims = match round % 3 {
            0 => vec![leader, worker],
            1 => vec![leader],
            _ => vec![worker],
        };
        let old: Vec<u32> = victims.iter().map(|name| cluster.kill(name)).collect();
        for (name, old) in victims.iter().zip(old) {
            let _new = cluster.wait_for_new_pid(name, old);
        }
        cluster.wait_until_caught_up(50);
        cluster.wait_for_workers(2);
        let seen = busy.seen().checkpoints.len();
        wait_until(SOON, "checkpoints go on", || {
            busy.look();
            (busy.seen().checkpoints.len() > seen).then_some(())
        });
        assert_verified(&cluster);
        phases.done(&format!("round {round}: {victims:?} killed, no orphan"));
    }
    assert_eq!(cluster.json(&["job", "cancel", &id])["state"], "CANCELED");
    wait_for_clean(&cluster, &id, SOON);
    wait_for_rest(&cluster, Duration::from_secs(120));
    assert_eq!(
        stored(&cluster.dir().join("checkpoints")),
        [] as [PathBuf; 0]
    );
    assert_eq!(hidden_files(&out), [] as [PathBuf; 0]);
    assert_verified(&cluster);
    phases.done("cancelled: nothing is left");
    cluster.stop();
}

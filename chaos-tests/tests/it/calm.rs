//! Nobody wins an election while nothing happens, nor while every core is busy (ten minutes of each when soaking,
//! `REGENT_CALM_SECONDS`), nor while followers die and come back, nor while two replicas hear each other in one direction
//! only, nor while their connections are reset. That is asserted when soaking; otherwise it is shown only, since other
//! tests share the machine, and what is asserted is that work goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use regent_chaos::client::{Client, Figures};
use regent_chaos::cluster::{Cluster, Options};
use regent_chaos::jobs::Job;
use regent_chaos::knobs;
use regent_chaos::proxy::Proxy;
use regent_chaos::sequences::SequenceJob;
use regent_chaos::unharmed::assert_unharmed;
use regent_chaos::wait::{Phases, pause, wait_until};

const WITHIN: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Busy threads for each core.
const BURDEN: usize = 2;

#[test]
fn leadership_stays_where_it_is() {
    let mut phases = Phases::of("calm");
    let mut cluster = Cluster::start(Options::default());
    let client = Client::of(&cluster);
    let spec = SequenceJob::new(cluster.home(), "numbers");
    let mut job = Job::submit(&cluster, &spec.write());
    job.wait_for("RUNNING", WITHIN);
    let idle = terms(&cluster, &client, knobs::calm());
    phases.done(&format!("idle: terms {idle:?}"));
    let load = Load::begin();
    let busy = terms(&cluster, &client, knobs::calm());
    drop(load);
    phases.done(&format!("busy: terms {busy:?}"));
    let restarts = restarts(&cluster, &client);
    phases.done(&format!("followers restarted: terms {restarts:?}"));
    if knobs::soak() {
        assert_eq!(idle.len(), 1, "an election while idle: terms {idle:?}");
        assert_eq!(busy, idle, "an election under load");
        assert_eq!(restarts, idle, "an election though only followers died");
    }
    finish(&cluster, &client, &mut job, &spec);
    cluster.stop();
}

/// Kills followers, and waits each time until the killed one has caught up again. All terms seen.
fn restarts(cluster: &Cluster, client: &Client) -> Vec<u64> {
    let names = cluster.manifest().names("jobmanager");
    let mut seen = Vec::new();
    for round in 0..knobs::rounds(1, 6) as usize {
        let leader = cluster.wait_for_leader();
        let followers: Vec<&String> = names.iter().filter(|name| **name != leader).collect();
        let killed = followers[round % followers.len()];
        let pid = cluster.kill(killed);
        let _pid = cluster.wait_for_new_pid(killed, pid);
        cluster.wait_until_caught_up(10);
        seen.extend(terms(cluster, client, LOOK_EVERY));
    }
    seen.dedup();
    seen
}

#[test]
fn one_way_cuts_unseat_nobody() {
    let mut phases = Phases::of("one_way_cuts");
    let proxy = Proxy::default();
    let cluster = Cluster::assemble(Options::default(), &proxy);
    let client = Client::of(&cluster);
    let spec = SequenceJob::new(cluster.home(), "numbers");
    let mut job = Job::submit(&cluster, &spec.write());
    job.wait_for("RUNNING", WITHIN);
    let leader = cluster.wait_for_leader();
    let names = cluster.manifest().names("jobmanager");
    let followers: Vec<&String> = names.iter().filter(|name| **name != leader).collect();
    let cuts = [
        (&leader, followers[0]),
        (followers[1], &leader),
        (followers[0], followers[1]),
    ];
    let mut seen = terms(&cluster, &client, LOOK_EVERY);
    for (from, to) in cuts {
        proxy.cut(from, to);
        let during = Duration::from_secs(knobs::rounds(1, 10).into());
        seen.extend(terms(&cluster, &client, during));
        job.look();
        job.wait_for_another_checkpoint(WITHIN);
        proxy.mend();
        cluster.wait_until_caught_up(10);
        phases.done(&format!("{from} wasn't heard by {to}: terms {seen:?}"));
    }
    if knobs::soak() {
        seen.dedup();
        assert_eq!(seen.len(), 1, "an election: terms {seen:?}");
    }
    finish(&cluster, &client, &mut job, &spec);
}

/// A connection that breaks is no sign of a death: whoever is knocked at and answers is alive.
#[test]
fn reset_connections_unseat_nobody() {
    let mut phases = Phases::of("resets");
    let proxy = Proxy::default();
    let cluster = Cluster::assemble(Options::default(), &proxy);
    let client = Client::of(&cluster);
    let spec = SequenceJob::new(cluster.home(), "numbers");
    let mut job = Job::submit(&cluster, &spec.write());
    job.wait_for("RUNNING", WITHIN);
    cluster.wait_until_caught_up(10);
    let names = cluster.manifest().names("jobmanager");
    let pairs = [(0, 1), (1, 2), (2, 0)].map(|(one, other)| (&names[one], &names[other]));
    let mut seen = terms(&cluster, &client, LOOK_EVERY);
    let mut connections = 0;
    for round in 0..knobs::rounds(12, 50) as usize {
        let (one, other) = pairs[round % pairs.len()];
        connections += wait_until(WITHIN, "connections between the two", || {
            Some(proxy.reset(one, other)).filter(|count| *count > 0)
        });
        seen.extend(terms(&cluster, &client, LOOK_EVERY));
    }
    seen.dedup();
    phases.done(&format!("{connections} connections reset: terms {seen:?}"));
    for name in &names {
        let page = Figures::of(&cluster.process(name).api).expect("a page of figures");
        let stood = page.one("regent_failovers_fired_total", &[]);
        assert_eq!(stood, Some(0.0), "{name} took a living leader for dead");
    }
    if knobs::soak() {
        assert_eq!(seen.len(), 1, "an election: terms {seen:?}");
    }
    finish(&cluster, &client, &mut job, &spec);
}

/// Ends the job and checks everything.
fn finish(cluster: &Cluster, client: &Client, job: &mut Job<'_>, spec: &SequenceJob) {
    let folder = cluster.home().join("savepoints").display().to_string();
    let _stopping = cluster.json(&["job", "stop", &job.id, "--savepoint-path", &folder]);
    job.wait_for("FINISHED", WITHIN);
    assert_eq!(job.seen().restarts, 0, "{:?}", job.seen());
    println!("{} rows, all exact", spec.assert_exact());
    assert_unharmed(cluster, client);
}

/// All terms that any replica was in, in order of appearance.
fn terms(cluster: &Cluster, client: &Client, during: Duration) -> Vec<u64> {
    let names = cluster.manifest().names("jobmanager");
    let until = Instant::now() + during;
    let mut seen = Vec::new();
    while Instant::now() < until {
        for status in names.iter().filter_map(|name| client.status(name)) {
            if !seen.contains(&status.term) {
                seen.push(status.term);
            }
        }
        pause(LOOK_EVERY);
    }
    seen
}

/// Threads that compute nothing, as fast as they can.
struct Load {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    fn begin() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let spin = |stop: Arc<AtomicBool>| {
            while !stop.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        };
        let threads = (0..cores * BURDEN).map(|_| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || spin(stop))
        });
        Self {
            threads: threads.collect(),
            stop,
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // It can't panic: it only spins.
            thread.join().ok();
        }
    }
}

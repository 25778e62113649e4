//! Topics and brokers that aren't there, as users are told of them: in bounded time, with their names, in
//! `job show`. Against the broker of the harness, and against nobody.

use regent_chaos::cleanup::written;
use regent_chaos::cluster::{Cluster, Options};
use regent_chaos::jobs::Job;
use regent_chaos::kafka::broker::Broker;

use super::SOON;

fn source(brokers: &str) -> String {
    format!(
        "  - {{ id: messages, source: kafka, with: {{ brokers: '{brokers}', topic: missing, \
         broker-timeout: 2s, format: json-lines, columns: {{ n: int64 }} }} }}\n  \
         - {{ id: out, sink: blackhole, inputs: [ messages ] }}\n"
    )
}

fn sink(brokers: &str, delivery: &str) -> String {
    format!(
        "  - {{ id: numbers, source: sequence, with: {{ rate: 100 }} }}\n  \
         - {{ id: messages, sink: kafka, inputs: [ numbers ], with: {{ brokers: '{brokers}', \
         topic: missing, broker-timeout: 2s, format: json-lines, {delivery} }} }}\n"
    )
}

#[test]
fn what_is_not_there_is_named_with_what_to_do_about_it() {
    let mut cluster = Cluster::start(Options {
        jobmanagers: 1,
        taskmanagers: 1,
        ..Options::default()
    });
    let broker = Broker::start();
    let nobody = "127.0.0.1:1";
    let staging = cluster.home().join("staging");
    let staged = format!("staging: {}", staging.display());
    let no_topic = "there is no such topic; create it";
    let no_broker = "are these the brokers, and can this worker reach them?";
    for (brokers, words) in [(broker.address.as_str(), no_topic), (nobody, no_broker)] {
        let sinks = ["delivery: at-least-once", &staged].map(|how| sink(brokers, how));
        for vertices in [source(brokers)].iter().chain(&sinks) {
            let text = format!(
                "name: trouble\ncheckpointing: {{ interval: 300ms }}\n\
                 restart-strategy: {{ type: none }}\nvertices:\n{vertices}"
            );
            let mut job = Job::submit(&cluster, &written(&cluster, "trouble", &text));
            job.wait_for("FAILED", SOON);
            let failure = job.look()["failures"][0].clone();
            assert_eq!(failure["vertex"], "messages", "{failure}");
            let cause = failure["cause"].as_str().unwrap_or_default();
            let place = format!("kafka {brokers} topic missing: ");
            assert!(cause.starts_with(&place), "{cause}");
            assert!(cause.contains(words), "{cause}");
            println!("{cause}");
            regent_chaos::cleanup::wait_for_clean(&cluster, &job.id, SOON);
        }
    }
    cluster.stop();
}

//! Job files that can't be accepted: exit 2, the place, the nearest valid name, and nothing is stored.

use std::fs;
use std::time::Duration;

use regent_chaos::cluster::{Cluster, Options};

const SOURCE: &str = "  - { id: n, source: sequence, with: { end: 10 } }\n";
const SINK: &str = "  - { id: out, sink: blackhole, inputs: [ n ] }\n";

/// A few lines that stand for 10 to the power of 12 values.
fn alias_bomb() -> String {
    let mut text = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
    for level in 1..12 {
        let before = level - 1;
        let refs = vec![format!("*a{before}"); 10].join(",");
        text += &format!("a{level}: &a{level} [{refs}]\n");
    }
    text
}

/// What the file says, and what the first line about it must contain.
fn cases() -> Vec<(&'static str, Vec<u8>, Vec<&'static str>)> {
    let job = |head: &str, vertices: &str| format!("name: x\n{head}vertices:\n{vertices}");
    let both = format!("{SOURCE}{SINK}");
    let text = |name, text: String, words| (name, text.into_bytes(), words);
    let aggregate = "  - { id: g, operator: aggregate, inputs: [ { from: n, partition: hash, by: [value] } ],\n      \
                     with: { group-by: [value], compute: { s: { sum: at } } } }\n";
    let looping = "  - { id: a, operator: filter, inputs: [ b ], with: { where: { column: value, op: not-null } } }\n  \
                   - { id: b, operator: filter, inputs: [ a ], with: { where: { column: value, op: not-null } } }\n";
    let late = SINK.replace("[ n ]", "[ g ]");
    let wide = "  - { id: f, operator: filter, inputs: [ n ], with: { where: { column: valeu, op: not-null } } }\n";
    let filtered = SINK.replace("[ n ]", "[ f ]");
    vec![
        text(
            "unknown-key",
            job("paralelism: 2\n", &both),
            vec![":2:1", "`parallelism`"],
        ),
        text(
            "unknown-operator",
            job("", &SOURCE.replace("sequence", "sequense")),
            vec![":3:", "`sequence`"],
        ),
        text(
            "unknown-column",
            job("", &format!("{SOURCE}{wide}{filtered}")),
            vec![":4:", "`value`"],
        ),
        text(
            "cycle",
            job("", &format!("{both}{looping}")),
            vec![":5:", "cycle"],
        ),
        text(
            "unconnected",
            job("", &format!("{both}{}", SOURCE.replace("id: n", "id: m"))),
            vec![":5:", "m"],
        ),
        text(
            "wrong-type",
            job("", &format!("{SOURCE}{aggregate}{late}")),
            vec![":5:", "sum"],
        ),
        text(
            "parallelism-0",
            job("parallelism: 0\n", &both),
            vec![":2:14", "1 to 128"],
        ),
        text(
            "parallelism-129",
            job("parallelism: 129\n", &both),
            vec![":2:14", "1 to 128"],
        ),
        (
            "binary",
            (0..=255).cycle().take(4096).collect(),
            vec!["binary"],
        ),
        text(
            "nested",
            format!("name: {}\n", "[".repeat(5_000)),
            vec!["nested"],
        ),
        ("huge", vec![b'x'; 5 * 1024 * 1024], vec!["huge", "1 MiB"]),
        text("alias-bomb", alias_bomb(), vec!["alias-bomb"]),
        text("empty", String::new(), vec!["empty"]),
    ]
}

/// What has a good shape and can't work, or has a setting that doesn't exist: the file, what its head and
/// its vertices say, and what the first line about it must contain.
type Unworkable = (&'static str, &'static str, String, Vec<&'static str>);

fn unworkable() -> Vec<Unworkable> {
    let both = || format!("{SOURCE}{SINK}");
    let endless = SOURCE.replace("end: 10", "rate: 5");
    let wide = SOURCE.replace("with:", "parallelism: 2, with:");
    let counting = "  - { id: g, operator: aggregate, inputs: [ { from: n, partition: hash, by: [value] } ],\n      \
                    with: { group-by: [value], compute: { s: { count: '*' } } } }\n";
    let late = SINK.replace("[ n ]", "[ g ]");
    let staged = "  - { id: out, sink: files, inputs: [ n ], with: { path: out, format: csv } }\n";
    let two_kinds = SINK.replace("sink: blackhole", "sink: blackhole, source: sequence");
    let retention = "checkpointing: { interval: 1s, externalized-checkpoint-retention: retain-on-cancelation }\n";
    #[rustfmt::skip]
    let cases = vec![
        ("too-many", "", SOURCE.repeat(1_001), vec!["1 to 1000 vertices"]),
        ("same-id", "", format!("{SOURCE}{SOURCE}{SINK}"), vec![":4:", "`n` is used twice"]),
        ("two-kinds", "", format!("{SOURCE}{two_kinds}"), vec![":4:", "exactly one of"]),
        ("forward", "", format!("{wide}{SINK}"), vec![":4:", "partition: rebalance"]),
        ("endless-final", "", format!("{endless}{counting}{late}"), vec![":5:", "`emit`"]),
        ("never-visible", "", format!("{endless}{staged}"), vec![":4:", "exactly-once", "never ends"]),
        ("interval", "checkpointing: { interval: 9ms }\n", both(), vec![":2:28", "at least 10ms"]),
        ("strategy", "restart-strategy: { type: fixed-dely }\n", both(), vec![":2:27", "`fixed-delay`"]),
        ("retention", retention, both(), vec![":2:", "`retain-on-cancellation`"]),
    ];
    cases
}

/// All of them, as files.
fn files() -> Vec<(&'static str, Vec<u8>, Vec<&'static str>)> {
    let mut files = cases();
    for (name, head, vertices, words) in unworkable() {
        let text = format!("name: x\n{head}vertices:\n{vertices}");
        files.push((name, text.into_bytes(), words));
    }
    files
}

#[test]
fn bad_job_files_are_refused_with_their_place() {
    let options = Options {
        jobmanagers: 1,
        taskmanagers: 1,
        ..Options::default()
    };
    let mut cluster = Cluster::start(options);
    for (name, content, words) in files() {
        let file = cluster.home().join(format!("{name}.yaml"));
        fs::write(&file, content).expect("the file can be written");
        let file = file.display().to_string();
        let submit = ["job", "submit", &file];
        let outcome = cluster.cli_within(&submit, "10s", Duration::from_secs(11));
        let reason = outcome.refused(2);
        assert!(
            reason.contains(&format!("{name}.yaml")),
            "the file in {reason:?}"
        );
        for word in words {
            assert!(reason.contains(word), "{name}: {word:?} in {reason:?}");
        }
        println!("{reason}");
    }
    unknown_in_the_header(&cluster);
    let missing = cluster.cli(&["job", "submit", "nowhere.yaml"]);
    assert!(missing.refused(2).contains("nowhere.yaml"));
    let jobs = cluster.json(&["job", "list"]);
    assert_eq!(jobs, serde_json::json!([]), "nothing was stored");
    cluster.stop();
}

/// What only a look at the data shows is told at its place in the job file as well.
fn unknown_in_the_header(cluster: &Cluster) {
    let data = cluster.home().join("a.csv");
    fs::write(&data, "carrier,distance\nUA,1\n").expect("written");
    let source = format!(
        "  - id: n\n    source: files\n    with: {{ path: {}, format: csv,\n            \
         columns: {{ carier: utf8 }} }}\n",
        data.display()
    );
    let file = cluster.home().join("header.yaml");
    fs::write(&file, format!("name: x\nvertices:\n{source}{SINK}")).expect("written");
    let outcome = cluster.cli(&["job", "submit", &file.display().to_string()]);
    let reason = outcome.refused(2);
    assert!(reason.contains("header.yaml:6:24: n: "), "{reason}");
    assert!(
        reason.contains("there is no column carier in the header line"),
        "{reason}"
    );
    assert!(reason.contains("did you mean `carrier`?"), "{reason}");
}

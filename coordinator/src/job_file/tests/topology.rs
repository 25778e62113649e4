//! Cycles, dead ends, partitions, claims on paths.

use regent_state::graph::Partition;

use super::{ENDLESS, FLIGHTS, NUMBERS, drop_from, job, parsed, refused, vertex};

fn filter(id: &str, from: &str) -> String {
    format!(
        "{{ id: {id}, operator: filter, inputs: [ {from} ], \
         with: {{ where: {{ column: value, op: not-null }} }} }}"
    )
}

fn files(id: &str, path: &str) -> String {
    format!(
        "{{ id: {id}, sink: files, inputs: [ numbers ], with: {{ path: {path}, format: csv }} }}"
    )
}

#[test]
fn cycles_are_listed() {
    let text = job(
        "",
        &[
            NUMBERS,
            &drop_from("numbers"),
            &filter("a", "«c"),
            &filter("b", "a"),
            &filter("c", "b"),
        ],
    );
    refused(&text, &["the vertices form a cycle: a -> b -> c -> a"]);
    refused(&job("", &[&filter("a", "«a")]), &["cycle: a -> a"]);
    let fed_by_cycle = [
        drop_from("b"),
        filter("x", "«y"),
        filter("y", "x"),
        filter("b", "y"),
    ];
    let fed_by_cycle: Vec<&str> = fed_by_cycle.iter().map(String::as_str).collect();
    refused(&job("", &fed_by_cycle), &["cycle: x -> y -> x"]);
}

#[test]
fn a_long_cycle_is_cut() {
    let ids: Vec<String> = (0..1_000).map(|index| format!("v{index}")).collect();
    let vertices: Vec<String> = (0..1_000)
        .map(|index| filter(&ids[index], &ids[(index + 999) % 1_000]))
        .collect();
    let vertices: Vec<&str> = vertices.iter().map(String::as_str).collect();
    let error = parsed(&job("", &vertices)).unwrap_err().to_string();
    assert!(error.contains("cycle: v0 -> v1"), "{error}");
    assert!(error.contains("-> ... -> v0"), "{error}");
}

#[test]
fn unconnected_vertices() {
    let lone = "{ id: «lone, source: sequence, with: { end: 1 } }";
    refused(
        &job("", &[NUMBERS, lone, &drop_from("numbers")]),
        &["vertex `lone` isn't connected"],
    );
    refused(
        &job("", &["{ id: «n, source: sequence, with: { end: 1 } }"]),
        &["isn't connected"],
    );
    let text = job(
        "",
        &[NUMBERS, &filter("«f", "numbers"), &drop_from("numbers")],
    );
    refused(&text, &["vertex `f` isn't connected: nothing reads it"]);
}

#[test]
fn vertices_come_in_the_order_of_the_flow() {
    let text = job(
        "",
        &[
            &drop_from("b"),
            &filter("b", "a"),
            NUMBERS,
            &filter("a", "numbers"),
        ],
    );
    let graph = parsed(&text).unwrap().graph;
    let ids: Vec<&str> = graph
        .vertices
        .iter()
        .map(|vertex| vertex.id.as_str())
        .collect();
    assert_eq!(ids, ["numbers", "a", "b", "drop"]);
    graph.validate().unwrap();
}

#[test]
fn one_vertex_may_feed_several_and_pipelines_may_lie_apart() {
    let text = job(
        "",
        &[
            NUMBERS,
            &drop_from("numbers"),
            "{ id: d2, sink: blackhole, inputs: [ numbers ] }",
            ENDLESS,
            "{ id: d3, sink: blackhole, inputs: [ endless ] }",
        ],
    );
    let graph = parsed(&text).unwrap().graph;
    assert_eq!(graph.vertices.len(), 5);
    assert!(!graph.bounded());
}

#[test]
fn forward_needs_equal_parallelism() {
    let wide = "{ id: numbers, source: sequence, parallelism: 3, with: { end: 1 } }";
    let text = job("parallelism: 2", &[wide, &drop_from("«numbers")]);
    refused(
        &text,
        &[
            "forward needs equal parallelism",
            "has 3",
            "2",
            "partition: rebalance",
        ],
    );
    let text = job(
        "parallelism: 2",
        &[wide, &drop_from("{ from: numbers, partition: «forward }")],
    );
    refused(&text, &["partition: rebalance"]);
    let text = job(
        "parallelism: 2",
        &[wide, &drop_from("{ from: numbers, partition: rebalance }")],
    );
    assert_eq!(
        vertex(&text, "drop").inputs[0].partition,
        Partition::Rebalance
    );
    assert_eq!(vertex(&text, "drop").parallelism, 2);
    assert_eq!(vertex(&text, "numbers").parallelism, 3);
}

fn count(input: &str) -> String {
    format!(
        "{{ id: count, operator: aggregate, inputs: [ {input} ], \
         with: {{ group-by: [ carrier, month ], compute: {{ n: {{ count: '*' }} }} }} }}"
    )
}

#[test]
fn groups_must_meet_in_one_subtask() {
    let text = |input: &str| {
        job(
            "parallelism: 2",
            &[FLIGHTS, &count(input), &drop_from("count")],
        )
    };
    let hint = "{ from: flights, partition: hash, by: [carrier, month] }";
    refused(&text("«flights"), &["parallelism 2", hint]);
    refused(&text("{ from: flights, partition: «broadcast }"), &[hint]);
    refused(&text("{ from: flights, partition: «rebalance }"), &[hint]);
    refused(
        &text("{ from: flights, partition: «hash, by: [ carrier ] }"),
        &[hint],
    );
    let all = "{ from: flights, partition: «hash, by: [ carrier, month, delay ] }";
    refused(&text(all), &[hint]);
    // The key group follows from the operator's order of keys, so the edge takes that order.
    let swapped = text("{ from: flights, partition: hash, by: [ month, carrier ] }");
    let by = vec!["carrier".to_owned(), "month".to_owned()];
    assert_eq!(
        vertex(&swapped, "count").inputs[0].partition,
        Partition::Hash { by }
    );
    let alone = job("", &[FLIGHTS, &count("flights"), &drop_from("count")]);
    assert_eq!(
        vertex(&alone, "count").inputs[0].partition,
        Partition::Forward
    );
}

#[test]
fn sinks_own_their_paths() {
    for (one, other) in [
        ("out", "«out"),
        ("out/a", "«out"),
        ("out", "«out/a/b"),
        ("out", "«/work/dir/x/../out"),
    ] {
        let text = job("", &[NUMBERS, &files("one", one), &files("two", other)]);
        refused(&text, &["overlaps with the path of sink `one`"]);
    }
    let text = job("", &[NUMBERS, &files("one", "out"), &files("two", "out-2")]);
    parsed(&text).unwrap();
}

#[test]
fn a_source_cant_read_what_the_job_writes() {
    for input in ["out", "out/x.csv", "'out/*.csv'"] {
        let source = format!(
            "{{ id: numbers, source: files, with: {{ path: «{input}, format: csv, columns: {{ a: utf8 }} }} }}"
        );
        refused(
            &job("", &[&source, &files("one", "out")]),
            &["where sink `one` writes"],
        );
    }
    let source =
        "{ id: numbers, source: files, with: { path: data, format: csv, columns: { a: utf8 } } }";
    parsed(&job("", &[source, &files("one", "data/out")])).unwrap();
}

#[test]
fn an_endless_exactly_once_job_needs_an_interval() {
    let sink = |delivery: &str, id: &str| {
        format!(
            "{{ id: {id}, sink: files, inputs: [ endless ], with: {{ path: out, format: csv{delivery} }} }}"
        )
    };
    let text = job("", &[ENDLESS, &sink("", "«out")]);
    refused(
        &text,
        &[
            "sink `out` is exactly-once and the job never ends",
            "interval",
        ],
    );
    let text = job(
        "checkpointing: { timeout: 1m }",
        &[ENDLESS, &sink("", "«out")],
    );
    refused(&text, &["never ends"]);
    parsed(&job(
        "checkpointing: { interval: 1s }",
        &[ENDLESS, &sink("", "out")],
    ))
    .unwrap();
    parsed(&job(
        "",
        &[ENDLESS, &sink(", delivery: at-least-once", "out")],
    ))
    .unwrap();
    parsed(&job("", &[ENDLESS, &drop_from("endless")])).unwrap();
}

#[test]
fn zombie_safety_follows_delivery() {
    let text = |delivery: &str| {
        job(
            "",
            &[
                NUMBERS,
                &format!(
                    "{{ id: out, sink: files, inputs: [ numbers ], with: {{ path: out, format: csv, delivery: {delivery} }} }}"
                ),
            ],
        )
    };
    assert!(vertex(&text("exactly-once"), "out").zombie_safe);
    assert!(!vertex(&text("at-least-once"), "out").zombie_safe);
    assert!(vertex(&job("", &[NUMBERS, &drop_from("numbers")]), "drop").zombie_safe);
}

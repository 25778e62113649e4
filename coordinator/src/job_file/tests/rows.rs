//! Operators that change rows, and vertices with several inputs: columns, names, types.

use regent_state::graph::{DataType, Partition};

use super::{FLIGHTS, NUMBERS, drop_from, job, parsed, refused, vertex};

fn select(columns: &str) -> String {
    format!("{{ id: s, operator: select, inputs: [ flights ], with: {{ columns: {columns} }} }}")
}

fn selecting(columns: &str) -> String {
    job("", &[FLIGHTS, &select(columns), &drop_from("s")])
}

#[test]
fn select_names_what_passes() {
    let text = selecting("[ at, { carrier: airline }, { carrier: name } ]");
    let vertex = vertex(&text, "s");
    let columns: Vec<(&str, DataType)> = vertex
        .columns
        .iter()
        .map(|column| (column.name.as_str(), column.data_type))
        .collect();
    let expected = [
        ("at", DataType::Timestamp),
        ("airline", DataType::Utf8),
        ("name", DataType::Utf8),
    ];
    assert_eq!(columns, expected);
    let config: serde_json::Value = serde_json::from_str(&vertex.config_json).unwrap();
    let second = serde_json::json!({ "column": "carrier", "name": "airline" });
    assert_eq!(config["columns"][1], second);
}

#[test]
fn select_is_refused_where_it_is_wrong() {
    for (columns, words) in [
        ("«carrier", &["columns must be a list, found `carrier`"][..]),
        ("«[]", &["columns needs at least one column"]),
        (
            "[ «carier ]",
            &["unknown column `carier`; did you mean `carrier`?"],
        ),
        ("[ { «carier: a } ]", &["did you mean `carrier`?"]),
        ("[ «{ carrier: a, month: b } ]", &["{ column: new-name }"]),
        (
            "[ { carrier: «[] } ]",
            &["a column's new name must be text"],
        ),
        ("[ { carrier: «'' } ]", &["a column needs a name"]),
        ("[ month, { carrier: «month } ]", &["two columns `month`"]),
        ("[ month, «month ]", &["two columns `month`"]),
    ] {
        refused(&selecting(columns), words);
    }
    let without = "«{ id: s, operator: select, inputs: [ flights ] }";
    let text = job("", &[FLIGHTS, without, &drop_from("s")]);
    refused(&text, &["operator select needs the key `columns`"]);
}

const MORE: &str = "{ id: more, source: sequence, with: { start: 5, keys: 2 } }";

#[test]
fn inputs_with_the_same_columns_are_united() {
    let inputs = "numbers, { from: more, partition: rebalance }, numbers";
    let text = job("", &[NUMBERS, MORE, &drop_from(inputs)]);
    let sink = vertex(&text, "drop");
    let inputs: Vec<(&str, &Partition)> = sink
        .inputs
        .iter()
        .map(|edge| (edge.from.as_str(), &edge.partition))
        .collect();
    let expected = [
        ("numbers", &Partition::Forward),
        ("more", &Partition::Rebalance),
        ("numbers", &Partition::Forward),
    ];
    assert_eq!(inputs, expected);
    assert!(!sink.bounded, "one of its inputs never ends");
    parsed(&text).unwrap().graph.validate().unwrap();
}

#[test]
fn inputs_with_other_columns_are_refused() {
    let text = job("", &[NUMBERS, FLIGHTS, &drop_from("numbers, «flights")]);
    refused(
        &text,
        &[
            "must have the same columns in the same order",
            "`numbers` has (`value` int64, `at` timestamp, `key` int64)",
            "`flights` has (`carrier` utf8,",
            "put a `select` between",
        ],
    );
}

#[test]
fn each_input_of_a_keyed_vertex_is_spread_by_its_keys() {
    let count = |second: &str| {
        let inputs = format!("{{ from: numbers, partition: hash, by: [ key ] }}, {second}");
        let compute = "{ n: { count: '*' } }";
        format!(
            "{{ id: count, operator: aggregate, inputs: [ {inputs} ], \
             with: {{ group-by: [ key ], emit: changes, compute: {compute} }} }}"
        )
    };
    let with = |second: &str| {
        let count = count(second);
        job(
            "parallelism: 2",
            &[NUMBERS, MORE, &count, &drop_from("count")],
        )
    };
    refused(&with("«more"), &["the rows of one group must meet"]);
    parsed(&with("{ from: more, partition: hash, by: [ key ] }")).unwrap();
}

#[test]
fn a_cycle_through_a_second_input_is_listed() {
    let filter = |id: &str, inputs: &str| {
        let with = "{ where: { column: value, op: not-null } }";
        format!("{{ id: {id}, operator: filter, inputs: [ {inputs} ], with: {with} }}")
    };
    let (a, b) = (filter("a", "numbers, «b"), filter("b", "a"));
    let text = job("", &[NUMBERS, &drop_from("b"), &a, &b]);
    refused(&text, &["the vertices form a cycle: a -> b -> a"]);
}

#[test]
fn rows_that_part_and_meet_again() {
    let filter = |id: &str, from: &str| {
        let with = "{ where: { column: value, op: not-null } }";
        format!("{{ id: {id}, operator: filter, inputs: [ {from} ], with: {with} }}")
    };
    let (low, high) = (filter("low", "numbers"), filter("high", "numbers"));
    let text = job("", &[&drop_from("high, low"), &low, &high, NUMBERS]);
    let graph = parsed(&text).unwrap().graph;
    let ids: Vec<&str> = graph.vertices.iter().map(|v| v.id.as_str()).collect();
    assert_eq!(ids, ["numbers", "low", "high", "drop"]);
}

#[test]
fn a_source_that_follows_its_path_never_ends() {
    let source = |interval: &str| {
        format!(
            "{{ id: f, source: files, with: {{ path: in, format: csv, columns: {{ a: utf8 }}, \
             discovery-interval: {interval} }} }}"
        )
    };
    let text = job("", &[&source("2s"), &drop_from("f")]);
    let found = vertex(&text, "f");
    assert!(!found.bounded);
    assert!(found.config_json.contains("\"discovery-interval-ms\":2000"));
    refused(
        &job("", &[&source("«1ms"), &drop_from("f")]),
        &["at least 10ms"],
    );
}

#[test]
fn print_and_json_lines() {
    let print = "{ id: p, sink: print, inputs: [ numbers ] }";
    let sink = vertex(&job("", &[NUMBERS, print]), "p");
    assert!(!sink.zombie_safe && sink.sink.is_none());
    let files = "{ id: f, sink: files, inputs: [ numbers ], \
        with: { path: out, format: json-lines } }";
    let sink = vertex(&job("", &[NUMBERS, files]), "f");
    assert!(
        sink.config_json.contains("json-lines"),
        "{}",
        sink.config_json
    );
}

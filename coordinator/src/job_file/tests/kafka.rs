//! `source: kafka` and `sink: kafka`: defaults, and what is refused where.

use serde_json::{Value, json};

use super::{NUMBERS, drop_from, job, parsed, refused, vertex};

fn source(more: &str) -> String {
    let kafka = format!(
        "{{ id: k, source: kafka, with: {{ brokers: 'b1:9092,b2:9092', topic: orders, \
         format: json-lines, columns: {{ n: int64 }}{more} }} }}"
    );
    job("", &[&kafka, &drop_from("k")])
}

fn sink(with: &str) -> String {
    let kafka = format!(
        "{{ id: k, sink: kafka, inputs: [ numbers ], \
         with: {{ brokers: 'b1:9092', topic: orders, format: json-lines{with} }} }}"
    );
    job("", &[NUMBERS, &kafka])
}

fn config(text: &str) -> Value {
    serde_json::from_str(&vertex(text, "k").config_json).unwrap()
}

#[test]
fn a_source_never_ends_unless_it_is_bounded() {
    let found = config(&source(""));
    assert_eq!(found["start"], "earliest");
    assert_eq!(found["discovery-interval-ms"], 30_000);
    assert_eq!(found["broker-timeout-ms"], 60_000);
    assert_eq!(found["group"], Value::Null);
    assert!(!vertex(&source(""), "k").bounded);
    assert!(vertex(&source(", bounded: true"), "k").bounded);
    let offsets = config(&source(", start: { 0: 17, 12: 5 }"));
    assert_eq!(offsets["start"], json!({ "offsets": { "0": 17, "12": 5 } }));
}

#[test]
fn what_a_source_refuses() {
    for (more, words) in [
        (", bounded: «1", &["bounded must be true or false"][..]),
        (", start: «newest", &["start can't be `newest`"]),
        (", start: { «a: 1 }", &["offsets by partition, found `a`"]),
        (", start: { 0: «-1 }", &["an offset must be a whole number"]),
        (", broker-timeout: «10ms", &["at least 1000ms"]),
        (", «brooker: 1", &["did you mean `brokers`?"]),
        (
            ", «sasl-mechanism: PLAIN",
            &[
                "unknown key `sasl-mechanism`",
                "without TLS and authentication",
            ],
        ),
    ] {
        refused(&source(more), words);
    }
    for (from, to, words) in [
        (
            "'b1:9092,b2:9092'",
            "«'b1:9092,b2'",
            "brokers must be host:port",
        ),
        ("topic: orders", "topic: «a/b", "topic must be 1 to 249"),
        (
            "format: json-lines",
            "format: «avro",
            "format can't be `avro`",
        ),
    ] {
        refused(&source("").replace(from, to), &[words]);
    }
    let raw = source("").replace("json-lines", "raw");
    refused(
        &raw.replace("{ n: int64 }", "«{ n: int64 }"),
        &["`format: raw`", "utf8"],
    );
}

#[test]
fn an_exactly_once_sink_owns_its_staging_directory() {
    let text = sink(", staging: wait, key: key");
    let found = vertex(&text, "k");
    let info = found.sink.clone().unwrap();
    assert_eq!(info.path, "/work/dir/wait");
    assert!(info.exactly_once);
    assert!(found.zombie_safe);
    assert_eq!(config(&text)["staging"], "/work/dir/wait");
    let loose = vertex(&sink(", delivery: at-least-once"), "k");
    assert_eq!(loose.sink, None);
    assert!(!loose.zombie_safe, "a zombie would go on sending");
    parsed(&text).unwrap().graph.validate().unwrap();
}

#[test]
fn what_a_sink_refuses() {
    refused(
        &sink("").replace("with: { brokers", "with: «{ brokers"),
        &["needs the key `staging`"],
    );
    for (with, words) in [
        (", delivery: at-least-once, staging: «x", "leave it out"),
        (", staging: x, key: «nobody", "unknown column `nobody`"),
        (", staging: «/", "root directory"),
        (", staging: x, «ssl-ca: y", "without TLS and authentication"),
    ] {
        refused(&sink(with), &[words]);
    }
    let raw = sink(", staging: x").replace("json-lines", "raw");
    refused(
        &raw.replace("with: { brokers: 'b1", "with: «{ brokers: 'b1"),
        &["`format: raw`"],
    );
}

#[test]
fn an_endless_job_with_transactions_needs_an_interval() {
    let endless = sink(", staging: x").replace("end: 10, ", "");
    let marked = endless.replace("id: k,", "id: «k,");
    refused(&marked, &["exactly-once", "never ends"]);
}

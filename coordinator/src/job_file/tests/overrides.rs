//! `--set KEY=VALUE`.

use regent_protocol::spec::SequenceSpec;

use super::{NUMBERS, drop_from, job, parsed_with};
use crate::job_file::{ParsedJob, parse_override};

fn text() -> String {
    job("parallelism: 2", &[NUMBERS, &drop_from("numbers")])
}

fn set(overrides: &[(&str, &str)]) -> ParsedJob {
    parsed_with(&text(), overrides).unwrap()
}

#[track_caller]
fn refused(overrides: &[(&str, &str)], expected: &str) {
    let error = parsed_with(&text(), overrides).unwrap_err().to_string();
    let first = error.lines().next().unwrap_or_default();
    assert!(
        first.starts_with(expected),
        "expected {expected}\nfound    {first}"
    );
}

#[test]
fn values_are_replaced_and_added() {
    assert_eq!(set(&[("parallelism", "4")]).graph.parallelism, 4);
    assert_eq!(
        set(&[("parallelism", "4"), ("parallelism", "5")])
            .graph
            .parallelism,
        5
    );
    assert_eq!(set(&[("name", "other name")]).graph.name, "other name");
    let job = set(&[("checkpointing.interval", "2s")]);
    assert_eq!(job.graph.checkpoint_interval_ms(), Some(2_000));
    let job = set(&[("checkpointing", "{ interval: 3s }")]);
    assert_eq!(job.graph.checkpoint_interval_ms(), Some(3_000));
    let job = set(&[
        ("checkpointing", "{ interval: 3s }"),
        ("checkpointing", "null"),
    ]);
    assert_eq!(job.graph.checkpointing, None);
}

#[test]
fn a_vertex_is_named_by_its_id() {
    let job = set(&[
        ("vertices.numbers.with.rate", "800"),
        ("vertices.numbers.with.end", "77"),
    ]);
    let config = &job.graph.vertex("numbers").unwrap().config_json;
    let spec: SequenceSpec = serde_json::from_str(config).unwrap();
    assert_eq!((spec.rate, spec.end), (Some(800.0), Some(77)));
    refused(
        &[("vertices.nubers.with.rate", "1")],
        "--set vertices.nubers.with.rate: unknown vertex `nubers`; did you mean `numbers`?",
    );
}

#[test]
fn wrong_overrides_are_named() {
    refused(
        &[("paralelism", "4")],
        "--set paralelism: unknown key `paralelism`; did you mean `parallelism`?",
    );
    refused(
        &[("parallelism", "0")],
        "--set parallelism: parallelism must be a whole number from 1 to 128, found `0`",
    );
    refused(
        &[("parallelism", "")],
        "--set parallelism: parallelism must be",
    );
    refused(
        &[("name.first", "x")],
        "--set name.first: `first` can't be set",
    );
    refused(
        &[("a..b", "x")],
        "--set a..b: the key must be names with dots",
    );
    refused(&[("name", "[")], "--set name: ");
    let many: Vec<(&str, &str)> = vec![("parallelism", "1"); 101];
    refused(&many, "job.yaml: at most 100 values can be --set");
}

#[test]
fn the_argument_is_split_at_the_first_equals() {
    assert_eq!(
        parse_override("a.b=c=d"),
        Ok(("a.b".to_owned(), "c=d".to_owned()))
    );
    assert_eq!(parse_override("a="), Ok(("a".to_owned(), String::new())));
    assert!(parse_override("=b").is_err());
    assert!(
        parse_override("parallelism")
            .unwrap_err()
            .contains("KEY=VALUE")
    );
}

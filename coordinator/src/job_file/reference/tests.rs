//! The lines of the reference, held against the parser.

use std::path::Path;

use regent_state::JobGraph;

use super::super::{JobFileSource, catalog, job, parse, settings, vertex, window};
use super::*;

fn section(name: &str) -> &'static Section {
    let found = SECTIONS.iter().find(|section| section.name == name);
    found.unwrap_or_else(|| panic!("reference.rs has no section {name}: add it, and its keys"))
}

fn assert_keys(name: &str, known: &[&str]) {
    let mut shown: Vec<&str> = section(name).keys.iter().map(|key| key.name).collect();
    let mut known = known.to_vec();
    shown.sort_unstable();
    known.sort_unstable();
    assert_eq!(shown, known, "keys of {name}");
}

#[test]
fn every_key_that_the_parser_knows_is_there_and_no_other() {
    assert_keys("job", &job::KEYS);
    assert_keys("checkpointing", &settings::CHECKPOINTING_KEYS);
    assert_keys("vertex", &vertex::KEYS);
    assert_keys("input", &vertex::INPUT_KEYS);
    assert_keys("window", &window::KEYS);
    for (name, keys, _) in settings::STRATEGIES {
        assert_keys(&format!("restart-strategy {name}"), keys);
    }
    for listing in &catalog::CATALOG {
        let name = format!("{} {}", catalog::kind_key(listing.kind), listing.name);
        assert_keys(&name, listing.keys);
    }
}

/// A job with room for one more key of a section, at `@`.
fn template(name: &str) -> Option<String> {
    let job = |head: &str, source: &str, input: &str, operator: &str, sink: &str| {
        format!(
            "name: x\n{head}vertices:\n  - {{ id: s, {source} }}\n  - {{ id: o, inputs: [ {input} ], \
             {operator} }}\n  - {{ id: k, inputs: [ o ], {sink} }}\n"
        )
    };
    let numbers = "source: sequence, with: { end: 9 }";
    let pass = "operator: select, with: { columns: [ value, at ] }";
    let sum = |more: &str| {
        format!(
            "operator: aggregate, with: {{ group-by: [value], compute: {{ n: {{ count: \"*\" }} }}{more} }}"
        )
    };
    let hole = "sink: blackhole";
    let by_value = "{ from: s, partition: hash, by: [value] }";
    let strategy = |name: &str| {
        let head = format!("restart-strategy: {{ type: {name}@ }}\n");
        job(&head, numbers, "s", pass, hole)
    };
    let text = match name {
        "job" => job("@\n", numbers, "s", pass, hole).replace("@\n", "@NL"),
        "checkpointing" => job(
            "checkpointing: { interval: 1s@ }\n",
            numbers,
            "s",
            pass,
            hole,
        ),
        "input" => job("", numbers, "{ from: s@ }", pass, hole),
        "source sequence" => job("", "source: sequence, with: { end: 9@ }", "s", pass, hole),
        "source files" => job(
            "",
            "source: files, with: { path: /x, format: csv, columns: { value: int64, at: timestamp }@ }",
            "s",
            pass,
            hole,
        ),
        "source kafka" => {
            let source = "source: kafka, with: { brokers: \"b:9092\", topic: t, format: json-lines, \
                          columns: { value: int64, at: timestamp }@ }";
            job("", source, "s", pass, hole)
        }
        "sink kafka" => {
            let sink = "sink: kafka, with: { brokers: \"b:9092\", topic: t, format: json-lines, \
                        staging: /z@ }";
            job("", numbers, "s", pass, sink)
        }
        "window" => {
            let windowed = sum(", window: { tumbling: 1m, time: at@ }");
            job("", numbers, by_value, &windowed, hole)
        }
        "sink files" => job(
            "",
            numbers,
            "s",
            pass,
            "sink: files, with: { path: /y, format: csv@ }",
        ),
        name => match name.strip_prefix("restart-strategy ") {
            Some(name) => strategy(name),
            None => return None,
        },
    };
    Some(text)
}

fn graph(text: &str) -> JobGraph {
    let source = JobFileSource {
        text,
        name: "x.yaml",
        working_dir: Path::new("/"),
        overrides: &[],
    };
    parse(source)
        .unwrap_or_else(|error| panic!("{error}\n{text}"))
        .graph
}

#[test]
fn a_default_that_is_written_out_makes_no_difference() {
    let mut compared = 0;
    for section in SECTIONS {
        let values = section.keys.iter().filter_map(|key| {
            let value = key.default.strip_prefix('`')?.strip_suffix('`')?;
            Some((key.name, value))
        });
        for (key, value) in values {
            let template = template(section.name)
                .unwrap_or_else(|| panic!("no template for {}", section.name));
            let (without, with) = match template.contains("@NL") {
                true => (
                    template.replace("@NL", ""),
                    template.replace("@NL", &format!("{key}: {value}\n")),
                ),
                false => (
                    template.replace('@', ""),
                    template.replace('@', &format!(", {key}: {value}")),
                ),
            };
            assert_eq!(
                graph(&without),
                graph(&with),
                "{}: {key}: {value}",
                section.name
            );
            compared += 1;
        }
    }
    assert!(compared >= 20, "{compared} defaults");
}

#[test]
fn tables_are_written_between_their_marks() {
    let mut page = String::from("# Page\n");
    for section in SECTIONS {
        page += &format!(
            "<!-- keys: {} -->\nstale text\n<!-- /keys -->\n",
            section.name
        );
    }
    let filled = fill_in(&page).unwrap();
    assert!(
        filled.starts_with("# Page\n<!-- keys: job -->\n| key | type |"),
        "{filled}"
    );
    assert!(filled.contains("| `min-pause` | duration | `0s` | between the end"));
    assert!(!filled.contains("stale text"));
    assert_eq!(fill_in(&filled).unwrap(), filled);
    assert!(
        fill_in("<!-- keys: nothing -->\n<!-- /keys -->")
            .unwrap_err()
            .contains("nothing")
    );
    assert!(fill_in("").unwrap_err().contains("no table of job"));
}

//! Windows of event time: the section's values, and which vertices bring watermarks forth.

use regent_state::graph::DataType;
use serde_json::{Value, json};

use super::{ENDLESS, FLIGHTS, NUMBERS, drop_from, job, refused, vertex};

fn windowed(id: &str, from: &str, window: &str) -> String {
    format!(
        "{{ id: {id}, operator: aggregate, inputs: [ {from} ], \
         with: {{ group-by: [ key ], window: {window}, compute: {{ n: {{ count: '*' }} }} }} }}"
    )
}

fn config(text: &str, id: &str) -> Value {
    serde_json::from_str(&vertex(text, id).config_json).unwrap()
}

fn event_time(text: &str, id: &str) -> Value {
    config(text, id)["event-time"].clone()
}

#[test]
fn a_window_adds_its_times_and_ends_even_if_the_input_never_does() {
    let window = "{ tumbling: 1m, time: at, lateness: 5s, idle-timeout: 10s }";
    let text = job(
        "",
        &[ENDLESS, &windowed("w", "endless", window), &drop_from("w")],
    );
    let columns: Vec<(String, DataType)> = vertex(&text, "w")
        .columns
        .into_iter()
        .map(|column| (column.name, column.data_type))
        .collect();
    let expected = [
        ("key", DataType::Int64),
        ("n", DataType::Int64),
        ("window_start", DataType::Timestamp),
        ("window_end", DataType::Timestamp),
    ];
    assert_eq!(columns, expected.map(|(name, of)| (name.to_owned(), of)));
    let config = config(&text, "w");
    assert_eq!(config["emit"], "final");
    let expected = json!({ "tumbling-ms": 60_000, "time": "at", "lateness-ms": 5_000 });
    assert_eq!(config["window"], expected);
    let expected = json!({ "column": "at", "idle-timeout-ms": 10_000 });
    assert_eq!(event_time(&text, "endless"), expected);
    assert_eq!(event_time(&text, "w"), Value::Null);
}

#[test]
fn sections_that_are_wrong() {
    for (window, words) in [
        ("«1m", &["window must be a map of keys"][..]),
        ("«{ time: at }", &["window needs the key `tumbling`"]),
        ("«{ tumbling: 1m }", &["window needs the key `time`"]),
        ("{ «tumblin: 1m, time: at }", &["did you mean `tumbling`?"]),
        (
            "{ tumbling: «0s, time: at }",
            &["tumbling must be at least 1ms"],
        ),
        (
            "{ tumbling: «1, time: at }",
            &["tumbling must be a duration"],
        ),
        (
            "{ tumbling: 1m, time: «att }",
            &["unknown column `att`; did you mean `at`?"],
        ),
        (
            "{ tumbling: 1m, time: «key }",
            &["time must be a timestamp column; `key` is int64"],
        ),
        (
            "{ tumbling: 1m, time: at, lateness: «soon }",
            &["lateness must be a duration"],
        ),
        (
            "{ tumbling: 1m, time: at, idle-timeout: «0s }",
            &["at least 1ms"],
        ),
    ] {
        let text = job(
            "",
            &[NUMBERS, &windowed("w", "numbers", window), &drop_from("w")],
        );
        refused(&text, words);
    }
    let taken = "{ id: w, operator: aggregate, inputs: [ numbers ], with: «{ group-by: [ key ], \
        window: { tumbling: 1m, time: at }, compute: { window_end: { count: '*' } } } }";
    let text = job("", &[NUMBERS, taken, &drop_from("w")]);
    refused(&text, &["a window adds the column `window_end`"]);
}

const MINUTES: &str = "{ tumbling: 1m, time: at }";

#[test]
fn event_time_begins_at_the_source_behind_filters_and_selects() {
    let select = "{ id: s, operator: select, inputs: [ f ], \
        with: { columns: [ carrier, { at: time }, { month: key } ] } }";
    let filter = "{ id: f, operator: filter, inputs: [ flights ], \
        with: { where: { column: month, op: not-null } } }";
    let window = windowed("w", "s", "{ tumbling: 1m, time: time }");
    let text = job("", &[FLIGHTS, filter, select, &window, &drop_from("w")]);
    assert_eq!(event_time(&text, "flights"), json!({ "column": "at" }));
    assert_eq!(event_time(&text, "f"), Value::Null);
    assert_eq!(event_time(&text, "s"), Value::Null);
}

#[test]
fn every_input_brings_it_and_the_shortest_patience_counts() {
    let patient = windowed(
        "w",
        "numbers, endless",
        "{ tumbling: 1m, time: at, idle-timeout: 1m }",
    );
    let hasty = windowed(
        "v",
        "numbers",
        "{ tumbling: 2m, time: at, idle-timeout: 1s }",
    );
    let text = job(
        "",
        &[
            NUMBERS,
            ENDLESS,
            &patient,
            &hasty,
            &drop_from("w"),
            "{ id: d, sink: blackhole, inputs: [ v ] }",
        ],
    );
    let expected = json!({ "column": "at", "idle-timeout-ms": 1_000 });
    assert_eq!(event_time(&text, "numbers"), expected);
    let expected = json!({ "column": "at", "idle-timeout-ms": 60_000 });
    assert_eq!(event_time(&text, "endless"), expected);
}

#[test]
fn windows_of_windows_have_a_time_of_their_own() {
    let first = windowed("w", "numbers", MINUTES);
    let second = windowed("v", "w", "{ tumbling: 1h, time: window_start }").replace("n:", "m:");
    let text = job("", &[NUMBERS, &first, &second, &drop_from("v")]);
    let columns = vertex(&text, "v").columns;
    assert_eq!(
        columns.len(),
        4,
        "the first window's times aren't passed on: {columns:?}"
    );
    assert_eq!(event_time(&text, "w"), json!({ "column": "window_start" }));
    assert_eq!(event_time(&text, "numbers"), json!({ "column": "at" }));
}

#[test]
fn a_second_time_begins_at_a_select_and_nowhere_else() {
    let source = "{ id: src, source: files, with: { path: in, format: csv, \
        columns: { key: int64, at: timestamp, due: timestamp } } }";
    let one = windowed("one", "src", MINUTES);
    let two = |from: &str| windowed("two", from, "{ tumbling: 1m, time: «due }");
    let sinks = "{ id: d, sink: blackhole, inputs: [ two ] }";
    let text = job("", &[source, &one, &two("src"), &drop_from("one"), sinks]);
    refused(
        &text,
        &[
            "`src` can't give `two` the time `due`",
            "there it is `at`",
            "`select`",
        ],
    );
    let select = "{ id: s, operator: select, inputs: [ src ], with: { columns: [ key, due ] } }";
    let two = two("s").replace('«', "");
    let text = job("", &[source, &one, select, &two, &drop_from("one"), sinks]);
    assert_eq!(event_time(&text, "src"), json!({ "column": "at" }));
    assert_eq!(event_time(&text, "s"), json!({ "column": "due" }));
}

#[test]
fn a_wide_net_of_inputs_is_walked_once() {
    let filter = |id: usize, from: &str| {
        let with = "{ where: { column: key, op: not-null } }";
        format!("{{ id: f{id}, operator: filter, inputs: [ {from} ], with: {with} }}")
    };
    let mut vertices = vec![ENDLESS.to_owned(), filter(0, "endless")];
    vertices.extend((1..200).map(|id| filter(id, &format!("f{0}, f{0}", id - 1))));
    vertices.extend([windowed("w", "f199", MINUTES), drop_from("w")]);
    let vertices: Vec<&str> = vertices.iter().map(String::as_str).collect();
    assert_eq!(
        event_time(&job("", &vertices), "endless"),
        json!({ "column": "at" })
    );
}

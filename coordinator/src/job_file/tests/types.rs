//! Columns flow from sources to sinks; predicates and functions are checked against them.

use regent_protocol::spec::{
    AggregateSpec, Emit, FileFormat, FilesSourceSpec, FilterSpec, Predicate,
};
use regent_state::graph::{DataType, Vertex};

use super::{ENDLESS, FLIGHTS, NUMBERS, drop_from, job, refused, vertex};

fn filtered(condition: &str) -> String {
    let filter = format!(
        "{{ id: f, operator: filter, inputs: [ flights ], with: {{ where: {condition} }} }}"
    );
    job("", &[FLIGHTS, &filter, &drop_from("f")])
}

fn predicate(condition: &str) -> String {
    let vertex = vertex(&filtered(condition), "f");
    let spec: FilterSpec = serde_json::from_str(&vertex.config_json).unwrap();
    serde_json::to_string(&spec.predicate).unwrap()
}

fn aggregated(source: &str, from: &str, with: &str) -> String {
    let aggregate = format!("{{ id: a, operator: aggregate, inputs: [ {from} ], with: {with} }}");
    job("", &[source, &aggregate, &drop_from("a")])
}

fn schema(vertex: &Vertex) -> Vec<(&str, DataType)> {
    vertex
        .columns
        .iter()
        .map(|column| (column.name.as_str(), column.data_type))
        .collect()
}

const WHERE: &[(&str, &[&str])] = &[
    (
        "{ column: «distanse, op: '=', value: 1 }",
        &["unknown column `distanse`; valid: "],
    ),
    (
        "{ column: «carier, op: '=', value: x }",
        &["unknown column `carier`; did you mean `carrier`?"],
    ),
    (
        "{ column: month, op: «'==', value: 1 }",
        &["op can't be `==`"],
    ),
    (
        "{ column: month, op: '=', value: «.inf }",
        &["value `.inf` doesn't fit column `month` (int64): expected a number within 64 bits"],
    ),
    (
        "{ column: month, op: '=', value: «'1' }",
        &["doesn't fit column `month` (int64)"],
    ),
    (
        "{ column: month, op: '=', value: «9223372036854775808 }",
        &["number within 64 bits"],
    ),
    (
        "{ column: carrier, op: '=', value: «9 }",
        &["value `9` doesn't fit column `carrier` (utf8): expected text; put it in quotes"],
    ),
    (
        "{ column: carrier, op: '=', value: «true }",
        &["(utf8)", "put it in quotes"],
    ),
    (
        "{ column: delay, op: '>', value: «much }",
        &["(float64): expected a number"],
    ),
    (
        "{ column: delay, op: '>', value: «.nan }",
        &["expected a number"],
    ),
    (
        "{ column: late, op: '=', value: «yes }",
        &["(boolean): expected true or false"],
    ),
    (
        "{ column: late, op: «'<', value: true }",
        &["boolean, which has no order"],
    ),
    (
        "{ column: at, op: '<', value: «2013-02-30T00:00:00Z }",
        &["(timestamp): expected a timestamp such as"],
    ),
    (
        "{ column: at, op: '<', value: «2013 }",
        &["expected a timestamp"],
    ),
    (
        "«{ column: month, op: '=' }",
        &["a comparison needs the key `value`"],
    ),
    (
        "«{ op: '=', value: 1 }",
        &["a condition needs the key `column`"],
    ),
    (
        "«{ column: month, value: 1 }",
        &["a condition needs the key `op`"],
    ),
    (
        "{ column: month, op: '=', «valeu: 1 }",
        &["did you mean `value`?"],
    ),
    (
        "{ column: month, op: is-null, value: «1 }",
        &["take no value"],
    ),
    (
        "{ column: month, op: in, value: «1 }",
        &["the value of `in` must be a list"],
    ),
    (
        "{ column: month, op: in, value: «[] }",
        &["`in` needs at least one value"],
    ),
    (
        "{ column: month, op: in, value: [ 1, «x ] }",
        &["value `x` doesn't fit column `month`"],
    ),
    ("{ all: «[] }", &["`all` needs at least one condition"]),
    ("{ any: «x }", &["any must be a list"]),
    ("{ not: «[] }", &["where must be a map of keys"]),
    (
        "{ all: [ { column: month, op: '=', value: 1 } ], «any: [] }",
        &["`all` stands alone"],
    ),
    (
        "{ not: { all: [ { column: «mont, op: is-null } ] } }",
        &["did you mean `month`?"],
    ),
    ("«7", &["where must be a map of keys, found `7`"]),
];

#[test]
fn where_refusals() {
    for (condition, words) in WHERE {
        refused(&filtered(condition), words);
    }
    let none = "{ id: f, operator: filter, inputs: [ flights ], with: «{} }";
    refused(
        &job("", &[FLIGHTS, none, &drop_from("f")]),
        &["operator filter needs the key `where`"],
    );
    let none = "«{ id: f, operator: filter, inputs: [ flights ] }";
    refused(
        &job("", &[FLIGHTS, none, &drop_from("f")]),
        &["operator filter needs the key `where`"],
    );
}

#[test]
fn literals_take_the_columns_type() {
    for (condition, json) in [
        (
            "{ column: delay, op: '>=', value: 5 }",
            r#"{"compare":{"column":"delay","op":">=","value":5.0}}"#,
        ),
        (
            "{ column: month, op: '!=', value: -3 }",
            r#"{"compare":{"column":"month","op":"!=","value":-3}}"#,
        ),
        (
            "{ column: month, op: '<', value: 1.5 }",
            r#"{"compare":{"column":"month","op":"<","value":1.5}}"#,
        ),
        (
            "{ column: carrier, op: '=', value: '9E' }",
            r#"{"compare":{"column":"carrier","op":"=","value":"9E"}}"#,
        ),
        (
            "{ column: carrier, op: '=', value: NO }",
            r#"{"compare":{"column":"carrier","op":"=","value":"NO"}}"#,
        ),
        (
            "{ column: late, op: '=', value: true }",
            r#"{"compare":{"column":"late","op":"=","value":true}}"#,
        ),
        (
            "{ column: at, op: '<', value: 2013-01-01T10:00:00+02:00 }",
            r#"{"compare":{"column":"at","op":"<","value":"2013-01-01T08:00:00Z"}}"#,
        ),
        (
            "{ column: month, op: is-null }",
            r#"{"is-null":{"column":"month"}}"#,
        ),
        (
            "{ column: month, op: not-null }",
            r#"{"not-null":{"column":"month"}}"#,
        ),
        (
            "{ column: month, op: in, value: [1, 2] }",
            r#"{"in":{"column":"month","values":[1,2]}}"#,
        ),
        (
            "{ not: { any: [ { column: month, op: is-null } ] } }",
            r#"{"not":{"any":[{"is-null":{"column":"month"}}]}}"#,
        ),
    ] {
        assert_eq!(predicate(condition), json, "{condition}");
    }
}

#[test]
fn a_filter_keeps_the_columns() {
    let text = filtered("{ column: month, op: is-null }");
    assert_eq!(vertex(&text, "f").columns, vertex(&text, "flights").columns);
    assert_eq!(
        vertex(&text, "drop").columns,
        vertex(&text, "flights").columns
    );
    let spec: FilterSpec = serde_json::from_str(&vertex(&text, "f").config_json).unwrap();
    assert_eq!(
        spec.predicate,
        Predicate::IsNull {
            column: "month".to_owned()
        }
    );
}

#[test]
fn json_lines_are_read() {
    let source = "{ id: n, source: files, with: { path: in, format: json-lines, \
        columns: { a: utf8 } } }";
    let vertex = vertex(&job("", &[source, &drop_from("n")]), "n");
    let spec: FilesSourceSpec = serde_json::from_str(&vertex.config_json).unwrap();
    assert_eq!(spec.format, FileFormat::JsonLines);
}

#[test]
fn a_sequence_has_a_key_when_asked() {
    use DataType::{Int64, Timestamp};
    let text = job("", &[NUMBERS, &drop_from("numbers")]);
    let expected = [("value", Int64), ("at", Timestamp), ("key", Int64)];
    assert_eq!(schema(&vertex(&text, "numbers")), expected);
    let text = job("", &["{ id: n, source: sequence }", &drop_from("n")]);
    assert_eq!(
        schema(&vertex(&text, "n")),
        [("value", Int64), ("at", Timestamp)]
    );
}

#[test]
fn results_have_types() {
    let with = "{ group-by: [ late, carrier ], compute: { n: { count: '*' }, d: { count: delay }, \
        m: { sum: month }, s: { sum: delay }, a: { avg: month }, f: { min: at }, w: { max: carrier } } }";
    let vertex = vertex(&aggregated(FLIGHTS, "flights", with), "a");
    let expected = [
        ("late", DataType::Boolean),
        ("carrier", DataType::Utf8),
        ("n", DataType::Int64),
        ("d", DataType::Int64),
        ("m", DataType::Int64),
        ("s", DataType::Float64),
        ("a", DataType::Float64),
        ("f", DataType::Timestamp),
        ("w", DataType::Utf8),
    ];
    assert_eq!(schema(&vertex), expected);
    assert!(vertex.bounded);
}

const AGGREGATE: &[(&str, &[&str])] = &[
    (
        "«{ compute: { n: { count: '*' } } }",
        &["operator aggregate needs the key `group-by`"],
    ),
    (
        "«{ group-by: [ month ] }",
        &["operator aggregate needs the key `compute`"],
    ),
    (
        "{ group-by: «[], compute: { n: { count: '*' } } }",
        &["group-by needs at least one column"],
    ),
    (
        "{ group-by: «month, compute: { n: { count: '*' } } }",
        &["group-by must be a list"],
    ),
    (
        "{ group-by: [ «mouth ], compute: { n: { count: '*' } } }",
        &["did you mean `month`?"],
    ),
    (
        "{ group-by: [ month, «month ], compute: { n: { count: '*' } } }",
        &["group-by names `month` twice"],
    ),
    (
        "{ group-by: [ month ], compute: «{} }",
        &["compute must be a map with at least one column"],
    ),
    (
        "{ group-by: [ month ], compute: { «month: { count: '*' } } }",
        &["needs a name that group-by doesn't have"],
    ),
    (
        "{ group-by: [ month ], compute: { n: «count } }",
        &["computed column `n` must be a map"],
    ),
    (
        "{ group-by: [ month ], compute: { n: { «cuont: '*' } } }",
        &["unknown key `cuont`; did you mean `count`?"],
    ),
    (
        "{ group-by: [ month ], compute: { n: «{} } }",
        &["exactly one function: count, sum, min, max, avg"],
    ),
    (
        "{ group-by: [ month ], compute: { n: «{ sum: month, max: month } } }",
        &["exactly one function"],
    ),
    (
        "{ group-by: [ month ], compute: { n: { sum: «'*' } } }",
        &["only count takes `*`"],
    ),
    (
        "{ group-by: [ month ], compute: { n: { sum: «carrier } } }",
        &["sum doesn't apply to column `carrier`, which is utf8"],
    ),
    (
        "{ group-by: [ month ], compute: { n: { avg: «late } } }",
        &["avg doesn't apply to column `late`, which is boolean"],
    ),
    (
        "{ group-by: [ month ], compute: { n: { sum: «at } } }",
        &["which is timestamp"],
    ),
    (
        "{ group-by: [ month ], compute: { n: { min: «late } } }",
        &["min doesn't apply"],
    ),
    (
        "{ group-by: [ month ], compute: { n: { max: «dely } } }",
        &["did you mean `delay`?"],
    ),
    (
        "{ group-by: [ month ], emit: «last, compute: { n: { count: '*' } } }",
        &["emit can't be `last`; valid: "],
    ),
];

#[test]
fn aggregate_refusals() {
    for (with, words) in AGGREGATE {
        refused(&aggregated(FLIGHTS, "flights", with), words);
    }
}

#[test]
fn emit_follows_the_end_of_input() {
    let emit = |source: &str, from: &str, emit: &str| {
        let with = format!("{{ group-by: [ key ], {emit} compute: {{ n: {{ count: '*' }} }} }}");
        aggregated(source, from, &with)
    };
    let of = |text: &str| {
        let vertex = vertex(text, "a");
        serde_json::from_str::<AggregateSpec>(&vertex.config_json)
            .unwrap()
            .emit
    };
    assert_eq!(of(&emit(NUMBERS, "numbers", "")), Emit::Final);
    assert_eq!(
        of(&emit(NUMBERS, "numbers", "emit: changes,")),
        Emit::Changes
    );
    assert_eq!(
        of(&emit(ENDLESS, "endless", "emit: changes,")),
        Emit::Changes
    );
    refused(
        &emit(ENDLESS, "endless", "emit: «final,"),
        &["the input never ends", "emit: changes"],
    );
    let unnamed = emit(ENDLESS, "endless", "").replace("with: { group-by", "with: «{ group-by");
    refused(&unnamed, &["the input never ends, so `emit` must be named"]);
}

#[test]
fn types_flow_through_several_operators() {
    let first = "{ id: a, operator: aggregate, inputs: [ flights ], \
        with: { group-by: [ carrier ], compute: { worst: { max: delay } } } }";
    let second = |column: &str| {
        format!(
            "{{ id: b, operator: aggregate, inputs: [ a ], \
         with: {{ group-by: [ worst ], compute: {{ n: {{ count: {column} }} }} }} }}"
        )
    };
    let text = job("", &[FLIGHTS, first, &second("carrier"), &drop_from("b")]);
    assert_eq!(
        schema(&vertex(&text, "b")),
        [("worst", DataType::Float64), ("n", DataType::Int64)]
    );
    refused(
        &job("", &[FLIGHTS, first, &second("«month"), &drop_from("b")]),
        &["unknown column `month`"],
    );
}

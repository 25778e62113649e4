//! One refusal after another: shape, names, keys.

use super::{FLIGHTS, NUMBERS, drop_from, job, parsed, refused};

/// A job whose only vertices are the marked one and what it needs.
fn marked(vertex: &str) -> String {
    job("", &[vertex, NUMBERS, &drop_from("numbers")])
}

#[test]
fn top_level_keys() {
    let rest = "vertices:\n  - { id: n, source: sequence, with: { end: 1 } }\n  \
        - { id: s, sink: blackhole, inputs: [ n ] }\n";
    for (text, words) in [
        (
            "name: x\n«paralelism: 2\n",
            &["unknown key `paralelism`; did you mean `parallelism`?"][..],
        ),
        (
            "name: x\n«restart_strategy: 2\n",
            &["did you mean `restart-strategy`?"],
        ),
        (
            "name: x\n«zzzzzzzzzz: 2\n",
            &["unknown key `zzzzzzzzzz`; valid: ", "`name`", "`vertices`"],
        ),
        (
            "name: x\n«name: y\n",
            &["key `name` is given twice, first in line 1"],
        ),
        ("«parallelism: 1\n", &["a job needs the key `name`"]),
        ("name: «[]\n", &["name must be text, found a list"]),
        (
            "name: «true\n",
            &["name must be text, found `true`", "write \"true\""],
        ),
        (
            "name: «a/b\n",
            &["name must be 1 to 128 letters", "found `a/b`"],
        ),
        ("name: «''\n", &["name must be 1 to 128 letters"]),
        (
            "name: x\nparallelism: «0\n",
            &["parallelism must be a whole number from 1 to 128, found `0`"],
        ),
        (
            "name: x\nparallelism: «129\n",
            &["from 1 to 128, found `129`"],
        ),
        ("name: x\nparallelism: «two\n", &["found `two`"]),
        ("name: x\nparallelism: «2.5\n", &["found `2.5`"]),
        (
            "name: x\nparallelism: «99999999999999999999\n",
            &["from 1 to 128"],
        ),
    ] {
        refused(&format!("{text}{rest}"), words);
    }
}

#[test]
fn vertices_key() {
    refused("«name: x\n", &["a job needs the key `vertices`"]);
    refused(
        "name: x\nvertices: «{}\n",
        &["vertices must be a list, found a map"],
    );
    refused(
        "name: x\nvertices: «[]\n",
        &["1 to 1000 vertices, this one has 0"],
    );
    refused(
        "name: x\nvertices:\n  - «flights\n",
        &["a vertex must be a map of keys"],
    );
}

#[test]
fn text_that_is_no_job() {
    refused(
        "«- a\n- b\n",
        &["a job file must be a map of keys, found a list"],
    );
    refused(
        "«hello\n",
        &["a job file must be a map of keys, found `hello`"],
    );
    refused("name: x\n«---\nname: y\n", &["second document"]);
    refused("name: [a, b\nvertices«: []\n", &[]);
    refused("name: «!custom x\n", &["tags"]);
    for empty in ["", "\n\n", "# only a comment\n", "---\n", "null"] {
        let error = parsed(empty).unwrap_err().to_string();
        assert_eq!(error, "job.yaml: the file holds no job", "{empty:?}");
    }
}

#[test]
fn vertex_keys() {
    for (vertex, words) in [
        (
            "{ id: a, «operatr: filter, inputs: [ numbers ] }",
            &["unknown key `operatr`; did you mean `operator`?"][..],
        ),
        (
            "«{ source: sequence, with: { end: 1 } }",
            &["a vertex needs the key `id`"],
        ),
        (
            "{ id: «Flights, source: sequence }",
            &["id must be 1 to 64 of a-z, 0-9 and `-`, found `Flights`"],
        ),
        (
            "{ id: «numbers-numbers-numbers-numbers-numbers-numbers-numbers-numbers-1, source: sequence }",
            &["1 to 64"],
        ),
        (
            "«{ id: a, inputs: [ numbers ] }",
            &["one of the keys `source`, `operator`, `sink`"],
        ),
        (
            "{ id: a, source: files, «sink: files }",
            &[
                "exactly one of source, operator, sink",
                "`source` and `sink`",
            ],
        ),
        (
            "{ id: a, source: «fils }",
            &["unknown source `fils`; did you mean `files`?"],
        ),
        (
            "{ id: a, operator: «agregate, inputs: [ numbers ] }",
            &["did you mean `aggregate`?"],
        ),
        (
            "{ id: a, operator: «enrich, inputs: [ numbers ] }",
            &[
                "unknown operator `enrich`; valid: ",
                "`filter`",
                "`aggregate`",
            ],
        ),
        (
            "{ id: a, operator: «blackhole, inputs: [ numbers ] }",
            &["`blackhole` is a sink; write `sink: blackhole`"],
        ),
        (
            "{ id: a, operator: «union, inputs: [ numbers ] }",
            &["there is no operator `union`", "list several `inputs`"],
        ),
        (
            "{ id: a, sink: print, inputs: [ numbers ], with: { «to: x } }",
            &["unknown key `to`"],
        ),
        (
            "{ id: a, source: sequence, parallelism: «0 }",
            &["from 1 to 128, found `0`"],
        ),
    ] {
        refused(&marked(vertex), words);
    }
}

#[test]
fn inputs() {
    for (vertex, words) in [
        (
            "{ id: a, source: sequence, «inputs: [ numbers ] }",
            &["a source has no inputs"][..],
        ),
        (
            "«{ id: a, sink: blackhole }",
            &["sink blackhole needs the key `inputs`"],
        ),
        (
            "{ id: a, sink: blackhole, inputs: «numbers }",
            &["inputs must be a list"],
        ),
        (
            "{ id: a, sink: blackhole, inputs: «[] }",
            &["takes 1 to 64 inputs, found 0"],
        ),
        (
            "{ id: a, sink: blackhole, inputs: [ numbers, «nubers ] }",
            &["unknown vertex `nubers`; did you mean `numbers`?"],
        ),
        (
            "{ id: a, sink: blackhole, inputs: [ «nubers ] }",
            &["unknown vertex `nubers`; did you mean `numbers`?"],
        ),
        (
            "{ id: a, sink: blackhole, inputs: [ «drop ] }",
            &["`drop` is a sink; a sink has no output"],
        ),
        (
            "{ id: a, sink: blackhole, inputs: [ { from: «nubers } ] }",
            &["did you mean `numbers`?"],
        ),
        (
            "{ id: a, sink: blackhole, inputs: [ «{ partition: hash } ] }",
            &["an input needs the key `from`"],
        ),
        (
            "{ id: a, sink: blackhole, inputs: [ { from: numbers, «form: x } ] }",
            &["did you mean `from`?"],
        ),
        (
            "{ id: a, sink: blackhole, inputs: [ { from: numbers, partition: «hsh } ] }",
            &["partition can't be `hsh`; did you mean `hash`?"],
        ),
        (
            "{ id: a, sink: blackhole, inputs: [ { from: numbers, partition: «hash } ] }",
            &["`partition: hash` needs `by: [column, ..]`"],
        ),
        (
            "{ id: a, sink: blackhole, inputs: [ { from: numbers, «by: [ key ] } ] }",
            &["`by` belongs to `partition: hash`"],
        ),
        (
            "{ id: a, sink: blackhole, inputs: [ { from: numbers, partition: hash, by: «[] } ] }",
            &["by needs at least one column"],
        ),
        (
            "{ id: a, sink: blackhole, inputs: [ { from: numbers, partition: hash, by: [ key, «key ] } ] }",
            &["by names `key` twice"],
        ),
        (
            "{ id: a, sink: blackhole, inputs: [ { from: numbers, partition: hash, by: [ «kye ] } ] }",
            &["unknown column `kye`; did you mean `key`?"],
        ),
    ] {
        refused(&marked(vertex), words);
    }
}

#[test]
fn an_id_is_used_once() {
    let text = job(
        "",
        &[
            FLIGHTS,
            NUMBERS,
            "{ id: «flights, source: sequence, with: { end: 1 } }",
        ],
    );
    refused(&text, &["id `flights` is used twice, first in line 4"]);
}

const SOURCES: &[(&str, &[&str])] = &[
    (
        "source: sequence, with: «7",
        &["`with` of `a` must be a map of keys, found `7`"],
    ),
    (
        "source: sequence, with: { «ends: 3 }",
        &["unknown key `ends`; did you mean `end`?"],
    ),
    (
        "source: sequence, with: { start: «a }",
        &["start must be a whole number of 64 bits, found `a`"],
    ),
    (
        "source: sequence, with: { start: 5, end: «4 }",
        &["end must be a whole number, at least 5, found `4`"],
    ),
    (
        "source: sequence, with: { keys: «0 }",
        &["keys must be a whole number, at least 1"],
    ),
    (
        "source: sequence, with: { rate: «0 }",
        &["rate must be above 0"],
    ),
    (
        "source: sequence, with: { rate: «-1.5 }",
        &["rate must be above 0"],
    ),
    (
        "source: sequence, with: { rate: «.inf }",
        &["rate must be a number"],
    ),
    (
        "source: sequence, with: { rate: «fast }",
        &["rate must be a number, found `fast`"],
    ),
    (
        "source: files, with: «{ format: csv, columns: { a: utf8 } }",
        &["source files needs the key `path`"],
    ),
    (
        "source: files, with: «{ path: x, columns: { a: utf8 } }",
        &["needs the key `format`"],
    ),
    (
        "source: files, with: «{ path: x, format: csv }",
        &["needs the key `columns`"],
    ),
    (
        "source: files, with: { path: «'', format: csv, columns: { a: utf8 } }",
        &["a path can't be empty"],
    ),
    (
        "source: files, with: { path: «'gs://b/x', format: csv, columns: { a: utf8 } }",
        &["only paths of the file system and s3://bucket/prefix"],
    ),
    (
        "source: files, with: { path: x, format: «cvs, columns: { a: utf8 } }",
        &["format can't be `cvs`; did you mean `csv`?"],
    ),
    (
        "source: files, with: { path: x, format: «parquet, columns: { a: utf8 } }",
        &["format can't be `parquet`; valid: `csv`, `json-lines`"],
    ),
    (
        "source: files, with: { path: x, format: csv, columns: «{} }",
        &["columns must be a map of 1 to 1000 columns"],
    ),
    (
        "source: files, with: { path: x, format: csv, columns: «[ a ] }",
        &["columns must be a map"],
    ),
    (
        "source: files, with: { path: x, format: csv, columns: { a: «int } }",
        &["unknown type `int`; did you mean `int64`?"],
    ),
    (
        "source: files, with: { path: x, format: csv, columns: { a: utf8, «a: utf8 } }",
        &["given twice"],
    ),
    (
        "source: files, with: { path: x, format: csv, on-error: «ignore, columns: { a: utf8 } }",
        &["on-error can't be `ignore`; valid: `fail`, `skip`"],
    ),
];

#[test]
fn sources() {
    for (with, words) in SOURCES {
        refused(
            &marked(&format!("{{ id: a, {with} }}")).replace("[ numbers ]", "[ a ]"),
            words,
        );
    }
}

#[test]
fn sinks() {
    for (with, words) in [
        (
            "sink: files, with: «{ format: csv }",
            &["sink files needs the key `path`"][..],
        ),
        (
            "sink: files, with: «{ path: out }",
            &["sink files needs the key `format`"],
        ),
        (
            "sink: files, with: { path: «/, format: csv }",
            &["can't own the root directory"],
        ),
        (
            "sink: files, with: { path: out, format: «json }",
            &["format can't be `json`; valid: `csv`, `json-lines`"],
        ),
        (
            "sink: files, with: { path: out, format: csv, delivery: «exactly }",
            &["delivery can't be `exactly`; valid: `exactly-once`"],
        ),
        (
            "sink: files, with: { path: out, format: csv, if-exists: «overwrite }",
            &["if-exists can't be `overwrite`; valid: "],
        ),
        (
            "sink: files, with: { path: out, format: csv, «if-exist: append }",
            &["did you mean `if-exists`?"],
        ),
        (
            "sink: blackhole, with: { «path: out }",
            &["unknown key `path`"],
        ),
    ] {
        refused(
            &marked(&format!("{{ id: a, inputs: [ numbers ], {with} }}")),
            words,
        );
    }
}

#[test]
fn several_problems_are_listed_in_file_order() {
    let text = "name: 'a/b'\nparallelism: 0\nvertices:\n  - { id: A, source: sequence }\n";
    let error = parsed(text).unwrap_err();
    let places: Vec<(u32, u32)> = error
        .problems()
        .iter()
        .map(|problem| (problem.line, problem.column))
        .collect();
    assert_eq!(places, [(1, 7), (2, 14), (4, 11)]);
    assert_eq!(error.to_string().lines().count(), 3);
}

#[test]
fn a_message_is_one_line_whatever_the_name() {
    let error = parsed("name: x\n\"bad\\nkey\\e[31m\": 1\nvertices: []\n").unwrap_err();
    let first = error.problems()[0].to_string();
    assert!(first.contains("unknown key"), "{first}");
    assert!(!first.chars().any(char::is_control), "{first:?}");
    let long = format!("name: x\n{}: 1\n", "k".repeat(900));
    let error = parsed(&long).unwrap_err();
    assert!(error.problems()[0].message.len() < 400, "{error}");
}

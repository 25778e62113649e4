//! Vertices of the user's own code: names and versions as workers offer them, questions and answers.

use std::path::Path;

use regent_protocol::v1::{Column, OperatorOffer, OwnDescription, OwnVertex};

use super::{NUMBERS, drop_from, job};
use crate::job_file::{JobFileError, JobFileSource, OwnCode, Parse, parse_with};

fn offered(offers: &[(&str, &str, &str, u32)]) -> OwnCode {
    let mut code = OwnCode::default();
    for (worker, kind, name, version) in offers {
        let offer = OperatorOffer {
            kind: (*kind).to_owned(),
            name: (*name).to_owned(),
            version: *version,
            own: true,
        };
        code.offer(worker, &offer);
    }
    code
}

fn read(text: &str, code: &OwnCode) -> Result<Parse, JobFileError> {
    let source = JobFileSource {
        text,
        name: "job.yaml",
        working_dir: Path::new("/work/dir"),
        overrides: &[],
    };
    parse_with(source, code)
}

fn asked(text: &str, code: &OwnCode) -> Vec<OwnVertex> {
    match read(text, code) {
        Ok(Parse::Asks(questions)) => questions,
        other => panic!("{other:?}"),
    }
}

fn answer(question: &OwnVertex) -> OwnDescription {
    let nth = Column {
        name: format!("nth-of-{}", question.id),
        data_type: "int64".into(),
    };
    OwnDescription {
        vertex: question.id.clone(),
        columns: question.input.iter().cloned().chain([nth]).collect(),
        zombie_safe: true,
        ..OwnDescription::default()
    }
}

const ENRICH: &str = "{ id: one, operator: enrich, parallelism: 2, with: { a: 1, b: [ x, ~, 2.5 ] }, \
    inputs: [ { from: numbers, partition: hash, by: [key] } ] }";

fn enriched() -> String {
    let second = "{ id: two, operator: enrich, parallelism: 2, inputs: [ one ] }";
    job(
        "",
        &[
            NUMBERS,
            ENRICH,
            second,
            "{ id: drop, sink: blackhole, parallelism: 2, inputs: [ two ] }",
        ],
    )
}

#[test]
fn code_is_asked_in_turn_and_the_answers_make_the_graph() {
    let mut code = offered(&[
        ("tm-1", "operator", "enrich", 3),
        ("tm-2", "operator", "enrich", 2),
    ]);
    let text = enriched();
    let first = asked(&text, &code);
    let [one] = first.as_slice() else {
        panic!("{first:?}");
    };
    assert_eq!(
        (one.id.as_str(), one.version, one.parallelism),
        ("one", 3, 2)
    );
    assert_eq!(one.with_json, r#"{"a":1,"b":["x",null,2.5]}"#);
    assert_eq!(one.key, ["key"]);
    let names: Vec<&str> = one
        .input
        .iter()
        .map(|column| column.name.as_str())
        .collect();
    assert_eq!(names, ["value", "at", "key"]);
    code.answer(one.clone(), answer(one));

    let second = asked(&text, &code);
    assert_eq!(second[0].id, "two");
    assert_eq!(second[0].input.len(), 4, "what the first emits");
    code.answer(second[0].clone(), answer(&second[0]));

    let Ok(Parse::Done(done)) = read(&text, &code) else {
        panic!("not done");
    };
    let two = done.graph.vertex("two").unwrap();
    assert_eq!(two.config_json, r#"{"version":3,"with":{}}"#);
    assert_eq!(two.columns.len(), 5);
    assert!(two.bounded);
    // The same file is the same job, also when workers have another version or none.
    for offers in [
        offered(&[("tm-1", "operator", "enrich", 4)]),
        OwnCode::default(),
    ] {
        let mut later = offers;
        later.know(&done.graph);
        assert_eq!(read(&text, &later), Ok(Parse::Done(done.clone())));
    }
}

#[test]
fn an_error_of_the_code_names_the_place() {
    let mut code = offered(&[("tm-1", "operator", "enrich", 1)]);
    let text = job(
        "",
        &[NUMBERS, ENRICH, &drop_from("one").replace("drop", "end")],
    );
    let question = asked(&text, &code).remove(0);
    let error = OwnDescription {
        vertex: question.id.clone(),
        error: "`with`: unknown field `a`".into(),
        ..OwnDescription::default()
    };
    code.answer(question, error);
    let told = read(&text, &code).unwrap_err().to_string();
    let column = ENRICH.find("{ a: 1").unwrap() + "  - ".len() + 1;
    let place = format!("job.yaml:5:{column}: ");
    assert_eq!(
        told,
        format!("{place}operator enrich: `with`: unknown field `a`")
    );
}

#[test]
fn names_and_versions_that_nobody_offers() {
    let code = offered(&[
        ("tm-1", "operator", "enrich", 1),
        ("tm-1", "sink", "table", 1),
    ]);
    let told = |vertex: &str, code: &OwnCode| {
        let text = job("", &[NUMBERS, vertex]);
        let told = read(&text, code).unwrap_err().to_string();
        told.lines().next().unwrap().to_owned()
    };
    for (vertex, words) in [
        (
            "{ id: a, operator: enrik, inputs: [ numbers ] }",
            "unknown operator `enrik`; did you mean `enrich`?",
        ),
        (
            "{ id: a, operator: table, inputs: [ numbers ] }",
            "`table` is a sink; write `sink: table`",
        ),
        (
            "{ id: a, sink: table, version: 2, inputs: [ numbers ] }",
            "no worker offers sink table 2; tm-1 offers 1",
        ),
        (
            "{ id: a, sink: table, version: 0, inputs: [ numbers ] }",
            "version",
        ),
        (
            "{ id: a, sink: blackhole, version: 1, inputs: [ numbers ] }",
            "`blackhole` is built in and has no `version`",
        ),
        (
            "{ id: a, sink: table, with: { n: .inf }, inputs: [ numbers ] }",
            "beyond what a number may be",
        ),
    ] {
        let told = told(vertex, &code);
        assert!(told.contains(words), "{words:?} in {told:?}");
    }
    let alone = told(
        "{ id: a, operator: enrich, inputs: [ numbers ] }",
        &OwnCode::default(),
    );
    assert!(
        alone.contains("unknown operator `enrich`; valid: "),
        "{alone}"
    );
}

#[test]
fn a_client_leaves_to_the_cluster_what_it_can_not_know() {
    let questions = asked(&enriched(), &OwnCode::unknown());
    assert_eq!(questions.len(), 1);
    // What is certain is refused at once.
    let text = enriched().replace("end: 10", "end: ten");
    assert!(read(&text, &OwnCode::unknown()).is_err());
}

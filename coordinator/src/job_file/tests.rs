//! Tests of the job file. In snippets `«` marks the place that the error must name.

mod errors;
mod golden;
mod kafka;
mod limits;
mod overrides;
mod own;
mod property;
mod rows;
mod settings;
mod topology;
mod types;
mod values;
mod windows;

use std::path::Path;

use regent_state::graph::Vertex;

use super::{JobFileError, JobFileSource, ParsedJob, parse};

/// Parses a text as if it were `job.yaml`, sent from `/work/dir`.
fn parsed(text: &str) -> Result<ParsedJob, JobFileError> {
    parsed_with(text, &[])
}

fn parsed_with(text: &str, overrides: &[(&str, &str)]) -> Result<ParsedJob, JobFileError> {
    let overrides: Vec<(String, String)> = overrides
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    let working_dir = Path::new("/work/dir");
    parse(JobFileSource {
        text,
        name: "job.yaml",
        working_dir,
        overrides: &overrides,
    })
}

/// A job file with these vertices and settings before them.
fn job(settings: &str, vertices: &[&str]) -> String {
    let mut text = format!("name: test\n{settings}\nvertices:\n");
    for vertex in vertices {
        text.push_str(&format!("  - {vertex}\n"));
    }
    text
}

/// Vertices that many snippets share.
const FLIGHTS: &str = "{ id: flights, source: files, with: { path: in, format: csv, columns: \
    { carrier: utf8, month: int64, delay: float64, late: boolean, at: timestamp } } }";
const NUMBERS: &str = "{ id: numbers, source: sequence, with: { end: 10, keys: 3 } }";
const ENDLESS: &str = "{ id: endless, source: sequence, with: { keys: 3 } }";

/// A sink that drops what `from` emits.
fn drop_from(from: &str) -> String {
    format!("{{ id: drop, sink: blackhole, inputs: [ {from} ] }}")
}

/// Parses the marked text; the error's first line must name the marked place and hold every word.
#[track_caller]
fn refused(marked: &str, words: &[&str]) {
    let at = marked.find('«').expect("the snippet marks a place");
    let before = &marked[..at];
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    let text = marked.replacen('«', "", 1);
    let error = match parsed(&text) {
        Ok(_) => panic!("accepted:\n{text}"),
        Err(error) => error.to_string(),
    };
    let first = error.lines().next().unwrap_or_default();
    let place = format!("job.yaml:{line}:{column}: ");
    assert!(
        first.starts_with(&place),
        "expected {place}\nfound    {error}\n{text}"
    );
    for word in words {
        assert!(first.contains(word), "{word:?} is missing in {first:?}");
    }
}

/// The vertex of a text that must be accepted.
#[track_caller]
fn vertex(text: &str, id: &str) -> Vertex {
    let job = parsed(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    job.graph
        .vertex(id)
        .unwrap_or_else(|| panic!("no vertex {id}"))
        .clone()
}

//! The job file: YAML or JSON text in, a checked job graph out.
//!
//! Shape, graph, types and limits are checked here, each error with line, column and the nearest
//! valid name. Defaults are filled in, paths made absolute, and every vertex gets its normalised
//! configuration and output schema. Nothing here touches the data's paths: whether they exist is
//! asked of a worker. Parsing never reads the file system; only [`read_limited`] does.

mod aggregate;
mod assemble;
mod catalog;
mod columns;
mod error;
mod event_time;
mod fields;
mod filter;
mod input;
mod job;
mod kafka;
mod overrides;
mod own;
mod paths;
pub mod reference;
mod scalar;
mod select;
mod settings;
mod sinks;
mod sources;
mod suggest;
#[cfg(test)]
mod tests;
mod told;
mod topology;
mod tree;
mod vertex;
mod window;

use std::path::Path;

use regent_protocol::v1::OwnVertex;
use regent_state::JobGraph;
use regent_state::graph::VertexKind;

use assemble::Scope;
pub use error::{JobFileError, Problem};
use error::{Problems, Sources};
pub use input::{parse_override, read_limited};
pub use own::OwnCode;
pub(crate) use told::{Told, told};

/// The largest job file in bytes.
pub const FILE_BYTES_MAX: usize = 1024 * 1024;

/// A job file as it was sent.
#[derive(Debug, Clone, Copy)]
pub struct JobFileSource<'a> {
    /// YAML or JSON.
    pub text: &'a str,
    /// How errors call it: the path as the user wrote it.
    pub name: &'a str,
    /// The submitting client's directory, absolute; relative paths of the file start there.
    pub working_dir: &'a Path,
    /// `--set KEY=VALUE`, in order: dotted key, YAML value. A vertex is named by its id, as in
    /// `vertices.flights.with.rate`.
    pub overrides: &'a [(String, String)],
}

/// A job file that passed every check.
#[derive(Debug, Clone, PartialEq)]
pub struct ParsedJob {
    /// What is submitted: normalised, in topological order.
    pub graph: JobGraph,
    /// What is allowed but probably not meant; one line each, for stderr.
    pub warnings: Vec<String>,
}

/// What came of reading a job file.
#[derive(Debug, Clone, PartialEq)]
pub enum Parse {
    /// It passed every check.
    Done(ParsedJob),
    /// It passed every check so far; these vertices' code has to be asked what it makes of them.
    Asks(Vec<OwnVertex>),
}

/// Checks a job file of built-in sources, operators and sinks, and builds its graph.
///
/// # Errors
/// Everything found wrong, one line each, in file order.
pub fn parse(source: JobFileSource<'_>) -> Result<ParsedJob, JobFileError> {
    match parse_with(source, &OwnCode::default())? {
        Parse::Done(job) => Ok(job),
        Parse::Asks(_) => Err(unusable(source.name)),
    }
}

/// Checks a job file as far as that is possible with what is known of the user's code.
///
/// # Errors
/// Everything found wrong, one line each, in file order.
pub fn parse_with(source: JobFileSource<'_>, code: &OwnCode) -> Result<Parse, JobFileError> {
    input::check_text(source.text, source.name)?;
    let mut problems = Problems::default();
    let job = build(&source, code, &mut problems);
    let asked = problems.take_asked();
    problems.into_result(&Sources {
        file: source.name,
        overrides: source.overrides,
    })?;
    match job {
        Some(job) => Ok(Parse::Done(job)),
        None if !asked.is_empty() => Ok(Parse::Asks(asked)),
        None => Err(unusable(source.name)),
    }
}

fn unusable(name: &str) -> JobFileError {
    JobFileError::whole_file(name, "the job file can't be used")
}

fn build(source: &JobFileSource<'_>, code: &OwnCode, problems: &mut Problems) -> Option<ParsedJob> {
    let mut root = tree::read(source.text, 0, problems)?;
    overrides::apply(&mut root, source.overrides, problems);
    if !problems.is_empty() {
        return None;
    }
    let scope = Scope {
        working_dir: source.working_dir,
        code,
    };
    job::build(&root, &scope, problems)
}

/// Whether a vertex's name is one of the built-in ones; else it is the user's own code.
pub(crate) fn is_built_in(kind: VertexKind, name: &str) -> bool {
    let mut listings = catalog::CATALOG.iter();
    listings.any(|listing| listing.kind == kind && listing.name == name)
}

/// The normalised configuration of a vertex. Every type that comes here is plain data with string
/// keys, and its numbers were checked to be finite, so that JSON can hold it.
fn config_json(spec: &impl serde::Serialize) -> String {
    serde_json::to_string(spec).expect("plain data with string keys is always JSON")
}

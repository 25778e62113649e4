//! The one table of built-in sources, operators and sinks: to add one, add its line here and its
//! builder beside `sources.rs`, `filter.rs`, `aggregate.rs` and `sinks.rs`.

use std::path::Path;

use regent_protocol::spec::FileFormat;
use regent_state::graph::{Column, SinkInfo, VertexKind};

use super::error::{Place, Problems, quoted};
use super::fields::{self, Fields};
use super::tree::Node;
use super::{aggregate, filter, sinks, sources, suggest};

/// What a builder may look at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Context<'a> {
    /// Its `with`; absent sections have no keys.
    pub(super) with: Fields<'a>,
    /// The rows that come in; `None` for sources.
    pub(super) input: Option<Rows<'a>>,
    /// Where relative paths start.
    pub(super) working_dir: &'a Path,
}

/// What is known of a stream of rows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rows<'a> {
    pub(super) columns: &'a [Column],
    pub(super) bounded: bool,
}

/// What a builder makes of a vertex.
#[derive(Debug)]
pub(super) struct Built {
    /// A type of `regent_protocol::spec`, as JSON.
    pub(super) config_json: String,
    /// The output's schema; of a sink its input's.
    pub(super) columns: Vec<Column>,
    pub(super) bounded: bool,
    /// Whether a task that outlives its fencing does no harm.
    pub(super) zombie_safe: bool,
    pub(super) sink: Option<SinkInfo>,
    /// The absolute path that a source reads, and where the file names it.
    pub(super) reads: Option<(String, Place)>,
    /// Where the file names the sink's path.
    pub(super) path_at: Place,
    /// Columns whose equal rows must meet in one subtask, in the order that keys its state.
    pub(super) keyed_by: Option<Vec<String>>,
}

type Build = fn(&Context<'_>, &mut Problems) -> Option<Built>;

/// A name that may follow `source:`, `operator:` or `sink:`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Listing {
    pub(super) kind: VertexKind,
    pub(super) name: &'static str,
    /// The keys of its `with`.
    pub(super) keys: &'static [&'static str],
    pub(super) build: Build,
}

/// What this version runs.
pub(super) const CATALOG: [Listing; 6] = [
    Listing {
        kind: VertexKind::Source,
        name: "sequence",
        keys: &["start", "end", "rate", "keys"],
        build: sources::sequence,
    },
    Listing {
        kind: VertexKind::Source,
        name: "files",
        keys: &["path", "format", "on-error", "rate", "columns"],
        build: sources::files,
    },
    Listing {
        kind: VertexKind::Operator,
        name: "filter",
        keys: &["where"],
        build: filter::build,
    },
    Listing {
        kind: VertexKind::Operator,
        name: "aggregate",
        keys: &["group-by", "compute", "emit", "window"],
        build: aggregate::build,
    },
    Listing {
        kind: VertexKind::Sink,
        name: "files",
        keys: &["path", "format", "delivery", "if-exists"],
        build: sinks::files,
    },
    Listing {
        kind: VertexKind::Sink,
        name: "blackhole",
        keys: &[],
        build: sinks::blackhole,
    },
];

/// Names that the job file's documentation knows and this version doesn't run yet.
const PLANNED: [(VertexKind, &str); 3] = [
    (VertexKind::Operator, "select"),
    (VertexKind::Operator, "union"),
    (VertexKind::Sink, "print"),
];

/// The text formats of a connector; `None`: planned.
type Formats = [(&'static str, Option<FileFormat>); 2];
/// What `source: files` reads.
pub(super) const READ_FORMATS: Formats = [
    ("csv", Some(FileFormat::Csv)),
    ("json-lines", Some(FileFormat::JsonLines)),
];
/// What `sink: files` writes.
pub(super) const WRITE_FORMATS: Formats = [("csv", Some(FileFormat::Csv)), ("json-lines", None)];

/// The format that `node` names.
pub(super) fn format(
    node: &Node,
    formats: &Formats,
    problems: &mut Problems,
) -> Option<FileFormat> {
    let format = fields::choice(node, "format", formats, problems)?;
    format.or_else(|| {
        problems.none(node.at, || {
            let ready = formats.iter().filter(|(_, format)| format.is_some());
            let names: Vec<&str> = ready.map(|(name, _)| *name).collect();
            let (found, names) = (node.describe(), names.join(", "));
            format!("format {found} isn't available here in this version; formats: {names}")
        })
    })
}

/// The key that names a vertex of this kind.
pub(super) fn kind_key(kind: VertexKind) -> &'static str {
    match kind {
        VertexKind::Source => "source",
        VertexKind::Operator => "operator",
        VertexKind::Sink => "sink",
    }
}

/// Looks a name up; an unknown one is answered with what exists.
pub(super) fn find(
    kind: VertexKind,
    name: &str,
    at: Place,
    problems: &mut Problems,
) -> Option<&'static Listing> {
    static TABLE: [Listing; 6] = CATALOG;
    let found = TABLE
        .iter()
        .find(|listing| listing.kind == kind && listing.name == name);
    found.or_else(|| problems.none(at, || absent(kind, name)))
}

fn absent(kind: VertexKind, name: &str) -> String {
    let key = kind_key(kind);
    if PLANNED.contains(&(kind, name)) {
        let message = format!("{key} {} isn't available in this version", quoted(name));
        return format!(
            "{message}; {key}s: {}",
            names(kind).collect::<Vec<_>>().join(", ")
        );
    }
    match CATALOG.iter().find(|listing| listing.name == name) {
        Some(other) => {
            let right = kind_key(other.kind);
            format!("{} is a {right}; write `{right}: {name}`", quoted(name))
        }
        None => suggest::unknown(key, name, names(kind)),
    }
}

fn names(kind: VertexKind) -> impl Iterator<Item = &'static str> {
    CATALOG
        .iter()
        .filter(move |listing| listing.kind == kind)
        .map(|listing| listing.name)
}

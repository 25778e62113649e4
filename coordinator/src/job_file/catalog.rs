//! The one table of built-in sources, operators and sinks: to add one, add its line here and its
//! builder beside `sources.rs`, `filter.rs`, `select.rs`, `aggregate.rs`, `sinks.rs` and `kafka.rs`.

use std::path::Path;

use regent_protocol::spec::FileFormat;
use regent_state::graph::{Column, SinkInfo, VertexKind};

use super::error::{Place, Problems, quoted};
use super::event_time::ReadsTime;
use super::fields::Fields;
use super::own::{OwnCode, OwnName};
use super::{aggregate, filter, kafka, select, sinks, sources, suggest};

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
    /// If it reads event time.
    pub(super) reads_time: Option<ReadsTime>,
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

const LISTINGS: usize = 10;

/// What this version runs.
pub(super) const CATALOG: [Listing; LISTINGS] = [
    Listing {
        kind: VertexKind::Source,
        name: "sequence",
        keys: &["start", "end", "rate", "keys"],
        build: sources::sequence,
    },
    Listing {
        kind: VertexKind::Source,
        name: "files",
        keys: &[
            "path",
            "format",
            "on-error",
            "rate",
            "columns",
            "discovery-interval",
        ],
        build: sources::files,
    },
    Listing {
        kind: VertexKind::Source,
        name: "kafka",
        keys: &[
            "brokers",
            "topic",
            "group",
            "format",
            "columns",
            "start",
            "bounded",
            "on-error",
            "rate",
            "discovery-interval",
            "broker-timeout",
        ],
        build: kafka::source,
    },
    Listing {
        kind: VertexKind::Operator,
        name: "filter",
        keys: &["where"],
        build: filter::build,
    },
    Listing {
        kind: VertexKind::Operator,
        name: "select",
        keys: &["columns"],
        build: select::build,
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
    Listing {
        kind: VertexKind::Sink,
        name: "print",
        keys: &[],
        build: sinks::print,
    },
    Listing {
        kind: VertexKind::Sink,
        name: "kafka",
        keys: &[
            "brokers",
            "topic",
            "format",
            "key",
            "delivery",
            "staging",
            "broker-timeout",
        ],
        build: kafka::sink,
    },
];

/// The text formats of `files`, read and written.
pub(super) const FORMATS: [(&str, FileFormat); 2] = [
    ("csv", FileFormat::Csv),
    ("json-lines", FileFormat::JsonLines),
];

/// The key that names a vertex of this kind.
pub(super) fn kind_key(kind: VertexKind) -> &'static str {
    match kind {
        VertexKind::Source => "source",
        VertexKind::Operator => "operator",
        VertexKind::Sink => "sink",
    }
}

/// What a vertex's name stands for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Named<'n> {
    BuiltIn(&'static Listing),
    Own(OwnName<'n>),
}

impl Named<'_> {
    pub(super) fn kind(&self) -> VertexKind {
        match self {
            Self::BuiltIn(listing) => listing.kind,
            Self::Own(own) => own.kind,
        }
    }

    pub(super) fn name(&self) -> &str {
        match self {
            Self::BuiltIn(listing) => listing.name,
            Self::Own(own) => own.name,
        }
    }
}

/// Looks up what is built in.
pub(super) fn find(kind: VertexKind, name: &str) -> Option<&'static Listing> {
    static TABLE: [Listing; LISTINGS] = CATALOG;
    TABLE
        .iter()
        .find(|listing| listing.kind == kind && listing.name == name)
}

/// The answer to a name that is neither built in nor offered by a worker: what exists.
pub(super) fn absent(kind: VertexKind, name: &str, code: &OwnCode) -> String {
    let key = kind_key(kind);
    if (kind, name) == (VertexKind::Operator, "union") {
        return "there is no operator `union`: any operator or sink may list several `inputs`"
            .to_owned();
    }
    let built_in = CATALOG.iter().find(|listing| listing.name == name);
    match built_in
        .map(|other| other.kind)
        .or_else(|| code.kind_of(name))
    {
        Some(other) => {
            let right = kind_key(other);
            format!("{} is a {right}; write `{right}: {name}`", quoted(name))
        }
        None => {
            let mut known: Vec<&str> = names(kind).collect();
            known.extend(code.names(kind));
            suggest::unknown(key, name, known)
        }
    }
}

fn names(kind: VertexKind) -> impl Iterator<Item = &'static str> {
    CATALOG
        .iter()
        .filter(move |listing| listing.kind == kind)
        .map(|listing| listing.name)
}

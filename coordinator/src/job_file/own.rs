//! Vertices of the user's own code. What a worker's code makes of a vertex's configuration and input
//! has to be asked of a worker, which parsing doesn't: it answers the questions instead, and is
//! done again with the answers ([`OwnCode`]) until none is open.

use std::collections::BTreeMap;

use regent_protocol::spec::OwnSpec;
use regent_protocol::v1;
use regent_state::JobGraph;
use regent_state::graph::{Column, DataType, IfExists, Partition, SinkInfo, Vertex, VertexKind};
use serde_json::Value as Json;

use super::catalog::{Built, Rows, kind_key};
use super::columns;
use super::error::{Place, Problems, quoted};
use super::scalar::Scalar;
use super::tree::{Node, Value};

/// Workers that a message names.
const NAMED_MAX: usize = 8;
/// Columns of one vertex, as many as a `files` source may have.
const COLUMNS_MAX: usize = 1_000;

/// What is known of the user's code: the names that workers offer, and what they answered.
#[derive(Debug, Clone, Default)]
pub struct OwnCode {
    /// (kind, name) to worker and version.
    offers: BTreeMap<(String, String), Vec<(String, u32)>>,
    /// Versions of the vertices of a job that is known already.
    pinned: BTreeMap<String, (VertexKind, String, u32)>,
    answers: Vec<(v1::OwnVertex, v1::OwnDescription)>,
    /// Any name that isn't built in may be somebody's code.
    unknown: bool,
}

/// A vertex of the user's code as the file names it.
#[derive(Debug, Clone, Copy)]
pub(super) struct OwnName<'n> {
    pub(super) kind: VertexKind,
    pub(super) name: &'n str,
    pub(super) version: u32,
    /// Where the file names it.
    pub(super) at: Place,
}

/// What a description depends on, beside the name.
#[derive(Debug)]
pub(super) struct OwnPlace<'a> {
    pub(super) id: &'a str,
    pub(super) parallelism: u32,
    pub(super) with: Option<&'a Node>,
    /// `None` for a source.
    pub(super) input: Option<Rows<'a>>,
    /// Columns that the first input is partitioned by.
    pub(super) key: &'a [String],
}

impl OwnCode {
    /// For checking a file where no worker can be asked: a name that isn't built in is taken for the
    /// user's code, and what depends on it isn't checked.
    #[must_use]
    pub fn unknown() -> Self {
        Self {
            unknown: true,
            ..Self::default()
        }
    }
    /// A worker offers a version of a name.
    pub(crate) fn offer(&mut self, worker: &str, offer: &v1::OperatorOffer) {
        let key = (offer.kind.clone(), offer.name.clone());
        let offers = self.offers.entry(key).or_default();
        offers.push((worker.to_owned(), offer.version));
    }

    /// A question was answered.
    pub(crate) fn answer(&mut self, asked: v1::OwnVertex, answer: v1::OwnDescription) {
        self.answers.push((asked, answer));
    }

    /// The vertices of a job that is known already need no worker: submitted again it is the same
    /// job, whatever workers offer by now.
    pub(crate) fn know(&mut self, graph: &JobGraph) {
        for vertex in &graph.vertices {
            if super::is_built_in(vertex.kind, &vertex.operator) {
                continue;
            }
            let Ok(spec) = serde_json::from_str::<OwnSpec>(&vertex.config_json) else {
                continue;
            };
            let pin = (vertex.kind, vertex.operator.clone(), spec.version);
            self.pinned.insert(vertex.id.clone(), pin);
            let (asked, answer) = known(graph, vertex, &spec);
            self.answer(asked, answer);
        }
    }

    fn of(&self, kind: VertexKind, name: &str) -> &[(String, u32)] {
        let key = (kind_key(kind).to_owned(), name.to_owned());
        self.offers.get(&key).map_or(&[], Vec::as_slice)
    }

    /// Names of this kind.
    pub(super) fn names(&self, kind: VertexKind) -> impl Iterator<Item = &str> {
        let named = self.offers.keys();
        let named = named.filter(move |(of, _)| of == kind_key(kind));
        named.map(|(_, name)| name.as_str())
    }

    /// The kind under which a name is offered.
    pub(super) fn kind_of(&self, name: &str) -> Option<VertexKind> {
        let kinds = [VertexKind::Source, VertexKind::Operator, VertexKind::Sink];
        kinds
            .into_iter()
            .find(|kind| !self.of(*kind, name).is_empty())
    }

    /// The version that a vertex runs: the one that it names, that of the known job, or else the
    /// highest. `None`: nobody offers the name. `Err`: nobody offers that version.
    pub(super) fn version(
        &self,
        id: &str,
        kind: VertexKind,
        name: &str,
        wanted: Option<u32>,
    ) -> Option<Result<u32, String>> {
        let pinned = self.pinned.get(id);
        let pinned = pinned.filter(|(of, known, _)| *of == kind && known == name);
        if let Some((_, _, version)) = pinned.filter(|(_, _, v)| wanted.is_none_or(|w| w == *v)) {
            return Some(Ok(*version));
        }
        if self.unknown {
            return Some(Ok(wanted.unwrap_or_default()));
        }
        let offers = self.of(kind, name);
        let highest = offers.iter().map(|(_, version)| *version).max();
        let Some(wanted) = wanted else {
            return highest.map(Ok);
        };
        if offers.iter().any(|(_, version)| *version == wanted) {
            return Some(Ok(wanted));
        }
        Some(Err(nobody(kind, name, wanted, offers)))
    }
}

fn nobody(kind: VertexKind, name: &str, wanted: u32, offers: &[(String, u32)]) -> String {
    let key = kind_key(kind);
    let mut message = format!("no worker offers {key} {name} {wanted}");
    let others = offers.iter().take(NAMED_MAX);
    let others: Vec<String> = others
        .map(|(worker, version)| format!("{worker} offers {version}"))
        .collect();
    if !others.is_empty() {
        message.push_str(&format!("; {}", others.join(", ")));
    }
    message
}

/// Question and answer as a graph has them.
fn known(graph: &JobGraph, vertex: &Vertex, spec: &OwnSpec) -> (v1::OwnVertex, v1::OwnDescription) {
    let input = vertex.inputs.first();
    let from = input.and_then(|edge| graph.vertex(&edge.from));
    let key = match input.map(|edge| &edge.partition) {
        Some(Partition::Hash { by }) => by.clone(),
        _ => Vec::new(),
    };
    let bounded = vertex.bounded;
    let asked = v1::OwnVertex {
        id: vertex.id.clone(),
        kind: kind_key(vertex.kind).to_owned(),
        name: vertex.operator.clone(),
        version: spec.version,
        parallelism: vertex.parallelism,
        with_json: spec.with.to_string(),
        input: from.map_or_else(Vec::new, |from| to_wire(&from.columns)),
        key,
    };
    let answer = v1::OwnDescription {
        vertex: vertex.id.clone(),
        error: String::new(),
        columns: to_wire(&vertex.columns),
        bounded,
        zombie_safe: vertex.zombie_safe,
        two_phase: vertex.sink.is_some(),
    };
    (asked, answer)
}

fn to_wire(columns: &[Column]) -> Vec<v1::Column> {
    let column = |column: &Column| v1::Column {
        name: column.name.clone(),
        data_type: columns::type_name(column.data_type).to_owned(),
    };
    columns.iter().map(column).collect()
}

/// What the code makes of the vertex. `None`: a problem was noted, or the question is.
pub(super) fn build(
    code: &OwnCode,
    own: OwnName<'_>,
    place: &OwnPlace<'_>,
    problems: &mut Problems,
) -> Option<Built> {
    let with = match place.with {
        Some(node) => json(node, problems)?,
        None => Json::Object(serde_json::Map::new()),
    };
    let input = place.input.map_or(&[][..], |rows| rows.columns);
    let question = v1::OwnVertex {
        id: place.id.to_owned(),
        kind: kind_key(own.kind).to_owned(),
        name: own.name.to_owned(),
        version: own.version,
        parallelism: place.parallelism,
        with_json: with.to_string(),
        input: to_wire(input),
        key: place.key.to_vec(),
    };
    let answers = code.answers.iter();
    let Some((_, answer)) = answers.rev().find(|(asked, _)| *asked == question) else {
        problems.ask(question);
        return None;
    };
    let at = place.with.map_or(own.at, |node| node.at);
    if !answer.error.is_empty() {
        let what = format!("{} {}", kind_key(own.kind), own.name);
        return problems.none(at, || format!("{what}: {}", answer.error));
    }
    let columns = of_wire(own, &answer.columns, problems)?;
    let spec = OwnSpec {
        version: own.version,
        with,
    };
    // Where its transactions lie only the code knows: there is no path to claim.
    let two_phase = own.kind == VertexKind::Sink && answer.two_phase;
    let sink = two_phase.then(|| SinkInfo {
        path: String::new(),
        mode: IfExists::NoPath,
        exactly_once: true,
    });
    Some(Built {
        config_json: super::config_json(&spec),
        columns,
        bounded: place.input.map_or(answer.bounded, |rows| rows.bounded),
        zombie_safe: answer.zombie_safe,
        sink,
        reads: None,
        path_at: Place::FILE,
        keyed_by: None,
        reads_time: None,
    })
}

/// What a worker answers comes from outside as much as the file does.
fn of_wire(own: OwnName<'_>, found: &[v1::Column], problems: &mut Problems) -> Option<Vec<Column>> {
    let typed = |column: &v1::Column| {
        let types = columns::TYPES.iter();
        let mut named = types.filter(|(name, _)| *name == column.data_type);
        let data_type: DataType = named.next().map(|(_, data_type)| *data_type)?;
        Some(Column {
            name: column.name.clone(),
            data_type,
        })
    };
    let columns: Option<Vec<Column>> = found.iter().map(typed).collect();
    let columns = columns.filter(|columns| columns.len() <= COLUMNS_MAX);
    columns.or_else(|| {
        problems.none(own.at, || {
            format!(
                "{} {} answers a schema that can't be used: at most {COLUMNS_MAX} columns of known \
                 types",
                kind_key(own.kind),
                own.name
            )
        })
    })
}

/// A part of the file as JSON, for code that reads it as it likes.
fn json(node: &Node, problems: &mut Problems) -> Option<Json> {
    match &node.value {
        Value::Scalar { text, scalar } => match scalar {
            Scalar::Null => Some(Json::Null),
            Scalar::Bool(value) => Some(Json::from(*value)),
            Scalar::Int(value) => Some(Json::from(*value)),
            Scalar::Text => Some(Json::from(text.as_str())),
            Scalar::Float(value) if value.is_finite() => Some(Json::from(*value)),
            Scalar::Float(_) | Scalar::HugeInt => problems.none(node.at, || {
                format!(
                    "{} is beyond what a number may be; write it as text",
                    quoted(text)
                )
            }),
        },
        Value::List(items) => {
            let items: Vec<Option<Json>> = items.iter().map(|one| json(one, problems)).collect();
            items
                .into_iter()
                .collect::<Option<Vec<Json>>>()
                .map(Json::from)
        }
        Value::Map(entries) => {
            let mut map = serde_json::Map::new();
            for entry in entries {
                map.insert(entry.key.clone(), json(&entry.node, problems)?);
            }
            Some(Json::Object(map))
        }
    }
}

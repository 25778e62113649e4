//! From checked vertices to the graph: types flow from sources to sinks, partitions are checked
//! against parallelism and keys, and no two places on disk get in each other's way.

use std::collections::BTreeMap;
use std::path::Path;

use regent_protocol::spec::EventTimeSpec;
use regent_state::graph::{Edge, IfExists, PARALLELISM_MAX, Partition, SinkInfo, Vertex};

use super::catalog::{Built, Context, Listing, Named, Rows};
use super::columns;
use super::error::{Problems, quoted};
use super::event_time::{self, Station};
use super::fields::Fields;
use super::own::{self, OwnCode, OwnName, OwnPlace};
use super::paths;
use super::vertex::{RawInput, RawVertex, Spread};

/// Column entries over all vertices; the log keeps a schema for each vertex.
const SCHEMA_ENTRIES_MAX: usize = 50_000;

/// What a job file is read against.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scope<'a> {
    /// Where relative paths start.
    pub(super) working_dir: &'a Path,
    pub(super) code: &'a OwnCode,
}

/// A vertex with what its builder made of it.
struct Placed<'n> {
    raw: &'n RawVertex<'n>,
    parallelism: u32,
    /// One for each input.
    partitions: Vec<Partition>,
    built: Built,
}

/// Builds the vertices in `order`. `None`: problems were noted.
pub(super) fn assemble(
    raw: &[RawVertex<'_>],
    order: &[usize],
    default_parallelism: u32,
    scope: &Scope<'_>,
    problems: &mut Problems,
) -> Option<Vec<Vertex>> {
    let mut placed: BTreeMap<&str, Placed<'_>> = BTreeMap::new();
    let mut entries = 0;
    for vertex in order.iter().map(|index| &raw[*index]) {
        let parallelism = vertex.parallelism.unwrap_or(default_parallelism);
        let inputs: Vec<Input<'_, '_>> = vertex
            .inputs
            .iter()
            .filter_map(|raw| Some((raw, placed.get(raw.from)?)))
            .collect();
        if inputs.len() < vertex.inputs.len() {
            // An input has problems of its own, which were noted.
            continue;
        }
        let one = place(vertex, parallelism, &inputs, scope, problems);
        entries += one.as_ref().map_or(0, |one| one.built.columns.len());
        if entries > SCHEMA_ENTRIES_MAX {
            return problems.none(vertex.id_at, || {
                format!("the vertices have more than {SCHEMA_ENTRIES_MAX} columns together")
            });
        }
        placed.extend(one.map(|one| (vertex.id, one)));
    }
    let in_order: Vec<Placed<'_>> = order
        .iter()
        .filter_map(|index| placed.remove(raw[*index].id))
        .collect();
    check_paths(&in_order, problems);
    let stations: Vec<Station<'_>> = in_order.iter().map(station).collect();
    let times = event_time::resolve(&stations, problems);
    problems.is_empty().then(|| {
        let finished = |one: Placed<'_>| {
            let time = times.get(one.raw.id);
            finished(one, time)
        };
        in_order.into_iter().map(finished).collect()
    })
}

/// An input and the vertex that it comes from.
type Input<'p, 'n> = (&'n RawInput<'n>, &'p Placed<'n>);

fn place<'n>(
    vertex: &'n RawVertex<'n>,
    parallelism: u32,
    inputs: &[Input<'_, 'n>],
    scope: &Scope<'_>,
    problems: &mut Problems,
) -> Option<Placed<'n>> {
    debug_assert!((1..=PARALLELISM_MAX).contains(&parallelism));
    let rows = united(inputs, problems)?;
    let built = match vertex.named {
        Named::BuiltIn(listing) => built_in(listing, vertex, rows, scope, problems),
        Named::Own(own) => build_own(own, vertex, parallelism, rows, scope, problems),
    };
    let keyed_by = built.as_ref().and_then(|built| built.keyed_by.as_deref());
    let partitions: Vec<Partition> = inputs
        .iter()
        .filter_map(|(input, from)| partition(input, from, parallelism, keyed_by, problems))
        .collect();
    (partitions.len() == inputs.len()).then_some(Placed {
        raw: vertex,
        parallelism,
        partitions,
        built: built?,
    })
}

/// The rows of all inputs together, which must have the same columns; `Some(None)`: no input.
fn united<'p>(inputs: &[Input<'p, '_>], problems: &mut Problems) -> Option<Option<Rows<'p>>> {
    let Some(((first_input, first), others)) = inputs.split_first() else {
        return Some(None);
    };
    for (input, from) in others {
        if from.built.columns != first.built.columns {
            return problems.none(input.from_at, || {
                format!(
                    "the inputs of a vertex must have the same columns in the same order, but {} has \
                     {} and {} has {}; put a `select` between",
                    quoted(first_input.from),
                    columns::listed(&first.built.columns),
                    quoted(input.from),
                    columns::listed(&from.built.columns),
                )
            });
        }
    }
    Some(Some(Rows {
        columns: &first.built.columns,
        bounded: inputs.iter().all(|(_, from)| from.built.bounded),
    }))
}

fn built_in(
    listing: &Listing,
    vertex: &RawVertex<'_>,
    input: Option<Rows<'_>>,
    scope: &Scope<'_>,
    problems: &mut Problems,
) -> Option<Built> {
    let what = format!("`with` of {}", quoted(vertex.id));
    let with = match vertex.with {
        Some(node) => Fields::open(node, &what, listing.keys, problems)?,
        None => Fields::absent(vertex.at),
    };
    let context = Context {
        with,
        input,
        working_dir: scope.working_dir,
    };
    (listing.build)(&context, problems)
}

fn build_own(
    named: OwnName<'_>,
    vertex: &RawVertex<'_>,
    parallelism: u32,
    input: Option<Rows<'_>>,
    scope: &Scope<'_>,
    problems: &mut Problems,
) -> Option<Built> {
    let key_of = |input: &RawInput<'_>| -> Vec<String> {
        let names = input.by.iter();
        names.map(|(name, _)| (*name).to_owned()).collect()
    };
    let key = vertex.inputs.first().map(key_of).unwrap_or_default();
    if let Some(other) = vertex.inputs.iter().find(|input| key_of(input) != key) {
        return problems.none(other.spread_at, || {
            "the inputs of one's own code must be partitioned by the same columns, or all without \
             hash"
                .to_owned()
        });
    }
    let place = OwnPlace {
        id: vertex.id,
        parallelism,
        with: vertex.with,
        input,
        key: &key,
    };
    own::build(scope.code, named, &place, problems)
}

fn partition(
    input: &RawInput<'_>,
    from: &Placed<'_>,
    parallelism: u32,
    keyed_by: Option<&[String]>,
    problems: &mut Problems,
) -> Option<Partition> {
    let spread = match input.spread {
        Spread::Forward if from.parallelism != parallelism => {
            return problems.none(input.spread_at, || {
                format!(
                    "forward needs equal parallelism, but {} has {} and this vertex {parallelism}; \
                     use {{ from: {}, partition: rebalance }}",
                    quoted(input.from),
                    from.parallelism,
                    input.from,
                )
            });
        }
        Spread::Forward => Partition::Forward,
        Spread::Rebalance => Partition::Rebalance,
        Spread::Broadcast => Partition::Broadcast,
        Spread::Hash => Partition::Hash {
            by: hash_columns(input, from, problems)?,
        },
    };
    match keyed_by {
        Some(keys) => keyed(spread, keys, input, parallelism, problems),
        None => Some(spread),
    }
}

fn hash_columns(
    input: &RawInput<'_>,
    from: &Placed<'_>,
    problems: &mut Problems,
) -> Option<Vec<String>> {
    let known = &from.built.columns;
    let found: Vec<String> = input
        .by
        .iter()
        .filter_map(|(name, at)| columns::find(name, *at, known, problems))
        .map(|column| column.name.clone())
        .collect();
    (found.len() == input.by.len()).then_some(found)
}

/// Rows of equal keys must meet in one subtask: the one that owns their key group, which follows
/// from the keys in the operator's own order.
fn keyed(
    spread: Partition,
    keys: &[String],
    input: &RawInput<'_>,
    parallelism: u32,
    problems: &mut Problems,
) -> Option<Partition> {
    let by_keys = match &spread {
        Partition::Hash { by } => {
            by.len() == keys.len() && by.iter().all(|column| keys.contains(column))
        }
        _ => false,
    };
    if by_keys {
        return Some(Partition::Hash { by: keys.to_vec() });
    }
    if parallelism == 1 {
        return Some(spread);
    }
    problems.none(input.spread_at, || {
        format!(
            "with parallelism {parallelism} the rows of one group must meet: \
             use {{ from: {}, partition: hash, by: [{}] }}",
            input.from,
            keys.join(", "),
        )
    })
}

/// A sink owns its path and everything below: no other sink, and nothing that a source reads.
fn check_paths(placed: &[Placed<'_>], problems: &mut Problems) {
    let mut owned: Vec<(&str, &Placed<'_>)> = Vec::new();
    for one in placed {
        let with_path = |sink: &&SinkInfo| sink.mode != IfExists::NoPath;
        let Some(sink) = one.built.sink.as_ref().filter(with_path) else {
            continue;
        };
        let overlapping = owned
            .iter()
            .find(|(path, _)| paths::overlap(path, &sink.path));
        if let Some((_, other)) = overlapping {
            problems.add(one.built.path_at, || {
                let (path, other) = (quoted(&sink.path), quoted(other.raw.id));
                format!("path {path} overlaps with the path of sink {other}; give each its own")
            });
        }
        owned.push((&sink.path, one));
    }
    for one in placed {
        let Some((path, at)) = &one.built.reads else {
            continue;
        };
        let fixed = paths::fixed_part(path);
        if let Some((_, sink)) = owned
            .iter()
            .find(|(owned, _)| paths::is_at_or_below(fixed, owned))
        {
            problems.add(*at, || {
                let (path, sink) = (quoted(path), quoted(sink.raw.id));
                format!("path {path} lies where sink {sink} writes; give the sink its own path")
            });
        }
    }
}

fn station<'p>(placed: &'p Placed<'_>) -> Station<'p> {
    Station {
        id: placed.raw.id,
        operator: placed.raw.named.name(),
        config_json: &placed.built.config_json,
        inputs: placed.raw.inputs.iter().map(|input| input.from).collect(),
        reads: placed.built.reads_time.as_ref(),
    }
}

fn finished(placed: Placed<'_>, time: Option<&EventTimeSpec>) -> Vertex {
    let Placed {
        raw,
        parallelism,
        partitions,
        built,
    } = placed;
    let edges = raw.inputs.iter().zip(partitions);
    let inputs = edges.map(|(input, partition)| Edge {
        from: input.from.to_owned(),
        partition,
    });
    Vertex {
        id: raw.id.to_owned(),
        kind: raw.named.kind(),
        operator: raw.named.name().to_owned(),
        parallelism,
        inputs: inputs.collect(),
        config_json: event_time::with_event_time(built.config_json, time),
        columns: built.columns,
        bounded: built.bounded,
        zombie_safe: built.zombie_safe,
        sink: built.sink,
    }
}

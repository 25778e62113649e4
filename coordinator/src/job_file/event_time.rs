//! Where event time comes from: which vertices bring watermarks forth, and by which of their columns.
//!
//! A vertex that reads event time asks those before it for it. Filters and selects hand the question
//! on, under the column's name there; it ends at a source, or at a vertex that makes rows of its own.
//! A vertex has one event time: where two are asked for, the second begins as late as it can.

use std::collections::BTreeMap;

use regent_protocol::spec::{EventTimeSpec, SelectSpec};

use super::error::{Place, Problems, quoted};

/// That a vertex reads event time, and how.
#[derive(Debug, Clone)]
pub(super) struct ReadsTime {
    /// Column of its input.
    pub(super) column: String,
    /// Where the file names it.
    pub(super) at: Place,
    pub(super) idle_timeout_ms: Option<u64>,
}

/// What has to be known of a vertex.
pub(super) struct Station<'a> {
    pub(super) id: &'a str,
    pub(super) operator: &'a str,
    pub(super) config_json: &'a str,
    pub(super) inputs: Vec<&'a str>,
    pub(super) reads: Option<&'a ReadsTime>,
}

/// The event time of a vertex's output.
#[derive(Debug, Clone)]
struct Time {
    column: String,
    idle_timeout_ms: Option<u64>,
    /// It begins here; otherwise it comes from the inputs.
    begins: bool,
}

/// Two vertices want different times of one.
struct Taken {
    vertex: String,
    column: String,
}

/// The vertices that bring event time forth. A vertex that can't serve all is a problem.
pub(super) fn resolve(
    stations: &[Station<'_>],
    problems: &mut Problems,
) -> BTreeMap<String, EventTimeSpec> {
    let by_id: BTreeMap<&str, &Station<'_>> = stations.iter().map(|one| (one.id, one)).collect();
    let mut times = BTreeMap::new();
    for (station, reads) in stations.iter().filter_map(|one| Some((one, one.reads?))) {
        for from in &station.inputs {
            let asked = ask(
                &by_id,
                &mut times,
                from,
                &reads.column,
                reads.idle_timeout_ms,
            );
            if let Err(taken) = asked {
                problems.add(reads.at, || refusal(station.id, &reads.column, &taken));
            }
        }
    }
    let begins = times.into_iter().filter(|(_, time)| time.begins);
    let spec = |time: Time| EventTimeSpec {
        column: time.column,
        idle_timeout_ms: time.idle_timeout_ms,
    };
    begins.map(|(id, time)| (id, spec(time))).collect()
}

fn refusal(reader: &str, column: &str, taken: &Taken) -> String {
    format!(
        "{} can't give {} the time {}: rows have one event time, and there it is {}; put a `select` \
         between them",
        quoted(&taken.vertex),
        quoted(reader),
        quoted(column),
        quoted(&taken.column),
    )
}

/// Recursion ends at a source: the graph has no circle, and every vertex is settled at its first visit.
fn ask(
    stations: &BTreeMap<&str, &Station<'_>>,
    times: &mut BTreeMap<String, Time>,
    vertex: &str,
    column: &str,
    idle_timeout_ms: Option<u64>,
) -> Result<(), Taken> {
    let Some(station) = stations.get(vertex) else {
        return Ok(());
    };
    match times.get_mut(vertex) {
        Some(time) if time.column != column => {
            return Err(Taken {
                vertex: vertex.to_owned(),
                column: time.column.clone(),
            });
        }
        Some(time) => {
            // The shortest patience of those that wait; those before have to know only of a shorter.
            let sooner = [time.idle_timeout_ms, idle_timeout_ms];
            let sooner = sooner.into_iter().flatten().min();
            if time.begins || time.idle_timeout_ms == sooner {
                time.idle_timeout_ms = sooner;
                return Ok(());
            }
            time.idle_timeout_ms = sooner;
        }
        None => {
            let time = Time {
                column: column.to_owned(),
                idle_timeout_ms,
                begins: false,
            };
            times.insert(vertex.to_owned(), time);
        }
    }
    let before = passes(station, column);
    let mut begins = before.is_none();
    if let Some(before) = before {
        for from in &station.inputs {
            let asked = ask(stations, times, from, &before, idle_timeout_ms);
            begins |= asked.is_err();
        }
    }
    if let Some(time) = times.get_mut(vertex) {
        time.begins |= begins;
    }
    Ok(())
}

/// The column's name in the inputs, if the vertex passes rows on and doesn't make its own.
fn passes(station: &Station<'_>, column: &str) -> Option<String> {
    match station.operator {
        "filter" => Some(column.to_owned()),
        "select" => {
            let spec: SelectSpec = serde_json::from_str(station.config_json).ok()?;
            let selected = spec.columns.into_iter().find(|one| one.name == column);
            selected.map(|one| one.column)
        }
        _ => None,
    }
}

/// The configuration with its event time beside it.
pub(super) fn with_event_time(config_json: String, spec: Option<&EventTimeSpec>) -> String {
    let Some(spec) = spec else {
        return config_json;
    };
    let event_time = super::config_json(spec);
    match config_json.strip_suffix('}') {
        Some("{") => format!("{{\"event-time\":{event_time}}}"),
        Some(open) => format!("{open},\"event-time\":{event_time}}}"),
        None => config_json,
    }
}

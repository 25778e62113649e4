//! The contract's example, normalised: a change of these lines is a change for running jobs, since
//! a graph's hash decides whether a repeated submission is the same job.

use regent_state::graph::{Edge, IfExists, Partition, SinkInfo, Vertex, VertexKind};

use super::{parsed, vertex};

/// The job file of the user contract.
pub(super) const FLIGHTS_PER_CARRIER: &str = r#"
name: flights-per-carrier          # 1-128 of letters, digits, . _ - and space
parallelism: 2                     # 1-128, default 1; per vertex: parallelism: n
checkpointing: { interval: 1s, timeout: 10m, min-pause: 0s, num-retained: 1, tolerable-failed-checkpoints: 0,
                 externalized-checkpoint-retention: no-externalized-checkpoints }   # delete-on-cancellation | retain-on-cancellation
restart-strategy: { type: exponential-delay, initial-backoff: 1s, max-backoff: 1m, backoff-multiplier: 1.5, jitter-factor: 0.1, reset-backoff-threshold: 1h }
vertices:
  - id: flights                    # [a-z0-9-]{1,64}, unique; exactly one of source | operator | sink
    source: files
    with: { path: deploy/examples/data/flights, format: csv, on-error: fail, rate: 800,
            columns: { carrier: utf8, origin: utf8, month: int64, distance: int64, dep_delay: float64 } }
  - id: long-haul
    operator: filter
    inputs: [ flights ]            # short for { from: flights, partition: forward }
    with: { where: { column: distance, op: ">=", value: 500 } }          # all: [..] | any: [..] | not: {..}
  - id: by-carrier
    operator: aggregate
    inputs: [ { from: long-haul, partition: hash, by: [carrier] } ]      # hash | rebalance | broadcast | forward
    with: { group-by: [carrier], emit: final,
            compute: { flights: { count: "*" }, miles: { sum: distance }, worst: { max: dep_delay } } }
  - id: out
    sink: files
    inputs: [ by-carrier ]
    with: { path: out/flights-per-carrier, format: csv, delivery: exactly-once, if-exists: refuse }
"#;

/// The same with every default left out, and as JSON.
const SHORT: &str = r#"{ "name": "flights-per-carrier", "parallelism": 2, "checkpointing": {"interval": "1s"},
  "vertices": [
    {"id": "flights", "source": "files", "with": {"path": "deploy/examples/data/flights", "format": "csv", "rate": 800,
      "columns": {"carrier": "utf8", "origin": "utf8", "month": "int64", "distance": "int64", "dep_delay": "float64"}}},
    {"id": "long-haul", "operator": "filter", "inputs": ["flights"],
      "with": {"where": {"column": "distance", "op": ">=", "value": 500}}},
    {"id": "by-carrier", "operator": "aggregate", "inputs": [{"from": "long-haul", "partition": "hash", "by": ["carrier"]}],
      "with": {"group-by": ["carrier"],
        "compute": {"flights": {"count": "*"}, "miles": {"sum": "distance"}, "worst": {"max": "dep_delay"}}}},
    {"id": "out", "sink": "files", "inputs": ["by-carrier"], "with": {"path": "out/flights-per-carrier", "format": "csv"}}
  ] }"#;

fn described(vertex: &Vertex) -> String {
    let columns: Vec<String> = vertex
        .columns
        .iter()
        .map(|column| format!("{}: {:?}", column.name, column.data_type))
        .collect();
    let Vertex {
        id,
        operator,
        parallelism,
        bounded,
        zombie_safe,
        config_json,
        ..
    } = vertex;
    format!(
        "{:?} {id} {operator} x{parallelism} bounded={bounded} zombie-safe={zombie_safe}\n{config_json}\n{}",
        vertex.kind,
        columns.join(", ")
    )
}

#[test]
fn the_contracts_example() {
    let job = parsed(FLIGHTS_PER_CARRIER).unwrap();
    assert!(job.warnings.is_empty());
    job.graph.validate().unwrap();
    let found: Vec<String> = job.graph.vertices.iter().map(described).collect();
    let expected = [
        r#"Source flights files x2 bounded=true zombie-safe=true
{"path":"/work/dir/deploy/examples/data/flights","format":"csv","on-error":"fail","rate":800.0,"columns":[{"name":"carrier","data_type":"utf8"},{"name":"origin","data_type":"utf8"},{"name":"month","data_type":"int64"},{"name":"distance","data_type":"int64"},{"name":"dep_delay","data_type":"float64"}]}
carrier: Utf8, origin: Utf8, month: Int64, distance: Int64, dep_delay: Float64"#,
        r#"Operator long-haul filter x2 bounded=true zombie-safe=true
{"predicate":{"compare":{"column":"distance","op":">=","value":500}}}
carrier: Utf8, origin: Utf8, month: Int64, distance: Int64, dep_delay: Float64"#,
        r#"Operator by-carrier aggregate x2 bounded=true zombie-safe=true
{"group-by":["carrier"],"emit":"final","compute":[{"name":"flights","function":"count","column":null},{"name":"miles","function":"sum","column":"distance"},{"name":"worst","function":"max","column":"dep_delay"}]}
carrier: Utf8, flights: Int64, miles: Int64, worst: Float64"#,
        r#"Sink out files x2 bounded=true zombie-safe=true
{"path":"/work/dir/out/flights-per-carrier","format":"csv","delivery":"exactly-once","if-exists":"refuse"}
carrier: Utf8, flights: Int64, miles: Int64, worst: Float64"#,
    ];
    assert_eq!(found, expected);
}

#[test]
fn its_edges_and_its_sink() {
    let edge = |from: &str, partition| {
        vec![Edge {
            from: from.to_owned(),
            partition,
        }]
    };
    let graph = parsed(FLIGHTS_PER_CARRIER).unwrap().graph;
    let inputs: Vec<_> = graph
        .vertices
        .iter()
        .map(|vertex| vertex.inputs.clone())
        .collect();
    let by = vec!["carrier".to_owned()];
    let expected = [
        Vec::new(),
        edge("flights", Partition::Forward),
        edge("long-haul", Partition::Hash { by }),
        edge("by-carrier", Partition::Forward),
    ];
    assert_eq!(inputs, expected);
    let sink = SinkInfo {
        path: "/work/dir/out/flights-per-carrier".to_owned(),
        mode: IfExists::Refuse,
        exactly_once: true,
    };
    assert_eq!(graph.vertices[3].sink, Some(sink));
    assert_eq!(graph.vertices[3].kind, VertexKind::Sink);
    assert_eq!(graph.slots_needed(), 2);
}

#[test]
fn json_and_defaults_give_the_same_graph() {
    let long = parsed(FLIGHTS_PER_CARRIER).unwrap();
    let short = parsed(SHORT).unwrap();
    assert_eq!(long.graph, short.graph);
    assert_eq!(long.graph.hash(), short.graph.hash());
}

#[test]
fn json_strings_keep_their_escapes() {
    let text = SHORT.replace("\"carrier\"", "\"carrier\\u00e9\\/\\n\"");
    assert_eq!(vertex(&text, "flights").columns[0].name, "carrieré/\n");
}

//! The example jobs of `deploy/examples/jobs` are valid and fit the example data.

use std::path::{Path, PathBuf};

use regent_coordinator::job_file::{JobFileSource, ParsedJob, parse, read_limited};
use regent_protocol::spec::FilesSourceSpec;

fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    root.canonicalize().expect("the project's root exists")
}

fn example(name: &str) -> ParsedJob {
    let path = root().join("deploy/examples/jobs").join(name);
    let text = read_limited(&path).unwrap_or_else(|error| panic!("{error}"));
    let working_dir = &root();
    let source = JobFileSource {
        text: &text,
        name,
        working_dir,
        overrides: &[],
    };
    parse(source).unwrap_or_else(|error| panic!("{error}"))
}

fn files_source(job: &ParsedJob) -> FilesSourceSpec {
    let vertex = job
        .graph
        .vertex("flights")
        .expect("the example has this source");
    serde_json::from_str(&vertex.config_json).expect("its configuration is a files source's")
}

#[test]
fn every_example_is_valid_without_warnings() {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(root().join("deploy/examples/jobs")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let job = example(&name);
        assert_eq!(job.warnings, [] as [&str; 0], "{name}");
        assert_eq!(format!("{}.yaml", job.graph.name), name);
        job.graph.validate().unwrap();
        names.push(name);
    }
    names.sort();
    let expected = [
        "flights-per-carrier",
        "flights-per-origin-month",
        "sequence-count",
    ];
    assert_eq!(names, expected.map(|name| format!("{name}.yaml")));
}

#[test]
fn the_columns_are_those_of_the_data() {
    for name in ["flights-per-carrier.yaml", "flights-per-origin-month.yaml"] {
        let spec = files_source(&example(name));
        for entry in std::fs::read_dir(&spec.path).unwrap() {
            let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
            let header: Vec<&str> = text.lines().next().unwrap().split(',').collect();
            for column in &spec.columns {
                assert!(
                    header.contains(&column.name.as_str()),
                    "{} in {name}",
                    column.name
                );
            }
        }
    }
}

#[test]
fn the_demos_job_lasts_half_a_minute() {
    let spec = files_source(&example("flights-per-carrier.yaml"));
    let rows: usize = std::fs::read_dir(&spec.path)
        .unwrap()
        .map(|entry| {
            std::fs::read_to_string(entry.unwrap().path())
                .unwrap()
                .lines()
                .count()
                - 1
        })
        .sum();
    assert_eq!(rows, 27_004);
    assert!(rows as f64 / spec.rate.unwrap() >= 30.0);
}

#[test]
fn the_endless_example_is_endless_and_replaced_at_once() {
    let graph = example("sequence-count.yaml").graph;
    assert!(!graph.bounded());
    assert!(graph.all_zombie_safe());
    assert_eq!(graph.checkpoint_interval_ms(), Some(1_000));
}

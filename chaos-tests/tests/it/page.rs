//! Every example of the job file's page is a job that runs: submitted as it stands there, and finished.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use regent_chaos::cluster::{Cluster, Options};
use regent_chaos::jobs::Job;
use regent_chaos::knobs;
use regent_chaos::output::files;

/// The blocks of YAML of a page that are whole jobs, with their names.
fn examples(page: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for block in page.split("```yaml\n").skip(1) {
        let text = block.split("```").next().expect("split answers a part");
        let name = text.lines().find_map(|line| line.strip_prefix("name: "));
        let name = name.expect("an example is a whole job, with its name");
        found.push((name.to_owned(), text.to_owned()));
    }
    found
}

#[test]
fn every_example_of_the_page_runs() {
    let page = fs::read_to_string(knobs::root().join("docs/job-file.md")).expect("the page");
    let examples = examples(&page);
    assert!(examples.len() >= 4, "{} examples", examples.len());
    let mut cluster = Cluster::start(Options {
        jobmanagers: 1,
        ..Options::default()
    });
    // The page's paths begin at the repository's root.
    let root = knobs::root().canonicalize().expect("the root");
    symlink(root.join("deploy"), cluster.home().join("deploy")).expect("linked");
    for (name, text) in examples {
        let file = cluster.home().join(format!("{name}.yaml"));
        fs::write(&file, &text).expect("the job file can be written");
        // The rates on the page are for people who watch.
        let file = file.display().to_string();
        let mut arguments = vec!["job", "submit", &file];
        if text.contains("rate: 800") {
            arguments.extend(["--set", "vertices.flights.with.rate=null"]);
        }
        let submitted = cluster.json(&arguments);
        let id = submitted["job_id"].as_str().expect("an id");
        let mut job = Job::of(&cluster, id);
        job.wait_for("FINISHED", Duration::from_secs(120));
        if let Some((_, path)) = text.split_once("path: out/") {
            let folder = path.split(',').next().expect("a name");
            let out = cluster.home().join("out").join(folder);
            assert!(
                !files(&out).is_empty(),
                "{name} wrote nothing below {}",
                out.display()
            );
        }
        println!("{name}: finished");
    }
    cluster.stop();
}

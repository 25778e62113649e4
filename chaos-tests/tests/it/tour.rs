//! The README's tour shows what the program prints: the same headings of tables and of figures, command by command.

use std::fs;
use std::time::Duration;

use regent_chaos::cluster::{Cluster, Options};
use regent_chaos::command::{regent, run};
use regent_chaos::jobs::{FlightsJob, Job};
use regent_chaos::knobs;
use regent_chaos::wait::poll;

const PATIENCE: Duration = Duration::from_secs(30);
/// The name of the tour's job, and what its commands call it.
const JOB: &str = "flights-per-carrier";

/// Commands of the README, each with the lines that it shows.
fn shown(readme: &str) -> Vec<(String, Vec<String>)> {
    let mut commands: Vec<(String, Vec<String>)> = Vec::new();
    let mut inside = false;
    for line in readme.lines() {
        if line.starts_with("```") {
            inside = !inside;
        } else if let Some(command) = line.strip_prefix("$ ").filter(|_| inside) {
            commands.push((command.to_owned(), Vec::new()));
        } else if let Some((_, lines)) = commands.last_mut().filter(|_| inside) {
            lines.push(line.to_owned());
        }
    }
    commands
}

/// What names things in a printed text: `NODE NAME ROLE` of a table, `leader` of a line of figures. Rows of tables
/// are left out.
fn headings<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut found = Vec::new();
    let mut in_table = false;
    for line in lines {
        let words: Vec<&str> = line.split_whitespace().collect();
        let capitals = |word: &&str| word.bytes().all(|byte| byte.is_ascii_uppercase());
        if words.is_empty() {
            in_table = false;
        } else if words.len() > 1 && words.iter().all(capitals) {
            in_table = true;
            found.push(words.join(" "));
        } else if !in_table
            && let Some((name, _)) = line.split_once("  ")
            && !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_lowercase())
        {
            found.push(name.to_owned());
        }
    }
    found
}

/// Runs the command and gives what names things in what it printed.
fn headings_of(cluster: &Cluster, words: &[&str]) -> Vec<String> {
    let mut command = regent(cluster.home());
    command.arg("--dir").arg(cluster.dir()).args(words);
    headings(run(command, PATIENCE).expect(0).stdout.lines())
}

#[test]
fn the_readme_shows_what_is_printed() {
    let readme = fs::read_to_string(knobs::root().join("README.md")).expect("the README");
    let mut cluster = Cluster::start(Options::default());
    let file = FlightsJob::new(cluster.home(), JOB, 2_000).write();
    let mut compared = 0;
    for (command, lines) in shown(&readme) {
        let Some(verb) = command.strip_prefix("regent ").filter(|v| *v != "local") else {
            continue;
        };
        let mut words: Vec<&str> = verb.split(' ').collect();
        let path = file.display().to_string();
        if let ["job", "submit", ..] = words[..] {
            // Another file of that name; and the test doesn't wait for its end.
            words = vec!["job", "submit", &path];
        }
        let wanted = headings(lines.iter().map(String::as_str));
        // What isn't shown whole says so.
        let cut = lines.last().is_some_and(|line| line == "...");
        let same = |printed: &[String]| match cut {
            true => printed.starts_with(&wanted),
            false => printed == wanted,
        };
        // The job runs meanwhile: a checkpoint that was just subsumed stands in the ledger for a moment. What changes
        // something is run once.
        let limit = match words[..] {
            ["job", "submit", ..] => Duration::ZERO,
            _ => PATIENCE,
        };
        let mut printed = Vec::new();
        let shown = poll(limit, || {
            printed = headings_of(&cluster, &words);
            same(&printed).then_some(())
        });
        assert!(
            shown.is_some(),
            "`{command}` in README.md shows\n{wanted:#?}\nand prints\n{printed:#?}"
        );
        compared += wanted.len();
        if let ["job", "submit", ..] = words[..] {
            let submitted = cluster.json(&["job", "show", JOB]);
            let id = submitted["job_id"].as_str().expect("an id");
            Job::of(&cluster, id).wait_for_checkpoint(PATIENCE);
        }
    }
    assert!(compared >= 20, "only {compared} headings were found");
    cluster.stop();
}

#[test]
fn headings_are_those_of_tables_and_of_figures() {
    let text = "leader    jm-1 (node 1)\n3 voters, 2 needed\n\nTERM  FAST FAILOVER\nleft  out\n\nname   x\nCREATED  attempt 1\n";
    assert_eq!(
        headings(text.lines()),
        ["leader", "TERM FAST FAILOVER", "name"]
    );
    let page = "$ no command\n```text\n$ regent status\nleader  jm-1\n```\n";
    assert_eq!(
        shown(page),
        [("regent status".to_owned(), vec!["leader  jm-1".to_owned()])]
    );
}

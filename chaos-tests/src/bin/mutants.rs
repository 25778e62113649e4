//! Takes rules out of the code, one at a time, and checks that the test named for each then fails.
//!
//! `mutants.txt` lists the rules. Sources are changed in place and put back; a run that was broken off is
//! put right by `git checkout`. With `--together` all rules of a package are taken out at once, which is
//! quick and less exact: a test may then fail for another rule's sake. `--check` only compares the list
//! with the sources. Other words select rules that hold all of them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};

use regent_chaos::knobs;
use regent_chaos::mutants::{Mutant, parse};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (flags, words): (Vec<_>, Vec<_>) = words.into_iter().partition(|w| w.starts_with("--"));
    let has = |flag: &str| flags.iter().any(|given| given == flag);
    let root = knobs::root();
    let text = fs::read_to_string(root.join("chaos-tests/mutants.txt")).expect("the list is there");
    let mut mutants = parse(&text).expect("the list can be read");
    mutants.retain(|mutant| words.iter().all(|word| mutant.title().contains(word)));
    for mutant in &mutants {
        mutant.applied(&root).expect("each fits the sources");
    }
    println!("{} rules", mutants.len());
    if has("--check") {
        return ExitCode::SUCCESS;
    }
    let survivors = match has("--together") {
        true => together(&root, &mutants),
        false => mutants.iter().filter(|m| alone(&root, m)).collect(),
    };
    for survivor in &survivors {
        println!("NOT NOTICED: {}", survivor.title());
    }
    println!(
        "{} of {} noticed",
        mutants.len() - survivors.len(),
        mutants.len()
    );
    match survivors.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// Whether nothing notices that this rule is gone.
fn alone(root: &Path, mutant: &Mutant) -> bool {
    let _restored = Changed::new(root, &[mutant]);
    !is_noticed(root, mutant)
}

/// By package; rules that change the same lines can't go together, and have a turn of their own.
fn together<'a>(root: &Path, mutants: &'a [Mutant]) -> Vec<&'a Mutant> {
    let mut by_package: BTreeMap<&str, Vec<&Mutant>> = BTreeMap::new();
    for mutant in mutants {
        by_package.entry(mutant.package()).or_default().push(mutant);
    }
    let mut survivors = Vec::new();
    for mut waiting in by_package.into_values() {
        while !waiting.is_empty() {
            let (batch, rest) = batch(root, waiting);
            let _restored = Changed::new(root, &batch);
            survivors.extend(batch.iter().filter(|m| !is_noticed(root, m)));
            waiting = rest;
        }
    }
    survivors
}

/// As many as fit beside each other, each with a test of its own, and the others.
fn batch<'a>(root: &Path, mutants: Vec<&'a Mutant>) -> (Vec<&'a Mutant>, Vec<&'a Mutant>) {
    let mut sources: BTreeMap<&str, String> = BTreeMap::new();
    let (mut batch, mut rest) = (Vec::new(), Vec::new());
    for mutant in mutants {
        if batch
            .iter()
            .any(|other: &&Mutant| other.test == mutant.test)
        {
            rest.push(mutant);
            continue;
        }
        let source = sources
            .entry(&mutant.file)
            .or_insert_with(|| read(&root.join(&mutant.file)));
        match mutant.apply(source) {
            Ok(changed) => {
                *source = changed;
                batch.push(mutant);
            }
            Err(_) => rest.push(mutant),
        }
    }
    (batch, rest)
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).expect("a source can be read")
}

/// Whether the test of the rule fails now.
fn is_noticed(root: &Path, mutant: &Mutant) -> bool {
    // What is compiled anew for every rule is only this package: quickly is better than fast.
    let quickly = format!("profile.ci.package.{}.opt-level=0", mutant.package());
    let mut words = vec!["test", "--profile", "ci", "--config", &quickly];
    words.extend(mutant.test.split_whitespace());
    words.extend(["--", "--exact"]);
    let ran = Command::new("cargo")
        .args(&words)
        .current_dir(root)
        .output();
    let ran = ran.expect("cargo can be run");
    let verdict = verdict(&ran);
    println!("{verdict:8} {}", mutant.title());
    if verdict == "unclear" {
        println!("{}", String::from_utf8_lossy(&ran.stderr));
    }
    verdict == "noticed"
}

/// A test that fails is told from sources that don't compile, and from a name that selects nothing.
fn verdict(ran: &Output) -> &'static str {
    let out = String::from_utf8_lossy(&ran.stdout);
    match (
        ran.status.success(),
        out.contains("test result: FAILED. 0 passed; 1 failed"),
    ) {
        (false, true) => "noticed",
        (true, _) if out.contains("test result: ok. 1 passed") => "SURVIVED",
        _ => "unclear",
    }
}

/// Sources without some rules; put back when dropped.
struct Changed {
    before: Vec<(PathBuf, String)>,
}

impl Changed {
    fn new(root: &Path, out: &[&Mutant]) -> Self {
        let mut changed = Self { before: Vec::new() };
        for mutant in out {
            let path = root.join(&mutant.file);
            let source = read(&path);
            let without = mutant.apply(&source).expect("it fits");
            if !changed.before.iter().any(|(known, _)| *known == path) {
                changed.before.push((path.clone(), source));
            }
            fs::write(&path, without).expect("a source can be written");
        }
        changed
    }
}

impl Drop for Changed {
    fn drop(&mut self) {
        for (path, source) in &self.before {
            fs::write(path, source).expect("a source can be put back");
        }
    }
}

//! `mutants.txt`: which rule is taken out by which change, and which test must fail then. Pure but for
//! reading sources.

use std::fs;
use std::path::Path;

/// A rule and the change that takes it out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mutant {
    /// The section of the protocol and the rule, in words.
    pub rule: String,
    /// Arguments of `cargo test` that select the one test.
    pub test: String,
    /// The source, from the repository's root.
    pub file: String,
    /// What is replaced; occurs once.
    pub from: String,
    /// By what.
    pub to: String,
}

impl Mutant {
    /// Rule and test.
    #[must_use]
    pub fn title(&self) -> String {
        format!("{} | {}", self.rule, self.test)
    }

    /// The package whose test it is.
    #[must_use]
    pub fn package(&self) -> &str {
        self.test.split_whitespace().nth(1).unwrap_or_default()
    }

    /// The name of the test.
    #[must_use]
    pub fn test_name(&self) -> &str {
        self.test.rsplit(' ').next().unwrap_or_default()
    }

    /// The source without the rule.
    ///
    /// # Errors
    /// What is to be replaced isn't there exactly once.
    pub fn apply(&self, source: &str) -> Result<String, String> {
        match source.matches(&self.from).count() {
            1 => Ok(source.replacen(&self.from, &self.to, 1)),
            count => Err(format!(
                "{}: in {} {count} times:\n{}",
                self.rule, self.file, self.from
            )),
        }
    }

    /// The same from its file below `root`.
    ///
    /// # Errors
    /// See [`Mutant::apply`].
    pub fn applied(&self, root: &Path) -> Result<String, String> {
        let source = fs::read_to_string(root.join(&self.file));
        self.apply(&source.map_err(|error| format!("{}: {error}", self.file))?)
    }
}

/// Reads the list.
///
/// # Errors
/// A line belongs to nothing, or a rule is incomplete.
pub fn parse(text: &str) -> Result<Vec<Mutant>, String> {
    let mut mutants: Vec<Mutant> = Vec::new();
    let lines = text.lines().enumerate();
    for (number, line) in lines.filter(|(_, line)| !line.starts_with('#') && !line.is_empty()) {
        if let Some(rule) = line.strip_prefix("== ") {
            mutants.push(Mutant {
                rule: rule.to_owned(),
                ..Mutant::default()
            });
            continue;
        }
        let lost = || format!("line {}: {line}", number + 1);
        let last = mutants.last_mut().ok_or_else(lost)?;
        if let Some(test) = line.strip_prefix("test: ") {
            test.clone_into(&mut last.test);
        } else if let Some(file) = line.strip_prefix("file: ") {
            file.clone_into(&mut last.file);
        } else if let Some(from) = line.strip_prefix('-') {
            append(&mut last.from, from);
        } else if let Some(to) = line.strip_prefix('+') {
            append(&mut last.to, to);
        } else {
            return Err(lost());
        }
    }
    let incomplete = |m: &&Mutant| m.test.is_empty() || m.file.is_empty() || m.from == m.to;
    match mutants.iter().find(incomplete) {
        Some(mutant) => Err(format!("incomplete: {mutant:?}")),
        None => Ok(mutants),
    }
}

fn append(text: &mut String, line: &str) {
    if !text.is_empty() {
        text.push('\n');
    }
    text.push_str(line);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::knobs;

    /// A list that no longer fits the sources, or a table that forgot a rule, proves nothing.
    #[test]
    fn the_list_fits_the_sources_and_the_table() {
        let root = knobs::root();
        let read = |name: &str| fs::read_to_string(root.join("chaos-tests").join(name)).unwrap();
        let (list, table) = (read("mutants.txt"), read("README.md"));
        let mutants = parse(&list).unwrap();
        assert!(mutants.len() > 50, "{}", mutants.len());
        for mutant in &mutants {
            mutant.applied(&root).unwrap();
            let row = format!("| {} | `{}` |", mutant.rule, mutant.test_name());
            assert!(table.contains(&row), "README.md has no row\n{row}");
        }
    }
}

//! What is wrong with a job file, and where: one line each, with its place and a remedy.

use std::fmt;

use regent_protocol::v1::OwnVertex;

/// No more problems than this are reported at once; the rest would bury the first.
pub(super) const PROBLEMS_MAX: usize = 20;
/// Names from the file are cut to this many characters in messages.
const QUOTED_CHARS_MAX: usize = 64;

/// A place in the job file or in one of the `--set` overrides. Ordered as a reader would read them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// 0 is the file; n is the n-th override, counted from 1.
    pub(super) source: usize,
    /// Counted from 1; 0 means the whole source.
    pub(super) line: u32,
    /// Counted from 1, in characters.
    pub(super) column: u32,
}

impl Place {
    /// The file as a whole, for what has no better place.
    pub(super) const FILE: Self = Self {
        source: 0,
        line: 0,
        column: 0,
    };
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file's name as it was given, or `--set KEY`.
    pub source: String,
    /// Counted from 1; 0 when the whole source is meant.
    pub line: u32,
    /// Counted from 1, in characters; 0 when the whole source is meant.
    pub column: u32,
    /// Cause and remedy in one line.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 {
            return write!(f, "{}: {}", self.source, self.message);
        }
        write!(
            f,
            "{}:{}:{}: {}",
            self.source, self.line, self.column, self.message
        )
    }
}

/// A job file that can't be accepted. Its text has one line for each problem, in file order;
/// the first line stands alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobFileError {
    problems: Vec<Problem>,
}

impl JobFileError {
    /// An error about the file as a whole.
    pub(super) fn whole_file(name: &str, message: impl Into<String>) -> Self {
        let source = one_line(name);
        let message = one_line(&message.into());
        Self {
            problems: vec![Problem {
                source,
                line: 0,
                column: 0,
                message,
            }],
        }
    }

    /// Everything that was found wrong, in file order; never empty.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl fmt::Display for JobFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for JobFileError {}

/// Collects problems while checking goes on, so that one run shows several.
#[derive(Debug, Default)]
pub(super) struct Problems {
    found: Vec<(Place, String)>,
    asked: Vec<OwnVertex>,
}

impl Problems {
    /// Notes a problem. The message is only built while there is room for it, since finding the
    /// nearest name costs time that a hostile file could ask for thousands of times.
    pub(super) fn add(&mut self, place: Place, message: impl FnOnce() -> String) {
        if self.found.len() < PROBLEMS_MAX {
            self.found.push((place, message()));
        }
    }

    /// Notes a problem and answers `None`, for `return problems.none(..)`.
    pub(super) fn none<T>(&mut self, place: Place, message: impl FnOnce() -> String) -> Option<T> {
        self.add(place, message);
        None
    }

    /// Notes a question about the user's code, which stands in the way of a graph as a problem does.
    pub(super) fn ask(&mut self, question: OwnVertex) {
        self.asked.push(question);
    }

    /// The questions that were noted.
    pub(super) fn take_asked(&mut self) -> Vec<OwnVertex> {
        std::mem::take(&mut self.asked)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty() && self.asked.is_empty()
    }

    /// `Err` with everything found, if anything was.
    pub(super) fn into_result(mut self, sources: &Sources<'_>) -> Result<(), JobFileError> {
        if self.found.is_empty() {
            return Ok(());
        }
        self.found.sort_by_key(|(place, _)| *place);
        self.found.dedup();
        let problems = self.found.into_iter().map(|(place, message)| Problem {
            source: sources.label(place.source),
            line: if place.source == 0 { place.line } else { 0 },
            column: if place.source == 0 { place.column } else { 0 },
            message: one_line(&message),
        });
        Err(JobFileError {
            problems: problems.collect(),
        })
    }
}

/// The names of what was read: the file and the overrides.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sources<'a> {
    pub(super) file: &'a str,
    pub(super) overrides: &'a [(String, String)],
}

impl Sources<'_> {
    fn label(&self, source: usize) -> String {
        match source
            .checked_sub(1)
            .and_then(|index| self.overrides.get(index))
        {
            Some((key, _)) => format!("--set {}", one_line(&shortened(key))),
            None => one_line(self.file),
        }
    }
}

/// A name from outside as it may stand in a message: in backquotes, short, on one line.
pub(super) fn quoted(name: &str) -> String {
    format!("`{}`", one_line(&shortened(name)))
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(QUOTED_CHARS_MAX) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

/// Control characters would break the promise of one line per problem.
fn one_line(text: &str) -> String {
    if !text.chars().any(char::is_control) {
        return text.to_owned();
    }
    text.chars()
        .map(|c| {
            if c.is_control() {
                char::REPLACEMENT_CHARACTER
            } else {
                c
            }
        })
        .collect()
}

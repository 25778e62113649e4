//! Names of one's own and how they are built; and what is said of them when a job is submitted.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::operator::AnyOperator;
use super::sink::AnySink;
use super::source::AnySource;
use super::two_phase::AnyTwoPhase;
use super::{Columns, Operator, Result, Setup, Sink, Source, TwoPhaseSink, in_one_line};
use crate::engine::{is_built_in, panic_text};

/// The longest name, in bytes.
const NAME_BYTES_MAX: usize = 64;
/// Names of all kinds that a worker tells the leader.
const NAMES_MAX: usize = 1000;

type Build<T> = Box<dyn Fn(&mut Setup) -> Result<Box<T>> + Send + Sync>;

/// What is said of a vertex.
type Describe = Box<dyn Fn(&Setup) -> Result<Described> + Send + Sync>;

/// How the part of a task that is one's own is built.
pub(crate) enum Make {
    Source(Build<dyn AnySource>),
    Operator(Build<dyn AnyOperator>),
    Sink(Build<dyn AnySink>),
    TwoPhase(Build<dyn AnyTwoPhase>),
}

impl Make {
    fn kind(&self) -> &'static str {
        match self {
            Self::Source(_) => "source",
            Self::Operator(_) => "operator",
            Self::Sink(_) | Self::TwoPhase(_) => "sink",
        }
    }
}

/// What the log has to know of a vertex of one's own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Described {
    /// Of what goes out; of a sink what comes in.
    pub(crate) columns: Columns,
    pub(crate) bounded: bool,
    pub(crate) zombie_safe: bool,
    /// Its output appears when the checkpoint that lists it is complete.
    pub(crate) two_phase: bool,
}

/// A name with all that belongs to it.
pub(crate) struct Entry {
    pub(crate) version: u32,
    pub(crate) make: Make,
    describe: Describe,
}

/// The names that a program adds to the built-in sources, operators and sinks. A name is 1 to 64 of
/// `a-z`, `0-9` and `-`, and none that is built in.
#[derive(Default)]
pub struct Registry {
    entries: BTreeMap<(&'static str, String), Entry>,
    problems: Vec<String>,
}

impl Registry {
    /// Adds `source: NAME`, built by `new` for each subtask.
    pub fn source<S: Source>(
        &mut self,
        name: &str,
        new: impl Fn(&mut Setup) -> Result<S> + Send + Sync + 'static,
    ) {
        let describe = |setup: &Setup| {
            Ok(Described {
                columns: S::schema(setup)?,
                bounded: S::bounded(setup)?,
                zombie_safe: true,
                two_phase: false,
            })
        };
        let make = Make::Source(Box::new(move |setup| Ok(Box::new(new(setup)?) as _)));
        self.add(name, S::VERSION, make, Box::new(describe));
    }

    /// Adds `operator: NAME`, built by `new` for each subtask.
    pub fn operator<O: Operator>(
        &mut self,
        name: &str,
        new: impl Fn(&mut Setup) -> Result<O> + Send + Sync + 'static,
    ) {
        let describe = |setup: &Setup| {
            Ok(Described {
                columns: O::schema(setup)?,
                bounded: true,
                zombie_safe: true,
                two_phase: false,
            })
        };
        let make = Make::Operator(Box::new(move |setup| Ok(Box::new(new(setup)?) as _)));
        self.add(name, O::VERSION, make, Box::new(describe));
    }

    /// Adds `sink: NAME`, built by `new` for each subtask.
    pub fn sink<S: Sink>(
        &mut self,
        name: &str,
        new: impl Fn(&mut Setup) -> Result<S> + Send + Sync + 'static,
    ) {
        let describe = |setup: &Setup| {
            S::check(setup)?;
            Ok(Described {
                columns: setup.input().clone(),
                bounded: true,
                zombie_safe: S::ZOMBIE_SAFE,
                two_phase: false,
            })
        };
        let make = Make::Sink(Box::new(move |setup| Ok(Box::new(new(setup)?) as _)));
        self.add(name, S::VERSION, make, Box::new(describe));
    }

    /// Adds `sink: NAME`, built by `new` for each subtask, whose output appears exactly once.
    pub fn two_phase_sink<S: TwoPhaseSink>(
        &mut self,
        name: &str,
        new: impl Fn(&mut Setup) -> Result<S> + Send + Sync + 'static,
    ) {
        let describe = |setup: &Setup| {
            S::check(setup)?;
            Ok(Described {
                columns: setup.input().clone(),
                bounded: true,
                zombie_safe: S::ZOMBIE_SAFE,
                two_phase: true,
            })
        };
        let make = Make::TwoPhase(Box::new(move |setup| Ok(Box::new(new(setup)?) as _)));
        self.add(name, S::VERSION, make, Box::new(describe));
    }

    fn add(&mut self, name: &str, version: u32, make: Make, describe: Describe) {
        let kind = make.kind();
        let key = (kind, name.to_owned());
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let problem = if !(1..=NAME_BYTES_MAX).contains(&name.len()) || !name.bytes().all(plain) {
            "a name is 1 to 64 of a-z, 0-9 and `-`"
        } else if is_built_in(kind, name) {
            "this name is built in; take another"
        } else if self.entries.contains_key(&key) {
            "the name is registered twice"
        } else if version == 0 {
            "versions begin with 1"
        } else if self.entries.len() == NAMES_MAX {
            "more than 1000 names are registered"
        } else {
            let entry = Entry {
                version,
                make,
                describe,
            };
            self.entries.insert(key, entry);
            return;
        };
        self.problems.push(format!("{kind} {name:?}: {problem}"));
    }

    /// What is wrong with the names, one line each. A program with such problems doesn't start.
    #[must_use]
    pub fn problems(&self) -> &[String] {
        &self.problems
    }

    pub(crate) fn find(&self, kind: &str, name: &str) -> Option<&Entry> {
        let found = self.entries.iter();
        let mut found = found.filter(|((of, known), _)| *of == kind && known == name);
        found.next().map(|(_, entry)| entry)
    }

    /// Kind, name and entry of each.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'static str, &str, &Entry)> {
        let entries = self.entries.iter();
        entries.map(|((kind, name), entry)| (*kind, name.as_str(), entry))
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.entries.keys()).finish()
    }
}

/// Asks the code what goes out of a vertex. A panic in it is an answer as well.
pub(crate) fn describe(entry: &Entry, setup: &Setup) -> Result<Described, String> {
    let asked = catch_unwind(AssertUnwindSafe(|| (entry.describe)(setup)));
    let described = match asked {
        Err(panic) => return Err(format!("panic: {}", panic_text(&*panic))),
        Ok(described) => described.map_err(|error| in_one_line(&error))?,
    };
    let checked = described.columns.check();
    checked.map_err(|error| in_one_line(&error))?;
    Ok(described)
}

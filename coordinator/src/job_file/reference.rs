//! Every key of the job file with its type and default, as the reference page (`docs/job-file.md`)
//! shows them. The tests hold each line against the parser: the keys are those it knows, and a default
//! that is written out makes no difference.

mod kafka;

use std::fmt::Write;

/// A key of a section.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// As it is written.
    pub name: &'static str,
    /// What may follow it.
    pub of: &'static str,
    /// What counts without it: a value in backquotes, or words.
    pub default: &'static str,
    /// What it is for.
    pub help: &'static str,
}

/// The keys of a part of the job file.
#[derive(Debug, Clone, Copy)]
pub struct Section {
    /// Its name on the page: `checkpointing`, `source files`.
    pub name: &'static str,
    /// In the order of the page.
    pub keys: &'static [Key],
}

const fn key(
    name: &'static str,
    of: &'static str,
    default: &'static str,
    help: &'static str,
) -> Key {
    Key {
        name,
        of,
        default,
        help,
    }
}

/// All of them, in the order of the page.
pub static SECTIONS: &[Section] = &[
    Section {
        name: "job",
        keys: &[
            key(
                "name",
                "1-128 letters, digits, `.`, `_`, `-`, spaces",
                "required",
                "for people; needn't be unique",
            ),
            key(
                "parallelism",
                "1-128",
                "`1`",
                "subtasks of each vertex that doesn't say otherwise",
            ),
            key("checkpointing", "map", "none", "see below"),
            key(
                "restart-strategy",
                "map",
                "see below",
                "what follows a failure",
            ),
            key(
                "vertices",
                "list of 1-1,000",
                "required",
                "see below; in any order",
            ),
        ],
    },
    Section {
        name: "checkpointing",
        keys: &[
            key(
                "interval",
                "duration, at least `10ms`",
                "none",
                "between the starts of two checkpoints; without it none are taken on the way",
            ),
            key(
                "timeout",
                "duration, at least `10ms`",
                "`10m`",
                "a checkpoint that takes longer is aborted",
            ),
            key(
                "min-pause",
                "duration",
                "`0s`",
                "between the end of one and the start of the next",
            ),
            key(
                "num-retained",
                "1-1,000",
                "`1`",
                "completed checkpoints that are kept",
            ),
            key(
                "tolerable-failed-checkpoints",
                "0 or more",
                "`0`",
                "failures in a row before the job fails and restarts",
            ),
            key(
                "externalized-checkpoint-retention",
                "see below",
                "`no-externalized-checkpoints`",
                "what stays when the job has ended",
            ),
        ],
    },
    Section {
        name: "restart-strategy none",
        keys: &[key(
            "type",
            "`none`",
            "without checkpoints",
            "the first failure fails the job",
        )],
    },
    Section {
        name: "restart-strategy fixed-delay",
        keys: &[
            key("type", "`fixed-delay`", "", "so many restarts, and no more"),
            key(
                "attempts",
                "1 or more",
                "`1`",
                "restarts before the job fails",
            ),
            key("delay", "duration", "`1s`", "before each restart"),
        ],
    },
    Section {
        name: "restart-strategy exponential-delay",
        keys: &[
            key(
                "type",
                "`exponential-delay`",
                "with checkpoints",
                "restarts without end, at growing distances",
            ),
            key(
                "initial-backoff",
                "duration, at least `1ms`",
                "`1s`",
                "before the first restart",
            ),
            key(
                "max-backoff",
                "duration, not below `initial-backoff`",
                "`1m`",
                "the longest, jitter included",
            ),
            key(
                "backoff-multiplier",
                "1-1,000",
                "`1.5`",
                "how much longer each backoff is than the one before",
            ),
            key(
                "jitter-factor",
                "0-1",
                "`0.1`",
                "the part of the backoff by which chance makes it longer or shorter",
            ),
            key(
                "reset-backoff-threshold",
                "duration, at least `1ms`",
                "`1h`",
                "after so long without a failure the next backoff is the initial one",
            ),
        ],
    },
    Section {
        name: "restart-strategy failure-rate",
        keys: &[
            key(
                "type",
                "`failure-rate`",
                "",
                "restarts unless failures are too dense",
            ),
            key(
                "max-failures-per-interval",
                "1-100",
                "`1`",
                "failures within the interval that are followed by a restart; one more fails the job",
            ),
            key(
                "failure-rate-interval",
                "duration, at least `1ms`",
                "`1m`",
                "how long a failure counts",
            ),
            key("delay", "duration", "`1s`", "before each restart"),
        ],
    },
    Section {
        name: "vertex",
        keys: &[
            key(
                "id",
                "1-64 of `a-z`, `0-9`, `-`",
                "required",
                "unique in the job",
            ),
            key(
                "source",
                "a name from the tables below",
                "one of three",
                "where rows come from",
            ),
            key(
                "operator",
                "a name from the tables below",
                "one of three",
                "what happens to them",
            ),
            key(
                "sink",
                "a name from the tables below",
                "one of three",
                "where they end up",
            ),
            key(
                "inputs",
                "list of 1-64 inputs",
                "required, none for sources",
                "where its rows come from",
            ),
            key("parallelism", "1-128", "the job's", "its subtasks"),
            key("with", "map", "empty", "the vertex's own keys"),
            key(
                "version",
                "whole number",
                "the highest that a worker offers",
                "only for [your own code](own-code.md), whose name stands where a built-in one would",
            ),
        ],
    },
    Section {
        name: "input",
        keys: &[
            key(
                "from",
                "id of a source or operator",
                "required",
                "whose rows come in",
            ),
            key(
                "partition",
                "`forward`, `hash`, `rebalance`, `broadcast`",
                "`forward`",
                "how rows are spread over the subtasks",
            ),
            key(
                "by",
                "list of columns",
                "required with `hash`, else not allowed",
                "equal values meet in one subtask",
            ),
        ],
    },
    Section {
        name: "source sequence",
        keys: &[
            key("start", "whole number", "`0`", "the first value"),
            key(
                "end",
                "whole number, not below `start`",
                "never ends",
                "one past the last value",
            ),
            key(
                "keys",
                "1 or more",
                "none",
                "adds the column `key = value % keys`",
            ),
            key(
                "rate",
                "number above 0",
                "unlimited",
                "rows per second of the whole vertex",
            ),
        ],
    },
    Section {
        name: "source files",
        keys: &[
            key(
                "path",
                "path",
                "required",
                "a file, a directory (not its subdirectories, nor names that begin with `.` or `_`) or a glob (`*`, `?`, `[..]`)",
            ),
            key(
                "format",
                "`csv`, `json-lines`",
                "required",
                "`csv` with a header line; or one JSON object a line",
            ),
            key(
                "columns",
                "map, name: type",
                "required",
                "what is read; types `int64`, `float64`, `utf8`, `boolean`, `timestamp`",
            ),
            key(
                "on-error",
                "`fail`, `skip`",
                "`fail`",
                "a row that doesn't parse fails the job, naming file and line, or is skipped and counted",
            ),
            key(
                "rate",
                "number above 0",
                "unlimited",
                "rows per second of the whole vertex",
            ),
            key(
                "discovery-interval",
                "duration, at least `10ms`",
                "none",
                "the source never ends: it looks this often for new files, and reads them",
            ),
        ],
    },
    Section {
        name: "source kafka",
        keys: kafka::SOURCE,
    },
    Section {
        name: "operator filter",
        keys: &[key(
            "where",
            "a condition, see below",
            "required",
            "the rows for which it holds pass",
        )],
    },
    Section {
        name: "operator select",
        keys: &[key(
            "columns",
            "list of columns, or `{ column: new-name }`",
            "required",
            "what passes, in this order",
        )],
    },
    Section {
        name: "operator aggregate",
        keys: &[
            key(
                "group-by",
                "list of columns, at least one",
                "required",
                "what the rows of a group have in common",
            ),
            key(
                "compute",
                "map, name: `{ function: column }`",
                "required",
                "at least one",
            ),
            key(
                "emit",
                "`final`, `changes`",
                "`final` for input that ends or a `window`, else it must be named",
                "each group's last row when its input or window ends, or its new row after each change",
            ),
            key("window", "map", "none", "groups by time as well, see below"),
        ],
    },
    Section {
        name: "window",
        keys: &[
            key(
                "tumbling",
                "duration, at least `1ms`",
                "required",
                "length of a window; windows begin at multiples of it since 1970-01-01T00:00:00Z",
            ),
            key("time", "a timestamp column", "required", "the rows' time"),
            key(
                "lateness",
                "duration",
                "`0s`",
                "how long a window stays open after the watermark has reached its end",
            ),
            key(
                "idle-timeout",
                "duration, at least `1ms`",
                "none",
                "a source subtask (of `kafka`: a partition that is read up to its end) without rows for so long holds no window back",
            ),
        ],
    },
    Section {
        name: "sink files",
        keys: &[
            key(
                "path",
                "path",
                "required",
                "not shared with another sink, nor read by a source of the job",
            ),
            key(
                "format",
                "`csv`, `json-lines`",
                "required",
                "`csv`: header line; null is an empty field. `json-lines`: one object a line; null, NaN and infinities are missing keys",
            ),
            key(
                "delivery",
                "`exactly-once`, `at-least-once`",
                "`exactly-once`",
                "exactly-once output appears when the checkpoint that lists it is complete; at-least-once output within 5 s, and rows may be there again after a restart",
            ),
            key(
                "if-exists",
                "`refuse`, `append`, `replace`",
                "`refuse`",
                "what becomes of files that are there before the job's first attempt",
            ),
        ],
    },
    Section {
        name: "sink kafka",
        keys: kafka::SINK,
    },
    Section {
        name: "sink blackhole",
        keys: &[],
    },
    Section {
        name: "sink print",
        keys: &[],
    },
];

/// The page with its tables written anew, each between `<!-- keys: NAME -->` and `<!-- /keys -->`.
///
/// # Errors
/// A marker that names no section or isn't closed; a section with keys that the page doesn't show.
pub fn fill_in(page: &str) -> Result<String, String> {
    let mut filled = String::new();
    let mut rest = page;
    let mut shown = Vec::new();
    while let Some((before, after)) = rest.split_once("<!-- keys: ") {
        let (name, after) = after.split_once(" -->").ok_or("a marker isn't closed")?;
        let (_, after) = after
            .split_once("<!-- /keys -->")
            .ok_or_else(|| format!("the table of {name} has no end"))?;
        let section = SECTIONS.iter().find(|section| section.name == name);
        let section = section.ok_or_else(|| format!("there is no section {name}"))?;
        let table = table(section);
        filled.push_str(&format!(
            "{before}<!-- keys: {name} -->\n{table}<!-- /keys -->"
        ));
        shown.push(name);
        rest = after;
    }
    let mut missing = SECTIONS.iter().filter(|section| !section.keys.is_empty());
    match missing.find(|section| !shown.contains(&section.name)) {
        Some(section) => Err(format!("the page has no table of {}", section.name)),
        None => Ok(filled + rest),
    }
}

fn table(section: &Section) -> String {
    let mut table = String::from("| key | type | default | |\n| --- | --- | --- | --- |\n");
    for Key {
        name,
        of,
        default,
        help,
    } in section.keys
    {
        writeln!(table, "| `{name}` | {of} | {default} | {help} |").expect("strings take all");
    }
    table
}

#[cfg(test)]
mod tests;

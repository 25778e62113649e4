//! Configuration of the built-in sources, operators and sinks, as it travels in
//! `VertexPlan.config_json`. The JobManager writes it from a checked job file (defaults filled in,
//! paths absolute); the TaskManager reads it. Checking and messages belong to the job file's parser.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Type of a column. The names are the job file's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ColumnType {
    /// 64-bit signed integer.
    Int64,
    /// 64-bit floating point.
    Float64,
    /// UTF-8 text.
    Utf8,
    /// `true` or `false`.
    Boolean,
    /// Microseconds since the epoch, UTC; RFC 3339 in text.
    Timestamp,
}

impl ColumnType {
    /// The job file's name of the type.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Int64 => "int64",
            Self::Float64 => "float64",
            Self::Utf8 => "utf8",
            Self::Boolean => "boolean",
            Self::Timestamp => "timestamp",
        }
    }

    /// The type of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [
            Self::Int64,
            Self::Float64,
            Self::Utf8,
            Self::Boolean,
            Self::Timestamp,
        ]
        .into_iter()
        .find(|t| t.name() == name)
    }
}

/// A named, typed column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnSpec {
    /// Name in the file's header or of the computed value.
    pub name: String,
    /// Its type.
    pub data_type: ColumnType,
}

/// `source: sequence`: rows `{value: int64, at: timestamp}`, with `keys` also `key = value % keys`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SequenceSpec {
    /// First value.
    pub start: i64,
    /// One past the last value; absent: unbounded.
    pub end: Option<i64>,
    /// Rows per second of the whole vertex; absent: unlimited.
    pub rate: Option<f64>,
    /// Adds the column `key = value % keys`.
    pub keys: Option<i64>,
}

/// Text format of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileFormat {
    /// Comma-separated values with a header line.
    Csv,
    /// One JSON object a line.
    JsonLines,
}

/// What to do with a row that doesn't parse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnError {
    /// Fail the task, naming file and line.
    Fail,
    /// Skip the row and count it.
    Skip,
}

/// `source: files`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct FilesSourceSpec {
    /// A file, a directory (not recursive) or a glob; absolute.
    pub path: String,
    /// Format of the files.
    pub format: FileFormat,
    /// Unparsable rows.
    pub on_error: OnError,
    /// Rows per second of the whole vertex; absent: unlimited.
    pub rate: Option<f64>,
    /// Columns to read, in job-file order.
    pub columns: Vec<ColumnSpec>,
    /// The source never ends: it looks for new files so often. Absent: the files of the first start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discovery_interval_ms: Option<u64>,
}

/// What a Kafka message's value holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MessageFormat {
    /// One JSON object.
    JsonLines,
    /// One CSV record, without a header.
    Csv,
    /// The value as it is: one utf8 column.
    Raw,
}

/// Where a Kafka source begins that has no state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KafkaStart {
    /// With the oldest message of each partition.
    Earliest,
    /// With the next message that is written.
    Latest,
    /// With these offsets, by partition; partitions that aren't named: earliest.
    Offsets(BTreeMap<i32, i64>),
}

/// `source: kafka`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct KafkaSourceSpec {
    /// `host:port,host:port`.
    pub brokers: String,
    /// The topic.
    pub topic: String,
    /// Consumer group whose offsets follow the completed checkpoints, for people to see.
    pub group: Option<String>,
    /// Format of the messages.
    pub format: MessageFormat,
    /// Columns to read, in job-file order.
    pub columns: Vec<ColumnSpec>,
    /// Where to begin without state.
    pub start: KafkaStart,
    /// The source ends at the offsets that it found when it started first.
    pub bounded: bool,
    /// Messages that don't parse.
    pub on_error: OnError,
    /// Rows per second of the whole vertex; absent: unlimited.
    pub rate: Option<f64>,
    /// How often new partitions are looked for.
    pub discovery_interval_ms: u64,
    /// How long no broker may answer before the task fails.
    pub broker_timeout_ms: u64,
}

/// A literal of the job file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Literal {
    /// `true`, `false`.
    Boolean(bool),
    /// A whole number.
    Int(i64),
    /// A number with a fraction or exponent.
    Float(f64),
    /// Text; for timestamps RFC 3339.
    Text(String),
}

/// Comparison of a predicate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CompareOp {
    /// `=`
    #[serde(rename = "=")]
    Eq,
    /// `!=`
    #[serde(rename = "!=")]
    Ne,
    /// `<`
    #[serde(rename = "<")]
    Lt,
    /// `<=`
    #[serde(rename = "<=")]
    Le,
    /// `>`
    #[serde(rename = ">")]
    Gt,
    /// `>=`
    #[serde(rename = ">=")]
    Ge,
}

/// `where` of a filter. A comparison with null is false (so is its `not`'s operand, before negation).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Predicate {
    /// Column compared with a literal.
    Compare {
        /// Column name.
        column: String,
        /// Operator.
        op: CompareOp,
        /// Right-hand side.
        value: Literal,
    },
    /// Column is null.
    IsNull {
        /// Column name.
        column: String,
    },
    /// Column is not null.
    NotNull {
        /// Column name.
        column: String,
    },
    /// Column equals one of the literals.
    In {
        /// Column name.
        column: String,
        /// The literals.
        values: Vec<Literal>,
    },
    /// Every part holds.
    All(Vec<Predicate>),
    /// At least one part holds.
    Any(Vec<Predicate>),
    /// The part doesn't hold.
    Not(Box<Predicate>),
}

/// `operator: filter`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct FilterSpec {
    /// Rows for which it holds pass.
    pub predicate: Predicate,
}

/// One column of a `select`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SelectColumn {
    /// Column of the input.
    pub column: String,
    /// Its name in the output.
    pub name: String,
}

/// `operator: select`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SelectSpec {
    /// The output's columns, in job-file order.
    pub columns: Vec<SelectColumn>,
}

/// Aggregate function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Function {
    /// Rows (`*`) or non-null values.
    Count,
    /// Sum; of int64 it is int64 and overflow fails the job.
    Sum,
    /// Smallest value.
    Min,
    /// Largest value.
    Max,
    /// Mean, float64.
    Avg,
}

/// One computed column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComputeSpec {
    /// Name of the result.
    pub name: String,
    /// Function.
    pub function: Function,
    /// Input column; `None` is `*` (count only).
    pub column: Option<String>,
}

/// When an aggregate emits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Emit {
    /// Each key's last row, at the end of input.
    Final,
    /// The key's new row after each change.
    Changes,
}

/// `operator: aggregate`, keyed and running.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct AggregateSpec {
    /// Key columns, in job-file order.
    pub group_by: Vec<String>,
    /// When rows are emitted.
    pub emit: Emit,
    /// Computed columns, in job-file order.
    pub compute: Vec<ComputeSpec>,
    /// Rows are grouped by time as well; absent: the whole input is one window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<WindowSpec>,
}

/// Tumbling windows of event time. The output has `window_start` and `window_end` as well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct WindowSpec {
    /// Length of a window; windows begin at multiples of it since the epoch.
    pub tumbling_ms: u64,
    /// The timestamp column that is the rows' time.
    pub time: String,
    /// How long after its end a window stays open for rows that come late.
    pub lateness_ms: u64,
}

/// What makes a vertex bring forth watermarks: the key `event-time` beside its own configuration,
/// whatever the vertex is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct EventTimeSpec {
    /// Timestamp column of its output.
    pub column: String,
    /// A subtask without rows for so long holds no watermark back; absent: it does for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_timeout_ms: Option<u64>,
}

/// What a files sink does with final files already below its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IfExists {
    /// Refuse the job.
    Refuse,
    /// Add files beside them.
    Append,
    /// Delete them before the first attempt.
    Replace,
}

/// Delivery guarantee of a sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Delivery {
    /// Two-phase: output appears when the checkpoint that lists it is complete.
    ExactlyOnce,
    /// Output appears as it is written.
    AtLeastOnce,
}

/// `sink: files`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct FilesSinkSpec {
    /// Directory; absolute.
    pub path: String,
    /// Format of the files.
    pub format: FileFormat,
    /// Guarantee.
    pub delivery: Delivery,
    /// Existing files.
    pub if_exists: IfExists,
}

/// `sink: kafka`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct KafkaSinkSpec {
    /// `host:port,host:port`.
    pub brokers: String,
    /// The topic.
    pub topic: String,
    /// Format of the messages.
    pub format: MessageFormat,
    /// Column whose text is the message's key.
    pub key: Option<String>,
    /// Guarantee.
    pub delivery: Delivery,
    /// Exactly-once: the directory in which messages wait for their checkpoint; absolute.
    pub staging: Option<String>,
    /// How long brokers may fail to take a message or a transaction before the task fails.
    pub broker_timeout_ms: u64,
}

/// `sink: blackhole`: counts and drops.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlackholeSpec {}

/// `sink: print`: each row a line of the worker's log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrintSpec {}

/// Configuration of the user's own code: what the framework has to know, and what only the code
/// understands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct OwnSpec {
    /// Version of the code that the job was submitted with.
    pub version: u32,
    /// The job file's `with`, as it is.
    pub with: serde_json::Value,
}

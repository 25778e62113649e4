//! Reads one split batch by batch: opens the file at its position, finds the columns, parses rows.
//! Runs on blocking threads; rates and the order of splits belong to the source.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use regent_protocol::spec::{FileFormat, FilesSourceSpec, OnError};

use super::chunks::{Chunks, RECORD_BYTES_MAX};
use super::columns::{Cell, Columns, parse, schema};
use super::csv::{Field, Scan, scan};
use super::input::Input;
use super::json;
use super::position::SplitPosition;
use crate::engine::error::TaskError;
use crate::engine::remote::Remote;
use crate::engine::sources::skips::Skips;

/// A batch ends after this many bytes of the file, whatever its rows.
const BATCH_BYTES: u64 = 4 * 1024 * 1024;

/// Of a header that lacks a column: names that are told, and their length.
const HEADER_NAMES: usize = 1_000;
const HEADER_NAME_BYTES: usize = 64;

const BOM: &[u8] = b"\xef\xbb\xbf";

/// What all splits of a source have in common.
#[derive(Debug)]
pub(super) struct ReadPlan {
    pub(super) spec: FilesSourceSpec,
    pub(super) schema: SchemaRef,
    vertex: String,
    /// Buckets, where splits may lie.
    remote: Option<Remote>,
    skips: Mutex<Skips>,
}

impl ReadPlan {
    pub(super) fn new(spec: FilesSourceSpec, vertex: &str, remote: Option<Remote>) -> Self {
        Self {
            schema: schema(&spec.columns),
            spec,
            vertex: vertex.to_owned(),
            remote,
            skips: Mutex::default(),
        }
    }

    /// A row is skipped: the log names some of them.
    fn skip(&self, position: &SplitPosition, why: &str) {
        let mut skips = self.skips.lock().unwrap_or_else(PoisonError::into_inner);
        let place = format_args!("{}:{}", position.path, position.line);
        skips.skip(&self.vertex, place, why);
    }
}

/// An open split.
#[derive(Debug)]
pub(super) struct SplitReader {
    plan: Arc<ReadPlan>,
    position: SplitPosition,
    chunks: Chunks,
    /// CSV: how many fields the header has, and which of them is each column.
    width: usize,
    mapping: Vec<usize>,
    fields: Vec<Field>,
    row: Vec<Cell>,
}

/// A record that can't be used, and why.
struct BadRow(String);

impl SplitReader {
    /// Opens the file where the position says.
    pub(super) fn open(plan: Arc<ReadPlan>, position: SplitPosition) -> Result<Self, TaskError> {
        let path = Path::new(&position.path);
        let opened = Input::open(&position.path, plan.remote.as_ref());
        let input = opened.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => TaskError::task(format!(
                "{} vanished: it had {} bytes when {}",
                position.path,
                position.length,
                first_seen(&position)
            )),
            _ => TaskError::io("opening", path, &error),
        })?;
        let fail = |error: io::Error| TaskError::io("reading", path, &error);
        let length = input.length().map_err(fail)?;
        check_length(&position, length)?;
        let mut reader = Self {
            chunks: Chunks::new(input.another().map_err(fail)?, 0).map_err(fail)?,
            plan,
            position,
            width: 0,
            mapping: Vec::new(),
            fields: Vec::new(),
            row: Vec::new(),
        };
        reader.read_header()?;
        if reader.position.offset > 0 {
            let offset = reader.position.offset;
            let path = Path::new(&reader.position.path);
            reader.chunks = Chunks::new(input, offset)
                .map_err(|error| TaskError::io("reading", path, &error))?;
        } else {
            reader.position.offset = reader.chunks.offset();
        }
        Ok(reader)
    }

    pub(super) fn position(&self) -> &SplitPosition {
        &self.position
    }

    /// Reads up to `rows` rows. Fewer come at the end of the file and of a bulky stretch; `None` is
    /// a stretch without any.
    pub(super) fn read(&mut self, rows: usize) -> Result<Option<RecordBatch>, TaskError> {
        let mut columns = Columns::new(&self.plan.spec.columns, rows);
        let begin = self.position.offset;
        while columns.rows() < rows
            && !self.position.done
            && self.position.offset - begin < BATCH_BYTES
        {
            self.record(&mut columns)?;
        }
        self.notice_end()?;
        if columns.rows() == 0 {
            return Ok(None);
        }
        columns.finish(&self.plan.schema).map(Some)
    }

    /// Finds out whether anything is left, so that the end is told with the last rows and not when
    /// the next row would be due.
    fn notice_end(&mut self) -> Result<(), TaskError> {
        if !self.chunks.window().is_empty() || self.position.done {
            return Ok(());
        }
        match self.scan_whole()? {
            Scan::End => self.finish(),
            _ => Ok(()),
        }
    }

    /// Reads one record or blank line, or finds the end.
    fn record(&mut self, columns: &mut Columns) -> Result<(), TaskError> {
        let (bytes, lines, bad) = match self.scan_whole()? {
            Scan::Blank { bytes } => {
                self.advance(bytes, 1);
                return Ok(());
            }
            Scan::End | Scan::More => return self.finish(),
            Scan::Record {
                bytes,
                lines,
                malformed,
            } => (bytes, lines, malformed),
        };
        let parsed = match bad {
            Some(reason) => Err(BadRow(reason.to_owned())),
            None => self.parse_record(bytes),
        };
        match parsed {
            Ok(()) => {
                columns.append(&self.row);
                self.position.rows += 1;
            }
            Err(bad) => self.reject(&bad)?,
        }
        self.advance(bytes, lines);
        Ok(())
    }

    /// Scans the next record, reading on until it is whole.
    fn scan_whole(&mut self) -> Result<Scan, TaskError> {
        loop {
            let window = self.chunks.window();
            let last = self.chunks.eof();
            let scanned = match self.plan.spec.format {
                FileFormat::Csv => scan(window, last, &mut self.fields),
                FileFormat::JsonLines => json::scan(window, last),
            };
            let length = match scanned {
                Scan::Record { bytes, .. } => bytes,
                Scan::More => window.len(),
                Scan::Blank { .. } | Scan::End => 0,
            };
            if length > RECORD_BYTES_MAX {
                return Err(self.error_here(&format!(
                    "the record is longer than {RECORD_BYTES_MAX} bytes (a quote may be missing)"
                )));
            }
            if scanned != Scan::More {
                return Ok(scanned);
            }
            self.chunks.grow().map_err(|error| {
                TaskError::io("reading", Path::new(&self.position.path), &error)
            })?;
        }
    }

    fn parse_record(&mut self, bytes: usize) -> Result<(), BadRow> {
        match self.plan.spec.format {
            FileFormat::Csv => self.parse_csv(),
            FileFormat::JsonLines => {
                let line = &self.chunks.window()[..bytes];
                json::parse_line(line, &self.plan.spec.columns, &mut self.row).map_err(BadRow)
            }
        }
    }

    fn parse_csv(&mut self) -> Result<(), BadRow> {
        if self.fields.len() != self.width {
            return Err(BadRow(format!(
                "{} fields where the header has {}",
                self.fields.len(),
                self.width
            )));
        }
        self.row.clear();
        let window = self.chunks.window();
        for (column, at) in self.plan.spec.columns.iter().zip(&self.mapping) {
            let content = self.fields[*at].content(window);
            let cell = parse(column.data_type, &content).ok_or_else(|| {
                let shown: String = String::from_utf8_lossy(&content).chars().take(40).collect();
                let kind = column.data_type.name();
                BadRow(format!("column {}: {shown:?} is not {kind}", column.name))
            })?;
            self.row.push(cell);
        }
        Ok(())
    }

    fn reject(&mut self, bad: &BadRow) -> Result<(), TaskError> {
        match self.plan.spec.on_error {
            OnError::Fail => Err(self.error_here(&bad.0)),
            OnError::Skip => {
                self.position.skipped += 1;
                self.plan.skip(&self.position, &bad.0);
                Ok(())
            }
        }
    }

    fn error_here(&self, what: &str) -> TaskError {
        TaskError::task(format!(
            "{}:{}: {what}",
            self.position.path, self.position.line
        ))
    }

    fn advance(&mut self, bytes: usize, lines: u64) {
        self.chunks.consume(bytes);
        self.position.offset = self.chunks.offset();
        self.position.line += lines;
    }

    /// The file ends here; it must not end earlier than when the job started.
    fn finish(&mut self) -> Result<(), TaskError> {
        check_length(&self.position, self.position.offset)?;
        self.position.done = true;
        Ok(())
    }

    /// Skips a byte order mark; in CSV reads the header line and finds the columns in it.
    fn read_header(&mut self) -> Result<(), TaskError> {
        let fail = |path: &str, error: io::Error| TaskError::io("reading", Path::new(path), &error);
        self.chunks
            .grow()
            .map_err(|error| fail(&self.position.path, error))?;
        if self.chunks.window().starts_with(BOM) {
            self.chunks.consume(BOM.len());
        }
        if self.plan.spec.format == FileFormat::JsonLines {
            return Ok(());
        }
        let mut line = 1;
        loop {
            match self.scan_whole()? {
                Scan::Blank { bytes } => {
                    self.chunks.consume(bytes);
                    line += 1;
                }
                Scan::Record { bytes, lines, .. } => {
                    self.map_columns()?;
                    self.chunks.consume(bytes);
                    if self.position.offset == 0 {
                        self.position.line = line + lines;
                    }
                    return Ok(());
                }
                Scan::End | Scan::More => {
                    let path = &self.position.path;
                    return Err(TaskError::task(format!("{path}: no header line")));
                }
            }
        }
    }

    fn map_columns(&mut self) -> Result<(), TaskError> {
        let window = self.chunks.window();
        let header: Vec<_> = self.fields.iter().map(|f| f.content(window)).collect();
        let find = |name: &str| -> Result<usize, TaskError> {
            let mut places = (0..header.len()).filter(|at| header[*at] == name.as_bytes());
            match (places.next(), places.next()) {
                (Some(at), None) => Ok(at),
                (None, _) => Err(self.no_column(name, &header)),
                _ => Err(self.header_error(&format!("column {name} is there twice"))),
            }
        };
        let columns = &self.plan.spec.columns;
        let mapping: Result<Vec<usize>, _> = columns.iter().map(|c| find(&c.name)).collect();
        self.mapping = mapping?;
        self.width = header.len();
        Ok(())
    }

    fn no_column<B: AsRef<[u8]>>(&self, name: &str, header: &[B]) -> TaskError {
        let names = header
            .iter()
            .filter_map(|one| std::str::from_utf8(one.as_ref()).ok());
        let usual = names.filter(|one| (1..=HEADER_NAME_BYTES).contains(&one.len()));
        let error = self.header_error(&format!("there is no column {name}"));
        TaskError::NoColumn {
            message: error.to_string(),
            column: name.to_owned(),
            header: usual.take(HEADER_NAMES).map(str::to_owned).collect(),
        }
    }

    fn header_error(&self, what: &str) -> TaskError {
        TaskError::task(format!("{}: {what} in the header line", self.position.path))
    }
}

/// When the length of a file was taken.
fn first_seen(position: &SplitPosition) -> &'static str {
    if position.followed {
        "it was found"
    } else {
        "the job started"
    }
}

fn check_length(position: &SplitPosition, length: u64) -> Result<(), TaskError> {
    if length < position.length {
        return Err(TaskError::task(format!(
            "{} shrank: it had {} bytes when {}, now {length}",
            position.path,
            position.length,
            first_seen(position)
        )));
    }
    Ok(())
}

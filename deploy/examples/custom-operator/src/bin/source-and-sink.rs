//! A program with a source and a sink of one's own: readings of sensors from files, a position in each
//! as state and their times as watermarks; and a journal to which every row is written at least once.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use regent::arrow::array::{Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use regent::{ColumnType, Columns, ListState, Next, Result, Setup, Sink, Source, testing::lines};

/// Rows that are handed out at once.
const ROWS: usize = 20;

/// What stands in the job file's `with`.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct ReadFrom {
    folder: PathBuf,
    /// Between rows and the next.
    #[serde(default)]
    pause_ms: u64,
}

/// A file of lines such as `1700000000000000,boiler,93`, in the order of their times, and how far it was read.
#[derive(serde::Serialize, serde::Deserialize)]
struct Part {
    path: PathBuf,
    bytes: u64,
    /// Time of the last row, in microseconds.
    at: Option<i64>,
}

impl Part {
    /// The rows that follow; none at the end.
    fn read(&mut self) -> Result<Vec<(i64, String, i64)>> {
        let mut file = BufReader::new(File::open(&self.path)?);
        file.seek(SeekFrom::Start(self.bytes))?;
        let mut rows = Vec::new();
        for line in file.lines().take(ROWS) {
            let line = line?;
            let row = reading(&line);
            let (path, bytes) = (self.path.display(), self.bytes);
            let row = row.ok_or_else(|| format!("{path}: byte {bytes}: no TIME,SENSOR,VALUE"))?;
            self.bytes += line.len() as u64 + 1;
            self.at = Some(row.0);
            rows.push(row);
        }
        Ok(rows)
    }
}

fn reading(line: &str) -> Option<(i64, String, i64)> {
    let (at, rest) = line.split_once(',')?;
    let (sensor, value) = rest.split_once(',')?;
    Some((at.parse().ok()?, sensor.to_owned(), value.parse().ok()?))
}

struct Readings {
    parts: ListState<Part>,
    pause: Duration,
    /// What comes behind the rows that were handed out last; the last of it first.
    then: Vec<Next>,
}

impl Readings {
    fn new(setup: &mut Setup) -> Result<Self> {
        let ReadFrom { folder, pause_ms } = setup.config()?;
        let parts = setup.list("parts")?;
        if !setup.is_restored() {
            let files: Result<Vec<_>, _> = fs::read_dir(folder)?.collect();
            let mut paths: Vec<_> = files?.iter().map(|file| file.path()).collect();
            paths.sort();
            let (first, step) = (setup.subtask() as usize, setup.parallelism() as usize);
            let (bytes, at) = (0, None);
            let mine = paths.into_iter().skip(first).step_by(step);
            parts
                .items()
                .extend(mine.map(|path| Part { path, bytes, at }));
        }
        let (pause, then) = (Duration::from_millis(pause_ms), Vec::new());
        Ok(Self { parts, pause, then })
    }
}

impl Source for Readings {
    // A window behind it goes by its watermarks.
    const TELLS_TIME: bool = true;

    fn schema(setup: &Setup) -> Result<Columns> {
        setup.config::<ReadFrom>()?;
        Ok(Columns::of([
            ("at", ColumnType::Timestamp),
            ("sensor", ColumnType::Utf8),
            ("value", ColumnType::Int64),
        ]))
    }

    fn bounded(_: &Setup) -> Result<bool> {
        Ok(true)
    }

    async fn next(&mut self) -> Result<Next> {
        if let Some(next) = self.then.pop() {
            return Ok(next);
        }
        let mut parts = self.parts.items();
        // The file that is behind the others goes on, so that none holds the watermark back for long.
        while let Some(behind) = (0..parts.len()).min_by_key(|part| parts[*part].at) {
            let rows = parts[behind].read()?;
            if rows.is_empty() {
                parts.remove(behind);
                continue;
            }
            self.then.push(Next::Wait(self.pause));
            let earliest = parts.iter().map(|part| part.at).min();
            self.then.extend(earliest.flatten().map(Next::Watermark));
            let times = rows.iter().map(|row| row.0);
            let values = rows.iter().map(|row| row.2);
            return Ok(Next::Rows(vec![
                Arc::new(TimestampMicrosecondArray::from_iter_values(times)),
                Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row.1))),
                Arc::new(Int64Array::from_iter_values(values)),
            ]));
        }
        Ok(Next::End)
    }
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct WriteTo {
    folder: PathBuf,
}

/// A file of lines for each subtask. Who reads it takes a line that is there twice for one.
struct Journal {
    file: File,
}

impl Journal {
    fn new(setup: &mut Setup) -> Result<Self> {
        let WriteTo { folder } = setup.config()?;
        fs::create_dir_all(&folder)?;
        let path = folder.join(format!("{}.csv", setup.subtask()));
        let mut open = OpenOptions::new();
        let mut file = open.create(true).read(true).append(true).open(path)?;
        File::open(folder)?.sync_all()?;
        // Who wrote to it before may have been killed within a line. That row comes again.
        let mut text = Vec::new();
        file.read_to_end(&mut text)?;
        let whole = text.iter().rposition(|byte| *byte == b'\n');
        file.set_len(whole.map_or(0, |end| end as u64 + 1))?;
        Ok(Self { file })
    }
}

impl Sink for Journal {
    fn check(setup: &Setup) -> Result<()> {
        setup.config::<WriteTo>().map(|_| ())
    }

    async fn write(&mut self, rows: RecordBatch) -> Result<()> {
        let text = lines(&[rows])?.join("\n") + "\n";
        Ok(self.file.write_all(text.as_bytes())?)
    }

    async fn flush(&mut self) -> Result<()> {
        Ok(self.file.sync_data()?)
    }
}

fn main() -> ExitCode {
    regent::main(|registry| {
        registry.source("readings", Readings::new);
        registry.sink("journal", Journal::new);
    })
}

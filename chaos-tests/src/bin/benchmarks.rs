//! `benchmarks MEASURES DOCUMENT COMMAND`: writes the rows that tests appended to MEASURES into the section
//! "Takeover" of DOCUMENT, with the machine that they were measured on. Measures nothing but the disk.

use std::fs;
use std::process::ExitCode;

use regent_chaos::measure::{Row, syncs, wall};
use regent_chaos::table::{Machine, day, replaced, section};

const TITLE: &str = "Takeover";
const EMPTY: &str = "# Benchmarks\n\nWhat was measured, on what, and by which command.\n";

fn main() -> ExitCode {
    match collect() {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn collect() -> Result<String, String> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [measures, document, command] = words.as_slice() else {
        return Err("usage: benchmarks MEASURES DOCUMENT COMMAND".to_owned());
    };
    let read = fs::read_to_string(measures).map_err(|error| format!("{measures}: {error}"))?;
    let row = |line: &str| serde_json::from_str::<Row>(line);
    let rows: Result<Vec<Row>, _> = read.lines().map(row).collect();
    let rows = rows.map_err(|error| format!("{measures}: {error}"))?;
    let text = section(TITLE, &machine(command)?, &rows);
    let before = fs::read_to_string(document).unwrap_or_else(|_| EMPTY.to_owned());
    fs::write(document, replaced(&before, TITLE, &text))
        .map_err(|error| format!("{document}: {error}"))?;
    Ok(text)
}

fn machine(command: &str) -> Result<Machine, String> {
    let line = |path: &str, word: usize| {
        let text = fs::read_to_string(path).unwrap_or_default();
        let found = text.split_whitespace().nth(word).unwrap_or("unknown");
        found.to_owned()
    };
    let folder = tempfile::tempdir().map_err(|error| format!("a temporary folder: {error}"))?;
    let sync = syncs(folder.path()).row("none", "sync");
    Ok(Machine {
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        kernel: line("/proc/sys/kernel/osrelease", 0),
        load: line("/proc/loadavg", 2),
        sync: sync.ok_or("nothing was synced")?,
        date: day(wall().as_secs()),
        command: command.to_owned(),
    })
}

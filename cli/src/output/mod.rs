//! What goes to stdout: one document, as a table, JSON or YAML. Everything else goes to stderr.

pub(crate) mod table;
pub(crate) mod words;

use std::io::{ErrorKind, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;

use crate::args::OutputFormat;
use crate::failure::Failure;

/// Clears the screen of a terminal.
const CLEAR: &str = "\x1b[2J\x1b[H";

static READER_GONE: AtomicBool = AtomicBool::new(false);

/// Prints a document, or the text that stands for it in the format `table`.
pub(crate) fn print<T: Serialize>(
    format: OutputFormat,
    document: &T,
    text: impl FnOnce(&T) -> String,
) -> Result<(), Failure> {
    write_stdout(&render(format, document, text)?)
}

/// The document as `print` would write it, ending in a line break.
pub(crate) fn render<T: Serialize>(
    format: OutputFormat,
    document: &T,
    text: impl FnOnce(&T) -> String,
) -> Result<String, Failure> {
    let mut rendered = match format {
        OutputFormat::Table => text(document),
        OutputFormat::Json => serde_json::to_string_pretty(document)
            .map_err(|e| Failure::failed(format!("the answer can't be written as JSON: {e}")))?,
        OutputFormat::Yaml => serde_saphyr::to_string(document)
            .map_err(|e| Failure::failed(format!("the answer can't be written as YAML: {e}")))?,
    };
    if !rendered.is_empty() && !rendered.ends_with('\n') {
        rendered.push('\n');
    }
    Ok(rendered)
}

/// Prints one picture of a series: JSON one a line, YAML with separators, tables with an empty line
/// between, or in place on a terminal.
pub(crate) fn print_next<T: Serialize>(
    format: OutputFormat,
    document: &T,
    text: impl FnOnce(&T) -> String,
) -> Result<(), Failure> {
    let rendered = match format {
        OutputFormat::Json => {
            let line = serde_json::to_string(document).map_err(|e| {
                Failure::failed(format!("the answer can't be written as JSON: {e}"))
            })?;
            format!("{line}\n")
        }
        OutputFormat::Yaml => format!("---\n{}", render(format, document, text)?),
        OutputFormat::Table => {
            let screen = render(format, document, text)?;
            match std::io::stdout().is_terminal() {
                true => format!("{CLEAR}{screen}"),
                false => format!("{screen}\n"),
            }
        }
    };
    write_stdout(&rendered)
}

/// Writes to stdout. A reader that went away is no failure.
pub(crate) fn write_stdout(text: &str) -> Result<(), Failure> {
    write_stdout_bytes(text.as_bytes())
}

/// The same for bytes that may not be text.
pub(crate) fn write_stdout_bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    let written = stdout.write_all(bytes).and_then(|()| stdout.flush());
    match written {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == ErrorKind::BrokenPipe => {
            READER_GONE.store(true, Ordering::Relaxed);
            Ok(())
        }
        Err(e) => Err(Failure::failed(format!("stdout can't be written: {e}"))),
    }
}

/// Whether whoever read stdout went away: what goes on printing has no reason to.
pub(crate) fn reader_is_gone() -> bool {
    READER_GONE.load(Ordering::Relaxed)
}

/// Writes a line for people to stderr. Losing it is no failure.
pub(crate) fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

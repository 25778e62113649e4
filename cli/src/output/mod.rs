//! What goes to stdout: one document, as a table, JSON or YAML. Everything else goes to stderr.

pub(crate) mod table;
pub(crate) mod words;

use std::io::{ErrorKind, Write};

use serde::Serialize;

use crate::args::OutputFormat;
use crate::failure::Failure;

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

/// Writes to stdout. A reader that went away is no failure.
pub(crate) fn write_stdout(text: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    let written = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
    match written {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::failed(format!("stdout can't be written: {e}")))
        }
        _ => Ok(()),
    }
}

/// Writes a line for people to stderr. Losing it is no failure.
pub(crate) fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

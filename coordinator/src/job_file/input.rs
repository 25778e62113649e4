//! What is looked at before anything is parsed: size, text, and the spelling of `--set`.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::FILE_BYTES_MAX;
use super::error::{JobFileError, quoted};

/// Reads a job file. A huge file is refused by its size, before it is read.
///
/// # Errors
/// One line: it can't be read, is too large, or isn't text.
pub fn read_limited(path: &Path) -> Result<String, JobFileError> {
    let name = path.display().to_string();
    let bytes = read(path, &name)?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let line = error.as_bytes()[..error.utf8_error().valid_up_to()]
            .split(|b| *b == b'\n')
            .count();
        not_text(&name, &format!("line {line} isn't UTF-8"))
    })?;
    check_text(&text, &name)?;
    Ok(text)
}

fn read(path: &Path, name: &str) -> Result<Vec<u8>, JobFileError> {
    let unreadable = |error: io::Error| {
        JobFileError::whole_file(name, format!("can't read the job file: {error}"))
    };
    let file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if metadata.is_dir() {
        return Err(JobFileError::whole_file(
            name,
            "this is a directory, not a job file",
        ));
    }
    if metadata.len() > FILE_BYTES_MAX as u64 {
        return Err(too_large(name));
    }
    // A pipe has no length: one byte more than allowed is enough to know.
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    Ok(bytes)
}

/// Size and content of a text, however it came here.
pub(super) fn check_text(text: &str, name: &str) -> Result<(), JobFileError> {
    if text.len() > FILE_BYTES_MAX {
        return Err(too_large(name));
    }
    if text.contains('\0') {
        return Err(not_text(name, "it holds zero bytes"));
    }
    Ok(())
}

fn too_large(name: &str) -> JobFileError {
    JobFileError::whole_file(
        name,
        "the file is larger than 1 MiB, the most that a job file may be",
    )
}

fn not_text(name: &str, why: &str) -> JobFileError {
    JobFileError::whole_file(
        name,
        format!("this is a binary file, not YAML or JSON: {why}"),
    )
}

/// Splits the `KEY=VALUE` of `--set`.
///
/// # Errors
/// One line that says how it is written.
pub fn parse_override(argument: &str) -> Result<(String, String), String> {
    match argument.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!(
            "{} isn't KEY=VALUE, such as parallelism=4",
            quoted(argument)
        )),
    }
}

//! What a failed test shows of the processes' logs.

use std::path::Path;

/// How much of each log a failed test prints.
const LAST_LINES: usize = 25;
const LINE_CHARS: usize = 300;

/// Warnings and errors, and the last lines of the rest, each cut to a readable length.
pub(crate) fn tail(path: &Path) -> String {
    let text = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.contains("INFO openraft"))
        .collect();
    let last = lines.len().saturating_sub(LAST_LINES);
    let loud = |line: &&str| line.contains("WARN") || line.contains("ERROR");
    let early = lines[..last]
        .iter()
        .filter(|line| loud(line))
        .rev()
        .take(LAST_LINES);
    let mut early: Vec<&str> = early.copied().collect();
    early.reverse();
    let shown = early.into_iter().chain(lines[last..].iter().copied());
    let cut = |line: &str| line.chars().take(LINE_CHARS).collect::<String>();
    shown.map(cut).collect::<Vec<_>>().join("\n")
}

//! One section of a page of results: which machine and when, and how it gets into the file.

use std::path::Path;

use crate::Outcome;

fn first_line(file: &str, key: &str) -> String {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let found = text.lines().find(|line| line.starts_with(key));
    let value = found.and_then(|line| line.split_once(['=', ':']));
    value.map_or_else(String::new, |(_, value)| {
        value.trim().trim_matches('"').to_owned()
    })
}

/// What a command prints, in one line; empty if there is no such command.
fn said(program: &str, arguments: &[&str]) -> String {
    let output = std::process::Command::new(program).args(arguments).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.unwrap_or_default()
}

/// The machine, in a sentence.
pub(crate) fn machine_line() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kilobytes = first_line("/proc/meminfo", "MemTotal");
    let kilobytes = kilobytes
        .split_whitespace()
        .next()
        .and_then(|n| n.parse().ok());
    let gibibytes = kilobytes.map_or(0, |n: u64| n >> 20);
    let cpu = first_line("/proc/cpuinfo", "model name");
    let system = first_line("/etc/os-release", "PRETTY_NAME");
    let kernel = said("uname", &["-r"]);
    format!("{cores} cores ({cpu}), {gibibytes} GiB, {system}, Linux {kernel}")
}

/// Now, for people.
pub(crate) fn today() -> String {
    said("date", &["-u", "+%Y-%m-%d %H:%M UTC"])
}

/// Puts the section into the file: in place of the one that is there, else at the end.
pub(crate) fn write(file: &Path, heading: &str, section: &str) -> Outcome<()> {
    let old = std::fs::read_to_string(file).unwrap_or_default();
    std::fs::write(file, replaced(&old, heading, section))?;
    println!("written to {}", file.display());
    Ok(())
}

/// A page with one section of its own exchanged.
fn replaced(page: &str, heading: &str, section: &str) -> String {
    let Some(start) = page.find(heading) else {
        return format!("{}\n\n{}\n", page.trim_end(), section.trim_end())
            .trim_start()
            .to_owned();
    };
    let after = start + heading.len();
    let end = page[after..]
        .find("\n## ")
        .map_or(page.len(), |next| after + next + 1);
    let rest = &page[end..];
    let gap = if rest.is_empty() { "" } else { "\n" };
    format!("{}{}\n{gap}{rest}", &page[..start], section.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_exchanged_and_its_neighbours_stay() {
        let page = "# Page\n\n## A\n\nold\n\n## B\n\nstays\n";
        let new = replaced(page, "## A", "## A\n\nnew\n");
        assert_eq!(new, "# Page\n\n## A\n\nnew\n\n## B\n\nstays\n");
        assert_eq!(replaced(&new, "## A", "## A\n\nnew\n"), new);
        let end = replaced(page, "## B", "## B\n\nnew");
        assert_eq!(end, "# Page\n\n## A\n\nold\n\n## B\n\nnew\n");
        assert_eq!(
            replaced("# Page\n", "## C", "## C\n\nnew\n"),
            "# Page\n\n## C\n\nnew\n"
        );
    }
}

//! Asking before what can't be undone: on a terminal by a question, without one only by `--yes`.

use std::io::{BufRead, IsTerminal, Write};

use super::Context;
use crate::args::ChangeArgs;
use crate::failure::Failure;

/// Goes on if it is a dry run, `--yes` was given, or the user agrees.
pub(super) fn confirm(context: &Context, change: &ChangeArgs, what: &str) -> Result<(), Failure> {
    if change.dry_run || context.yes {
        return Ok(());
    }
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(Failure::invalid(format!(
            "this would {what}, which can't be undone; without a terminal to ask on it needs --yes"
        )));
    }
    let mut stderr = std::io::stderr();
    // If the question can't be written, the answer is no.
    let asked = write!(
        stderr,
        "This will {what}. It can't be undone. Go on? [y/N] "
    );
    let mut answer = String::new();
    let read = asked
        .and_then(|()| stderr.flush())
        .and_then(|()| stdin.lock().read_line(&mut answer));
    match read {
        Ok(_) if agrees(&answer) => Ok(()),
        Ok(_) | Err(_) => Err(Failure::failed("not confirmed; nothing was changed")),
    }
}

fn agrees(answer: &str) -> bool {
    matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_yes_is_a_yes() {
        for yes in ["y\n", "YES", " yes "] {
            assert!(agrees(yes), "{yes:?}");
        }
        for no in ["", "\n", "n", "yess", "yes please"] {
            assert!(!agrees(no), "{no:?}");
        }
    }
}

//! `regent man`: manual pages, from the same source as `--help`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Command, CommandFactory};

use super::Done;
use crate::args::Cli;
use crate::failure::Failure;
use crate::output;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  regent man | man -l -
  regent man --out /usr/local/share/man/man1")]
pub(crate) struct ManArgs {
    /// Write a page for each verb there, instead of the first page to stdout
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub(crate) fn run(args: &ManArgs) -> Done {
    let mut whole = Cli::command();
    whole.build();
    match &args.out {
        None => {
            let page = render("regent", &whole)?;
            output::write_stdout(&String::from_utf8_lossy(&page))?;
        }
        Some(dir) => {
            let wrong = |e: std::io::Error| Failure::failed(format!("{}: {e}", dir.display()));
            std::fs::create_dir_all(dir).map_err(wrong)?;
            let written = write_all(dir, "regent", &whole)?;
            output::note(&format!("{written} pages written to {}", dir.display()));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn write_all(dir: &Path, name: &str, command: &Command) -> Result<u64, Failure> {
    let file = dir.join(format!("{name}.1"));
    let wrong = |e: std::io::Error| Failure::failed(format!("{}: {e}", file.display()));
    std::fs::write(&file, render(name, command)?).map_err(wrong)?;
    let mut written = 1;
    for below in command
        .get_subcommands()
        .filter(|c| c.get_name() != "help" && !c.is_hide_set())
    {
        written += write_all(dir, &format!("{name}-{}", below.get_name()), below)?;
    }
    Ok(written)
}

fn render(name: &str, command: &Command) -> Result<Vec<u8>, Failure> {
    let mut page = Vec::new();
    let named = command.clone().display_name(name.to_owned());
    clap_mangen::Man::new(named)
        .title(name.to_ascii_uppercase())
        .render(&mut page)
        .map_err(|e| Failure::failed(format!("the page can't be written: {e}")))?;
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_has_a_page() {
        let dir = tempfile::tempdir().unwrap();
        run(&ManArgs {
            out: Some(dir.path().to_owned()),
        })
        .unwrap();
        let page = std::fs::read_to_string(dir.path().join("regent-leader-explain.1")).unwrap();
        assert!(
            page.contains(".TH") && page.contains("smallest action"),
            "{page}"
        );
        assert!(dir.path().join("regent.1").is_file());
        assert!(!dir.path().join("regent-help.1").exists());
    }
}

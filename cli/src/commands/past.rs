//! `regent log` and `regent state`: what was written by whom, and what the cluster held then.

use clap::{Args, Subcommand};
use regent_protocol::v1::read_request::Query;
use regent_protocol::v1::{LogIndexRef, LogTail, StateAt};
use regent_protocol::view::{LogEntry, LogShown, StateThen};

use super::job::ReadArgs;
use super::{Context, Done, job_tables};
use crate::output::table::{Table, pairs};
use crate::output::words::{moment, or_dash};

#[derive(Debug, Args)]
pub(crate) struct LogArgs {
    #[command(subcommand)]
    verb: LogVerb,
}

#[derive(Debug, Subcommand)]
enum LogVerb {
    /// The last entries of the replicated log: when, by whom, what
    #[command(after_help = "Examples:\n  regent log tail\n  regent log tail -n 200 -o json")]
    Tail {
        /// How many, at most 1000
        #[arg(short = 'n', long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1000))]
        count: u64,
        #[command(flatten)]
        read: ReadArgs,
    },
    /// One entry in full, and what it changed
    #[command(after_help = "Example:\n  regent log show 42")]
    Show {
        /// Its index
        #[arg(value_name = "INDEX")]
        index: u64,
        #[command(flatten)]
        read: ReadArgs,
    },
}

#[derive(Debug, Args)]
#[command(after_help = "\
Built from the newest snapshot at or before that entry and the log behind it, so it reaches back as far as
both do at the replica that answers. With KEY the entities whose key begins so are printed in full.

Examples:
  regent state --at 42
  regent state --at 42 job/
  regent state --at 42 -o json | jq '.entities[] | select(.actor == \"cli:alice\")'")]
pub(crate) struct StateArgs {
    /// After the entry of this index
    #[arg(long, value_name = "INDEX")]
    at: u64,
    /// Beginning of keys, such as job/ or artefact/
    #[arg(value_name = "KEY", default_value = "", hide_default_value = true)]
    key: String,
    #[command(flatten)]
    read: ReadArgs,
}

pub(crate) async fn log(args: &LogArgs, context: &Context) -> Done {
    match &args.verb {
        LogVerb::Tail { count, read } => {
            let query = Query::LogTail(LogTail { count: *count });
            context
                .show(query, read.stale, |entries: &Vec<LogEntry>| tail(entries))
                .await
        }
        LogVerb::Show { index, read } => {
            let query = Query::LogShow(LogIndexRef { index: *index });
            context.show(query, read.stale, shown).await
        }
    }
}

pub(crate) async fn state(args: &StateArgs, context: &Context) -> Done {
    let query = Query::StateAt(StateAt {
        index: args.at,
        key: args.key.clone(),
    });
    context.show(query, args.read.stale, then).await
}

fn tail(entries: &[LogEntry]) -> String {
    let mut table = Table::new(
        &[">INDEX", ">TERM", "AT", "ACTOR", "WHAT"],
        "the log is empty",
    );
    for entry in entries {
        table.row(vec![
            entry.index.to_string(),
            entry.term.to_string(),
            or_dash(entry.at_ms.map(moment)),
            or_dash(entry.actor.clone()),
            entry.text.clone(),
        ]);
    }
    table.render()
}

fn head(entry: &LogEntry) -> String {
    pairs(&[
        ("index", entry.index.to_string()),
        ("term", entry.term.to_string()),
        ("written by", format!("node {}", entry.node_id)),
        ("at", or_dash(entry.at_ms.map(moment))),
        ("actor", or_dash(entry.actor.clone())),
        ("epoch", or_dash(entry.epoch.clone())),
        ("request", or_dash(entry.request_id.clone())),
        ("what", entry.text.clone()),
    ])
}

fn shown(shown: &LogShown) -> String {
    let mut text = head(&shown.entry);
    match (&shown.refused, &shown.changed) {
        (Some(why), _) => text.push_str(&format!("refused     {why}\n")),
        (None, Some(keys)) => text.push_str(&format!("changed     {}\n", keys.join(", "))),
        (None, None) => {
            text.push_str("changed     unknown: the state before it can't be built any more\n")
        }
    }
    if let Some(detail) = &shown.detail {
        text.push_str(&format!("\n{detail}\n"));
    }
    text
}

fn then(state: &StateThen) -> String {
    let from = state.snapshot_index.map_or_else(
        || "the beginning of the log".to_owned(),
        |at| format!("the snapshot at {at}"),
    );
    let mut text = format!(
        "the state after entry {}, built from {from}; {} led\n",
        state.index,
        or_dash(state.leader.clone())
    );
    if let Some(entry) = &state.entry {
        text.push_str(&format!("\n{}", head(entry)));
    }
    if let Some(why) = &state.refused {
        text.push_str(&format!("refused     {why}\n"));
    }
    text.push_str(&format!("\n{}\n", job_tables::list(&state.jobs)));
    let mut table = Table::new(
        &["KEY", ">CHANGED AT", "ACTOR", "BY"],
        "nothing of that key",
    );
    for entity in &state.entities {
        table.row(vec![
            entity.key.clone(),
            or_dash(entity.changed_at),
            or_dash(entity.actor.clone()),
            entity
                .command
                .clone()
                .unwrap_or_else(|| "before the snapshot".to_owned()),
        ]);
    }
    text.push_str(&table.render());
    for entity in &state.entities {
        if let Some(value) = &entity.value {
            text.push_str(&format!("\n{}\n{value}\n", entity.key));
        }
    }
    if state.truncated {
        text.push_str("there are more than are listed here; name a KEY\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use regent_protocol::view::EntityThen;

    use super::*;

    fn entry() -> LogEntry {
        LogEntry {
            index: 42,
            term: 3,
            node_id: 2,
            kind: "command".to_owned(),
            at_ms: Some(0),
            actor: Some("cli:alice".to_owned()),
            text: "cancel job ab".to_owned(),
            epoch: None,
            request_id: None,
        }
    }

    #[test]
    fn an_entry_says_when_by_whom_and_what_it_changed() {
        assert!(
            tail(&[entry()])
                .contains("   42     3  1970-01-01 00:00:00Z  cli:alice  cancel job ab\n")
        );
        let mut one = LogShown {
            entry: entry(),
            changed: Some(vec!["job/ab".to_owned()]),
            ..LogShown::default()
        };
        assert!(
            shown(&one).contains("changed     job/ab\n"),
            "{}",
            shown(&one)
        );
        one.refused = Some("there is no job ab".to_owned());
        assert!(shown(&one).contains("refused     there is no job ab\n"));
    }

    #[test]
    fn a_past_state_names_who_changed_what() {
        let state = StateThen {
            index: 42,
            entry: Some(entry()),
            leader: Some("jm-2".to_owned()),
            entities: vec![
                EntityThen {
                    key: "job/ab".to_owned(),
                    changed_at: Some(42),
                    actor: Some("cli:alice".to_owned()),
                    command: Some("cancel job ab".to_owned()),
                    value: Some("Job { .. }".to_owned()),
                },
                EntityThen {
                    key: "meta".to_owned(),
                    ..EntityThen::default()
                },
            ],
            ..StateThen::default()
        };
        let text = then(&state);
        for part in [
            "the state after entry 42, built from the beginning of the log; jm-2 led",
            "job/ab          42  cli:alice  cancel job ab",
            "meta             -  -          before the snapshot",
            "\njob/ab\nJob { .. }\n",
        ] {
            assert!(text.contains(part), "{part:?} in\n{text}");
        }
    }
}

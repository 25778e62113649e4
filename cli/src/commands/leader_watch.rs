//! `regent leader watch`: a line whenever the answer to "who leads?" changes.

use std::time::Duration;

use regent_protocol::view::LeaderHead;
use serde::Serialize;
use tokio::time::sleep;

use super::{Context, Done};
use crate::args::OutputFormat;
use crate::client::merge;
use crate::failure::Failure;
use crate::output;
use crate::output::words::{moment, now_ms, span};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(100);

/// A change of leadership, as seen from here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Seen {
    at_ms: u64,
    leader: Option<LeaderHead>,
    /// How long nobody was seen leading before this leader.
    leaderless_ms: Option<u64>,
}

/// Runs until it is interrupted.
pub(super) async fn run(context: &Context) -> Done {
    let mut last: Option<Option<(u64, u64)>> = None;
    let mut since_ms = now_ms();
    loop {
        let leader = merge(&context.client.survey().await).show.leader;
        let who = leader.as_ref().map(|l| (l.node_id, l.term));
        if last != Some(who) {
            let now = now_ms();
            let gap = matches!(last, Some(None)).then(|| now.saturating_sub(since_ms));
            let seen = Seen {
                at_ms: now,
                leader,
                leaderless_ms: gap,
            };
            print(context.format, &seen)?;
            last = Some(who);
            since_ms = now;
        }
        sleep(PAUSE).await;
    }
}

fn print(format: OutputFormat, seen: &Seen) -> Result<(), Failure> {
    let rendered = match format {
        OutputFormat::Json => {
            let line = serde_json::to_string(seen)
                .map_err(|e| Failure::failed(format!("the line can't be written: {e}")))?;
            format!("{line}\n")
        }
        OutputFormat::Yaml => format!("---\n{}", output::render(format, seen, line)?),
        OutputFormat::Table => line(seen),
    };
    output::write_stdout(&rendered)
}

fn line(seen: &Seen) -> String {
    let at = moment(seen.at_ms);
    let after = seen.leaderless_ms.map_or_else(String::new, |ms| {
        format!(", after {} without a leader", span(ms))
    });
    match &seen.leader {
        Some(leader) => format!(
            "{at}  {} leads in term {}{after}\n",
            leader.name, leader.term
        ),
        None => format!("{at}  nobody leads\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_the_leader_and_the_gap() {
        let leader = LeaderHead {
            node_id: 2,
            name: "jm-2".to_owned(),
            api: String::new(),
            term: 7,
            since_ms: 0,
        };
        let mut seen = Seen {
            at_ms: 0,
            leader: Some(leader),
            leaderless_ms: Some(40),
        };
        assert_eq!(
            line(&seen),
            "1970-01-01 00:00:00Z  jm-2 leads in term 7, after 40ms without a leader\n"
        );
        seen.leader = None;
        assert_eq!(line(&seen), "1970-01-01 00:00:00Z  nobody leads\n");
    }
}

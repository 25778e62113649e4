//! `regent leader explain`: why each replica is or isn't the leader. Needs neither leader nor majority.

use std::process::ExitCode;

use regent_protocol::view::{LeaderExplained, ReplicaExplained};

use super::{Context, Done};
use crate::client::nobody_answers;
use crate::explain;
use crate::output::words::or_dash;

pub(super) async fn run(context: &Context) -> Done {
    let survey = context.client.survey().await;
    if survey.answers().next().is_none() {
        return Err(nobody_answers(context.client.endpoints(), &survey));
    }
    context.print(&explain::leader(&survey), text)?;
    Ok(ExitCode::SUCCESS)
}

fn text(told: &LeaderExplained) -> String {
    let mut text = format!("{}\n", told.summary);
    match &told.remedy {
        Some(remedy) => text.push_str(&format!("  do: {remedy}\n")),
        None => text.push_str("  nothing has to be done\n"),
    }
    text.push_str(&format!(
        "{} of {} voters answer, {} are needed\n\n",
        told.answering, told.voters, told.quorum
    ));
    for replica in &told.replicas {
        text.push_str(&of_replica(replica));
    }
    if !told.differences.is_empty() {
        text.push_str("\nwhere the answers differ:\n");
        for difference in &told.differences {
            text.push_str(&format!("  - {difference}\n"));
        }
    }
    text
}

fn of_replica(replica: &ReplicaExplained) -> String {
    let mark = if replica.leads { '*' } else { ' ' };
    let term = or_dash(replica.term);
    let hears = match (replica.answers, replica.hears.is_empty()) {
        (false, _) => String::new(),
        (true, true) => "\n      hears nobody".to_owned(),
        (true, false) => format!("\n      hears {}", replica.hears.join(", ")),
    };
    format!(
        "{mark} {} (node {}, term {term}) {}{hears}\n",
        replica.name, replica.node_id, replica.why
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_comes_first_and_the_remedy_second() {
        let told = LeaderExplained {
            leader: None,
            situation: "no-quorum".to_owned(),
            summary: "nobody leads".to_owned(),
            remedy: Some("start jm-2".to_owned()),
            voters: 3,
            quorum: 2,
            answering: 1,
            replicas: vec![ReplicaExplained {
                node_id: 1,
                name: "jm-1".to_owned(),
                api: String::new(),
                leads: false,
                answers: true,
                why: "can't be elected".to_owned(),
                follows: None,
                term: Some(3),
                trails_by: Some(0),
                hears: Vec::new(),
            }],
            differences: vec!["they differ".to_owned()],
        };
        let text = text(&told);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "nobody leads");
        assert_eq!(lines[1], "  do: start jm-2");
        assert!(text.contains("  jm-1 (node 1, term 3) can't be elected\n      hears nobody\n"));
        assert!(text.ends_with("  - they differ\n"));
    }
}

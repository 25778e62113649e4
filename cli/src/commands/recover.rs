//! `regent recover`: what to do when a majority of the replicas is lost for good.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use regent_ha::rebirth::{self, Remains};
use regent_protocol::v1::ResumeJobs;
use regent_protocol::v1::change_request::Change;
use regent_protocol::view::{RecoverPlan, Recovered, RemainsView, Resumed};

use super::confirm::confirm;
use super::savepoint::dry_run_note;
use super::snapshot::{ReplicaArgs, birth, explain, suspended};
use super::{Context, Done, leader};
use crate::args::ChangeArgs;
use crate::client::Identity;
use crate::output::table::Table;
use crate::output::words::{moment, or_dash};
use crate::settings::Assignment;

#[derive(Debug, Args)]
pub(crate) struct RecoverArgs {
    #[command(subcommand)]
    verb: RecoverVerb,
}

#[derive(Debug, Subcommand)]
enum RecoverVerb {
    /// What is left, on which replica to recover, and what would be lost
    #[command(after_help = "\
Asks every replica that answers; with --config it looks into the data directory of a stopped one.

Examples:
  regent recover plan --endpoints jm-1:7101,jm-2:7101,jm-3:7101
  regent recover plan --config jobmanager.yaml")]
    Plan {
        /// Configuration of a stopped replica
        #[arg(long, value_name = "FILE")]
        config: Option<std::path::PathBuf>,
        /// Override a key of the file
        #[arg(long, value_name = "KEY=VALUE", value_parser = Assignment::parse, requires = "config")]
        set: Vec<Assignment>,
    },
    /// Make the survivor a cluster of its own: what only the others hold is lost
    #[command(after_help = "\
Run it on the replica that `recover plan` names, while it is stopped, and never on two. Its old peers are
fenced by the generation: empty their data directories and add them again under new numbers.

Example:
  regent recover apply --config jobmanager.yaml --expect-term 7 --yes")]
    Apply {
        #[command(flatten)]
        replica: ReplicaArgs,
        /// The term that `recover plan` showed
        #[arg(long, value_name = "TERM")]
        expect_term: u64,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Let the jobs of a restored or recovered cluster go on
    #[command(after_help = "\
Before: make sure that the old cluster and its workers are stopped. Every restore point is checked first.

Example:
  regent recover resume --yes")]
    Resume {
        #[command(flatten)]
        change: ChangeArgs,
    },
}

pub(crate) async fn run(args: &RecoverArgs, context: &Context) -> Done {
    match &args.verb {
        RecoverVerb::Plan { config: None, .. } => plan_by_asking(context).await,
        RecoverVerb::Plan {
            config: Some(config),
            set,
        } => {
            let replica = ReplicaArgs {
                config: config.clone(),
                set: set.clone(),
            };
            plan_by_looking(&replica, context).await
        }
        RecoverVerb::Apply {
            replica,
            expect_term,
            change,
        } => apply(replica, *expect_term, change, context).await,
        RecoverVerb::Resume { change } => resume(change, context).await,
    }
}

async fn plan_by_asking(context: &Context) -> Done {
    let show = leader::look(context).await?.show;
    let is_voter = |role: &str| role != "learner";
    let replicas: Vec<_> = show
        .replicas
        .iter()
        .filter(|replica| is_voter(&replica.role))
        .map(|replica| RemainsView {
            node_id: replica.node_id,
            name: replica.name.clone(),
            answers: replica.role != "unreachable",
            term: replica.term,
            last_index: replica.last_log_index,
            committed_index: replica.applied_index,
        })
        .collect();
    let plan = judge(replicas, show.voters, show.quorum, None);
    context.print(&plan, text)?;
    Ok(ExitCode::SUCCESS)
}

async fn plan_by_looking(replica: &ReplicaArgs, context: &Context) -> Done {
    let config = replica.load()?;
    let remains = rebirth::examine(&config.data_dir, config.node_id)
        .await
        .map_err(explain)?;
    let voters = remains.voters.len() as u64;
    let mut replicas = vec![remains_view(&remains, &config.display_name())];
    for member in &remains.members {
        if member.node_id != remains.node_id && remains.voters.contains(&member.node_id) {
            replicas.push(RemainsView {
                node_id: member.node_id,
                name: member.node.name.clone(),
                answers: false,
                term: None,
                last_index: None,
                committed_index: None,
            });
        }
    }
    let plan = judge(replicas, voters, voters / 2 + 1, Some(remains.last_wall_ms));
    context.print(&plan, text)?;
    Ok(ExitCode::SUCCESS)
}

fn remains_view(remains: &Remains, name: &str) -> RemainsView {
    RemainsView {
        node_id: remains.node_id,
        name: name.to_owned(),
        answers: true,
        term: Some(remains.term),
        last_index: Some(remains.last_index),
        committed_index: Some(remains.committed_index),
    }
}

/// The one that holds most, and what may be lost. Pure.
fn judge(
    replicas: Vec<RemainsView>,
    voters: u64,
    quorum: u64,
    last_ms: Option<u64>,
) -> RecoverPlan {
    let answering = replicas.iter().filter(|replica| replica.answers).count() as u64;
    let living = replicas.iter().filter(|replica| replica.answers);
    let best = living
        .max_by_key(|replica| (replica.last_index, replica.term))
        .cloned();
    let term = replicas.iter().filter_map(|replica| replica.term).max();
    let majority = answering >= quorum;
    let missing = voters.saturating_sub(answering);
    let loss = match &best {
        _ if majority => "nothing: a majority is there, don't recover; start the others".to_owned(),
        None => "everything: no replica is left; restore a snapshot".to_owned(),
        Some(best) => format!(
            "{missing} of {voters} voters are gone, which is a majority: whatever they acknowledged after entry {} \
             of {}{} is lost",
            best.last_index.unwrap_or(0),
            best.name,
            last_ms.map_or_else(String::new, |at| format!(" ({})", moment(at))),
        ),
    };
    RecoverPlan {
        majority,
        voters,
        quorum,
        best: best.as_ref().map(|best| best.node_id),
        term: best.as_ref().and(term),
        survives_to_index: best.as_ref().and_then(|best| best.last_index),
        survives_to_ms: last_ms,
        replicas,
        loss,
    }
}

fn text(plan: &RecoverPlan) -> String {
    let mut table = Table::new(
        &["NODE", "NAME", "ANSWERS", ">TERM", ">LAST", ">COMMITTED"],
        "no replicas",
    );
    for replica in &plan.replicas {
        table.row(vec![
            replica.node_id.to_string(),
            replica.name.clone(),
            if replica.answers { "yes" } else { "no" }.to_owned(),
            or_dash(replica.term),
            or_dash(replica.last_index),
            or_dash(replica.committed_index),
        ]);
    }
    let mut text = format!("{}\nloss: {}", table.render(), plan.loss);
    if let (false, Some(best), Some(term)) = (plan.majority, plan.best, plan.term) {
        text.push_str(&format!(
            "\n\nIf the others can't be brought back: stop node {best}, look again with --config, and there run\n  \
             regent recover apply --config FILE --expect-term {term}"
        ));
    }
    text
}

async fn apply(
    replica: &ReplicaArgs,
    expect_term: u64,
    change: &ChangeArgs,
    context: &Context,
) -> Done {
    let config = replica.load()?;
    let remains = rebirth::examine(&config.data_dir, config.node_id)
        .await
        .map_err(explain)?;
    let what = format!(
        "make node {} a cluster of its own; whatever the others acknowledged after entry {} is lost",
        remains.node_id, remains.last_index
    );
    confirm(context, change, &what)?;
    let life = remains.machine.meta().map_or(0, |meta| meta.generation);
    // A recovery that was interrupted at its last step is carried on; it is alone already.
    let alone = remains.voters.len() == 1 && remains.voters.contains(&remains.node_id);
    let interrupted = alone && remains.machine.is_suspended() && remains.generation == life;
    let generation = if interrupted { life } else { life + 1 };
    let birth = birth(&config, generation, "recovered from a lost majority");
    let kept = match change.dry_run {
        true => remains,
        false => rebirth::recover(&birth, expect_term)
            .await
            .map_err(explain)?,
    };
    let recovered = Recovered {
        cluster_id: kept.cluster_id.to_string(),
        generation,
        node_id: kept.node_id,
        survived_to_index: kept.last_index,
        suspended: suspended(&kept.machine),
    };
    context.print(&recovered, |r| {
        format!(
            "node {} is cluster {} (generation {}) now, with everything up to entry {}: start it, add replicas \
             with: regent members add; {} jobs wait for: regent recover resume",
            r.node_id, r.cluster_id, r.generation, r.survived_to_index, r.suspended
        )
    })?;
    dry_run_note(change);
    Ok(ExitCode::SUCCESS)
}

async fn resume(change: &ChangeArgs, context: &Context) -> Done {
    confirm(context, change, "let every suspended job go on")?;
    let mut identity = Identity::new(change);
    let request = Change::ResumeJobs(ResumeJobs {});
    let resumed: Resumed = context.client.change(request, &mut identity).await?;
    context.print(&resumed, |r| format!("{} jobs go on", r.resumed))?;
    dry_run_note(change);
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replica(node_id: u64, last: Option<u64>) -> RemainsView {
        RemainsView {
            node_id,
            name: format!("jm-{node_id}"),
            answers: last.is_some(),
            term: last.map(|last| last / 10),
            last_index: last,
            committed_index: last,
        }
    }

    #[test]
    fn the_survivor_with_the_longest_log_is_named_and_so_is_the_loss() {
        let all = vec![replica(1, None), replica(2, Some(40)), replica(3, None)];
        let plan = judge(all, 3, 2, None);
        assert_eq!(
            (plan.best, plan.term, plan.survives_to_index),
            (Some(2), Some(4), Some(40))
        );
        assert!(
            plan.loss.contains("2 of 3 voters are gone"),
            "{}",
            plan.loss
        );
        assert!(text(&plan).contains("--expect-term 4"));
        let all = vec![
            replica(1, Some(50)),
            replica(2, Some(40)),
            replica(3, None),
            replica(4, None),
            replica(5, None),
        ];
        assert_eq!(judge(all, 5, 3, None).best, Some(1));
    }

    #[test]
    fn with_a_majority_there_is_nothing_to_recover() {
        let all = vec![replica(1, Some(50)), replica(2, Some(40)), replica(3, None)];
        let plan = judge(all, 3, 2, None);
        assert!(plan.majority);
        assert!(!text(&plan).contains("--expect-term"));
    }
}

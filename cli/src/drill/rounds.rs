//! The rounds: settle, hurt, watch the recovery, settle again.

use std::time::Duration;

use regent_protocol::v1::TransferLeader;
use regent_protocol::v1::change_request::Change;
use regent_protocol::view::{JobDetail, Transferred};
use serde::Serialize;
use tokio::time::{Instant, sleep};

use super::board::{Expects, Fault, Lead, Recovery};
use super::probe::Probe;
use super::scenario::Scenario;
use super::target::{Aftermath, End, Target};
use crate::args::ChangeArgs;
use crate::client::{Client, Identity, merge};
use crate::failure::Failure;
use crate::output;
use crate::output::words::{now_ms, span};

/// A recovery that takes longer has failed.
const RECOVERY_LIMIT: Duration = Duration::from_secs(60);
/// From a fault until everything is as it was before.
const SETTLE_LIMIT: Duration = Duration::from_secs(90);
/// A replica that trails by more isn't whole yet.
const TRAILS_MAX: u64 = 10;
/// A whole cluster is left alone for this long, so that one round's end isn't the next one's beginning.
const CALM: Duration = Duration::from_millis(700);
const PAUSE: Duration = Duration::from_millis(20);
/// A process that has ended stays down for this long, as under `regent local`.
const DOWN: Duration = Duration::from_secs(2);
/// Between two tries to start again what has ended.
const REVIVE_EVERY: Duration = super::compose::LOOK_EVERY;

/// One fault and its recovery.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Round {
    /// Counts from 1.
    pub(super) number: u64,
    /// Wall clock of the fault.
    pub(super) at_ms: u64,
    /// Who was hurt.
    pub(super) victim: String,
    /// `leader`, `follower` or `worker`.
    pub(super) role: &'static str,
    #[serde(flatten)]
    pub(super) recovery: Recovery,
    /// The longest time without a new record between fault and recovery; of the records that count.
    pub(super) output_gap_ms: Option<u64>,
    /// What was missing, if something was.
    pub(super) problem: Option<String>,
}

/// What every round needs.
#[derive(Debug)]
pub(super) struct Play<'a> {
    pub(super) client: &'a Client,
    pub(super) probe: &'a Probe,
    pub(super) target: Option<&'a Target>,
    pub(super) rounds: u64,
}

impl Play<'_> {
    /// Plays all rounds.
    pub(super) async fn all(&self, scenario: Scenario) -> Result<Vec<Round>, Failure> {
        let mut rounds = Vec::new();
        self.settle(&mut Aftermath::default()).await?;
        for number in 1..=self.rounds {
            for victim in self.victims(scenario)? {
                let (round, mut aftermath) = self.hurt(scenario, number, victim).await?;
                self.tell(&round);
                let recovered = round.problem.is_none();
                rounds.push(round);
                aftermath.thaw();
                if !recovered {
                    return Ok(rounds);
                }
                self.settle(&mut aftermath).await?;
            }
        }
        Ok(rounds)
    }

    /// Whom a round hurts, one after the other; `None`: whoever the scenario says when its turn comes.
    fn victims(&self, scenario: Scenario) -> Result<Vec<Option<String>>, Failure> {
        match (scenario, self.target) {
            (Scenario::RollingRestart, Some(target)) => {
                let names = target.names()?;
                Ok(names.into_iter().map(|(name, _)| Some(name)).collect())
            }
            _ => Ok(vec![None]),
        }
    }

    async fn hurt(
        &self,
        scenario: Scenario,
        number: u64,
        victim: Option<String>,
    ) -> Result<(Round, Aftermath), Failure> {
        let leader = self
            .probe
            .leader()
            .ok_or_else(|| Failure::failed("nobody leads"))?;
        let job = self
            .probe
            .job()
            .ok_or_else(|| Failure::failed("the checking job can't be read"))?;
        let (name, role) = match victim {
            Some(name) => {
                let role = self.role_of(&name, &leader)?;
                (name, role)
            }
            None => self.choose(scenario, &leader, &job)?,
        };
        let expects = match (role, scenario) {
            ("leader", _) => Expects::Takeover,
            ("worker", _) if holds_tasks(&job, &name) => Expects::Restart,
            _ => Expects::Nothing,
        };
        let mut fault = Fault {
            at: self.probe.now(),
            at_ms: now_ms(),
            node_id: (role == "leader").then_some(leader.node_id),
            term: leader.term,
            expects,
            adoptions: job.adoptions,
            restarts: job.restarts,
        };
        // What must be seen can't be seen before the blow; it may be over when a slow blow is done.
        let slow = self.target.is_some_and(Target::strikes_slowly) && expects != Expects::Nothing;
        let mut aftermath = if scenario == Scenario::LeaderTransfer {
            self.probe.arm(fault.clone());
            self.transfer().await?;
            Aftermath::default()
        } else if slow {
            self.probe.arm(fault.clone());
            self.strike(scenario, &name).await?
        } else {
            let aftermath = self.strike(scenario, &name).await?;
            // Whatever was asked before this moment may have been answered by the living.
            fault.at = self.probe.now();
            self.probe.arm(fault.clone());
            aftermath
        };
        let (recovery, complete) = self.recovered(&mut aftermath).await?;
        let round = Round {
            number,
            at_ms: fault.at_ms,
            victim: name,
            role,
            problem: (!complete).then(|| missing(&recovery)),
            recovery,
            output_gap_ms: None,
        };
        Ok((round, aftermath))
    }

    fn role_of(&self, name: &str, leader: &Lead) -> Result<&'static str, Failure> {
        let names = self.target.ok_or_else(no_processes)?.names()?;
        let node_id = names
            .iter()
            .find(|(n, _)| n == name)
            .and_then(|(_, id)| *id);
        Ok(match node_id {
            Some(id) if id == leader.node_id => "leader",
            Some(_) => "follower",
            None => "worker",
        })
    }

    fn choose(
        &self,
        scenario: Scenario,
        leader: &Lead,
        job: &JobDetail,
    ) -> Result<(String, &'static str), Failure> {
        match scenario {
            Scenario::FollowerLoss => {
                let names = self.target.ok_or_else(no_processes)?.names()?;
                let follower = names
                    .into_iter()
                    .find(|(_, id)| id.is_some_and(|id| id != leader.node_id));
                let none = || Failure::failed("there is no follower");
                Ok((follower.ok_or_else(none)?.0, "follower"))
            }
            Scenario::WorkerKill => {
                let running = job.tasks.iter().find(|task| task.state == "running");
                let name = running.and_then(|task| task.worker.clone());
                let none = || Failure::failed("no worker runs a task of the checking job");
                Ok((name.ok_or_else(none)?, "worker"))
            }
            _ => Ok((leader.name.clone(), "leader")),
        }
    }

    async fn strike(&self, scenario: Scenario, name: &str) -> Result<Aftermath, Failure> {
        let target = self.target.ok_or_else(no_processes)?;
        match scenario {
            Scenario::LeaderPause => target.freeze(name).await,
            Scenario::RollingRestart => target.end(name, End::Stop).await,
            _ => target.end(name, End::Kill).await,
        }
    }

    async fn transfer(&self) -> Result<(), Failure> {
        let mut identity = Identity::new(&ChangeArgs::default());
        let change = Change::TransferLeader(TransferLeader { to: 0 });
        let _moved: Transferred = self.client.change(change, &mut identity).await?;
        Ok(())
    }

    /// Waits until every step was seen. What has ended is started meanwhile: the recovery may need it.
    async fn recovered(&self, aftermath: &mut Aftermath) -> Result<(Recovery, bool), Failure> {
        let deadline = Instant::now() + RECOVERY_LIMIT;
        let mut revive_at = Instant::now() + DOWN;
        loop {
            let (recovery, complete) = self.probe.recovery();
            if complete || Instant::now() >= deadline {
                return Ok((recovery, complete));
            }
            if let Some(target) = self.target.filter(|_| Instant::now() >= revive_at) {
                target.revive(aftermath).await?;
                revive_at = Instant::now() + REVIVE_EVERY;
            }
            sleep(PAUSE).await;
        }
    }

    /// Waits until everything is as before: processes, replicas, the checking job; and a moment longer.
    async fn settle(&self, aftermath: &mut Aftermath) -> Result<(), Failure> {
        if let Some(target) = self.target {
            target.all_run(aftermath, SETTLE_LIMIT).await?;
        }
        let deadline = Instant::now() + SETTLE_LIMIT;
        let mut calm_since: Option<Instant> = None;
        loop {
            match self.unsettled().await {
                None => {
                    let since = *calm_since.get_or_insert_with(Instant::now);
                    if since.elapsed() >= CALM {
                        return Ok(());
                    }
                }
                Some(problem) if Instant::now() >= deadline => {
                    let limit = SETTLE_LIMIT.as_secs();
                    return Err(Failure::failed(format!(
                        "not settled after {limit} s: {problem}"
                    )));
                }
                Some(_) => calm_since = None,
            }
            sleep(PAUSE).await;
        }
    }

    async fn unsettled(&self) -> Option<String> {
        let show = merge(&self.client.survey().await).show;
        if show.leader.is_none() {
            return Some("nobody leads".to_owned());
        }
        let far = |trails: Option<u64>| trails.is_none_or(|trails| trails > TRAILS_MAX);
        if let Some(replica) = show.replicas.iter().find(|r| far(r.trails_by)) {
            return Some(format!("{} is away, or trails", replica.name));
        }
        let job = self.probe.job()?;
        let ready = job.state == "RUNNING" && job.checkpoints.latest.is_some();
        (!ready).then(|| format!("the checking job is {}", job.state))
    }

    fn tell(&self, round: &Round) {
        let seen = &round.recovery;
        let step = |what: &str, ms: Option<u64>| ms.map(|ms| format!("{what} {}", span(ms)));
        let how = seen.how.unwrap_or("running");
        let steps: Vec<String> = [
            step("detected", seen.detected_ms),
            step("elected", seen.elected_ms),
            step("write", seen.first_write_ms),
            step(how, seen.jobs_running_ms),
            step("checkpoint", seen.first_checkpoint_ms),
        ]
        .into_iter()
        .flatten()
        .collect();
        let problem = round
            .problem
            .as_ref()
            .map_or_else(String::new, |p| format!("; {p}"));
        output::note(&format!(
            "round {}/{}: {} ({}) {}{problem}",
            round.number,
            self.rounds,
            round.victim,
            round.role,
            steps.join(", ")
        ));
    }
}

fn holds_tasks(job: &JobDetail, worker: &str) -> bool {
    job.tasks
        .iter()
        .any(|task| task.worker.as_deref() == Some(worker))
}

fn no_processes() -> Failure {
    Failure::refused("there are no processes here to act on")
}

fn missing(seen: &Recovery) -> String {
    let step = match seen {
        _ if seen.first_write_ms.is_none() => "no write was accepted",
        _ if seen.jobs_running_ms.is_none() => "the checking job didn't run again",
        _ if seen.first_checkpoint_ms.is_none() => "no checkpoint was completed",
        _ => "no other leader was seen",
    };
    format!("{step} within {} s", RECOVERY_LIMIT.as_secs())
}

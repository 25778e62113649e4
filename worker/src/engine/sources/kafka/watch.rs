//! Looks at the topic again and again, beside the reading: finds new partitions, and notices that no
//! broker answers any more.

use std::time::{Duration, Instant};

use rdkafka::consumer::BaseConsumer;
use tokio::task::JoinHandle;

use crate::engine::error::TaskError;
use crate::engine::kafka::{Cluster, Held, Quiet, partitions};

/// One look may take this long.
const LOOK_WITHIN: Duration = Duration::from_secs(5);
/// After a look that failed the next comes soon.
const AGAIN: Duration = Duration::from_secs(1);

/// The looks of one subtask; at most one is under way.
#[derive(Debug)]
pub(super) struct Watch {
    interval: Duration,
    within: Duration,
    next: Instant,
    looking: Option<JoinHandle<Result<Vec<i32>, TaskError>>>,
    /// When a broker answered last.
    answered: Instant,
    /// The silence was told.
    warned: bool,
}

impl Watch {
    /// The topic was just looked at.
    pub(super) fn new(interval: Duration, within: Duration, now: Instant) -> Self {
        // Silence has to be noticed well before it is too long.
        let interval = interval.min(within / 4);
        Self {
            interval,
            within,
            next: now + interval,
            looking: None,
            answered: now,
            warned: false,
        }
    }

    /// Something came from a broker.
    pub(super) fn heard(&mut self, now: Instant) {
        self.answered = now;
        if self.warned {
            self.warned = false;
            tracing::info!("a kafka broker answers again");
        }
    }

    /// Starts a look if one is due; answers the partitions if one has ended. Never waits.
    pub(super) async fn look(
        &mut self,
        cluster: &Cluster,
        consumer: &Held<BaseConsumer<Quiet>>,
        now: Instant,
    ) -> Result<Option<Vec<i32>>, TaskError> {
        if self.looking.as_ref().is_some_and(JoinHandle::is_finished)
            && let Some(looking) = self.looking.take()
        {
            let found = looking.await;
            let found = found.map_err(|error| cluster.error(&format!("looking at it: {error}")))?;
            return self.seen(cluster, found, now);
        }
        if self.looking.is_none() && self.next <= now {
            self.next = now + self.interval;
            let within = LOOK_WITHIN.min(self.within);
            let (cluster, consumer) = (cluster.clone(), consumer.share());
            let look = move || partitions(&cluster, &consumer, within);
            self.looking = Some(tokio::task::spawn_blocking(look));
        }
        Ok(None)
    }

    fn seen(
        &mut self,
        cluster: &Cluster,
        found: Result<Vec<i32>, TaskError>,
        now: Instant,
    ) -> Result<Option<Vec<i32>>, TaskError> {
        let error = match found {
            Ok(numbers) => {
                self.heard(now);
                return Ok(Some(numbers));
            }
            Err(error) => error,
        };
        self.next = self.next.min(now + AGAIN);
        if now.saturating_duration_since(self.answered) >= self.within {
            let within = self.within;
            return Err(TaskError::task(format!(
                "{error}; nothing else was heard for {within:?} (broker-timeout)"
            )));
        }
        if !self.warned {
            self.warned = true;
            tracing::warn!(brokers = %cluster.brokers, %error, "kafka doesn't answer; trying on");
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_borne_until_it_is_too_long() {
        let begin = Instant::now();
        let within = Duration::from_secs(20);
        let mut watch = Watch::new(Duration::from_secs(60), within, begin);
        assert_eq!(watch.next, begin + Duration::from_secs(5), "a quarter");
        let cluster = Cluster {
            brokers: "b:1".to_owned(),
            topic: "t".to_owned(),
            within,
        };
        let silence = || Err(TaskError::task("no answer"));
        let at = |seconds| begin + Duration::from_secs(seconds);
        assert_eq!(watch.seen(&cluster, silence(), at(10)), Ok(None));
        watch.heard(at(11));
        assert_eq!(watch.seen(&cluster, silence(), at(30)), Ok(None));
        let error = watch.seen(&cluster, silence(), at(31)).unwrap_err();
        assert!(error.to_string().contains("broker-timeout"), "{error}");
        assert_eq!(watch.seen(&cluster, Ok(vec![0]), at(31)), Ok(Some(vec![0])));
        assert_eq!(watch.seen(&cluster, silence(), at(32)), Ok(None));
    }
}

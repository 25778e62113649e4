//! The thread that writes behind. After an error it stops for good: the store is then only older
//! than it could be, and is caught up or rebuilt at the next start.

use super::StateStoreConfig;
use super::pending::{Batch, Shared};

pub(super) fn run(shared: &Shared, config: &StateStoreConfig) {
    while let Some((epoch, batch)) = shared.next_batch(config) {
        let outcome = write(shared, epoch, &batch);
        if let Err(reason) = &outcome {
            tracing::error!(%reason, "the state store stops; it is rebuilt at the next start");
        }
        shared.batch_done(outcome);
    }
}

fn write(shared: &Shared, epoch: u64, batch: &Batch) -> Result<Option<u64>, String> {
    let database = shared.lock_database();
    if !shared.is_current(epoch) {
        return Ok(None);
    }
    let Some(marker) = &batch.marker else {
        return Ok(None);
    };
    database
        .write(&batch.changes, marker)
        .map_err(|error| error.to_string())?;
    Ok(marker.last_applied_index)
}

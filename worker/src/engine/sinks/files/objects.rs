//! Committing in a bucket, which has no rename: the staged object is read, compared with what the
//! checkpoint lists, and written under its final name if that is free. Repeatable like the rename: what
//! is there already and the same is done, and what is there and differs is never replaced.

use bytes::Bytes;
use regent_protocol::v1::Transaction;

use super::commit::{Found, Step, decide, differs};
use crate::engine::effects::Effects;
use crate::engine::error::TaskError;
use crate::engine::remote::Remote;

/// Commits one. Blocking.
pub(super) fn commit_one(effects: &Effects, transaction: &Transaction) -> Result<(), TaskError> {
    let remote = effects.remote()?;
    let (staged, last) = (&transaction.staged_path, &transaction.final_path);
    let last_found = look(&remote, last, transaction)?.0;
    let (staged_found, bytes) = match last_found {
        // Staging may be cleaned by now; nothing depends on it any more.
        Found::Same => (Found::Nothing, None),
        _ => look(&remote, staged, transaction)?,
    };
    match decide(staged_found, last_found) {
        Step::Done => Ok(()),
        Step::DoneButGone => {
            tracing::warn!(
                path = last,
                "committed output is not there any more and neither is its staging"
            );
            Ok(())
        }
        Step::FinalDiffers => Err(differs(last, "the final object")),
        Step::StagedDiffers => Err(differs(staged, "the staged object")),
        Step::Rename => {
            effects.allowed()?;
            if remote.put_create(last, bytes.unwrap_or_default())? {
                return Ok(());
            }
            Err(differs(last, "the final object"))
        }
    }
}

/// Compares an object with its transaction.
fn look(
    remote: &Remote,
    path: &str,
    transaction: &Transaction,
) -> Result<(Found, Option<Bytes>), TaskError> {
    let Some(bytes) = remote.get(path)? else {
        return Ok((Found::Nothing, None));
    };
    let same =
        bytes.len() as u64 == transaction.length && crc32c::crc32c(&bytes) == transaction.crc32c;
    if same {
        Ok((Found::Same, Some(bytes)))
    } else {
        Ok((Found::Other, None))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::engine::Authority;
    use crate::engine::remote::fake::Bucket;
    use crate::engine::sinks::files::commit::commit_all;

    struct May(bool);
    impl Authority for May {
        fn may_act(&self) -> bool {
            self.0
        }
    }

    const STAGED: &str = "s3://b/out/_staging/part";
    const LAST: &str = "s3://b/out/part";

    async fn commit(bucket: &Arc<Bucket>, may: bool) -> Result<(), TaskError> {
        let transaction = Transaction {
            staged_path: STAGED.to_owned(),
            final_path: LAST.to_owned(),
            length: 5,
            crc32c: crc32c::crc32c(b"hello"),
            ..Default::default()
        };
        let effects = Effects::with_remote(Arc::new(May(may)), Remote::new(bucket.clone()));
        effects.run(move |e| commit_all(e, &[transaction])).await
    }

    fn bucket(objects: &[(&str, &'static str)]) -> Arc<Bucket> {
        let bucket = Bucket::default();
        for (path, content) in objects {
            let content = Bytes::from(*content);
            bucket.objects().insert((*path).to_owned(), content);
        }
        Arc::new(bucket)
    }

    fn last(bucket: &Bucket) -> Option<Bytes> {
        bucket.objects().get(LAST).cloned()
    }

    #[tokio::test]
    async fn staged_becomes_final_as_often_as_asked() {
        let bucket = bucket(&[(STAGED, "hello")]);
        for _ in 0..2 {
            commit(&bucket, true).await.unwrap();
            assert_eq!(last(&bucket).unwrap(), "hello");
        }
        bucket.objects().remove(STAGED);
        commit(&bucket, true).await.unwrap();
        bucket.objects().remove(LAST);
        commit(&bucket, true).await.unwrap();
        assert_eq!(last(&bucket), None, "the user took it away");
    }

    #[tokio::test]
    async fn what_differs_is_neither_published_nor_replaced() {
        let other = bucket(&[(STAGED, "hello"), (LAST, "hullo")]);
        let error = commit(&other, true).await.unwrap_err().to_string();
        assert!(error.contains("the final object"), "{error}");
        assert_eq!(last(&other).unwrap(), "hullo");
        let torn = bucket(&[(STAGED, "hell")]);
        let error = commit(&torn, true).await.unwrap_err().to_string();
        assert!(error.contains("the staged object"), "{error}");
        assert_eq!(last(&torn), None);
    }

    #[tokio::test]
    async fn nothing_is_written_when_the_lease_is_over() {
        let bucket = bucket(&[(STAGED, "hello")]);
        assert_eq!(commit(&bucket, false).await, Err(TaskError::Lease));
        assert_eq!(last(&bucket), None);
    }
}

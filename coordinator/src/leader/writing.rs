//! Which checkpoints' `_metadata` this leader writes at the moment, so that its cleaner doesn't remove a directory
//! just before the file comes into it. It is for calm days: what another process writes late is swept (protocol §7).

use std::collections::BTreeSet;

use tokio::sync::watch;

/// Directories in which this process writes.
#[derive(Debug)]
pub(crate) struct Writing(watch::Sender<BTreeSet<String>>);

/// The write goes on until this is dropped.
#[derive(Debug)]
pub(crate) struct UnderWay<'a> {
    all: &'a Writing,
    path: &'a str,
}

impl Default for Writing {
    fn default() -> Self {
        Self(watch::Sender::new(BTreeSet::new()))
    }
}

impl Writing {
    /// From now on the directory is written in. Whoever begins must look afterwards whether it is still wanted:
    /// a cleaner that has seen that it isn't may have asked before.
    pub(crate) fn begin<'a>(&'a self, path: &'a str) -> UnderWay<'a> {
        self.0.send_modify(|paths| {
            paths.insert(path.to_owned());
        });
        UnderWay { all: self, path }
    }

    /// Completes when nothing is written in the directory; the writer's own time limit bounds it.
    pub(crate) async fn ended(&self, path: &str) {
        let mut paths = self.0.subscribe();
        let none = paths.wait_for(|paths| !paths.contains(path)).await;
        drop(none);
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.all.0.send_modify(|paths| {
            paths.remove(self.path);
        });
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_directory_is_free_when_its_write_has_ended() {
        let writing = Writing::default();
        let under_way = writing.begin("/c/job/1.1/chk-1");
        writing.ended("/c/job/1.1/chk-2").await;
        let ended = writing.ended("/c/job/1.1/chk-1");
        tokio::pin!(ended);
        assert!(ended.as_mut().now_or_never().is_none());
        drop(under_way);
        ended.await;
    }
}

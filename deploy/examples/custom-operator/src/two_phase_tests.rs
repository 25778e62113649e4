//! The sink without a cluster.

use std::path::Path;

use regent::testing::{self, SinkTrial, column};
use regent::{ColumnType, Result};

use crate::Lines;

fn trial(folder: &Path) -> SinkTrial {
    testing::two_phase_sink(Lines::new)
        .input([("n", ColumnType::Int64)])
        .config(serde_json::json!({ "folder": folder }))
}

fn read(folder: &Path, part: &str) -> String {
    let files = std::fs::read_dir(folder.join(part)).unwrap();
    let mut texts: Vec<String> = files
        .map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap())
        .collect();
    texts.sort();
    texts.concat()
}

#[tokio::test]
async fn what_a_checkpoint_lists_appears_once_and_nothing_else() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (trial, folder) = (trial(folder.path()), folder.path());
    let mut sink = trial.start().await?;
    sink.write(vec![column([1])]).await?;
    let first = sink.checkpoint().await?;
    sink.write(vec![column([2])]).await?;
    assert_eq!(read(folder, "done"), "", "nothing is complete");
    sink.abort(&first);
    let second = sink.checkpoint().await?;
    sink.complete(&second).await?;
    sink.complete(&second).await?;
    assert_eq!(read(folder, "done"), "1\n2\n");
    sink.write(vec![column([3])]).await?;
    let third = sink.checkpoint().await?;
    sink.write(vec![column([4])]).await?;
    sink.checkpoint().await?;
    drop(sink);

    let mut sink = trial.restore(&third).await?;
    assert_eq!(read(folder, "done"), "1\n2\n3\n", "what the third lists");
    assert_eq!(read(folder, "pending"), "", "and 4 comes again");
    sink.write(vec![column([4])]).await?;
    let last = sink.checkpoint().await?;
    sink.complete(&last).await?;
    assert_eq!(read(folder, "done"), "1\n2\n3\n4\n");
    assert_eq!(sink.pending(), 0);
    Ok(())
}

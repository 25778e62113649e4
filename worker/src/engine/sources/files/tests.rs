use std::fs;
use std::path::Path;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Float64Type, Int64Type};
use regent_protocol::spec::{ColumnSpec, ColumnType, FileFormat, OnError};

use super::*;

fn spec(path: &Path, on_error: OnError) -> FilesSourceSpec {
    let column = |name: &str, data_type| ColumnSpec {
        name: name.into(),
        data_type,
    };
    FilesSourceSpec {
        path: path.to_str().unwrap().to_owned(),
        format: FileFormat::Csv,
        on_error,
        rate: None,
        columns: vec![
            column("name", ColumnType::Utf8),
            column("n", ColumnType::Int64),
        ],
        discovery_interval_ms: None,
    }
}

async fn source(
    spec: FilesSourceSpec,
    (subtask, parallelism): (u32, u32),
    restored: Option<Vec<Bytes>>,
) -> Result<FilesSource, TaskError> {
    let start = SourceStart {
        subtask,
        parallelism,
        restored,
        listings: Arc::default(),
        remote: None,
    };
    FilesSource::start(spec, "v", start).await
}

fn rows_of(batch: &RecordBatch) -> Vec<(String, Option<i64>)> {
    let names = batch.column(0).as_string::<i32>();
    let numbers = batch.column(1).as_primitive::<Int64Type>();
    let row = |at| {
        let number = numbers.is_valid(at).then(|| numbers.value(at));
        (names.value(at).to_owned(), number)
    };
    (0..batch.num_rows()).map(row).collect()
}

async fn drain(source: &mut FilesSource) -> Result<Vec<(String, Option<i64>)>, TaskError> {
    let mut rows = Vec::new();
    loop {
        match source.next().await? {
            SourceStep::Batch(batch) => rows.extend(rows_of(&batch)),
            SourceStep::Wait(until) => tokio::time::sleep_until(until.into()).await,
            SourceStep::Watermark(_) | SourceStep::Idle => {}
            SourceStep::End => return Ok(rows),
        }
    }
}

async fn read_all(spec: FilesSourceSpec) -> Result<(Vec<(String, Option<i64>)>, u64), TaskError> {
    let mut source = source(spec, (0, 1), None).await?;
    let rows = drain(&mut source).await?;
    Ok((rows, source.skipped()))
}

fn row(name: &str, n: i64) -> (String, Option<i64>) {
    (name.to_owned(), Some(n))
}

#[tokio::test]
async fn columns_are_found_by_name_in_any_order() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(
        dir.path().join("b.csv"),
        "n,other,name\r\n3,x,\"c,\"\"d\"\r\n",
    )
    .unwrap();
    fs::write(dir.path().join("a.csv"), "\u{feff}name,n\na,1\n\nb,NA").unwrap();
    let (rows, skipped) = read_all(spec(dir.path(), OnError::Fail)).await.unwrap();
    assert_eq!(rows, [row("a", 1), ("b".to_owned(), None), row("c,\"d", 3)]);
    assert_eq!(skipped, 0);
}

#[tokio::test]
async fn bad_rows_name_file_and_line_or_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f.csv");
    fs::write(
        &path,
        "name,n\n\"two\nlines\",1\nb,x\nc,3,4\n\"d\"e,5\nf,6\n",
    )
    .unwrap();
    let error = read_all(spec(&path, OnError::Fail)).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("{}:4: column n: \"x\" is not int64", path.display())
    );
    let (rows, skipped) = read_all(spec(&path, OnError::Skip)).await.unwrap();
    assert_eq!(rows, [row("two\nlines", 1), row("f", 6)]);
    assert_eq!(skipped, 3);
}

#[tokio::test]
async fn missing_and_double_columns_name_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f.csv");
    for (text, what) in [
        ("name,m\na,1\n", "there is no column n in the header line"),
        (
            "name,n,n\na,1,1\n",
            "column n is there twice in the header line",
        ),
        ("", "no header line"),
    ] {
        fs::write(&path, text).unwrap();
        let error = read_all(spec(&path, OnError::Skip)).await.unwrap_err();
        assert_eq!(error.to_string(), format!("{}: {what}", path.display()));
    }
}

#[tokio::test]
async fn a_vanished_and_a_shrunk_file_fail_clearly() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f.csv");
    fs::write(&path, "name,n\na,1\nb,2\n").unwrap();
    let mut first = source(spec(&path, OnError::Fail), (0, 1), None)
        .await
        .unwrap();
    let items = first.snapshot().unwrap();
    fs::write(&path, "name,n\na,1\n").unwrap();
    let mut again = source(spec(&path, OnError::Fail), (0, 1), Some(items.clone()))
        .await
        .unwrap();
    let error = drain(&mut again).await.unwrap_err().to_string();
    assert!(error.contains("shrank: it had 15 bytes"), "{error}");
    fs::remove_file(&path).unwrap();
    let mut again = source(spec(&path, OnError::Fail), (0, 1), Some(items))
        .await
        .unwrap();
    let error = drain(&mut again).await.unwrap_err().to_string();
    assert!(error.contains("vanished"), "{error}");
}

/// Every cut of every file, restored at other parallelisms: each row once, new files ignored.
#[tokio::test]
async fn positions_restore_exactly_at_any_parallelism() {
    let dir = tempfile::tempdir().unwrap();
    let mut expected = Vec::new();
    for file in 0..5 {
        let mut text = "name,n\n".to_owned();
        for n in 0..40 {
            let name = format!("f{file} \"q\"\nr{n}");
            text.push_str(&format!("\"{}\",{n}\n", name.replace('"', "\"\"")));
            expected.push((name, Some(n)));
        }
        fs::write(dir.path().join(format!("{file}.csv")), text).unwrap();
    }
    expected.sort();
    let mut spec = spec(dir.path(), OnError::Fail);
    spec.rate = Some(3000.0);
    for (before, after) in [(1, 3), (3, 2), (2, 7)] {
        let mut rows = Vec::new();
        let mut items = Vec::new();
        for subtask in 0..before {
            let start = source(spec.clone(), (subtask, before), None).await;
            let mut part = start.unwrap();
            for _ in 0..(subtask + 1) * 3 {
                match part.next().await.unwrap() {
                    SourceStep::Batch(batch) => rows.extend(rows_of(&batch)),
                    SourceStep::Wait(until) => tokio::time::sleep_until(until.into()).await,
                    SourceStep::Watermark(_) | SourceStep::Idle => {}
                    SourceStep::End => break,
                }
            }
            items.extend(part.snapshot().unwrap());
        }
        assert!(rows.len() < expected.len(), "cut too late to show anything");
        fs::write(dir.path().join("later.csv"), "name,n\nlate,1\n").unwrap();
        for subtask in 0..after {
            let restored = Some(items.clone());
            let mut part = source(spec.clone(), (subtask, after), restored)
                .await
                .unwrap();
            rows.extend(drain(&mut part).await.unwrap());
        }
        fs::remove_file(dir.path().join("later.csv")).unwrap();
        rows.sort();
        assert_eq!(rows, expected, "{before} to {after}");
    }
}

#[tokio::test]
async fn the_end_is_told_at_once_however_slow_the_rate() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f.csv");
    fs::write(&path, "name,n\na,1\n").unwrap();
    let mut spec = spec(&path, OnError::Fail);
    spec.rate = Some(0.01);
    let mut source = source(spec, (0, 1), None).await.unwrap();
    assert!(matches!(source.next().await.unwrap(), SourceStep::Batch(_)));
    assert!(matches!(source.next().await.unwrap(), SourceStep::End));
}

#[tokio::test]
async fn json_lines() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f.jsonl");
    let text = "{\"n\":1,\"name\":\"a\",\"x\":[]}\n\n{\"name\":\"b\"}\n{\"n\":\"1\"}\nnope\n";
    fs::write(&path, text).unwrap();
    let mut spec = spec(&path, OnError::Skip);
    spec.format = FileFormat::JsonLines;
    let (rows, skipped) = read_all(spec.clone()).await.unwrap();
    assert_eq!(rows, [row("a", 1), ("b".to_owned(), None)]);
    assert_eq!(skipped, 2);
    spec.on_error = OnError::Fail;
    let error = read_all(spec).await.unwrap_err().to_string();
    assert!(
        error.ends_with("f.jsonl:4: column n: \"1\" is not int64"),
        "{error}"
    );
}

#[tokio::test]
async fn every_type_in_one_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f.csv");
    fs::write(&path, "f,b,t\n-2,true,2013-01-01T10:00:00Z\n,NA,\n").unwrap();
    let mut spec = spec(&path, OnError::Fail);
    spec.columns = [
        ("f", ColumnType::Float64),
        ("b", ColumnType::Boolean),
        ("t", ColumnType::Timestamp),
    ]
    .map(|(name, data_type)| ColumnSpec {
        name: name.into(),
        data_type,
    })
    .to_vec();
    let mut source = source(spec, (0, 1), None).await.unwrap();
    let SourceStep::Batch(batch) = source.next().await.unwrap() else {
        panic!("no batch");
    };
    assert_eq!(batch.column(0).as_primitive::<Float64Type>().value(0), -2.0);
    assert!(batch.column(1).as_boolean().value(0));
    for column in batch.columns() {
        assert!(column.is_null(1));
    }
}

#[tokio::test]
async fn a_record_without_end_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f.csv");
    let mut text = "name,n\n\"".to_owned();
    text.push_str(&"x".repeat(chunks::RECORD_BYTES_MAX + 1_000_000));
    fs::write(&path, text).unwrap();
    let error = read_all(spec(&path, OnError::Skip))
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("f.csv:2: the record is longer"), "{error}");
}

/// Rows until the source has nothing more for now.
async fn drain_for_now(source: &mut FilesSource) -> Result<Vec<(String, Option<i64>)>, TaskError> {
    let mut rows = Vec::new();
    while let SourceStep::Batch(batch) = source.next().await? {
        rows.extend(rows_of(&batch));
    }
    rows.sort();
    Ok(rows)
}

#[tokio::test]
async fn a_followed_directory_brings_new_files_and_never_ends() {
    let dir = tempfile::tempdir().unwrap();
    let followed = || FilesSourceSpec {
        discovery_interval_ms: Some(1),
        ..spec(dir.path(), OnError::Fail)
    };
    let put = |name: &str, n: i64| {
        fs::write(dir.path().join(name), format!("name,n\nx,{n}\n")).unwrap();
    };
    let mut first = source(followed(), (0, 1), None).await.unwrap();
    assert!(
        drain_for_now(&mut first).await.unwrap().is_empty(),
        "none is there yet"
    );
    put("b.csv", 1);
    tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    assert_eq!(drain_for_now(&mut first).await.unwrap(), [row("x", 1)]);
    put("a.csv", 2);
    put(".hidden", 9);
    tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    assert_eq!(drain_for_now(&mut first).await.unwrap(), [row("x", 2)]);
    let state = first.snapshot().unwrap();
    put("c.csv", 3);
    put("d.csv", 4);
    let mut rows = Vec::new();
    for subtask in 0..3 {
        let mut next = source(followed(), (subtask, 3), Some(state.clone()))
            .await
            .unwrap();
        rows.extend(drain_for_now(&mut next).await.unwrap());
    }
    rows.sort();
    assert_eq!(rows, [row("x", 3), row("x", 4)]);
    let ended = source(spec(dir.path(), OnError::Fail), (0, 1), Some(state)).await;
    let error = ended.err().unwrap().to_string();
    assert!(error.contains("discovery-interval"), "{error}");
    fs::remove_file(dir.path().join("c.csv")).unwrap();
    fs::remove_dir_all(dir.path()).unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    let gone = drain_for_now(&mut first).await.unwrap_err().to_string();
    assert!(gone.contains(dir.path().to_str().unwrap()), "{gone}");
}

//! Hashes and groups that are frozen, and that every row goes to its group.

use std::sync::Arc;

use arrow::array::{Float64Array, Int64Array, TimestampMicrosecondArray};
use proptest::prelude::*;

use super::*;

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, a)| (n, a, true)))
        .unwrap()
}

fn samples() -> RecordBatch {
    batch(vec![
        (
            "i",
            Arc::new(Int64Array::from(vec![
                Some(0),
                Some(-1),
                Some(i64::MAX),
                None,
            ])),
        ),
        (
            "f",
            Arc::new(Float64Array::from(vec![
                Some(0.0),
                Some(-2.5),
                Some(f64::NAN),
                None,
            ])),
        ),
        (
            "s",
            Arc::new(StringArray::from(vec![
                Some(""),
                Some("UA"),
                Some("Zürich"),
                None,
            ])),
        ),
        (
            "b",
            Arc::new(BooleanArray::from(vec![
                Some(false),
                Some(true),
                None,
                None,
            ])),
        ),
        (
            "t",
            Arc::new(TimestampMicrosecondArray::from(vec![
                Some(0),
                Some(1_357_034_400_000_000),
                Some(-1),
                None,
            ])),
        ),
    ])
}

fn hashes(batch: &RecordBatch, columns: &[usize]) -> Vec<u64> {
    let mut keys = Keys::default();
    keys.encode(batch, columns).unwrap();
    keys.hashes().to_vec()
}

#[test]
fn golden_bytes() {
    let mut keys = Keys::default();
    keys.encode(&samples(), &[0, 1, 2, 3, 4]).unwrap();
    let hex = |row| {
        keys.key(row)
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect::<String>()
    };
    assert_eq!(
        hex(0),
        "020000000000000000030000000000000000040000000001000500000000000000000"[..68].to_owned()
    );
    assert_eq!(
        hex(1),
        "02ffffffffffffffff0300000000000004c00402000000554101010500285c3137d20400"
    );
    assert_eq!(
        hex(2),
        "02ffffffffffffff7f03000000000000f87f04070000005ac3bc726963680005ffffffffffffffff"
    );
    assert_eq!(hex(3), "0000000000");
}

const NULL: u64 = 14144645293874801883;

/// Files of state name them: another division would give keys to tasks that don't have their state.
#[test]
fn golden_groups() {
    let groups = [
        10205921652976312551,
        5878741525932698725,
        16159872105594725339,
        u64::MAX,
        0,
    ]
    .map(group_of);
    assert_eq!(groups, [103, 101, 91, 127, 0]);
}

#[test]
fn golden_hashes() {
    let batch = samples();
    // Computed with another implementation of the hash as well.
    let golden: [(usize, [u64; 4]); 5] = [
        (
            0,
            [
                10205921652976312551,
                5878741525932698725,
                16159872105594725339,
                NULL,
            ],
        ),
        (
            1,
            [
                15119441974047193501,
                13896346772764374377,
                12126372437782907232,
                NULL,
            ],
        ),
        (
            2,
            [
                9905874499770833998,
                2287639047918618524,
                11725553396484668920,
                NULL,
            ],
        ),
        (3, [12363696039452112576, 508203992382727667, NULL, NULL]),
        (
            4,
            [
                12260652176833672929,
                11574803898131265360,
                6439498240696989326,
                NULL,
            ],
        ),
    ];
    for (column, expected) in golden {
        assert_eq!(hashes(&batch, &[column]), expected, "column {column}");
    }
}

#[test]
fn nan_and_zero_have_one_form() {
    let odd = f64::from_bits(0xfff8_0000_0000_0001);
    let batch = batch(vec![(
        "f",
        Arc::new(Float64Array::from(vec![0.0, -0.0, f64::NAN, odd])),
    )]);
    let hashes = hashes(&batch, &[0]);
    assert_eq!(hashes[0], hashes[1]);
    assert_eq!(hashes[2], hashes[3]);
    assert_ne!(hashes[0], hashes[2]);
}

#[test]
fn text_can_not_run_into_its_neighbour() {
    let batch = batch(vec![
        ("a", Arc::new(StringArray::from(vec!["ab", "a"]))),
        ("b", Arc::new(StringArray::from(vec!["c", "bc"]))),
    ]);
    let mut keys = Keys::default();
    keys.encode(&batch, &[0, 1]).unwrap();
    assert_ne!(keys.key(0), keys.key(1));
}

#[test]
fn every_group_has_one_subtask_at_every_parallelism() {
    for parallelism in 1..=MAX_PARALLELISM {
        let mut next = 0;
        for subtask in 0..parallelism {
            let groups = groups_of(subtask, parallelism);
            assert_eq!(groups.start, next);
            assert!(
                groups
                    .clone()
                    .all(|g| subtask_of(g, parallelism) == subtask)
            );
            assert!(!groups.is_empty());
            next = groups.end;
        }
        assert_eq!(next, MAX_PARALLELISM);
    }
}

#[test]
fn keys_decode_to_the_same_columns() {
    let batch = samples();
    let mut keys = Keys::default();
    keys.encode(&batch, &[0, 1, 2, 3, 4]).unwrap();
    use ColumnType::{Boolean, Float64, Int64, Timestamp, Utf8};
    let mut decoder = KeyDecoder::new(&[Int64, Float64, Utf8, Boolean, Timestamp]);
    for row in 0..4 {
        assert!(decoder.append(keys.key(row)));
    }
    for (at, array) in decoder.finish().iter().enumerate() {
        assert_eq!(format!("{array:?}"), format!("{:?}", batch.column(at)));
    }
}

proptest! {
    #[test]
    fn the_fast_path_gives_the_same(values in proptest::collection::vec(any::<i64>(), 0..50)) {
        let plain = batch(vec![("i", Arc::new(Int64Array::from(values.clone())))]);
        let mut with_null: Vec<Option<i64>> = values.into_iter().map(Some).collect();
        with_null.push(None);
        let nullable = batch(vec![("i", Arc::new(Int64Array::from(with_null)))]);
        let rows = plain.num_rows();
        prop_assert_eq!(hashes(&plain, &[0]), hashes(&nullable, &[0])[..rows].to_vec());
    }

    #[test]
    fn decoding_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
        use ColumnType::{Boolean, Int64, Utf8};
        let _ = KeyDecoder::new(&[Utf8, Int64, Boolean]).append(&bytes);
    }
}

//! The arithmetic of sum, avg, min and max: one value after the other into a small state.

use std::cmp::Ordering;
use std::marker::PhantomData;

use arrow::datatypes::{ArrowPrimitiveType, Float64Type, Int64Type, TimestampMicrosecondType};

use super::accumulator::{Native, take};
use crate::engine::error::TaskError;

/// A function over one numeric column.
pub(super) trait Fold: Send + 'static {
    type Input: ArrowPrimitiveType;
    type Output: ArrowPrimitiveType;
    type State: Default + Copy + Send;

    fn add(&self, state: &mut Self::State, value: Native<Self::Input>) -> Result<(), TaskError>;
    fn value(&self, state: &Self::State) -> Option<Native<Self::Output>>;
    fn encode(state: &Self::State, out: &mut Vec<u8>);
    fn decode(bytes: &mut &[u8]) -> Option<Self::State>;
}

/// An optional 8-byte value: a flag, then the value.
fn encode_word(word: Option<[u8; 8]>, out: &mut Vec<u8>) {
    match word {
        None => out.push(0),
        Some(word) => {
            out.push(1);
            out.extend_from_slice(&word);
        }
    }
}

fn decode_word(bytes: &mut &[u8]) -> Option<Option<[u8; 8]>> {
    match take(bytes)? {
        [0] => Some(None),
        [1] => Some(Some(take(bytes)?)),
        _ => None,
    }
}

/// `sum(int64)`, checked; carries the column's name for its message.
pub(super) struct SumInt(pub(super) String);

impl Fold for SumInt {
    type Input = Int64Type;
    type Output = Int64Type;
    type State = Option<i64>;

    fn add(&self, state: &mut Option<i64>, value: i64) -> Result<(), TaskError> {
        let sum = state.unwrap_or(0).checked_add(value).ok_or_else(|| {
            TaskError::task(format!(
                "sum({}) went beyond the range of int64 while adding {value}",
                self.0
            ))
        })?;
        *state = Some(sum);
        Ok(())
    }

    fn value(&self, state: &Option<i64>) -> Option<i64> {
        *state
    }

    fn encode(state: &Option<i64>, out: &mut Vec<u8>) {
        encode_word(state.map(i64::to_le_bytes), out);
    }

    fn decode(bytes: &mut &[u8]) -> Option<Option<i64>> {
        Some(decode_word(bytes)?.map(i64::from_le_bytes))
    }
}

/// `sum(float64)`.
pub(super) struct SumFloat;

impl Fold for SumFloat {
    type Input = Float64Type;
    type Output = Float64Type;
    type State = Option<f64>;

    fn add(&self, state: &mut Option<f64>, value: f64) -> Result<(), TaskError> {
        *state = Some(state.unwrap_or(0.0) + value);
        Ok(())
    }

    fn value(&self, state: &Option<f64>) -> Option<f64> {
        *state
    }

    fn encode(state: &Option<f64>, out: &mut Vec<u8>) {
        encode_word(state.map(f64::to_le_bytes), out);
    }

    fn decode(bytes: &mut &[u8]) -> Option<Option<f64>> {
        Some(decode_word(bytes)?.map(f64::from_le_bytes))
    }
}

/// `avg(int64)`: the sum is exact, whatever the order of the rows.
pub(super) struct AvgInt;

impl Fold for AvgInt {
    type Input = Int64Type;
    type Output = Float64Type;
    type State = (i128, i64);

    fn add(&self, (sum, count): &mut (i128, i64), value: i64) -> Result<(), TaskError> {
        *sum += i128::from(value);
        *count += 1;
        Ok(())
    }

    fn value(&self, (sum, count): &(i128, i64)) -> Option<f64> {
        (*count > 0).then(|| *sum as f64 / *count as f64)
    }

    fn encode((sum, count): &(i128, i64), out: &mut Vec<u8>) {
        out.extend_from_slice(&sum.to_le_bytes());
        out.extend_from_slice(&count.to_le_bytes());
    }

    fn decode(bytes: &mut &[u8]) -> Option<(i128, i64)> {
        let sum = i128::from_le_bytes(take(bytes)?);
        Some((sum, i64::from_le_bytes(take(bytes)?)))
    }
}

/// `avg(float64)`.
pub(super) struct AvgFloat;

impl Fold for AvgFloat {
    type Input = Float64Type;
    type Output = Float64Type;
    type State = (f64, i64);

    fn add(&self, (sum, count): &mut (f64, i64), value: f64) -> Result<(), TaskError> {
        *sum += value;
        *count += 1;
        Ok(())
    }

    fn value(&self, (sum, count): &(f64, i64)) -> Option<f64> {
        (*count > 0).then(|| *sum / *count as f64)
    }

    fn encode((sum, count): &(f64, i64), out: &mut Vec<u8>) {
        out.extend_from_slice(&sum.to_le_bytes());
        out.extend_from_slice(&count.to_le_bytes());
    }

    fn decode(bytes: &mut &[u8]) -> Option<(f64, i64)> {
        let sum = f64::from_le_bytes(take(bytes)?);
        Some((sum, i64::from_le_bytes(take(bytes)?)))
    }
}

/// Types that have a smallest and a largest value.
pub(super) trait Ordered: ArrowPrimitiveType {
    fn order(left: Self::Native, right: Self::Native) -> Ordering;
    fn to_word(value: Self::Native) -> [u8; 8];
    fn of_word(word: [u8; 8]) -> Self::Native;
}

impl Ordered for Int64Type {
    fn order(left: i64, right: i64) -> Ordering {
        left.cmp(&right)
    }
    fn to_word(value: i64) -> [u8; 8] {
        value.to_le_bytes()
    }
    fn of_word(word: [u8; 8]) -> i64 {
        i64::from_le_bytes(word)
    }
}

impl Ordered for TimestampMicrosecondType {
    fn order(left: i64, right: i64) -> Ordering {
        left.cmp(&right)
    }
    fn to_word(value: i64) -> [u8; 8] {
        value.to_le_bytes()
    }
    fn of_word(word: [u8; 8]) -> i64 {
        i64::from_le_bytes(word)
    }
}

impl Ordered for Float64Type {
    /// NaN is above all numbers, so that the order of the rows doesn't matter.
    fn order(left: f64, right: f64) -> Ordering {
        match (left.is_nan(), right.is_nan()) {
            (false, false) => left.partial_cmp(&right).unwrap_or(Ordering::Equal),
            (left, right) => left.cmp(&right),
        }
    }
    fn to_word(value: f64) -> [u8; 8] {
        value.to_le_bytes()
    }
    fn of_word(word: [u8; 8]) -> f64 {
        f64::from_le_bytes(word)
    }
}

/// `min` or `max`.
pub(super) struct Extreme<T> {
    wanted: Ordering,
    kind: PhantomData<T>,
}

impl<T> Extreme<T> {
    pub(super) fn new(max: bool) -> Self {
        Self {
            wanted: if max {
                Ordering::Greater
            } else {
                Ordering::Less
            },
            kind: PhantomData,
        }
    }
}

impl<T: Ordered + Send> Fold for Extreme<T>
where
    T::Native: Default,
{
    type Input = T;
    type Output = T;
    type State = Option<T::Native>;

    fn add(&self, state: &mut Self::State, value: T::Native) -> Result<(), TaskError> {
        if state.is_none_or(|best| T::order(value, best) == self.wanted) {
            *state = Some(value);
        }
        Ok(())
    }

    fn value(&self, state: &Self::State) -> Option<T::Native> {
        *state
    }

    fn encode(state: &Self::State, out: &mut Vec<u8>) {
        encode_word(state.map(T::to_word), out);
    }

    fn decode(bytes: &mut &[u8]) -> Option<Self::State> {
        Some(decode_word(bytes)?.map(T::of_word))
    }
}

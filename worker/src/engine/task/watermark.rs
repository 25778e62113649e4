//! The watermark of a task: the lowest of its inputs', which never goes back. An input that ended
//! doesn't hold it back.

/// Watermarks of the inputs of one task.
#[derive(Debug, Clone)]
pub(super) struct Watermarks {
    inputs: Vec<i64>,
    lowest: i64,
}

impl Watermarks {
    pub(super) fn new(inputs: usize) -> Self {
        Self {
            inputs: vec![i64::MIN; inputs],
            lowest: i64::MIN,
        }
    }

    /// An input's watermark; answers the task's if that rises.
    pub(super) fn advance(&mut self, input: usize, micros: i64) -> Option<i64> {
        self.inputs[input] = self.inputs[input].max(micros);
        let lowest = self.inputs.iter().copied().min()?;
        if lowest <= self.lowest {
            return None;
        }
        self.lowest = lowest;
        Some(lowest)
    }

    /// An input ended.
    pub(super) fn end(&mut self, input: usize) -> Option<i64> {
        self.advance(input, i64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_counts_and_never_falls() {
        let mut marks = Watermarks::new(2);
        assert_eq!(marks.advance(0, 5), None);
        assert_eq!(marks.advance(1, 3), Some(3));
        assert_eq!(marks.advance(1, 2), None);
        assert_eq!(marks.advance(1, 9), Some(5));
        assert_eq!(marks.end(0), Some(9));
        assert_eq!(marks.end(1), Some(i64::MAX));
    }
}

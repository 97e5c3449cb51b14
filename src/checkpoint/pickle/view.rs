//! Views: which numbers of a storage a tensor has, by offset, shape and strides, as PyTorch counts them.

use std::ops::Range;

/// Dimensions of a tensor that PyTorch allows.
pub(super) const MOST_DIMENSIONS: usize = 64;

/// A tensor's numbers in a storage.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct View {
    shape: Vec<usize>,
    /// Numbers from one index of a dimension to the next.
    strides: Vec<usize>,
    /// The storage's numbers from the tensor's first to its last.
    span: Range<u64>,
    /// Numbers of the tensor.
    count: u64,
}

impl View {
    /// A view, or what is wrong with it.
    pub(super) fn new(offset: u64, shape: &[u64], strides: &[u64]) -> Result<Self, String> {
        let senseless = || format!("has no sensible shape, {shape:?} with strides {strides:?} from {offset} on");
        if shape.len() != strides.len() || shape.len() > MOST_DIMENSIONS {
            return Err(senseless());
        }
        let count = shape.iter().try_fold(1u64, |count, &dim| count.checked_mul(dim));
        let last = shape
            .iter()
            .zip(strides)
            .try_fold(offset, |last, (&dim, &stride)| last.checked_add(dim.saturating_sub(1).checked_mul(stride)?));
        // Bytes of up to 16 a number must be countable, too.
        let fits = |number: u64| number.checked_mul(16).is_some_and(|bytes| isize::try_from(bytes).is_ok());
        let (Some(count), Some(last)) = (count.filter(|&count| fits(count)), last.filter(|&last| fits(last))) else {
            return Err(senseless());
        };
        let narrow = |numbers: &[u64]| numbers.iter().map(|&number| usize::try_from(number).ok()).collect();
        let (Some::<Vec<usize>>(shape), Some::<Vec<usize>>(mut strides)) = (narrow(shape), narrow(strides)) else {
            return Err(senseless());
        };
        // Where there is one index, the stride may be anything; it is never gone.
        strides.iter_mut().zip(&shape).filter(|&(_, &dim)| dim < 2).for_each(|(stride, _)| *stride = 0);
        let span = if count == 0 { offset..offset } else { offset..last + 1 };
        Ok(Self { shape, strides, span, count })
    }

    pub(super) fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Numbers of the tensor, more than the span has where some are seen twice.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// The storage's numbers from the first to the last, which the tensor may not all have.
    pub(super) fn span(&self) -> Range<u64> {
        self.span.clone()
    }

    /// Moves the view by so many numbers.
    pub(super) fn moved(mut self, by: u64) -> Option<Self> {
        self.span = self.span.start.checked_add(by)?..self.span.end.checked_add(by)?;
        Some(self)
    }

    /// How far apart rows begin, where the numbers of each row follow each other and reading it by itself pays.
    pub(super) fn stride_of_rows(&self) -> Option<u64> {
        let (&rows, &stride) = (self.shape.first()?, self.strides.first()?);
        let row = self.count.checked_div(rows as u64).unwrap_or_default();
        match self.shape.len() - self.in_sequence() {
            0 => Some(row),
            1 if row >= LONG_ROW => Some(stride as u64),
            _ => None,
        }
    }

    /// How many of the last dimensions lie as if they were one.
    fn in_sequence(&self) -> usize {
        let mut next = 1;
        let dims = self.shape.iter().zip(&self.strides).rev();
        dims.take_while(|&(&dim, &stride)| {
            let follows = dim == 1 || stride == next;
            next = next.saturating_mul(dim);
            follows
        })
        .count()
    }

    /// The tensor's numbers in order, as runs of the span.
    pub(super) fn runs(&self) -> impl Iterator<Item = Range<usize>> {
        let outer = self.shape.len() - self.in_sequence();
        let length: usize = self.shape[outer..].iter().product();
        let (shape, strides) = (&self.shape[..outer], &self.strides[..outer]);
        let mut next = (self.count > 0).then(|| (vec![0; outer], 0));
        std::iter::from_fn(move || {
            let (index, start) = next.as_mut()?;
            let run = *start..*start + length;
            // The next index, as an odometer has it.
            let mut dimension = outer;
            loop {
                if dimension == 0 {
                    next = None;
                    break;
                }
                dimension -= 1;
                index[dimension] += 1;
                *start += strides[dimension];
                if index[dimension] < shape[dimension] {
                    break;
                }
                *start -= strides[dimension] * shape[dimension];
                index[dimension] = 0;
            }
            Some(run)
        })
    }
}

/// Numbers of a row for which a read of its own pays.
const LONG_ROW: u64 = 128;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The numbers of a view of 0, 1, 2, …, one by one.
    fn one_by_one(offset: u64, shape: &[u64], strides: &[u64]) -> Vec<u64> {
        let count: u64 = shape.iter().product();
        (0..count)
            .map(|mut index| {
                let mut place = offset;
                for (&dim, &stride) in shape.iter().zip(strides).rev() {
                    place += index % dim * stride;
                    index /= dim;
                }
                place
            })
            .collect()
    }

    fn numbers(view: &View) -> Vec<u64> {
        view.runs().flatten().map(|place| place as u64 + view.span().start).collect()
    }

    proptest! {
        #[test]
        fn runs_are_the_numbers_in_order(
            dims in proptest::collection::vec((0..5u64, prop_oneof![0..8u64, Just(1), Just(60)]), 0..5),
            offset in 0..9u64,
        ) {
            let (shape, strides): (Vec<u64>, Vec<u64>) = dims.into_iter().unzip();
            let view = View::new(offset, &shape, &strides).unwrap();
            let expected = one_by_one(offset, &shape, &strides);
            prop_assert_eq!(view.count(), expected.len() as u64);
            if let (Some(first), Some(last)) = (expected.iter().min(), expected.iter().max()) {
                prop_assert_eq!(view.span(), *first..*last + 1);
            } else {
                prop_assert!(view.span().is_empty());
            }
            prop_assert_eq!(numbers(&view), expected);
        }

        #[test]
        fn rows_that_are_read_by_themselves_are_the_numbers(rows in 1..5u64, row in prop_oneof![1..4u64, 127..200u64], stride in 0..300u64) {
            let view = View::new(3, &[rows, row], &[stride, 1]).unwrap();
            if let Some(stride) = view.stride_of_rows() {
                let by_rows: Vec<u64> = (0..rows).flat_map(|index| (0..row).map(move |at| 3 + index * stride + at)).collect();
                prop_assert_eq!(by_rows, numbers(&view));
            } else {
                prop_assert!(row < LONG_ROW && stride != row);
            }
        }
    }

    #[test]
    fn what_pytorch_calls_contiguous_is_one_run() {
        for (shape, strides) in
            [(&[2, 3][..], &[3, 1][..]), (&[1, 3], &[77, 1]), (&[3, 1], &[1, 99]), (&[4], &[1]), (&[], &[])]
        {
            assert_eq!(View::new(0, shape, strides).unwrap().runs().count(), 1, "{shape:?} {strides:?}");
        }
        assert_eq!(View::new(0, &[2, 3], &[1, 2]).unwrap().stride_of_rows(), None);
    }

    #[test]
    fn what_no_tensor_can_be_is_refused() {
        let senseless = [
            (0, &[2, 2][..], &[1][..]),
            (0, &[1 << 40, 1 << 40], &[1, 1]),
            (0, &[3, 3], &[u64::MAX / 2, 1]),
            (u64::MAX, &[1], &[1]),
            (0, &[1; 65], &[1; 65]),
            (0, &[0, 1 << 62], &[1, 1 << 62]),
        ];
        for (offset, shape, strides) in senseless {
            assert!(View::new(offset, shape, strides).unwrap_err().contains("sensible"), "{shape:?} {strides:?}");
        }
        // The stride of a dimension of one index is never gone.
        assert_eq!(numbers(&View::new(5, &[1, 2], &[u64::MAX / 32, 1]).unwrap()), [5, 6]);
        assert!(View::new(0, &[2], &[1]).unwrap().moved(u64::MAX).is_none());
    }
}

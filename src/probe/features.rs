//! Standardized vectors of examples, held in memory if they fit and otherwise read again on each pass.

use std::ops::Range;

use rayon::prelude::*;

use crate::directory::stored::StoredArray;
use crate::error::Result;

/// Number of examples that are read at once.
const PIECE: usize = 512;

/// Vectors of examples, (examples, columns), from which `mean` is subtracted before they are multiplied by `scale`.
#[derive(Debug)]
pub struct Features {
    store: Store,
    examples: usize,
    columns: usize,
    standard: Standard,
}

#[derive(Debug)]
enum Store {
    /// The vectors, already standardized.
    Memory(Vec<f32>),
    /// The stored arrays, whose columns lie side by side, and the row of each example in them; not standardized.
    File(Vec<StoredArray>, Vec<u64>),
}

/// A standardization, which gives every column a mean of 0 and a standard deviation of 1 over some examples; (columns)
/// each.
#[derive(Debug, Clone)]
pub struct Standard {
    /// The means, which are subtracted.
    pub mean: Vec<f64>,
    /// The factors, which are applied after that.
    pub scale: Vec<f64>,
}

/// Sums over examples, (columns) each.
#[derive(Debug, Clone)]
pub struct Moments {
    count: f64,
    sum: Vec<f64>,
    squares: Vec<f64>,
}

impl Features {
    /// Loads the vectors of examples whose rows in each of `arrays` are `rows`; the columns of the arrays lie side by side.
    /// They are standardized by `standard`, or by their own mean and standard deviation. At most `budget` bytes are kept in
    /// memory.
    ///
    /// # Errors
    /// Those of [`StoredArray::read`].
    pub fn load(arrays: Vec<StoredArray>, rows: Vec<u64>, standard: Option<&Standard>, budget: u64) -> Result<Self> {
        let (examples, columns) = (rows.len(), arrays.iter().map(|array| array.columns).sum());
        let bytes = (examples * columns * 4) as u64;
        let raw = Standard { mean: vec![0.0; columns], scale: vec![1.0; columns] };
        let mut features = Self { store: Store::File(arrays, rows), examples, columns, standard: raw };
        if bytes <= budget {
            let mut numbers = vec![0.0; examples * columns];
            numbers.par_chunks_mut(PIECE * columns).enumerate().try_for_each(|(piece, numbers)| {
                let first = piece * PIECE;
                features.read(first..first + numbers.len() / columns, numbers)
            })?;
            features.store = Store::Memory(numbers);
        }
        let standard = match standard {
            Some(standard) => standard.clone(),
            None => {
                let pieces = features.pieces(0..examples);
                // Two passes, so that a large mean does not cost a small deviation its digits.
                let mean = features.moments(&pieces)?.standard().mean;
                let scale = features.moments_about(&mean, &pieces)?.standard().scale;
                Standard { mean, scale }
            }
        };
        features.standard = standard;
        if let Store::Memory(numbers) = &mut features.store {
            let standard = &features.standard;
            numbers.par_chunks_mut(columns).for_each(|row| standard.apply(row));
        }
        Ok(features)
    }

    /// Features from numbers, (examples, columns), that are standardized here.
    #[cfg(test)]
    pub(super) fn of(numbers: &[f32], columns: usize) -> Self {
        let rows = 0..(numbers.len() / columns) as u64;
        Self::load(vec![StoredArray::of(numbers, columns)], rows.collect(), None, u64::MAX).unwrap()
    }

    /// Number of examples.
    pub fn examples(&self) -> usize {
        self.examples
    }

    /// Width of a vector.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Size of the vectors held in memory, in bytes.
    pub fn bytes_held(&self) -> u64 {
        if let Store::Memory(numbers) = &self.store { 4 * numbers.len() as u64 } else { 0 }
    }

    /// The standardization of the vectors.
    pub fn standard(&self) -> &Standard {
        &self.standard
    }

    /// The standardized vectors of some examples; `buffer` holds them if they are not in memory.
    ///
    /// # Errors
    /// Those of [`StoredArray::read`].
    pub fn rows<'a>(&'a self, examples: Range<usize>, buffer: &'a mut Vec<f32>) -> Result<&'a [f32]> {
        let count = examples.len() * self.columns;
        if let Store::Memory(numbers) = &self.store {
            return Ok(&numbers[examples.start * self.columns..][..count]);
        }
        buffer.resize(count, 0.0);
        self.read(examples, buffer)?;
        buffer.chunks_exact_mut(self.columns).for_each(|row| self.standard.apply(row));
        Ok(buffer)
    }

    /// The moments of some examples.
    ///
    /// # Errors
    /// Those of [`StoredArray::read`].
    pub fn moments(&self, chunks: &[Range<usize>]) -> Result<Moments> {
        self.moments_about(&vec![0.0; self.columns], chunks)
    }

    /// The moments of some examples about `centre`.
    fn moments_about(&self, centre: &[f64], chunks: &[Range<usize>]) -> Result<Moments> {
        let of_chunk = |chunk: &Range<usize>| {
            let mut moments = Moments::new(self.columns);
            for row in self.rows(chunk.clone(), &mut Vec::new())?.chunks_exact(self.columns) {
                moments.count += 1.0;
                let sums = moments.sum.iter_mut().zip(&mut moments.squares);
                for ((sum, square), (&value, centre)) in sums.zip(row.iter().zip(centre)) {
                    let value = f64::from(value) - centre;
                    *sum += value;
                    *square += value * value;
                }
            }
            Ok(moments)
        };
        // Collected in order, so that the sums do not depend on the number of threads.
        let all: Vec<Moments> = chunks.par_iter().map(of_chunk).collect::<Result<_>>()?;
        Ok(all.iter().fold(Moments::new(self.columns), Moments::plus))
    }

    fn pieces(&self, examples: Range<usize>) -> Vec<Range<usize>> {
        examples.clone().step_by(PIECE).map(|start| start..(start + PIECE).min(examples.end)).collect()
    }

    /// Reads vectors without standardizing them.
    fn read(&self, examples: Range<usize>, out: &mut [f32]) -> Result<()> {
        let Store::File(arrays, rows) = &self.store else { return Ok(()) };
        let rows = &rows[examples];
        let [array] = &arrays[..] else {
            let (mut begin, mut buffer) = (0, Vec::new());
            for array in arrays {
                buffer.resize(rows.len() * array.columns, 0.0);
                read_rows(array, rows, &mut buffer)?;
                for (out, row) in out.chunks_exact_mut(self.columns).zip(buffer.chunks_exact(array.columns)) {
                    out[begin..begin + array.columns].copy_from_slice(row);
                }
                begin += array.columns;
            }
            return Ok(());
        };
        read_rows(array, rows, out)
    }
}

/// Reads rows of an array, (rows, columns). Consecutive ones are read at once.
fn read_rows(array: &StoredArray, rows: &[u64], out: &mut [f32]) -> Result<()> {
    let mut first = 0;
    while first < rows.len() {
        let follow = rows[first..].windows(2).take_while(|pair| pair[0] + 1 == pair[1]).count();
        let end = first + follow + 1;
        array.read(rows[first]..rows[end - 1] + 1, &mut out[first * array.columns..end * array.columns])?;
        first = end;
    }
    Ok(())
}

impl Standard {
    pub(super) fn apply(&self, row: &mut [f32]) {
        for ((value, mean), scale) in row.iter_mut().zip(&self.mean).zip(&self.scale) {
            *value = ((f64::from(*value) - mean) * scale) as f32;
        }
    }
}

impl Moments {
    /// The moments of no examples.
    pub fn new(columns: usize) -> Self {
        Self { count: 0.0, sum: vec![0.0; columns], squares: vec![0.0; columns] }
    }

    /// The moments of both sets of examples together.
    #[must_use]
    pub fn plus(mut self, other: &Self) -> Self {
        self.count += other.count;
        self.sum.iter_mut().zip(&other.sum).for_each(|(sum, other)| *sum += other);
        self.squares.iter_mut().zip(&other.squares).for_each(|(sum, other)| *sum += other);
        self
    }

    /// The standardization by these moments, with the population's standard deviation (divided by n). A column that is
    /// constant stays as it is, as in scikit-learn's `StandardScaler`.
    pub fn standard(&self) -> Standard {
        let count = self.count.max(1.0);
        let mean: Vec<f64> = self.sum.iter().map(|sum| sum / count).collect();
        let scale = self.squares.iter().zip(&mean).map(|(squares, mean)| {
            let variance = squares / count - mean * mean;
            if variance > 1e-14 * (squares / count) { variance.sqrt().recip() } else { 1.0 }
        });
        Standard { scale: scale.collect(), mean }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_have_mean_0_and_deviation_1() {
        let numbers: Vec<f32> = (0..300).flat_map(|i| [1000.0 + (i % 7) as f32, 5.0, -(i as f32)]).collect();
        let load =
            |budget| Features::load(vec![StoredArray::of(&numbers, 3)], (0..300).collect(), None, budget).unwrap();
        for features in [load(u64::MAX), load(0)] {
            let standard = features.moments(&[0..100, 100..300]).unwrap().standard();
            for column in [0, 2] {
                assert!(
                    standard.mean[column].abs() < 1e-5 && (standard.scale[column] - 1.0).abs() < 1e-5,
                    "{standard:?}"
                );
            }
            assert_eq!((features.standard().scale[1], features.standard().mean[1]), (1.0, 5.0), "a constant stays");
            let half = features.moments(&[0..100, 100..150]).unwrap().standard();
            assert!(
                (half.mean[2] - 0.866).abs() < 0.01,
                "the first half of a falling column lies above its mean: {half:?}"
            );
        }
        // The same columns from two arrays side by side.
        let columns = |wanted: std::ops::Range<usize>| {
            let rows = numbers.chunks_exact(3).flat_map(|row| row[wanted.clone()].to_vec());
            StoredArray::of(&rows.collect::<Vec<f32>>(), wanted.len())
        };
        for budget in [u64::MAX, 0] {
            let (mut whole, mut parts) = (Vec::new(), Vec::new());
            let beside = Features::load(vec![columns(0..1), columns(1..3)], (0..300).collect(), None, budget).unwrap();
            assert_eq!(beside.columns(), 3);
            assert_eq!(beside.rows(0..300, &mut parts).unwrap(), load(budget).rows(0..300, &mut whole).unwrap());
        }
        let (mut kept, mut read) = (Vec::new(), Vec::new());
        assert_eq!(load(u64::MAX).rows(3..200, &mut kept).unwrap(), load(0).rows(3..200, &mut read).unwrap());
    }
}

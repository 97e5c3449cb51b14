//! Tile registers for bfloat16 and for bytes: matrices of at most 16 rows of 64 bytes. What a kernel wants of them, and a model of them in
//! Rust, by which the processor's own are judged.

/// Rows of a tile, and 32-bit numbers of a row.
pub(super) const TILE: usize = 16;

/// Eight tile registers: 0 to 3 for sums, 4 and 5 for rows of the left-hand matrix, 6 and 7 for rows of panels.
pub(super) trait TileRegisters {
    /// Sets the shapes of all tiles, which are zero then.
    fn configure(&mut self, shapes: TileShapes);

    /// Loads tile T from memory, its rows `stride` numbers apart.
    fn load<const T: usize>(&mut self, numbers: &[u32], stride: usize);

    /// Makes tile T zero.
    fn zero<const T: usize>(&mut self);

    /// Stores tile T in memory, its rows `stride` numbers apart.
    fn store<const T: usize>(&mut self, numbers: &mut [u32], stride: usize);

    /// Adds to the sums C the product of the rows A and the panel's rows B, both pairs of bfloat16. For each sum:
    /// the products of the first of every pair are added up from 0 on by fused multiply-adds, in order, those of the second
    /// likewise, and then the sum of the two is added.
    fn multiply<const C: usize, const A: usize, const B: usize>(&mut self);

    /// Adds to the sums C, of 32-bit integers, the product of the rows A, quads of bytes with a sign, and the panel's rows B, quads of
    /// bytes without one.
    fn multiply_bytes<const C: usize, const A: usize, const B: usize>(&mut self);

    /// Gives the registers up.
    fn release(&mut self);
}

/// The shapes of the tiles of a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TileShapes {
    /// How many rows, from 1 to 16, tiles 4 and 5 have, and the sums that belong to them.
    pub(super) rows: [usize; 2],
    /// Elements of the inner dimension, from 1 to 16: 32-bit numbers of a row of tiles 4 and 5, and rows of tiles 6 and 7.
    pub(super) inner: usize,
}

impl TileShapes {
    /// Where nothing is configured.
    pub(super) const NONE: TileShapes = TileShapes { rows: [0; 2], inner: 0 };

    /// How many rows a tile has.
    pub(super) fn rows_of(&self, tile: usize) -> usize {
        match tile {
            0 | 1 | 4 => self.rows[0],
            2 | 3 | 5 => self.rows[1],
            _ => self.inner,
        }
    }

    /// How many 32-bit numbers a row of a tile has.
    pub(super) fn numbers_of(&self, tile: usize) -> usize {
        if matches!(tile, 4 | 5) { self.inner } else { TILE }
    }
}

/// Tile registers as the manual describes them (Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2,
/// `TDPBF16PS` and `TDPBSUD`), one number at a time.
pub(super) struct TileModel {
    /// (tiles, rows, numbers)
    tiles: [[[u32; TILE]; TILE]; 8],
    /// As configured.
    shapes: TileShapes,
}

impl TileModel {
    pub(super) fn new() -> Self {
        Self { tiles: [[[0; TILE]; TILE]; 8], shapes: TileShapes::NONE }
    }
}

impl TileRegisters for TileModel {
    fn configure(&mut self, shapes: TileShapes) {
        *self = Self { shapes, ..Self::new() };
    }

    fn load<const T: usize>(&mut self, numbers: &[u32], stride: usize) {
        let count = self.shapes.numbers_of(T);
        for row in 0..self.shapes.rows_of(T) {
            self.tiles[T][row][..count].copy_from_slice(&numbers[row * stride..][..count]);
        }
    }

    fn zero<const T: usize>(&mut self) {
        self.tiles[T] = [[0; TILE]; TILE];
    }

    fn store<const T: usize>(&mut self, numbers: &mut [u32], stride: usize) {
        let count = self.shapes.numbers_of(T);
        for row in 0..self.shapes.rows_of(T) {
            numbers[row * stride..][..count].copy_from_slice(&self.tiles[T][row][..count]);
        }
    }

    fn multiply<const C: usize, const A: usize, const B: usize>(&mut self) {
        let low = |pair: u32| f32::from_bits(pair << 16);
        let high = |pair: u32| f32::from_bits(pair & 0xffff_0000);
        for row in 0..self.shapes.rows_of(A) {
            for column in 0..TILE {
                let (mut first, mut second) = (0.0f32, 0.0f32);
                for k in 0..self.shapes.inner {
                    let (a, b) = (self.tiles[A][row][k], self.tiles[B][k][column]);
                    first = low(a).mul_add(low(b), first);
                    second = high(a).mul_add(high(b), second);
                }
                let sum = &mut self.tiles[C][row][column];
                *sum = (f32::from_bits(*sum) + (first + second)).to_bits();
            }
        }
    }

    fn multiply_bytes<const C: usize, const A: usize, const B: usize>(&mut self) {
        for row in 0..self.shapes.rows_of(A) {
            for column in 0..TILE {
                let mut sum = self.tiles[C][row][column].cast_signed();
                for k in 0..self.shapes.inner {
                    let (a, b) = (self.tiles[A][row][k].to_le_bytes(), self.tiles[B][k][column].to_le_bytes());
                    for (a, b) in a.into_iter().zip(b) {
                        sum += i32::from(a.cast_signed()) * i32::from(b);
                    }
                }
                self.tiles[C][row][column] = sum.cast_unsigned();
            }
        }
    }

    fn release(&mut self) {
        *self = Self::new();
    }
}

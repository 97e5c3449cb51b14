//! Tile registers for bfloat16: matrices of 16 rows of 64 bytes. What a kernel wants of them, and a model of them in Rust, by
//! which the processor's own are judged.

/// Rows of a tile, and 32-bit numbers of a row.
pub(super) const TILE: usize = 16;

/// Eight tile registers: 0 to 3 for sums, 4 and 5 for rows of the left-hand matrix, 6 and 7 for rows of panels.
pub(super) trait TileRegisters {
    /// Sets how many rows, from 1 to 16, tiles 4 and 5 have, and the sums that belong to them (see [`rows_of`]). All tiles are
    /// zero then.
    fn configure(&mut self, rows: [usize; 2]);

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

    /// Gives the registers up.
    fn release(&mut self);
}

/// How many rows a tile has: `rows[0]` or `rows[1]`, or all 16 where it holds rows of a panel.
pub(super) fn rows_of(tile: usize, rows: [usize; 2]) -> usize {
    match tile {
        0 | 1 | 4 => rows[0],
        2 | 3 | 5 => rows[1],
        _ => TILE,
    }
}

/// Tile registers as the manual describes them (Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2,
/// `TDPBF16PS`), one number at a time.
pub(super) struct TileModel {
    /// (tiles, rows, numbers)
    tiles: [[[u32; TILE]; TILE]; 8],
    /// As configured.
    rows: [usize; 2],
}

impl TileModel {
    pub(super) fn new() -> Self {
        Self { tiles: [[[0; TILE]; TILE]; 8], rows: [0; 2] }
    }
}

impl TileRegisters for TileModel {
    fn configure(&mut self, rows: [usize; 2]) {
        *self = Self { rows, ..Self::new() };
    }

    fn load<const T: usize>(&mut self, numbers: &[u32], stride: usize) {
        for row in 0..rows_of(T, self.rows) {
            self.tiles[T][row].copy_from_slice(&numbers[row * stride..][..TILE]);
        }
    }

    fn zero<const T: usize>(&mut self) {
        self.tiles[T] = [[0; TILE]; TILE];
    }

    fn store<const T: usize>(&mut self, numbers: &mut [u32], stride: usize) {
        for row in 0..rows_of(T, self.rows) {
            numbers[row * stride..][..TILE].copy_from_slice(&self.tiles[T][row]);
        }
    }

    fn multiply<const C: usize, const A: usize, const B: usize>(&mut self) {
        let low = |pair: u32| f32::from_bits(pair << 16);
        let high = |pair: u32| f32::from_bits(pair & 0xffff_0000);
        for row in 0..rows_of(A, self.rows) {
            for column in 0..TILE {
                let (mut first, mut second) = (0.0f32, 0.0f32);
                for k in 0..TILE {
                    let (a, b) = (self.tiles[A][row][k], self.tiles[B][k][column]);
                    first = low(a).mul_add(low(b), first);
                    second = high(a).mul_add(high(b), second);
                }
                let sum = &mut self.tiles[C][row][column];
                *sum = (f32::from_bits(*sum) + (first + second)).to_bits();
            }
        }
    }

    fn release(&mut self) {
        self.configure([0, 0]);
    }
}

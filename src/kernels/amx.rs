//! The tile registers that Intel processors have since Sapphire Rapids: AMX, by its assembly instructions, as Rust has no
//! stable functions for them.

use std::arch::asm;
use std::arch::x86_64::__cpuid_count;
use std::marker::PhantomData;
use std::sync::OnceLock;

#[cfg(test)]
mod interpreted;

use super::tile_registers::{TILE, TileModel, TileRegisters, TileShapes};

/// Proof that this machine has tiles for bfloat16 and for bytes, and that the system lets this process use them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Amx(());

impl Amx {
    /// Asks the processor, then Linux, which gives the registers to processes that want them; then sees whether they compute
    /// what the manual says, to the bit. There are emulators and hypervisors between.
    pub(super) fn try_new() -> Option<Amx> {
        static FOUND: OnceLock<bool> = OnceLock::new();
        // SAFETY: nothing else uses tile registers while the trial runs.
        let registers = || unsafe { Amx(()).registers() };
        let found = || has_tiles() && is_permitted() && trial(registers()) == trial(TileModel::new());
        FOUND.get_or_init(found).then_some(Amx(()))
    }

    /// This thread's tile registers, to multiply with.
    ///
    /// # Safety
    /// Until they are released, nothing else on this thread may configure tiles: bounds are checked by the configuration that
    /// was made through this value.
    pub(super) unsafe fn registers(self) -> AmxRegisters {
        AmxRegisters { shapes: TileShapes::NONE, _this_thread: PhantomData, _proof: self }
    }
}

/// `amx-tile`, `amx-int8` and `amx-bf16`: no processor has the first without the others.
fn has_tiles() -> bool {
    const FEATURES: u32 = 1 << 25 | 1 << 24 | 1 << 22;
    std::arch::is_x86_feature_detected!("avx512f") && __cpuid_count(7, 0).edx & FEATURES == FEATURES
}

/// Linux, since 5.16, gives the permission for all threads of a process; older ones do not know the request.
fn is_permitted() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_long = 18;
    // SAFETY: a system call that takes two numbers and touches no memory of ours.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 }
}

/// What some tiles come to, of 16 and of 5 rows: every sum twice, from numbers with all their digits on.
fn trial(mut tiles: impl TileRegisters) -> Vec<u32> {
    let mut state = 1u32;
    let mut bits = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state >> 8
    };
    // bfloat16 between 0.5 and 2, of both signs, and float32 likewise.
    let mut pair = || (bits() << 8 ^ bits()) & 0x80ff_80ff | 0x3f00_3f00;
    let pairs: Vec<u32> = (0..4 * TILE * TILE).map(|_| pair()).collect();
    let mut sums: Vec<u32> = pairs.iter().map(|pair| pair ^ 0x0012_3456).collect();
    let (pairs, _) = pairs.as_chunks::<{ TILE * TILE }>();
    tiles.configure(TileShapes { rows: [TILE, 5], inner: TILE });
    {
        let (sums, _) = sums.as_chunks::<{ TILE * TILE }>();
        tiles.load::<0>(&sums[0], TILE);
        tiles.load::<1>(&sums[1], TILE);
        tiles.load::<2>(&sums[2], TILE);
        tiles.zero::<3>();
    }
    tiles.load::<4>(&pairs[0], TILE);
    tiles.load::<5>(&pairs[1], TILE);
    tiles.load::<6>(&pairs[2], TILE);
    tiles.load::<7>(&pairs[3], TILE);
    for _ in 0..2 {
        tiles.multiply::<0, 4, 6>();
        tiles.multiply::<1, 4, 7>();
        tiles.multiply::<2, 5, 6>();
        tiles.multiply::<3, 5, 7>();
    }
    let (four, _) = sums.as_chunks_mut::<{ TILE * TILE }>();
    tiles.store::<0>(&mut four[0], TILE);
    tiles.store::<1>(&mut four[1], TILE);
    tiles.store::<2>(&mut four[2], TILE);
    tiles.store::<3>(&mut four[3], TILE);
    // Sums of bytes, of 7 and of 16 rows, with half of the inner dimension.
    tiles.configure(TileShapes { rows: [7, TILE], inner: TILE / 2 });
    tiles.load::<4>(&pairs[3], TILE);
    tiles.load::<5>(&pairs[2], TILE);
    tiles.load::<6>(&pairs[1], TILE);
    tiles.load::<7>(&pairs[0], TILE);
    for _ in 0..2 {
        tiles.multiply_bytes::<0, 4, 6>();
        tiles.multiply_bytes::<3, 5, 7>();
    }
    let mut of_bytes = vec![0; 2 * TILE * TILE];
    let (two, _) = of_bytes.as_chunks_mut::<{ TILE * TILE }>();
    tiles.store::<0>(&mut two[0], TILE);
    tiles.store::<3>(&mut two[1], TILE);
    tiles.release();
    sums.extend(of_bytes);
    sums
}

/// This thread's tile registers.
///
/// They keep their numbers from one piece of assembly to the next, and through the calls of functions between. The compiler
/// does not know of them, but nor does it use them: it does only where AMX's own functions are called.
pub(super) struct AmxRegisters {
    /// As configured; zeros before.
    shapes: TileShapes,
    _this_thread: PhantomData<*mut ()>,
    _proof: Amx,
}

/// What `ldtilecfg` reads.
#[repr(C, align(64))]
struct TileConfiguration {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    /// Bytes of a row of each tile; there are eight.
    bytes: [u16; 16],
    /// Rows of each tile.
    rows: [u8; 16],
}

const _: () = assert!(size_of::<TileConfiguration>() == 64);

impl AmxRegisters {
    /// Numbers that a tile's rows reach over in memory.
    #[inline(always)]
    fn reach<const T: usize>(&self, stride: usize) -> usize {
        let rows = self.shapes.rows_of(T);
        assert!(rows > 0, "tiles are configured before they are used");
        (rows - 1).saturating_mul(stride).saturating_add(self.shapes.numbers_of(T))
    }

    /// Whether tiles are configured, and are sums, rows and rows of a panel that can be multiplied.
    #[inline(always)]
    fn fit<const C: usize, const A: usize, const B: usize>(&self) -> bool {
        let TileShapes { inner, .. } = self.shapes;
        let rows = self.shapes.rows_of(A);
        rows > 0 && self.shapes.rows_of(C) == rows && matches!((C, A, B), (0..=3, 4 | 5, 6 | 7)) && inner > 0
    }
}

impl TileRegisters for AmxRegisters {
    #[inline(always)]
    fn configure(&mut self, shapes: TileShapes) {
        assert!(shapes.rows.iter().chain([&shapes.inner]).all(|count| (1..=TILE).contains(count)));
        let mut configuration =
            TileConfiguration { palette: 1, start_row: 0, reserved: [0; 14], bytes: [0; 16], rows: [0; 16] };
        for tile in 0..8 {
            configuration.bytes[tile] = (shapes.numbers_of(tile) * size_of::<u32>()) as u16;
            configuration.rows[tile] = shapes.rows_of(tile) as u8;
        }
        self.shapes = shapes;
        // SAFETY: `Amx` is proof of the instruction and the permission. It reads 64 bytes, a valid configuration: palette 1 has
        // eight tiles of 1 to 16 rows of 4 to 64 bytes, by the line above, and everything else is zero.
        unsafe {
            asm!("ldtilecfg [{}]", in(reg) &raw const configuration, options(nostack, preserves_flags, readonly));
        }
    }

    #[inline(always)]
    fn load<const T: usize>(&mut self, numbers: &[u32], stride: usize) {
        assert!(self.reach::<T>(stride) <= numbers.len());
        // SAFETY: tile T is configured with `rows_of(T)` rows of `numbers_of(T)` numbers, `stride` numbers apart in memory, and by the
        // line above the last of them ends within `numbers`.
        unsafe {
            asm!(
                "tileloadd tmm{tile}, [{start} + {stride}*1]",
                tile = const T,
                start = in(reg) numbers.as_ptr(),
                stride = in(reg) stride * size_of::<u32>(),
                options(nostack, preserves_flags, readonly)
            );
        }
    }

    #[inline(always)]
    fn zero<const T: usize>(&mut self) {
        assert!(self.reach::<T>(0) > 0);
        // SAFETY: `Amx` is proof of the instruction, and the tile is configured by the line above. It touches a register that
        // the compiler does not use.
        unsafe { asm!("tilezero tmm{tile}", tile = const T, options(nostack, preserves_flags, nomem)) };
    }

    #[inline(always)]
    fn store<const T: usize>(&mut self, numbers: &mut [u32], stride: usize) {
        assert!(self.reach::<T>(stride) <= numbers.len());
        // SAFETY: as in `load`.
        unsafe {
            asm!(
                "tilestored [{start} + {stride}*1], tmm{tile}",
                tile = const T,
                start = in(reg) numbers.as_mut_ptr(),
                stride = in(reg) stride * size_of::<u32>(),
                options(nostack, preserves_flags)
            );
        }
    }

    #[inline(always)]
    fn multiply<const C: usize, const A: usize, const B: usize>(&mut self) {
        assert!(self.fit::<C, A, B>());
        // SAFETY: `Amx` is proof of the instruction. The tiles are configured and their shapes fit, by the line above.
        unsafe {
            asm!(
                "tdpbf16ps tmm{c}, tmm{a}, tmm{b}",
                c = const C,
                a = const A,
                b = const B,
                options(nostack, preserves_flags, nomem)
            );
        }
    }

    #[inline(always)]
    fn multiply_bytes<const C: usize, const A: usize, const B: usize>(&mut self) {
        assert!(self.fit::<C, A, B>());
        // SAFETY: as in `multiply`.
        unsafe {
            asm!(
                "tdpbsud tmm{c}, tmm{a}, tmm{b}",
                c = const C,
                a = const A,
                b = const B,
                options(nostack, preserves_flags, nomem)
            );
        }
    }

    #[inline(always)]
    fn release(&mut self) {
        self.shapes = TileShapes::NONE;
        // SAFETY: `Amx` is proof of the instruction; it makes all tiles as they were before.
        unsafe { asm!("tilerelease", options(nostack, preserves_flags, nomem)) };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::kernels::byte_tile_kernel::ByteTileKernel;
    use crate::kernels::int8_element::Int8Quad;
    use crate::kernels::operand_element::Bf16Pair;
    use crate::kernels::product::Product;
    use crate::kernels::testing::{numbers, product_by};
    use crate::kernels::tile_kernel::TileKernel;

    /// The processor's, or the interpreter's where it has none; none where the system keeps them for itself.
    fn amx() -> Option<Amx> {
        if has_tiles() {
            return Amx::try_new();
        }
        interpreted::install();
        Some(Amx(()))
    }

    #[test]
    fn the_trial_comes_to_what_the_model_says() {
        let Some(amx) = amx() else { return };
        // SAFETY: nothing else uses tile registers while the trial runs.
        assert_eq!(trial(unsafe { amx.registers() }), trial(TileModel::new()));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn products_are_the_models(
            rows in 1usize..80,
            inner in 1usize..300,
            columns in 1usize..70,
            part in prop_oneof![Just(32usize), Just(192), Just(300)],
            seed: u64,
        ) {
            let Some(amx) = amx() else { return Ok(()) };
            let (a, weight) = (numbers(rows * inner, seed), numbers(columns * inner, seed ^ 1));
            let bias = numbers(columns, seed ^ 2);
            let by_registers = |product: Product<'_, Bf16Pair>| {
                // SAFETY: the product is multiplied on this thread from beginning to end, with nothing else between.
                let registers = unsafe { amx.registers() };
                pulp::Arch::new().dispatch(TileKernel { registers, product });
            };
            let by_model = |product: Product<'_, Bf16Pair>| pulp::Arch::new().dispatch(TileKernel { registers: TileModel::new(), product });
            let found = product_by::<Bf16Pair>(by_registers, &a, &weight, &bias, inner, part);
            let expected = product_by::<Bf16Pair>(by_model, &a, &weight, &bias, inner, part);
            prop_assert!(found.iter().zip(&expected).all(|(found, expected)| found.to_bits() == expected.to_bits()));

            let by_registers = |product: Product<'_, Int8Quad>| {
                // SAFETY: as above.
                let registers = unsafe { amx.registers() };
                pulp::Arch::new().dispatch(ByteTileKernel { registers, product });
            };
            let by_model = |product: Product<'_, Int8Quad>| {
                pulp::Arch::new().dispatch(ByteTileKernel { registers: TileModel::new(), product });
            };
            let found = product_by::<Int8Quad>(by_registers, &a, &weight, &bias, inner, part);
            let expected = product_by::<Int8Quad>(by_model, &a, &weight, &bias, inner, part);
            prop_assert!(found.iter().zip(&expected).all(|(found, expected)| found.to_bits() == expected.to_bits()));
        }
    }
}

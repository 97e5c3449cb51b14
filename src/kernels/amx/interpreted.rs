//! AMX's instructions, interpreted, so that the machine code of this module is tested on processors that have none.
//!
//! Such a processor refuses them (SIGILL). The handler here decodes what was refused by the manual's encodings (Intel 64 and
//! IA-32 Architectures Software Developer's Manual, volume 2) and does what it says with tiles of the thread's own. What a
//! processor would not have executed, and what is not one of the seven instructions, ends the process by the signal.

use std::cell::RefCell;
use std::sync::Once;

use crate::kernels::tile_registers::TILE;

/// Gives this process interpreted tile registers from now on.
pub(super) fn install() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        // SAFETY: a handler with the signature that SA_SIGINFO asks for; all zeros are an empty mask and no restorer.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = refused as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_NODEFER;
            assert_eq!(libc::sigaction(libc::SIGILL, &raw const action, std::ptr::null_mut()), 0);
        }
    });
}

thread_local! {
    static TILES: RefCell<InterpretedTiles> = const { RefCell::new(InterpretedTiles::NONE) };
}

extern "C" fn refused(_: libc::c_int, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: Linux hands over the thread's context, which nothing else uses meanwhile.
    let registers = unsafe { &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs };
    let at = registers[libc::REG_RIP as usize] as *const [u8; 10];
    // SAFETY: code is there, as it was about to be executed, and more after it.
    let code = unsafe { *at };
    let done = Instruction::decode(&code, registers).and_then(|(instruction, length)| {
        // SAFETY: the addresses are those that the instruction was to use.
        TILES.with_borrow_mut(|tiles| unsafe { tiles.execute(instruction) }).map(|()| length)
    });
    match done {
        Some(length) => registers[libc::REG_RIP as usize] += length,
        // SAFETY: executed again, the instruction ends the process.
        None => unsafe {
            libc::signal(libc::SIGILL, libc::SIG_DFL);
        },
    }
}

#[derive(Debug, Clone, Copy)]
enum Instruction {
    Configure { address: i64 },
    Release,
    Load { tile: usize, address: i64, stride: i64 },
    Store { tile: usize, address: i64, stride: i64 },
    Zero { tile: usize },
    Multiply { sum: usize, rows: usize, panel_rows: usize },
    MultiplyBytes { sum: usize, rows: usize, panel_rows: usize },
}

impl Instruction {
    /// An instruction and its length in bytes.
    fn decode(code: &[u8; 10], registers: &[i64]) -> Option<(Self, i64)> {
        // VEX in three bytes: registers' highest bits, inverted; opcodes 0F 38; W0; a register, inverted; 128 bits; a prefix.
        let &[0xc4, high, rest, opcode, modrm, ..] = code else { return None };
        let (x, b) = (usize::from(!high >> 6 & 1) * 8, usize::from(!high >> 5 & 1) * 8);
        if high >> 7 == 0 || high & 31 != 2 || rest >> 7 != 0 || rest >> 2 & 1 != 0 {
            return None;
        }
        let (operand, prefix) = (usize::from(!rest >> 3 & 15), rest & 3);
        let (register, low) = (usize::from(modrm >> 3 & 7), usize::from(modrm & 7));
        let Some((address, stride, length)) = address(code, registers, x, b) else {
            // No memory.
            let instruction = match (opcode, prefix) {
                (0x49, 0) if modrm == 0xc0 && operand == 0 => Self::Release,
                (0x49, 3) if low == 0 && operand == 0 => Self::Zero { tile: register },
                (0x5c, 2) if modrm >> 6 == 3 && b == 0 && operand < 8 => {
                    Self::Multiply { sum: register, rows: low, panel_rows: operand }
                }
                (0x5e, 2) if modrm >> 6 == 3 && b == 0 && operand < 8 => {
                    Self::MultiplyBytes { sum: register, rows: low, panel_rows: operand }
                }
                _ => return None,
            };
            return Some((instruction, 5));
        };
        let instruction = match (opcode, prefix, stride) {
            (0x49, 0, _) if register == 0 => Self::Configure { address },
            (0x4b, 3, Some(stride)) => Self::Load { tile: register, address, stride },
            (0x4b, 2, Some(stride)) => Self::Store { tile: register, address, stride },
            _ => return None,
        };
        (operand == 0).then_some((instruction, length))
    }
}

/// The operand's address, the index register's part of it, and the instruction's length, where it is in memory.
fn address(code: &[u8; 10], registers: &[i64], x: usize, b: usize) -> Option<(i64, Option<i64>, i64)> {
    use libc::*;
    const NUMBERS: [c_int; 16] = [
        REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI, REG_R8, REG_R9, REG_R10, REG_R11,
        REG_R12, REG_R13, REG_R14, REG_R15,
    ];
    let register = |number: usize| registers[NUMBERS[number] as usize];
    let (mode, low) = (code[4] >> 6, usize::from(code[4] & 7));
    let mut next = 5;
    let (base, stride) = if low == 4 {
        let sib = usize::from(code[5]);
        next += 1;
        let index = (sib >> 3 & 7) + x;
        (sib & 7, (index != 4).then(|| register(index) << (sib >> 6)))
    } else {
        (low, None)
    };
    let displacement = match mode {
        0 if base != 5 => 0, // else: none of ours
        1 => i64::from(code[next].cast_signed()),
        2 => i64::from(i32::from_le_bytes(code[next..next + 4].try_into().ok()?)),
        _ => return None,
    };
    let length = next as i64 + [0, 1, 4][usize::from(mode)];
    Some((register(base + b) + displacement, stride, length))
}

/// Registers, and what `ldtilecfg` said of them.
struct InterpretedTiles {
    /// Bytes of a row, and rows, of each.
    shapes: [(usize, usize); 8],
    /// (tiles, rows, numbers)
    numbers: [[[u32; TILE]; TILE]; 8],
}

impl InterpretedTiles {
    const NONE: InterpretedTiles = InterpretedTiles { shapes: [(0, 0); 8], numbers: [[[0; TILE]; TILE]; 8] };

    /// Executes an instruction; `None` where a processor would refuse it.
    ///
    /// # Safety
    /// As for the instruction itself.
    unsafe fn execute(&mut self, instruction: Instruction) -> Option<()> {
        match instruction {
            Instruction::Configure { address } => {
                // SAFETY: the instruction reads 64 bytes.
                let bytes = unsafe { *(address as *const [u8; 64]) };
                let zeros = [1..16, 32..48, 56..64]; // start at row 0; reserved; there are but eight tiles
                if bytes[0] != 1 || zeros.into_iter().flatten().any(|i| bytes[i] != 0) {
                    return None;
                }
                *self = Self::NONE;
                for (t, shape) in self.shapes.iter_mut().enumerate() {
                    *shape = (usize::from(bytes[16 + 2 * t]), usize::from(bytes[48 + t]));
                    if bytes[17 + 2 * t] != 0
                        || shape.0 > 4 * TILE
                        || shape.1 > TILE
                        || (shape.0 == 0) != (shape.1 == 0)
                    {
                        return None;
                    }
                }
            }
            Instruction::Release => *self = Self::NONE,
            Instruction::Load { tile, address, stride } => {
                let (columns, rows) = self.shape(tile)?;
                self.numbers[tile] = [[0; TILE]; TILE];
                for (row, numbers) in (0i64..).zip(&mut self.numbers[tile][..rows]) {
                    // SAFETY: the instruction reads so many numbers there.
                    let there = unsafe { std::slice::from_raw_parts((address + row * stride) as *const u32, columns) };
                    numbers[..columns].copy_from_slice(there);
                }
            }
            Instruction::Store { tile, address, stride } => {
                let (columns, rows) = self.shape(tile)?;
                for (row, numbers) in (0i64..).zip(&self.numbers[tile][..rows]) {
                    // SAFETY: the instruction writes so many numbers there.
                    let there =
                        unsafe { std::slice::from_raw_parts_mut((address + row * stride) as *mut u32, columns) };
                    there.copy_from_slice(&numbers[..columns]);
                }
            }
            Instruction::Zero { tile } => {
                self.shape(tile)?;
                self.numbers[tile] = [[0; TILE]; TILE];
            }
            Instruction::Multiply { sum, rows, panel_rows } => self.multiply(sum, rows, panel_rows)?,
            Instruction::MultiplyBytes { sum, rows, panel_rows } => self.multiply_bytes(sum, rows, panel_rows)?,
        }
        Some(())
    }

    /// Numbers of a row, and rows, of a tile that is configured.
    fn shape(&self, tile: usize) -> Option<(usize, usize)> {
        let (bytes, rows) = self.shapes[tile];
        (rows > 0 && bytes % 4 == 0).then_some((bytes / 4, rows))
    }

    /// Columns, rows and inner numbers of a product of tiles whose shapes fit.
    fn product_shape(&self, sum: usize, rows: usize, panel_rows: usize) -> Option<(usize, usize, usize)> {
        let ((columns, m), (inner, n), (width, k)) = (self.shape(sum)?, self.shape(rows)?, self.shape(panel_rows)?);
        let are_apart = sum != rows && sum != panel_rows && rows != panel_rows;
        (are_apart && (columns, m, inner) == (width, n, k)).then_some((columns, m, inner))
    }

    /// `TDPBSUD`: bytes with a sign by bytes without one, and a sum that wraps.
    fn multiply_bytes(&mut self, sum: usize, rows: usize, panel_rows: usize) -> Option<()> {
        let (columns, m, inner) = self.product_shape(sum, rows, panel_rows)?;
        for row in 0..m {
            for k in 0..inner {
                let a = self.numbers[rows][row][k].to_le_bytes();
                for column in 0..columns {
                    let b = self.numbers[panel_rows][k][column].to_le_bytes();
                    let products = a.iter().zip(b).map(|(a, b)| i32::from(a.cast_signed()) * i32::from(b));
                    let number = &mut self.numbers[sum][row][column];
                    *number = number.wrapping_add(products.sum::<i32>().cast_unsigned());
                }
            }
        }
        Some(())
    }

    /// `TDPBF16PS`: numbers too small to be normal are zero, before and after.
    fn multiply(&mut self, sum: usize, rows: usize, panel_rows: usize) -> Option<()> {
        let (columns, m, inner) = self.product_shape(sum, rows, panel_rows)?;
        let normal = |number: f32| if number.is_subnormal() { 0.0f32.copysign(number) } else { number };
        let halves = |pair: u32| [pair << 16, pair & 0xffff_0000].map(|bits| normal(f32::from_bits(bits)));
        for row in 0..m {
            let mut parts = [[0.0f32; 2]; TILE];
            for k in 0..inner {
                let a = halves(self.numbers[rows][row][k]);
                for (parts, pair) in parts.iter_mut().zip(self.numbers[panel_rows][k]) {
                    let b = halves(pair);
                    *parts = [0, 1].map(|i| normal(a[i].mul_add(b[i], parts[i])));
                }
            }
            for (sum, [first, second]) in self.numbers[sum][row].iter_mut().zip(parts).take(columns) {
                *sum = normal(normal(f32::from_bits(*sum)) + normal(first + second)).to_bits();
            }
        }
        Some(())
    }
}

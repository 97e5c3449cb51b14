//! The instruction set the kernels run on: the best this machine has, or the one that `LAYERWISE_ISA` names.
//!
//! It is a value, chosen once by whoever loads a model and passed down to the kernels. So models on different instruction
//! sets can be used side by side in one process.

use std::ffi::OsStr;

use pulp::{Arch, WithSimd};

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
use super::amx::Amx;
use crate::error::{Error, Result};
use crate::spec::Compute;

/// The environment variable that forces an instruction set, for tests and comparisons.
pub const VARIABLE: &str = "LAYERWISE_ISA";

/// An instruction set that this machine has.
#[derive(Debug, Clone, Copy)]
pub struct InstructionSet(SimdToken);

/// A proof that this machine has an instruction set: `pulp`'s tokens, which only exist where it does, and [`Amx`].
#[derive(Debug, Clone, Copy)]
pub(super) enum SimdToken {
    /// AVX-512 with dot products of bfloat16 and of bytes, and tile registers for both.
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    Amx(pulp::x86::V4, Bf16DotProducts, ByteDotProducts, Amx),
    /// AVX-512 with dot products of bfloat16 and of bytes.
    #[cfg(target_arch = "x86_64")]
    Avx512Bf16(pulp::x86::V4, Bf16DotProducts, ByteDotProducts),
    /// AVX-512 with dot products of bytes.
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni(pulp::x86::V4, ByteDotProducts),
    #[cfg(target_arch = "x86_64")]
    Avx512(pulp::x86::V4),
    /// AVX2 with fused multiply-adds and dot products of bytes.
    #[cfg(target_arch = "x86_64")]
    AvxVnni(pulp::x86::V3, AvxVnni),
    /// AVX2 with fused multiply-adds.
    #[cfg(target_arch = "x86_64")]
    Avx2(pulp::x86::V3),
    #[cfg(target_arch = "aarch64")]
    Neon(pulp::aarch64::Neon),
    /// One number at a time.
    Portable,
}

/// What an instruction set multiplies small integers as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Integers {
    /// Quads of bytes.
    #[cfg(target_arch = "x86_64")]
    Quads,
    /// Pairs of 16-bit integers.
    #[cfg(target_arch = "x86_64")]
    Pairs,
    /// float32.
    AsF32,
}

#[cfg(target_arch = "x86_64")]
type Bf16DotProducts = pulp::core_arch::x86::Avx512bf16;
#[cfg(target_arch = "x86_64")]
type ByteDotProducts = pulp::core_arch::x86::Avx512vnni;

/// A proof that this machine has dot products of bytes in AVX2's encoding, as pulp has none.
#[cfg(target_arch = "x86_64")]
#[derive(Debug, Clone, Copy)]
pub(super) struct AvxVnni(());

#[cfg(target_arch = "x86_64")]
impl AvxVnni {
    fn try_new() -> Option<AvxVnni> {
        is_x86_feature_detected!("avxvnni").then_some(AvxVnni(()))
    }
}

/// Whether the processor says that Intel made it.
#[cfg(target_arch = "x86_64")]
fn is_from_intel() -> bool {
    let leaf = std::arch::x86_64::__cpuid(0);
    [leaf.ebx, leaf.edx, leaf.ecx].map(u32::to_le_bytes).as_flattened() == b"GenuineIntel"
}

impl InstructionSet {
    /// The best that this machine has for `compute`, or the one that `forced` names. That is the one with tiles for
    /// bfloat16 and bytes alone, which they multiply.
    ///
    /// # Errors
    /// [`Error::Usage`] when this machine does not have what is named.
    pub fn choose(compute: Compute, forced: Option<&OsStr>) -> Result<InstructionSet> {
        let without_tiles = Self::without_tiles();
        let Some(forced) = forced else {
            return Ok(match compute {
                Compute::F32 => without_tiles[0],
                Compute::Int8 => Self::available()[0],
                Compute::Bf16 => Self::best_for_bfloat16(),
            });
        };
        let is_forced = |instruction_set: &InstructionSet| forced == instruction_set.name();
        if let Some(instruction_set) = without_tiles.into_iter().find(is_forced) {
            return Ok(instruction_set);
        }
        let available = Self::available();
        let names: Vec<&str> = available.iter().map(|instruction_set| instruction_set.name()).collect();
        available.iter().copied().find(is_forced).ok_or_else(|| {
            Error::Usage(format!(
                "{VARIABLE}={} is not an instruction set of this machine; it has {}",
                forced.display(),
                names.join(", ")
            ))
        })
    }

    /// Tiles, or dot products of bfloat16 where they are faster than float32. Intel's are not: a Xeon of the fifth generation had 0.65 of
    /// float32's speed with them, as one takes the time of two multiply-adds and more loads. The bits are the same without.
    fn best_for_bfloat16() -> InstructionSet {
        let available = Self::available();
        let is_slow = |set: &InstructionSet| match set.0 {
            #[cfg(target_arch = "x86_64")]
            SimdToken::Avx512Bf16(..) => is_from_intel(),
            _ => false,
        };
        // There is always a set without dot products behind one with them.
        available.iter().copied().find(|set| !is_slow(set)).unwrap_or(available[0])
    }

    /// Whether products are faster in `compute` than in float32.
    pub fn gains_by(self, compute: Compute) -> bool {
        match compute {
            Compute::F32 => false,
            Compute::Bf16 => self.multiplies_pairs(),
            Compute::Int8 => self.integers() != Integers::AsF32,
        }
    }

    /// As [`InstructionSet::choose`], forced to what the variable [`LAYERWISE_ISA`](VARIABLE) names, unless it is empty.
    ///
    /// # Errors
    /// As [`InstructionSet::choose`].
    pub fn from_env(compute: Compute) -> Result<InstructionSet> {
        let forced = std::env::var_os(VARIABLE).filter(|forced| !forced.is_empty());
        Self::choose(compute, forced.as_deref())
    }

    /// All that this machine has, the best first. On Linux this asks the system for the use of tiles where the processor has
    /// them.
    pub fn available() -> Vec<InstructionSet> {
        let mut all = Vec::new();
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        if let (Some(v4), Some(bf16), Some(bytes)) =
            (pulp::x86::V4::try_new(), Bf16DotProducts::try_new(), ByteDotProducts::try_new())
        {
            all.extend(Amx::try_new().map(|amx| InstructionSet(SimdToken::Amx(v4, bf16, bytes, amx))));
        }
        all.extend(Self::without_tiles());
        all
    }

    /// All but the one with tiles, which the system is then not even asked for.
    fn without_tiles() -> Vec<InstructionSet> {
        let mut all = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            let v4 = pulp::x86::V4::try_new();
            if let (Some(v4), Some(bytes)) = (v4, ByteDotProducts::try_new()) {
                all.extend(Bf16DotProducts::try_new().map(|bf16| SimdToken::Avx512Bf16(v4, bf16, bytes)));
                all.push(SimdToken::Avx512Vnni(v4, bytes));
            }
            all.extend(v4.map(SimdToken::Avx512));
            let v3 = pulp::x86::V3::try_new();
            if let (Some(v3), Some(bytes)) = (v3, AvxVnni::try_new()) {
                all.push(SimdToken::AvxVnni(v3, bytes));
            }
            all.extend(v3.map(SimdToken::Avx2));
        }
        #[cfg(target_arch = "aarch64")]
        all.extend(pulp::aarch64::Neon::try_new().map(SimdToken::Neon));
        all.push(SimdToken::Portable);
        all.into_iter().map(InstructionSet).collect()
    }

    /// Whether it sums products of bfloat16 in tiles.
    #[cfg(test)]
    pub(super) fn has_tiles(self) -> bool {
        self.name() == "amx"
    }

    /// Whether products of bfloat16 are those of pairs: by dot products or in tiles.
    pub(super) fn multiplies_pairs(self) -> bool {
        match self.0 {
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            SimdToken::Amx(..) => true,
            #[cfg(target_arch = "x86_64")]
            SimdToken::Avx512Bf16(..) => true,
            _ => false,
        }
    }

    /// What products of small integers are made of.
    pub(super) fn integers(self) -> Integers {
        match self.0 {
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            SimdToken::Amx(..) => Integers::Quads,
            #[cfg(target_arch = "x86_64")]
            SimdToken::Avx512Bf16(..) | SimdToken::Avx512Vnni(..) | SimdToken::AvxVnni(..) => Integers::Quads,
            #[cfg(target_arch = "x86_64")]
            SimdToken::Avx512(_) | SimdToken::Avx2(_) => Integers::Pairs,
            #[cfg(target_arch = "aarch64")]
            SimdToken::Neon(_) => Integers::AsF32,
            SimdToken::Portable => Integers::AsF32,
        }
    }

    /// The proof that this machine has it.
    pub(super) fn token(self) -> SimdToken {
        self.0
    }

    /// Its name, as `LAYERWISE_ISA` and the manifest have it.
    pub fn name(self) -> &'static str {
        match self.0 {
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            SimdToken::Amx(..) => "amx",
            #[cfg(target_arch = "x86_64")]
            SimdToken::Avx512Bf16(..) => "avx512bf16",
            #[cfg(target_arch = "x86_64")]
            SimdToken::Avx512Vnni(..) => "avx512vnni",
            #[cfg(target_arch = "x86_64")]
            SimdToken::Avx512(_) => "avx512",
            #[cfg(target_arch = "x86_64")]
            SimdToken::AvxVnni(..) => "avxvnni",
            #[cfg(target_arch = "x86_64")]
            SimdToken::Avx2(_) => "avx2",
            #[cfg(target_arch = "aarch64")]
            SimdToken::Neon(_) => "neon",
            SimdToken::Portable => "portable",
        }
    }

    /// Runs `work` compiled for this instruction set.
    ///
    /// `work` must be a struct whose `with_simd` is `#[inline(always)]`, and so must be all it calls: what is not
    /// inlined, closures above all, is compiled for the common denominator, where a fused multiply-add is a call.
    #[inline(always)]
    pub(super) fn run<W: WithSimd>(self, work: W) -> W::Output {
        match self.0 {
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            SimdToken::Amx(v4, ..) => Arch::V4(v4).dispatch(work),
            #[cfg(target_arch = "x86_64")]
            SimdToken::Avx512Bf16(v4, ..) | SimdToken::Avx512Vnni(v4, _) | SimdToken::Avx512(v4) => {
                Arch::V4(v4).dispatch(work)
            }
            #[cfg(target_arch = "x86_64")]
            SimdToken::AvxVnni(v3, _) | SimdToken::Avx2(v3) => Arch::V3(v3).dispatch(work),
            #[cfg(target_arch = "aarch64")]
            SimdToken::Neon(neon) => Arch::Neon(neon).dispatch(work),
            SimdToken::Portable => work.with_simd(pulp::Scalar::new()),
        }
    }
}

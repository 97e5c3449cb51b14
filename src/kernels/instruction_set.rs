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
    /// AVX-512 with dot products of bfloat16, and tile registers for it.
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    Amx(pulp::x86::V4, pulp::core_arch::x86::Avx512bf16, Amx),
    /// AVX-512 with dot products of bfloat16.
    #[cfg(target_arch = "x86_64")]
    Avx512Bf16(pulp::x86::V4, pulp::core_arch::x86::Avx512bf16),
    #[cfg(target_arch = "x86_64")]
    Avx512(pulp::x86::V4),
    /// AVX2 with fused multiply-adds.
    #[cfg(target_arch = "x86_64")]
    Avx2(pulp::x86::V3),
    #[cfg(target_arch = "aarch64")]
    Neon(pulp::aarch64::Neon),
    /// One number at a time.
    Portable,
}

impl InstructionSet {
    /// The best that this machine has for `compute`, or the one that `forced` names. For float32 that is never the one with
    /// tiles, which multiply bfloat16 alone.
    ///
    /// # Errors
    /// [`Error::Usage`] when this machine does not have what is named.
    pub fn choose(compute: Compute, forced: Option<&OsStr>) -> Result<InstructionSet> {
        let without_tiles = Self::without_tiles();
        let Some(forced) = forced else {
            return Ok(match compute {
                Compute::F32 => without_tiles[0],
                Compute::Bf16 => Self::available()[0],
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
        if let (Some(v4), Some(bf16)) = (pulp::x86::V4::try_new(), pulp::core_arch::x86::Avx512bf16::try_new()) {
            all.extend(Amx::try_new().map(|amx| InstructionSet(SimdToken::Amx(v4, bf16, amx))));
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
            if let (Some(v4), Some(bf16)) = (v4, pulp::core_arch::x86::Avx512bf16::try_new()) {
                all.push(SimdToken::Avx512Bf16(v4, bf16));
            }
            all.extend(v4.map(SimdToken::Avx512));
            all.extend(pulp::x86::V3::try_new().map(SimdToken::Avx2));
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
            SimdToken::Avx512(_) => "avx512",
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
            SimdToken::Avx512Bf16(v4, _) | SimdToken::Avx512(v4) => Arch::V4(v4).dispatch(work),
            #[cfg(target_arch = "x86_64")]
            SimdToken::Avx2(v3) => Arch::V3(v3).dispatch(work),
            #[cfg(target_arch = "aarch64")]
            SimdToken::Neon(neon) => Arch::Neon(neon).dispatch(work),
            SimdToken::Portable => work.with_simd(pulp::Scalar::new()),
        }
    }
}

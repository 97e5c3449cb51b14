//! The instruction set the kernels run on: the best this machine has, or the one that `LAYERWISE_ISA` names.

use std::sync::OnceLock;

use pulp::{Arch, WithSimd};

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
use super::amx::Amx;
use crate::error::{Error, Result};
use crate::spec::Compute;

/// The environment variable that forces an instruction set, for tests and comparisons.
pub(super) const VARIABLE: &str = "LAYERWISE_ISA";

/// An instruction set that this machine has: the tokens inside are proof of it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Isa {
    /// AVX-512 with dot products of bfloat16, and tiles of it.
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

impl Isa {
    /// All that this machine has, the best first.
    pub(super) fn available() -> Vec<Isa> {
        let mut all = Vec::new();
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        if let (Some(v4), Some(bf16)) = (pulp::x86::V4::try_new(), pulp::core_arch::x86::Avx512bf16::try_new()) {
            all.extend(Amx::try_new().map(|amx| Isa::Amx(v4, bf16, amx)));
        }
        all.extend(Self::without_tiles());
        all
    }

    /// The same without tiles, which are not even tried.
    fn without_tiles() -> Vec<Isa> {
        let mut all = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            let v4 = pulp::x86::V4::try_new();
            if let (Some(v4), Some(bf16)) = (v4, pulp::core_arch::x86::Avx512bf16::try_new()) {
                all.push(Isa::Avx512Bf16(v4, bf16));
            }
            all.extend(v4.map(Isa::Avx512));
            all.extend(pulp::x86::V3::try_new().map(Isa::Avx2));
        }
        #[cfg(target_arch = "aarch64")]
        all.extend(pulp::aarch64::Neon::try_new().map(Isa::Neon));
        all.push(Isa::Portable);
        all
    }

    /// Whether it sums products of bfloat16 in tiles.
    #[cfg(test)]
    pub(super) fn has_tiles(self) -> bool {
        self.name() == "amx"
    }

    /// Its name, as `LAYERWISE_ISA` and the manifest have it.
    pub(super) fn name(self) -> &'static str {
        match self {
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Isa::Amx(..) => "amx",
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Bf16(..) => "avx512bf16",
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(_) => "avx512",
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(_) => "avx2",
            #[cfg(target_arch = "aarch64")]
            Isa::Neon(_) => "neon",
            Isa::Portable => "portable",
        }
    }

    /// Runs `work` compiled for this instruction set.
    ///
    /// `work` must be a struct whose `with_simd` is `#[inline(always)]`, and so must be all it calls: what is not
    /// inlined, closures above all, is compiled for the common denominator, where a fused multiply-add is a call.
    #[inline(always)]
    pub(super) fn run<W: WithSimd>(self, work: W) -> W::Output {
        match self {
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Isa::Amx(v4, ..) => Arch::V4(v4).dispatch(work),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Bf16(v4, _) | Isa::Avx512(v4) => Arch::V4(v4).dispatch(work),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(v3) => Arch::V3(v3).dispatch(work),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon(neon) => Arch::Neon(neon).dispatch(work),
            Isa::Portable => work.with_simd(pulp::Scalar::new()),
        }
    }
}

static CHOSEN: OnceLock<Isa> = OnceLock::new();

/// The instruction set in use.
pub(super) fn isa() -> Isa {
    *CHOSEN.get_or_init(|| wanted(Compute::Bf16).unwrap_or_else(|_| Isa::available()[0]))
}

/// Chooses the instruction set of this process, before any kernel runs: the one that `LAYERWISE_ISA` names, or else the best
/// for `compute`. Tiles have nothing for float32.
///
/// # Errors
/// [`Error::Usage`] when this machine does not have what is named.
pub fn choose(compute: Compute) -> Result<()> {
    let _ = CHOSEN.set(wanted(compute)?); // kernels that ran before have chosen already
    Ok(())
}

fn wanted(compute: Compute) -> Result<Isa> {
    let without_tiles = Isa::without_tiles();
    let Some(wanted) = std::env::var_os(VARIABLE).filter(|wanted| !wanted.is_empty()) else {
        return Ok(match compute {
            Compute::F32 => without_tiles[0],
            Compute::Bf16 => Isa::available()[0],
        });
    };
    let is_wanted = |isa: &Isa| wanted == isa.name();
    if let Some(isa) = without_tiles.into_iter().find(is_wanted) {
        return Ok(isa);
    }
    let available = Isa::available();
    let names: Vec<&str> = available.iter().map(|isa| isa.name()).collect();
    available.iter().copied().find(is_wanted).ok_or_else(|| {
        Error::Usage(format!(
            "{VARIABLE}={} is not an instruction set of this machine; it has {}",
            wanted.display(),
            names.join(", ")
        ))
    })
}

/// The name of the instruction set in use, for the manifest.
pub fn instruction_set() -> &'static str {
    isa().name()
}

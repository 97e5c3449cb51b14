//! The settings of the forward pass: arithmetic, device and instruction set.

#[cfg(feature = "tensors")]
use candle_core::Device;

use crate::error::{Error, Result};
use crate::kernels::InstructionSet;
use crate::spec::{Compute, DeviceKind, DeviceSelection};

/// The settings of the forward pass.
#[derive(Debug, Clone)]
pub struct EncoderSettings {
    /// The arithmetic of the matrix products in the CPU kernels.
    pub compute: Compute,
    /// The implementation that computes.
    pub ops: Ops,
    /// The instruction set of the kernels.
    pub instruction_set: InstructionSet,
}

/// An implementation of the steps of the forward pass.
#[derive(Debug, Clone)]
pub enum Ops {
    /// The CPU kernels: exact, and the same bits in any batch.
    Kernels,
    /// The tensor library's own ops, on any of its devices.
    #[cfg(feature = "tensors")]
    Tensors(Device),
}

impl Ops {
    /// Opens the device that was asked for.
    ///
    /// # Errors
    /// [`Error::Usage`] when this build or this machine does not have it.
    pub fn open(selection: DeviceSelection) -> Result<Self> {
        let feature = match selection.kind {
            DeviceKind::Cpu => return Ok(Ops::Kernels),
            DeviceKind::Cuda => cfg!(feature = "cuda"),
            DeviceKind::Metal => cfg!(feature = "metal"),
        };
        if !feature {
            return Err(Error::Usage(format!(
                "--device {selection}: this build cannot use it; build one that can with `cargo install --path . --features {}`, or leave the option out",
                selection.kind.name()
            )));
        }
        Self::open_tensors(selection)
    }

    #[cfg(feature = "tensors")]
    fn open_tensors(selection: DeviceSelection) -> Result<Self> {
        let device = match selection.kind {
            DeviceKind::Cpu => Ok(Device::Cpu),
            // With a stream of its own: `new_cuda` takes each thread's default stream, and then the work that one
            // thread has queued is not ordered with what another copies.
            DeviceKind::Cuda => Device::new_cuda_with_stream(selection.index),
            DeviceKind::Metal => Device::new_metal(selection.index),
        };
        let device = device.map_err(|error| Error::Usage(format!("--device {selection} cannot be opened: {error}")))?;
        Ok(Ops::Tensors(device))
    }

    #[cfg(not(feature = "tensors"))]
    fn open_tensors(selection: DeviceSelection) -> Result<Self> {
        Err(Error::Usage(format!("--device {selection}: this build computes on the CPU alone")))
    }
}

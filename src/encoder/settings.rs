//! The settings of the forward pass: arithmetic, device and instruction set.

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
    Tensors(Device),
}

impl Ops {
    /// Opens the device that was asked for.
    ///
    /// # Errors
    /// [`Error::Usage`] when this build or this machine does not have it.
    pub fn open(selection: DeviceSelection) -> Result<Self> {
        let (device, feature) = match selection.kind {
            DeviceKind::Cpu => return Ok(Ops::Kernels),
            // With a stream of its own: `new_cuda` takes each thread's default stream, and then the work that one
            // thread has queued is not ordered with what another copies.
            DeviceKind::Cuda => (Device::new_cuda_with_stream(selection.index), cfg!(feature = "cuda")),
            DeviceKind::Metal => (Device::new_metal(selection.index), cfg!(feature = "metal")),
        };
        let name = selection.kind.name();
        match device {
            Ok(device) => Ok(Ops::Tensors(device)),
            Err(_) if !feature => Err(Error::Usage(format!(
                "--device {selection}: this build cannot use it; build one that can with `cargo install --path . --features {name}`, or leave the option out"
            ))),
            Err(error) => Err(Error::Usage(format!("--device {selection} cannot be opened: {error}"))),
        }
    }

    /// The device that holds the tensors.
    pub(super) fn device(&self) -> &Device {
        match self {
            Ops::Kernels => &Device::Cpu,
            Ops::Tensors(device) => device,
        }
    }
}

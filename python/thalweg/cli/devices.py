"""Where a command computes: whether that device is there, asked before any work, and its name in results."""

from __future__ import annotations

from .. import _device
from .._device import is_device_error as is_device_error


def require_device(device: str) -> None:
    """ValueError, which says what is missing, where nothing can be computed there."""
    fault = device_fault(device)
    if fault is not None:
        raise ValueError(f"--device {device}: {fault}")


def device_fault(device: str) -> str | None:
    """Why nothing can be computed there, or None."""
    try:
        _device.kernels(device)
    except RuntimeError as error:
        return str(error).removeprefix("device='cuda': ")
    return None


def device_name(device: str) -> str:
    """The device in words; for "cuda", which has to be there, the GPU's own name."""
    if device == "cpu":
        return device
    cuda = _device.kernels(device)
    return f"{device} ({'emulated' if cuda.is_emulated else cuda.device_properties()['name']})"

"""Arrays on a device: taken in by DLPack, checked there, and given back as the kind that came in."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from thalweg import _check, _native
from thalweg._check import is_device_array

__all__ = [
    "Extent",
    "apart",
    "as_device_array",
    "device_operand",
    "empty",
    "extent",
    "give_back",
    "is_device_array",
    "is_device_error",
    "is_finite_there",
    "kernels",
    "non_negative",
    "output",
    "refuse_negative",
    "refuse_not_finite",
    "to_host",
]


def kernels(device: str) -> ModuleType:
    """The compiled module for a device that `_check.device` has let through."""
    return _native.kernels(device)


def is_device_error(error: BaseException) -> bool:
    """Whether a call to CUDA has failed: the device is lost, or refuses what it was given."""
    return _native.is_device_error(error)


def device_operand(x: Any, name: str, *, dtype: Any = None) -> Any:
    """`x`, an array or numbers on either side, as a float32 or float64 array on the device; not looked into.

    float32 stays float32 and every other real kind becomes float64, unless `dtype` asks for one of the two.
    """
    cuda = _native.cuda()
    if not is_device_array(x):
        return cuda.to_device(_check.real_operand(x, name, dtype=dtype))
    array = x if isinstance(x, cuda.DeviceArray) else cuda.from_dlpack(x, name)
    wanted = np.dtype(dtype if dtype is not None else "f4" if array.dtype == np.float32 else "f8")
    return array if array.dtype == wanted else array.astype(wanted)


def as_device_array(x: Any, name: str, *, ndim: int | None = None, dtype: Any = None) -> Any:
    """`x` as a finite float32 or float64 array on the device, as `_check.float_array` has it on the host."""
    if is_device_array(x):
        array = device_operand(x, name, dtype=dtype)
        refuse_not_finite(array, name)
    else:
        array = _native.cuda().to_device(_check.float_array(x, name, ndim=ndim, dtype=dtype))
    if ndim is not None and array.ndim != ndim:
        raise ValueError(f"{name}: expected {ndim} dimension(s), got shape {array.shape}")
    return array


class Extent(NamedTuple):
    """What the numbers of an array lie between, NaN left out; of none, infinity and its negative."""

    has_nan: bool
    least: float
    largest: float

    @property
    def fault(self) -> str | None:
        """What among the numbers is not finite."""
        if self.has_nan:
            return "NaN"
        return "infinity" if max(-self.least, self.largest) == np.inf else None


def extent(array: Any) -> Extent:
    """What the numbers of the array on the device lie between."""
    return Extent(*_native.cuda().extent(array))


def refuse_not_finite(array: Any, name: str) -> Extent:
    """ValueError where the array on the device contains NaN or infinity; what it lies between."""
    found = extent(array)
    if found.fault is not None:
        raise ValueError(f"{name}: every element must be finite, but it contains {found.fault}")
    return found


def is_finite_there(array: Any) -> bool:
    """Whether every element of the array on the device is finite."""
    return extent(array).fault is None


def non_negative(value: Any, name: str, dtype: Any) -> Any:
    """The array on a device `value` in this dtype, all of whose elements are finite and >= 0."""
    array = device_operand(value, name, dtype=dtype)
    refuse_negative(array, name)
    return array


def refuse_negative(array: Any, name: str) -> Extent:
    """ValueError unless all numbers of the array on the device are finite and >= 0; what they lie between."""
    found = extent(array)
    fault = found.fault or ("a negative number" if found.least < 0 else None)
    if fault:
        raise ValueError(f"{name}: expected finite numbers >= 0, got {fault}")
    return found


def output(out: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    """`out`, or where it is None a new array, on the device for a result of this shape and dtype."""
    cuda = _native.cuda()
    if out is None:
        return cuda.empty(shape, dtype)
    if not is_device_array(out):
        raise TypeError(
            f"out: expected an array on the device, as the first argument is, got {type(out).__name__}"
        )
    is_own = isinstance(out, cuda.DeviceArray)
    array = out if is_own else cuda.from_dlpack(out, "out")
    if not is_own and not array.is_foreign:  # gathered into memory of our own
        raise ValueError("out: expected an array in C order, got one with other strides")
    if tuple(array.shape) != shape or array.dtype != dtype:
        raise ValueError(
            f"out: expected an array of shape {shape} and dtype {dtype}, "
            f"got shape {tuple(array.shape)} and dtype {array.dtype}"
        )
    return array


def apart(operand: Any, out: Any) -> Any:
    """`operand`, or a copy of it where it shares memory with `out`, which is on the device."""
    if isinstance(operand, np.ndarray):
        return operand
    (first, end), (first_out, end_out) = _bytes_of(operand), _bytes_of(out)
    return operand.copy() if first < end_out and first_out < end else operand


def _bytes_of(array: Any) -> tuple[int, int]:
    """Where the memory of an array on the device begins and ends."""
    first = array.__cuda_array_interface__["data"][0]
    return first, first + array.nbytes


def empty(shape: tuple[int, ...], dtype: Any, *, like: Any) -> Any:
    """An uninitialised array, on the device where `like` is there."""
    if is_device_array(like):
        return _native.cuda().empty(shape, np.dtype(dtype))
    return np.empty(shape, dtype)


# Libraries whose own from_dlpack makes their own arrays.
_LIBRARIES = ("torch", "cupy")


def give_back(result: Any, like: Any) -> Any:
    """`result`, an array on the device, as an array of the library of `like`.

    That is NumPy's where `like` is on the host. PyTorch's and CuPy's arrays share its memory, and so does any
    other that speaks DLPack, by `from_dlpack` of its own array namespace; without one the result stays the
    array that it is.
    """
    if isinstance(result, np.ndarray):
        return result
    if not is_device_array(like):
        return to_host(result)
    if isinstance(like, type(result)):
        return result
    top = type(like).__module__.partition(".")[0]
    if top in _LIBRARIES and top in sys.modules:
        return sys.modules[top].from_dlpack(result)
    namespace = getattr(like, "__array_namespace__", None)
    return result if namespace is None else namespace().from_dlpack(result)


def to_host(array: Any) -> NDArray[Any]:
    """An array on the device as NumPy's."""
    made: NDArray[Any] = array.numpy()
    return made

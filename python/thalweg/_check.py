"""Arguments are checked once, here, at the door: arrays, numbers, seeds, threads. NumPy only."""

from __future__ import annotations

import os
from numbers import Integral, Real
from typing import Any, Literal, NoReturn

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[Any]  # float32 or float64

DEVICES = ("cpu", "cuda")

# More threads than any machine has, and few enough for the kernels' int.
MAX_THREADS = 2**15


def _describe(value: object) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape} and dtype {value.dtype}"
    return f"{value!r} ({type(value).__name__})"


def float_array(x: Any, name: str, *, ndim: int | None = None, dtype: Any = None) -> FloatArray:
    """`x` as a C-contiguous, finite float32 or float64 array; no copy where it already is one.

    float32 stays float32 and every other real kind becomes float64, unless `dtype` asks for one of the two.
    Raises TypeError for a sparse matrix and for objects that are no numbers, ValueError for a wrong number of
    dimensions, rows of different lengths, masked elements, complex numbers, text, NaN, infinity and numbers
    that are too large for the dtype.
    """
    array = _real_array(x, name)
    if ndim is not None and array.ndim != ndim:
        raise ValueError(f"{name}: expected {ndim} dimension(s), got shape {array.shape}")
    if dtype is None:
        dtype = np.float32 if array.dtype == np.float32 else np.float64
    made = _converted(array, np.dtype(dtype).newbyteorder("="), name, order="C")
    if not is_finite(made):
        _refuse_not_finite(array, made, name)
    return made


def array_of(x: Any, name: str) -> NDArray[Any]:
    """`x` as an array of any kind, where no element is masked; not copied, and not read, where it is one.

    Raises TypeError for a sparse matrix and for an array on a CUDA device, ValueError for rows of different
    lengths and for masked elements.
    """
    if hasattr(x, "toarray"):
        raise TypeError(f"{name}: a dense array is required, got a sparse matrix; use {name}.toarray()")
    refuse_device_array(x, name)
    refuse_masked(x, name)
    try:
        return np.asarray(x)
    except ValueError as error:
        raise ValueError(f"{name}: expected an array of numbers, got no array ({error})") from error


def refuse_masked(x: Any, name: str) -> None:
    """ValueError where `x` has masked elements, whose mask every conversion would drop without a word."""
    if isinstance(x, np.ma.MaskedArray) and np.ma.is_masked(x):
        raise ValueError(f"{name}: expected no masked elements; fill or drop the masked elements first")


def _real_array(x: Any, name: str) -> NDArray[Any]:
    array = array_of(x, name)
    if array.dtype.kind == "c":
        raise ValueError(f"{name}: Complex data not supported, got dtype {array.dtype}")
    if array.dtype.kind not in "biufO":
        raise ValueError(f"{name}: expected real numbers, got dtype {array.dtype}")
    return array


def _converted(array: NDArray[Any], dtype: Any, name: str, *, order: Literal["C", "K"] = "K") -> FloatArray:
    """`array` in this dtype; what overflows becomes infinite."""
    try:
        with np.errstate(over="ignore"):
            return array.astype(dtype, order=order, copy=False)
    except TypeError as error:
        raise TypeError(f"{name}: expected real numbers, got an object array ({error})") from error
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{name}: expected real numbers, got an object array ({error})") from error


def is_finite(array: FloatArray) -> bool:
    """Whether every element of the float array is finite."""
    # One pass and no temporary: a sum of squares is finite unless an element is not, or it overflows.
    flat = array.ravel(order="K")
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(np.vdot(flat, flat)) or np.isfinite(array).all())


def _refuse_not_finite(given: NDArray[Any], made: FloatArray, name: str) -> NoReturn:
    source = given if given.dtype.kind == "f" else given.astype(np.float64)
    if np.isfinite(source).all():
        raise ValueError(f"{name}: overflows {made.dtype}: an element is too large for it")
    kind = "NaN" if np.isnan(made).any() else "infinity"
    raise ValueError(f"{name}: every element must be finite, but it contains {kind}")


def real_number(value: Any, name: str, *, minimum: float | None = None, above: float | None = None) -> float:
    """`value` as a finite float, at least `minimum` or above `above`."""
    if not isinstance(value, Real) or isinstance(value, bool | np.bool_):
        raise TypeError(f"{name}: expected a real number, got {_describe(value)}")
    number = float(value)
    if not np.isfinite(number):
        raise ValueError(f"{name}: expected a finite number, got {number}")
    if minimum is not None and number < minimum:
        raise ValueError(f"{name}: expected a number >= {minimum:g}, got {number:g}")
    if above is not None and number <= above:
        raise ValueError(f"{name}: expected a number > {above:g}, got {number:g}")
    return number


# Counts that kernels and array shapes can hold.
MAX_COUNT = 2**31 - 1


def inverse_temperature(value: Any, name: str) -> float:
    """`value` as a float > 0, which may be infinite."""
    if not isinstance(value, Real) or isinstance(value, bool | np.bool_):
        raise TypeError(f"{name}: expected a real number > 0 or infinity, got {_describe(value)}")
    number = float(value)
    if not number > 0:
        raise ValueError(f"{name}: expected a number > 0 or infinity, got {number:g}")
    return number


def whole_number(value: Any, name: str, *, minimum: int = 0, maximum: int = MAX_COUNT) -> int:
    """`value` as an int, at least `minimum` and at most `maximum`."""
    if not isinstance(value, Integral) or isinstance(value, bool | np.bool_):
        raise TypeError(f"{name}: expected an integer, got {_describe(value)}")
    if value < minimum:
        raise ValueError(f"{name}: expected an integer >= {minimum}, got {int(value)}")
    if int(value) > maximum:
        raise ValueError(f"{name}: expected an integer <= {maximum}, got {int(value)}")
    return int(value)


def one_of(value: Any, name: str, choices: tuple[Any, ...]) -> Any:
    """`value`, which must be among `choices`."""
    if value not in choices:
        raise ValueError(f"{name}: expected one of {', '.join(map(repr, choices))}, got {value!r}")
    return value


def device(value: Any) -> str:
    """`value`, which must be "cpu" or "cuda"; whether that one is there is asked when it is used."""
    if not isinstance(value, str) or value not in DEVICES:
        raise ValueError(f"device: expected 'cpu' or 'cuda', got {value!r}")
    return value


def is_device_array(x: Any) -> bool:
    """Whether `x` is an array in the memory of a CUDA device, of whatever library."""
    if isinstance(x, np.ndarray | np.generic) or not hasattr(x, "__dlpack_device__"):
        return False
    return int(x.__dlpack_device__()[0]) in (2, 13)  # DLPack's numbers: CUDA, CUDA's managed memory


def refuse_device_array(x: Any, name: str) -> None:
    """TypeError where `x` is in the memory of a CUDA device, from which nothing is taken unasked."""
    if is_device_array(x):
        raise TypeError(f"{name}: an array on a CUDA device, where device='cpu'; set device='cuda'")


def thread_number(n_jobs: int | None) -> int:
    """`n_jobs` in scikit-learn's sense as a thread count for the kernels; 0 stands for OpenMP's default."""
    if n_jobs is None:
        return 0
    if not isinstance(n_jobs, Integral) or isinstance(n_jobs, bool | np.bool_):
        raise TypeError(f"n_jobs: expected an integer or None, got {_describe(n_jobs)}")
    if n_jobs == 0:
        raise ValueError("n_jobs: expected a non-zero integer or None, got 0")
    if n_jobs > MAX_THREADS:
        raise ValueError(f"n_jobs: expected at most {MAX_THREADS}, got {int(n_jobs)}")
    return int(n_jobs) if n_jobs > 0 else max(1, (os.cpu_count() or 1) + 1 + int(n_jobs))


def seed_number(random_state: Any) -> int:
    """`random_state` (None, an int, a RandomState or a Generator) as a 63-bit seed of the Philox generator.

    A generator is drawn from, so that two calls with the same generator differ, as in scikit-learn.
    """
    if random_state is None:
        return int(np.random.SeedSequence().generate_state(1, np.uint64)[0] >> np.uint64(1))
    if isinstance(random_state, Integral) and not isinstance(random_state, bool | np.bool_):
        if random_state < 0:
            raise ValueError(f"random_state: expected a non-negative integer, got {int(random_state)}")
        return int(random_state)
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(0, 2**63 - 1, dtype=np.int64))
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(0, 2**63 - 1))
    raise ValueError(
        "random_state: expected None, an integer, a RandomState or a Generator, "
        f"got {_describe(random_state)}"
    )


_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


def real_operand(x: Any, name: str, *, dtype: Any = None) -> FloatArray:
    """`x` as a float32 or float64 array of any strides; NaN and infinity are allowed.

    float32 stays float32 and every other real kind becomes float64, unless `dtype` asks for one of the two.
    Raises TypeError for a sparse matrix and for objects that are no numbers, ValueError for rows of different
    lengths, masked elements, complex numbers and text.
    """
    array = _real_array(x, name)
    if dtype is None:
        dtype = _FLOATS[0] if array.dtype == _FLOATS[0] else _FLOATS[1]
    if array.dtype != dtype:
        array = _converted(array, dtype, name)
    has_whole_strides = all(stride % array.itemsize == 0 for stride in array.strides)
    return array if array.flags.aligned and has_whole_strides else array.copy()


def non_negative(value: Any, name: str, dtype: Any) -> FloatArray:
    """`value` as an array of this dtype, all of whose elements are finite and >= 0."""
    array = real_operand(value, name, dtype=dtype)
    worst = array.min(initial=np.inf, where=True) if array.ndim else array[()]
    largest = array.max(initial=0) if array.ndim else worst
    if not (worst >= 0 and largest < np.inf):
        wrong = worst if not worst >= 0 else largest
        raise ValueError(f"{name}: expected finite numbers >= 0, got {wrong:g}")
    return array


def common_shape(a: FloatArray, a_name: str, b: FloatArray, b_name: str) -> tuple[int, ...]:
    """The shape to which both broadcast."""
    try:
        shape: tuple[int, ...] = np.broadcast_shapes(a.shape, b.shape)
    except ValueError:
        raise ValueError(
            f"{b_name}: expected a shape that broadcasts with {a_name} of shape {a.shape}, got {b.shape}"
        ) from None
    return shape


def output(out: Any, shape: tuple[int, ...], dtype: Any) -> None:
    """Checks that `out` can take a result of this shape and dtype."""
    if not isinstance(out, np.ndarray):
        raise TypeError(f"out: expected an ndarray, got {_describe(out)}")
    if out.shape != shape or out.dtype != dtype:
        raise ValueError(f"out: expected an array of shape {shape} and dtype {dtype}, got {_describe(out)}")
    if not out.flags.writeable:
        raise ValueError("out: expected a writeable array, got a read-only one")
    if not out.flags.aligned or any(stride % out.itemsize for stride in out.strides):
        raise ValueError("out: expected an aligned array")


def apart(operand: FloatArray, out: FloatArray) -> FloatArray:
    """`operand`, or a copy of it where writing to `out` would change elements that are still to be read."""
    if operand is out or not np.may_share_memory(operand, out):
        return operand
    is_same = (operand.shape, operand.strides) == (out.shape, out.strides)
    if is_same and operand.__array_interface__["data"] == out.__array_interface__["data"]:
        return operand
    copied: FloatArray = operand.copy()
    return copied

"""Arguments are checked once, here, at the door: arrays, numbers, seeds, threads. NumPy only."""

from __future__ import annotations

import os
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[Any]  # float32 or float64


def _describe(value: object) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape} and dtype {value.dtype}"
    return f"{value!r} ({type(value).__name__})"


def float_array(x: Any, name: str, *, ndim: int | None = None, dtype: Any = None) -> FloatArray:
    """`x` as a C-contiguous, finite float32 or float64 array; no copy where it already is one.

    float32 stays float32 and every other real kind becomes float64, unless `dtype` asks for one of the two.
    Raises TypeError for a sparse matrix and for what is no array, ValueError for a wrong number of
    dimensions, complex numbers, text, NaN and infinity.
    """
    if hasattr(x, "toarray"):
        raise TypeError(f"{name}: a dense array is required, got a sparse matrix; use {name}.toarray()")
    array = np.asarray(x)
    if array.dtype.kind == "c":
        raise ValueError(f"{name}: Complex data not supported, got dtype {array.dtype}")
    if array.dtype.kind not in "biufO":
        raise ValueError(f"{name}: expected real numbers, got dtype {array.dtype}")
    if ndim is not None and array.ndim != ndim:
        raise ValueError(f"{name}: expected {ndim} dimension(s), got shape {array.shape}")
    if dtype is None:
        dtype = np.float32 if array.dtype == np.float32 else np.float64
    try:
        array = np.ascontiguousarray(array, dtype=np.dtype(dtype).newbyteorder("=")).reshape(array.shape)
    except TypeError as error:
        raise TypeError(f"{name}: expected real numbers, got an object array ({error})") from error
    require_finite(array, name)
    return array


def require_finite(array: FloatArray, name: str) -> None:
    """ValueError unless every element of the float array is finite."""
    # One pass and no temporary: a sum is finite unless an element is not, or it overflows.
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(array.sum(dtype=np.float64)) or np.isfinite(array).all():
            return
    kind = "NaN" if np.isnan(array).any() else "infinity"
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


def whole_number(value: Any, name: str, *, minimum: int = 0) -> int:
    """`value` as an int, at least `minimum`."""
    if not isinstance(value, Integral) or isinstance(value, bool | np.bool_):
        raise TypeError(f"{name}: expected an integer, got {_describe(value)}")
    if value < minimum:
        raise ValueError(f"{name}: expected an integer >= {minimum}, got {int(value)}")
    return int(value)


def one_of(value: Any, name: str, choices: tuple[Any, ...]) -> Any:
    """`value`, which must be among `choices`."""
    if value not in choices:
        raise ValueError(f"{name}: expected one of {', '.join(map(repr, choices))}, got {value!r}")
    return value


def thread_number(n_jobs: int | None) -> int:
    """`n_jobs` in scikit-learn's sense as a thread count for the kernels; 0 stands for OpenMP's default."""
    if n_jobs is None:
        return 0
    if not isinstance(n_jobs, Integral) or isinstance(n_jobs, bool | np.bool_):
        raise TypeError(f"n_jobs: expected an integer or None, got {_describe(n_jobs)}")
    if n_jobs == 0:
        raise ValueError("n_jobs: expected a non-zero integer or None, got 0")
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
    Raises TypeError for a sparse matrix and for objects that are no numbers, ValueError for complex numbers
    and text.
    """
    if hasattr(x, "toarray"):
        raise TypeError(f"{name}: a dense array is required, got a sparse matrix; use {name}.toarray()")
    array = np.asarray(x)
    kind = array.dtype
    wanted = dtype if dtype is not None else _FLOATS[0] if kind == _FLOATS[0] else _FLOATS[1]
    if kind != wanted:
        if kind.kind == "c":
            raise ValueError(f"{name}: Complex data not supported, got dtype {kind}")
        if kind.kind not in "biufO":
            raise ValueError(f"{name}: expected real numbers, got dtype {kind}")
        try:
            with np.errstate(over="ignore"):
                array = array.astype(wanted)
        except (TypeError, ValueError) as error:
            raise TypeError(f"{name}: expected real numbers, got an object array ({error})") from error
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

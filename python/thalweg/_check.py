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

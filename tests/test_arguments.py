"""What every function asks of its arrays, dtypes and threads, and how it says so."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from thalweg import _check, ops
from thalweg.energies import SparseCodingEnergy
from thalweg.inference.lasso import LassoSolver
from thalweg.inference.omp import omp_encode
from thalweg.optim import accumulate_statistics

EYE = np.eye(3)
MASKED = np.ma.masked_equal(EYE, 0.0)

NO_ARRAYS: dict[str, tuple[Any, type[Exception], str]] = {
    "sparse": (csr_matrix(EYE), TypeError, r"^x: a dense array is required"),
    "masked": (
        MASKED,
        ValueError,
        r"^x: expected no masked elements; fill or drop the masked elements first$",
    ),
    "ragged": (
        [[1.0, 2.0], [3.0]],
        ValueError,
        r"^x: expected an array of numbers, got no array \(.*inhomog",
    ),
    "complex": (EYE + 0j, ValueError, r"^x: Complex data not supported, got dtype complex128$"),
    "text": (np.full(3, "a"), ValueError, r"^x: expected real numbers, got dtype <U1$"),
    "dates": (np.zeros(3, "datetime64[s]"), ValueError, r"^x: expected real numbers, got dtype datetime64"),
    "text in objects": (
        np.array(["a"], object),
        ValueError,
        r"^x: expected real numbers, got an object array",
    ),
    "objects": (np.array([object()]), TypeError, r"^x: expected real numbers, got an object array"),
    "a huge integer": ([10**400], ValueError, r"^x: expected real numbers, got an object array"),
}


@pytest.mark.parametrize("check", [_check.float_array, _check.real_operand])
@pytest.mark.parametrize("case", NO_ARRAYS)
def test_what_is_no_real_array_is_named(check: Any, case: str) -> None:
    value, error, message = NO_ARRAYS[case]
    with pytest.raises(error, match=message):
        check(value, "x")


NOT_FINITE: dict[str, tuple[Any, Any, str]] = {
    "nan": ([1.0, np.nan], None, r"^x: every element must be finite, but it contains NaN$"),
    "infinity": ([1.0, -np.inf], None, r"^x: every element must be finite, but it contains infinity$"),
    "infinity to float32": ([1.0, np.inf], np.float32, r"but it contains infinity$"),
    "overflow": ([1.0, 1e300], np.float32, r"^x: overflows float32"),
    "overflow in objects": (np.array([1.0, 1e300], object), np.float32, r"^x: overflows float32"),
    "overflow of longdouble": (np.array([np.longdouble("1e400")]), None, r"^x: overflows float64"),
}


@pytest.mark.parametrize("case", NOT_FINITE)
def test_what_is_not_finite_is_told_from_what_overflows(case: str) -> None:
    value, dtype, message = NOT_FINITE[case]
    if isinstance(value, np.ndarray) and value.dtype == np.longdouble and not np.isfinite(value).all():
        pytest.skip("longdouble is float64 here")
    with pytest.raises(ValueError, match=message):
        _check.float_array(value, "x", dtype=dtype)


@pytest.mark.parametrize("value", [1e308 * np.ones((5, 3)), np.float32(3e38) * np.ones((5, 3), np.float32)])
def test_a_sum_that_overflows_is_no_fault(value: Any) -> None:
    assert _check.float_array(value, "x") is value


def test_an_array_without_masked_elements_is_taken_without_a_copy() -> None:
    none_masked = np.ma.masked_array(EYE)
    assert np.shares_memory(_check.float_array(none_masked, "x"), EYE)
    assert np.shares_memory(_check.real_operand(none_masked, "x"), EYE)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["f4", ">f8", "i4", "?"])
def test_any_layout_becomes_contiguous(order: Any, dtype: str) -> None:
    value = np.asarray(np.arange(24).reshape(4, 6) % 2, dtype, order=order)[::2, ::-1]
    made = _check.float_array(value, "x")
    assert made.flags.c_contiguous
    assert made.dtype == (np.float32 if dtype == "f4" else np.float64)
    assert made.dtype.isnative
    np.testing.assert_array_equal(made, value)
    assert _check.float_array(value[0, 0], "x").shape == ()


MASK_TAKERS: dict[str, Any] = {
    "u": lambda: ops.softplus(MASKED),
    "alpha": lambda: ops.shrink(EYE, MASKED),
    "dictionary": lambda: LassoSolver(MASKED),
    "X": lambda: omp_encode(MASKED, EYE),
    "Z": lambda: SparseCodingEnergy(EYE).value(EYE, MASKED),
    "codes": lambda: accumulate_statistics(MASKED, EYE, np.zeros((3, 3)), np.zeros((3, 3))),
}


@pytest.mark.parametrize("name", MASK_TAKERS)
def test_no_function_drops_a_mask(name: str) -> None:
    with pytest.raises(ValueError, match=rf"^{name}: expected no masked elements"):
        MASK_TAKERS[name]()


def test_threads_have_a_limit() -> None:
    assert _check.thread_number(_check.MAX_THREADS) == _check.MAX_THREADS
    assert _check.thread_number(-(2**40)) == 1
    for n_jobs in (_check.MAX_THREADS + 1, 2**31, 2**70):
        with pytest.raises(
            ValueError, match=rf"^n_jobs: expected at most {_check.MAX_THREADS}, got {n_jobs}$"
        ):
            ops.softplus(EYE, n_jobs=n_jobs)

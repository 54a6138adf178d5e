"""The native steps of momentum and of Adam against the reference: numbers, bits, finiteness, arguments."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from reference import descent as reference
from thalweg._native import cpu

RATES = {"rate": 0.1, "momentum": 0.9, "decay": 0.01}
SHAPES = [
    (),
    (1,),
    (7,),
    (40_000,),
    (1, 1),
    (3, 5),
    (1000, 33),
    (20_000, 1),
    (1, 20_000),
    (0,),
    (0, 4),
    (4, 0),
]


def numbers(shape: Any, dtype: Any, seed: int) -> Any:
    return np.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


def step(x: Any, v: Any, g: Any, *, in_place: bool = False, n_jobs: int = 1, **rates: float) -> Any:
    """The next parameter, the next velocity, and whether they are finite."""
    next_x = x if in_place else np.full_like(x, np.nan)
    next_v = v if in_place or v is None else np.full_like(v, np.nan)
    is_finite = cpu.momentum_step(
        parameter=x,
        velocity=v,
        gradient=g,
        next=next_x,
        next_velocity=next_v,
        n_jobs=n_jobs,
        **{**RATES, **rates},
    )
    return next_x, next_v, is_finite


def assert_step(found: Any, x: Any, v: Any, g: Any, rates: dict[str, float]) -> None:
    x, v, g = (a.astype(np.float64) for a in (x, v, g))
    rounded = {name: float(found[0].dtype.type(r)) for name, r in rates.items()}
    absolute = {name: -abs(r) if name == "decay" else abs(r) for name, r in rounded.items()}
    size = reference.momentum_step(abs(x), abs(v), abs(g), **absolute)[0]
    for a, e in zip(found[:2], reference.momentum_step(x, v, g, **rounded)):
        if a is not None:
            assert (np.abs(a - e) <= 4 * np.finfo(a.dtype).eps * size).all()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_steps_are_those_of_the_reference(shape, dtype):
    x, v, g = (numbers(shape, dtype, i) for i in range(3))
    for rates in (RATES, {"rate": 1.0, "momentum": 0.0, "decay": 0.0}, {**RATES, "rate": -2.0}):
        found = step(x, v, g, **rates)
        assert found[2]
        assert_step(found, x, v, g, rates)
        plain = step(x, None, g, **rates)
        assert plain[2]
        assert_step(plain, x, np.zeros_like(v), g, rates)


def test_momentum_is_no_matter_without_velocities(dtype):
    x, g = numbers((30, 5), dtype, 0), numbers((30, 5), dtype, 1)
    assert_array_equal(step(x, None, g, momentum=0.9)[0], step(x, None, g, momentum=0.0)[0])
    close = 4 * np.finfo(dtype).eps
    assert_allclose(step(x, None, g)[0], step(x, np.zeros_like(x), g)[0], rtol=close, atol=close)


def test_bits_do_not_depend_on_threads_or_on_place(dtype):
    x, v, g = (numbers((8000, 77), dtype, i) for i in range(3))
    kept = [a.copy() for a in (x, v, g)]
    expected = step(x, v, g)
    for a, b in zip((x, v, g), kept):
        assert_array_equal(a, b)
    for n_jobs in (2, 3):
        for a, b in zip(step(x, v, g, n_jobs=n_jobs), expected):
            assert_array_equal(a, b)
    for a, b in zip(step(x, v, g, in_place=True, n_jobs=2), expected):
        assert_array_equal(a, b)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["parameter", "velocity", "gradient"])
def test_numbers_that_are_not_finite_are_told(where, bad, dtype):
    for place in (0, 307_999, 615_999):
        arrays = {name: np.ones((8000, 77), dtype) for name in ("parameter", "velocity", "gradient")}
        arrays[where].flat[place] = bad
        assert not step(*arrays.values(), n_jobs=2)[2]


def test_overflow_is_told(dtype):
    largest = np.full((3, 4), np.finfo(dtype).max)
    small = np.zeros((3, 4), dtype)
    assert step(largest, None, small, decay=0.0)[2]
    assert not step(largest, None, largest, rate=1.0, decay=0.0)[2]
    assert not step(small, largest, largest, rate=1.0, momentum=1.0)[2]


def test_arguments_that_do_not_fit_are_refused(dtype):
    good = {name: np.zeros((3, 4), dtype) for name in ("parameter", "velocity", "gradient", "next")}
    good["next_velocity"] = np.zeros((3, 4), dtype)
    others = {**RATES, "n_jobs": 1}
    assert cpu.momentum_step(**good, **others)
    other = np.float64 if dtype == np.float32 else np.float32
    for name in ("gradient", "velocity", "next", "next_velocity"):
        # As many elements in other rows are of another shape too.
        for shape in ((3, 5), (2, 4), (12,), (1, 3, 4), (4, 3), (6, 2)):
            with pytest.raises(ValueError, match=rf"^{name}: expected shape \(3, 4\), got "):
                cpu.momentum_step(**{**good, name: np.zeros(shape, dtype)}, **others)
        for bad in (np.zeros((3, 4), other), np.zeros((3, 8), dtype)[:, ::2], [[0.0] * 4] * 3):
            with pytest.raises(TypeError, match=rf"{name}: "):
                cpu.momentum_step(**{**good, name: bad}, **others)
    for name in ("next", "next_velocity"):
        frozen = np.zeros((3, 4), dtype)
        frozen.flags.writeable = False
        with pytest.raises(ValueError, match=rf"^{name}: expected a writeable array"):
            cpu.momentum_step(**{**good, name: frozen}, **others)
    for name in ("velocity", "next_velocity"):
        with pytest.raises(ValueError, match=r"^next_velocity: expected one where velocity is given"):
            cpu.momentum_step(**{**good, name: None}, **others)


ADAM = {"rate": 0.1, "first_decay": 0.9, "second_decay": 0.999, "epsilon": 1e-8}


def adam(arrays: list[Any], *, n_jobs: int = 1, in_place: bool = False, step: int = 3, **rates: float) -> Any:
    """The next parameter, mean and square, and whether they are finite."""
    made = [a if in_place else np.full_like(a, np.nan) for a in arrays[:3]]
    is_finite = cpu.adam_step(
        *([a] for a in arrays),
        next=[made[0]],
        next_means=[made[1]],
        next_squares=[made[2]],
        step=step,
        n_jobs=n_jobs,
        **{**ADAM, **rates},
    )
    return made, is_finite


def adam_arrays(shape: Any, dtype: Any) -> list[Any]:
    x, m, s, g = (numbers(shape, dtype, i) for i in range(4))
    return [x, m, np.asarray(np.abs(s), dtype), g]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("step", [1, 3, 10_000])
def test_adam_is_that_of_the_reference(shape, step, dtype):
    arrays = adam_arrays(shape, dtype)
    rounded = {name: float(np.dtype(dtype).type(r)) for name, r in ADAM.items()}
    expected = reference.adam_step(*(a.astype(np.float64) for a in arrays), **rounded, step=step)
    found, is_finite = adam(arrays, step=step)
    assert is_finite
    for a, e in zip(found, expected):
        # Averages of which one was small cancel; what is left is at most as large as the terms were.
        assert_allclose(a, e, rtol=50 * np.finfo(dtype).eps, atol=50 * np.finfo(dtype).eps)


def test_bits_of_adam_do_not_depend_on_threads_or_on_place(dtype):
    arrays = adam_arrays((8000, 77), dtype)
    kept = [a.copy() for a in arrays]
    expected, _ = adam(arrays)
    for a, b in zip(arrays, kept):
        assert_array_equal(a, b)
    for a, b in zip(adam(arrays, n_jobs=2)[0], expected):
        assert_array_equal(a, b)
    for a, b in zip(adam(arrays, n_jobs=2, in_place=True)[0], expected):
        assert_array_equal(a, b)


def test_bits_of_adam_do_not_depend_on_where_in_memory(dtype):
    arrays = adam_arrays((1000,), dtype)
    expected, _ = adam(arrays)
    for shift in range(1, 17):
        moved = [np.empty(1000 + shift, dtype)[shift:] for _ in arrays]
        for to, a in zip(moved, arrays):
            to[:] = a
        for a, b in zip(adam(moved, in_place=True)[0], expected):
            assert_array_equal(a, b)
        # Nor on what stands beside.
        for a, b in zip(adam([a[shift:] for a in arrays])[0], expected):
            assert_array_equal(a, b[shift:])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_adam_tells_numbers_that_are_not_finite(bad, dtype):
    for which in range(4):
        arrays = adam_arrays((300, 77), dtype)
        arrays[which].flat[-1] = bad
        assert not adam(arrays, n_jobs=2)[1]
    arrays = adam_arrays((300, 77), dtype)
    arrays[3].flat[5] = np.finfo(dtype).max  # whose square is infinite
    assert not adam(arrays)[1]


def test_adam_of_several_parameters_is_that_of_each(dtype):
    several = [adam_arrays(shape, dtype) for shape in SHAPES]
    made = [[np.full_like(a[i], np.nan) for a in several] for i in range(3)]
    given = [[a[i] for a in several] for i in range(4)]
    assert cpu.adam_step(
        *given, next=made[0], next_means=made[1], next_squares=made[2], step=3, n_jobs=2, **ADAM
    )
    for arrays, *found in zip(several, *made):
        for a, b in zip(adam(arrays)[0], found):
            assert_array_equal(a, b)


def test_arguments_of_adam_that_do_not_fit_are_refused(dtype):
    names = ("means", "squares", "gradients", "next", "next_means", "next_squares")
    good = {name: [np.zeros((3, 4), dtype)] for name in ("parameters", *names)}
    others = {**ADAM, "step": 1, "n_jobs": 1}
    assert cpu.adam_step(**good, **others)
    for name in names:
        with pytest.raises(ValueError, match=rf"^{name}: expected shape \(3, 4\), got "):
            cpu.adam_step(**{**good, name: [np.zeros((4, 3), dtype)]}, **others)
        with pytest.raises(ValueError, match=rf"^{name}: expected 1 array\(s\), got 0"):
            cpu.adam_step(**{**good, name: []}, **others)
    with pytest.raises(ValueError, match=r"^step: expected an integer >= 1, got 0"):
        cpu.adam_step(**good, **{**others, "step": 0})

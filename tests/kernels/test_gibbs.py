"""The native Boltzmann machines against the reference: sums, draws, sweeps, statistics, bad arguments."""

from __future__ import annotations

import itertools
import os
import signal
import threading
import time
from dataclasses import dataclass
from dataclasses import replace as changed
from functools import cached_property
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import expit

from reference import gibbs as reference
from reference.rbm import combine, minus_energy_gradient, sigmoid
from thalweg import _native, _rng
from thalweg._base import Bits, Draws, Phase
from thalweg.inference.gibbs import (
    RbmMachine,
    empty_bits,
    make_workspace,
    on_host,
    pack,
    padded_rows,
    unpack,
    zero_bits,
)

DTYPES = (np.float32, np.float64)
KINDS = ("bernoulli", "gaussian")
# (n_hidden, n_visible): around the words of 32 units and the panels of 16 or 32 of them.
SHAPES = ((1, 1), (1, 12), (12, 1), (31, 33), (32, 32), (33, 31), (64, 100), (100, 64))
# Around the blocks that are worked on together: 12 rows for tables, 128 or 512 a task, 1024 a chunk.
ROWS = (1, 11, 12, 13, 100, 513, 1100)
# On the emulated device, where a row takes milliseconds: around the tiles of 64 rows.
FEW_ROWS = (1, 13, 70)
DRAWS = Draws(seed=2**40 + 17, stream=8, first_row=2**33 + 5, step=2**32 - 2)

every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.__name__)
every_kind = pytest.mark.parametrize("kind", KINDS)
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=lambda s: f"{s[0]}x{s[1]}")


class Current:
    """The backend under test."""

    device = "cpu"

    @classmethod
    def kernels(cls) -> Any:
        return _native.kernels(cls.device)

    @classmethod
    def is_fast(cls) -> bool:
        """Whether it is no emulation."""
        return cls.device == "cpu" or not cls.kernels().is_emulated

    @classmethod
    def rows(cls, *sizes: int) -> tuple[int, ...]:
        """These sizes, or small ones in their place."""
        if cls.is_fast():
            return sizes
        return FEW_ROWS if len(sizes) > 2 else tuple(min(n, FEW_ROWS[-1]) for n in sizes)


@pytest.fixture(autouse=True)
def on_backend(backend):
    Current.device = backend
    yield
    Current.device = "cpu"


def placed(x: Any) -> Any:
    """An array where the backend is."""
    return x if Current.device == "cpu" else Current.kernels().to_device(x)


def workspace(dtype: Any) -> Any:
    return make_workspace(dtype, Current.device)


@dataclass(frozen=True)
class Case:
    """A random machine of one precision, the same in float64 for the reference, and states for it."""

    kind: str
    n_hidden: int
    n_visible: int
    dtype: Any
    scale: float = 1.0
    seed: int = 0

    def made(self, rng: Any) -> dict[str, Any]:
        machine = {
            "weights": self.scale * rng.normal(size=(self.n_hidden, self.n_visible)),
            "visible_bias": rng.normal(size=self.n_visible),
            "hidden_bias": rng.normal(size=self.n_hidden),
        }
        if self.kind == "gaussian":
            machine["sigma"] = rng.uniform(0.5, 2, self.n_visible)
        return {name: x.astype(self.dtype) for name, x in machine.items()}

    @cached_property
    def parameters(self) -> dict[str, Any]:
        return self.made(np.random.default_rng(self.seed))

    @cached_property
    def exact(self) -> dict[str, Any]:
        return {name: x.astype(np.float64) for name, x in self.parameters.items()}

    @cached_property
    def base(self) -> dict[str, Any]:
        """A base model for temperatures below 1."""
        made = self.made(np.random.default_rng(self.seed + 1))
        return {name: made[name] for name in ("visible_bias", "sigma") if name in made}

    @cached_property
    def exact_base(self) -> dict[str, Any]:
        return {name: x.astype(np.float64) for name, x in self.base.items()}

    @property
    def base_arguments(self) -> dict[str, Any]:
        return {"base_bias": self.base["visible_bias"], "base_sigma": self.base.get("sigma")}

    def machine(self, n_jobs: int = 1) -> RbmMachine:
        return RbmMachine.of(**self.parameters, n_jobs=n_jobs, device=Current.device)

    def binary(self, n: int, n_units: int, seed: int = 2, density: float = 0.4) -> Any:
        return (np.random.default_rng(seed).random((n, n_units)) < density).astype(self.dtype)

    def real(self, n: int, n_units: int, seed: int = 3) -> Any:
        """Dense rows, sparse ones, and rows of 0 and 1 among them."""
        rng = np.random.default_rng(seed)
        x = rng.random((n, n_units))
        x[1::3] *= rng.random((n, n_units))[1::3] < 0.2
        x[2::3] = x[2::3] < 0.3
        return x.astype(self.dtype)

    def visible(self, n: int, seed: int = 4) -> Any:
        if self.kind == "gaussian":
            return (2 * np.random.default_rng(seed).normal(size=(n, self.n_visible))).astype(self.dtype)
        return self.binary(n, self.n_visible, seed)

    def temperatures(self, n: int) -> Any:
        t = np.random.default_rng(5).random(n).astype(self.dtype)
        t[:2] = (0, 1)[: len(t[:2])]
        return t

    def empty(self, *shape: int) -> Any:
        return np.full(shape, np.nan, self.dtype)


def key(draws: Draws) -> dict[str, int]:
    return {
        "seed": draws.seed,
        "stream": draws.stream,
        "first_row": draws.first_row,
        "step": draws.step % 2**32,
    }


def given(states: Any) -> dict[str, Any]:
    is_bits = isinstance(states, Bits)
    return {"real": None if is_bits else states, "given_bits": states.words if is_bits else None}


def hidden_side(case: Case, visible: Any, draws: Draws = DRAWS, *, t: Any = None, n_jobs: int = 1) -> Any:
    """Logits, probabilities and states of the hidden units, all of them asked for."""
    n = len(visible)
    logits, mean = case.empty(n, case.n_hidden), case.empty(n, case.n_hidden)
    bits = np.full((-(-case.n_hidden // 32), n), 0xFFFFFFFF, np.uint32)
    native = case.machine().native
    native.hidden_given_visible(
        **given(visible), t=t, **key(draws), logits=logits, mean=mean, bits=bits, n_jobs=n_jobs
    )
    return logits, mean, bits


def visible_side(
    case: Case, hidden: Any, draws: Draws = DRAWS, *, t: Any = None, base: bool = False, n_jobs: int = 1
) -> Any:
    """Means and states (words, or numbers) of the visible units."""
    n = len(hidden)
    mean, drawn, bits = case.empty(n, case.n_visible), None, None
    if case.kind == "gaussian":
        drawn = case.empty(n, case.n_visible)
    else:
        bits = np.full((-(-case.n_visible // 32), n), 0xFFFFFFFF, np.uint32)
    bases = case.base_arguments if base else {"base_bias": None, "base_sigma": None}
    native = case.machine().native
    native.visible_given_hidden(
        **given(hidden), t=t, **bases, **key(draws), mean=mean, bits=bits, drawn=drawn, n_jobs=n_jobs
    )
    return mean, drawn if bits is None else bits


def as_bits(states: Any) -> Bits:
    return Bits(reference.pack(states), states.shape[1])


def assert_near(found: Any, expected: Any, size: Any) -> None:
    """Equal but for the rounding of sums whose terms add up to `size` in absolute value."""
    assert found.dtype in DTYPES
    assert found.shape == expected.shape
    assert (np.abs(found - expected) <= 20 * np.finfo(found.dtype).eps * (size + 1)).all()


def assert_probabilities(mean: Any, logits: Any) -> None:
    assert_allclose(mean, expit(logits.astype(np.float64)), rtol=8 * np.finfo(mean.dtype).eps, atol=1e-37)


def assert_drawn(words: Any, mean: Any, draws: Draws) -> None:
    """Bit for bit the reference's uniforms below these probabilities, and zeros beyond the units."""
    u = reference.uniforms(draws, *mean.shape, mean.dtype)
    assert_array_equal(words, reference.pack(u < mean.astype(np.float64)))


def hidden_sizes(case: Case, X: Any) -> Any:
    """Sums of the absolute terms of the hidden logits."""
    absolute = {name: np.abs(x) for name, x in case.exact.items()}
    return reference.hidden_logits(np.abs(X.astype(np.float64)), absolute)


def visible_sizes(case: Case, H: Any) -> Any:
    return np.abs(H.astype(np.float64)) @ np.abs(case.exact["weights"]) + np.abs(case.exact["visible_bias"])


def assert_hidden(case: Case, visible: Any, numbers: Any, t: Any = None) -> None:
    """`numbers` are the states that `visible` stands for."""
    X, factor = numbers.astype(np.float64), 1.0 if t is None else t.astype(np.float64)
    logits, mean, words = hidden_side(case, visible, t=t)
    assert_near(logits, reference.hidden_logits(X, case.exact, factor), hidden_sizes(case, X))
    assert_probabilities(mean, logits)
    assert_drawn(words, mean, DRAWS)


def assert_visible(case: Case, hidden: Any, numbers: Any, t: Any = None) -> None:
    H, factor = numbers.astype(np.float64), 1.0 if t is None else t.astype(np.float64)
    mean, drawn = visible_side(case, hidden, t=t, base=t is not None)
    base = None if t is None else case.exact_base
    size = visible_sizes(case, H) + (0 if t is None else np.abs(base["visible_bias"]))
    if case.kind == "bernoulli":
        assert_near(mean, sigmoid(reference.visible_logits(H, case.exact, factor, base)), size / 4)
        assert_drawn(drawn, mean, DRAWS)
        return
    expected, deviation = reference.visible_normal(H, case.exact, factor, base)
    assert_near(mean, expected, size)
    normal = reference.normals(DRAWS, *mean.shape, case.dtype)
    slack = 1e-5 if case.dtype == np.float32 else 1e-12
    error = np.abs(drawn - (mean.astype(np.float64) + deviation * normal))
    assert (error <= slack * (1 + np.abs(mean) + deviation)).all()


# --- one side given the other


@every_dtype
@every_kind
@every_shape
def test_hidden_units_are_those_of_the_reference(shape, kind, dtype):
    case = Case(kind, *shape, dtype)
    for n in Current.rows(*ROWS):
        if kind == "bernoulli":
            X = case.binary(n, case.n_visible)
            assert_hidden(case, as_bits(X), X)
            X = case.real(n, case.n_visible)
        else:
            X = case.visible(n)
        assert_hidden(case, X, X)


@every_dtype
@every_kind
@every_shape
def test_visible_units_are_those_of_the_reference(shape, kind, dtype):
    case = Case(kind, *shape, dtype)
    for n in Current.rows(*ROWS):
        H = case.binary(n, case.n_hidden)
        assert_visible(case, as_bits(H), H)
        H = case.real(n, case.n_hidden)
        assert_visible(case, H, H)


@every_dtype
@every_kind
@pytest.mark.parametrize("shape", [(1, 1), (33, 31), (64, 100)], ids=lambda s: f"{s[0]}x{s[1]}")
def test_tempered_units_are_those_of_the_reference(shape, kind, dtype):
    case = Case(kind, *shape, dtype)
    for n in Current.rows(1, 13, 1100):
        t, H, X = case.temperatures(n), case.binary(n, case.n_hidden), case.visible(n)
        assert_hidden(case, as_bits(X) if kind == "bernoulli" else X, X, t)
        assert_visible(case, as_bits(H), H, t)


@every_dtype
@every_kind
def test_a_model_of_images_is_that_of_the_reference(kind, dtype):
    case = Case(kind, 500, 784, dtype, scale=0.1)
    (n,) = Current.rows(1100)
    X, H = case.visible(n), case.binary(n, 500)
    assert_hidden(case, as_bits(X) if kind == "bernoulli" else X, X)
    assert_visible(case, as_bits(H), H)
    if kind == "bernoulli":
        X = case.real(n, 784)
        assert_hidden(case, X, X)


@every_dtype
def test_temperatures_without_a_base_model_are_about_zeros_and_ones(dtype):
    for kind in KINDS:
        case = Case(kind, 12, 9, dtype)
        H, t = case.binary(13, 12), case.temperatures(13)
        mean, _ = visible_side(case, H, t=t)
        if kind == "bernoulli":
            expected = sigmoid(reference.visible_logits(H.astype(float), case.exact, t.astype(float)))
        else:
            expected, _ = reference.visible_normal(H.astype(float), case.exact, t.astype(float))
        assert_allclose(mean, expected, atol=1e-5 if dtype == np.float32 else 1e-13)


@every_dtype
@every_kind
def test_machines_give_what_their_kernels_give(kind, dtype):
    case = Case(kind, 33, 40, dtype)
    X, H = case.visible(20), as_bits(case.binary(20, 33))
    machine = case.machine()
    logits, mean, _ = hidden_side(case, X)
    assert_array_equal(machine.hidden_logits(X), logits)
    assert_array_equal(machine.hidden(X), mean)
    drawn_mean, drawn = machine.draw_hidden(X, changed(DRAWS, step=7))
    assert_array_equal(drawn_mean, mean)
    assert_array_equal(drawn.words, hidden_side(case, X, changed(DRAWS, step=7))[2])
    assert drawn.units == 33
    mean, states = visible_side(case, H, changed(DRAWS, step=7))
    assert_array_equal(machine.visible_mean(H), mean)
    found = machine.draw_visible(H, changed(DRAWS, step=7))
    assert_array_equal(found.words if kind == "bernoulli" else found, states)


@every_dtype
def test_probabilities_keep_their_precision_at_any_activation(dtype):
    """Weights of 0 make the logits the biases."""
    bias = np.concatenate([np.linspace(-80, 80, 999), [1e4, -1e4]]).astype(dtype)
    machine = RbmMachine.of(np.zeros((1001, 1), dtype), np.zeros(1, dtype), bias, device=Current.device)
    mean = machine.hidden(np.ones((13, 1), dtype))
    assert_probabilities(mean[:, :999], np.tile(bias[:999], (13, 1)))
    assert_array_equal(mean[:, 999:], np.tile(np.array([1, 0], dtype), (13, 1)))
    _, drawn = machine.draw_hidden(np.ones((13, 1), dtype), DRAWS)
    assert_array_equal(unpack(drawn, dtype)[:, 999:], mean[:, 999:])


@every_dtype
def test_normals_are_those_of_the_reference(dtype):
    """Of a machine of mean 0 and deviation 1, many times; the radius loses its digits where it is small."""
    zeros = np.zeros((1, 500), dtype)
    machine = RbmMachine.of(zeros, zeros[0], np.zeros(1, dtype), np.ones(500, dtype), device=Current.device)
    for draws in (DRAWS, Draws(0, 0), Draws(2**64 - 1, 65534, 2**48 - 1001, 2**32 - 1)):
        found = machine.draw_visible(zero_bits(1000, 1), draws)
        expected = reference.normals(draws, 1000, 500, dtype)
        assert_allclose(found, expected, rtol=0, atol=1e-5 if dtype == np.float32 else 1e-12)


def test_the_reference_draws_the_words_of_the_library():
    for draws in (DRAWS, Draws(0, 0), Draws(2**64 - 1, 65534, 2**48 - 3, 2**32 - 1)):
        found = reference.uniforms(draws, 3, 9)
        for r in range(3):
            expected = _rng.uniform(draws.seed, draws.stream, draws.step, 9, draws.first_row + r)
            assert_array_equal(found[r], expected)


# --- the same bits


@every_dtype
@every_kind
def test_bits_do_not_depend_on_threads(kind, dtype):
    case = Case(kind, 100, 70, dtype)
    (n,) = Current.rows(1100)
    X, H = case.visible(n), case.binary(n, 100)
    first = hidden_side(case, X, n_jobs=1) + visible_side(case, as_bits(H), n_jobs=1)
    for n_jobs in (2, 3):
        again = hidden_side(case, X, n_jobs=n_jobs) + visible_side(case, as_bits(H), n_jobs=n_jobs)
        for a, b in zip(first, again):
            assert_array_equal(a, b)


@every_dtype
@every_kind
@pytest.mark.parametrize("n_units", [12, 40, 250])
def test_bits_do_not_depend_on_batching(n_units, kind, dtype):
    """Rows in pieces, of one row too, whose first row is moved."""
    case = Case(kind, n_units, n_units + 1, dtype)
    (n,) = Current.rows(1100)
    bits, real = as_bits(case.binary(n, n_units + 1)), case.real(n, n_units + 1)
    H, H_real = as_bits(case.binary(n, n_units)), case.real(n, n_units)
    sides = [(hidden_side, real), (visible_side, H), (visible_side, H_real)]
    if kind == "bernoulli":
        sides.append((hidden_side, bits))
    cuts = sorted({0, 1, 3, 14, 25, 26, min(600, n), n})
    for side, states in sides:
        whole = side(case, states, DRAWS)
        for start, stop in itertools.pairwise(cuts):
            piece = part(states, slice(start, stop))
            found = side(case, piece, changed(DRAWS, first_row=DRAWS.first_row + start))
            for a, b in zip(found, whole):
                of_words = b.dtype == np.uint32
                assert_array_equal(a, b[:, start:stop] if of_words else b[start:stop])


def part(states: Any, rows: slice) -> Any:
    if isinstance(states, Bits):
        return Bits(np.ascontiguousarray(states.words[:, rows]), states.units)
    return states[rows]


@every_dtype
@pytest.mark.parametrize("n", [5, 12, 200])
def test_rows_of_zeros_and_ones_are_bits(n, dtype):
    case = Case("bernoulli", 50, 70, dtype)
    X, H = case.binary(n, 70), case.binary(n, 50)
    gaussian = changed(case, kind="gaussian")
    for real, bits in [
        (hidden_side(case, X), hidden_side(case, as_bits(X))),
        (visible_side(case, H), visible_side(case, as_bits(H))),
        (visible_side(gaussian, H), visible_side(gaussian, as_bits(H))),
    ]:
        for a, b in zip(real, bits):
            assert_array_equal(a, b)


@every_dtype
@pytest.mark.parametrize("row_density", [0.1, 0.9])
def test_bits_do_not_depend_on_the_other_rows_density(row_density, dtype):
    """Sparse batches are summed by their non-zeros, others multiplied: the same bits."""
    case = Case("bernoulli", 70, 90, dtype)
    rng = np.random.default_rng(1)
    row = (rng.random(90) * (rng.random(90) < row_density)).astype(dtype)
    found = []
    for density in (0.05, 0.38, 0.42, 1.0):
        X = rng.random((40, 90)) * (rng.random((40, 90)) < density)
        X[17] = row
        found.append([a[17] for a in hidden_side(case, X.astype(dtype))[:2]])
    alone = [a[0] for a in hidden_side(case, row[None])[:2]]
    for other in found:
        for a, b in zip(other, alone):
            assert_array_equal(a, b)


@every_dtype
def test_zeros_of_either_sign_are_left_out(dtype):
    case = Case("bernoulli", 20, 40, dtype)
    X = case.real(30, 40)
    minus = np.where(X == 0, -X, X)
    assert np.signbit(minus[X == 0]).all()
    for a, b in zip(hidden_side(case, X), hidden_side(case, minus)):
        assert_array_equal(a, b)


@every_dtype
def test_inputs_are_not_written_to(dtype):
    case = Case("bernoulli", 20, 40, dtype)
    X, H = case.real(30, 40), as_bits(case.binary(30, 20))
    t = case.temperatures(30)
    kept = [X.copy(), H.words.copy(), t.copy()]
    for a in (X, H.words, t):
        a.flags.writeable = False
    hidden_side(case, X, t=t)
    visible_side(case, H, t=t, base=True)
    for a, b in zip((X, H.words, t), kept):
        assert_array_equal(a, b)


# --- sweeps


def sweeps(case: Case, H: Any, n_sweeps: int, draws: Draws = DRAWS, *, t: Any = None, n_jobs: int = 1) -> Any:
    """The last hidden and visible states and hidden probabilities, of chains that start in H."""
    bits = as_bits(H)
    bases = {} if t is None else case.base_arguments
    visible, mean = case.machine(n_jobs).sweep(bits, n_sweeps, draws, t=t, **bases)
    return bits.words, visible.words if isinstance(visible, Bits) else visible, mean


@every_dtype
@every_kind
@every_shape
@pytest.mark.parametrize("is_tempered", [False, True], ids=["machine", "tempered"])
def test_sweeps_are_one_side_after_the_other(is_tempered, shape, kind, dtype):
    case = Case(kind, *shape, dtype)
    for n in Current.rows(1, 11, 13, 300):
        H = case.binary(n, case.n_hidden)
        t = case.temperatures(n) if is_tempered else None
        hidden, visible, mean = sweeps(case, H, 3, t=t)
        states = as_bits(H)
        for i in range(3):
            draws = changed(DRAWS, step=(DRAWS.step + i) % 2**32)
            _, drawn = visible_side(case, states, draws, t=t, base=is_tempered)
            v = drawn if kind == "gaussian" else Bits(drawn, case.n_visible)
            _, expected_mean, words = hidden_side(case, v, changed(draws, stream=9), t=t)
            states = Bits(words, case.n_hidden)
        assert_array_equal(visible, drawn)
        assert_array_equal(hidden, words)
        assert_array_equal(mean, expected_mean)


@every_kind
@pytest.mark.parametrize("is_tempered", [False, True], ids=["machine", "tempered"])
def test_sweeps_are_those_of_the_reference(is_tempered, kind):
    case = Case(kind, 33, 40, np.float64, scale=0.3)
    H = case.binary(100, 33)
    t = case.temperatures(100) if is_tempered else None
    hidden, visible, mean = sweeps(case, H, 10, changed(DRAWS, step=3), t=t)
    tempering = (1.0, None) if t is None else (t, case.exact_base)
    V, expected, p = reference.sweeps(H, case.exact, changed(DRAWS, step=3), 10, *tempering)
    assert_array_equal(hidden, reference.pack(expected))
    if kind == "gaussian":
        assert_allclose(visible, V, atol=1e-11)
    else:
        assert_array_equal(visible, reference.pack(V))
    assert_allclose(mean, p, atol=1e-11)


@every_dtype
@every_kind
def test_bits_of_sweeps_do_not_depend_on_batching_steps_or_threads(kind, dtype):
    case = Case(kind, 70, 50, dtype)
    (n,) = Current.rows(1100)
    H, t = case.binary(n, 70), case.temperatures(n)
    whole = sweeps(case, H, 6, t=t, n_jobs=1)
    for n_jobs in (2, 3):
        for a, b in zip(sweeps(case, H, 6, t=t, n_jobs=n_jobs), whole):
            assert_array_equal(a, b)
    halfway = reference.unpack(sweeps(case, H, 4, t=t)[0], 70).astype(dtype)
    later = changed(DRAWS, step=DRAWS.step + 4)
    for a, b in zip(sweeps(case, halfway, 2, later, t=t), whole):
        assert_array_equal(a, b)
    for start, stop in [(0, 1), (1, 12), (12, 25), (25, n)]:
        draws = changed(DRAWS, first_row=DRAWS.first_row + start)
        found = sweeps(case, H[start:stop], 6, draws, t=t[start:stop])
        for a, b in zip(found, whole):
            assert_array_equal(a, b[:, start:stop] if b.dtype == np.uint32 else b[start:stop])


@every_dtype
def test_sweeps_without_the_probabilities_are_the_same(dtype):
    case = Case("bernoulli", 12, 20, dtype)
    H = as_bits(case.binary(30, 12))
    words, visible = H.words.copy(), empty_bits(30, 20)
    case.machine().native.sweeps(
        words, visible.words, None, None, None, None, None, **key(DRAWS), n_sweeps=3, n_jobs=1
    )
    expected = sweeps(case, reference.unpack(H.words, 12), 3)
    assert_array_equal(words, expected[0])
    assert_array_equal(visible.words, expected[1])


# --- statistics


def phases_of(case: Case, sizes: tuple[int, ...]) -> list[Phase]:
    """Real phases, and phases of bits in the places of odd number."""
    rng = np.random.default_rng(6)
    made = []
    for i, n in enumerate(sizes):
        visible = case.visible(n, 10 + i) if case.kind == "gaussian" else case.real(n, case.n_visible, 10 + i)
        if i % 2 == 1 and case.kind == "bernoulli":
            visible = as_bits(case.binary(n, case.n_visible, 10 + i))
        hidden, weight = rng.random((n, case.n_hidden)), rng.normal(size=n)
        made.append(Phase(visible, hidden.astype(case.dtype), weight.astype(case.dtype)))
    return made


def numbers_of(phase: Phase) -> Any:
    v = phase.visible
    v = reference.unpack(v.words, v.units) if isinstance(v, Bits) else v.astype(np.float64)
    return v, phase.hidden.astype(np.float64), phase.weight.astype(np.float64)


def statistics(
    case: Case, phases: list[Phase], n_extra: int = 0, *, scale: Any = None, n_jobs: int = 1
) -> Any:
    up = padded_rows(case.n_visible, case.n_hidden, case.dtype)
    up[:] = np.nan
    visible, hidden = case.empty(case.n_visible), case.empty(case.n_hidden)
    tuples = [(*given(p.visible).values(), p.hidden, p.weight) for p in phases]
    Current.kernels().phase_statistics(
        tuples, n_extra, scale, up, visible, hidden, workspace(case.dtype), n_jobs
    )
    return up, visible, hidden


@every_dtype
@every_shape
@pytest.mark.parametrize("sizes", [(1,), (11, 12), (100, 13, 7), (513, 300)], ids=str)
def test_statistics_are_those_of_the_reference(sizes, shape, dtype):
    rng = np.random.default_rng(7)
    sizes = tuple(n if Current.is_fast() else min(n, 40) for n in sizes)
    for kind, n_extra in (("bernoulli", 0), ("gaussian", 0), ("bernoulli", 1)):
        case = Case(kind, *shape, dtype)
        phases = phases_of(case, sizes)
        scale = rng.random(case.n_visible).astype(dtype) if kind == "gaussian" else None
        up, visible, hidden = statistics(case, phases, n_extra, scale=scale)
        numbers = [numbers_of(p) for p in phases]
        exact_scale = None if scale is None else scale.astype(np.float64)
        expected = reference.phase_statistics(numbers, n_extra, exact_scale)
        absolute = [tuple(np.abs(x) for x in phase) for phase in numbers]
        for found, e, size in zip(
            (up[:, : case.n_hidden], visible, hidden),
            expected,
            reference.phase_statistics(absolute, 0, exact_scale),
        ):
            assert_near(found, np.broadcast_to(e, found.shape), size)
        assert_array_equal(up[:, case.n_hidden :], 0)


@every_dtype
@pytest.mark.parametrize("density", [0.2, 1.0])
def test_statistics_of_images_are_those_of_the_reference(density, dtype):
    case = Case("bernoulli", 500, 784, dtype)
    rng = np.random.default_rng(8)
    V = (rng.random((100, 784)) * (rng.random((100, 784)) < density)).astype(dtype)
    H, w = rng.random((100, 500)).astype(dtype), rng.normal(size=100).astype(dtype)
    up, visible, hidden = statistics(case, [Phase(V, H, w)])
    weighed = H.astype(np.float64) * w[:, None]
    assert_near(up[:, :500], V.T.astype(np.float64) @ weighed, V.T.astype(np.float64) @ np.abs(weighed))
    assert_near(visible, w.astype(np.float64) @ V, np.abs(w) @ V)
    assert_near(hidden, weighed.sum(axis=0), np.abs(weighed).sum(axis=0))
    assert_array_equal(up[:, 500:], 0)


@every_dtype
def test_bits_of_statistics_do_not_depend_on_threads_or_on_phases(dtype):
    case = Case("bernoulli", 70, 100, dtype)
    first, second = phases_of(case, (200, 200))
    both = Phase(
        np.concatenate([first.visible, unpack(second.visible, dtype)]),
        np.concatenate([first.hidden, second.hidden]),
        np.concatenate([first.weight, second.weight]),
    )
    expected = statistics(case, [first, second], n_jobs=1)
    for phases, n_jobs in (([first, second], 2), ([first, second], 3), ([both], 2)):
        for a, b in zip(statistics(case, phases, n_jobs=n_jobs), expected):
            assert_array_equal(a, b)


@every_dtype
@pytest.mark.parametrize("density", [0.2, 0.8])
def test_statistics_of_bits_are_those_of_zeros_and_ones(density, dtype):
    case = Case("bernoulli", 40, 70, dtype)
    V = case.binary(90, 70, density=density)
    (phase,) = phases_of(case, (90,))
    real, bits = (statistics(case, [changed(phase, visible=v)]) for v in (V, as_bits(V)))
    for a, b in zip(real, bits):
        assert_array_equal(a, b)


@every_dtype
@pytest.mark.parametrize("unit_density", [0.1, 0.9])
def test_statistics_of_a_unit_do_not_depend_on_the_others(unit_density, dtype):
    """Units by the word are listed or multiplied, as they are sparse or not: the same bits."""
    case = Case("bernoulli", 70, 32, dtype)
    rng = np.random.default_rng(9)
    (phase,) = phases_of(case, (60,))
    unit = rng.random(60) * (rng.random(60) < unit_density)
    rows = []
    for density in (0.05, 0.38, 0.42, 1.0):
        V = rng.random((60, 32)) * (rng.random((60, 32)) < density)
        V[:, 11] = unit
        up, visible, _ = statistics(case, [changed(phase, visible=V.astype(dtype))])
        rows.append(np.append(up[11, :70], visible[11]))
    for row in rows[1:]:
        assert_array_equal(row, rows[0])


@every_dtype
def test_extra_phases_count_in_the_weights_alone(dtype):
    case = Case("bernoulli", 20, 33, dtype)
    phases = phases_of(case, (30, 20, 10))
    up, _, _ = statistics(case, phases)
    for n_extra in (1, 2, 3):
        with_extra = statistics(case, phases, n_extra)
        assert_array_equal(with_extra[0], up)
        _, visible, hidden = statistics(case, phases[: 3 - n_extra])
        assert_array_equal(with_extra[1], visible)
        assert_array_equal(with_extra[2], hidden)


@every_dtype
@every_kind
def test_machines_sum_the_gradients_of_minus_the_energy(kind, dtype):
    case = Case(kind, 5, 7, dtype)
    phases = phases_of(case, (20, 13))
    found = case.machine().statistics(phases)
    rows = [row for p in phases for row in zip(*numbers_of(p))]
    gradients = [minus_energy_gradient(v, h, case.exact) for v, h, _ in rows]
    expected = combine(gradients, [w for _, _, w in rows])
    tolerance = {"rtol": 0, "atol": 2e-3 if dtype == np.float32 else 1e-11}
    assert_allclose(found.up[:, :5].T, expected["weights"], **tolerance)
    assert_allclose(found.visible_bias, expected["visible_bias"], **tolerance)
    assert_allclose(found.hidden_bias, expected["hidden_bias"], **tolerance)
    if kind == "gaussian":
        assert_allclose(found.log_sigma, expected["log_sigma"], **tolerance)


# --- layouts


@every_dtype
@pytest.mark.parametrize("n_units", [1, 31, 32, 33, 100])
def test_states_are_packed_and_unpacked(n_units, dtype):
    for n in (0, *Current.rows(1, 64, 200)):
        X = Case("bernoulli", 1, n_units, dtype).binary(n, n_units)
        bits, is_binary = pack(placed(X), 2)
        assert is_binary
        assert_array_equal(on_host(bits).words, reference.pack(X))
        back = on_host(unpack(bits, dtype, 2))
        assert back.dtype == dtype
        assert_array_equal(back, X)


@every_dtype
@pytest.mark.parametrize("other", [0.5, -1.0, 2.0, np.nan, np.inf])
def test_packing_says_where_numbers_are_not_bits(other, dtype):
    X = Case("bernoulli", 1, 40, dtype).binary(200, 40)
    X[130, 39] = other
    assert not pack(placed(X))[1]
    X[130, 39] = -0.0
    assert pack(placed(X))[1]


@every_dtype
@pytest.mark.parametrize("shape", [(1, 1), (16, 16), (17, 33), (40, 5), (500, 784)], ids=str)
def test_transpose(shape, dtype):
    rng = np.random.default_rng(1)
    parent = rng.normal(size=(shape[0], shape[1] + 5)).astype(dtype)
    scale = rng.random(shape[1]).astype(dtype)
    for source in (np.ascontiguousarray(parent[:, : shape[1]]), parent[:, : shape[1]]):
        for factor in (None, scale):
            to = np.full((shape[1], shape[0] + 7), np.nan, dtype)
            Current.kernels().transpose(source, factor, to, 2)
            expected = source.T if factor is None else source.T * factor[:, None]
            assert_array_equal(to[:, : shape[0]], expected)
            assert_array_equal(to[:, shape[0] :], 0)


# --- sizes and arguments


@every_dtype
@every_kind
def test_no_rows_are_no_work(kind, dtype):
    case = Case(kind, 5, 40, dtype)
    visible = case.visible(0)
    assert hidden_side(case, visible)[1].shape == (0, 5)
    assert visible_side(case, zero_bits(0, 5))[0].shape == (0, 40)
    machine = case.machine()
    states, mean = machine.sweep(zero_bits(0, 5), 3, DRAWS)
    assert len(states) == 0
    assert mean.shape == (0, 5)
    empty = Phase(visible, case.empty(0, 5), case.empty(0))
    for phases in ([], [empty], [empty, empty]):
        up, v, h = statistics(case, phases)
        assert_array_equal(up, 0)
        assert_array_equal(v, 0)
        assert_array_equal(h, 0)


@every_dtype
def test_an_empty_phase_among_others_changes_nothing(dtype):
    case = Case("bernoulli", 5, 40, dtype)
    empty = Phase(case.visible(0), case.empty(0, 5), case.empty(0))
    first, second = phases_of(case, (20, 30))
    for a, b in zip(statistics(case, [first, empty, second]), statistics(case, [first, second])):
        assert_array_equal(a, b)


def hidden_arguments(case: Case) -> dict[str, Any]:
    return {
        "real": case.visible(4),
        "given_bits": None,
        "t": case.temperatures(4),
        **key(DRAWS),
        "logits": case.empty(4, 5),
        "mean": case.empty(4, 5),
        "bits": np.zeros((1, 4), np.uint32),
        "n_jobs": 1,
    }


def visible_arguments(case: Case) -> dict[str, Any]:
    is_gaussian = case.kind == "gaussian"
    return {
        "real": None,
        "given_bits": np.zeros((1, 4), np.uint32),
        "t": case.temperatures(4),
        "base_bias": case.empty(40),
        "base_sigma": case.empty(40),
        **key(DRAWS),
        "mean": case.empty(4, 40),
        "bits": None if is_gaussian else np.zeros((2, 4), np.uint32),
        "drawn": case.empty(4, 40) if is_gaussian else None,
        "n_jobs": 1,
    }


def sweep_arguments(case: Case) -> dict[str, Any]:
    is_gaussian = case.kind == "gaussian"
    return {
        "hidden": np.zeros((1, 4), np.uint32),
        "visible": None if is_gaussian else np.zeros((2, 4), np.uint32),
        "visible_real": case.empty(4, 40) if is_gaussian else None,
        "hidden_mean": case.empty(4, 5),
        "t": case.temperatures(4),
        "base_bias": case.empty(40),
        "base_sigma": case.empty(40),
        **key(DRAWS),
        "n_sweeps": 2,
        "n_jobs": 1,
    }


METHODS = {
    "hidden_given_visible": hidden_arguments,
    "visible_given_hidden": visible_arguments,
    "sweeps": sweep_arguments,
}


def refused(method: str, kind: str, dtype: Any, name: str, value: Any, match: str) -> None:
    case = Case(kind, 5, 40, dtype)
    arguments = METHODS[method](case)
    assert name in arguments
    call = getattr(case.machine().native, method)
    call(**arguments)
    with pytest.raises((ValueError, TypeError), match=match):
        call(**{**arguments, name: value})


def is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray)


@every_dtype
@every_kind
@pytest.mark.parametrize("method", METHODS)
def test_arrays_of_other_shapes_kinds_and_layouts_are_refused(method, kind, dtype):
    arrays = {n: a for n, a in METHODS[method](Case(kind, 5, 40, dtype)).items() if is_array(a)}
    read_only = {"t", "base_bias", "base_sigma", "real", "given_bits"}
    shown = {"real": "visible" if method == "hidden_given_visible" else "hidden", "given_bits": "hidden"}
    for name, a in arrays.items():
        match = rf"^{shown.get(name, name)}: expected"
        longer = np.zeros((a.shape[0] + 1, *a.shape[1:]), a.dtype)
        rows_free = method == "hidden_given_visible" and name == "real"
        if not rows_free:
            refused(method, kind, dtype, name, longer, match)
        if a.ndim == 2:
            wider = np.zeros((a.shape[0], a.shape[1] + 1), a.dtype)
            # The number of rows is whatever the given states have: then it is the others that do not fit.
            sets_rows = name in ("given_bits", "hidden")
            refused(method, kind, dtype, name, wider, ": expected" if sets_rows else match)
            refused(method, kind, dtype, name, a[0], match)
            strided = np.zeros((a.shape[0], 2 * a.shape[1]), a.dtype)[:, ::2]
            refused(method, kind, dtype, name, strided, rf"incompatible[\s\S]*{name}: ")
        else:
            refused(method, kind, dtype, name, a[None], match)
        other = np.float64 if a.dtype != np.float64 else np.float32
        refused(method, kind, dtype, name, a.astype(other), rf"incompatible[\s\S]*{name}: ")
        if name not in read_only:
            frozen = a.copy()
            frozen.flags.writeable = False
            refused(method, kind, dtype, name, frozen, rf"^{name}: expected a writeable array")


@pytest.mark.parametrize("method", METHODS)
def test_numbers_out_of_range_are_refused(method):
    for stream in (2**16 - 1, 2**16, 2**32 - 1):
        refused(method, "bernoulli", np.float32, "stream", stream, "^stream: expected a number below")
    for name, value in [("seed", -1), ("seed", 2**64), ("step", 2**32), ("first_row", -1), ("seed", 0.5)]:
        refused(method, "bernoulli", np.float32, name, value, rf"incompatible[\s\S]*{name}: ")


def test_states_are_given_once():
    bits = np.zeros((2, 4), np.uint32)
    for kind in KINDS:
        refused("hidden_given_visible", kind, np.float32, "given_bits", bits, "^visible: expected real")
        refused("hidden_given_visible", kind, np.float32, "real", None, "^visible: expected real")
        refused("sweeps", kind, np.float32, "visible", None if kind == "bernoulli" else bits, "^visible: exp")
    arguments = {**hidden_arguments(Case("gaussian", 5, 40, np.float32)), "real": None, "given_bits": bits}
    with pytest.raises(ValueError, match=r"^visible: expected real numbers, got bits"):
        Case("gaussian", 5, 40, np.float32).machine().native.hidden_given_visible(**arguments)


@every_dtype
def test_machines_of_parameters_that_do_not_fit_are_refused(dtype):
    up, down = padded_rows(40, 5, dtype), padded_rows(5, 40, dtype)
    good = {
        "up": up,
        "down": down,
        "visible_bias": np.zeros(40, dtype),
        "hidden_bias": np.zeros(5, dtype),
        "sigma": np.ones(40, dtype),
        "workspace": workspace(dtype),
    }
    Current.kernels().rbm(**good)
    bad = {
        "up": [up[:39], np.ascontiguousarray(up[:, :5]), up[0]],
        "down": [down[:4], np.ascontiguousarray(down[:, :33]), down[0]],
        "visible_bias": [np.zeros((1, 40), dtype)],
        "hidden_bias": [np.zeros((5, 1), dtype)],
        "sigma": [np.ones(39, dtype), np.ones((40, 1), dtype)],
        "workspace": [None],
    }
    for name, values in bad.items():
        for value in values:
            with pytest.raises(ValueError, match=rf"^{name}: expected"):
                Current.kernels().rbm(**{**good, name: value})
    other = np.float64 if dtype == np.float32 else np.float32
    for name in ("up", "sigma"):
        with pytest.raises(TypeError, match=rf"{name}: "):
            Current.kernels().rbm(**{**good, name: good[name].astype(other)})
    with pytest.raises(TypeError, match="workspace: "):
        Current.kernels().rbm(**{**good, "workspace": workspace(other)})


@every_dtype
def test_statistics_that_do_not_fit_are_refused(dtype):
    case = Case("bernoulli", 5, 40, dtype)
    (phase,) = phases_of(case, (4,))

    def call(v=phase.visible, bits=None, h=phase.hidden, w=phase.weight, **other):
        arguments = {
            "phases": [(v, bits, h, w)],
            "n_extra": 0,
            "scale": None,
            "up": padded_rows(40, 5, dtype),
            "visible": case.empty(40),
            "hidden": case.empty(5),
            "workspace": workspace(dtype),
            "n_jobs": 1,
        }
        Current.kernels().phase_statistics(**{**arguments, **other})

    call()
    words = as_bits(case.binary(4, 40)).words
    call(v=None, bits=words)
    for name, bad in [
        ("visible", {"v": case.empty(4, 39)}),
        ("visible", {"bits": words}),
        ("visible", {"v": None}),
        ("visible", {"v": None, "bits": words[:1]}),
        ("hidden", {"v": None, "bits": np.ascontiguousarray(words[:, :3])}),
        ("hidden", {"h": case.empty(4, 6)}),
        ("hidden", {"h": case.empty(3, 5)}),
        ("weight", {"w": case.empty(3)}),
        ("weight", {"w": case.empty(4, 1)}),
        ("n_extra", {"n_extra": 2}),
        ("n_extra", {"n_extra": -1}),
        ("scale", {"scale": case.empty(39)}),
        ("up", {"up": padded_rows(39, 5, dtype)}),
        ("up", {"up": case.empty(40, 5)}),
        ("visible", {"visible": case.empty(1, 40)}),
        ("hidden", {"hidden": case.empty(1, 5)}),
    ]:
        with pytest.raises(ValueError, match=rf"^{name}: expected"):
            call(**bad)
    for bad in ({"w": phase.weight.astype(object)}, {"h": phase.hidden.astype(complex)}):
        with pytest.raises(TypeError, match="phases: "):
            call(**bad)


@every_dtype
def test_layouts_that_do_not_fit_are_refused(dtype):
    x = np.zeros((4, 40), dtype)
    good = np.zeros((2, 4), np.uint32)
    for bits in (good[:1], np.zeros((2, 5), np.uint32), np.zeros(8, np.uint32)):
        with pytest.raises(ValueError, match=r"^bits: expected"):
            Current.kernels().pack_states(x, bits, 1)
        with pytest.raises(ValueError, match=r"^bits: expected"):
            Current.kernels().unpack_states(bits, x, 1)
    with pytest.raises(TypeError, match="bits: "):
        Current.kernels().pack_states(x, good.astype(np.int32), 1)
    frozen = good.copy()
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match=r"^bits: expected a writeable"):
        Current.kernels().pack_states(x, frozen, 1)
    for name, arguments in [
        ("to", (x, None, np.zeros((39, 4), dtype))),
        ("to", (x, None, np.zeros((40, 3), dtype))),
        ("from", (x[0], None, np.zeros((40, 4), dtype))),
        ("from", (x[:, ::2], None, np.zeros((20, 4), dtype))),
        ("from", (x[::-1], None, np.zeros((40, 4), dtype))),
        ("scale", (x, np.zeros(39, dtype), np.zeros((40, 4), dtype))),
    ]:
        with pytest.raises(ValueError, match=rf"^{name}: expected"):
            Current.kernels().transpose(*arguments, 1)


# --- interrupts


def long_sweeps() -> None:
    case = Case("bernoulli", 500, 784, np.float32, scale=0.1)
    case.machine(n_jobs=2).sweep(zero_bits(512, 500), 10**6, Draws(0, 0))


def long_sweeps_of_one_chain() -> None:
    case = Case("bernoulli", 12, 12, np.float64)
    case.machine().sweep(zero_bits(1, 12), 10**9, Draws(0, 0))


def long_gaussian_sweeps() -> None:
    case = Case("gaussian", 500, 784, np.float64, scale=0.1)
    case.machine(n_jobs=2).sweep(zero_bits(512, 500), 10**6, Draws(0, 0))


def long_activation() -> None:
    case = Case("bernoulli", 500, 784, np.float32, scale=0.1)
    n = 1_500_000
    words, bits = np.zeros((25, n), np.uint32), np.empty((16, n), np.uint32)
    case.machine().native.hidden_given_visible(
        None, words, None, **key(Draws(0, 0)), logits=None, mean=None, bits=bits, n_jobs=2
    )


@pytest.mark.parametrize(
    "long_call", [long_sweeps, long_sweeps_of_one_chain, long_gaussian_sweeps, long_activation]
)
def test_ctrl_c_ends_a_long_call(long_call):
    if not Current.is_fast() and long_call is not long_sweeps_of_one_chain:
        pytest.skip("a launch of this size takes seconds on the emulated device")
    asked, ended = [], threading.Event()

    def interrupt():
        if not ended.wait(0.6):
            asked.append(time.perf_counter())
            os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            long_call()
        returned = time.perf_counter()
    finally:
        ended.set()
    thread.join()
    assert returned - asked[0] < 0.2
    case = Case("bernoulli", 33, 31, np.float64)  # whatever was under way, the kernels work
    X = case.binary(20, 31)
    assert_hidden(case, X, X)

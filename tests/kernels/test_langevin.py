"""Native deep densities against the reference: energies, scores, gradients, chains, draws, arguments."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from deep_densities import assert_near, empty_gradient, flat, random_density, random_rows
from reference import langevin as reference
from thalweg import _rng
from thalweg._native import cpu

# Features and units around whole vectors and panels, and the number of units on top.
SHAPES = [
    ((1,), 1),
    ((5,), 3),
    ((33,), 40),
    ((7, 4), 3),
    ((32, 16), 64),
    ((33, 20, 17), 40),
    ((100, 70, 3), 17),
]
every_shape = pytest.mark.parametrize(("sizes", "n_top"), SHAPES, ids=str)
every_activation = pytest.mark.parametrize("activation", reference.ACTIVATIONS)
SEED, STREAM, FIRST_ROW, STEP = 2**40 + 17, 30, 2**33 + 5, 2**32 - 2


def energy_of(kernels: Any, density: dict[str, Any], X: Any, t: float = 1.0, n_jobs: int = 1) -> Any:
    out = np.full(len(X), np.nan)
    kernels.deep_density(**density).energy(X, out, t, n_jobs)
    return out


def score_of(kernels: Any, density: dict[str, Any], X: Any, t: float = 1.0, n_jobs: int = 1) -> Any:
    out = np.full_like(X, np.nan)
    kernels.deep_density(**density).score(X, out, t, n_jobs)
    return out


def gradient_of(
    kernels: Any, density: dict[str, Any], X: Any, weight: Any, n_jobs: int = 1
) -> tuple[Any, Any, float]:
    made = kernels.deep_density(**density)
    energies, gradient = np.full(len(X), np.nan), empty_gradient(density)
    tape = made.value(X, energies, n_jobs)
    return energies, gradient, made.pull(tape, X, weight, **gradient, n_jobs=n_jobs)


def move(
    kernels: Any, density: dict[str, Any], X: Any, *, n_jobs: int = 1, **changes: Any
) -> tuple[Any, Any, Any, Any]:
    """States, acceptance, accepted and diverged moves."""
    X = X.copy()
    out = (np.full(len(X), np.nan), np.full(len(X), -1), np.full(len(X), -1))
    kind = {"epsilon": 0.2, "n_leapfrog": 3, "is_tested": True, "n_steps": 4, "hidden_weight": 1.0}
    kind |= {"seed": SEED, "stream": STREAM, "first_row": FIRST_ROW, "step": STEP} | changes
    names = ("acceptance", "accepted", "diverged")
    kernels.deep_density(**density).move(X, **kind, **dict(zip(names, out)), n_jobs=n_jobs)
    return X, *out


@every_activation
@every_shape
def test_energies_and_scores(sizes: Any, n_top: int, activation: str, dtype: Any, kernels: Any) -> None:
    density = random_density(sizes, n_top, activation, dtype)
    for n in (1, 12, 29):
        X = random_rows(n, sizes[0], dtype)
        for t in (0.0, 0.3, 1.0):
            assert_near(energy_of(kernels, density, X, t), reference.energy(density, X, t), dtype)
            assert_near(score_of(kernels, density, X, t), reference.score(density, X, t), dtype)


@every_activation
@every_shape
def test_gradients(sizes: Any, n_top: int, activation: str, dtype: Any, kernels: Any) -> None:
    density = random_density(sizes, n_top, activation, dtype)
    X, weight = random_rows(29, sizes[0], dtype), np.random.default_rng(2).normal(size=29)
    energies, gradient, of_log_sigma = gradient_of(kernels, density, X, weight)
    expected = reference.gradient(density, X, weight)
    assert_near(energies, reference.energy(density, X), dtype)
    assert_near(of_log_sigma, expected["log_sigma"], dtype, 4)
    for a, b in zip(flat(gradient), flat(expected), strict=True):
        assert_near(a, b, dtype, 4)


def test_layers_without_bias(dtype: Any, kernels: Any) -> None:
    density = random_density((9, 5, 4), 3, "tanh", dtype, has_bias=False)
    X = random_rows(7, 9, dtype)
    energies, gradient, _ = gradient_of(kernels, density, X, np.ones(7))
    assert_near(energies, reference.energy(density, X), dtype)
    assert gradient["bias"] == [None, None]
    assert_near(score_of(kernels, density, X), reference.score(density, X), dtype)


def test_gradients_of_many_rows(dtype: Any, kernels: Any) -> None:
    """More than one chain of additions takes, 512, and none at all."""
    density = random_density((5, 4), 3, "sigmoid", dtype)
    for n in (1100, 0):
        X, weight = random_rows(n, 5, dtype), np.full(n, 0.5)
        _, gradient, of_log_sigma = gradient_of(kernels, density, X, weight)
        expected = reference.gradient(density, X, weight)
        assert_near(of_log_sigma, expected["log_sigma"], dtype, 4)
        for a, b in zip(flat(gradient), flat(expected), strict=True):
            assert_near(a, b, dtype, 4)


def test_large_arguments_neither_overflow_nor_cancel(dtype: Any, kernels: Any) -> None:
    density = random_density((3, 4), 2, "sigmoid", dtype)
    for scale in (1e3, 1e8):
        X = (scale * random_rows(5, 3, np.float64)).astype(dtype)
        assert_allclose(energy_of(kernels, density, X), reference.energy(density, X), rtol=1e-6)
        assert_allclose(score_of(kernels, density, X), reference.score(density, X), rtol=1e-4)


def test_a_row_does_not_depend_on_its_neighbours(dtype: Any, kernels: Any) -> None:
    density = random_density((33, 20), 40, "sigmoid", dtype)
    X = random_rows(300, 33, dtype)
    # cuBLAS sums in another order for other numbers of rows.
    is_exact = getattr(kernels, "is_emulated", True)

    def assert_same(found: Any, expected: Any) -> None:
        if is_exact:
            assert_array_equal(found, expected)
        else:
            assert_near(found, expected, dtype, 10)

    moved = move(kernels, density, X)[0]
    for rows in (slice(0, 1), slice(7, 50), slice(250, 300)):
        assert_same(energy_of(kernels, density, X[rows]), energy_of(kernels, density, X)[rows])
        assert_same(score_of(kernels, density, X[rows]), score_of(kernels, density, X)[rows])
        assert_same(move(kernels, density, X[rows], first_row=FIRST_ROW + rows.start)[0], moved[rows])


def test_same_bits_for_any_number_of_threads(dtype: Any, kernels: Any) -> None:
    density = random_density((150, 64), 64, "sigmoid", dtype)
    n = 250 if kernels is cpu else 50  # an emulated device takes its time
    X, weight = random_rows(n, 150, dtype), np.random.default_rng(2).normal(size=n)
    runs = []
    for n_jobs in (1, 2, 3):
        energies, gradient, of_log_sigma = gradient_of(kernels, density, X, weight, n_jobs)
        moved = move(kernels, density, X, n_jobs=n_jobs)
        scores = score_of(kernels, density, X, 1.0, n_jobs)
        runs.append(
            [
                energies,
                of_log_sigma,
                *flat(gradient),
                energy_of(kernels, density, X, 1.0, n_jobs),
                scores,
                *moved,
            ]
        )
    for other in runs[1:]:
        for a, b in zip(runs[0], other, strict=True):
            assert_array_equal(a, b)


# --- chains


@pytest.mark.parametrize("activation", ["sigmoid", "relu"])
@pytest.mark.parametrize("n_leapfrog", [1, 4])
def test_one_move(n_leapfrog: int, activation: str, dtype: Any, kernels: Any) -> None:
    density = random_density((13, 6), 5, activation, dtype)
    X = random_rows(40, 13, dtype)
    moved, acceptance, accepted, diverged = move(
        kernels, density, X, n_leapfrog=n_leapfrog, n_steps=1, epsilon=0.9
    )
    p = _rng.normal_rows(SEED, STREAM, STEP, X.shape, dtype, FIRST_ROW)
    end, q = reference.trajectory(density, X, p, 0.9, n_leapfrog)
    rise = reference.energy(density, end) - reference.energy(density, X)
    rise += 0.5 * ((q**2).sum(axis=1) - (p.astype(np.float64) ** 2).sum(axis=1))
    probability = np.exp(-np.maximum(rise, 0))
    assert_allclose(acceptance, probability, atol=1e-4 if dtype == np.float32 else 1e-11)
    taken = _rng.uniform_rows(SEED, STREAM + 1, STEP, len(X), FIRST_ROW) < probability
    assert 0 < taken.sum() < len(X)
    assert_array_equal(accepted, taken)
    assert_array_equal(moved[~taken], X[~taken])
    assert_near(moved[taken], end[taken], dtype, 4)
    assert not diverged.any()
    untested = move(kernels, density, X, n_leapfrog=n_leapfrog, n_steps=1, epsilon=0.9, is_tested=False)
    assert_near(untested[0], end, dtype, 4)
    assert (untested[1] == 1).all()
    assert (untested[2] == 1).all()


def test_moves_of_one_call_are_those_of_many(dtype: Any, kernels: Any) -> None:
    density = random_density((13, 6), 5, "sigmoid", dtype)
    X = random_rows(9, 13, dtype)
    at_once, acceptance, accepted, _ = move(kernels, density, X, n_steps=6)
    one_by_one, counted, mean = X, 0, 0.0
    for i in range(6):
        one_by_one, share, taken, _ = move(kernels, density, one_by_one, n_steps=1, step=(STEP + i) % 2**32)
        counted, mean = counted + taken, mean + share / 6
    assert_array_equal(at_once, one_by_one)
    assert_array_equal(accepted, counted)
    assert_allclose(acceptance, mean)
    for a, b in zip(move(kernels, density, X, n_steps=0), (X, np.zeros(9), np.zeros(9), np.zeros(9))):
        assert_array_equal(a, b)


def test_chains_that_diverge_stay(dtype: Any, kernels: Any) -> None:
    density = random_density((5, 4), 3, "sigmoid", dtype)
    X = random_rows(6, 5, dtype)
    for is_tested in (True, False):
        moved, acceptance, accepted, diverged = move(
            kernels, density, X, epsilon=1e30, n_leapfrog=40, is_tested=is_tested
        )
        assert_array_equal(moved, X)
        assert (diverged == 4).all()
        assert not accepted.any()
        assert not acceptance.any()


@pytest.mark.parametrize("is_tested", [True, False])
def test_an_energy_that_soars_is_told_before_it_overflows(is_tested: bool, dtype: Any, kernels: Any) -> None:
    density = random_density((5, 4), 3, "sigmoid", dtype)
    X = random_rows(60, 5, dtype)
    kind = {"epsilon": 4.6 if is_tested else 6.0, "n_leapfrog": 1, "n_steps": 1, "is_tested": is_tested}
    moved, acceptance, accepted, diverged = move(kernels, density, X, **kind)
    p = _rng.normal_rows(SEED, STREAM, STEP, X.shape, dtype, FIRST_ROW)
    end, q = reference.trajectory(density, X, p, kind["epsilon"], 1)
    expected = reference.diverges(density, X, p, end, q, is_tested)
    assert 0 < expected.sum() < len(X)
    assert_array_equal(diverged, expected)
    assert_array_equal(moved[expected], X[expected])
    assert not acceptance[expected].any()
    assert not accepted[expected].any()


@pytest.mark.parametrize("is_tested", [True, False])
def test_any_element_of_a_score_may_overflow(is_tested: bool, dtype: Any, kernels: Any) -> None:
    """The energy stays finite, and falls: only the sum of two weights has no room."""
    density = random_density((3,), 2, "sigmoid", dtype)
    density["top_weights"][:] = [0, 0.6 * np.finfo(dtype).max, 0]
    density["top_bias"][:], density["visible_bias"][:] = -1e4, 0
    X = np.zeros((20, 3), dtype)
    moved, _, _, diverged = move(
        kernels, density, X, epsilon=0.1, n_leapfrog=1, n_steps=1, is_tested=is_tested
    )
    goes_up = _rng.normal_rows(SEED, STREAM, STEP, X.shape, dtype, FIRST_ROW)[:, 1] > 0
    assert 0 < goes_up.sum() < len(X)
    assert_array_equal(diverged, goes_up)
    assert_array_equal(moved[goes_up], 0)
    assert (moved[~goes_up] != 0).any(axis=1).all()


# --- draws


def test_rows_of_normals(dtype: Any) -> None:
    for d in (1, 31, 32, 33, 100):
        made = _rng.normal_rows(SEED, 5, 7, (4, d), dtype, FIRST_ROW)
        assert made.dtype == dtype
        assert_array_equal(made[2:], _rng.normal_rows(SEED, 5, 7, (2, d), dtype, FIRST_ROW + 2, 2))
        if dtype == np.float64:
            expected = [_rng.normals(SEED, 5, 7, d, FIRST_ROW + r) for r in range(4)]
            assert_allclose(made, expected, rtol=1e-12, atol=1e-14)
    many = _rng.normal_rows(1, 5, 7, (1000, 100), dtype)
    assert abs(many.mean()) < 0.02
    assert abs(many.std() - 1) < 0.02
    uniform = _rng.uniform_rows(SEED, 5, 7, 3, FIRST_ROW)
    assert_array_equal(uniform, [_rng.uniform(SEED, 5, 7, 1, FIRST_ROW + r)[0] for r in range(3)])


# --- arguments, interrupts


def test_arguments_that_do_not_fit_are_refused(dtype: Any, kernels: Any) -> None:
    good = random_density((5, 4), 3, "sigmoid", dtype)
    for change, message in (
        ({"weights": [np.zeros((4, 6), dtype)]}, r"weights\[0\]: expected 5 columns"),
        ({"weights": []}, "bias: expected as many as weights"),
        ({"activations": ["cubic"]}, "activations: expected identity, sigmoid, tanh, softplus or relu"),
        ({"top_weights": np.zeros((3, 5), dtype)}, "top_weights: expected 4 columns"),
        ({"top_bias": np.zeros(2, dtype)}, "top_bias: expected 3 element"),
        ({"bias": [np.zeros(3, dtype)]}, "bias: expected 4 element"),
        ({"visible_bias": np.zeros(0, dtype), "weights": [np.zeros((4, 0), dtype)]}, "visible_bias"),
        ({"inverse_variance": 0.0}, "inverse_variance: expected a number > 0"),
        ({"inverse_variance": np.nan}, "inverse_variance: expected a number > 0"),
    ):
        with pytest.raises(ValueError, match=message):
            kernels.deep_density(**(good | change))
    other = np.float64 if dtype == np.float32 else np.float32
    with pytest.raises(TypeError):
        kernels.deep_density(**(good | {"top_bias": np.zeros(3, other)}))
    made, X = kernels.deep_density(**good), random_rows(2, 5, dtype)
    assert made.n_features == 5
    with pytest.raises(ValueError, match="X: expected 5 columns"):
        made.energy(np.zeros((2, 4), dtype), np.zeros(2))
    with pytest.raises(ValueError, match="out: expected 2 element"):
        made.energy(X, np.zeros(3))
    with pytest.raises(ValueError, match=r"out: expected shape \(2, 5\)"):
        made.score(X, np.zeros((3, 5), dtype))
    tape = made.value(X, np.zeros(2))
    assert tape.rows == 2
    with pytest.raises(ValueError, match="tape: expected that of 3 row"):
        made.pull(tape, random_rows(3, 5, dtype), np.zeros(3), **empty_gradient(good))
    for change, message in (
        ({"epsilon": 0.0}, "epsilon"),
        ({"epsilon": np.inf}, "epsilon"),
        ({"n_leapfrog": 0}, "n_leapfrog"),
        ({"n_steps": -1}, "n_steps"),
        ({"stream": 2**16 - 1}, "stream"),
        ({"first_row": 2**48}, "first_row"),
    ):
        with pytest.raises(ValueError, match=message):
            move(kernels, good, X, **change)
    X.flags.writeable = False
    with pytest.raises(ValueError, match="X: expected a writeable array"):
        made.move(X, 0.1, 1, True, 1, 0, 0, 0, 0, np.zeros(2), np.zeros(2, np.int64), np.zeros(2, np.int64))


def test_ctrl_c_ends_long_chains(kernels: Any) -> None:
    density = random_density((200, 64), 64, "sigmoid", np.float32)
    asked = []

    def interrupt() -> None:
        time.sleep(0.3)
        asked.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        move(kernels, density, random_rows(64, 200, np.float32), n_steps=10**8, n_jobs=2)
    assert time.perf_counter() - asked[0] < 0.5
    thread.join()


@pytest.mark.parametrize("shape", [(0, 3), (1, 1), (3, 7), (40, 33), (17, 784)], ids=str)
def test_squares_of_rows(shape: tuple[int, int], dtype: Any, kernels: Any) -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=shape).astype(dtype)
    mean, scale = (rng.normal(size=shape[1]).astype(dtype) for _ in range(2))
    for moved, given in ((X, (None, None)), ((X - mean) * scale, (mean, scale))):
        found = [np.full(len(X), np.nan) for _ in range(2)]
        for n_jobs, out in enumerate(found, 1):
            kernels.row_squares(X, *given, out, n_jobs)
        assert_array_equal(*found)
        # In float64 from the first difference on: closer to the truth than the moved rows are.
        assert_allclose(
            found[0], np.square(moved, dtype=np.float64).sum(axis=1), rtol=20 * np.finfo(dtype).eps
        )
    with pytest.raises(ValueError, match=r"^scale: expected one where mean is given"):
        kernels.row_squares(X, mean, None, found[0])


# --- what only a device has


def arguments(X: Any, **changes: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Of `move`: what it is asked, and arrays for its report."""
    kind = {"epsilon": 0.2, "n_leapfrog": 3, "is_tested": True, "n_steps": 5, "hidden_weight": 1.0}
    kind |= {"seed": SEED, "stream": STREAM, "first_row": FIRST_ROW, "step": STEP} | changes
    report = {"acceptance": np.empty(len(X)), "accepted": np.empty(len(X), np.int64)}
    return kind, report | {"diverged": np.empty(len(X), np.int64)}


# Networks that a block's shared memory holds, in one block's threads and in two's, and others: for the last,
# of more units than twice the features, without V V'.
PATHS = [((13,), 6), ((40, 64), 64), ((9, 100), 5), ((70, 130), 4), ((7, 5, 4, 3, 6), 3), ((5, 140), 7)]


@pytest.mark.parametrize(("sizes", "n_top"), PATHS, ids=str)
def test_trajectories_by_every_path(sizes: Any, n_top: int, dtype: Any, cuda: Any) -> None:
    density = random_density(sizes, n_top, "tanh", dtype)
    X = random_rows(37, sizes[0], dtype)
    for changes in ({"n_leapfrog": 1, "is_tested": False}, {"n_leapfrog": 5}):
        found = move(cuda, density, X, **changes, n_steps=1)
        for a, b in zip(found, move(cpu, density, X, **changes, n_steps=1)):
            assert_near(a, b, dtype, 10)


def test_layers_take_shared_memory_that_must_be_asked_for(cuda: Any) -> None:
    """Between 32 and 48 KiB of it, besides what the kernel has by itself."""
    density = random_density((5, 64), 20, "sigmoid", np.float32)
    X = random_rows(9, 5, np.float32)
    found, expected = (move(kernels, density, X, n_steps=1) for kernels in (cuda, cpu))
    assert_near(found[0], expected[0], np.float32, 10)


def test_long_trajectories_are_cut_into_launches(dtype: Any, cuda: Any) -> None:
    """Where one launch would take too long for Ctrl-C the units' state goes by the device's memory."""
    density = random_density((3, 4), 2, "sigmoid", dtype)
    X = random_rows(2, 3, dtype)
    found, expected = (
        move(kernels, density, X, n_leapfrog=2050, n_steps=1, epsilon=0.01) for kernels in (cuda, cpu)
    )
    for a, b in zip(found, expected):
        assert_near(a, b, dtype, 100)


def test_draws_are_those_of_the_cpu(dtype: Any, cuda: Any) -> None:
    for d in (1, 31, 32, 100, 129):
        made, expected = np.full((5, d), np.nan, dtype), np.empty((5, d), dtype)
        for kernels, out in ((cuda, made), (cpu, expected)):
            kernels.normal_rows(out, SEED, 5, FIRST_ROW, 7)
        assert_allclose(made, expected, rtol=0, atol=1e-6 if dtype == np.float32 else 1e-14)
    made, expected = np.full(300, np.nan), np.empty(300)
    cuda.uniform_rows(made, SEED, 5, FIRST_ROW, 7)
    cpu.uniform_rows(expected, SEED, 5, FIRST_ROW, 7)
    assert_array_equal(made, expected)


def test_arrays_stay_on_the_device(dtype: Any, cuda: Any) -> None:
    density = random_density((12, 6), 5, "sigmoid", dtype)
    X, weight = random_rows(21, 12, dtype), np.random.default_rng(2).normal(size=21)
    on_device = {name: cuda.to_device(density[name]) for name in ("top_weights", "top_bias", "visible_bias")}
    on_device |= {name: [cuda.to_device(a) for a in density[name]] for name in ("weights", "bias")}
    made = cuda.deep_density(**(density | on_device))
    x, energies, psi = (
        cuda.to_device(X),
        cuda.empty((21,), np.dtype("f8")),
        cuda.empty(X.shape, np.dtype(dtype)),
    )
    made.energy(x, energies)
    made.score(x, psi)
    assert_array_equal(energies.numpy(), energy_of(cuda, density, X))
    assert_array_equal(psi.numpy(), score_of(cuda, density, X))
    gradient = empty_gradient(density)
    there = {
        name: [cuda.to_device(a) for a in g] if isinstance(g, list) else cuda.to_device(g)
        for name, g in gradient.items()
    }
    tape = made.value(x, energies)
    of_log_sigma = made.pull(tape, x, cuda.to_device(weight), **there)
    expected = gradient_of(cuda, density, X, weight)
    assert of_log_sigma == expected[2]
    for a, b in zip(flat(there), flat(expected[1]), strict=True):
        assert_array_equal(a.numpy(), b)
    kind, report = arguments(X)
    made.move(x, **kind, **{name: cuda.to_device(a) for name, a in report.items()})
    host = X.copy()
    kind, report = arguments(X)
    made.move(host, **kind, **report)
    assert_array_equal(x.numpy(), host)


def test_a_tape_belongs_to_its_density(dtype: Any, cuda: Any) -> None:
    X = random_rows(3, 5, dtype)
    density, other = (random_density((5, n), 3, "sigmoid", dtype) for n in (4, 6))
    tape = cuda.deep_density(**density).value(X, np.empty(3))
    with pytest.raises(ValueError, match="tape: expected that of 3 row"):
        cuda.deep_density(**other).pull(tape, X, np.zeros(3), **empty_gradient(other))
    with pytest.raises(TypeError):
        cpu.deep_density(**density).pull(tape, X, np.zeros(3), **empty_gradient(density))


def test_densities_serve_several_threads(cuda: Any) -> None:
    """Each with a stream of its own; the density's memory belongs to the first one's."""
    density = random_density((12, 6), 5, "sigmoid", np.float64)
    made, X = cuda.deep_density(**density), random_rows(30, 12, np.float64)
    expected, found = energy_of(cpu, density, X), {}

    def work(number: int) -> None:
        out = np.empty(len(X))
        made.energy(X, out)
        found[number] = out

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [0, 1, 2, 3]
    for out in found.values():
        assert_near(out, expected, np.float64)

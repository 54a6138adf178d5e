"""Chains: native sums and minima against enumeration."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from reference import chains as reference
from thalweg.inference.chains import chain_best, chain_marginals, chain_offending, path_energies

LENGTHS = (1, 2, 5, 3)
K = 3


def problem(dtype: Any = np.float64, seed: int = 0, scale: float = 1.0, forbid: bool = False) -> Any:
    rng = np.random.default_rng(seed)
    starts = np.concatenate([[0], np.cumsum(LENGTHS)])
    unary = scale * rng.normal(size=(starts[-1], K))
    pairwise = scale * rng.normal(size=(K, K))
    if forbid:
        unary[rng.random(unary.shape) < 0.2] = np.inf
        unary[:, 1] = np.minimum(unary[:, 1], 1.0)
        pairwise[0, 2] = pairwise[2, 2] = np.inf
    return unary.astype(dtype), pairwise.astype(dtype), starts


def sequences(unary: np.ndarray, starts: np.ndarray) -> list[np.ndarray]:
    return [unary[a:b].astype(np.float64) for a, b in itertools.pairwise(starts)]


@pytest.mark.parametrize("forbid", [False, True])
@pytest.mark.parametrize("scale", [1.0, 300.0, 1e4])
@pytest.mark.parametrize("beta", [0.3, 1.0, 7.0])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_marginals(dtype: Any, beta: float, scale: float, forbid: bool) -> None:
    unary, pairwise, starts = problem(dtype, 1, scale, forbid)
    weights = np.array([1.0, 0.0, 2.0, 0.5])
    sums = chain_marginals(unary, pairwise, starts, beta=beta, weights=weights)
    assert sums.marginals.dtype == dtype
    pairs = np.zeros((K, K))
    wide = pairwise.astype(np.float64)
    for s, own in enumerate(sequences(unary, starts)):
        of_positions, of_pairs = reference.marginals(own, wide, beta)
        tolerance = 1e-6 if dtype == np.float32 else 1e-9
        np.testing.assert_allclose(sums.marginals[starts[s] : starts[s + 1]], of_positions, atol=tolerance)
        np.testing.assert_allclose(sums.free_energy[s], reference.free_energy(own, wide, beta), rtol=1e-9)
        pairs += weights[s] * of_pairs
    np.testing.assert_allclose(sums.pairs, pairs, atol=1e-8)


@pytest.mark.parametrize("forbid", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("seed", range(5))
def test_best_paths(seed: int, dtype: Any, forbid: bool) -> None:
    unary, pairwise, starts = problem(dtype, seed, forbid=forbid)
    states, energy = chain_best(unary, pairwise, starts)
    wide = pairwise.astype(np.float64)
    for s, own in enumerate(sequences(unary, starts)):
        energies = reference.energies(own, wide)
        np.testing.assert_allclose(energy[s], energies.min(), rtol=1e-12)
        path = states[starts[s] : starts[s + 1]]
        np.testing.assert_array_equal(path, reference.paths(*own.shape)[energies.argmin()])
    np.testing.assert_allclose(path_energies(unary, pairwise, starts, states), energy, rtol=1e-6)


@pytest.mark.parametrize("forbid", [False, True])
@pytest.mark.parametrize("is_best", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_offending_paths(seed: int, is_best: bool, forbid: bool) -> None:
    unary, pairwise, starts = problem(seed=seed, forbid=forbid)
    right = np.random.default_rng(seed).integers(K, size=len(unary))
    if is_best:
        right, _ = chain_best(unary, pairwise, starts)
    states, energy = chain_offending(unary, pairwise, starts, right)
    for s, own in enumerate(sequences(unary, starts)):
        here = slice(starts[s], starts[s + 1])
        energies, paths = reference.energies(own, pairwise), reference.paths(*own.shape)
        energies[(paths == right[here]).all(axis=1)] = np.inf
        np.testing.assert_allclose(energy[s], energies.min(), rtol=1e-12)
        if np.isfinite(energy[s]):
            np.testing.assert_array_equal(states[here], paths[energies.argmin()])
        else:
            np.testing.assert_array_equal(states[here], right[here])


def test_a_forbidden_detour_needs_logarithms() -> None:
    """The only way through lies 10,000 above a label that leads nowhere: weights would underflow."""
    unary = np.array([[0.0, 1e4], [0.0, 0.0], [0.0, 0.0]])
    pairwise = np.array([[np.inf, np.inf], [0.0, 1.0]])
    sums = chain_marginals(unary, pairwise, [0, 3])
    np.testing.assert_allclose(sums.free_energy, [reference.free_energy(unary, pairwise, 1.0)], rtol=1e-12)
    np.testing.assert_allclose(sums.marginals, reference.marginals(unary, pairwise, 1.0)[0], atol=1e-12)
    np.testing.assert_allclose(sums.pairs, reference.marginals(unary, pairwise, 1.0)[1], atol=1e-12)


def test_ties_take_the_first_labels() -> None:
    states, _ = chain_best(np.zeros((4, 3)), np.zeros((3, 3)), [0, 4])
    assert states.tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_same_bits_for_any_number_of_threads(dtype: Any) -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 60, size=300)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    unary = rng.normal(size=(starts[-1], 20)).astype(dtype)
    pairwise = rng.normal(size=(20, 20)).astype(dtype)
    right = rng.integers(20, size=starts[-1])
    runs = []
    for n_jobs in (1, 2, 3):
        sums = chain_marginals(unary, pairwise, starts, n_jobs=n_jobs)
        paths = chain_best(unary, pairwise, starts, n_jobs=n_jobs)
        offending = chain_offending(unary, pairwise, starts, right, n_jobs=n_jobs)
        runs.append((sums.marginals, sums.pairs, sums.free_energy, *paths, *offending))
    for other in runs[1:]:
        for a, b in zip(runs[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_all_paths_forbidden_is_an_error_that_names_the_sequence() -> None:
    unary, pairwise, starts = problem()
    unary[starts[2] + 1] = np.inf
    with pytest.raises(ValueError, match="sequence 2: all paths are forbidden"):
        chain_marginals(unary, pairwise, starts)
    with pytest.raises(ValueError, match="sequence 2: all paths are forbidden"):
        chain_best(unary, pairwise, starts)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"unary": np.zeros(3)}, ValueError, "unary: expected a table"),
        ({"unary": [[np.nan, 0.0]]}, ValueError, "unary: NaN"),
        ({"unary": [[-np.inf, 0.0]]}, ValueError, "unary: NaN or -inf"),
        ({"unary": [["a", "b"]]}, ValueError, "unary: expected real numbers"),
        (
            {"unary": np.zeros((11, 3), np.float32), "pairwise": np.full((3, 3), 1e39)},
            ValueError,
            "pairwise: overflows float32",
        ),
        ({"pairwise": np.zeros((2, 2))}, ValueError, r"pairwise: expected shape \(3, 3\)"),
        ({"starts": [0, 3]}, ValueError, "starts: expected increasing numbers from 0 to 11"),
        ({"starts": [0, 4, 4, 11]}, ValueError, "starts"),
        ({"starts": [0.0, 11.0]}, ValueError, "starts: expected integers"),
        ({"beta": 0.0}, ValueError, "beta"),
        ({"beta": np.inf}, ValueError, "beta"),
        ({"weights": [1.0]}, ValueError, "weights: expected 4"),
    ],
)
def test_bad_input(change: dict[str, Any], error: type, message: str) -> None:
    unary, pairwise, starts = problem()
    arguments = {"unary": unary, "pairwise": pairwise, "starts": starts} | change
    if np.shape(arguments["unary"]) == (1, 2):
        arguments |= {"pairwise": np.zeros((2, 2)), "starts": [0, 1]}
    with pytest.raises(error, match=message):
        chain_marginals(**arguments)


def test_bad_right_paths() -> None:
    unary, pairwise, starts = problem()
    with pytest.raises(TypeError, match="right: expected integers"):
        chain_offending(unary, pairwise, starts, np.zeros(11))
    with pytest.raises(ValueError, match="right: expected shape"):
        chain_offending(unary, pairwise, starts, np.zeros(3, int))
    with pytest.raises(ValueError, match=r"right: expected labels in \[0, 3\)"):
        chain_offending(unary, pairwise, starts, np.full(11, 3))

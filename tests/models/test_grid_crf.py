"""Conditional random fields on grids."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone

from thalweg import GridCRF
from thalweg.models._energy_learning import LOSSES
from thalweg.models.grid_crf import Grid, GridAnswers
from thalweg.persistence import load_model, save_model

K = 3


def data(n: int = 12, size: int = 14, seed: int = 0) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Discs of labels 1 and 2 on a ground of 0, seen through noise."""
    rng = np.random.default_rng(seed)
    X, y = [], []
    rows, columns = np.mgrid[:size, :size]
    for _ in range(n):
        labels = np.zeros((size, size), int)
        for label in (1, 2):
            i, j = rng.integers(2, size - 2, 2)
            labels[(rows - i) ** 2 + (columns - j) ** 2 < rng.integers(6, 20)] = label
        y.append(labels)
        X.append(np.eye(3)[labels] + 0.9 * rng.normal(size=(size, size, 3)))
    return X, y


def problem(size: tuple[int, int], seed: int = 0) -> Any:
    """Grid, energies of labels of two images, tables, right labellings, and all labellings."""
    rng = np.random.default_rng(seed)
    n = size[0] * size[1]
    unary = rng.normal(size=(2, n * K))
    tables = rng.normal(size=(K, K)), rng.normal(size=(K, K))
    return (
        Grid(size, K),
        unary,
        tables,
        rng.integers(K, size=(2, n)),
        np.array(list(product(range(K), repeat=n))),
    )


OPTIONS: dict[str, Any] = {"damping": 0.0, "max_iter": 500, "tol": 1e-12, "n_jobs": 1}


def energies_of_all(grid: Grid, unary: np.ndarray, tables: Any, states: np.ndarray) -> np.ndarray:
    """By a loop over pixels and neighbours."""
    found = np.zeros(len(states))
    for n, labelling in enumerate(states):
        found[n] += sum(unary.reshape(-1, K)[p, label] for p, label in enumerate(labelling))
        for f, (p, q) in enumerate(grid.pairs):
            found[n] += tables[0 if f < grid.n_across else 1][labelling[p], labelling[q]]
    return found


@pytest.mark.parametrize("size", [(1, 5), (5, 1), (2, 3)])
def test_energies_of_labellings(size: tuple[int, int]) -> None:
    grid, unary, tables, right, _ = problem(size)
    expected = [energies_of_all(grid, u, tables, r[None])[0] for u, r in zip(unary, right, strict=True)]
    np.testing.assert_allclose(grid.energy(unary, tables, right), expected)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("size", [(1, 5), (5, 1)])
def test_losses_on_a_line_see_all_labellings(loss: str, size: tuple[int, int]) -> None:
    """Where the grid is a chain, belief propagation is exact: against a table of all labellings."""
    made: Any = LOSSES[loss](0.8, 1.3)
    grid, unary, tables, right, every = problem(size, 1)
    answers = GridAnswers(grid, unary, tables, right, OPTIONS)
    values, of_labels, of_pairs = answers.loss_and_gradient(made)
    expected_pairs = np.zeros((2, K, K))
    for n in range(2):
        table = energies_of_all(grid, unary[n], tables, every)
        column = (every == right[n]).all(axis=1).argmax()
        if made.needs == "pair" and table.argmin() == column:
            continue  # the most offending labelling is then the best with one pixel changed
        value, gradient = made.value_and_gradient(table[None], np.array([column]))
        np.testing.assert_allclose(values[n], value[0], rtol=1e-8)
        expected = np.zeros((grid.n_pixels, K))
        for weight, labelling in zip(gradient[0], every, strict=True):
            expected[np.arange(grid.n_pixels), labelling] += weight
            for f, (p, q) in enumerate(grid.pairs):
                expected_pairs[int(f >= grid.n_across), labelling[p], labelling[q]] += weight
        np.testing.assert_allclose(of_labels[n], expected, atol=1e-8)
    np.testing.assert_allclose(of_pairs, expected_pairs, atol=1e-8)


def test_the_best_neighbour_of_a_labelling() -> None:
    grid, unary, tables, right, every = problem((2, 3), 2)
    answers = GridAnswers(grid, unary, tables, right, OPTIONS)
    near = every[(every != right[0]).sum(axis=1) == 1]
    best = near[energies_of_all(grid, unary[0], tables, near).argmin()]
    np.testing.assert_array_equal(answers._best_neighbour(0), best)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_grid_beats_pixels_alone() -> None:
    X, y = data()
    model = GridCRF(random_state=0, l2=1e-3, max_iter=40, tol=1e-2).fit(X[:8], y[:8])
    alone = np.mean([x.argmax(axis=2) == labels for x, labels in zip(X[8:], y[8:], strict=True)])
    assert 1 - model.score(X[8:], y[8:]) < 0.5 * (1 - alone)
    assert np.diag(model.across_).mean() < model.across_[~np.eye(3, dtype=bool)].mean()


@pytest.mark.filterwarnings("ignore:loss. .* has a margin of zero:UserWarning")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("loss", ["hinge", "perceptron", "log"])
def test_other_losses_learn(loss: str) -> None:
    X, y = data(8)
    model = GridCRF(
        loss=loss, beta=0.1, optimizer="adam", learning_rate=0.1, l2=1e-3, max_iter=15, random_state=0
    )
    assert model.fit(X, y).score(X, y) > 0.75


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_images_of_unequal_sizes_and_files(tmp_path: Path) -> None:
    X, y = data(4)
    X, y = [*X, X[0][:5, :7]], [*y, y[0][:5, :7]]
    model = clone(GridCRF(random_state=0, l2=1e-2, max_iter=10)).fit(X, y)
    assert [p.shape for p in model.predict(X)] == [labels.shape for labels in y]
    for P in model.predict_marginals(X):
        np.testing.assert_allclose(P.sum(axis=2), 1, atol=1e-6)
    save_model(model, tmp_path / "grid.safetensors")
    loaded = load_model(tmp_path / "grid.safetensors")
    np.testing.assert_array_equal(loaded.energies(X, y), model.energies(X, y))
    assert model.rank(X[0], [y[1], y[0]])[0] == 1
    assert model.rank_inputs(X[:2], y[0])[0] == 0


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_distributions_over_labellings_and_images() -> None:
    X, y = data(4)
    model = GridCRF(random_state=0, l2=1e-2, max_iter=10).fit(X, y)
    line = X[0][:1, :4]  # a tree, on which belief propagation is exact
    labellings = [np.array(own).reshape(1, 4) for own in product(range(K), repeat=4)]
    energies = model.energies([line] * len(labellings), labellings)
    P = model.predict_proba(line, labellings, beta=0.7)
    np.testing.assert_allclose(P, np.exp(-0.7 * energies) / np.exp(-0.7 * energies).sum(), rtol=1e-6)
    np.testing.assert_allclose(model.log_likelihood([line], labellings[5:6], beta=0.7), np.log(P[5]))
    energies = model.energies(X, [y[0]] * len(X))
    Q = model.input_distribution(X, y[0], beta=0.01)
    np.testing.assert_allclose(Q, np.exp(-0.01 * energies) / np.exp(-0.01 * energies).sum())


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_the_best_image_of_a_labelling() -> None:
    X, y = data(4)
    model = GridCRF(random_state=0, l2=1e-2, max_iter=10).fit(X, y)
    best = model.best_input(y[0], (-1.0, 2.0))
    assert best.shape == X[0].shape
    inside = [np.clip(x, -1.0, 2.0) for x in X]
    assert model.energies([best], y[:1])[0] <= model.energies(inside, [y[0]] * len(X)).min()


def test_bad_input() -> None:
    X, y = data(3)
    with pytest.raises(ValueError, match=r"X\[0\]"):
        GridCRF().fit([X[0][..., 0]], y[:1])
    with pytest.raises(ValueError, match=r"X\[1\]: expected shape"):
        GridCRF().fit([X[0], X[1][..., :2]], y[:2])
    with pytest.raises(ValueError, match="y: expected the labels of 3 samples"):
        GridCRF().fit(X, y[:2])
    with pytest.raises(ValueError, match=r"y\[0\]: expected shape"):
        GridCRF().fit(X, [y[0][:3], *y[1:]])
    with pytest.raises(ValueError, match="one only"):
        GridCRF().fit(X, [np.zeros_like(labels) for labels in y])
    with pytest.raises(ValueError, match="damping"):
        GridCRF(damping=1.0, max_iter=1).fit(X, y)
    with pytest.raises(ValueError, match="fall without end"):
        GridCRF(loss="energy").fit(X, y)

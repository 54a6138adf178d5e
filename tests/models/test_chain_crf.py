"""Conditional random fields on chains."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from reference import chains as reference
from thalweg import ChainCRF
from thalweg.inference.chains import chain_best
from thalweg.models._energy_learning import LOSSES
from thalweg.models.chain_crf import ChainAnswers
from thalweg.persistence import load_model, save_model

Data = tuple[list[np.ndarray], list[np.ndarray]]


def data(n: int = 60, seed: int = 0) -> Data:
    """Labels of a cycle 0, 1, 2, 0, ... that now and then rests, seen through noise."""
    rng = np.random.default_rng(seed)
    X, y = [], []
    for _ in range(n):
        steps = rng.random(rng.integers(3, 15)) < 0.8
        labels = (rng.integers(3) + np.cumsum(steps)) % 3
        y.append(labels)
        X.append(np.eye(3)[labels] + 0.8 * rng.normal(size=(len(labels), 3)))
    return X, y


def problem(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    starts = np.array([0, 1, 5, 8])
    return rng.normal(size=(8, 3)), rng.normal(size=(3, 3)), starts, rng.integers(3, size=8)


@pytest.mark.parametrize("loss", [*LOSSES, "smooth_hinge"])
def test_losses_see_all_labellings(loss: str) -> None:
    """Against the loss of an explicit table of all paths."""
    made: Any = LOSSES["hinge"](0.8, 1.0).smoothed(2.0) if loss == "smooth_hinge" else LOSSES[loss](0.8, 1.7)
    unary, steps, starts, right = problem()
    values, of_unary, of_steps = ChainAnswers(unary, steps, starts, right, None).loss_and_gradient(made)
    expected_steps = np.zeros((3, 3))
    for s, (a, b) in enumerate(itertools.pairwise(starts)):
        paths = reference.paths(b - a, 3)
        column = np.array([(paths == right[a:b]).all(axis=1).argmax()])
        value, gradient = made.value_and_gradient(reference.energies(unary[a:b], steps)[None], column)
        np.testing.assert_allclose(values[s], value[0], rtol=1e-10, atol=1e-12)
        expected = np.zeros((b - a, 3))
        for weight, path in zip(gradient[0], paths, strict=True):
            expected[np.arange(b - a), path] += weight
            np.add.at(expected_steps, (path[:-1], path[1:]), weight)
        np.testing.assert_allclose(of_unary[a:b], expected, atol=1e-9)
    np.testing.assert_allclose(of_steps, expected_steps, atol=1e-9)


def test_a_chain_beats_positions_alone() -> None:
    X, y = data(200)
    chain = ChainCRF(random_state=0, l2=1e-4).fit(X[:150], y[:150])
    alone = np.concatenate(X[150:]).argmax(axis=1)
    truth = np.concatenate(y[150:])
    assert 1 - chain.score(X[150:], y[150:]) < 0.8 * (alone != truth).mean()
    T = chain.transitions_
    assert all(T[i, (i + 1) % 3] < T[i, i] < T[i, (i + 2) % 3] for i in range(3))


@pytest.mark.filterwarnings("ignore:loss. .* has a margin of zero:UserWarning")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
@pytest.mark.parametrize("loss", ["nll", "hinge", "perceptron", "log", "mce", "mee", "lvq2"])
def test_every_loss_learns(loss: str, optimizer: str) -> None:
    X, y = data(80)
    model = ChainCRF(
        loss=loss, optimizer=optimizer, l2=1e-3, learning_rate=0.02, max_iter=60, tol=1e-4, random_state=0
    )
    assert model.fit(X, y).score(X, y) > 0.6  # chance is 0.33, and positions alone give about 0.6


def test_the_energy_loss_is_refused() -> None:
    with pytest.raises(ValueError, match="fall without end"):
        ChainCRF(loss="energy").fit(*data(5))


def test_answers() -> None:
    X, y = data()
    model = ChainCRF((4,), l2=1e-2, max_iter=50, tol=1e-2, random_state=0).fit(X, y)
    G = model.network_.forward(X[0])[0].copy()
    G[0] += model.start_
    G[-1] += model.end_
    states, _ = chain_best(G, model.transitions_, [0, len(G)])
    np.testing.assert_array_equal(model.predict(X[:1])[0], states)
    short = next(i for i, x in enumerate(X) if len(x) <= 4)
    paths = list(reference.paths(len(X[short]), 3))
    P = model.predict_proba(X[short], paths)
    np.testing.assert_allclose(P.sum(), 1)
    assert model.rank(X[short], paths)[0] == P.argmax()
    marginals = model.predict_marginals([X[short]])[0]
    np.testing.assert_allclose(marginals[0, 1], P[[path[0] == 1 for path in paths]].sum())
    np.testing.assert_allclose(model.log_likelihood([X[short]], [paths[5]]), np.log(P[5]))


def test_questions_about_inputs() -> None:
    X, y = data()
    model = ChainCRF(random_state=0, l2=1e-2).fit(X, y)
    same = [x for x in X if len(x) == 6]
    labels = np.array([0, 1, 2, 0, 1, 2])
    energies = model.energies(same, [labels] * len(same))
    np.testing.assert_array_equal(model.rank_inputs(same, labels), np.argsort(energies, kind="stable"))
    P = model.input_distribution(same, labels, beta=0.5)
    np.testing.assert_allclose(P, np.exp(-0.5 * energies) / np.exp(-0.5 * energies).sum())
    best = model.best_input(labels, (-1.0, 1.0))
    assert best.shape == (6, 3)
    assert model.energies([best], [labels])[0] <= energies.min()
    np.testing.assert_array_equal(best[0], best[3])


def test_float32_is_learnt_in_float32() -> None:
    X, y = data()
    model = ChainCRF(random_state=0, l2=1e-2, tol=1e-3).fit([x.astype(np.float32) for x in X], y)
    assert model.transitions_.dtype == np.float32
    wide = ChainCRF(random_state=0, l2=1e-2).fit(X, y)
    np.testing.assert_allclose(model.transitions_, wide.transitions_, atol=0.05)


def test_labels_may_be_words(tmp_path: Path) -> None:
    X, y = data()
    words = [np.array(["sun", "rain", "wind"])[labels] for labels in y]
    model = clone(ChainCRF(random_state=0, l2=1e-2)).fit(X, words)
    assert model.score(X, words) > 0.7
    save_model(model, tmp_path / "model.safetensors")
    loaded = load_model(tmp_path / "model.safetensors")
    for a, b in zip(model.predict(X), loaded.predict(X), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError, match="label 'snow'"):
        model.energies(X[:1], [["snow"] * len(X[0])])


def test_bad_input() -> None:
    X, y = data(4)
    with pytest.raises(NotFittedError):
        ChainCRF().predict(X)
    with pytest.raises(ValueError, match="X: expected a list of sequences"):
        ChainCRF().fit(X[0], y)
    with pytest.raises(ValueError, match="X: expected a list"):
        ChainCRF().fit([], [])
    with pytest.raises(ValueError, match=r"X\[1\]: expected shape \(length, 3\)"):
        ChainCRF().fit([X[0], X[1][:, :2]], y[:2])
    with pytest.raises(ValueError, match="y: expected the labels of 4 samples"):
        ChainCRF().fit(X, y[:3])
    with pytest.raises(ValueError, match=r"y\[0\]: expected"):
        ChainCRF().fit(X, [y[0][:-1], *y[1:]])
    with pytest.raises(ValueError, match="one only"):
        ChainCRF().fit(X, [np.zeros(len(x)) for x in X])
    model = ChainCRF(random_state=0, l2=0.1, tol=1e-2).fit(X, y)
    with pytest.raises(ValueError, match=r"X\[0\]"):
        model.predict([X[0][:, :1]])

"""Losses of the energies of answers: values, gradients, what they guarantee, and bad input."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from reference import answer_losses as reference
from thalweg import losses

# Each loss with settings that are not its defaults, and what it should be.
CASES: dict[str, tuple[Any, Callable[..., float]]] = {
    "energy": (losses.EnergyLoss(), reference.energy),
    "perceptron": (losses.PerceptronLoss(), reference.perceptron),
    "hinge": (losses.HingeLoss(0.7), partial(reference.hinge, margin=0.7)),
    "smooth_hinge": (
        losses.HingeLoss(0.7).smoothed(3.0),
        lambda e, r: reference.nll(e + 0.7 * (np.arange(len(e)) == r), r, 3.0),
    ),
    "log": (losses.LogLoss(), reference.log),
    "lvq2": (losses.LVQ2Loss(0.8), partial(reference.lvq2, ceiling=0.8)),
    "mce": (losses.MinimumClassificationErrorLoss(), reference.mce),
    "square_square": (losses.SquareSquareLoss(1.5), partial(reference.square_square, margin=1.5)),
    "square_exponential": (
        losses.SquareExponentialLoss(0.6),
        partial(reference.square_exponential, gamma=0.6),
    ),
    "margin": (
        losses.MarginLoss(lambda e: (np.exp(np.minimum(e, 50)), np.exp(np.minimum(e, 50)))),
        lambda e, r: float(np.exp(e[r] - reference.offending(e, r))),
    ),
    "nll": (losses.NegativeLogLikelihoodLoss(1.7), partial(reference.nll, beta=1.7)),
    "mee": (losses.MinimumEmpiricalErrorLoss(1.7), partial(reference.mee, beta=1.7)),
}
NAMES = [name for name in losses.__all__ if hasattr(getattr(losses, name), "guarantee")]


def table(n: int = 30, n_answers: int = 5, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, n_answers)), rng.integers(n_answers, size=n)


def test_every_exported_loss_is_tested() -> None:
    tested = {type(loss).__name__ for loss, _ in CASES.values()}
    assert set(NAMES) <= tested


@pytest.mark.parametrize("name", CASES)
def test_values_are_those_of_the_formulas(name: str) -> None:
    loss, formula = CASES[name]
    energies, right = table()
    values, _ = loss.value_and_gradient(energies, right)
    expected = [formula(e, r) for e, r in zip(energies, right, strict=True)]
    np.testing.assert_allclose(values, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    loss, _ = CASES[name]
    energies, right = table(seed=1)
    _, gradient = loss.value_and_gradient(energies, right)
    step = 1e-6
    estimate = np.empty_like(energies)
    for k in range(energies.shape[1]):
        moved = [energies.copy(), energies.copy()]
        for sign, each in zip((1, -1), moved, strict=True):
            each[:, k] += sign * step
        high, low = (loss.value_and_gradient(each, right)[0] for each in moved)
        estimate[:, k] = (high - low) / (2 * step)
    np.testing.assert_allclose(gradient, estimate, atol=1e-7)


@pytest.mark.parametrize("name", CASES)
def test_float32_stays_float32(name: str) -> None:
    loss, _ = CASES[name]
    energies, right = table(seed=2)
    values, gradient = loss.value_and_gradient(energies.astype(np.float32), right)
    assert values.dtype == gradient.dtype == np.float32
    wide = loss.value_and_gradient(energies, right)
    np.testing.assert_allclose(values, wide[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(gradient, wide[1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_forbidden_answers_do_not_matter(name: str) -> None:
    loss, _ = CASES[name]
    energies, right = table(seed=3)
    wider = np.concatenate([energies, np.full((len(energies), 2), np.inf)], axis=1)
    values, gradient = loss.value_and_gradient(wider, right)
    expected = loss.value_and_gradient(energies, right)
    np.testing.assert_allclose(values, expected[0])
    np.testing.assert_allclose(gradient[:, :-2], expected[1])
    assert not gradient[:, -2:].any()


@pytest.mark.parametrize("name", CASES)
def test_an_answer_without_rivals_has_a_finite_loss(name: str) -> None:
    loss, _ = CASES[name]
    values, gradient = loss.value_and_gradient([[2.0, np.inf]], [0])
    assert np.isfinite(values).all()
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("scale", [1e3, 1e6])
@pytest.mark.parametrize("name", ["log", "mce", "nll", "mee", "smooth_hinge"])
def test_large_energies_do_not_overflow(name: str, scale: float) -> None:
    loss, _ = CASES[name]
    energies, right = table(seed=4)
    for dtype in (np.float32, np.float64):
        values, gradient = loss.value_and_gradient((scale * energies).astype(dtype), right)
        assert np.isfinite(values).all()
        assert np.isfinite(gradient).all()


def test_a_likely_answer_keeps_the_digits_of_its_loss() -> None:
    loss = losses.NegativeLogLikelihoodLoss()
    values, gradient = loss.value_and_gradient([[0.0, 50.0]], [0])
    np.testing.assert_allclose(values, [np.exp(-50.0)], rtol=1e-12)
    np.testing.assert_allclose(gradient, [[np.exp(-50.0), -np.exp(-50.0)]], rtol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_what_a_loss_guarantees(name: str) -> None:
    """A positive guarantee: with a tie the loss still pushes; zero: a flat table costs nothing and rests."""
    loss, _ = CASES[name]
    flat, right = np.zeros((1, 4)), np.array([2])
    values, gradient = loss.value_and_gradient(flat, right)
    if loss.guarantee == "positive":
        pushed = gradient[0, np.arange(4) != 2]
        assert gradient[0, 2] - pushed.sum() > 0
        assert (pushed <= 0).all()
    elif loss.guarantee == "zero":
        energies, others = table(seed=5)
        assert values[0] == 0
        assert (loss.value_and_gradient(energies, others)[0] >= 0).all()
    else:
        assert gradient[0].tolist() == [0, 0, 1, 0]


@pytest.mark.parametrize("name", ["hinge", "square_square"])
def test_beyond_the_margin_nothing_is_pushed(name: str) -> None:
    loss, _ = CASES[name]
    _, gradient = loss.value_and_gradient([[0.0, 1.6], [0.0, 0.6]], [0, 0])
    assert not gradient[0].any()
    assert gradient[1, 1] < 0


def test_the_perceptron_updates_of_the_lecture() -> None:
    """W + eta (Y - sign R) X, with sign 0 = -1, for E = -Y R and answers (-1, +1)."""
    R = np.array([-2.0, 0.0, 0.0, 3.0, -1.0, 1.0])
    Y = np.array([-1, -1, 1, 1, 1, -1])
    energies = np.stack([R, -R], axis=1)
    _, gradient = losses.PerceptronLoss().value_and_gradient(energies, (Y + 1) // 2)
    of_R = gradient[:, 0] - gradient[:, 1]
    sign = np.where(R > 0, 1, -1)
    np.testing.assert_array_equal(-of_R, Y - sign)


@pytest.mark.parametrize(
    ("energies", "right", "error", "message"),
    [
        ([1.0, 2.0], [0, 0], ValueError, "energies: expected shape"),
        ([[1.0, 2.0]], [0, 0], ValueError, "right: expected shape"),
        ([[1.0, 2.0]], [0.0], TypeError, "right: expected integers"),
        ([[1.0, 2.0]], [2], ValueError, "right: expected columns in"),
        ([[1.0, np.nan]], [0], ValueError, "energies: NaN"),
        ([[1.0, -np.inf]], [0], ValueError, "energies: NaN or -inf"),
        ([[np.inf, 1.0]], [0], ValueError, "right answer of row 0 is forbidden"),
    ],
)
@pytest.mark.parametrize("name", ["hinge", "nll", "perceptron"])
def test_bad_input(name: str, energies: Any, right: Any, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        CASES[name][0].value_and_gradient(energies, right)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (losses.HingeLoss, "margin"),
        (losses.SquareSquareLoss, "margin"),
        (losses.LVQ2Loss, "ceiling"),
        (losses.SquareExponentialLoss, "gamma"),
        (losses.NegativeLogLikelihoodLoss, "beta"),
        (losses.MinimumEmpiricalErrorLoss, "beta"),
    ],
)
@pytest.mark.parametrize("value", [0.0, -1.0, np.nan, np.inf])
def test_settings_out_of_range(make: Any, name: str, value: float) -> None:
    with pytest.raises(ValueError, match=name):
        make(value)


def test_a_margin_loss_of_wrong_shape() -> None:
    with pytest.raises(ValueError, match="function: expected values of shape"):
        losses.MarginLoss(lambda e: (e.sum(), e)).value_and_gradient([[1.0, 2.0]], [0])

"""Laws of free energies and of the losses of answers."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from thalweg import losses
from thalweg.inference.free_energy import free_energy

ENERGIES = arrays(np.float64, st.tuples(st.integers(1, 4), st.integers(2, 6)), elements=st.floats(-50, 50))
BETAS = st.floats(1e-2, 1e3)


@given(ENERGIES, BETAS)
def test_free_energies_lie_below_the_minimum_by_little(energies: np.ndarray, beta: float) -> None:
    free, distribution = free_energy(energies, beta)
    least = energies.min(axis=1)
    slack = 1e-9 * (1 + np.abs(least))
    assert (free <= least + slack).all()
    assert (free >= least - np.log(energies.shape[1]) / beta - slack).all()
    np.testing.assert_allclose(distribution.sum(axis=1), 1)


@given(ENERGIES, BETAS, BETAS)
def test_free_energies_rise_with_beta(energies: np.ndarray, beta: float, other: float) -> None:
    low, high = sorted((beta, other))
    slack = 1e-9 * (1 + np.abs(energies).max())
    assert (free_energy(energies, low)[0] <= free_energy(energies, high)[0] + slack).all()
    assert (free_energy(energies, high)[0] <= free_energy(energies)[0] + slack).all()


@given(ENERGIES, BETAS, st.data())
def test_the_likelihood_loss_tends_to_the_perceptron_loss(
    energies: np.ndarray, beta: float, data: st.DataObject
) -> None:
    right = data.draw(arrays(np.int64, len(energies), elements=st.integers(0, energies.shape[1] - 1)))
    warm, _ = losses.NegativeLogLikelihoodLoss(beta).value_and_gradient(energies, right)
    cold, _ = losses.PerceptronLoss().value_and_gradient(energies, right)
    slack = 1e-9 * (1 + np.abs(energies).max())
    assert (warm - cold >= -slack).all()
    assert (warm - cold <= np.log(energies.shape[1]) / beta + slack).all()


@given(ENERGIES, st.floats(-20, 20), st.data())
def test_losses_of_differences_ignore_a_shift(
    energies: np.ndarray, shift: float, data: st.DataObject
) -> None:
    right = data.draw(arrays(np.int64, len(energies), elements=st.integers(0, energies.shape[1] - 1)))
    for loss in (losses.HingeLoss(), losses.LogLoss(), losses.NegativeLogLikelihoodLoss(2.0)):
        values, gradient = loss.value_and_gradient(energies, right)
        moved, _ = loss.value_and_gradient(energies + shift, right)
        np.testing.assert_allclose(values, moved, atol=1e-8)
        np.testing.assert_allclose(gradient.sum(axis=1), 0, atol=1e-12)


@given(ENERGIES, st.floats(0.1, 5), st.data())
def test_a_satisfied_margin_is_a_margin(energies: np.ndarray, margin: float, data: st.DataObject) -> None:
    """Where the hinge loss is zero the right answer lies below all others by the margin, and only there."""
    right = data.draw(arrays(np.int64, len(energies), elements=st.integers(0, energies.shape[1] - 1)))
    values, _ = losses.HingeLoss(margin).value_and_gradient(energies, right)
    others = energies.copy()
    rows = np.arange(len(energies))
    others[rows, right] = np.inf
    np.testing.assert_array_equal(values == 0, margin + (energies[rows, right] - others.min(axis=1)) <= 0)


@given(st.floats(-30, 30), st.floats(-30, 30))
def test_positive_losses_push_wherever_the_margin_is_missing(right: float, wrong: float) -> None:
    """For a guaranteed margin: as long as E(right) is not below, pulling and pushing lower the loss."""
    if right < wrong:
        right, wrong = wrong, right
    for loss in (losses.HingeLoss(), losses.LogLoss(), losses.NegativeLogLikelihoodLoss()):
        _, gradient = loss.value_and_gradient([[right, wrong]], [0])
        assert gradient[0, 0] > 0 > gradient[0, 1]

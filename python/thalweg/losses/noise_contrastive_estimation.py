"""Noise-contrastive estimation: telling data from noise of a known density, the normaliser learnt too."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _rng, ops
from .._base import BipartiteGradient, BipartiteMachine, Draws, LossState, Phase
from .._check import FloatArray


class NoiseContrastiveEstimation:
    """NCE: logistic regression between the data and `noise_ratio` times as much noise.

    With G(x) = -F(x) - c - log(nu p_n(x)), c in the place of log Z, the objective

        J = 1/n (sum_data log sigmoid(G) + sum_noise log sigmoid(-G))

    is to grow, in the parameters and in c. The noise is the base model: independent features with the data's
    own means (and deviations). Grayscale rows count as they are in -F and log p_n.

    Needs of the machine: `base_model`, `draw_base`, `free_energy`, `hidden`, `log_base`, `statistics`.

    Parameters
    ----------
    noise_ratio : int, default=1
        nu.

    References
    ----------
    M. Gutmann, A. Hyvarinen, Noise-contrastive estimation of unnormalized statistical models, JMLR 13, 2012.
    """

    needs = ("base_model", "draw_base", "free_energy", "hidden", "log_base", "statistics")

    def __init__(self, noise_ratio: int = 1) -> None:
        self.noise_ratio = noise_ratio

    def start(self, machine: BipartiteMachine, mean: FloatArray, deviation: FloatArray) -> LossState:
        """The noise, and c: log Z as it is without weights."""
        base_bias, base_sigma = machine.base_model(mean, deviation)
        return {
            "base_bias": base_bias,
            "base_sigma": base_sigma,
            "log_normalizer": np.array([machine.log_partition_without_weights()]),
        }

    def gradient(
        self, machine: BipartiteMachine, X: FloatArray, state: LossState, draws: Draws, rate: float
    ) -> tuple[BipartiteGradient, LossState]:
        """Ascent direction of the batch; c makes its own step at the same rate."""
        base = (state["base_bias"], state["base_sigma"] if machine.is_gaussian else None)
        key = Draws(draws.seed, _rng.STREAM_NOISE, 0, draws.step)
        noise = machine.draw_base(self.noise_ratio * len(X), *base, key)
        with np.errstate(over="ignore", invalid="ignore"):  # the estimator checks the step
            of_data = ops.sigmoid(-self._log_odds(machine, X, state, base)) / len(X)
            of_noise = -ops.sigmoid(self._log_odds(machine, noise, state, base)) / len(X)
            log_normalizer = state["log_normalizer"] - rate * (of_data.sum() + of_noise.sum())
        phases = [
            Phase(X, machine.hidden(X), of_data.astype(X.dtype)),
            Phase(noise, machine.hidden(noise), of_noise.astype(X.dtype)),
        ]
        return machine.statistics(phases), {**state, "log_normalizer": log_normalizer}

    def _log_odds(
        self, machine: BipartiteMachine, x: FloatArray, state: LossState, base: tuple[FloatArray, Any]
    ) -> NDArray[np.float64]:
        """G."""
        log_model = -machine.free_energy(x) - state["log_normalizer"][0]
        log_noise = machine.log_base(x, *base, normalized=True)
        odds: NDArray[np.float64] = log_model - log_noise - np.log(self.noise_ratio)
        return odds

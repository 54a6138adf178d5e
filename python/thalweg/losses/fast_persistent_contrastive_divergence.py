"""Persistent contrastive divergence with fast weights, which drive the chains from where they have been."""

from __future__ import annotations

import numpy as np

from .. import _rng
from .._base import BipartiteGradient, BipartiteMachine, Bits, Draws, LossState
from .._check import FloatArray
from ._phases import data_and_model
from .persistent_contrastive_divergence import PersistentContrastiveDivergence


class FastPersistentContrastiveDivergence(PersistentContrastiveDivergence):
    """FPCD: the chains run on the parameters plus fast ones, which learn at a rate of their own and fade.

    Needs of the machine: `hidden`, `shifted`, `statistics`; of the shifted one `sweep`.

    Parameters
    ----------
    n_steps, n_chains : int
        As PCD's.
    rate : float, default=None
        Learning rate of the fast parameters; None stands for the step's own.
    decay : float, default=0.95
        What is left of the fast parameters after a step.

    References
    ----------
    T. Tieleman, G. Hinton, Using fast weights to improve persistent contrastive divergence, ICML 2009.
    """

    needs = ("hidden", "shifted", "statistics")

    def __init__(
        self, n_steps: int = 1, n_chains: int = 100, rate: float | None = None, decay: float = 0.95
    ) -> None:
        super().__init__(n_steps, n_chains)
        self.rate = rate
        self.decay = decay

    def start(self, machine: BipartiteMachine, mean: FloatArray, deviation: FloatArray) -> LossState:
        """The chains' hidden states, and fast parameters at zero."""
        zeros = machine.statistics([])
        return {
            **super().start(machine, mean, deviation),
            "fast_up": zeros.up,
            "fast_visible": zeros.visible_bias,
            "fast_hidden": zeros.hidden_bias,
        }

    def gradient(
        self, machine: BipartiteMachine, X: FloatArray, state: LossState, draws: Draws, rate: float
    ) -> tuple[BipartiteGradient, LossState]:
        """Ascent direction of the batch; draws as PCD's."""
        chains = Bits(state["hidden"].copy(), machine.n_hidden)
        key = Draws(draws.seed, _rng.STREAM_CHAINS, 0, int(state["n_sweeps"][0]))
        fast = machine.shifted(state["fast_up"], state["fast_visible"], state["fast_hidden"])
        visible, mean = fast.sweep(chains, self.n_steps, key)
        gradient = machine.statistics(data_and_model(X, machine.hidden(X), visible, mean))
        keep = X.dtype.type(self.decay)
        step = X.dtype.type(rate if self.rate is None else self.rate)
        with np.errstate(over="ignore", invalid="ignore"):  # the estimator checks the step
            return gradient, {
                "hidden": chains.words,
                "n_sweeps": state["n_sweeps"] + self.n_steps,
                "fast_up": keep * state["fast_up"] + step * gradient.up,
                "fast_visible": keep * state["fast_visible"] + step * gradient.visible_bias,
                "fast_hidden": keep * state["fast_hidden"] + step * gradient.hidden_bias,
            }

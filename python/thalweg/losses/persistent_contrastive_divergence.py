"""Persistent contrastive divergence: chains that go on from step to step."""

from __future__ import annotations

import numpy as np

from .. import _rng
from .._base import BipartiteGradient, BipartiteMachine, Bits, Draws, LossState
from .._check import FloatArray
from ._phases import data_and_model


class PersistentContrastiveDivergence:
    """PCD-k (stochastic maximum likelihood): the model's average over chains that are never started anew.

    Needs of the machine: `hidden`, `sweep`, `statistics`. The chains begin with all hidden units at 0.

    Parameters
    ----------
    n_steps : int, default=1
        Sweeps a step, k.
    n_chains : int, default=100

    References
    ----------
    T. Tieleman, Training restricted Boltzmann machines using approximations to the likelihood gradient, ICML
    2008.
    """

    needs = ("hidden", "sweep", "statistics")

    def __init__(self, n_steps: int = 1, n_chains: int = 100) -> None:
        self.n_steps = n_steps
        self.n_chains = n_chains

    def start(self, machine: BipartiteMachine, mean: FloatArray, deviation: FloatArray) -> LossState:
        """The chains' hidden states, and how many sweeps they have made."""
        return {
            "hidden": np.zeros((-(-machine.n_hidden // 32), self.n_chains), np.uint32),
            "n_sweeps": np.zeros(1, np.int64),
        }

    def gradient(
        self, machine: BipartiteMachine, X: FloatArray, state: LossState, draws: Draws, rate: float
    ) -> tuple[BipartiteGradient, LossState]:
        """Ascent direction of the batch; chain c draws as row c, sweep s of all that were made at step s."""
        chains = Bits(state["hidden"].copy(), machine.n_hidden)
        key = Draws(draws.seed, _rng.STREAM_CHAINS, 0, int(state["n_sweeps"][0]))
        visible, mean = machine.sweep(chains, self.n_steps, key)
        gradient = machine.statistics(data_and_model(X, machine.hidden(X), visible, mean))
        return gradient, {"hidden": chains.words, "n_sweeps": state["n_sweeps"] + self.n_steps}

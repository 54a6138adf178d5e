"""Contrastive divergence: chains that start at the data and run for a few sweeps."""

from __future__ import annotations

from .. import _rng
from .._base import BipartiteGradient, BipartiteMachine, Draws, LossState
from .._check import FloatArray
from ._phases import data_and_model


class ContrastiveDivergence:
    """CD-k: the likelihood's gradient with the model's average taken after k sweeps from the data.

    Needs of the machine: `draw_hidden`, `sweep`, `statistics`.

    Parameters
    ----------
    n_steps : int, default=1
        k.

    References
    ----------
    G. Hinton, Training products of experts by minimizing contrastive divergence, Neural Comput. 14, 2002.
    """

    needs = ("draw_hidden", "sweep", "statistics")

    def __init__(self, n_steps: int = 1) -> None:
        self.n_steps = n_steps

    def start(self, machine: BipartiteMachine, mean: FloatArray, deviation: FloatArray) -> LossState:
        """Nothing is kept from step to step."""
        return {}

    def gradient(
        self, machine: BipartiteMachine, X: FloatArray, state: LossState, draws: Draws, rate: float
    ) -> tuple[BipartiteGradient, LossState]:
        """Ascent direction of the batch; its row i draws as row `draws.first_row` + i, from step 0."""
        of_data = Draws(draws.seed, _rng.STREAM_DATA_HIDDEN, draws.first_row)
        X_hidden, hidden = machine.draw_hidden(X, of_data)
        chains = Draws(draws.seed, _rng.STREAM_DATA_CHAINS, draws.first_row)
        visible, mean = machine.sweep(hidden, self.n_steps, chains)
        return machine.statistics(data_and_model(X, X_hidden, visible, mean)), {}

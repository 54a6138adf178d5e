"""Parallel tempering: persistent chains at several temperatures that trade places."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .. import _rng
from .._base import BipartiteGradient, BipartiteMachine, Bits, Draws, LossState
from .._check import FloatArray
from ._phases import data_and_model


class ParallelTempering:
    """PT: as PCD, with every chain accompanied by others between the base model and the machine.

    The base model has the data's own means (and deviations); log f_t(v, h) = t U(v, h) + log base(v). After
    the sweeps of a step, chains at neighbouring inverse temperatures t and s trade places with probability
    min(1, exp((t - s) (U_s - U_t))), pairs with an even and an odd lower place in turn.

    Needs of the machine: `hidden`, `joint_energy`, `log_base`, `sweep`, `statistics`.

    Parameters
    ----------
    n_steps : int, default=1
        Sweeps a step.
    n_chains : int, default=100
        Chains at t = 1.
    n_temperatures : int, default=10
        Evenly spaced from 0 to 1.

    References
    ----------
    G. Desjardins, A. Courville, Y. Bengio, P. Vincent, O. Delalleau, Tempered Markov chain Monte Carlo for
    training of restricted Boltzmann machines, AISTATS 2010; K. Cho, T. Raiko, A. Ilin, Parallel tempering is
    efficient for learning restricted Boltzmann machines, IJCNN 2010.
    """

    needs = ("hidden", "joint_energy", "log_base", "sweep", "statistics")

    def __init__(self, n_steps: int = 1, n_chains: int = 100, n_temperatures: int = 10) -> None:
        self.n_steps = n_steps
        self.n_chains = n_chains
        self.n_temperatures = n_temperatures

    def start(self, machine: BipartiteMachine, mean: FloatArray, deviation: FloatArray) -> LossState:
        """Hidden states by temperature and chain, the base model, and how often pairs traded places."""
        n_rows = self.n_chains * self.n_temperatures
        base_bias, base_sigma = machine.base_model(mean, deviation)
        return {
            "hidden": np.zeros((-(-machine.n_hidden // 32), n_rows), np.uint32),
            "n_sweeps": np.zeros(1, np.int64),
            "base_bias": base_bias,
            "base_sigma": base_sigma,
            "swaps_tried": np.zeros(self.n_temperatures - 1, np.int64),
            "swaps_made": np.zeros(self.n_temperatures - 1, np.int64),
        }

    def gradient(
        self, machine: BipartiteMachine, X: FloatArray, state: LossState, draws: Draws, rate: float
    ) -> tuple[BipartiteGradient, LossState]:
        """Ascent direction of the batch, from the chains at t = 1."""
        chains = Bits(state["hidden"].copy(), machine.n_hidden)
        t = np.repeat(np.linspace(0, 1, self.n_temperatures), self.n_chains).astype(X.dtype)
        base = (state["base_bias"], state["base_sigma"] if machine.is_gaussian else None)
        key = Draws(draws.seed, _rng.STREAM_CHAINS, 0, int(state["n_sweeps"][0]))
        visible, mean = machine.sweep(chains, self.n_steps, key, t=t, base_bias=base[0], base_sigma=base[1])
        with np.errstate(over="ignore", invalid="ignore"):  # the estimator checks the step
            pull = -machine.joint_energy(visible, chains) - machine.log_base(visible, *base)
        order, tried, made = self._swaps(pull.reshape(self.n_temperatures, self.n_chains), t, draws)
        last = slice(-self.n_chains, None)
        if isinstance(visible, Bits):
            visible = Bits(np.ascontiguousarray(visible.words[:, last]), visible.units)
        else:
            visible = visible[last]
        gradient = machine.statistics(data_and_model(X, machine.hidden(X), visible, mean[last]))
        return gradient, {
            **state,
            "hidden": np.ascontiguousarray(chains.words[:, order]),
            "n_sweeps": state["n_sweeps"] + self.n_steps,
            "swaps_tried": state["swaps_tried"] + tried,
            "swaps_made": state["swaps_made"] + made,
        }

    def _swaps(
        self, pull: NDArray[np.float64], t: FloatArray, draws: Draws
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Where each row's states come from, and how many swaps each pair tried and made."""
        places = np.arange(pull.size).reshape(pull.shape)
        temperatures = t.astype(np.float64).reshape(pull.shape)[:, 0]
        tried = np.zeros(len(pull) - 1, np.int64)
        made = np.zeros(len(pull) - 1, np.int64)
        u = _rng.uniform(draws.seed, _rng.STREAM_SWAPS, draws.step, pull.size).reshape(pull.shape)
        for low in range(draws.step % 2, len(pull) - 1, 2):
            log_ratio = (temperatures[low + 1] - temperatures[low]) * (pull[low] - pull[low + 1])
            swap = np.log1p(-u[low]) < log_ratio
            pair = places[low : low + 2, swap]
            places[low : low + 2, swap] = pair[::-1]
            tried[low] += self.n_chains
            made[low] += np.count_nonzero(swap)
        return places.ravel(), tried, made

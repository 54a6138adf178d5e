"""Annealed importance sampling: log Z of a machine, from below and from above."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _rng, ops
from .._base import Bits, Draws
from .._check import FloatArray
from .gibbs import RbmMachine, pack

# How many of the temperatures lie where, after Salakhutdinov and Murray: most of them near the machine.
_SEGMENTS = ((0.0, 0.5, 500), (0.5, 0.9, 4000), (0.9, 1.0, 10_000))


@dataclass(frozen=True)
class LogPartition:
    """An estimate of log Z, or its exact value.

    Attributes
    ----------
    log_z : float
    std_error : float
        Of `log_z`; 0 where it is exact.
    method : {"exact", "ais", "reverse_ais"}
    log_weights : ndarray of shape (n_runs,), float64
        log w of every run; "ais" has E[w] = Z / Z(base), "reverse_ais" its inverse. Empty where exact.
    log_z_base : float
        log Z of the base model; NaN where exact.
    """

    log_z: float
    std_error: float
    method: str
    log_weights: NDArray[np.float64]
    log_z_base: float

    @classmethod
    def exactly(cls, log_z: float) -> LogPartition:
        """What enumeration gave."""
        return cls(log_z, 0.0, "exact", np.empty(0), float("nan"))


def annealing_schedule(n_temperatures: int) -> NDArray[np.float64]:
    """`n_temperatures` + 1 inverse temperatures from 0 to 1, spread as those of Salakhutdinov and Murray.

    1/29 of the steps lie in [0, 0.5], 8/29 in [0.5, 0.9], and 20/29 in [0.9, 1].
    """
    total = sum(n for *_, n in _SEGMENTS)
    places = np.cumsum([0, *(n for *_, n in _SEGMENTS)]) / total
    values = [_SEGMENTS[0][0], *(end for _, end, _ in _SEGMENTS)]
    t: NDArray[np.float64] = np.interp(np.arange(n_temperatures + 1) / n_temperatures, places, values)
    return t


def log_mean(log_weights: NDArray[np.float64]) -> tuple[float, float]:
    """log of the mean of the weights, and its standard error by the delta method."""
    peak = float(log_weights.max())
    weights = np.exp(log_weights - peak)
    mean = float(weights.mean())
    spread = float(weights.std(ddof=1)) if len(weights) > 1 else float("nan")
    return peak + float(np.log(mean)), spread / (mean * len(weights) ** 0.5)


def anneal_upwards(
    machine: RbmMachine,
    base_bias: FloatArray,
    base_sigma: FloatArray | None,
    t: NDArray[np.float64],
    n_runs: int,
    seed: int,
) -> LogPartition:
    """log Z by annealed importance sampling from the base model: on average too small.

    Parameters
    ----------
    machine : RbmMachine
    base_bias, base_sigma : ndarray of shape (n_visible,), None for Bernoulli units
    t : ndarray of float64
        Inverse temperatures, from 0 to 1.
    n_runs : int
    seed : int

    Returns
    -------
    LogPartition

    References
    ----------
    R. Salakhutdinov, I. Murray, On the quantitative analysis of deep belief networks, ICML 2008.
    """
    draws = Draws(seed, _rng.STREAM_BASE_MODEL)
    start = machine.draw_base(n_runs, base_bias, base_sigma, draws)
    log_weights = _anneal(machine, base_bias, base_sigma, t, start, seed)
    log_z_base = _log_z_base(machine, base_bias, base_sigma)
    log_ratio, std_error = log_mean(log_weights)
    return LogPartition(log_z_base + log_ratio, std_error, "ais", log_weights, log_z_base)


def anneal_downwards(
    machine: RbmMachine,
    base_bias: FloatArray,
    base_sigma: FloatArray | None,
    t: NDArray[np.float64],
    start: FloatArray,
    burn_in: int,
    seed: int,
) -> LogPartition:
    """log Z by annealing down from samples of the machine to the base model.

    On average too large, as far as the runs do begin at samples of the machine.

    Parameters
    ----------
    machine : RbmMachine
    base_bias, base_sigma : ndarray of shape (n_visible,), None for Bernoulli units
    t : ndarray of float64
        Inverse temperatures from 0 to 1; they are visited backwards.
    start : ndarray of shape (n_runs, n_visible)
        Where the runs begin; `burn_in` sweeps make samples of the machine of them, or nearly so.
    burn_in : int
    seed : int

    Returns
    -------
    LogPartition

    References
    ----------
    Y. Burda, R. Grosse, R. Salakhutdinov, Accurate and conservative estimates of MRF log-likelihood using
    reverse annealing, AISTATS 2015.
    """
    samples: FloatArray | Bits = machine.place(start)
    if burn_in:
        _, hidden = machine.draw_hidden(samples, Draws(seed, _rng.STREAM_DATA_HIDDEN))
        samples, _ = machine.sweep(hidden, burn_in, Draws(seed, _rng.STREAM_SAMPLES))
    log_weights = _anneal(machine, base_bias, base_sigma, t[::-1].copy(), samples, seed)
    log_z_base = _log_z_base(machine, base_bias, base_sigma)
    log_ratio, std_error = log_mean(log_weights)
    return LogPartition(log_z_base - log_ratio, std_error, "reverse_ais", log_weights, log_z_base)


def _anneal(
    machine: RbmMachine,
    base_bias: FloatArray,
    base_sigma: FloatArray | None,
    t: NDArray[np.float64],
    start: FloatArray | Bits,
    seed: int,
) -> NDArray[np.float64]:
    """log w of every run."""
    states: FloatArray | Bits
    if isinstance(start, Bits):
        states = start.copy()
    else:
        states = start.copy() if machine.is_gaussian else _packed(start)
    log_weights = np.zeros(len(states))
    machine.kernels.anneal(
        machine.native,
        base_bias,
        base_sigma,
        t,
        states.words if isinstance(states, Bits) else None,
        None if isinstance(states, Bits) else states,
        seed & (2**64 - 1),
        _rng.STREAM_ANNEALING,
        0,
        0,
        log_weights,
        machine.n_jobs,
    )
    return log_weights


def _packed(start: FloatArray) -> Bits:
    bits, are_binary = pack(start)
    if not are_binary:
        raise ValueError("X: runs that begin at its rows, with burn_in=0, need rows of 0 and 1")
    return bits


def _log_z_base(machine: RbmMachine, base_bias: FloatArray, base_sigma: FloatArray | None) -> float:
    """log Z of the path's beginning, where the hidden units count too, each with log 2."""
    of_hidden = machine.n_hidden * float(np.log(2))
    if base_sigma is None:
        return of_hidden + float(ops.softplus(base_bias.astype(np.float64)).sum())
    of_visible = np.log(base_sigma.astype(np.float64)).sum() + 0.5 * machine.n_visible * np.log(2 * np.pi)
    return of_hidden + float(of_visible)


def temperatures(value: Any) -> NDArray[np.float64]:
    """Inverse temperatures from a number of them, or checked where they are given."""
    if isinstance(value, int | np.integer) and not isinstance(value, bool | np.bool_):
        if value < 1:
            raise ValueError(f"temperatures: expected at least 1 step, got {int(value)}")
        return annealing_schedule(int(value))
    try:
        t = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        t = np.empty(0)
    if t.ndim != 1 or len(t) < 2 or not (t[0] == 0 and t[-1] == 1 and (np.diff(t) > 0).all()):
        raise ValueError(
            "temperatures: expected a number of steps, or inverse temperatures that increase from 0 to 1, "
            f"got {value!r}"
        )
    return t

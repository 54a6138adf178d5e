"""Annealed importance sampling of densities of real vectors: log Z from that of a normal density."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _check, _rng
from .._base import Draws
from .._check import FloatArray, real_operand, thread_number, whole_number
from .._device import device_operand
from .annealing import LogPartition, log_mean
from .langevin import DualAveraging, SampledEnergy, Trajectory, move, move_natively, native_form

_TARGET = 0.8  # acceptance of the pilot's moves; above the best, as a run cannot afford to stand still
_PILOT_STREAM = 2  # beyond that of the runs, which take two


@dataclass(frozen=True)
class NormalBase:
    """N(mean, sigma^2 I), where annealing begins."""

    mean: FloatArray
    sigma: float

    @property
    def log_partition(self) -> float:
        """log of the integral of exp(-E0), E0(x) = ||x||^2 / (2 sigma^2) - mean'x / sigma^2."""
        mean = self.mean.astype(np.float64)
        normal = 0.5 * len(mean) * math.log(2 * math.pi * self.sigma**2)
        return normal + float(mean @ mean) / (2 * self.sigma**2)

    def value(self, X: FloatArray) -> NDArray[np.float64]:
        """E0 of every row."""
        wide = X.astype(np.float64)
        made: NDArray[np.float64] = (wide * (0.5 * wide - self.mean)).sum(axis=1) / self.sigma**2
        return made

    def score_function(self, X: FloatArray) -> FloatArray:
        """-dE0/dx."""
        return np.asarray((self.mean - X) / X.dtype.type(self.sigma**2), X.dtype)


@dataclass(frozen=True)
class _Tempered:
    """E0 + t (E - E0)."""

    energy: SampledEnergy
    base: NormalBase
    t: float

    def value(self, X: FloatArray) -> tuple[NDArray[np.float64], None]:
        first = self.base.value(X)
        return first + self.t * (np.asarray(self.energy.value(X)[0], np.float64) - first), None

    def score_function(self, X: FloatArray) -> FloatArray:
        first = self.base.score_function(X)
        return np.asarray(first + X.dtype.type(self.t) * (self.energy.score_function(X) - first))


# Moves chains at inverse temperature t by a leapfrog step: the acceptance of each. And E - E0 of rows.
_Move = Callable[[FloatArray, float, float, Draws], NDArray[np.float64]]
_Rise = Callable[[FloatArray], NDArray[np.float64]]


def anneal_density(
    energy: SampledEnergy,
    base_mean: Any,
    base_sigma: float,
    t: NDArray[np.float64],
    n_runs: int,
    seed: int,
    *,
    n_leapfrog: int = 10,
    n_pilots: int = 24,
    dtype: Any = np.float64,
    device: str = "cpu",
    n_jobs: int | None = None,
) -> LogPartition:
    r"""log Z = log of the integral of exp(-E), from a normal density; on average too small.

    Runs begin at samples of the base, with energy :math:`E_0(x) = \lVert x \rVert^2 / (2 \sigma^2) -
    m^\top x / \sigma^2`, and follow :math:`E_t = E_0 + t (E - E_0)` to t = 1, one trajectory of Hamiltonian
    Monte Carlo at each inverse temperature, where :math:`\log w` grows by
    :math:`(t_{i-1} - t_i)(E - E_0)(x)`. Pilot runs before adapt the leapfrog step of every temperature; the
    runs that count keep it.

    Parameters
    ----------
    energy : object with `value` and `score_function`
        Where it has `native_density(dtype, device)` compiled code moves the chains; then E - E0 must be its
        hidden part, that is `base_mean` sigma^2 b and `base_sigma` its sigma.
    base_mean : array-like of shape (n_features,)
        m, in the units of the data.
    base_sigma : float
        > 0, in the units of the data.
    t : ndarray of float64
        Inverse temperatures that increase from 0 to 1.
    n_runs : int
        At least 2.
    seed : int
    n_leapfrog : int, default=10
        Leapfrog steps of a trajectory.
    n_pilots : int, default=24
        Runs that adapt the step.
    dtype : {float32, float64}, default=float64
        Of the chains; the weights are float64.
    device : {"cpu", "cuda"}, default="cpu"
        Where the chains are. "cuda" needs an energy with kernels there, as `DeepEnergy`.
    n_jobs : int, default=None

    Returns
    -------
    LogPartition
        With the standard error of log Z by the delta method.

    Raises
    ------
    FloatingPointError
        The energy of a run is not finite.
    ValueError
        `device="cuda"`, and the energy has no kernels there.

    References
    ----------
    R. M. Neal, Annealed importance sampling, Stat. Comput. 11, 2001.

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg.inference.density_annealing import anneal_density
    >>> class Narrow:  # N(0, 1/4 I) in three dimensions
    ...     def value(self, X):
    ...         return 2.0 * (X**2).sum(axis=1), None
    ...     def score_function(self, X):
    ...         return -4.0 * X
    >>> made = anneal_density(Narrow(), np.zeros(3), 1.0, np.linspace(0, 1, 51), 200, seed=0)
    >>> bool(abs(made.log_z - 1.5 * np.log(2 * np.pi / 4)) < 4 * made.std_error < 0.2)
    True
    """
    base = NormalBase(real_operand(base_mean, "base_mean", dtype=np.float64), float(base_sigma))
    whole_number(n_runs, "n_runs", minimum=2)
    whole_number(n_leapfrog, "n_leapfrog", minimum=1)
    whole_number(n_pilots, "n_pilots", minimum=1)
    moved, rise = _steps_of(
        energy, base, n_leapfrog, np.dtype(dtype), _check.device(device), thread_number(n_jobs)
    )
    stream = _rng.STREAM_DENSITY_CHAINS
    pilots = _base_samples(base, n_pilots, seed, stream + _PILOT_STREAM, dtype, device)
    steps = _piloted(moved, pilots, t, base, seed)
    X = _base_samples(base, n_runs, seed, stream, dtype, device)
    log_weights = np.zeros(n_runs)
    for i in range(1, len(t)):
        log_weights -= (t[i] - t[i - 1]) * rise(X)
        if i + 1 < len(t):
            moved(X, float(t[i]), steps[i], Draws(seed, stream, 0, i))
    if not np.isfinite(log_weights).all():
        raise FloatingPointError("annealing: the energy of a run is not finite")
    log_ratio, std_error = log_mean(log_weights)
    return LogPartition(base.log_partition + log_ratio, std_error, "ais", log_weights, base.log_partition)


def _steps_of(
    energy: SampledEnergy, base: NormalBase, n_leapfrog: int, dtype: Any, device: str, n_jobs: int
) -> tuple[_Move, _Rise]:
    native = native_form(energy, dtype, device)

    def moved(X: FloatArray, t: float, step: float, draws: Draws) -> NDArray[np.float64]:
        if native is None:
            kind = Trajectory(step, n_leapfrog)
            return move(_Tempered(energy, base, t), X, kind, 1, draws, n_jobs).acceptance
        return move_natively(native, X, Trajectory(step, n_leapfrog, True, t), 1, draws, n_jobs).acceptance

    def rise(X: FloatArray) -> NDArray[np.float64]:
        if native is None:
            return np.asarray(energy.value(X)[0], np.float64) - base.value(X)
        whole, first = np.empty(len(X)), np.empty(len(X))
        native.energy(X, whole, 1.0, n_jobs)
        native.energy(X, first, 0.0, n_jobs)
        return whole - first

    return moved, rise


def _base_samples(base: NormalBase, n: int, seed: int, stream: int, dtype: Any, device: str) -> FloatArray:
    normals = _rng.normal_rows(seed, stream, 0, (n, len(base.mean)), dtype)
    samples: FloatArray = np.asarray(base.mean + base.sigma * normals, dtype)
    return samples if device == "cpu" else device_operand(samples, "samples")


def _piloted(
    moved: _Move, X: FloatArray, t: NDArray[np.float64], base: NormalBase, seed: int
) -> NDArray[np.float64]:
    """A leapfrog step for every temperature."""
    adaptation = DualAveraging(0.5 * base.sigma * len(base.mean) ** -0.25, _TARGET)
    steps = np.empty(len(t))
    for i, temperature in enumerate(t):
        steps[i] = adaptation.step
        acceptance = moved(
            X, float(temperature), steps[i], Draws(seed, _rng.STREAM_DENSITY_CHAINS + _PILOT_STREAM, 0, i + 1)
        )
        adaptation.update(float(acceptance.mean()))
    return _smoothed(steps)


def _smoothed(steps: NDArray[np.float64]) -> NDArray[np.float64]:
    """Geometric means of neighbours, as single steps of the adaptation are erratic."""
    width = max(1, len(steps) // 20)
    logarithms = np.pad(np.log(steps), width, mode="edge")
    made: NDArray[np.float64] = np.exp(
        np.convolve(logarithms, np.full(2 * width + 1, 1 / (2 * width + 1)), mode="valid")
    )
    return made

"""How good a Boltzmann machine is: likelihood, reconstruction, free energies, samples along chains."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import ops
from .rbm_data import Rows
from .rbm_model import Point, RbmModel

MOST_ENUMERATED = 20  # hidden units, for the exact likelihood
SWEEPS = (0, 1, 3, 10, 30, 100, 300, 1000)  # after which chains are shown

_N_MONITORED = 5000  # rows whose free energy is followed over the epochs
_N_EVALUATED = 10_000  # rows for the figures at the end
_N_CHAINS = 8
_LEAST_VARIANCE = 1e-6  # of a whitened pixel, where it is constant
_N_RUNS = 100  # of annealed importance sampling


@dataclass
class FreeEnergies:
    """Of rows learnt from, and of rows held out."""

    learnt: NDArray[np.float64]
    held_out: NDArray[np.float64] | None


def monitored(rows: Rows) -> Rows:
    """The few rows that are followed over the epochs; images may come in an order, so they are spread."""
    held_out = None if rows.held_out is None else spread(rows.held_out, _N_MONITORED)
    return Rows(spread(rows.learnt, _N_MONITORED), held_out, rows.names)


def evaluated(rows: Rows) -> Rows:
    """The rows that the figures at the end are means of."""
    held_out = None if rows.held_out is None else spread(rows.held_out, _N_EVALUATED)
    return Rows(spread(rows.learnt, _N_EVALUATED), held_out, rows.names)


def spread(rows: NDArray[Any], count: int) -> NDArray[Any]:
    """At most so many rows, evenly apart."""
    if len(rows) <= count:
        return rows
    return rows[np.linspace(0, len(rows) - 1, count).astype(np.int64)]


def point(learner: Any, rows: Rows, epoch: float) -> Point:
    """How the learner is doing on these rows."""
    means = [
        (float(np.mean(learner.free_energy(X), dtype=np.float64)), reconstruction_error(learner, X))
        for X in (rows.learnt, rows.held_out)
        if X is not None
    ]
    (free_energy, error), (free_energy_held_out, error_held_out) = (*means, (np.nan, np.nan))[:2]
    return Point(learner.n_steps_, epoch, free_energy, free_energy_held_out, error, error_held_out)


def reconstruction_error(learner: Any, X: NDArray[Any]) -> float:
    """Mean square of what the mean-field reconstruction misses, per pixel."""
    return float(np.mean(np.square(X - learner.reconstruct(X), dtype=np.float64)))


def free_energies(learner: Any, rows: Rows) -> FreeEnergies:
    learnt, held_out = (
        None if X is None else np.asarray(learner.free_energy(X), np.float64)
        for X in (rows.learnt, rows.held_out)
    )
    assert learnt is not None
    return FreeEnergies(learnt, held_out)


def log_likelihoods(model: RbmModel, energies: FreeEnergies, rows: NDArray[Any]) -> dict[str, Any]:
    """Mean log-likelihood per row, log p(x) = -F(x) - log Z, for every estimate of log Z.

    With few hidden units log Z is exact; else annealed importance sampling gives it, whose mean tends to be
    too low, and so the likelihood too high, where it misses modes. Run in reverse it errs the other way.
    """
    options = model.run["options"]
    exact = options["n_components"] <= MOST_ENUMERATED
    estimates = {}
    for method in ("exact",) if exact else ("ais", "reverse_ais"):
        more = {} if exact else _annealing(options, rows)
        estimates[method] = _estimate(model.learner.log_partition(method=method, **more), energies)
    return estimates


def _annealing(options: dict[str, Any], rows: NDArray[Any]) -> dict[str, Any]:
    return {
        "n_runs": _N_RUNS,
        "temperatures": options["ais_temperatures"],
        "X": rows,
        "random_state": options["seed"],
    }


def _estimate(partition: Any, energies: FreeEnergies) -> dict[str, Any]:
    found = {"log_z": float(partition.log_z), "std_error": float(partition.std_error)}
    for name, values in (("learnt", energies.learnt), ("held_out", energies.held_out)):
        if values is not None:
            found[name] = float(-values.mean() - partition.log_z)
    return found


def independent_pixels(model: RbmModel, rows: Rows) -> dict[str, float]:
    """Mean log-likelihoods of the model to beat: every pixel on its own, as in the rows learnt from."""
    learnt = np.asarray(rows.learnt, np.float64)
    mean, variance = learnt.mean(axis=0), np.maximum(learnt.var(axis=0), _LEAST_VARIANCE)
    rates = np.clip(mean, 1 / (len(learnt) + 2), 1 - 1 / (len(learnt) + 2))
    found = {}
    for name, X in (("learnt", rows.learnt), ("held_out", rows.held_out)):
        if X is None:
            continue
        x = np.asarray(X, np.float64)
        if model.signed:
            each = -0.5 * (np.square(x - mean) / variance + np.log(2 * np.pi * variance))
        else:
            each = x * np.log(rates) + (1 - x) * np.log1p(-rates)
        found[name] = float(each.sum(axis=1).mean())
    return found


def reconstruction(learner: Any, rows: Rows) -> dict[str, float]:
    """Errors, and the share of the pixels' variance that the reconstruction explains."""
    found: dict[str, float] = {}
    for name, X in (("learnt", rows.learnt), ("held_out", rows.held_out)):
        if X is not None:
            error = reconstruction_error(learner, X)
            variance = float(X.var(axis=0, dtype=np.float64).mean())
            found |= {f"{name}_error": error, f"{name}_explained": 1.0 - error / (variance or 1.0)}
    return found


def chains(model: RbmModel, rows: Rows) -> NDArray[np.float64]:
    """Pictures (chains, times, height, width) along Gibbs chains, after `SWEEPS` sweeps.

    The first half of the chains start from noise, the others from data. The start is shown as it is; later
    states are shown as the pixels that are expected given the hidden units, which are drawn.
    """
    learner, seed = model.learner, model.run["options"]["seed"]
    states = _starts(model, rows)
    shown = [np.asarray(states, np.float64)]
    seeds = np.random.SeedSequence([seed, len(SWEEPS)]).generate_state(2 * len(SWEEPS)).tolist()
    for before, after in pairwise(SWEEPS):
        states = learner.sample(len(states), after - before, random_state=seeds.pop(), init=states)
        shown.append(_expected_pixels(model, states, seeds.pop()))
    return np.stack([model.pictures(each) for each in shown], axis=1)


def _starts(model: RbmModel, rows: Rows) -> NDArray[Any]:
    data = rows.learnt if rows.held_out is None else rows.held_out
    data = spread(data, _N_CHAINS // 2)
    rng = np.random.default_rng(model.run["options"]["seed"])
    shape = (_N_CHAINS - len(data), data.shape[1])
    noise = rng.normal(size=shape) if model.signed else rng.integers(2, size=shape)
    return np.concatenate([noise.astype(data.dtype), data])


def _expected_pixels(model: RbmModel, states: NDArray[Any], seed: int) -> NDArray[np.float64]:
    learner = model.learner
    hidden = np.asarray(learner.sample_h(states, random_state=seed), np.float64)
    inputs = hidden @ learner.components_ + learner.intercept_visible_
    return inputs if model.signed else np.asarray(ops.sigmoid(inputs))

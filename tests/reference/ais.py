"""Annealed importance sampling of restricted Boltzmann machines in float64, run after run of the same draws.

Machines, base models and draws are those of `reference.gibbs`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from reference import gibbs, rbm


def log_density(V: Any, machine: Any, base: Any, t: float) -> Any:
    """log f_t(v), unnormalised: the hidden units summed out, between the base model and the machine."""
    hidden = np.logaddexp(0, gibbs.hidden_logits(V, machine, t)).sum(axis=1)
    if "sigma" not in machine:
        return V @ ((1 - t) * base["visible_bias"] + t * machine["visible_bias"]) + hidden
    of_base = ((V - base["visible_bias"]) ** 2 / (2 * base["sigma"] ** 2)).sum(axis=1)
    of_machine = ((V - machine["visible_bias"]) ** 2 / (2 * machine["sigma"] ** 2)).sum(axis=1)
    return -(1 - t) * of_base - t * of_machine + hidden


def log_partition_of_base(machine: Any, base: Any) -> float:
    """log of the sum, or integral, of f_0."""
    uniform_hidden = len(machine["hidden_bias"]) * np.log(2)
    if "sigma" not in machine:
        return float(np.logaddexp(0, base["visible_bias"]).sum() + uniform_hidden)
    return float(np.log(np.sqrt(2 * np.pi) * base["sigma"]).sum() + uniform_hidden)


def hidden_law(machine: Any) -> Any:
    """All hidden states, and the logs of their unnormalised weights: the visible units summed out."""
    H, a = rbm.states(len(machine["hidden_bias"])), machine["visible_bias"]
    drive = H @ machine["weights"]
    if "sigma" not in machine:
        return H, H @ machine["hidden_bias"] + np.logaddexp(0, drive + a).sum(axis=1)
    sigma = machine["sigma"]
    of_visible = ((drive + a) ** 2 - a**2) / (2 * sigma**2) + np.log(np.sqrt(2 * np.pi) * sigma)
    return H, H @ machine["hidden_bias"] + of_visible.sum(axis=1)


def anneal(V: Any, machine: Any, base: Any, t: Any, draw: Any, dtype: Any = np.float64) -> Any:
    """Log weights, and the last states, of runs that start in V; step i draws at `draw` moved by i steps."""
    log_weights = np.zeros(len(V))
    for i in range(1, len(t)):
        log_weights += log_density(V, machine, base, t[i]) - log_density(V, machine, base, t[i - 1])
        if i + 1 < len(t):
            _, H = gibbs.draw_hidden(V, machine, gibbs.moved(draw, stream=1, step=i), t[i], dtype)
            _, V = gibbs.draw_visible(H, machine, gibbs.moved(draw, step=i), t[i], base, dtype)
    return log_weights, V


def log_mean(log_weights: Any) -> Any:
    """The log of the weights' mean, and its standard error: that of the mean over the mean."""
    top = log_weights.max()
    relative = np.exp(log_weights - top)
    mean = relative.mean()
    return top + np.log(mean), relative.std(ddof=1) / np.sqrt(len(relative)) / mean

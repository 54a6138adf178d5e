"""Restricted Boltzmann machines by enumeration and explicit sums, in float64.

Parameters come as a dict: weights (H, V), visible_bias (V,), hidden_bias (H,), and for Gaussian visible units
sigma (V,). Gradients are dicts of the same names, with log_sigma in the place of sigma.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def log_sum_exp(u: Any, axis: Any = None) -> Any:
    peak = np.max(u, axis=axis, keepdims=True)
    return np.squeeze(peak, axis=axis) + np.log(np.sum(np.exp(u - peak), axis=axis))


def sigmoid(u: Any) -> Any:
    return np.exp(-np.logaddexp(0, -u))


def states(n_units: int) -> Any:
    """All binary states, (2^n, n)."""
    return np.array([[i >> k & 1 for k in range(n_units)] for i in range(2**n_units)], float).reshape(
        2**n_units, n_units
    )


# --- energies


def energy(v: Any, h: Any, machine: Any) -> float:
    """E of one visible and one hidden state, term by term."""
    W, a, b = machine["weights"], machine["visible_bias"], machine["hidden_bias"]
    sigma = machine.get("sigma")
    total = -sum(b[k] * h[k] for k in range(len(b)))
    for j in range(len(a)):
        drive = sum(h[k] * W[k, j] for k in range(len(b)))
        if sigma is None:
            total -= v[j] * (drive + a[j])
        else:
            total += (v[j] - a[j]) ** 2 / (2 * sigma[j] ** 2) - v[j] * drive / sigma[j] ** 2
    return float(total)


def energies(X: Any, H: Any, machine: Any) -> Any:
    """E of every row of X with every row of H, (n, m)."""
    W, a, b = machine["weights"], machine["visible_bias"], machine["hidden_bias"]
    if "sigma" not in machine:
        return -X @ W.T @ H.T - (X @ a)[:, None] - H @ b
    variance = machine["sigma"] ** 2
    return ((X - a) ** 2 / (2 * variance)).sum(axis=1)[:, None] - (X / variance) @ W.T @ H.T - H @ b


def free_energy(X: Any, machine: Any) -> Any:
    """-log sum_h exp(-E(x, h)), every h in turn."""
    return -log_sum_exp(-energies(X, states(len(machine["hidden_bias"])), machine), axis=1)


def log_partition(machine: Any) -> float:
    """log Z: all joint states, or for Gaussian visible units all hidden states, one integral each."""
    W, a, b = machine["weights"], machine["visible_bias"], machine["hidden_bias"]
    H = states(len(b))
    if "sigma" not in machine:
        return float(log_sum_exp(-energies(states(len(a)), H, machine)))
    # -E is a quadratic of v with its top at a + h W; the integral is the top times sqrt(2 pi) sigma.
    terms = [-energy(a + h @ W, h, machine) for h in H]
    return float(log_sum_exp(terms) + np.log(np.sqrt(2 * np.pi) * machine["sigma"]).sum())


# --- probabilities


def hidden_probability(X: Any, machine: Any) -> Any:
    """p(h_k = 1 | x), from the ratio of the two sums over the states with h_k = 1 and with h_k = 0."""
    H = states(len(machine["hidden_bias"]))
    minus = -energies(X, H, machine)
    odds = [
        log_sum_exp(minus[:, H[:, k] == 1], axis=1) - log_sum_exp(minus[:, H[:, k] == 0], axis=1)
        for k in range(H.shape[1])
    ]
    return sigmoid(np.array(odds).T.reshape(len(X), H.shape[1]))


def visible_expectation(H: Any, machine: Any) -> Any:
    """E[v | h]."""
    drive = H @ machine["weights"] + machine["visible_bias"]
    return drive if "sigma" in machine else sigmoid(drive)


def joint(machine: Any) -> Any:
    """p(v, h) of the Bernoulli machine, (2^V, 2^H)."""
    V, H = states(len(machine["visible_bias"])), states(len(machine["hidden_bias"]))
    return np.exp(-energies(V, H, machine) - log_partition(machine))


def transition(machine: Any) -> Any:
    """T[v, v'] = sum_h p(h | v) p(v' | h) of the Bernoulli machine, (2^V, 2^V)."""
    p = joint(machine)
    hidden_given_visible = p / p.sum(axis=1, keepdims=True)
    visible_given_hidden = p / p.sum(axis=0)
    return hidden_given_visible @ visible_given_hidden.T


# --- gradients


def minus_energy_gradient(v: Any, h: Any, machine: Any) -> dict[str, Any]:
    """d(-E)/dtheta of one visible and one hidden state."""
    W, a = machine["weights"], machine["visible_bias"]
    if "sigma" not in machine:
        return {"weights": np.outer(h, v), "visible_bias": v, "hidden_bias": h}
    sigma = machine["sigma"]
    return {
        "weights": np.outer(h, v / sigma**2),
        "visible_bias": (v - a) / sigma**2,
        "hidden_bias": h,
        "log_sigma": (v - a) ** 2 / sigma**2 - 2 * v * (h @ W) / sigma**2,
    }


def combine(gradients: Any, weight: Any) -> dict[str, Any]:
    """sum_n weight_n gradient_n."""
    return {name: sum(w * g[name] for g, w in zip(gradients, weight)) for name in gradients[0]}


def minus_free_energy_gradients(X: Any, machine: Any) -> list[dict[str, Any]]:
    """d(-F)/dtheta of every row: the expectation of d(-E)/dtheta under p(h | x), every h in turn."""
    H = states(len(machine["hidden_bias"]))
    minus = -energies(X, H, machine)
    posterior = np.exp(minus - log_sum_exp(minus, axis=1)[:, None])
    return [combine([minus_energy_gradient(x, h, machine) for h in H], p) for x, p in zip(X, posterior)]


def difference(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    return {name: first[name] - second[name] for name in first}


def _against_visible_law(X: Any, law: Any, machine: Any) -> dict[str, Any]:
    """Mean of d(-F) over the rows of X, less that over the visible states under `law`."""
    data = combine(minus_free_energy_gradients(X, machine), np.full(len(X), 1 / len(X)))
    V = states(len(machine["visible_bias"]))
    return difference(data, combine(minus_free_energy_gradients(V, machine), law))


def log_likelihood_gradient(X: Any, machine: Any) -> dict[str, Any]:
    """Gradient of the mean log-likelihood of the Bernoulli machine."""
    return _against_visible_law(X, joint(machine).sum(axis=1), machine)


def contrastive_divergence_gradient(X: Any, machine: Any, k: int) -> dict[str, Any]:
    """The expected CD-k update: the model's law replaced by that of the data after k steps of the chain."""
    V = states(len(machine["visible_bias"]))
    start = np.array([np.all(v == X, axis=1).mean() for v in V])
    law = start @ np.linalg.matrix_power(transition(machine), k)
    return _against_visible_law(X, law, machine)


# --- losses that need no log Z


def pseudo_log_likelihood(X: Any, machine: Any) -> Any:
    """sum_j log p(x_j | x_-j), bit by bit; for Gaussian visible units a mixture over all h."""
    if "sigma" in machine:
        return _gaussian_pseudo_log_likelihood(X, machine)
    total = np.zeros(len(X))
    for j in range(X.shape[1]):
        flipped = X.copy()
        flipped[:, j] = 1 - flipped[:, j]
        here, there = -free_energy(X, machine), -free_energy(flipped, machine)
        total += here - np.logaddexp(here, there)
    return total


def _gaussian_pseudo_log_likelihood(X: Any, machine: Any) -> Any:
    W, a, sigma = machine["weights"], machine["visible_bias"], machine["sigma"]
    H = states(len(machine["hidden_bias"]))
    total = np.zeros(len(X))
    for j in range(X.shape[1]):
        # Given h and the others, x_j is normal about its mean: the integral is the top times its width.
        tops = np.empty((len(X), len(H)))
        for i, h in enumerate(H):
            moved = X.copy()
            moved[:, j] = (a + h @ W)[j]
            tops[:, i] = -energies(moved, h[None], machine)[:, 0]
        total += -free_energy(X, machine) - log_sum_exp(tops, axis=1) - np.log(np.sqrt(2 * np.pi) * sigma[j])
    return total


def nce_objective(
    X: Any, noise: Any, log_noise_x: Any, log_noise_noise: Any, machine: Any, log_z: float
) -> float:
    """Noise-contrastive estimation, to be minimised: the logistic loss of telling data from noise.

    -(1/n) [sum_i log sigmoid(G(x_i)) + sum_i log sigmoid(-G(y_i))] with
    G = -F - log_z - log p_noise - log nu, nu noise rows a row of data, and log_z a parameter as the others.
    """
    data = _log_ratio(X, log_noise_x, len(noise) / len(X), machine, log_z)
    other = _log_ratio(noise, log_noise_noise, len(noise) / len(X), machine, log_z)
    return float(np.logaddexp(0, -data).sum() + np.logaddexp(0, other).sum()) / len(X)


def nce_gradient(
    X: Any, noise: Any, log_noise_x: Any, log_noise_noise: Any, machine: Any, log_z: float
) -> dict[str, Any]:
    """Gradient of `nce_objective`, "log_z" included."""
    nu = len(noise) / len(X)
    data = -sigmoid(-_log_ratio(X, log_noise_x, nu, machine, log_z)) / len(X)
    other = sigmoid(_log_ratio(noise, log_noise_noise, nu, machine, log_z)) / len(X)
    rows = minus_free_energy_gradients(np.concatenate([X, noise]), machine)
    weight = np.concatenate([data, other])
    return {**combine(rows, weight), "log_z": -weight.sum()}


def _log_ratio(X: Any, log_noise: Any, nu: float, machine: Any, log_z: float) -> Any:
    return -free_energy(X, machine) - log_z - log_noise - np.log(nu)


def score_matching(X: Any, machine: Any) -> float:
    """Mean over rows of sum_j [psi_j^2 / 2 + d psi_j/dx_j] for Gaussian visible units, sum by sum."""
    W, a, sigma = machine["weights"], machine["visible_bias"], machine["sigma"]
    p = hidden_probability(X, machine)
    total = 0.0
    for n in range(len(X)):
        for j in range(len(a)):
            psi = (a[j] - X[n, j] + sum(p[n, k] * W[k, j] for k in range(len(W)))) / sigma[j] ** 2
            slope = -1 / sigma[j] ** 2
            for k in range(len(W)):
                slope += p[n, k] * (1 - p[n, k]) * W[k, j] ** 2 / sigma[j] ** 4
            total += 0.5 * psi**2 + slope
    return float(total / len(X))


# --- finite differences


def numerical_gradient(function: Any, machine: Any, step: float = 1e-5) -> dict[str, Any]:
    """Central differences of a function of the machine in every parameter, sigma in its logarithm."""
    gradient = {}
    for name, parameter in machine.items():
        slope = np.empty(parameter.shape)
        for i in np.ndindex(*parameter.shape):
            ends = []
            for sign in (1, -1):
                moved = parameter.astype(float)
                moved[i] = moved[i] * np.exp(sign * step) if name == "sigma" else moved[i] + sign * step
                ends.append(function({**machine, name: moved}))
            slope[i] = (ends[0] - ends[1]) / (2 * step)
        gradient["log_sigma" if name == "sigma" else name] = slope
    return gradient


def numerical_slope(function: Any, X: Any, step: float = 1e-5) -> Any:
    """Central differences of a function of rows, one number each, in every element of its row."""
    slope = np.empty(X.shape)
    for j in range(X.shape[1]):
        ahead, behind = X.copy(), X.copy()
        ahead[:, j] += step
        behind[:, j] -= step
        slope[:, j] = (function(ahead) - function(behind)) / (2 * step)
    return slope

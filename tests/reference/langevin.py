"""Deep densities and their chains, row after row, in float64.

A density is a dict: "weights" and "bias" (lists; a bias may be None), "activations", "top_weights",
"top_bias", "visible_bias", "inverse_variance".
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import expit, log_expit


def softplus(z: Any) -> Any:
    return -log_expit(-z)


# s, s', s''
ACTIVATIONS: dict[str, tuple[Any, Any, Any]] = {
    "identity": (lambda u: u, np.ones_like, np.zeros_like),
    "sigmoid": (
        expit,
        lambda u: expit(u) * expit(-u),
        lambda u: expit(u) * expit(-u) * (expit(-u) - expit(u)),
    ),
    "tanh": (np.tanh, lambda u: 1 / np.cosh(u) ** 2, lambda u: -2 * np.tanh(u) / np.cosh(u) ** 2),
    "softplus": (softplus, expit, lambda u: expit(u) * expit(-u)),
    "relu": (lambda u: np.maximum(u, 0), lambda u: (u > 0).astype(float), None),
}


def wide(density: dict[str, Any]) -> dict[str, Any]:
    """The same numbers in float64."""
    made = dict(density)
    for name in ("top_weights", "top_bias", "visible_bias"):
        made[name] = density[name].astype(np.float64)
    made["weights"] = [w.astype(np.float64) for w in density["weights"]]
    made["bias"] = [np.zeros(len(w)) if b is None else b.astype(np.float64)
                    for w, b in zip(density["weights"], density["bias"])]  # fmt: skip
    return made


def passed(density: dict[str, Any], x: Any) -> tuple[list[Any], list[Any], Any]:
    """Sums and outputs of the layers, x the first output, and the top's sums z."""
    sums, outputs = [], [x]
    for w, b, name in zip(density["weights"], density["bias"], density["activations"]):
        sums.append(w @ outputs[-1] + b)
        outputs.append(ACTIVATIONS[name][0](sums[-1]))
    return sums, outputs, density["top_weights"] @ outputs[-1] + density["top_bias"]


def energy(density: dict[str, Any], X: Any, t: float = 1.0) -> Any:
    density = wide(density)
    made = []
    for x in X.astype(np.float64):
        z = passed(density, x)[2]
        made.append(
            0.5 * density["inverse_variance"] * x @ x - density["visible_bias"] @ x - t * softplus(z).sum()
        )
    return np.array(made)


def score(density: dict[str, Any], X: Any, t: float = 1.0) -> Any:
    density = wide(density)
    made = []
    for x in X.astype(np.float64):
        sums, _, z = passed(density, x)
        pull = t * expit(z) @ density["top_weights"]
        for w, u, name in zip(density["weights"][::-1], sums[::-1], density["activations"][::-1]):
            pull = (pull * ACTIVATIONS[name][1](u)) @ w
        made.append(density["visible_bias"] - density["inverse_variance"] * x + pull)
    return np.array(made).reshape(X.shape)


def gradient(density: dict[str, Any], X: Any, weight: Any) -> dict[str, Any]:
    """Of sum_n weight_n E(x_n)."""
    density = wide(density)
    made: dict[str, Any] = {
        "weights": [np.zeros_like(w) for w in density["weights"]],
        "bias": [np.zeros_like(b) for b in density["bias"]],
        "top_weights": np.zeros_like(density["top_weights"]),
        "top_bias": np.zeros_like(density["top_bias"]),
        "visible_bias": np.zeros_like(density["visible_bias"]),
        "log_sigma": 0.0,
    }
    for x, c in zip(X.astype(np.float64), weight):
        sums, outputs, z = passed(density, x)
        pull = -c * expit(z)
        made["top_weights"] += np.outer(pull, outputs[-1])
        made["top_bias"] += pull
        pull = pull @ density["top_weights"]
        for i in reversed(range(len(sums))):
            pull = pull * ACTIVATIONS[density["activations"][i]][1](sums[i])
            made["weights"][i] += np.outer(pull, outputs[i])
            made["bias"][i] += pull
            pull = pull @ density["weights"][i]
        made["visible_bias"] -= c * x
        made["log_sigma"] -= c * density["inverse_variance"] * x @ x
    return made


def trajectory(
    density: dict[str, Any], x: Any, momentum: Any, epsilon: float, n_leapfrog: int, t: float = 1.0
) -> tuple[Any, Any]:
    """The ends of leapfrog trajectories: where, and with what momentum."""
    x, p = x.astype(np.float64), momentum.astype(np.float64)
    for _ in range(n_leapfrog):
        p = p + 0.5 * epsilon * score(density, x, t)
        x = x + epsilon * p
        p = p + 0.5 * epsilon * score(density, x, t)
    return x, p


def diverges(
    density: dict[str, Any], x: Any, p: Any, end: Any, q: Any, is_tested: bool, t: float = 1.0
) -> Any:
    """Whether trajectories from (x, p) to (end, q) leave the finite numbers, or soar."""
    rise = energy(density, end, t) - energy(density, x, t)
    if is_tested:
        rise = rise + 0.5 * ((q**2).sum(axis=1) - (p.astype(np.float64) ** 2).sum(axis=1))
    return ~np.isfinite((q**2).sum(axis=1)) | ~np.isfinite(rise) | (rise > 1000 + x.shape[1])

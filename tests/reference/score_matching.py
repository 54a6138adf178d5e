"""The objective of score matching by the Hessian of the energy, and its gradient by central differences."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import expit

from reference.langevin import ACTIVATIONS, passed, score, wide


def objective(density: dict[str, Any], X: Any) -> Any:
    """1/2 ||psi||^2 + trace of d psi / dx, for one hidden layer, with the matrix d psi / dx written out."""
    density = wide(density)
    V, W = density["weights"][0], density["top_weights"]
    _, slope, curvature = ACTIVATIONS[density["activations"][0]]
    made = []
    for x, psi in zip(X.astype(np.float64), score(density, X)):
        (u,), _, z = passed(density, x)
        p = expit(z)
        inner = W * slope(u) @ V  # dz / dx
        jacobian = inner.T @ np.diag(p * expit(-z)) @ inner + V.T @ np.diag(W.T @ p * curvature(u)) @ V
        jacobian -= density["inverse_variance"] * np.eye(len(x))
        made.append(0.5 * psi @ psi + np.trace(jacobian))
    return np.array(made)


def gradient(density: dict[str, Any], X: Any, step: float = 1e-5) -> dict[str, Any]:
    """Of the sum of the objective, element by element."""
    made: dict[str, Any] = {}
    for name in ("weights", "bias", "top_weights", "top_bias", "visible_bias"):
        base = wide(density)
        array = base[name][0] if name in ("weights", "bias") else base[name]
        out = np.empty_like(array)
        for i in np.ndindex(array.shape):
            kept = array[i]
            ends = []
            for sign in (1, -1):
                array[i] = kept + sign * step
                ends.append(objective(base, X).sum())
            array[i] = kept
            out[i] = (ends[0] - ends[1]) / (2 * step)
        made[name] = out
    variance = density["inverse_variance"]
    ends = [
        objective(dict(density, inverse_variance=variance * np.exp(-2 * sign * step)), X).sum()
        for sign in (1, -1)
    ]
    made["log_sigma"] = (ends[0] - ends[1]) / (2 * step)
    return made

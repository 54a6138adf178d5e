"""The energy of sparse coding, term by term."""

from __future__ import annotations

from typing import Any

import numpy as np

EXPONENT = {"l1": 1.0, "l0": 0.0, "l1/2": 0.5, "l2/3": 2.0 / 3.0}


def energy(x: Any, z: Any, dictionary: Any, alpha: Any, penalty: str, l2: float) -> float:
    """1/2 ||x - z D||^2 + sum_k alpha_k |z_k|^q + l2/2 ||z||^2 of one row; alpha of shape (n_components,)."""
    residual = [x[j] - sum(z[k] * dictionary[k, j] for k in range(len(z))) for j in range(len(x))]
    total = 0.5 * sum(r * r for r in residual)
    for k in range(len(z)):
        if z[k] != 0:
            total += alpha[k] * abs(z[k]) ** EXPONENT[penalty]
        total += 0.5 * l2 * z[k] ** 2
    return float(total)


def numerical_gradient(function: Any, z: Any, step: float = 1e-6) -> Any:
    """Central differences."""
    gradient = np.empty(len(z))
    for k in range(len(z)):
        ahead, behind = z.copy(), z.copy()
        ahead[k] += step
        behind[k] -= step
        gradient[k] = (function(ahead) - function(behind)) / (2 * step)
    return gradient

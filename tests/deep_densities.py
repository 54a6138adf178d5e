"""Random deep densities as the kernels take them, and arrays for their gradients."""

from __future__ import annotations

from typing import Any

import numpy as np

SMOOTH = ("identity", "sigmoid", "tanh", "softplus")


def random_density(
    sizes: tuple[int, ...],
    n_top: int,
    activation: str,
    dtype: Any,
    *,
    inverse_variance: float = 0.7,
    has_bias: bool = True,
    seed: int = 0,
) -> dict[str, Any]:
    """`sizes` begins with the number of features."""
    rng = np.random.default_rng(seed)

    def weights(n_out: int, n_in: int) -> Any:
        return (rng.normal(size=(n_out, n_in)) / np.sqrt(n_in)).astype(dtype)

    layers = list(zip(sizes[1:], sizes))
    return {
        "weights": [weights(*shape) for shape in layers],
        "bias": [rng.normal(size=n).astype(dtype) if has_bias else None for n, _ in layers],
        "activations": [activation] * len(layers),
        "top_weights": 2 * weights(n_top, sizes[-1]),
        "top_bias": rng.normal(size=n_top).astype(dtype),
        "visible_bias": rng.normal(size=sizes[0]).astype(dtype),
        "inverse_variance": inverse_variance,
    }


def random_rows(n: int, d: int, dtype: Any, seed: int = 1) -> Any:
    return np.random.default_rng(seed).normal(size=(n, d)).astype(dtype)


def empty_gradient(density: dict[str, Any]) -> dict[str, Any]:
    """Arrays full of NaN for the gradient."""
    made: dict[str, Any] = {
        name: np.full_like(density[name], np.nan) for name in ("top_weights", "top_bias", "visible_bias")
    }
    for name in ("weights", "bias"):
        made[name] = [None if a is None else np.full_like(a, np.nan) for a in density[name]]
    return made


def flat(gradient: dict[str, Any]) -> list[Any]:
    """The arrays, layer after layer, in one order."""
    layers = [a for name in ("weights", "bias") for a in gradient[name] if a is not None]
    return [*layers, *(gradient[name] for name in ("top_weights", "top_bias", "visible_bias"))]


def assert_near(found: Any, expected: Any, dtype: Any, factor: float = 1.0) -> None:
    """Within rounding of the largest element."""
    tolerance = factor * (4e-6 if dtype == np.float32 else 1e-13)
    size = max(float(np.abs(expected).max(initial=0)), 1e-300)
    worst = float(np.abs(np.asarray(found, np.float64) - expected).max(initial=0))
    assert worst <= tolerance * size, f"{worst / size:.2e} > {tolerance:.0e}"

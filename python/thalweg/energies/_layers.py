"""What layers of networks share: activations with their derivatives, first weights, parameters by name."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from .. import _rng, ops
from .._check import FloatArray, one_of, real_operand

FLOATS = (np.dtype(np.float32), np.dtype(np.float64))

ElementwiseFunction = Callable[[FloatArray, "int | None"], FloatArray]  # of an array and a number of threads


class Activation(NamedTuple):
    """s(u), s'(u), s''(u) and the third derivative; the last two are None where s' jumps."""

    value: ElementwiseFunction
    slope: ElementwiseFunction
    curvature: ElementwiseFunction | None
    third: ElementwiseFunction | None


def _sigmoid(u: FloatArray, n_jobs: int | None) -> FloatArray:
    made: FloatArray = ops.sigmoid(u, n_jobs=n_jobs)
    return made


def _d_sigmoid(u: FloatArray, n_jobs: int | None) -> FloatArray:
    made: FloatArray = ops.d_sigmoid(u, n_jobs=n_jobs)
    return made


def _dd_sigmoid(u: FloatArray, n_jobs: int | None) -> FloatArray:
    # 1 - 2 sigmoid(u) = -tanh(u / 2), which is small where it should be.
    made = _d_sigmoid(u, n_jobs)
    made *= np.tanh(-0.5 * u)
    return made


def _ddd_sigmoid(u: FloatArray, n_jobs: int | None) -> FloatArray:
    slope = _d_sigmoid(u, n_jobs)
    slope *= 1 - 6 * slope
    return slope


def _softplus(u: FloatArray, n_jobs: int | None) -> FloatArray:
    made: FloatArray = ops.softplus(u, n_jobs=n_jobs)
    return made


def _d_tanh(u: FloatArray, n_jobs: int | None) -> FloatArray:
    # 1 - tanh(u)^2 would cancel where tanh saturates.
    made = _d_sigmoid(2 * u, n_jobs)
    made *= 4
    return made


def _dd_tanh(u: FloatArray, n_jobs: int | None) -> FloatArray:
    made = _d_tanh(u, n_jobs)
    made *= np.tanh(u)
    made *= -2
    return made


def _ddd_tanh(u: FloatArray, n_jobs: int | None) -> FloatArray:
    slope = _d_tanh(u, n_jobs)
    slope *= 4 - 6 * slope
    return slope


def _zeros(u: FloatArray, _: int | None) -> FloatArray:
    return np.zeros_like(u)


ACTIVATIONS = {
    "identity": Activation(lambda u, _: u, lambda u, _: np.ones_like(u), _zeros, _zeros),
    "sigmoid": Activation(_sigmoid, _d_sigmoid, _dd_sigmoid, _ddd_sigmoid),
    "tanh": Activation(lambda u, _: np.tanh(u), _d_tanh, _dd_tanh, _ddd_tanh),
    "softplus": Activation(_softplus, _sigmoid, _d_sigmoid, _dd_sigmoid),
    "relu": Activation(lambda u, _: np.maximum(u, 0), lambda u, _: (u > 0).astype(u.dtype), None, None),
}


def pulled_back(gradient: FloatArray, sums: FloatArray, activation: str, n_jobs: int | None) -> FloatArray:
    """The gradient in s(u) as one in u; a new array, unless s is the identity."""
    if activation == "identity":
        return gradient
    pull = ACTIVATIONS[activation].slope(sums, n_jobs)
    pull *= gradient
    return pull


def first_weights(seed: int, layer: int, shape: tuple[int, ...], activation: str, dtype: Any) -> FloatArray:
    """Normal weights (n_out, n_in) or filters (n_out, n_in, kh, kw) of a layer, scaled for its activation.

    The variance is 2 / fan_in before a rectifier, hard or soft (He et al., 2015), and otherwise
    2 / ((fan_in + fan_out) s'(0)^2) (Glorot and Bengio, 2010).
    """
    taps = math.prod(shape[2:])
    fan_out, fan_in = shape[0] * taps, shape[1] * taps
    if activation in ("relu", "softplus"):
        deviation = math.sqrt(2 / fan_in)
    else:
        gain = 4.0 if activation == "sigmoid" else 1.0
        deviation = gain * math.sqrt(2 / (fan_in + fan_out))
    draws = _rng.normals(seed, _rng.STREAM_INITIAL_WEIGHTS, layer, math.prod(shape))
    return (deviation * draws).reshape(shape).astype(dtype)


def float_dtype(dtype: Any) -> np.dtype[Any]:
    """`dtype` as the dtype of float32 or float64."""
    try:
        made: np.dtype[Any] = np.dtype(dtype)
    except TypeError as error:
        raise ValueError(f"dtype: expected float32 or float64, got {dtype!r}") from error
    if made not in FLOATS:
        raise ValueError(f"dtype: expected float32 or float64, got {dtype!r}")
    return made


def listed(values: Any, name: str, of: str, length: int | None = None) -> list[Any]:
    """`values` as a list, one for each layer."""
    if isinstance(values, str | Mapping) or not isinstance(values, Iterable):
        raise TypeError(f"{name}: expected a sequence of {of}, one for each layer, got {values!r}")
    made = list(values)
    if length is not None and len(made) != length:
        raise ValueError(f"{name}: expected {length} {of}, one for each layer, got {len(made)}")
    return made


def activation_names(values: Any, length: int) -> tuple[str, ...]:
    names = listed(values, "activations", "names", length)
    return tuple(one_of(name, f"activations[{i}]", tuple(ACTIVATIONS)) for i, name in enumerate(names))


def bias_of(bias: Any, name: str, length: int, dtype: Any) -> FloatArray | None:
    """`bias` as a vector of this length and dtype, or None."""
    if bias is None:
        return None
    vector = real_operand(bias, name, dtype=dtype)
    if vector.shape != (length,):
        raise ValueError(f"{name}: expected shape ({length},), got {vector.shape}")
    return vector


def matched(parameters: Any, like: dict[str, FloatArray]) -> dict[str, FloatArray]:
    """`parameters`, uncopied, which have the names and shapes of `like` and one dtype."""
    if not isinstance(parameters, Mapping):
        raise TypeError(f"parameters: expected a dict of arrays by name, got {type(parameters).__name__}")
    if parameters.keys() != like.keys():
        got = ", ".join(map(str, parameters)) or "none"
        raise ValueError(f"parameters: expected the names {', '.join(like)}, got {got}")
    first = next(iter(like))
    for name, own in like.items():
        array = parameters[name]
        if not isinstance(array, np.ndarray) or array.dtype not in FLOATS:
            kind = getattr(array, "dtype", type(array).__name__)
            raise TypeError(f"parameters[{name!r}]: expected an ndarray of float32 or float64, got {kind}")
        if array.shape != own.shape:
            raise ValueError(f"parameters[{name!r}]: expected shape {own.shape}, got {array.shape}")
        if array.dtype != parameters[first].dtype:
            raise ValueError(
                f"parameters[{name!r}]: expected {parameters[first].dtype}, as {first} is, got {array.dtype}"
            )
    return {name: parameters[name] for name in like}

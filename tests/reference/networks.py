"""Networks row by row, central differences and second differences, in obvious float64 NumPy.

A dense network is a list of layers (weights, bias or None, activation); a convolutional one is a list of
layers (filters, bias or None, activation, pool size), then a dense network.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def activated(name: str, u: Any) -> Any:
    return {
        "identity": lambda: u,
        "sigmoid": lambda: np.exp(-np.logaddexp(0, -u)),
        "tanh": lambda: np.tanh(u),
        "softplus": lambda: np.logaddexp(0, u),
        "relu": lambda: np.where(u > 0, u, 0.0),
    }[name]()


def dense(x: Any, layers: Any) -> Any:
    """G of one row."""
    a = np.asarray(x, np.float64)
    for weights, bias, activation in layers:
        u = [sum(w * value for w, value in zip(row, a)) for row in np.asarray(weights, np.float64)]
        a = activated(activation, np.array(u) + (0.0 if bias is None else bias))
    return a


def correlated(image: Any, filters: Any) -> Any:
    """Every filter at every place inside the image (channels, height, width)."""
    _, height, width = image.shape
    n_filters, _, kh, kw = filters.shape
    maps = np.zeros((n_filters, height - kh + 1, width - kw + 1))
    for k, i, j in np.ndindex(maps.shape):
        maps[k, i, j] = (filters[k] * image[:, i : i + kh, j : j + kw]).sum()
    return maps


def pooled(maps: Any, size: int) -> Any:
    """The means of the windows that are full."""
    n_filters, height, width = maps.shape
    means = np.zeros((n_filters, height // size, width // size))
    for k, i, j in np.ndindex(means.shape):
        means[k, i, j] = maps[k, i * size : (i + 1) * size, j * size : (j + 1) * size].mean()
    return means


def convolutional(image: Any, layers: Any, dense_layers: Any) -> Any:
    """G of one image (channels, height, width)."""
    a = np.asarray(image, np.float64)
    for filters, bias, activation, size in layers:
        u = correlated(a, np.asarray(filters, np.float64))
        if bias is not None:
            u = u + np.asarray(bias)[:, None, None]
        a = pooled(activated(activation, u), size)
    return dense(a.ravel(), dense_layers)


def central_differences(f: Any, x: Any, step: float = 1e-5) -> Any:
    """The gradient of the scalar f at the array x, element by element."""
    x = np.array(x, np.float64)
    gradient = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        here = x[index]
        x[index] = here + step
        above = f(x)
        x[index] = here - step
        below = f(x)
        x[index] = here
        gradient[index] = (above - below) / (2 * step)
    return gradient


def laplacian(f: Any, x: Any, step: float = 1e-3) -> Any:
    """The sum of the second derivatives of f along the axes at the vector x, to fourth order in the step."""
    x = np.asarray(x, np.float64)
    total = 0.0
    for axis in np.eye(len(x)):
        near = f(x + step * axis) + f(x - step * axis)
        far = f(x + 2 * step * axis) + f(x - 2 * step * axis)
        total = total + (16 * near - far - 30 * f(x)) / (12 * step**2)
    return total

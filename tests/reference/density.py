"""Unnormalised densities row by row, losses of them by their definitions, differences: float64 NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np

from reference.networks import dense


def softplus(u: Any) -> Any:
    return np.logaddexp(0, u)


def deep_energy(x: Any, layers: Any, top: Any, bias: Any, visible_bias: Any, sigma: float) -> float:
    """||x||^2 / (2 sigma^2) - b'x - sum_k S(w_k' g(x) + c_k) of one row."""
    g = dense(x, layers) if layers else np.asarray(x, np.float64)
    units = sum(softplus(w @ g + c) for w, c in zip(np.asarray(top, np.float64), bias))
    return float(np.dot(x, x) / (2 * sigma**2) - np.dot(visible_bias, x) - units)


def gaussian_energy(x: Any, mean: Any, precision: Any) -> float:
    deviation = np.asarray(x) - mean
    return float(0.5 * deviation @ np.asarray(precision) @ deviation)


def banded(entry: Any, height: int, width: int, radius: float) -> Any:
    """The matrix whose free elements, those of pixels at most `radius` apart, are entry(i, j)."""
    pixels = [(y, x) for y in range(height) for x in range(width)]
    made = np.zeros((len(pixels),) * 2)
    for i, a in enumerate(pixels):
        for j, b in enumerate(pixels):
            if np.hypot(a[0] - b[0], a[1] - b[1]) <= radius:
                made[i, j] = entry(min(i, j), max(i, j))
    return made


def toeplitz(kernel: Any, height: int, width: int) -> Any:
    """The matrix of the correlation of images with a kernel, zeros around."""
    radius = len(kernel) // 2
    made = np.zeros((height * width,) * 2)
    for i in range(height * width):
        image = np.zeros(height * width)
        image[i] = 1
        padded = np.pad(image.reshape(height, width), radius)
        for y, x in np.ndindex(height, width):
            window = padded[y : y + 2 * radius + 1, x : x + 2 * radius + 1]
            made[y * width + x, i] = (window * kernel).sum()
    return made


def score(energy: Any, x: Any, step: float = 1e-5) -> Any:
    """-dE/dx by central differences, `energy` being a function of one row."""
    units = np.eye(len(x)) * step
    return np.array([-(energy(x + e) - energy(x - e)) / (2 * step) for e in units])


def second_difference(energy: Any, x: Any, v: Any, step: float = 1e-4) -> float:
    """-v' (d^2 E/dx^2) v by second differences: v' (d psi/dx) v."""
    ahead, behind = energy(x + step * v), energy(x - step * v)
    return float(-(ahead + behind - 2 * energy(x)) / step**2)


def divergence(energy: Any, x: Any) -> float:
    """div psi, one second difference for each coordinate."""
    return sum(second_difference(energy, x, e) for e in np.eye(len(x)))


def noise_contrastive(log_model: Any, log_noise: Any, of_noise: Any, noise_of_noise: Any, nu: int) -> float:
    """Minus the objective of NCE from log densities at the data, then at the noise, normalisers included."""
    total = 0.0
    for model, noise in zip(log_model, log_noise):
        total += softplus(-(model - noise - np.log(nu)))
    for model, noise in zip(of_noise, noise_of_noise):
        total += softplus(model - noise - np.log(nu))
    return float(total / len(log_model))


def variational(phi: Any, q: Any, noise: Any, phi_of_noise: Any, noise_of_noise: Any, nu: int) -> float:
    """Minus VNCE's bound, the z enumerated: phi and q of shape (n, n_states), densities of noise (n,)."""
    total = 0.0
    for joint, posterior, p in zip(phi, q, noise):
        total -= (posterior * np.log(joint / (joint + nu * p * posterior))).sum()
    for joint, p in zip(phi_of_noise, noise_of_noise):
        total -= np.log(nu * p / (nu * p + joint.sum()))
    return float(total / len(phi))


def gradient_by_differences(value: Any, parameters: Any, step: float = 1e-5) -> Any:
    """Central differences of a function of parameters by name, in each element of each."""
    made = {}
    for name, array in parameters.items():
        made[name] = np.zeros(array.shape)
        for place in np.ndindex(array.shape):
            values = []
            for sign in (1, -1):
                moved = array.astype(np.float64)
                moved[place] += sign * step
                values.append(value({**parameters, name: moved}))
            made[name][place] = (values[0] - values[1]) / (2 * step)
    return made

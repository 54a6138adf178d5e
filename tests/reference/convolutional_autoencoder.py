"""Predictive sparse decomposition in obvious float64 NumPy: energy, prediction, best code, derivatives."""

import numpy as np

from reference.conv import convolve, correlate, filter_gradient


def maps(values):
    return np.asarray(values)[:, None, None]


def response(X, W, b, boundary):
    return correlate(X, W, boundary) + maps(b)


def activity(u, theta):
    return np.tanh(u) if theta is None else np.sign(u) * np.maximum(np.abs(u) - maps(theta), 0)


def predict(X, W, b, g, theta, boundary):
    return maps(g) * activity(response(X, W, b, boundary), theta)


def energy(X, Z, K, W, b, g, theta, *, alpha, beta, boundary):
    """E of every image."""
    error = X - convolve(Z, K, X.shape[2:], boundary)
    distance = Z - predict(X, W, b, g, theta, boundary)
    return (
        0.5 * (error**2).sum(axis=(1, 2, 3))
        + alpha * np.abs(Z).sum(axis=(1, 2, 3))
        + 0.5 * beta * (distance**2).sum(axis=(1, 2, 3))
    )


def code_gradient(X, Z, K, W, b, g, theta, *, beta, boundary):
    """Of the smooth part."""
    error = convolve(Z, K, X.shape[2:], boundary) - X
    return correlate(error, K, boundary) + beta * (Z - predict(X, W, b, g, theta, boundary))


def parameter_gradients(X, Z, K, W, b, g, theta, *, beta, boundary):
    """In K, W, b, g and the thresholds, which are None for tanh."""
    u = response(X, W, b, boundary)
    s = activity(u, theta)
    slope = 1 - s**2 if theta is None else (np.abs(u) > maps(theta)).astype(float)
    pull = beta * (maps(g) * s - Z)
    down = pull * maps(g) * slope
    size = K.shape[2:]
    axes = (0, 2, 3)
    return (
        filter_gradient(Z, convolve(Z, K, X.shape[2:], boundary) - X, size, boundary),
        filter_gradient(down, X, size, boundary),
        down.sum(axis=axes),
        (pull * s).sum(axis=axes),
        None if theta is None else -(down * np.sign(u)).sum(axis=axes),
    )


def best_codes(X, K, W, b, g, theta, *, alpha, beta, boundary, n_iter=3000):
    """By plain proximal steps with the convolution as a matrix."""
    prediction = predict(X, W, b, g, theta, boundary)
    n_codes = prediction[0].size
    basis = np.eye(n_codes).reshape(n_codes, *prediction.shape[1:])
    D = convolve(basis, K, X.shape[2:], boundary).reshape(n_codes, -1)
    lipschitz = np.linalg.norm(D, 2) ** 2 + beta
    Y, P = X.reshape(len(X), -1), prediction.reshape(len(X), -1)
    Z = P
    for _ in range(n_iter):
        step = Z - ((Z @ D - Y) @ D.T + beta * (Z - P)) / lipschitz
        Z = np.sign(step) * np.maximum(np.abs(step) - alpha / lipschitz, 0)
    return Z.reshape(prediction.shape)

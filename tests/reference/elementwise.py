"""Elementwise functions as their formulas say, and proximal maps by search, in obvious float64 NumPy."""

import numpy as np


def softplus(u):
    return np.maximum(u, 0) + np.log1p(np.exp(-np.abs(u)))


def sigmoid(u):
    e = np.exp(-np.abs(u))
    return np.where(u > 0, 1, e) / (1 + e)


def log_sigmoid(u):
    return -softplus(-u)


def d_softplus(u):
    return sigmoid(u)


def d_sigmoid(u):
    return sigmoid(u) * sigmoid(-u)


def d_log_sigmoid(u):
    return sigmoid(-u)


def shrink(z, alpha):
    return np.copysign(np.maximum(np.abs(z) - alpha, 0), z)


def shrink_nonneg(z, alpha):
    return np.maximum(z - alpha, 0)


def hard_shrink(z, alpha):
    return np.where(np.abs(z) > np.sqrt(2 * alpha), z, np.copysign(0, z))


def objective(x, z, alpha, q):
    """1/2 (x - z)^2 + alpha |x|^q, with |x|^0 the indicator of x != 0."""
    penalty = np.where(x == 0, 0, 1) if q == 0 else np.abs(x) ** q
    return 0.5 * (x - z) ** 2 + alpha * penalty


def prox_lq(z, alpha, q):
    """The better of zero and the stationary point, found by bisection."""
    size, alpha = np.broadcast_arrays(np.abs(np.asarray(z, float)), np.asarray(alpha, float))
    # The slope x - size + alpha q x^(q-1) is convex in x, least at `low`, and >= 0 at |z|.
    low = (alpha * q * (1 - q)) ** (1 / (2 - q))
    high = np.maximum(size, low)
    for _ in range(200):
        middle = 0.5 * (low + high)
        with np.errstate(divide="ignore", invalid="ignore"):
            rises = middle - size + alpha * q * middle ** (q - 1) > 0
        low, high = np.where(rises, low, middle), np.where(rises, middle, high)
    stationary = np.where(objective(high, size, alpha, q) < objective(0, size, alpha, q), high, 0)
    return np.copysign(stationary, z)

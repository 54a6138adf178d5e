"""Orthogonal matching pursuit of one sample at a time, by least squares."""

import numpy as np


def encode_row(x, D, n_nonzero=None, tol=None):
    """The code and its squared residual; stops early where no atom explains anything more."""
    support, z = [], np.zeros(len(D))
    residual = np.array(x, np.float64)
    most = min(D.shape) if tol is not None else min(n_nonzero, *D.shape)
    while len(support) < most and not (tol is not None and residual @ residual <= tol):
        correlation = np.abs(D @ residual)
        correlation[support] = 0.0
        j = int(np.argmax(correlation))
        if correlation[j] <= 1e-13 * np.linalg.norm(x):
            break
        support.append(j)
        coefficients = np.linalg.lstsq(D[support].T, x, rcond=None)[0]
        residual = x - coefficients @ D[support]
    if support:
        z[support] = coefficients
    return z, residual @ residual


def encode(X, D, **stop):
    rows = [encode_row(x, np.asarray(D, np.float64), **stop) for x in np.asarray(X, np.float64)]
    return np.array([z for z, _ in rows]), np.array([r for _, r in rows])

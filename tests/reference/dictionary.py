"""The dictionary's step, atom by atom, in obvious float64 NumPy."""

import numpy as np


def statistics(Z, X, A, B, decay=1.0):
    Z, X = np.asarray(Z, np.float64), np.asarray(X, np.float64)
    return decay * A + Z.T @ Z, decay * B + Z.T @ X


def objective(D, A, B):
    """1/2 tr(D^T A D) - tr(D^T B): the squared error, up to what does not depend on D."""
    return 0.5 * np.sum(D * (A @ D)) - np.sum(D * B)


def step(D, A, B, positive=False, unit_norm=False, n_sweeps=1):
    """The atoms after n_sweeps, and which of them are dead."""
    D = np.array(D, np.float64)
    dead = np.diag(A) <= 1e-10 * np.diag(A).max()
    for _ in range(n_sweeps):
        for j in np.flatnonzero(~dead):
            u = D[j] + (B[j] - A[j] @ D) / A[j, j]
            if positive:
                u = np.maximum(u, 0.0)
            norm = np.linalg.norm(u)
            if norm == 0.0:
                dead[j] = True
                continue
            D[j] = u / norm if unit_norm or norm > 1.0 else u
    return D, dead

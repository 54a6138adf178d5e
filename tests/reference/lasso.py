"""Sparse codes over one dictionary in obvious float64 NumPy.

For every row x of X,

    E(z) = 1/2 ||x - z D||^2 + sum_j alpha_j |z_j|^q + l2/2 ||z||^2

over z in R^K, or over z >= 0. q = 0 counts the non-zeros. alpha broadcasts to (n_samples, n_components).
"""

from __future__ import annotations

import numpy as np

EXPONENTS = {"l1": 1.0, "l2/3": 2.0 / 3.0, "l1/2": 0.5, "l0": 0.0}


def weights(alpha, X, D):
    """alpha as the whole (n_samples, n_components) array."""
    return np.broadcast_to(np.asarray(alpha, np.float64), (len(X), len(D)))


def power(z, q):
    """|z|^q, with 0^0 = 0."""
    size = np.abs(z)
    return (size > 0).astype(np.float64) if q == 0 else size**q


def residual(X, D, Z):
    return np.asarray(X, np.float64) - np.asarray(Z, np.float64) @ np.asarray(D, np.float64)


def correlations(X, D, Z, l2=0.0):
    """Minus the gradient of E's smooth part: D (x - z D) - l2 z."""
    return residual(X, D, Z) @ np.asarray(D, np.float64).T - l2 * np.asarray(Z, np.float64)


def energy(X, D, Z, alpha, q=1.0, l2=0.0):
    """E of every row, shape (n_samples,)."""
    Z = np.asarray(Z, np.float64)
    smooth = 0.5 * (residual(X, D, Z) ** 2).sum(axis=1) + 0.5 * l2 * (Z**2).sum(axis=1)
    return smooth + (weights(alpha, X, D) * power(Z, q)).sum(axis=1)


def lipschitz(D, l2=0.0):
    """The largest eigenvalue of D D^T + l2 I."""
    return np.linalg.svd(np.asarray(D, np.float64), compute_uv=False)[0] ** 2 + l2


# --- proximal maps


def prox_energy(u, v, threshold, q):
    return 0.5 * (u - v) ** 2 + threshold * power(u, q)


def prox(v, threshold, q, positive=False):
    """argmin_u 1/2 (u - v)^2 + threshold |u|^q, 0 where it ties with 0."""
    v, threshold = np.broadcast_arrays(np.asarray(v, np.float64), np.asarray(threshold, np.float64))
    size = np.maximum(v, 0.0) if positive else np.abs(v)
    if q == 1:
        u = np.maximum(size - threshold, 0.0)
    elif q == 0:
        u = np.where(size > np.sqrt(2.0 * threshold), size, 0.0)
    else:
        u = largest_stationary_point(size, threshold, q)
        better = prox_energy(u, size, threshold, q) < prox_energy(0.0, size, threshold, q)
        u = np.where(better, u, 0.0)
    return u if positive else np.copysign(u, v)


def largest_stationary_point(size, threshold, q):
    """The largest u > 0 with u - size + q threshold u^(q-1) = 0, or some u where there is none.

    That function is convex and, at u = size, not negative: from there Newton's steps go down to the largest
    root and never past it.
    """
    u = size.copy()
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        for _ in range(30):
            slope = 1.0 + q * (q - 1.0) * threshold * u ** (q - 2.0)
            step = (u - size + q * threshold * u ** (q - 1.0)) / slope
            # Nothing at 0, and no way on where the slope says that the root was missed.
            u = np.where((u > 0) & (slope > 0) & (step < u), u - step, u)
    return u


def prox_by_search(v, threshold, q, positive=False, n_points=20001):
    """The same for one number, by looking: u is 0 or lies between 0 and v, on an ever finer grid."""
    if positive and v <= 0:
        return 0.0
    low, high = min(v, 0.0), max(v, 0.0)
    for _ in range(4):
        grid = np.linspace(low, high, n_points)
        best = grid[np.argmin(prox_energy(grid, v, threshold, q))]
        width = (high - low) / (n_points - 1)
        low, high = max(best - width, min(v, 0.0)), min(best + width, max(v, 0.0))
    return best if prox_energy(best, v, threshold, q) < prox_energy(0.0, v, threshold, q) else 0.0


# --- certificates


def duality_gap(X, D, Z, alpha, positive=False, l2=0.0):
    """Relative duality gap of the l1 problem, alpha > 0: (P - Q) / (1/2 ||x||^2); 0 for zero rows and codes.

    The dual point is s r, the residual r of the problem with D extended by sqrt(l2) I, times the s >= 0 that
    is best among the feasible ones.
    """
    X, Z = np.asarray(X, np.float64), np.asarray(Z, np.float64)
    r = residual(X, D, Z)
    squared = (r**2).sum(axis=1) + l2 * (Z**2).sum(axis=1)
    xr = (X * r).sum(axis=1)
    c = correlations(X, D, Z, l2)
    ratio = ((c if positive else np.abs(c)) / weights(alpha, X, D)).max(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        feasible = np.where(ratio > 0, 1.0 / ratio, np.inf)
        best = np.where(squared > 0, xr / squared, 0.0)
        s = np.clip(best, 0.0, feasible)
        gap = energy(X, D, Z, alpha, 1.0, l2) - (s * xr - 0.5 * s**2 * squared)
        relative = gap / (0.5 * (X**2).sum(axis=1))
    return np.where(~X.any(axis=1) & ~Z.any(axis=1), 0.0, relative)


def kkt_violation(X, D, Z, alpha, positive=False, l2=0.0):
    """(n_samples, n_components) distance of the correlation to alpha times the subdifferential of |z|."""
    Z = np.asarray(Z, np.float64)
    alpha = weights(alpha, X, D)
    c = correlations(X, D, Z, l2)
    at_zero = np.maximum((c if positive else np.abs(c)) - alpha, 0.0)
    return np.where(Z != 0, np.abs(c - alpha * np.sign(Z)), at_zero)


def optimality_residual(X, D, Z, alpha, positive=False, l2=0.0):
    """Largest KKT violation over max_j |<x, d_j>|."""
    worst = kkt_violation(X, D, Z, alpha, positive, l2).max(axis=1)
    unit = np.abs(np.asarray(X, np.float64) @ np.asarray(D, np.float64).T).max(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(worst == 0, 0.0, worst / unit)


def fixed_point_residual(X, D, Z, alpha, q, L, positive=False, l2=0.0):
    """Largest change that a proximal step makes, over the largest coefficient before or after it."""
    Z = np.asarray(Z, np.float64)
    stepped = prox(Z + correlations(X, D, Z, l2) / L, weights(alpha, X, D) / L, q, positive)
    change = np.abs(stepped - Z).max(axis=1)
    size = np.maximum(np.abs(Z), np.abs(stepped)).max(axis=1)
    return np.where(change == 0, 0.0, change / np.where(size > 0, size, 1.0))


def certificate(X, D, Z, alpha, q, L, positive=False, l2=0.0):
    """The certificate that fits the problem: of q and alpha."""
    if q < 1:
        return fixed_point_residual(X, D, Z, alpha, q, L, positive, l2)
    if np.all(np.asarray(alpha) > 0):
        return duality_gap(X, D, Z, alpha, positive, l2)
    return optimality_residual(X, D, Z, alpha, positive, l2)


# --- methods


def start_of(X, D, init):
    return np.zeros((len(X), len(D))) if init is None else np.array(init, np.float64)


def ista(X, D, alpha, n_iter, *, L, q=1.0, positive=False, l2=0.0, init=None):
    """z <- prox(z + c / L, alpha / L), n_iter times."""
    Z = start_of(X, D, init)
    threshold = weights(alpha, X, D) / L
    for _ in range(n_iter):
        Z = prox(Z + correlations(X, D, Z, l2) / L, threshold, q, positive)
    return Z


def fista(X, D, alpha, n_iter, *, L, q=1.0, positive=False, l2=0.0, init=None, restart=False):
    """Beck and Teboulle's momentum; with O'Donoghue and Candes' gradient test for a restart of each row.

    The test asks whether the step turned against the momentum, <y - z+, z+ - z> > 0. Then t is 1 at this
    step, as it is at the first.
    """
    Z = start_of(X, D, init)
    Y = Z.copy()
    t = np.ones((len(X), 1))
    threshold = weights(alpha, X, D) / L
    for _ in range(n_iter):
        Z_next = prox(Y + correlations(X, D, Y, l2) / L, threshold, q, positive)
        if restart:
            turned = ((Y - Z_next) * (Z_next - Z)).sum(axis=1, keepdims=True) > 0
            t = np.where(turned, 1.0, t)
        t_next = 0.5 * (1.0 + np.sqrt(1.0 + 4.0 * t**2))
        Y = Z_next + (t - 1.0) / t_next * (Z_next - Z)
        Z, t = Z_next, t_next
    return Z


def coordinate_descent(X, D, alpha, n_iter, *, q=1.0, positive=False, l2=0.0, init=None):
    """Exact minimisation over one coefficient after the other, n_iter sweeps; zero atoms get 0."""
    D = np.asarray(D, np.float64)
    Z = start_of(X, D, init)
    alpha = weights(alpha, X, D)
    for _ in range(n_iter):
        for j, atom in enumerate(D):
            curvature = atom @ atom + l2
            if curvature == 0:
                Z[:, j] = 0.0
                continue
            c = correlations(X, D, Z, l2)[:, j]
            Z[:, j] = prox(Z[:, j] + c / curvature, alpha[:, j] / curvature, q, positive)
    return Z


def solve(X, D, alpha, *, positive=False, l2=0.0, tol=1e-13, max_sweeps=20000):
    """The optimum of the l1 problem, for alpha > 0: coordinate descent until every gap is at most tol."""
    Z = None
    for _ in range(max_sweeps // 50):
        Z = coordinate_descent(X, D, alpha, 50, positive=positive, l2=l2, init=Z)
        if duality_gap(X, D, Z, alpha, positive, l2).max(initial=0.0) <= tol:
            return Z
    raise RuntimeError(f"no gap of {tol} within {max_sweeps} sweeps")

"""thalweg's competitors for an outside harness: `competitors(case)` gives {name: callable}.

c1  f(X, D, lam, tol) -> Z                lasso codes; D (n_features, n_components), tol a relative gap
c2  f(X, K, lam, seconds, seed) -> D      a dictionary learnt for about that long
c5  f(op, x, out, lam) -> None            softshrink, softplus, sigmoid, logsigmoid into `out`
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from thalweg import MiniBatchDictionaryLearning, ops
from thalweg.inference.lasso import LassoSolver

THREADS = 2
BATCH = 512


def encode(X: np.ndarray, D: np.ndarray, lam: float, tol: float) -> np.ndarray:
    return LassoSolver(D.T, tol=tol, max_iter=20_000, n_jobs=THREADS).encode(X, lam)[0]


def learn(X: np.ndarray, K: int, lam: float, seconds: float, seed: int) -> np.ndarray:
    start = X[np.random.default_rng(3).choice(len(X), K, replace=False)]
    start = start / np.linalg.norm(start, axis=1, keepdims=True)
    samples = X.astype(np.float32)
    learner = MiniBatchDictionaryLearning(
        K,
        alpha=lam,
        batch_size=BATCH,
        dict_init=start.astype(np.float32),
        random_state=seed,
        n_jobs=THREADS,
    )
    order = np.random.default_rng(seed).permutation(len(X))
    begin, first = time.perf_counter(), 0
    while time.perf_counter() - begin < seconds:
        learner.partial_fit(samples[order[first : first + BATCH]])
        first = first + BATCH if first + 2 * BATCH <= len(X) else 0
    return learner.components_.T


def elementwise(op: str, x: np.ndarray, out: np.ndarray, lam: float) -> None:
    if op == "softshrink":
        ops.shrink(x, lam, out=out)
    else:
        {"softplus": ops.softplus, "sigmoid": ops.sigmoid, "logsigmoid": ops.log_sigmoid}[op](x, out=out)


def competitors(case: str) -> dict[str, Callable[..., Any]]:
    return {"c1": {"thalweg": encode}, "c2": {"thalweg": learn}, "c5": {"thalweg": elementwise}}.get(case, {})

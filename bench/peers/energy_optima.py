"""Linear energies beside scikit-learn's: the objective reached, and the seconds it took.

The log-likelihood loss against LogisticRegression (digits, breast cancer), the hinge loss with an l2 penalty
against LinearSVC (breast cancer: loss="hinge" with E = -1/2 y w'x and margin 1; digits:
multi_class="crammer_singer"). The intercept is a feature of ones for the machines, which liblinear penalises,
and is not penalised for the regressions. Everyone's objective is computed here in float64 from the
coefficients; the best known is that of a long run of scikit-learn's. scikit-learn runs with its default
tolerance, and with one of 1e-8. Two threads, the median of --reps interleaved runs.

    python bench/peers/energy_optima.py --out bench/results/energy_optima
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

import common
from thalweg import EnergyClassifier

C = 1.0
BAR = 1e-4  # relative excess of the objective

Coefficients = tuple[np.ndarray, np.ndarray]  # one row a class (one row for two classes), intercepts
Objective = Callable[[Coefficients, np.ndarray, np.ndarray], float]


def logistic(coefficients: Coefficients, X: np.ndarray, y: np.ndarray) -> float:
    W, b = coefficients
    if len(W) == 1:
        losses = np.logaddexp(0, -(2 * y - 1) * (X @ W[0] + b[0]))
    else:
        scores = X @ W.T + b
        losses = np.logaddexp.reduce(scores, axis=1) - scores[np.arange(len(y)), y]
    return float(C * losses.sum() + 0.5 * (W**2).sum())


def hinge(coefficients: Coefficients, X: np.ndarray, y: np.ndarray) -> float:
    W, b = coefficients
    if len(W) == 1:
        losses = np.maximum(0, 1 - (2 * y - 1) * (X @ W[0] + b[0]))
    else:
        scores = X @ W.T + b
        right = scores[np.arange(len(y)), y].copy()
        scores[np.arange(len(y)), y] = -np.inf
        losses = np.maximum(0, 1 + scores.max(axis=1) - right)
    return float(C * losses.sum() + 0.5 * (W**2).sum())


def ours(energy: str, loss: str, has_ones: bool, X: np.ndarray, y: np.ndarray) -> Coefficients:
    model = EnergyClassifier(
        energy, loss=loss, fit_intercept=not has_ones, l2=1 / (C * len(X)), max_iter=10_000, random_state=0
    ).fit(X, y)
    W = model.energy_.parameters["weights_0"]
    b = model.energy_.parameters.get("bias_0", np.zeros(len(W)))
    return (W, b) if energy == "perceptron" else (-W, -b)  # scores are minus energies


def regression(tol: float, X: np.ndarray, y: np.ndarray) -> Coefficients:
    model = LogisticRegression(C=C, tol=tol, max_iter=100_000).fit(X, y)
    return model.coef_, model.intercept_


def machine(arguments: dict[str, Any], tol: float, X: np.ndarray, y: np.ndarray) -> Coefficients:
    model = LinearSVC(
        C=C, fit_intercept=False, tol=tol, max_iter=10_000_000, random_state=0, **arguments
    ).fit(X, y)
    return model.coef_, np.zeros(len(model.coef_))


def cases() -> dict[str, tuple[np.ndarray, np.ndarray, Objective, Any, Any]]:
    """By name: X, y, the objective, thalweg's and scikit-learn's way there."""
    X, y = load_digits(return_X_y=True)
    digits = X / 16, y
    X, y = load_breast_cancer(return_X_y=True)
    cancer = StandardScaler().fit_transform(X), y
    with_ones = {
        name: np.hstack([X, np.ones((len(X), 1))]) for name, X in (("d", digits[0]), ("c", cancer[0]))
    }
    crammer_singer = {"multi_class": "crammer_singer"}
    return {
        "logistic, digits": (*digits, logistic, partial(ours, "linear", "nll", False), regression),
        "logistic, breast cancer": (*cancer, logistic, partial(ours, "perceptron", "nll", False), regression),
        "hinge, breast cancer": (
            *(with_ones["c"], cancer[1], hinge, partial(ours, "perceptron", "hinge", True)),
            partial(machine, {"loss": "hinge"}),
        ),
        "Crammer-Singer, digits": (
            *(with_ones["d"], digits[1], hinge, partial(ours, "linear", "hinge", True)),
            partial(machine, crammer_singer),
        ),
    }


def run_case(name: str, case: Any, args: Any) -> list[dict[str, Any]]:
    X, y, objective, own, peer = case
    best = objective(peer(1e-10, X, y), X, y)
    calls = {
        "thalweg": partial(own, X, y),
        "scikit-learn": partial(peer, 1e-4, X, y),
        "scikit-learn, tol=1e-8": partial(peer, 1e-8, X, y),
    }
    times, results = common.interleaved(calls, args.reps)
    reached = {who: objective(found, X, y) for who, found in results.items()}
    best = min(best, *reached.values())
    rows = []
    for who in calls:
        seconds = common.median(times[who])
        rows.append({"case": name, "name": who, "seconds": seconds, "excess": reached[who] / best - 1})
        print(f"{name:24s} {who:24s} {seconds:8.3f} s  excess {rows[-1]['excess']:.1e}", flush=True)
    return rows


def main() -> None:
    args = common.parser(__doc__).parse_args()
    rows: list[dict[str, Any]] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", FutureWarning)
        for name, case in cases().items():
            if common.chosen(name, args.only):
                rows += run_case(name, case, args)
    lines = [
        [
            r["case"],
            r["name"],
            f"{r['excess']:.1e}",
            f"{BAR:.0e}" if r["name"] == "thalweg" else "",
            f"{r['seconds']:.3f}",
        ]
        for r in rows
    ]
    table = common.markdown_table(["problem", "by", "relative excess", "bar", "seconds"], lines)
    common.report(args.out, "Optima of linear energies", table, rows)


if __name__ == "__main__":
    main()

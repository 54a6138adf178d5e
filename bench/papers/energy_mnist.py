"""MNIST under each loss of the tutorial; digits anywhere in a frame with a latent location; pairs matched.

Test errors of a linear classifier and of a two-layer one (100 tanh units) on the 60,000 digits, for each loss
with the same settings (Adam, linear schedule), which were chosen once on 10,000 training digits held out;
losses that an architecture would collapse under are refused. Digits shifted at random in a 40x40 frame:
E(x, k, z) = G_k(window at z) against the same network on the whole frame. A matcher of pairs of digits of one
class: which of ten candidates, one of each class, belongs to the digit.

    python bench/papers/energy_mnist.py --out bench/results/energy_mnist
    python bench/papers/energy_mnist.py --rows 2000 --epochs 2
"""

from __future__ import annotations

import time
import warnings
from typing import Any

import numpy as np

import common
from thalweg import EnergyClassifier, EnergyMatcher
from thalweg.energies import DenseNetwork, LocationEnergy

LOSSES = (
    *("energy", "perceptron", "hinge", "log", "lvq2", "mce"),
    *("square_square", "square_exponential", "nll", "mee"),
)
HIDDEN = 100
FRAME, DIGIT, STRIDE = 40, 28, 3
SETTINGS: dict[str, Any] = {
    "optimizer": "adam",
    "learning_rate": 2e-3,
    "schedule": "linear",
    "batch_size": 100,
    "l2": 1e-5,
    "tol": 0.0,
    "random_state": 0,
}


def data(rows: int | None) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    X, y, X_test, y_test = common.mnist_with_labels()
    return X[:rows], y[:rows], X_test, y_test


def error(model: Any, X: np.ndarray, y: np.ndarray) -> float:
    return float((model.predict(X) != y).mean())


def classify(architecture: str, loss: str, args: Any) -> dict[str, Any]:
    """Test error of one architecture under one loss, or why it is refused."""
    X, y, X_test, y_test = data(args.rows)
    model = EnergyClassifier(
        architecture, hidden_layer_sizes=(HIDDEN,), loss=loss, max_iter=args.epochs, **SETTINGS
    )
    row: dict[str, Any] = {"part": "classes", "architecture": architecture, "loss": loss}
    start = time.perf_counter()
    try:
        model.fit(X, y)
    except ValueError as refusal:
        if not str(refusal).startswith("loss: "):
            raise
        return {**row, "refused": str(refusal)}
    seconds = time.perf_counter() - start
    return {**row, "test": error(model, X_test, y_test), "train": error(model, X, y), "seconds": seconds}


def framed(X: np.ndarray, seed: int) -> np.ndarray:
    """Digits at random places of a larger frame, as rows."""
    rng = np.random.default_rng(seed)
    frames = np.zeros((len(X), FRAME, FRAME), X.dtype)
    places = rng.integers(FRAME - DIGIT + 1, size=(len(X), 2))
    for frame, digit, (i, j) in zip(frames, X.reshape(-1, DIGIT, DIGIT), places, strict=True):
        frame[i : i + DIGIT, j : j + DIGIT] = digit
    return frames.reshape(len(X), -1)


def location(n_features: int, n_classes: int, dtype: Any, seed: int) -> LocationEnergy:
    network = DenseNetwork.random(DIGIT**2, (HIDDEN,), n_classes, "tanh", seed, dtype)
    return LocationEnergy(network, image=(FRAME, FRAME), window=(DIGIT, DIGIT), stride=STRIDE)


def locate(name: str, energy: Any, args: Any) -> dict[str, Any]:
    X, y, X_test, y_test = data(args.rows)
    model = EnergyClassifier(
        energy, hidden_layer_sizes=(HIDDEN,), latent_beta=args.latent_beta, max_iter=args.epochs, **SETTINGS
    )
    start = time.perf_counter()
    model.fit(framed(X, 0), y)
    seconds = time.perf_counter() - start
    found = error(model, framed(X_test, 1), y_test)
    return {"part": "frames", "architecture": name, "test": found, "seconds": seconds}


def match(args: Any) -> dict[str, Any]:
    """Pairs of digits of one class; then one candidate of each class for every test digit."""
    X, y, X_test, y_test = data(args.rows)
    rng = np.random.default_rng(0)
    partners = np.empty_like(X)
    for digit in range(10):
        own = np.flatnonzero(y == digit)
        partners[own] = X[rng.permutation(own)]
    settings = SETTINGS | {"learning_rate": 1e-3}
    matcher = EnergyMatcher(16, hidden_layer_sizes=(200,), max_iter=args.epochs, **settings)
    start = time.perf_counter()
    matcher.fit(X, partners, y)
    seconds = time.perf_counter() - start
    candidates = np.stack([X_test[rng.choice(np.flatnonzero(y_test == digit))] for digit in range(10)])
    found = float((matcher.predict(X_test, candidates) != y_test).mean())
    return {"part": "pairs", "architecture": "matcher", "test": found, "seconds": seconds}


def table(rows: list[dict[str, Any]]) -> list[list[str]]:
    lines = [["task", "architecture", "loss", "test error (%)", "training error (%)", "seconds"]]
    for r in rows:
        cells = [r["part"], r["architecture"], r.get("loss", "nll")]
        if "refused" in r:
            lines.append([*cells, "refused", "", ""])
            continue
        train = f"{100 * r['train']:.2f}" if "train" in r else ""
        lines.append([*cells, f"{100 * r['test']:.2f}", train, f"{r['seconds']:.0f}"])
    return lines


def main(argv: Any = None) -> dict[str, Any]:
    parser = common.parser(__doc__, 20)
    parser.add_argument("--latent-beta", type=float, default=1.0, help="of the sum over locations")
    args = parser.parse_args(argv)
    rows = []
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "loss. .* has a margin of zero", UserWarning)
        for architecture in ("linear", "dense"):
            for loss in LOSSES:
                rows.append(classify(architecture, loss, args))
                print(rows[-1], flush=True)
    for name, energy in (("location", location), ("whole frame", "dense")):
        rows.append(locate(name, energy, args))
        print(rows[-1], flush=True)
    rows.append(match(args))
    print(rows[-1], flush=True)
    result = {"rows": rows}
    notes = (
        f"{args.epochs} passes over {args.rows or 60_000} digits; {HIDDEN} hidden units; locations every "
        f"{STRIDE} pixels of a {FRAME}x{FRAME} frame, summed at beta {args.latent_beta:g}; {SETTINGS}."
    )
    common.report(args.out, "MNIST under the losses of the tutorial", notes, table(rows), result)
    return result


if __name__ == "__main__":
    main()

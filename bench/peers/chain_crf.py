"""Words of MNIST digits with a known bigram language: a chain CRF beside what a user would pick instead.

A word is a sequence of 5 to 12 digits; each digit follows the one before by a sparse, random bigram table,
and is a real image of that digit, training words of training images and test words of test images. Compared:
the same linear energies without transitions (each digit alone), thalweg's chain CRF, sklearn-crfsuite (where
it is installed) on pixels as features, and a chain with the true bigram energies. Share of wrong digits in
the test words, and seconds of training.

    python bench/peers/chain_crf.py --out bench/results/chain_crf
"""

from __future__ import annotations

import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

import common
from thalweg import ChainCRF, EnergyClassifier
from thalweg.datasets import load_mnist
from thalweg.inference.chains import chain_best

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "mnist"
SIDE = 14  # images are shrunk to half their width, which keeps crfsuite's features few
L2 = 1e-4

Words = tuple[list[np.ndarray], list[np.ndarray]]


def bigrams(rng: np.random.Generator) -> np.ndarray:
    """P(next | digit): three likely digits after each, the others rare."""
    table = np.full((10, 10), 0.01)
    for row in table:
        row[rng.choice(10, 3, replace=False)] += 0.3
    return table / table.sum(axis=1, keepdims=True)


def words(n: int, images: np.ndarray, labels: np.ndarray, table: np.ndarray, rng: Any) -> Words:
    places = [np.flatnonzero(labels == digit) for digit in range(10)]
    X, y = [], []
    for _ in range(n):
        word = [int(rng.integers(10))]
        for _ in range(int(rng.integers(4, 12))):
            word.append(int(rng.choice(10, p=table[word[-1]])))
        y.append(np.array(word))
        X.append(np.stack([images[rng.choice(places[digit])] for digit in word]))
    return X, y


def shrunk(X: np.ndarray) -> np.ndarray:
    return X.reshape(-1, SIDE, 2, SIDE, 2).mean(axis=(2, 4)).reshape(len(X), -1)


def error(predicted: list[np.ndarray], truth: list[np.ndarray]) -> float:
    return float((np.concatenate(predicted) != np.concatenate(truth)).mean())


def alone(train: Words, test: Words, _: np.ndarray) -> tuple[float, float]:
    start = time.perf_counter()
    model = EnergyClassifier(l2=L2, tol=1e-4).fit(np.concatenate(train[0]), np.concatenate(train[1]))
    seconds = time.perf_counter() - start
    return seconds, error([model.predict(x) for x in test[0]], test[1])


def chain(train: Words, test: Words, _: np.ndarray) -> tuple[float, float]:
    start = time.perf_counter()
    model = ChainCRF(l2=L2, tol=1e-4, n_jobs=common.THREADS).fit(*train)
    seconds = time.perf_counter() - start
    return seconds, error(model.predict(test[0]), test[1])


def with_true_bigrams(train: Words, test: Words, table: np.ndarray) -> tuple[float, float]:
    """Digits learnt alone, transitions given: -log of the true bigram table, less the digits' own share."""
    start = time.perf_counter()
    labels = np.concatenate(train[1])
    model = EnergyClassifier(l2=L2, tol=1e-4).fit(np.concatenate(train[0]), labels)
    seconds = time.perf_counter() - start
    prior = -np.log(np.bincount(labels, minlength=10) / len(labels))
    unary = model.energies(np.concatenate(test[0])) - prior  # of the image given the digit
    starts = np.concatenate([[0], np.cumsum([len(x) for x in test[0]])])
    states, _ = chain_best(unary, (-np.log(table)).astype(unary.dtype), starts)
    return seconds, error(np.split(states, starts[1:-1]), test[1])


def crfsuite(train: Words, test: Words, _: np.ndarray) -> tuple[float, float]:
    import sklearn_crfsuite

    def features(X: list[np.ndarray]) -> list[list[dict[str, float]]]:
        names = [f"p{i}" for i in range(SIDE * SIDE)]
        return [[dict(zip(names, map(float, row), strict=True)) for row in x] for x in X]

    labels = [[str(digit) for digit in word] for word in train[1]]
    given = features(train[0])
    model = sklearn_crfsuite.CRF(
        algorithm="lbfgs", c1=0.0, c2=L2 * len(labels) / 2, max_iterations=1000, all_possible_transitions=True
    )
    start = time.perf_counter()
    model.fit(given, labels)
    seconds = time.perf_counter() - start
    predicted = [np.array(list(map(int, word))) for word in model.predict(features(test[0]))]
    return seconds, error(predicted, test[1])


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--words", type=int, default=5000, help="to learn from (default 5000)")
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    table = bigrams(rng)
    train, test = (
        words(n, shrunk(X), y, table, rng)
        for n, (X, y) in (
            (args.words, load_mnist(DATA, split="train")),
            (2000, load_mnist(DATA, split="test")),
        )
    )
    competitors = {
        "digits alone": alone,
        "chain CRF, thalweg": chain,
        "true bigrams given": with_true_bigrams,
    }
    if find_spec("sklearn_crfsuite"):
        competitors["chain CRF, sklearn-crfsuite"] = crfsuite
    rows = []
    for name, run in competitors.items():
        if common.chosen(name, args.only):
            seconds, wrong = run(train, test, table)
            rows.append({"name": name, "seconds": seconds, "error": wrong})
            print(rows[-1], flush=True)
    lines = [[r["name"], f"{100 * r['error']:.2f}", f"{r['seconds']:.1f}"] for r in rows]
    text = common.markdown_table(["by", "wrong digits (%)", "seconds of training"], lines)
    text += f"\n\n{args.words} words to learn from, 2,000 to test on, images of {SIDE}x{SIDE}."
    common.report(args.out, "Words of digits", text, rows)


if __name__ == "__main__":
    main()

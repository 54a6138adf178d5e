"""MNIST in [0, 1] with 16 hidden units, PCD-1: PyDeep's `RBM_MNIST_small`, with exact likelihoods.

Learning rate 0.01, batches of 100, 50 epochs, centred and plain, on the digits and on flipped digits (1 - x),
from PyDeep's first parameters: Glorot's weights, visible biases at the data's log-odds. The last variant is
no setting of PyDeep's: it has more chains, momentum, and a learning rate that falls linearly to zero.

    python bench/papers/rbm_mnist_16.py --out bench/results/rbm_mnist_16
"""

from __future__ import annotations

import common
from thalweg import BernoulliRBM

PUBLISHED = {
    (False, True): -142.56,
    (False, False): -149.05,
    (True, True): -142.09,
    (True, False): -183.36,
}
HIDDEN = 16
GLOROT = 4 * (2 / (784 + HIDDEN)) ** 0.5  # the deviation of its uniform distribution


def run(args, train, test, flipped: bool, variant: str) -> dict:
    rows, held_out = (1 - train, 1 - test) if flipped else (train, test)

    def make() -> BernoulliRBM:
        return BernoulliRBM(
            HIDDEN,
            learning_rate=0.01,
            batch_size=100,
            init_visible="base_rates",
            init_std=GLOROT,
            n_jobs=args.threads,
            random_state=args.seed,
            **common.VARIANTS[variant],
        )

    name = f"rbm16-{'flipped' if flipped else 'digits'}-{list(common.VARIANTS).index(variant)}-{args.seed}"
    model, seconds = common.learn_all(common.checkpoint(args, name), make, args.epochs, rows)
    exact = [model.log_partition("exact")]
    return {
        "flipped": flipped,
        "variant": variant,
        "train": common.likelihoods(model, rows, exact)["exact"][0],
        "test": common.likelihoods(model, held_out, exact)["exact"][0],
        "seconds": seconds,
        "published": PUBLISHED[flipped, variant != "plain"],
    }


def main(argv=None) -> list[dict]:
    args = common.parser(__doc__, 50).parse_args(argv)
    train, test = common.mnist()
    train = train[: args.rows]
    results = [run(args, train, test, flipped, v) for flipped in (False, True) for v in common.VARIANTS]
    lines = [["data", "gradient", "test, PyDeep", "test, thalweg", "training, thalweg", "seconds"]]
    for r in results:
        lines.append(
            [
                "flipped digits" if r["flipped"] else "digits",
                r["variant"],
                f"{r['published']:.2f}",
                f"{r['test']:.2f}",
                f"{r['train']:.2f}",
                f"{r['seconds']:.0f}",
            ]
        )
    notes = f"Mean log-likelihood of a row, log Z exact; {args.epochs} epochs, {len(train)} rows."
    common.report(args.out, "RBM 784x16 on MNIST, PCD-1", notes, lines, {"results": results})
    return results


if __name__ == "__main__":
    main()

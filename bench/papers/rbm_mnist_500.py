"""MNIST in [0, 1] with 500 hidden units, PCD-1, 200 epochs: PyDeep's `RBM_MNIST_big`, with AIS both ways.

Learning rate 0.01, batches of 100, centred and plain, from PyDeep's first parameters: Glorot's weights,
visible biases at the data's log-odds. log Z by 100 runs of 14,500 temperatures up from the data's base rates,
and down from chains that begin at training rows. The last variant is no setting of
PyDeep's: it has more chains, momentum, and a learning rate that falls linearly to zero.

    python bench/papers/rbm_mnist_500.py --work runs --out bench/results/rbm_mnist_500
"""

from __future__ import annotations

import common
from thalweg import BernoulliRBM

# PyDeep prints AIS and reverse AIS for the centred machine.
PUBLISHED = {True: "-84.86 (reverse AIS -96.61), 78 min", False: "-130.8"}
HIDDEN = 500
GLOROT = 4 * (2 / (784 + HIDDEN)) ** 0.5  # the deviation of its uniform distribution


def run(args, train, test, variant: str) -> dict:
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

    name = f"rbm500-{list(common.VARIANTS).index(variant)}-{args.seed}"
    model, seconds = common.learn_all(common.checkpoint(args, name), make, args.epochs, train)
    z = list(common.both_ways(model, train, args.runs, args.temperatures))
    return {
        "variant": variant,
        "train": common.likelihoods(model, train, z),
        "test": common.likelihoods(model, test, z),
        "seconds": seconds,
        "published": PUBLISHED[variant != "plain"],
    }


def main(argv=None) -> list[dict]:
    parser = common.parser(__doc__, 200)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--temperatures", type=int, default=14_500)
    parser.add_argument("--variants", default=";".join(common.VARIANTS), help="separated by semicolons")
    args = parser.parse_args(argv)
    train, test = common.mnist()
    train = train[: args.rows]
    results = [run(args, train, test, variant) for variant in args.variants.split(";")]
    lines = [
        [
            "gradient",
            "test, PyDeep",
            "test by AIS",
            "by reverse AIS",
            "training by AIS",
            "by reverse AIS",
            "seconds",
        ]
    ]
    for r in results:
        figures = [f"{v:.2f} ± {e:.2f}" for part in ("test", "train") for v, e in r[part].values()]
        lines.append([r["variant"], r["published"], *figures, f"{r['seconds']:.0f}"])
    notes = (
        f"Mean log-likelihood of a row ± the standard error of log Z; {args.epochs} epochs, "
        f"{len(train)} rows, {args.runs} runs of {args.temperatures} temperatures."
    )
    common.report(args.out, "RBM 784x500 on MNIST, PCD-1", notes, lines, {"results": results})
    return results


if __name__ == "__main__":
    main()

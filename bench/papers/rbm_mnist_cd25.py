"""Binarised MNIST, 500 hidden units, CD-25: Salakhutdinov and Murray 2008, by AIS both ways.

Every epoch draws the pixels anew from their gray values, as the authors' code does; the test rows are drawn
once. k rises from 1 to 25 during training, as in the paper, by the schedule below, which with the learning
rate (constant, then falling linearly to zero), momentum and weight decay is ours. log Z by 100 runs of 14,500
temperatures (500 on [0, 0.5], 4,000 on [0.5, 0.9], 10,000 on [0.9, 1]) from the data's base rates, and back.

    python bench/papers/rbm_mnist_cd25.py --work runs --out bench/results/rbm_mnist_cd25
"""

from __future__ import annotations

import numpy as np

import common
from thalweg import BernoulliRBM

PUBLISHED = -86.34
HIDDEN = 500
STAGES = ((0.0, 1), (0.15, 5), (0.35, 10), (0.6, 25))  # from this share of the epochs on, k
RATE = 0.05
CONSTANT = 0.4  # share of the epochs before the learning rate falls


def gibbs_steps(share: float) -> int:
    """k at this share of the training."""
    return max(k for start, k in STAGES if share >= start)


def learning_rate(share: float) -> float:
    return RATE * min(1.0, (1 - share) / (1 - CONSTANT))


def main(argv=None) -> dict:
    parser = common.parser(__doc__, 200)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--temperatures", type=int, default=14_500)
    args = parser.parse_args(argv)
    gray, gray_test = common.mnist()
    gray = gray[: args.rows]
    test = common.sampled(gray_test, 10**6)

    def make() -> BernoulliRBM:
        return BernoulliRBM(
            HIDDEN,
            loss="cd",
            batch_size=100,
            momentum=0.5,
            l2=2e-4,
            init_visible="base_rates",
            n_jobs=args.threads,
            random_state=args.seed,
        )

    def step(model: BernoulliRBM, epoch: int) -> None:
        share = epoch / args.epochs
        momentum = 0.5 if epoch < 5 else 0.9
        # The momentum multiplies what a step does in the end by 1 / (1 - momentum).
        rate = learning_rate(share) * (1 - momentum) * 2
        model.set_params(n_gibbs_steps=gibbs_steps(share), learning_rate=rate, momentum=momentum)
        order = np.random.default_rng(epoch).permutation(len(gray))
        model.partial_fit(common.sampled(gray, epoch)[order])

    model, seconds = common.learn(common.checkpoint(args, f"rbm-cd25-{args.seed}"), make, args.epochs, step)
    train = common.sampled(gray, 10**6 + 1)
    z = list(common.both_ways(model, train, args.runs, args.temperatures))
    result = {
        "train": common.likelihoods(model, train, z),
        "test": common.likelihoods(model, test, z),
        "seconds": seconds,
        "published": PUBLISHED,
    }
    figures = [f"{v:.2f} ± {e:.2f}" for part in ("test", "train") for v, e in result[part].values()]
    lines = [
        ["test, paper", "test by AIS", "by reverse AIS", "training by AIS", "by reverse AIS", "seconds"],
        [f"{PUBLISHED:.2f}", *figures, f"{seconds:.0f}"],
    ]
    notes = (
        f"Mean log-likelihood of a row ± the standard error of log Z; {args.epochs} epochs, "
        f"{len(gray)} rows; (share of training, k): {STAGES}; learning rate {RATE} for {CONSTANT:.0%} of it, "
        "then linearly to 0, in units of a momentum of 0.5; weight decay 2e-4; "
        f"{args.runs} runs of {args.temperatures} temperatures."
    )
    common.report(args.out, "RBM 784x500 on binarised MNIST, CD-1 to CD-25", notes, lines, result)
    return result


if __name__ == "__main__":
    main()

"""Whitened natural patches, Gaussian-Bernoulli RBM of 196 hidden units: PyDeep's `GRBM_natural_images`.

14x14 patches, the mean of each removed, ZCA-whitened; CD-1, batches of 100, 200 epochs, learning rate 0.1 for
the weights and hidden biases and 0.01 for sigma, visible biases fixed at 0, the weights' gradient within 0.01
of the longest row, hidden biases such that P(h) is about 0.01 at first. The published figure belongs to
PyDeep's own patches, which are not distributed; these come from the 24 Kodak photographs, and the
log-likelihood of one Gaussian is printed beside, as the scale of the data.

    python bench/papers/grbm_natural.py --work runs --out bench/results/grbm_natural
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

import common
from thalweg import GaussianBernoulliRBM, Whitening
from thalweg.datasets import find_images, iter_images
from thalweg.plots import plot_filters
from thalweg.preprocessing import extract_patches

PUBLISHED = -270.83
SIDE, HIDDEN = 14, 196
N_TRAIN, N_TEST = 120_000, 30_000


def patches(n: int, seed: int) -> np.ndarray:
    """Random patches of all photographs, the mean of each removed, in random order."""
    files = find_images(common.data_root() / "natural")
    share = -(-n // len(files))
    drawn = [
        extract_patches(image, SIDE, max_patches=share, random_state=1000 * seed + i)[0]
        for i, (_, image) in enumerate(iter_images(files, color=False))
    ]
    rows = np.concatenate(drawn)
    rows = rows[np.random.default_rng(seed).permutation(len(rows))[:n]]
    return rows - rows.mean(axis=1, keepdims=True)


def gaussian_log_likelihood(train: np.ndarray, test: np.ndarray) -> float:
    """Of the test rows, under the normal law with the training rows' mean and covariance."""
    mean, covariance = train.mean(axis=0, dtype=np.float64), np.cov(train.astype(np.float64).T)
    covariance += 1e-6 * np.eye(len(mean))
    centred = test - mean
    distance = np.einsum("ij,ij->i", centred, np.linalg.solve(covariance, centred.T).T)
    return float(-0.5 * (distance.mean() + np.linalg.slogdet(2 * np.pi * covariance)[1]))


def first_hidden_bias(weights: np.ndarray) -> np.ndarray:
    """Such that the mixture's component of one hidden unit has a hundredth of the weight of none's."""
    return (np.log(0.01) - 0.5 * np.square(weights).sum(axis=1)).astype(weights.dtype)


def main(argv=None) -> dict:
    parser = common.parser(__doc__, 200)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--temperatures", type=int, default=14_500)
    args = parser.parse_args(argv)
    rows = patches(N_TRAIN + N_TEST, args.seed)
    whitening = Whitening(kind="zca", eps=1e-6).fit(rows[:N_TRAIN])
    train, test = whitening.transform(rows[:N_TRAIN])[: args.rows], whitening.transform(rows[N_TRAIN:])

    def make() -> GaussianBernoulliRBM:
        return GaussianBernoulliRBM(
            HIDDEN,
            loss="cd",
            learning_rate=0.1,
            visible_learning_rate=0.0,
            sigma_learning_rate=0.01,
            init_sigma=1.0,
            init_visible="zeros",
            init_std=4 * (2 / (SIDE**2 + HIDDEN)) ** 0.5,
            max_grad_norm=0.01 * float(np.linalg.norm(train, axis=1).max()),
            batch_size=100,
            n_jobs=args.threads,
            random_state=args.seed,
        )

    def step(model: GaussianBernoulliRBM, epoch: int) -> None:
        model.set_params(n_iter=epoch + 1)
        if epoch == 0:
            model.set_params(n_iter=0).fit(train)
            model.intercept_hidden_ = first_hidden_bias(model.components_)
            model.set_params(n_iter=1)
        model.resume(train)

    model, seconds = common.learn(common.checkpoint(args, f"grbm-{args.seed}"), make, args.epochs, step)
    z = list(common.both_ways(model, train, args.runs, args.temperatures))
    result = {
        "train": common.likelihoods(model, train, z),
        "test": common.likelihoods(model, test, z),
        "gaussian": gaussian_log_likelihood(train, test),
        "activity": float(model.transform(test).mean()),
        "sigma": [float(model.sigma_.min()), float(model.sigma_.max())],
        "seconds": seconds,
        "published": PUBLISHED,
    }
    if args.out is not None:
        picture(model, args.out.with_suffix(".png"))
    figures = [f"{v:.2f} ± {e:.2f}" for part in ("test", "train") for v, e in result[part].values()]
    lines = [
        [
            *("test, PyDeep's patches", "test by AIS", "by reverse AIS", "training by AIS", "by reverse AIS"),
            *("test, one Gaussian", "mean P(h)", "seconds"),
        ],
        [
            f"{PUBLISHED:.2f}",
            *figures,
            f"{result['gaussian']:.2f}",
            f"{result['activity']:.3f}",
            f"{seconds:.0f}",
        ],
    ]
    notes = (
        f"Mean log-likelihood of a row ± the standard error of log Z; {args.epochs} epochs, "
        f"{len(train)} rows, {args.runs} runs of {args.temperatures} temperatures."
    )
    title = "Gaussian-Bernoulli RBM 196x196 on whitened natural patches, CD-1"
    common.report(args.out, title, notes, lines, result)
    return result


def picture(model: GaussianBernoulliRBM, path: Path) -> None:
    """The filters, in the whitened space."""
    plot_filters(model.components_.reshape(-1, SIDE, SIDE)).savefig(path)


if __name__ == "__main__":
    main()

"""The lecture's Exercise 2 on the Kodak photographs: what deep energies of patches can tell apart.

Gray 28x28 patches of 18 photographs, 6 others held out. A Gaussian with a constrained precision is fitted;
log p(x) = -||x||^2 / (2 sigma^2) + b'x + sum_k S(w_k' s(Vx + d) + c_k) + const, K = H = 64, with hidden
biases, on patches whitened by that Gaussian and on patches that only lose its mean, at sigma 1 and 0.1 (0.1
whitened and 1 in pixels are misspecified: the Gaussian part alone is far narrower, or far wider, than the
data), by score matching, exact and denoising, NCE, conditional NCE and CD with HMC. Scores of held-out
patches are compared with those of samples of the fitted Gaussian, of a Gaussian with the training patches'
full covariance, MNIST's test digits, inverted (1 - x) and upside-down patches: log p and log p - log p_Gauss.
Beside them -||x||^2 alone, and a discriminator of the same size trained for each task. log Z is annealed from
the Gaussian that is left without the top units.

Settings are chosen with --select on the 18 training photographs alone: learnt from 15, judged on 3.

    python bench/papers/deep_energy.py --select
    python bench/papers/deep_energy.py --out bench/results/deep_energy
"""

from __future__ import annotations

import itertools
import json
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import rankdata

import common
from thalweg import ConstrainedGaussian, DeepEnergyModel, EnergyClassifier
from thalweg.datasets import find_images, load_images
from thalweg.losses import GaussianNoise
from thalweg.plots import plot_filters
from thalweg.preprocessing import extract_patches

SIDE, UNITS = 28, 64
HELD_OUT = (4, 8, 12, 16, 20, 24)  # photographs, by their numbers
JUDGED = (3, 11, 19)  # of the training photographs, for the choice of settings
N_TRAIN, N_TEST = 50_000, 5_000
# And the sigmas of each, the misspecified one last.
SPACES: dict[str, tuple[Any, ...]] = {"whitened": (1.0, "learn", 0.1), "pixels": (0.1, "learn", 1.0)}
NATURAL = "held out"
FITTED, FULL = "fitted Gaussian", "full-covariance Gaussian"
OTHERS = (FITTED, FULL, "MNIST", "inverted", "upside down")

LOSSES: dict[str, dict[str, Any]] = {
    "score matching": {"loss": "score_matching", "l2": 0.2},
    "denoising": {"loss": "denoising", "l2": 0.03},
    "NCE": {"loss": "nce"},
    "conditional NCE": {"loss": "conditional_nce"},
    "CD-HMC": {"loss": "cd"},
}  # weight decay: without it units keep the noise that they begin with
# Hidden biases begin at random: contrast is even, and units without biases are odd.
COMMON: dict[str, Any] = {"schedule": "linear", "batch_size": 100, "init_bias": 2.0}
# For each loss, by --select: the largest AUC of the log-ratio against the fitted Gaussian, whitened, sigma 1.
CHOSEN: dict[str, dict[str, Any]] = {
    "score matching": {"learning_rate": 5e-3, "n_iter": 10},
    "denoising": {"learning_rate": 5e-3, "n_iter": 10},
    "NCE": {"learning_rate": 5e-3, "n_iter": 30},
    "conditional NCE": {"learning_rate": 1e-3, "n_iter": 10},
    "CD-HMC": {"learning_rate": 5e-3, "n_iter": 30},
}
GRID: dict[str, list[Any]] = {"learning_rate": [1e-3, 5e-3], "n_iter": [10, 30]}


# --- data


def photographs(numbers: list[int]) -> list[np.ndarray]:
    files = find_images(common.data_root() / "natural")
    return load_images([files[i - 1] for i in numbers], color=False)


def training_numbers() -> list[int]:
    return [i for i in range(1, 25) if i not in HELD_OUT]


def patches(images: list[np.ndarray], n: int, seed: int) -> np.ndarray:
    """(n, 784) in [0, 1], as many of each photograph; those of one gray are left out."""
    share = -(-n // len(images))
    seeds = range(seed, seed + len(images))
    rows = np.concatenate(
        [extract_patches(im, SIDE, max_patches=share, random_state=s)[0] for im, s in zip(images, seeds)]
    )
    return rows[np.ptp(rows, axis=1) > 1e-6][:n]


class Gaussian:
    """N(mean, precision^-1) with what the exercise needs of it."""

    def __init__(self, mean: np.ndarray, precision: np.ndarray) -> None:
        self.mean, self.precision = mean, precision
        self.values, self.vectors = np.linalg.eigh(precision)

    def power(self, exponent: float) -> np.ndarray:
        return (self.vectors * self.values**exponent) @ self.vectors.T

    def whiten(self, X: np.ndarray) -> np.ndarray:
        return ((X - self.mean) @ self.power(0.5)).astype(np.float32)

    def sample(self, n: int, seed: int) -> np.ndarray:
        normals = np.random.default_rng(seed).normal(size=(n, len(self.mean)))
        return (self.mean + normals @ self.power(-0.5)).astype(np.float32)

    def log_density(self, X: np.ndarray) -> np.ndarray:
        squared = np.square((X - self.mean) @ self.power(0.5)).sum(axis=1)
        return -0.5 * (squared + len(self.mean) * np.log(2 * np.pi) - np.log(self.values).sum())


def fitted(X: np.ndarray, args: Any) -> Gaussian:
    """By maximum likelihood: score matching alone leaves the cone of the positive definite here."""
    model = ConstrainedGaussian(
        args.structure, image_shape=(SIDE, SIDE), radius=args.radius, estimator="maximum_likelihood"
    ).fit(X)
    return Gaussian(X.mean(axis=0, dtype=np.float64), np.asarray(model.precision_, np.float64))


def with_full_covariance(X: np.ndarray) -> Gaussian:
    return Gaussian(X.mean(axis=0, dtype=np.float64), np.linalg.inv(np.cov(X.astype(np.float64).T)))


class Exercise(NamedTuple):
    """Patches to learn from, the Gaussian fitted to them, and sets of pixels to tell apart, by name."""

    train: np.ndarray
    gaussian: Gaussian
    full: Gaussian
    sets: dict[str, np.ndarray]
    training_sets: dict[str, np.ndarray]

    def rows(self, X: np.ndarray, space: str) -> np.ndarray:
        if space == "whitened":
            return self.gaussian.whiten(X)
        return (X - self.gaussian.mean).astype(np.float32)

    def noise(self, space: str) -> GaussianNoise:
        """The fitted Gaussian, for contrastive estimation."""
        covariance = np.ones(SIDE**2) if space == "whitened" else np.linalg.inv(self.gaussian.precision)
        return GaussianNoise(np.zeros(SIDE**2), covariance)


def others(natural: np.ndarray, gaussian: Gaussian, full: Gaussian, digits: np.ndarray, seed: int) -> dict:
    n = len(natural)
    return {
        FITTED: gaussian.sample(n, seed),
        FULL: full.sample(n, seed + 1),
        "MNIST": digits[:n],
        "inverted": 1 - natural,
        "upside down": natural.reshape(-1, SIDE, SIDE)[:, ::-1].reshape(n, -1),
    }


def exercise(learnt: list[int], judged: list[int], args: Any) -> Exercise:
    """Learnt from these photographs, judged on those."""
    seed = args.seed
    train = patches(photographs(learnt), args.rows or N_TRAIN, 1000 * seed)
    natural = patches(photographs(judged), N_TEST, 1000 * seed + 500)
    gaussian, full = fitted(train, args), with_full_covariance(train)
    train_digits, test_digits = common.mnist()
    sets = {NATURAL: natural, **others(natural, gaussian, full, test_digits, seed + 10)}
    return Exercise(train, gaussian, full, sets, others(train, gaussian, full, train_digits, seed + 20))


# --- learning and judging


def auc(typical: np.ndarray, other: np.ndarray) -> float:
    """How often a score of the first set is above one of the second."""
    n, m = len(typical), len(other)
    ranks = rankdata(np.concatenate([typical, other]))
    return float((ranks[:n].sum() - n * (n + 1) / 2) / (n * m))


def learnt(data: Exercise, space: str, sigma: Any, settings: dict[str, Any], args: Any) -> tuple[Any, float]:
    """A model, and the seconds that it took."""
    options = {**COMMON, **settings, "noise": data.noise(space)}
    if args.epochs is not None:
        options["n_iter"] = args.epochs
    model = DeepEnergyModel(
        UNITS,
        hidden_layer_sizes=(UNITS,),
        activation="sigmoid",
        sigma=sigma,
        n_jobs=args.threads,
        random_state=args.seed,
        **options,
    )
    begun = time.perf_counter()
    model.fit(data.rows(data.train, space))
    return model, time.perf_counter() - begun


def scored(scores: dict[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """Mean, deviation and AUC of every set."""
    first = scores[NATURAL]
    return {
        name: {"mean": float(s.mean()), "std": float(s.std()), "auc": auc(first, s)}
        for name, s in scores.items()
    }


def judged(data: Exercise, log_p: dict[str, np.ndarray]) -> dict[str, Any]:
    """The figures of log p, and of what it has above the Gaussian's."""
    ratio = {name: s - data.gaussian.log_density(data.sets[name]) for name, s in log_p.items()}
    return {"log_p": scored(log_p), "log_ratio": scored(ratio)}


def cell(data: Exercise, space: str, sigma: Any, loss: str, args: Any) -> tuple[dict[str, Any], Any]:
    """One model's figures; where learning diverged, why."""
    settings = {**LOSSES[loss], **CHOSEN[loss]}
    row: dict[str, Any] = {"space": space, "sigma": sigma, "loss": loss, "settings": settings}
    try:
        model, seconds = learnt(data, space, sigma, settings, args)
    except FloatingPointError as error:
        return {**row, "failed": str(error)}, None
    log_p = {name: model.score_samples(data.rows(X, space)) for name, X in data.sets.items()}
    log_z = model.log_partition(n_runs=args.runs, temperatures=args.temperatures, random_state=args.seed)
    annealed = {"log_z": log_z.log_z, "log_z_error": log_z.std_error}
    return {**row, **judged(data, log_p), **annealed, "sigma_learnt": model.sigma_, "seconds": seconds}, model


def of_norms(data: Exercise, space: str) -> dict[str, Any]:
    """-||x||^2 alone."""
    scores = {
        name: -np.square(data.rows(X, space), dtype=np.float64).sum(axis=1) for name, X in data.sets.items()
    }
    return {"space": space, "sigma": None, "loss": "−‖x‖² alone", **judged(data, scores)}


def of_discriminators(data: Exercise, space: str, args: Any) -> dict[str, Any]:
    """Networks of the same size, each trained to tell training patches from one other set."""
    X = data.rows(data.train, space)
    found: dict[str, dict[str, float]] = {}
    begun = time.perf_counter()
    for name in OTHERS:
        Y = data.rows(data.training_sets[name], space)
        classifier = EnergyClassifier(
            "dense",
            hidden_layer_sizes=(UNITS, UNITS),
            loss="nll",
            optimizer="adam",
            learning_rate=1e-3,
            schedule="linear",
            batch_size=200,
            max_iter=args.discriminator_epochs,
            tol=0.0,
            random_state=args.seed,
        ).fit(np.concatenate([X, Y]), np.repeat([1, 0], [len(X), len(Y)]))
        logits = {
            each: classifier.decision_function(data.rows(data.sets[each], space)) for each in (NATURAL, name)
        }
        found[name] = scored(logits)[name]
    return {
        "space": space,
        "sigma": None,
        "loss": "discriminators",
        "log_ratio": found,
        "seconds": time.perf_counter() - begun,
    }


# --- the choice of settings


def select(args: Any) -> list[dict[str, Any]]:
    """Figures of every setting of the grid, learnt and judged on the training photographs alone."""
    numbers = [i for i in training_numbers() if i not in JUDGED]
    data = exercise(numbers, list(JUDGED), args)
    rows = []
    for loss in chosen_losses(args):
        for values in itertools.product(*GRID.values()):
            settings = {**LOSSES[loss], **dict(zip(GRID, values))}
            for space, sigma in (("whitened", 1.0), ("pixels", 0.1)):
                try:
                    model, seconds = learnt(data, space, sigma, settings, args)
                except FloatingPointError as error:
                    print(loss, settings, space, f"failed: {error}", flush=True)
                    continue
                log_p = {name: model.score_samples(data.rows(X, space)) for name, X in data.sets.items()}
                figures = judged(data, log_p)
                areas = {
                    f"{kind}, {name}": round(figures[kind][name]["auc"], 4)
                    for kind in figures
                    for name in (FITTED, FULL)
                }
                rows.append({"space": space, **settings, **areas, "seconds": round(seconds, 1)})
                print(rows[-1], flush=True)
    return rows


# --- tables and pictures


def sigma_in_words(sigma: Any) -> str:
    return "" if sigma is None else "learnt" if sigma == "learn" else f"{sigma:g}"


def compact(rows: list[dict[str, Any]]) -> list[list[str]]:
    """AUCs only: by the log-ratio, and by log p."""
    lines = [
        ["patches", "sigma", "method", *(f"{name}: log-ratio, log p" for name in OTHERS), "log Z", "seconds"]
    ]
    for r in rows:
        head = [r["space"], sigma_in_words(r["sigma"]), r["loss"]]
        if "failed" in r:
            lines.append([*head, "diverged", *[""] * (len(OTHERS) + 1)])
            continue
        kinds = [kind for kind in ("log_ratio", "log_p") if kind in r]
        areas = [", ".join(f"{r[kind][name]['auc']:.3f}" for kind in kinds) for name in OTHERS]
        log_z = f"{r['log_z']:.1f} ± {r['log_z_error']:.1f}" if "log_z" in r else ""
        lines.append([*head, *areas, log_z, f"{r['seconds']:.0f}" if "seconds" in r else ""])
    return lines


def full_table(rows: list[dict[str, Any]]) -> str:
    """Means and deviations of every set."""
    header = ["patches", "sigma", "method", "set", "log p", "AUC", "log p − log p_Gauss", "AUC"]
    lines = [header, ["---"] * len(header)]
    for r in rows:
        if "log_p" not in r:
            continue
        for name in (NATURAL, *OTHERS):
            cells = [r["space"], sigma_in_words(r["sigma"]), r["loss"], name]
            for kind in ("log_p", "log_ratio"):
                s = r[kind][name]
                cells += [f"{s['mean']:.1f} ± {s['std']:.1f}", "" if name == NATURAL else f"{s['auc']:.3f}"]
            lines.append(cells)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def pictures(data: Exercise, model: Any, space: str, out: Path) -> None:
    """Filters, analysis and synthesis filters, and modes, the last three in pixel space."""
    V = np.asarray(model.filters_, np.float64)
    V = V[np.argsort(-np.linalg.norm(V, axis=1), kind="stable")]
    drawn = {"filters": V}
    if space == "whitened":
        drawn["analysis"] = V @ data.gaussian.power(0.5)
        drawn["synthesis"] = V @ data.gaussian.power(-0.5)
    starts = data.rows(data.gaussian.sample(UNITS, 7), space)
    modes = model.modes(starts)
    drawn["modes"] = modes @ data.gaussian.power(-0.5) if space == "whitened" else modes
    for name, rows in drawn.items():
        plot_filters(rows.reshape(-1, SIDE, SIDE)).savefig(out.with_name(f"{out.name}-{name}.png"))


def chosen_losses(args: Any) -> list[str]:
    return [name for name in LOSSES if not args.losses or name in args.losses.split(",")]


def main(argv: Any = None) -> dict[str, Any]:
    parser = common.parser(__doc__, 10)
    parser.set_defaults(epochs=None)  # each loss has its own
    parser.add_argument("--select", action="store_true", help="choose settings on the training photographs")
    parser.add_argument("--losses", default="", help="comma-separated: only these")
    parser.add_argument("--spaces", default="whitened,pixels")
    parser.add_argument("--structure", default="toeplitz", choices=("full", "banded", "toeplitz"))
    parser.add_argument("--radius", type=int, default=3, help="of the Gaussian's precision, in pixels")
    parser.add_argument("--discriminator-epochs", type=int, default=5)
    parser.add_argument("--runs", type=int, default=100, help="of annealed importance sampling, for log Z")
    parser.add_argument("--temperatures", type=int, default=1000, help="likewise")
    args = parser.parse_args(argv)
    if args.select:
        rows = select(args)
        if args.out is not None:
            args.out.with_suffix(".json").write_text(json.dumps(rows, indent=1) + "\n")
        return {"rows": rows}
    data = exercise(training_numbers(), list(HELD_OUT), args)
    rows = []
    for space in args.spaces.split(","):
        for sigma in SPACES[space]:
            for loss in chosen_losses(args):
                row, model = cell(data, space, sigma, loss, args)
                rows.append(row)
                print(compact([row])[1], flush=True)
                if args.out is not None and model is not None and sigma == SPACES[space][0]:
                    name = f"{args.out.name}-{space}-{loss.lower().replace(' ', '-')}"
                    pictures(data, model, space, args.out.with_name(name))
        rows += [of_norms(data, space), of_discriminators(data, space, args)]
        print(compact(rows[-2:])[1:], flush=True)
    notes = (
        f"{len(data.train):,} patches of 18 photographs, {len(data.sets[NATURAL]):,} of 6 others; "
        f"precision {args.structure}, radius {args.radius}, by maximum likelihood. AUC of each set against "
        "the held-out patches, by log p − log p_Gauss, and by log p. Whitened with sigma 0.1 and pixels with "
        f"sigma 1 are misspecified. Settings, chosen on training photographs: {COMMON | CHOSEN}."
    )
    title = "Deep energies of 28x28 patches: what they tell apart"
    common.report(args.out, title, notes, compact(rows), {"rows": rows})
    if args.out is not None:
        with args.out.with_suffix(".md").open("a") as file:
            file.write(f"\n{full_table(rows)}\n")
    return {"rows": rows}


if __name__ == "__main__":
    main()

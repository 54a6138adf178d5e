"""Variational contrastive estimation of a mixture of Gaussians, whose component is latent.

The toy of B. Rhodes and M. U. Gutmann, Variational noise-contrastive estimation, AISTATS 2019: the mixture is
unnormalised, and its marginal known, so that what the bound finds can be held against NCE. Beside them VNCE
with a prior in the place of the posterior: one z, plugged in. The error is the distance from the truth of
means, deviations and the components' masses, normalised by the c that was learnt; mean and standard error
over seeds.

    python bench/papers/vnce.py --seeds 10 --out bench/results/vnce
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

import common
from thalweg import _rng, optim
from thalweg._base import Draws
from thalweg.energies import CategoricalPosterior, DenseNetwork, GaussianMixtureEnergy
from thalweg.losses import (
    DensityNoiseContrastiveEstimation,
    GaussianNoise,
    VariationalNoiseContrastiveEstimation,
)

MEANS, SIGMAS, WEIGHTS = np.array([-2.0, 1.5]), np.array([1.0, 0.6]), np.array([0.6, 0.4])


class Prior:
    """q(z | x) = 1/2, one z drawn for every row: what is plugged in where nobody infers."""

    parameters: ClassVar[dict[str, Any]] = {}
    is_enumerated = False

    def with_parameters(self, parameters: Any) -> Prior:
        return self

    def latents(self, X: Any, n_latents: int, draws: Draws) -> Any:
        uniform = _rng.uniform(draws.seed, draws.stream, draws.step, len(X) * n_latents, draws.first_row)
        Z = (uniform.reshape(len(X), n_latents, 1) < 0.5).astype(np.float64)
        return Z, np.full(Z.shape[:2], np.log(0.5)), None

    def pullback(self, tape: Any, of_log_q: Any, of_Z: Any) -> Any:
        return {}


def samples(n: int, seed: int) -> Any:
    rng = np.random.default_rng(seed)
    z = rng.choice(2, n, p=WEIGHTS)
    return (MEANS[z] + SIGMAS[z] * rng.normal(size=n))[:, None]


def fitted(loss: Any, X: Any, seed: int) -> dict[str, Any]:
    """All parameters at the loss's minimum, its draws held."""
    first = GaussianMixtureEnergy([0.0, 0.0], [[-1.0], [1.0]], [0.0, 0.0])
    start = {**first.parameters, **{f"own.{k}": p for k, p in loss.first_parameters(first, X).items()}}
    places = np.cumsum([0, *(p.size for p in start.values())])

    def parts(v: Any) -> dict[str, Any]:
        return {k: v[a:b].reshape(p.shape) for (k, p), a, b in zip(start.items(), places, places[1:])}

    def objective(v: Any) -> Any:
        here = parts(v)
        own = {k.removeprefix("own."): p for k, p in here.items() if k.startswith("own.")}
        energy = first.with_parameters({k: here[k] for k in first.parameters})
        value, g, of_own = loss.value_and_gradient(energy, own, X, Draws(seed, 0))
        made = {**g, **{f"own.{k}": p for k, p in of_own.items()}}
        return value, np.concatenate([made[k].ravel() for k in start])

    v, _, _ = optim.minimise_lbfgs(objective, np.concatenate([p.ravel() for p in start.values()]), tol=1e-4)
    return parts(v)


def error(found: dict[str, Any]) -> float:
    """Distance from the truth of means, deviations, and the components' masses, normalised by c."""
    order = np.argsort(found["means"][:, 0])
    sigma = np.exp(found["log_sigma"])[order]
    prior = np.exp(found["logits"] - np.logaddexp.reduce(found["logits"]))[order]
    mass = prior * sigma * np.sqrt(2 * np.pi) * np.exp(-found["own.log_normalizer"][0])
    parts = (found["means"][order, 0] - MEANS, sigma - SIGMAS, mass - WEIGHTS)
    return float(np.sqrt(sum((part**2).sum() for part in parts)))


def noise() -> GaussianNoise:
    return GaussianNoise([0.0], [4.0])


def variational() -> Any:
    network = DenseNetwork.random(1, 6, 2, "tanh", random_state=0)
    return VariationalNoiseContrastiveEstimation(noise(), CategoricalPosterior(network), noise_ratio=2)


LOSSES: dict[str, Any] = {
    "VNCE": variational,
    "NCE, of the marginal": lambda: DensityNoiseContrastiveEstimation(noise(), noise_ratio=2),
    "one z, plugged in": lambda: VariationalNoiseContrastiveEstimation(noise(), Prior(), noise_ratio=2),
}


def main(argv: Any = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=None, help="write PATH.json and PATH.md")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--sizes", default="300,1000,3000,10000,30000", help="rows, comma-separated")
    args = parser.parse_args(argv)
    rows: list[dict[str, Any]] = []
    for n in map(int, args.sizes.split(",")):
        for name, loss in LOSSES.items():
            found = [error(fitted(loss(), samples(n, seed), seed)) for seed in range(args.seeds)]
            spread = float(np.std(found, ddof=1) / np.sqrt(len(found)))
            rows.append({"n": n, "loss": name, "error": float(np.mean(found)), "std_error": spread})
            print(rows[-1], flush=True)
    lines = [["rows", *LOSSES]]
    for n in dict.fromkeys(r["n"] for r in rows):
        here = [r for r in rows if r["n"] == n]
        lines.append([f"{n:,}", *(f"{r['error']:.4f} ± {r['std_error']:.4f}" for r in here)])
    slopes = {
        name: float(
            np.polyfit(*(np.log([r[k] for r in rows if r["loss"] == name]) for k in ("n", "error")), 1)[0]
        )
        for name in LOSSES
    }
    lines.append(["slope of log error in log n", *(f"{slope:.2f}" for slope in slopes.values())])
    notes = f"Two components, noise N(0, 4), two samples of noise for every row; {args.seeds} seeds."
    result = {"rows": rows, "slopes": slopes}
    common.report(args.out, "Variational contrastive estimation of a latent mixture", notes, lines, result)
    return result


if __name__ == "__main__":
    main()

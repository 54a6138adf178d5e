"""`thalweg energy`: the energy surface of a small model before and after training, under each loss."""

from __future__ import annotations

import argparse
import json
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ..energies import AbsoluteDistance, CandidateEnergy, DenseNetwork, MatcherEnergy, RegressorEnergy
from ..models import EnergyRegressor
from ..persistence import write_bytes
from ..plots import Surface, plot_energy_surfaces
from .pictures import figure_png
from .targets import writable_folder

LOSSES = (
    *("energy", "perceptron", "hinge", "log", "lvq2", "mce"),
    *("square_square", "square_exponential", "nll", "mee"),
)
ARCHITECTURES = ("regressor", "matcher")
_HIDDEN, _OUTPUTS = 20, 10
_LEAST, _GREATEST, _STEP = -0.5, 1.5, 0.1  # of the answers that are compared while learning
_FLAT = 0.02  # spread of the energies over answers, as a share of that before training
_FINE = 101  # points of a picture along each axis


def energy(args: argparse.Namespace) -> int:
    """Runs `thalweg energy`; the exit code."""
    out = writable_folder(args.out)
    x, y = _points(args.points, args.seed)
    surfaces: dict[str, dict[str, Surface]] = {}
    rows: list[dict[str, Any]] = []
    with tqdm(total=len(ARCHITECTURES) * len(args.losses), unit="model", disable=args.quiet) as bar:
        for architecture in ARCHITECTURES:
            before = _surface(_pair_energy(architecture, args.seed))
            panels = {"before": Surface(before, "")}
            for loss in args.losses:
                row, after = _learnt(architecture, loss, x, y, before, args)
                panels[loss] = Surface(after, "refused" if row["refused"] else "", row["collapsed"])
                rows.append(row)
                bar.update()
            surfaces[architecture] = panels
    extent = (-1.0, 1.0, _LEAST, _GREATEST)
    figure = plot_energy_surfaces(surfaces, extent=extent, points=(x.ravel(), y))
    write_bytes(out / "surfaces.png", figure_png(figure))
    write_bytes(
        out / "surfaces.json", (json.dumps({"seed": args.seed, "models": rows}, indent=1) + "\n").encode()
    )
    _print(rows)
    print(f"{out / 'surfaces.png'}, {out / 'surfaces.json'}")
    return 0


def _points(n: int, seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """x in [-1, 1], and y = x^2."""
    x = np.random.default_rng(seed).uniform(-1, 1, (n, 1))
    return x, x.ravel() ** 2


def _pair_energy(architecture: str, seed: int) -> Any:
    if architecture == "regressor":
        return RegressorEnergy(DenseNetwork.random(1, (_HIDDEN,), 1, "tanh", seed), AbsoluteDistance())
    sides = (DenseNetwork.random(1, (_HIDDEN,), _OUTPUTS, "tanh", seed + i) for i in range(2))
    return MatcherEnergy(*sides, distance=AbsoluteDistance())


def _surface(pair_energy: Any) -> NDArray[np.float64]:
    """Energies (rows of y, columns of x) on a fine grid."""
    x = np.linspace(-1, 1, _FINE)[:, None]
    y = np.linspace(_LEAST, _GREATEST, _FINE)[:, None]
    grid: NDArray[np.float64] = CandidateEnergy(pair_energy, y).energies(x)[0].T
    return grid


def _learnt(
    architecture: str,
    loss: str,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    before: NDArray[np.float64],
    args: argparse.Namespace,
) -> tuple[dict[str, Any], NDArray[np.float64]]:
    """What became of one model, and its surface."""
    options = {
        "loss": loss,
        "candidates": np.arange(_LEAST, _GREATEST + _STEP / 2, _STEP),
        "radius": 2 * _STEP,
        "margin": 0.3,
        "beta": 5.0,
        "optimizer": "adam",
        "learning_rate": 0.01,
        "batch_size": 50,
        "tol": 0.0,
        "random_state": args.seed,
    }
    first = _pair_energy(architecture, args.seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of a margin of zero, which the picture shows
        refusal = _refusal(EnergyRegressor(first, max_iter=0, **options), x, y)
        model = EnergyRegressor(first, max_iter=args.passes, allow_collapse=True, **options).fit(x, y)
    surface = _surface(model.energy_)
    spread, spread_before = (float(s.std(axis=0).mean()) for s in (surface, before))
    best = np.linspace(_LEAST, _GREATEST, _FINE)[surface.argmin(axis=0)]
    error = float(np.abs(best - np.linspace(-1, 1, _FINE) ** 2).mean())
    row = {
        "architecture": architecture,
        "loss": loss,
        "refused": refusal,
        "collapsed": spread < _FLAT * spread_before,
        "spread_over_answers": spread,
        "spread_before": spread_before,
        "mean_error_of_best_answer": error,
    }
    return row, surface


def _refusal(model: EnergyRegressor, x: NDArray[np.float64], y: NDArray[np.float64]) -> str:
    """Why the estimator refuses this loss on this architecture; empty where it does not."""
    try:
        model.fit(x, y)
    except ValueError as error:
        if not str(error).startswith("loss: "):
            raise
        return str(error)
    return ""


def _print(rows: list[dict[str, Any]]) -> None:
    print(f"{'architecture':14s}{'loss':20s}{'energies apart':>16s}{'error':>9s}")
    for row in rows:
        apart = row["spread_over_answers"] / row["spread_before"]
        fate = "collapsed" if row["collapsed"] else ""
        note = ", ".join(words for words in ("refused" if row["refused"] else "", fate) if words)
        error = row["mean_error_of_best_answer"]
        print(f"{row['architecture']:14s}{row['loss']:20s}{apart:16.2f}{error:9.3f}  {note}")

"""`thalweg learn deep-energy`: from photographs to a deep energy of their patches, and its report."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..models import DeepEnergyModel
from ..models.deep_energy_model import DEVICE_LOSSES
from ..persistence import write_bytes
from ..plots import filter_mosaic
from . import density_metrics
from .density_data import density_rows
from .density_model import DEEP_ENERGY, DensityModel, Point
from .photographs import resolved
from .pictures import mosaic_png
from .rbm_data import Rows
from .report_deep_energy import Report, report_html
from .run import Job, Recorder, learn, steps_per_epoch

LOSSES = ("score_matching", "denoising", "sliced", "nce", "conditional_nce", "cd")
ACTIVATIONS = ("sigmoid", "tanh", "softplus", "relu")
STRUCTURES = ("full", "banded", "toeplitz")
ESTIMATORS = ("maximum_likelihood", "score_matching")

# Options that are parameters of the estimator, of the same names.
_PARAMETERS: dict[str, Any] = {
    "n_components": 64,
    "hidden_layer_sizes": [64],
    "activation": "sigmoid",
    "sigma": 1.0,
    "hidden_bias": True,
    "init_bias": 2.0,
    "loss": "denoising",
    "l2": 0.03,
    "learning_rate": 5e-3,
    "schedule": "linear",
    "batch_size": 100,
    "layerwise": False,
}
DEEP_ENERGY_DEFAULTS: dict[str, Any] = {
    **_PARAMETERS,
    "epochs": 30,
    "patch_size": 28,
    "n_patches": 50_000,
    "max_side": 1024,
    "whiten": True,
    "gaussian": "full",
    "gaussian_radius": 3,
    "gaussian_estimator": "maximum_likelihood",
    "whitening_eps": 0.0,
    "seed": 0,
    "dtype": "float32",
}


def learn_deep_energy(args: argparse.Namespace) -> int:
    """Runs `thalweg learn deep-energy`; the exit code."""
    return learn(_DeepEnergy(), args)


class _DeepEnergy(Job[DensityModel, Rows]):
    command = DEEP_ENERGY
    epochs_parameter = "n_iter"
    options = tuple(DEEP_ENERGY_DEFAULTS)
    device_losses = DEVICE_LOSSES

    def load(self, path: Path) -> DensityModel:
        return DensityModel.load(path)

    def new(self, given: dict[str, Any], paths: list[str]) -> DensityModel:
        options = {**DEEP_ENERGY_DEFAULTS, **given}
        parameters = {name: options[name] for name in _PARAMETERS}
        parameters["hidden_layer_sizes"] = tuple(options["hidden_layer_sizes"])
        learner = DeepEnergyModel(**parameters, n_iter=options["epochs"], random_state=options["seed"])
        run = {
            "options": options,
            "source": {"paths": resolved(paths)},
            "builds": [],
            "finished": False,
            "seconds": 0.0,
        }
        return DensityModel(DEEP_ENERGY, learner, (options["patch_size"],) * 2, run)

    def is_begun_with(self, model: DensityModel, paths: list[str]) -> bool:
        return bool(resolved(paths) == model.run["source"]["paths"])

    def n_stages(self, model: DensityModel) -> int:
        options = model.run["options"]
        depth = len(options["hidden_layer_sizes"])
        return depth + 2 if options["layerwise"] and depth else 1

    def data(self, model: DensityModel) -> Rows:
        rows = density_rows(model)
        model.learner.set_params(noise=model.noise())
        return rows

    def rows(self, data: Rows) -> NDArray[Any]:
        return data.learnt

    def recorder(self, model: DensityModel, data: Rows, path: Path, bar: Any, every: float) -> _Recorder:
        return _Recorder(model, data, path, bar, every)

    def write_results(self, model: DensityModel, data: Rows, out: Path) -> None:
        _write_results(model, data, out)

    def summary(self, model: DensityModel) -> str:
        last = model.history[-1]
        return (
            f"{model.run['options']['n_components']} hidden units (AUC against the fitted Gaussian "
            f"{last.auc:.3f} by log p, {last.auc_ratio:.3f} by the log-ratio)"
        )


class _Recorder(Recorder[DensityModel]):
    """Follows log p of some patches and of the Gaussian's samples, after the first step and every epoch."""

    def __init__(self, model: DensityModel, data: Rows, path: Path, bar: Any, every: float) -> None:
        super().__init__(model, path, bar, every)
        self._rows = density_metrics.monitored(model, data)
        self._in_epoch = steps_per_epoch(data.learnt, model.run["options"])

    def note(self, state: dict[str, Any], seconds: float) -> None:
        self.model.run["seconds"] = seconds
        step = state["i"] + 1
        if step > 1 and step % self._in_epoch:
            return
        point = density_metrics.point(self.model, self._rows, step / self._in_epoch)
        self.model.history.append(point)
        self.bar.set_postfix_str(_in_words(point), refresh=False)


def _in_words(point: Point) -> str:
    return f"objective {point.objective:.4g}, AUC {point.auc:.3f}, of log-ratios {point.auc_ratio:.3f}"


def _write_results(model: DensityModel, data: Rows, out: Path) -> None:
    rows = density_metrics.evaluated(model, data)
    found = density_metrics.scores(model, rows)
    metrics = _metrics(model, data)
    metrics["scores"] = density_metrics.summaries(found, rows.natural)
    filters = model.filters()
    page = report_html(Report(model, metrics, rows, found, filters))
    for name, pictures in filters.items():
        write_bytes(out / _picture_name(name), mosaic_png(filter_mosaic(pictures)))
    write_bytes(out / "metrics.json", json.dumps(metrics, indent=1).encode())
    write_bytes(out / "report.html", page.encode(errors="backslashreplace"))  # a file's name may be no UTF-8


def _picture_name(filters: str) -> str:
    return "filters.png" if filters == "filters" else f"filters-{filters}.png"


def _metrics(model: DensityModel, data: Rows) -> dict[str, Any]:
    run, gaussian = model.run, model.fitted
    return {
        "options": run["options"],
        "names": data.names,
        "builds": run["builds"],
        "finished": run["finished"],
        "n_steps": int(model.learner.n_steps_),
        "n_learnt": len(data.learnt),
        "n_constant": run["n_constant"],
        "n_held_out": 0 if data.held_out is None else len(data.held_out),
        "seconds": run["seconds"],
        "is_constraint_active": gaussian.is_constraint_active,
        "history": _history(model, data),
    }


def _history(model: DensityModel, data: Rows) -> dict[str, list[float | None]]:
    """By name; what is not finite, which JSON does not know, is None.

    A run that was interrupted between two points gets one of how it is now.
    """
    steps = int(model.learner.n_steps_)
    points = list(model.history)
    if not points or points[-1].step != steps:
        epoch = steps / steps_per_epoch(data.learnt, model.run["options"])
        points.append(density_metrics.point(model, density_metrics.monitored(model, data), epoch))
    columns = zip(Point._fields, zip(*points))
    return {name: [float(v) if np.isfinite(v) else None for v in values] for name, values in columns}

"""`thalweg learn rbm` and `thalweg learn gaussian-rbm`: from images to a Boltzmann machine and its report."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..models import BernoulliRBM, GaussianBernoulliRBM
from ..models._rbm_learning import DEVICE_LOSSES
from ..persistence import write_bytes
from ..plots import filter_mosaic, plot_chains
from . import rbm_metrics
from .photographs import resolved
from .pictures import figure_png, mosaic_png
from .rbm_data import DIGITS, IMAGES, MNIST, Rows, gray_rows, pixel_shape, source_of, whitened_rows
from .rbm_model import BERNOULLI, GAUSSIAN, Point, RbmModel
from .report_rbm import Report, chain_limits, report_html
from .run import Job, Recorder, flag, learn, steps_per_epoch

# Options that are parameters of the estimators, of the same names.
_PARAMETERS: dict[str, Any] = {
    "n_components": 256,
    "loss": "pcd",
    "learning_rate": 0.1,
    "schedule": "linear",
    "momentum": 0.5,
    "l2": 1e-4,
    "batch_size": 100,
    "n_gibbs_steps": 1,
    "n_chains": None,
    "n_temperatures": 10,
    "centering": True,
    "sample_hidden": False,
    "sparsity_target": None,
    "sparsity_cost": 0.0,
    "max_grad_norm": None,
    "init_visible": "base_rates",
}
_COMMON: dict[str, Any] = {
    **_PARAMETERS,
    "epochs": 10,
    "ais_temperatures": 5000,
    "seed": 0,
    "dtype": "float32",
}
_OF_PATCHES: dict[str, Any] = {"patch_size": 12, "n_patches": 50_000, "max_side": 1024}
_OF_GAUSSIAN: dict[str, Any] = {
    "init_sigma": None,
    "sigma_type": "diagonal",
    "learn_sigma": True,
    "sigma_learning_rate": 0.01,
}

BERNOULLI_DEFAULTS: dict[str, dict[str, Any]] = {
    DIGITS: {**_COMMON, "binarize": "none", "n_components": 64, "centering": False, "epochs": 300},
    MNIST: {**_COMMON, "binarize": "none"},
    IMAGES: {
        **{**_COMMON, **_OF_PATCHES},
        "binarize": "none",
        "n_components": 64,
        "loss": "cd",
        "momentum": 0.9,
        "centering": False,
        "epochs": 20,
    },
}
GAUSSIAN_DEFAULTS: dict[str, Any] = {
    **{**_COMMON, **_OF_GAUSSIAN, **_OF_PATCHES},
    "whitening_eps": 0.3,
    "n_components": 144,
    "loss": "cd",
    "learning_rate": 0.3,
    "momentum": 0.9,
    "max_grad_norm": 1.0,
    "centering": False,
    "l2": 1e-3,
    "epochs": 20,
}


def learn_rbm(args: argparse.Namespace) -> int:
    """Runs `thalweg learn rbm`; the exit code."""
    return learn(_Bernoulli(), args)


def learn_gaussian_rbm(args: argparse.Namespace) -> int:
    """Runs `thalweg learn gaussian-rbm`; the exit code."""
    return learn(_Gaussian(), args)


class _Machine(Job[RbmModel, Rows]):
    """What both machines have in common."""

    epochs_parameter = "n_iter"
    estimator: ClassVar[type]
    parameters: ClassVar[dict[str, Any]] = _PARAMETERS
    device_losses = DEVICE_LOSSES

    def load(self, path: Path) -> RbmModel:
        return RbmModel.load(path, self.command)

    def _new(self, source: dict[str, Any], options: dict[str, Any]) -> RbmModel:
        if (options["sparsity_target"] is None) != (options["sparsity_cost"] == 0):
            raise ValueError("--sparsity-target and --sparsity-cost: expected both, or none of them")
        parameters = {name: options[name] for name in self.parameters}
        learner = self.estimator(**parameters, n_iter=options["epochs"], random_state=options["seed"])
        run = {"options": options, "source": source, "builds": [], "finished": False, "seconds": 0.0}
        return RbmModel(self.command, learner, pixel_shape(source["kind"], options), run)

    def rows(self, data: Rows) -> NDArray[Any]:
        return data.learnt

    def recorder(self, model: RbmModel, data: Rows, path: Path, bar: Any, every: float) -> _Recorder:
        return _Recorder(model, data, path, bar, every)

    def write_results(self, model: RbmModel, data: Rows, out: Path) -> None:
        _write_results(model, data, out)

    def summary(self, model: RbmModel) -> str:
        return f"{len(model.learner.components_)} hidden units"


class _Bernoulli(_Machine):
    command = BERNOULLI
    inputs = "images"
    estimator = BernoulliRBM
    options = tuple(dict.fromkeys(name for of_kind in BERNOULLI_DEFAULTS.values() for name in of_kind))

    def new(self, given: dict[str, Any], paths: list[str]) -> RbmModel:
        source = source_of(paths)
        defaults = BERNOULLI_DEFAULTS[source["kind"]]
        for name in given:
            if name not in defaults:
                raise ValueError(f"{flag(name)}: only images are cut into patches, not {source['kind']}")
        return self._new(source, {**defaults, **given})

    def is_begun_with(self, model: RbmModel, paths: list[str]) -> bool:
        return bool(source_of(paths) == model.run["source"])

    def data(self, model: RbmModel) -> Rows:
        return gray_rows(model)


class _Gaussian(_Machine):
    command = GAUSSIAN
    estimator = GaussianBernoulliRBM
    parameters = _PARAMETERS | _OF_GAUSSIAN
    options = tuple(GAUSSIAN_DEFAULTS)

    def new(self, given: dict[str, Any], paths: list[str]) -> RbmModel:
        source = {"kind": IMAGES, "paths": resolved(paths)}
        return self._new(source, {**GAUSSIAN_DEFAULTS, **given})

    def is_begun_with(self, model: RbmModel, paths: list[str]) -> bool:
        return bool(resolved(paths) == model.run["source"]["paths"])

    def data(self, model: RbmModel) -> Rows:
        return whitened_rows(model)


class _Recorder(Recorder[RbmModel]):
    """Follows free energies and reconstruction of some rows, after the first step and every epoch."""

    def __init__(self, model: RbmModel, data: Rows, path: Path, bar: Any, every: float) -> None:
        super().__init__(model, path, bar, every)
        self._rows = rbm_metrics.monitored(data)
        self._in_epoch = steps_per_epoch(data.learnt, model.run["options"])

    def note(self, state: dict[str, Any], seconds: float) -> None:
        self.model.run["seconds"] = seconds
        step = state["i"] + 1
        if step > 1 and step % self._in_epoch:
            return
        point = rbm_metrics.point(self.model.learner, self._rows, step / self._in_epoch)
        self.model.history.append(point)
        self.bar.set_postfix_str(_in_words(point), refresh=False)


def _in_words(point: Point) -> str:
    words = f"reconstruction error {point.error:.4g}"
    if np.isfinite(point.free_energy_held_out):
        words += f", free energy held out {point.free_energy_held_out - point.free_energy:+.3g}"
    return words


def _write_results(model: RbmModel, data: Rows, out: Path) -> None:
    rows = rbm_metrics.evaluated(data)
    energies = rbm_metrics.free_energies(model.learner, rows)
    samples = rbm_metrics.chains(model, rows)
    metrics = _metrics(model, data)
    metrics["reconstruction"] = rbm_metrics.reconstruction(model.learner, rows)
    metrics["log_likelihood"] = rbm_metrics.log_likelihoods(model, energies, rows.learnt)
    metrics["independent_pixels"] = rbm_metrics.independent_pixels(model, rows)
    filters = model.filters()
    page = report_html(Report(model, metrics, rows, energies, filters, samples))
    chains = plot_chains(samples, rbm_metrics.SWEEPS, limits=chain_limits(model, rows))
    write_bytes(out / "metrics.json", json.dumps(_without_nan(metrics), indent=1).encode())
    write_bytes(out / "filters.png", mosaic_png(filter_mosaic(filters)))
    write_bytes(out / "samples.png", figure_png(chains))
    write_bytes(out / "report.html", page.encode(errors="backslashreplace"))  # a file's name may be no UTF-8


def _metrics(model: RbmModel, data: Rows) -> dict[str, Any]:
    run = model.run
    return {
        "options": run["options"],
        "source": run["source"]["kind"],
        "names": data.names,
        "builds": run["builds"],
        "finished": run["finished"],
        "n_steps": int(model.learner.n_steps_),
        "n_learnt": len(data.learnt),
        "n_held_out": 0 if data.held_out is None else len(data.held_out),
        "seconds": run["seconds"],
        "history": _history(model, data),
    }


def _history(model: RbmModel, data: Rows) -> dict[str, list[float]]:
    """By name; a run that was interrupted between two points gets one of how it is now."""
    steps = int(model.learner.n_steps_)
    points = list(model.history)
    if not points or points[-1].step != steps:
        epoch = steps / steps_per_epoch(data.learnt, model.run["options"])
        points.append(rbm_metrics.point(model.learner, rbm_metrics.monitored(data), epoch))
    return {name: list(values) for name, values in zip(Point._fields, zip(*points))}


def _without_nan(value: Any) -> Any:
    """The same with None for numbers that are not finite, which JSON does not know."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value

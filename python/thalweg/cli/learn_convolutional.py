"""`thalweg learn conv-sparse-coding` and `learn conv-autoencoder`: from whole photographs to filters."""

from __future__ import annotations

import argparse
from abc import abstractmethod
from math import ceil
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ..models import ConvolutionalDictionaryLearning, ConvolutionalSparseAutoencoder
from . import convolutional_results
from .convolutional_images import Images, Preprocessing, images_of
from .convolutional_model import AUTOENCODER, COLUMNS, SPARSE_CODING, ConvolutionalModel
from .photographs import resolved
from .report_convolutional import report_html
from .run import Job, Recorder, learn

AT_ONCE = "all"  # the value of --batch-size that is no number

_PREPROCESSING: dict[str, Any] = {"low_pass": 5.0, "contrast_normalization": True, "color": False}
_COMMON: dict[str, Any] = {**_PREPROCESSING, "max_side": 512, "seed": 0, "dtype": "float32"}

SPARSE_CODING_DEFAULTS: dict[str, Any] = {
    "n_components": 24,
    "filter_size": 9,
    "alpha": 3.0,
    "batch_size": 1,
    "epochs": 40,
    "boundary": "valid",
    "zero_mean": True,
    **_COMMON,
}
AUTOENCODER_DEFAULTS: dict[str, Any] = {
    "n_components": 24,
    "filter_size": 9,
    "alpha": 2.0,
    "prediction_weight": 1.0,
    "nonlinearity": "shrinkage",
    "batch_size": 8,
    "epochs": 12,
    "learning_rate": 0.1,
    "boundary": "valid",
    **_COMMON,
}

_CROP_FILTERS = 5  # side of the auto-encoder's crops, in filters
_FADING = 3.0  # online, older batches fade with this power: runs are short
_SMOOTHED_STEPS = 20


def learn_conv_sparse_coding(args: argparse.Namespace) -> int:
    """Runs `thalweg learn conv-sparse-coding`; the exit code."""
    return learn(_SparseCoding(), args)


def learn_conv_autoencoder(args: argparse.Namespace) -> int:
    """Runs `thalweg learn conv-autoencoder`; the exit code."""
    return learn(_Autoencoder(), args)


class _Convolutional(Job[ConvolutionalModel, Images]):
    """What both models have in common."""

    defaults: ClassVar[dict[str, Any]]

    def load(self, path: Path) -> ConvolutionalModel:
        return ConvolutionalModel.load(path, self.command)

    def new(self, given: dict[str, Any], paths: list[str]) -> ConvolutionalModel:
        options = {**self.defaults, **given}
        preprocessing = Preprocessing(
            dtype=options["dtype"], **{name: options[name] for name in _PREPROCESSING}
        )
        run = {"options": options, "photographs": resolved(paths), "builds": [], "finished": False}
        return ConvolutionalModel(self.command, self.learner(options), preprocessing, run)

    @abstractmethod
    def learner(self, options: dict[str, Any]) -> Any:
        """An estimator with these options."""

    def is_begun_with(self, model: ConvolutionalModel, paths: list[str]) -> bool:
        return bool(resolved(paths) == model.run["photographs"])

    def data(self, model: ConvolutionalModel) -> Images:
        return images_of(model.run, model.preprocessing)

    def recorder(
        self, model: ConvolutionalModel, data: Images, path: Path, bar: Any, every: float
    ) -> _Recorder:
        return _Recorder(model, path, bar, every)

    def write_results(self, model: ConvolutionalModel, data: Images, out: Path) -> None:
        results = convolutional_results.results_of(model, data)
        convolutional_results.write(results, report_html(results), out)

    def summary(self, model: ConvolutionalModel) -> str:
        return f"{len(model.learner.components_)} filters"


class _SparseCoding(_Convolutional):
    command = SPARSE_CODING
    epochs_parameter = "max_iter"
    defaults = SPARSE_CODING_DEFAULTS
    options = tuple(SPARSE_CODING_DEFAULTS)

    def learner(self, options: dict[str, Any]) -> ConvolutionalDictionaryLearning:
        if options["zero_mean"] and options["filter_size"] == 1:
            raise ValueError(
                "--filter-size 1: a filter of one pixel that sums to zero is zero; add --no-zero-mean"
            )
        return ConvolutionalDictionaryLearning(
            options["n_components"],
            options["filter_size"],
            alpha=options["alpha"],
            batch_size=None if options["batch_size"] == AT_ONCE else options["batch_size"],
            tol=0.0,
            boundary=options["boundary"],
            zero_mean_dict=options["zero_mean"],
            rho=_FADING,
            random_state=options["seed"],
        )

    def rows(self, data: Images) -> Any:
        return data.learnt

    def steps_per_epoch(self, model: ConvolutionalModel, rows: Any) -> int:
        if model.run["options"]["batch_size"] == AT_ONCE:
            return 1
        return super().steps_per_epoch(model, rows)


class _Autoencoder(_Convolutional):
    command = AUTOENCODER
    epochs_parameter = "n_iter"
    defaults = AUTOENCODER_DEFAULTS
    options = tuple(AUTOENCODER_DEFAULTS)

    def learner(self, options: dict[str, Any]) -> ConvolutionalSparseAutoencoder:
        names = ("alpha", "prediction_weight", "nonlinearity", "boundary", "batch_size", "learning_rate")
        return ConvolutionalSparseAutoencoder(
            options["n_components"],
            options["filter_size"],
            crop_size=_CROP_FILTERS * options["filter_size"],
            random_state=options["seed"],
            **{name: options[name] for name in names},
        )

    def rows(self, data: Images) -> Any:
        return list(data.learnt)

    def steps_per_epoch(self, model: ConvolutionalModel, rows: Any) -> int:
        """A pass takes as many crops of an image as would cover it."""
        side: int = model.learner.crop_size
        n_crops: int = sum(ceil(image.shape[1] / side) * ceil(image.shape[2] / side) for image in rows)
        return -(-n_crops // int(model.learner.batch_size))


class _Recorder(Recorder[ConvolutionalModel]):
    """Keeps the energy of every step, for one pixel, and of an auto-encoder its parts."""

    def note(self, state: dict[str, Any], seconds: float) -> None:
        model = self.model
        if model.job == SPARSE_CODING:
            energy = state["objective"] / state["n_pixels"]
        else:
            energy = state["batch_energy"]
        parts = (state[name] for name in COLUMNS[model.job][3:])
        model.history.append((model.learner.n_steps_, energy, seconds, *parts))
        recent = [point[1] for point in model.history[-_SMOOTHED_STEPS:]]
        self.bar.set_postfix_str(f"objective {np.mean(recent):.5g}", refresh=False)

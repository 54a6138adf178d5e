"""Models that have a density or a free energy, each with what turns gray patches into its rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import isqrt
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from ..models import (
    BernoulliRBM,
    ConstrainedGaussian,
    DeepEnergyModel,
    GaussianBernoulliRBM,
    ScoreMatchingAutoencoder,
)
from ..persistence import load_model_and_extra
from ..preprocessing import Whitening
from .density_model import DEEP_ENERGY, DensityModel
from .model_files import COMMANDS
from .patch_gaussian import PatchGaussian
from .patch_rows import centred, whitened
from .rbm_data import binarized
from .rbm_model import BERNOULLI, GAUSSIAN, RbmModel
from .run import MODEL

_BLOCK_ROWS = 4096
_LEAST_VARIANCE = 1e-6  # in mean eigenvalues
_KINDS = (BernoulliRBM, GaussianBernoulliRBM, ConstrainedGaussian, DeepEnergyModel, ScoreMatchingAutoencoder)


@dataclass
class ScoredModel:
    """A learner over gray patches of this shape; `gaussian` is the one fitted in training, if any."""

    name: str
    learner: Any
    shape: tuple[int, int]
    rows: Callable[[NDArray[Any]], NDArray[Any]]
    dtype: str = "float32"
    gaussian: PatchGaussian | None = None
    learnt_from: frozenset[str] = field(default_factory=frozenset)  # photographs
    is_centred: bool = False  # whether the Gaussian is one of patches less their means

    @property
    def kind(self) -> str:
        return type(self.learner).__name__

    def scores(self, pixels: NDArray[Any]) -> dict[str, NDArray[np.float64]]:
        """By what is scored: log p without its normaliser; with a Gaussian also its own, and the ratio."""
        pixels = pixels.astype(self.dtype, copy=False)
        found = {"log_p": _in_blocks(lambda block: -self.learner.free_energy(self.rows(block)), pixels)}
        if self.gaussian is not None:
            seen = centred(pixels, 1)[0] if self.is_centred else pixels
            found["log_p_gaussian"] = _in_blocks(self.gaussian.log_density, seen)
            found["log_ratio"] = found["log_p"] - found["log_p_gaussian"]
        return found


def load_scored(name: str, device: str = "cpu") -> ScoredModel:
    """The model of a file, or of a run's folder, for this device, whatever it was learnt on.

    ValueError where such models have no kernels there.
    """
    model = _loaded(name)
    if "device" in model.learner.get_params(deep=False):
        model.learner.set_params(device=device)
    elif device != "cpu":
        raise ValueError(f"--device {device}: {name} holds a {model.kind}, which has no kernels there")
    return model


def _loaded(name: str) -> ScoredModel:
    path = Path(name)
    file = path / MODEL if path.is_dir() else path
    learner, extra = load_model_and_extra(file)
    job = extra.get("job")
    if job == DEEP_ENERGY:
        return _of_deep_energy(name, DensityModel.load(file))
    if job in (BERNOULLI, GAUSSIAN):
        return _of_rbm(name, RbmModel.load(file, job))
    if not isinstance(learner, _KINDS):
        by = f" of `thalweg learn {COMMANDS[job]}`" if job in COMMANDS else ""
        raise ValueError(
            f"{file}: holds a {type(learner).__name__}{by}, which has no density; expected one of "
            f"{', '.join(kind.__name__ for kind in _KINDS)}"
        )
    return _of_estimator(name, file, learner)


def _of_deep_energy(name: str, model: DensityModel) -> ScoredModel:
    return ScoredModel(
        name,
        model.learner,
        model.shape,
        model.rows,
        model.run["options"]["dtype"],
        model.fitted,
        frozenset(model.run["source"]["paths"] or ()),
    )


def _of_rbm(name: str, model: RbmModel) -> ScoredModel:
    options, whitening = model.run["options"], model.whitening
    learnt_from = frozenset(model.run["source"]["paths"] or ())
    if whitening is None:

        def rows(pixels: NDArray[Any]) -> NDArray[Any]:
            return binarized(pixels, options, 2)

        return ScoredModel(name, model.learner, model.shape, rows, options["dtype"], None, learnt_from)

    def whitened_rows(pixels: NDArray[Any]) -> NDArray[Any]:
        return whitened(whitening, centred(pixels, 1)[0])

    gaussian = _of_centred(whitening)
    return ScoredModel(
        name, model.learner, model.shape, whitened_rows, options["dtype"], gaussian, learnt_from, True
    )


def _of_estimator(name: str, file: Path, learner: Any) -> ScoredModel:
    """A model that Python saved: its rows are the pixels themselves."""
    check_is_fitted(learner)
    n_pixels = int(learner.n_features_in_)
    shape = getattr(learner, "image_shape", None)
    if shape is None:
        side = isqrt(n_pixels)
        if side * side != n_pixels:
            raise ValueError(f"{file}: its rows have {n_pixels} features, which are no square patch")
        shape = (side, side)
    gaussian = None
    if isinstance(learner, ConstrainedGaussian):
        mean, precision = (np.asarray(a, np.float64) for a in (learner.mean_, learner.precision_))
        gaussian = PatchGaussian(mean, precision, str(learner.structure))
    height, width = map(int, shape)
    return ScoredModel(name, learner, (height, width), lambda pixels: pixels, "float64", gaussian)


def _of_centred(whitening: Whitening) -> PatchGaussian:
    """The Gaussian of the patches less their means that a whitening was fitted to, with all their covariance.

    These patches do not vary along the mean: there they get a little variance.
    """
    variance = np.asarray(whitening.explained_variance_, np.float64)
    variance = np.maximum(variance, _LEAST_VARIANCE * variance.mean())
    directions = np.asarray(whitening.components_, np.float64)
    precision = (directions.T / variance) @ directions
    return PatchGaussian(np.asarray(whitening.mean_, np.float64), precision, "full")


def _in_blocks(score: Callable[[NDArray[Any]], NDArray[Any]], pixels: NDArray[Any]) -> NDArray[np.float64]:
    blocks = [score(pixels[i : i + _BLOCK_ROWS]) for i in range(0, len(pixels), _BLOCK_ROWS)]
    return np.concatenate([np.asarray(block, np.float64) for block in blocks])

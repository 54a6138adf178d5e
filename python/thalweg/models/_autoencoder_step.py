"""One step of learning of the convolutional sparse auto-encoder, and the parameters that it begins with.

Everything here is in units in which the images' root mean square is about 1, so that constants are numbers.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from .. import _rng, optim
from .._check import FloatArray
from ..energies import PredictiveSparseDecompositionEnergy
from ..inference.proximal_gradient import minimise
from ._convolutional_filters import worst_patches
from ._learning import require_finite_step

_MOMENTUM = 0.9
_CURVATURE_DECAY = 0.95  # of the running means that are the curvatures
_DAMPING = 0.05  # of the maps' mean curvature, added to that of each
_ENCODER_CURVATURE = 4  # of encoders by shrinkage, in means of its diagonal
_PATIENCE = 20  # steps without a non-zero after which a map is dead
_FIRST_GAIN = 0.1
_FIRST_LENGTH_OF_TANH = 0.1
_FIRST_GAIN_OF_TANH = 0.3
_PATCHES = 64  # in a first filter


class Parameters(NamedTuple):
    """What is learnt, in the order of the energy's arguments; `threshold` is None for tanh."""

    filters: FloatArray
    encoder_filters: FloatArray
    intercept: FloatArray
    gain: FloatArray
    threshold: FloatArray | None

    def present(self) -> dict[str, FloatArray]:
        return {name: value for name, value in self._asdict().items() if value is not None}


class Progress(NamedTuple):
    """What one step leaves to the next one, by the names of `Parameters`."""

    velocities: dict[str, FloatArray]
    curvatures: dict[str, NDArray[np.float64]]  # (n_maps,), of a pixel
    idle: NDArray[np.int64]  # steps since each map was last used

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Everything, by names of its own."""
        return {
            **{f"velocity_{name}": value for name, value in self.velocities.items()},
            **{f"curvature_{name}": value for name, value in self.curvatures.items()},
            "idle": self.idle,
        }

    @classmethod
    def of(cls, tensors: dict[str, NDArray[Any]], parameters: Parameters) -> Progress:
        """From what `tensors` gave, for these parameters."""
        present = parameters.present()
        made = cls(
            {name: np.array(tensors[f"velocity_{name}"]) for name in present},
            {name: np.array(tensors[f"curvature_{name}"]) for name in present},
            np.array(tensors["idle"]),
        )
        n_maps = len(parameters.gain)
        fits = all(made.velocities[name].shape == value.shape for name, value in present.items())
        fits = fits and all(value.shape == (n_maps,) for value in (*made.curvatures.values(), made.idle))
        if not fits:
            raise ValueError("the velocities of the state do not belong to its parameters")
        return made


class Step(NamedTuple):
    """What one batch makes of the state."""

    parameters: Parameters
    progress: Progress
    terms: tuple[float, ...]  # of the energy of a pixel, before the step, in the images' units


class Options(Protocol):
    """The estimator's parameters that a step looks at."""

    prediction_weight: float
    boundary: str
    learning_rate: float
    max_inference_iter: int
    n_jobs: int | None
    device: str


class _Batch(NamedTuple):
    """What the codes of a batch say: sums over its pixels."""

    gradients: dict[str, FloatArray]
    curvatures: dict[str, NDArray[np.float64]]
    terms: NDArray[np.float64]
    used: NDArray[np.bool_]
    residuals: list[FloatArray]
    n_pixels: int


def power_of_two_scale(images: list[FloatArray]) -> float:
    """The power of two next to the images' root mean square, 1 for images of zeros: to divide them by."""
    largest = max(float(np.abs(image).max()) for image in images)
    if largest == 0:
        return 1.0
    squares = sum(float(np.square(image / largest, dtype=np.float64).sum()) for image in images)
    mean = squares / sum(image.size for image in images)
    limits = np.finfo(images[0].dtype)
    return float(np.clip(2.0 ** np.round(np.log2(largest * np.sqrt(mean))), limits.tiny, 1 / limits.tiny))


def scaled(parameters: Parameters, scale: float) -> Parameters:
    """The parameters for images that are `scale` times smaller: exactly, for a power of two."""
    dtype = parameters.gain.dtype.type
    return parameters._replace(
        encoder_filters=parameters.encoder_filters * dtype(scale), gain=parameters.gain / dtype(scale)
    )


def energy_of(parameters: Parameters, alpha: float, options: Options) -> PredictiveSparseDecompositionEnergy:
    return PredictiveSparseDecompositionEnergy(
        *parameters,
        alpha=alpha,
        prediction_weight=options.prediction_weight,
        boundary=options.boundary,
        n_jobs=options.n_jobs,
        device=options.device,
    )


def first_parameters(
    images: list[FloatArray], n_maps: int, shape: tuple[int, int], *, threshold: float | None, seed: int
) -> Parameters:
    """Filters of unit norm, random combinations of patches: as smooth as the images are.

    White noise would stay in the encoder at frequencies that the images hardly have.
    """
    dtype = images[0].dtype
    filters = np.empty((n_maps, len(images[0]), *shape))
    for k in range(n_maps):
        weights = _rng.normals(seed, _rng.STREAM_INITIAL_ATOMS, 0, _PATCHES, row=k)
        draws = _rng.uniform(seed, _rng.STREAM_INITIAL_ATOMS, 1, 3 * _PATCHES, row=k).reshape(-1, 3)
        filters[k] = sum(weight * _patch(images, draw, shape) for weight, draw in zip(weights, draws))
        if not filters[k].any():
            noise = _rng.normals(seed, _rng.STREAM_INITIAL_ATOMS, 2, filters[k].size, row=k)
            filters[k] = noise.reshape(filters[k].shape)
    filters /= _norms(filters)
    # Tanh begins where it is nearly linear.
    length, gain = (
        (1.0, _FIRST_GAIN) if threshold is not None else (_FIRST_LENGTH_OF_TANH, _FIRST_GAIN_OF_TANH)
    )
    return Parameters(
        filters.astype(dtype),
        (length * filters).astype(dtype),
        np.zeros(n_maps, dtype),
        np.full(n_maps, gain, dtype),
        None if threshold is None else np.full(n_maps, threshold, dtype),
    )


def _patch(
    images: list[FloatArray], draw: NDArray[np.float64], shape: tuple[int, int]
) -> NDArray[np.float64]:
    """The patch at the place that three numbers in [0, 1) choose, divided by its greatest magnitude."""
    image = images[min(int(draw[0] * len(images)), len(images) - 1)]
    top, left = (
        min(int(u * (size - side + 1)), size - side)
        for u, size, side in zip(draw[1:], image.shape[1:], shape)
    )
    patch = image[:, top : top + shape[0], left : left + shape[1]].astype(np.float64)
    largest = np.abs(patch).max()
    return patch / largest if largest > 0 else patch


def first_progress(parameters: Parameters) -> Progress:
    """Before the first step."""
    present = parameters.present()
    n_maps = len(parameters.gain)
    return Progress(
        {name: np.zeros_like(value) for name, value in present.items()},
        {name: np.zeros(n_maps) for name in present},
        np.zeros(n_maps, np.int64),
    )


def take_step(
    batch: list[FloatArray],
    parameters: Parameters,
    progress: Progress,
    *,
    alpha: float,
    number: int,
    scale: float,
    model: Options,
) -> Step:
    """Codes of the crops, gradients, and the next parameters; nothing that is given changes.

    FloatingPointError where a number is not finite.
    """
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):  # the step ends with a check
        crops = [images / images.dtype.type(scale) for images in batch]
        _require_moderate(crops, number)
        found = _batch_of(crops, energy_of(parameters, alpha, model), model, number)
        following, progress = _descended(parameters, progress, found, model.learning_rate)
        following, progress = _balanced(following, progress)
        following, progress = _revived(following, progress, found, alpha)
        terms = found.terms / found.n_pixels * np.float64(scale) ** 2  # which may be infinite
    require_finite_step(number, terms, *following.present().values(), *progress.tensors().values())
    return Step(following, progress, tuple(map(float, terms)))


def _require_moderate(arrays: list[FloatArray], number: int) -> None:
    """FloatingPointError where squares and products of such numbers could leave the finite ones."""
    limit = np.sqrt(np.finfo(arrays[0].dtype).max) * 1e-4
    if not all((np.abs(array) < limit).all() for array in arrays):
        require_finite_step(number, np.inf)


def _batch_of(
    crops: list[FloatArray], energy: PredictiveSparseDecompositionEnergy, options: Options, number: int
) -> _Batch:
    gradients, curvatures, terms, used, residuals = [], [], np.zeros(3), False, []
    for images in crops:
        observed = energy.given(images)
        _require_moderate([observed.prediction], number)
        codes, _ = minimise(
            observed, observed.prediction, max_iter=options.max_inference_iter, n_jobs=options.n_jobs
        )
        _require_moderate([codes, energy.gain], number)
        fit = observed.fit(codes)
        gradients.append(fit.gradients)
        curvatures.append(fit.curvatures)
        terms += [term.sum() for term in fit.terms]
        used = used | (codes != 0).any(axis=(0, 2, 3))
        residuals.append(fit.residual)
    return _Batch(
        _added(gradients),
        _added(curvatures),
        terms,
        np.asarray(used),
        residuals,
        sum(images[:, 0].size for images in crops),
    )


def _added(summands: list[Any]) -> dict[str, Any]:
    """Sums of named tuples, of what is not None."""
    first = summands[0]._asdict()
    return {
        name: sum(getattr(summand, name) for summand in summands)
        for name, value in first.items()
        if value is not None
    }


def _descended(
    parameters: Parameters, progress: Progress, batch: _Batch, rate: float
) -> tuple[Parameters, Progress]:
    """The gradient step, and filters brought into the unit ball."""
    moved: dict[str, FloatArray] = {}
    velocities, curvatures = {}, {}
    for name, value in parameters.present().items():
        curvature, curvatures[name] = _curvature(batch.curvatures[name] / batch.n_pixels, progress, name)
        gradient = batch.gradients[name] / value.dtype.type(batch.n_pixels)
        moved[name], velocities[name] = optim.curvature_step(
            value, progress.velocities[name], gradient, curvature, rate, momentum=_MOMENTUM
        )
    moved["filters"] /= np.maximum(_norms(moved["filters"]), 1)
    if "threshold" in moved:
        moved["threshold"] = np.maximum(moved["threshold"], 0)
    idle = np.where(batch.used, 0, progress.idle + 1)
    return parameters._replace(**moved), Progress(velocities, curvatures, idle)


def _balanced(parameters: Parameters, progress: Progress) -> tuple[Parameters, Progress]:
    """The same encoder with filters of norm 1, where that is free: shrinkage is homogeneous.

    gain shrink(u, threshold) = (gain n) shrink(u / n, threshold / n); else the gains could vanish while the
    filters grow, whose curvature goes with the square of the gains.
    """
    if parameters.threshold is None:
        return parameters, progress
    norms = _norms(parameters.encoder_filters)
    norms[norms == 0] = 1
    powers = {"encoder_filters": -1, "intercept": -1, "threshold": -1, "gain": 1}  # of the norms, in values
    values, velocities, curvatures = {}, dict(progress.velocities), dict(progress.curvatures)
    for name, power in powers.items():
        value = getattr(parameters, name)
        factor = norms.reshape(-1, *(1,) * (value.ndim - 1)) ** power
        values[name] = value * factor
        velocities[name] = velocities[name] / factor
        curvatures[name] = curvatures[name] / norms.ravel().astype(np.float64) ** (2 * power)
    return parameters._replace(**values), progress._replace(velocities=velocities, curvatures=curvatures)


def _curvature(
    now: NDArray[np.float64], progress: Progress, name: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What the step is divided by, and the running mean."""
    before = progress.curvatures[name]
    running = _CURVATURE_DECAY * before + (1 - _CURVATURE_DECAY) * now if before.any() else now
    # A batch richer than those before would else make too large a step.
    greater = np.maximum(running, now)
    if name == "filters" or "threshold" not in progress.curvatures:
        return greater + _DAMPING * greater.mean(), running
    # A map whose gain has become small must not take greater steps than the others, which would keep it
    # there; and shrinkage has corners that steps overshoot.
    return _ENCODER_CURVATURE * (greater + greater.mean()), running


def _revived(
    parameters: Parameters, progress: Progress, batch: _Batch, alpha: float
) -> tuple[Parameters, Progress]:
    """With maps that were idle for long begun anew, at the places of crops that are explained worst.

    The filters of both sides take the direction of what is left there, and all else the mean of the maps
    that live.
    """
    dead = np.flatnonzero(progress.idle >= _PATIENCE)
    if dead.size == 0:
        return parameters, progress
    alive = progress.idle < _PATIENCE
    present = {name: value.copy() for name, value in parameters.present().items()}
    progress = Progress(
        {name: value.copy() for name, value in progress.velocities.items()},
        {name: value.copy() for name, value in progress.curvatures.items()},
        progress.idle.copy(),
    )
    length = _norms(present["encoder_filters"])[alive].mean() if alive.any() else 1.0
    means = {"intercept": 0.0, "gain": _FIRST_GAIN, "threshold": alpha}
    crops = [crop for stack in batch.residuals for crop in stack]
    for k, patch in zip(dead, worst_patches(crops, parameters.filters.shape, len(dead))):
        present["filters"][k] = patch
        present["encoder_filters"][k] = length * patch
        for name, default in means.items():
            if name in present:
                present[name][k] = present[name][alive].mean() if alive.any() else default
        for name in present:
            progress.velocities[name][k] = 0
            if alive.any():
                progress.curvatures[name][k] = progress.curvatures[name][alive].mean()
        progress.idle[k] = 0
    return parameters._replace(**present), progress


def _norms(filters: FloatArray) -> FloatArray:
    """Norms of filters, to divide them by."""
    norms: FloatArray = np.sqrt(np.square(filters).sum(axis=(1, 2, 3), keepdims=True))
    return norms

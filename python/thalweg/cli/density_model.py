"""A deep energy as `thalweg learn deep-energy` leaves it, and its file."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from ..losses import GaussianNoise
from ..persistence import save_model
from .model_files import load_learnt
from .patch_gaussian import PatchGaussian, gaussian_from, gaussian_state

_NOISE_IN_FILES = "full"  # parameters that are objects cannot be saved; the Gaussian is, beside the learner

DEEP_ENERGY = "deep-energy"  # the job, and the command that learns such models


class Point(NamedTuple):
    """How the model was doing after a step, on fixed patches; NaN where none are held out.

    The AUCs are those of telling held-out patches (without such, those learnt from) from samples of the
    fitted Gaussian, by log p and by log p - log p of the Gaussian.
    """

    step: int
    epoch: float
    objective: float  # mean over the batches of the last epoch that was completed
    log_p: float  # of patches learnt from, unnormalised
    log_p_held_out: float
    log_p_gaussian: float  # of samples of the Gaussian
    auc: float
    auc_ratio: float


@dataclass
class DensityModel:
    """A deep energy over gray patches of this shape, the Gaussian of these patches, and how it was learnt."""

    job: str
    learner: Any
    shape: tuple[int, int]
    run: dict[str, Any] = field(default_factory=dict)  # options, source, builds, seconds
    gaussian: PatchGaussian | None = None
    history: list[Point] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """How long it has learnt."""
        return float(self.run["seconds"])

    @property
    def is_whitened(self) -> bool:
        return bool(self.run["options"]["whiten"])

    @property
    def fitted(self) -> PatchGaussian:
        """The Gaussian; there is one as soon as patches were drawn."""
        assert self.gaussian is not None
        return self.gaussian

    def rows(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """What the learner takes of pixels: without their mean, and whitened where the model is so."""
        if self.is_whitened:
            return self.fitted.whiten(pixels)
        return cast("NDArray[Any]", pixels - self.fitted.mean.astype(pixels.dtype))

    def pixels(self, rows: NDArray[Any]) -> NDArray[Any]:
        """The inverse of `rows`."""
        if self.is_whitened:
            return self.fitted.unwhiten(rows)
        return cast("NDArray[Any]", rows + self.fitted.mean.astype(rows.dtype))

    def pictures(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Rows as pictures (n, height, width)."""
        return np.reshape(rows, (-1, *self.shape))

    def log_p(self, rows: NDArray[Any]) -> NDArray[np.float64]:
        """log of the density of rows, but for a constant."""
        return np.asarray(self.learner.score_samples(rows), np.float64)

    def log_gaussian(self, rows: NDArray[Any]) -> NDArray[np.float64]:
        """log of the fitted Gaussian's density of the pixels of these rows."""
        if not self.is_whitened:
            return self.fitted.log_density(self.pixels(rows))
        squared = np.square(rows, dtype=np.float64).sum(axis=1)
        return np.asarray(-0.5 * squared - self.fitted.log_normalizer)

    def gaussian_rows(self, n: int, seed: int) -> NDArray[Any]:
        """Rows of samples of the fitted Gaussian."""
        return self.rows(self.fitted.sample(n, seed, self.run["options"]["dtype"]))

    def noise(self) -> GaussianNoise:
        """The fitted Gaussian over rows, what contrastive estimation tells patches from."""
        gaussian = self.fitted
        covariance = gaussian.covariance if not self.is_whitened else np.ones(len(gaussian.mean))
        return GaussianNoise(np.zeros(len(gaussian.mean)), covariance)

    def filters(self) -> dict[str, NDArray[Any]]:
        """The first layer's filters as pictures, the strongest first.

        "filters": rows of V, in the space of the learner's rows. Where that is whitened by P also
        "analysis", V P, what each unit takes from pixels, and "synthesis", V P^-1, what it stands for there.
        """
        rows = np.asarray(self.learner.filters_, np.float64)
        rows = rows[np.argsort(-np.linalg.norm(rows, axis=1), kind="stable")]
        found = {"filters": rows}
        if self.is_whitened:
            found["analysis"] = rows @ self.fitted.whitener
            found["synthesis"] = rows @ self.fitted.unwhitener
        return {name: self.pictures(each) for name, each in found.items()}

    def save(self, path: Path) -> None:
        extra = {
            "job": self.job,
            "shape": list(self.shape),
            "run": self.run,
            "gaussian": gaussian_state(self.gaussian),
            "history": np.array(self.history, np.float64).reshape(-1, len(Point._fields)),
        }
        noise = self.learner.noise
        self.learner.set_params(noise=_NOISE_IN_FILES)
        try:
            save_model(self.learner, path, extra)
        finally:
            self.learner.set_params(noise=noise)

    @classmethod
    def load(cls, path: Path, job: str = DEEP_ENERGY) -> DensityModel:
        learner, extra = load_learnt(path, job)
        return cls(
            job=job,
            learner=learner,
            shape=cast("tuple[int, int]", tuple(extra["shape"])),
            run=extra["run"],
            gaussian=gaussian_from(extra["gaussian"]),
            history=[Point(int(step), *rest) for step, *rest in extra["history"].tolist()],
        )

"""Photographs to rows for a dictionary and back: patches, means, whitening, codes; and the model file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, vstack

from ..models import MiniBatchDictionaryLearning
from ..persistence import save_model
from ..preprocessing import PatchGrid, Whitening, extract_patches, reconstruct_from_patches
from . import patch_rows
from .model_files import load_learnt
from .patch_rows import whitened, whitening_from, whitening_state

PATCHES = "sparse-coding of photographs"
_BLOCK_ROWS = patch_rows.BLOCK_ROWS


@dataclass
class PatchModel:
    """A dictionary of patches, with what turns photographs into its rows.

    A patch loses the mean of each of its channels; then it is whitened, or divided by one `scale` for all.
    """

    learner: MiniBatchDictionaryLearning
    patch_size: tuple[int, int]
    channels: int
    dtype: str
    whitening: Whitening | None = None
    scale: float = 1.0
    run: dict[str, Any] = field(default_factory=dict)  # how it was learnt: options, photographs, builds
    history: list[tuple[float, float, float]] = field(default_factory=list)  # step, objective, seconds

    @property
    def seconds(self) -> float:
        """How long it has learnt."""
        return self.history[-1][2] if self.history else 0.0

    @property
    def n_features(self) -> int:
        return self.patch_size[0] * self.patch_size[1] * self.channels

    def centred(self, patches: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Patches without the means of their channels, and these means."""
        return patch_rows.centred(patches, self.channels)

    def fit_preprocessing(self, centred: NDArray[Any], eps: float | None) -> None:
        """Fits the whitening, or where `eps` is None the scale, to centred patches."""
        if eps is None:
            self.scale = float(np.sqrt(np.mean(np.square(centred, dtype=np.float64)))) or 1.0
        else:
            self.whitening = Whitening(kind="zca", eps=eps).fit(centred)

    def rows(self, centred: NDArray[Any]) -> NDArray[Any]:
        """Rows for the learner; their bits do not depend on the number of BLAS's threads."""
        if self.whitening is None:
            return cast("NDArray[Any]", np.divide(centred, self.scale, dtype=centred.dtype))
        return whitened(self.whitening, centred)

    def patches(self, rows: NDArray[Any], means: NDArray[Any]) -> NDArray[Any]:
        """The inverse of `centred` and `rows`."""
        if self.whitening is None:
            centred = rows * rows.dtype.type(self.scale)
        else:
            centred = self.whitening.inverse_transform(rows)
        by_channel = centred.reshape(len(rows), self.channels, -1) + means[..., np.newaxis]
        return cast("NDArray[Any]", by_channel.reshape(rows.shape))

    def encode_image(self, image: NDArray[Any], step: int) -> EncodedImage:
        """Sparse codes of the patches of an image, every `step` pixels."""
        grid = PatchGrid(image.shape, self.patch_size, step)
        codes, means, gaps = [], [], []
        for band in _bands(grid):
            patches, _ = extract_patches(image[band], self.patch_size, step=step, dtype=self.dtype)
            centred, band_means = self.centred(patches)
            band_codes, info = self.learner.encode(self.rows(centred), sparse_output=True, return_info=True)
            codes.append(band_codes)
            means.append(band_means)
            gaps.append(info.gap)
        return EncodedImage(vstack(codes, format="csr"), np.concatenate(means), np.concatenate(gaps), grid)

    def decode_image(self, codes: csr_matrix, means: NDArray[Any], grid: PatchGrid) -> NDArray[Any]:
        """The image that codes stand for; where patches overlap, their mean."""
        patches = np.empty((grid.n_patches, self.n_features), self.dtype)
        for start in range(0, grid.n_patches, _BLOCK_ROWS):
            block = slice(start, start + _BLOCK_ROWS)
            rows = np.asarray(codes[block] @ self.learner.components_, self.dtype)
            patches[block] = self.patches(rows, means[block])
        return cast("NDArray[Any]", reconstruct_from_patches(patches, grid))

    def atoms(self) -> NDArray[Any]:
        """The dictionary as pictures (n_components, channels, height, width), in the whitened space."""
        return np.reshape(self.learner.components_, (-1, self.channels, *self.patch_size))

    def fingerprint(self) -> str:
        """Tells dictionaries apart."""
        return hashlib.sha256(np.ascontiguousarray(self.learner.components_).tobytes()).hexdigest()

    def save(self, path: Path) -> None:
        extra = {
            "job": PATCHES,
            "patch_size": list(self.patch_size),
            "channels": self.channels,
            "dtype": self.dtype,
            "whitening": whitening_state(self.whitening),
            "scale": self.scale,
            "run": self.run,
            "history": np.array(self.history, np.float64).reshape(-1, 3),
        }
        save_model(self.learner, path, extra)

    @classmethod
    def load(cls, path: Path) -> PatchModel:
        learner, extra = load_learnt(path, PATCHES)
        return cls(
            learner=learner,
            patch_size=tuple(extra["patch_size"]),
            channels=extra["channels"],
            dtype=extra["dtype"],
            whitening=whitening_from(extra["whitening"]),
            scale=extra["scale"],
            run=extra["run"],
            history=[tuple(point) for point in extra["history"].tolist()],
        )


@dataclass
class EncodedImage:
    """Codes (n_patches, n_components), the means that patches lost, every patch's gap, and where they lie."""

    codes: csr_matrix
    means: NDArray[Any]
    gap: NDArray[np.float64]
    grid: PatchGrid


def _bands(grid: PatchGrid) -> Iterator[slice]:
    """Pixel rows of bands that hold whole rows of the grid, each once: what is in work stays small."""
    rows = grid.rows
    in_band = max(1, _BLOCK_ROWS // len(grid.columns))
    for first in range(0, len(rows), in_band):
        last = min(first + in_band, len(rows)) - 1
        yield slice(int(rows[first]), int(rows[last]) + grid.patch_size[0])

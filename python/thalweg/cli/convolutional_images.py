"""Photographs as whole images for convolutional models, read one at a time, and what is done to them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast
from warnings import warn

import numpy as np
from numpy.typing import NDArray

from .. import datasets
from ..preprocessing import (
    LocalContrastStatistics,
    normalize_local_contrast,
    restore_local_contrast,
    split_frequencies,
)
from .photographs import files_of, read, regions
from .run import note_digest

_N_HELD_OUT = 24  # photographs that a strip is held out of for the figures of the report
_KEPT_BYTES = 512 * 2**20  # of images that stay in memory; what is beyond is read when its turn comes


class Details(NamedTuple):
    """An image as a model sees it (channels, height, width), and what it takes to go back."""

    image: NDArray[Any]
    low: NDArray[Any] | None
    contrast: LocalContrastStatistics | None


@dataclass
class Preprocessing:
    """Low frequencies away, local contrast normalised, all divided by one scale."""

    color: bool
    dtype: str
    low_pass: float  # weight of `split_frequencies`; 0 leaves low frequencies where they are
    contrast_normalization: bool
    scale: float = 1.0

    @property
    def channels(self) -> int:
        return 3 if self.color else 1

    def details(self, photograph: NDArray[Any]) -> Details:
        """A photograph (height, width) or (height, width, 3), as a model sees it."""
        planes = np.moveaxis(photograph, -1, 0) if self.color else photograph[np.newaxis]
        image, low, contrast = np.ascontiguousarray(planes), None, None
        if self.low_pass > 0:
            low, image = split_frequencies(image, self.low_pass)
        if self.contrast_normalization:
            image, contrast = normalize_local_contrast(image)
        return Details(np.divide(image, self.scale, dtype=image.dtype), low, contrast)

    def photograph(self, details: Details) -> NDArray[Any]:
        """The inverse of `details`, for the image that `details` holds."""
        image = details.image * details.image.dtype.type(self.scale)
        if details.contrast is not None:
            image = restore_local_contrast(image, details.contrast)
        if details.low is not None:
            image = image + details.low
        clipped = np.clip(image, 0.0, 1.0)
        return cast("NDArray[Any]", np.moveaxis(clipped, 0, -1) if self.color else clipped[0])

    def in_words(self) -> str:
        steps = [f"low frequencies removed (weight {self.low_pass:g})"] if self.low_pass > 0 else []
        steps += ["local contrast normalised"] if self.contrast_normalization else []
        return ", ".join([*steps, "divided by one scale"])


class Photographs:
    """The parts of photographs that are learnt from, a sequence of images (channels, height, width).

    As many as memory is set aside for are kept; the others are read again when they are asked for.
    """

    def __init__(self, files: list[Path], preprocessing: Preprocessing, options: dict[str, Any]) -> None:
        self.files = files
        self._preprocessing, self._options = preprocessing, options
        self._kept: dict[int, NDArray[Any]] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, i: int) -> NDArray[Any]:
        """One image; ValueError where its file is no longer as it was."""
        if i in self._kept:
            return self._kept[i]
        for _, photograph in read([self.files[i]], self._options):
            part, _ = parts(photograph, self._options)
            image = self._preprocessing.details(part).image
            if self._bytes + image.nbytes <= _KEPT_BYTES:
                self._kept[i] = image
                self._bytes += image.nbytes
            return image
        raise ValueError(f"{self.files[i]}: can no longer be read as an image")

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return (self[i] for i in range(len(self)))


@dataclass
class Images:
    """Images to learn from, and strips of photographs that are not learnt from (maybe none)."""

    learnt: Photographs
    held_out: list[NDArray[Any]]

    @property
    def files(self) -> list[Path]:
        return self.learnt.files


def parts(photograph: NDArray[Any], options: dict[str, Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """What is learnt from, and the strip at the right that is not; the strip of a narrow photograph is empty.

    It is at least two filters wide, for at its borders codes have less to explain.
    """
    return regions(photograph, 2 * options["filter_size"])


def images_of(run: dict[str, Any], preprocessing: Preprocessing) -> Images:
    """Reads every photograph once: which can be used, their digest, the scale, and the strips held out."""
    options, is_new = run["options"], "digest" not in run
    files = files_of(run["photographs"])
    spread = set(np.linspace(0, len(files) - 1, min(len(files), _N_HELD_OUT)).astype(int).tolist())
    place = {file: i for i, file in enumerate(files)}
    digest, used, strips = hashlib.sha256(), [], []
    squares, count = 0.0, 0
    if is_new:
        preprocessing.scale = 1.0
    for path, photograph in read(files, options):
        if min(photograph.shape[:2]) < options["filter_size"]:
            warn(f"{path}: skipped, for it is smaller than a filter", stacklevel=2)
            continue
        used.append(path)
        learnt, strip = parts(photograph, options)
        digest.update(f"{learnt.shape}".encode())
        digest.update(np.ascontiguousarray(learnt).data)
        if is_new:
            image = preprocessing.details(learnt).image
            squares, count = squares + float(np.square(image, dtype=np.float64).sum()), count + image.size
        if strip.size and place[path] in spread:
            strips.append(strip)
    if not used:
        raise ValueError("none of the photographs can be read and is as large as a filter")
    note_digest(run, digest.hexdigest(), "photographs")
    if is_new:
        preprocessing.scale = float(np.sqrt(squares / count)) or 1.0
    if not strips:
        warn(
            "no photograph is as wide as six filters, so that none can be held out: "
            "the results come without figures of held-out strips",
            stacklevel=2,
        )
    held_out = [preprocessing.details(strip).image for strip in strips]
    return Images(Photographs(used, preprocessing, options), held_out)


def first_photographs(
    files: list[Path], preprocessing: Preprocessing, options: dict[str, Any], count: int, side: int
) -> Iterator[tuple[Path, NDArray[Any]]]:
    """The first photographs, shrunk for a page."""
    max_side = min(max(side, options["filter_size"]), options["max_side"])
    images = datasets.iter_images(
        files[:count], color=preprocessing.color, max_side=max_side, dtype=preprocessing.dtype
    )
    return ((path, image) for path, image in images if min(image.shape[:2]) >= options["filter_size"])

"""What Boltzmann machines learn from: digits, gray patches of images, whitened patches of photographs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _rng, datasets
from ..preprocessing import Whitening
from .patch_rows import centred, whitened
from .photographs import Patches, draw_patches, files_of, resolved
from .rbm_model import RbmModel
from .run import note_data

BINARIZE = ("none", "threshold", "sample")

# Where rows come from: MNIST's files, the digits or the photographs that scikit-learn ships, or images.
MNIST, DIGITS, IMAGES = "MNIST", "digits", "images"

_SPLITS = ("train", "test")  # of MNIST
_HELD_OUT_SHARE = 0.1  # of the digits
_SPLIT_SEED = 0  # the same digits are held out in every run


@dataclass
class Rows:
    """Rows to learn from, rows held out (None: no image can spare any), and the names of what was read."""

    learnt: NDArray[Any]
    held_out: NDArray[Any] | None
    names: list[str]


def source_of(paths: list[str]) -> dict[str, Any]:
    """What a run of `learn rbm` keeps of its inputs: their kind, and their paths."""
    folders = [path for path in paths if datasets.is_mnist_folder(path)]
    if folders and len(paths) > 1:
        raise ValueError(f"{folders[0]}: a folder with MNIST's files must be the only input")
    if folders:
        return {"kind": MNIST, "paths": [str(Path(folders[0]).resolve())]}
    return {"kind": IMAGES if paths else DIGITS, "paths": resolved(paths)}


def pixel_shape(kind: str, options: dict[str, Any]) -> tuple[int, int]:
    """Height and width of what a row is a picture of."""
    return {DIGITS: (8, 8), MNIST: (28, 28)}.get(kind) or (options["patch_size"], options["patch_size"])


def gray_rows(model: RbmModel) -> Rows:
    """Pixels in [0, 1], or binary ones."""
    source, options = model.run["source"], model.run["options"]
    kind, dtype = source["kind"], np.dtype(options["dtype"])
    if kind == MNIST:
        learnt, held_out = (datasets.load_mnist(source["paths"][0], split=s, dtype=dtype)[0] for s in _SPLITS)
        rows = Rows(learnt, held_out, ["MNIST"])
    elif kind == DIGITS:
        rows = _digits(dtype)
    else:
        rows = _as_rows(draw_patches(files_of(source["paths"]), {**options, "color": False}))
    note_data(model.run, rows.learnt, "images")
    rows.learnt = binarized(rows.learnt, options, 0)
    if rows.held_out is not None:
        rows.held_out = binarized(rows.held_out, options, 1)
    return rows


def whitened_rows(model: RbmModel) -> Rows:
    """Patches without their means, whitened; the whitening is fitted where the model is new."""
    options = model.run["options"]
    patches = draw_patches(files_of(model.run["source"]["paths"]), {**options, "color": False})
    note_data(model.run, patches.learnt, "photographs")
    learnt, _ = centred(patches.learnt, 1)
    if model.whitening is None:
        model.whitening = Whitening(kind="zca", eps=options["whitening_eps"]).fit(learnt)
    rows = _as_rows(patches)
    rows.learnt = whitened(model.whitening, learnt)
    if patches.held_out is not None:
        rows.held_out = whitened(model.whitening, centred(patches.held_out, 1)[0])
    return rows


def _as_rows(patches: Patches) -> Rows:
    return Rows(patches.learnt, patches.held_out, [path.name for path in patches.photographs])


def _digits(dtype: np.dtype[Any]) -> Rows:
    """The 8 x 8 digits that scikit-learn ships, a random tenth held out."""
    from sklearn.datasets import load_digits

    pixels = (load_digits().data / 16.0).astype(dtype)
    order = _rng.permutation(_SPLIT_SEED, _rng.STREAM_HELD_OUT, 0, len(pixels))
    n_held_out = round(_HELD_OUT_SHARE * len(pixels))
    return Rows(pixels[order[n_held_out:]], pixels[order[:n_held_out]], ["scikit-learn's digits"])


def binarized(rows: NDArray[Any], options: dict[str, Any], part: int) -> NDArray[Any]:
    """Pixels that are 0 or 1: by a threshold of one half, or drawn once with their gray as probability."""
    if options["binarize"] == "none":
        return rows
    if options["binarize"] == "threshold":
        return (rows > 0.5).astype(rows.dtype)
    made = np.empty_like(rows)
    for i, row in enumerate(rows):
        made[i] = _rng.uniform(options["seed"], _rng.STREAM_BINARY_PIXELS, part, row.size, row=i) < row
    return made

"""Sets of gray patches to score: of pictures, of MNIST's digits, or drawn from a fitted Gaussian."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from warnings import warn

import numpy as np
from numpy.typing import NDArray

from .. import datasets
from ..preprocessing import extract_patches
from .density_data import varying
from .patch_gaussian import PatchGaussian

GAUSSIAN = "gaussian"  # the set of samples


@dataclass
class PatchSet:
    """Rows of pixels; `source` says in words of what."""

    name: str
    pixels: NDArray[Any]
    source: str
    n_constant: int = 0


def split_arguments(given: list[str]) -> tuple[list[str], dict[str, str | None]]:
    """Runs, and sets: by name their path, None for samples of the Gaussian."""
    runs: list[str] = []
    sets: dict[str, str | None] = {}
    for word in given:
        name, is_named, path = word.partition("=")
        if word != GAUSSIAN and (not is_named or Path(word).exists()):
            runs.append(word)
            continue
        if is_named and not (name and path):
            raise ValueError(f"{word}: expected a set as NAME=PATH")
        if name in sets:
            raise ValueError(f"{word}: there is a set of the name {name!r} already")
        sets[name] = path if is_named else None
    if not runs:
        raise ValueError("expected a model or the folder of a run, beside sets as NAME=PATH")
    if not sets:
        raise ValueError(f"expected sets of patches to score, as NAME=PATH or '{GAUSSIAN}'")
    return runs, sets


def of_gaussian(gaussian: PatchGaussian, n: int, seed: int, of: str) -> PatchSet:
    return PatchSet(GAUSSIAN, gaussian.sample(n, seed), f"samples of the Gaussian of {of}")


def of_path(
    name: str,
    path: str,
    shape: tuple[int, int],
    n: int,
    seed: int,
    max_side: int,
    learnt_from: frozenset[str],
) -> PatchSet:
    """At most n random patches of a picture, of a folder of them, or of MNIST's test digits."""
    if datasets.is_mnist_folder(path):
        pixels = _of_digits(path, shape, n, seed)
        source = "MNIST's test digits"
    else:
        pixels, files = _of_pictures(name, path, shape, n, seed, max_side)
        source = f"patches of {len(files)} picture{'s' * (len(files) != 1)}"
        _warn_of_known(name, files, learnt_from)
    kept = pixels[varying(pixels)]
    n_constant = len(pixels) - len(kept)
    if not len(kept):
        raise ValueError(f"{name}: all {len(pixels)} patches are of one gray")
    if n_constant:
        warn(f"{name}: {n_constant} of {len(pixels)} patches dropped, for they are of one gray", stacklevel=2)
    return PatchSet(name, kept, source, n_constant)


def _of_digits(path: str, shape: tuple[int, int], n: int, seed: int) -> NDArray[Any]:
    """A random part of each of n digits; the whole of it, where a patch is as large."""
    digits = datasets.load_mnist(path, split="test")[0].reshape(-1, 28, 28)
    if max(shape) > 28:
        raise ValueError(f"{path}: a patch of {shape[0]} x {shape[1]} pixels does not fit into a digit")
    digits = digits[np.random.default_rng(seed).permutation(len(digits))[:n]]
    if shape == (28, 28):
        return digits.reshape(len(digits), -1)
    patches, _ = extract_patches(list(digits), shape, max_patches=len(digits), random_state=seed)
    return patches


def _of_pictures(
    name: str, path: str, shape: tuple[int, int], n: int, seed: int, max_side: int
) -> tuple[NDArray[Any], list[Path]]:
    """As many patches of every picture; what one cannot give, the following give."""
    files = datasets.find_images(path)
    drawn: list[NDArray[Any]] = []
    used: list[Path] = []
    place = {file: i for i, file in enumerate(files)}
    for file, image in datasets.iter_images(files, color=False, max_side=max_side):
        if image.shape[0] < shape[0] or image.shape[1] < shape[1]:
            warn(f"{file}: skipped, for it is smaller than a patch", stacklevel=3)
            continue
        missing = n - sum(map(len, drawn))
        if not missing:
            break
        share = -(-missing // (len(files) - place[file]))
        (word,) = np.random.SeedSequence([seed, place[file]]).generate_state(1, np.uint64) >> 1
        drawn.append(extract_patches(image, shape, max_patches=share, random_state=int(word))[0])
        used.append(file)
    if not drawn:
        raise ValueError(
            f"{name}: no picture of {path} can be read and is as large as a patch, "
            f"{shape[0]} x {shape[1]} pixels"
        )
    return np.concatenate(drawn), used


def _warn_of_known(name: str, files: list[Path], learnt_from: frozenset[str]) -> None:
    known = sum(str(file.resolve()) in learnt_from for file in files)
    if known:
        warn(
            f"{name}: {known} of its {len(files)} pictures were learnt from; only others tell how well a "
            "model knows what is natural",
            stacklevel=3,
        )

"""Random patches of photographs, and others held out from regions that nothing is learnt from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from warnings import warn

import numpy as np
from numpy.typing import NDArray

from .. import datasets
from ..preprocessing import extract_patches

_HELD_OUT = 5000  # patches that are held out, for the figures of the report


class Patches(NamedTuple):
    """Rows to learn from, rows held out (None: no photograph can spare any), and the photographs."""

    learnt: NDArray[Any]
    held_out: NDArray[Any] | None
    photographs: list[Path]


def resolved(photos: list[str]) -> list[str] | None:
    """What a run keeps of its photographs: their paths, or None for the sample photographs."""
    return [str(path.resolve()) for path in datasets.find_images(photos)] if photos else None


def files_of(kept: list[str] | None) -> list[Path]:
    return datasets.sample_image_paths() if kept is None else [Path(path) for path in kept]


def read(files: list[Path], options: dict[str, Any]) -> Iterator[tuple[Path, NDArray[Any]]]:
    """The photographs, one after the other."""
    return datasets.iter_images(
        files, color=options["color"], max_side=options["max_side"], dtype=options["dtype"]
    )


def draw_patches(files: list[Path], options: dict[str, Any]) -> Patches:
    """As many patches from every photograph; what one cannot give, the following give."""
    size, wanted = options["patch_size"], options["n_patches"]
    drawn: tuple[list[NDArray[Any]], list[NDArray[Any]]] = ([], [])  # learnt, held out
    used: list[Path] = []
    place = {file: i for i, file in enumerate(files)}
    for path, image in read(files, options):
        if min(image.shape[:2]) < size:
            warn(f"{path}: skipped, for it is smaller than a patch", stacklevel=2)
            continue
        missing = [n - sum(map(len, rows)) for n, rows in zip((wanted, min(_HELD_OUT, wanted)), drawn)]
        if not any(missing):
            break
        seeds = np.random.SeedSequence([options["seed"], place[path]]).generate_state(2, np.uint64) >> 1
        for region, rows, n, seed in zip(regions(image, size), drawn, missing, seeds):
            share = -(-n // (len(files) - place[path]))
            if share and region.size:
                rows.append(extract_patches(region, size, max_patches=share, random_state=int(seed))[0])
        if missing[0]:
            used.append(path)
    if not used:
        raise ValueError("none of the photographs can be read and is as large as a patch")
    learnt, held_out = drawn
    if not held_out:
        warn(
            "no photograph is as wide as three patches, so that none can be held out: "
            "the results come without figures of held-out patches",
            stacklevel=2,
        )
    return Patches(np.concatenate(learnt), np.concatenate(held_out) if held_out else None, used)


def regions(image: NDArray[Any], size: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """What is learnt from, and right of it a tenth that is not, no pixel in common; of a narrow image none.

    A strip from top to bottom, as photographs differ more from sky to ground than from left to right.
    """
    width = image.shape[1]
    border = width - max(size, width // 10) if width >= 3 * size else width
    return image[:, :border], image[:, border:]

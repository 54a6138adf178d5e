"""`thalweg modes`: climbs log p of a deep energy from samples of the fitted Gaussian, and draws the modes."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..persistence import write_bytes
from ..plots import filter_mosaic
from .density_model import DensityModel
from .density_scores import in_figures
from .pictures import mosaic_png
from .run import MODEL
from .targets import writable_folder

_SAME = 1e-2  # modes that are nearer, relative to their length, are one


def modes(args: argparse.Namespace) -> int:
    """Writes the pictures and prints what was found; the exit code."""
    path = Path(args.run_folder)
    model = DensityModel.load(path / MODEL if path.is_dir() else path)
    model.learner.set_params(n_jobs=args.threads, device=args.device)
    out = writable_folder(args.out)
    starts = model.gaussian_rows(args.starts, args.seed)
    ends = model.learner.modes(starts, max_iter=args.max_iter)
    before, after = model.log_p(starts), model.log_p(ends)
    chosen, counts = distinct(ends, after)
    write_bytes(out / "modes.png", _picture(model, ends[chosen]))
    write_bytes(out / "starts.png", _picture(model, starts))
    found = {
        "n_starts": len(starts),
        "n_modes": len(chosen),
        "modes": [{"log_p": float(after[i]), "n_starts": int(n)} for i, n in zip(chosen, counts)],
    }
    write_bytes(out / "modes.json", json.dumps(found, indent=1).encode())
    print(
        f"{len(chosen)} mode{'s' * (len(chosen) != 1)} from {len(starts)} samples of the fitted Gaussian; "
        f"log p {in_figures(before.mean())} -> {in_figures(after.mean())} (means): see {out / 'modes.png'}"
    )
    return 0


def distinct(ends: NDArray[Any], log_p: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """One row of each mode, the most probable first, and how many climbs ended there."""
    order = np.argsort(-log_p, kind="stable")
    rows = np.asarray(ends, np.float64)
    scale = float(np.sqrt(np.square(rows).sum(axis=1).max())) or 1.0
    chosen: list[int] = []
    counts: list[int] = []
    for i in order:
        distances = np.linalg.norm(rows[chosen] - rows[i], axis=1) / scale
        nearest = int(distances.argmin()) if len(chosen) else 0
        if len(chosen) and distances[nearest] < _SAME:
            counts[nearest] += 1
        else:
            chosen.append(int(i))
            counts.append(1)
    return np.array(chosen, np.int64), np.array(counts, np.int64)


def _picture(model: DensityModel, rows: NDArray[Any]) -> bytes:
    """In pixel space, about the mean patch, each with its own scale."""
    pixels = model.pixels(rows) - model.fitted.mean
    return mosaic_png(filter_mosaic(model.pictures(pixels)))

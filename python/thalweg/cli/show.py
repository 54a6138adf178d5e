"""`thalweg show` and `thalweg info`."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import sklearn

from .. import __version__
from .._native import available_levels, cpu
from ..persistence import write_bytes
from .patch_model import PatchModel
from .pictures import atoms_png
from .targets import writable_file


def show(args: argparse.Namespace) -> int:
    """Writes a picture of the atoms and prints what the model is; the exit code."""
    model = PatchModel.load(Path(args.model))
    learner, run = model.learner, model.run
    out = writable_file(args.out)
    write_bytes(out, atoms_png(model.atoms()))
    count, (height, width) = len(learner.components_), model.patch_size
    kind = "colour" if model.channels == 3 else "gray"
    photographs = run["photographs"]
    lines = {
        "model": type(learner).__name__,
        "atoms": f"{count} of {height} x {width} pixels, {kind}, {model.dtype}",
        "penalty": f"{learner.penalty}, alpha {learner.alpha:g}",
        "preprocessing": "mean removed, "
        + (
            "divided by one scale"
            if model.whitening is None
            else f"ZCA-whitened, eps {model.whitening.eps:g}"
        ),
        "learnt": f"{learner.n_steps_:,} steps in {model.history[-1][2]:.1f} s"
        + ("" if run["finished"] else ", unfinished: `thalweg learn sparse-coding --resume` goes on"),
        "objective": f"{np.mean([point[1] for point in model.history[-20:]]):.5g} (mean of the last batches)",
        "photographs": "scikit-learn's sample photographs" if photographs is None else f"{len(photographs)}",
        "build": ", ".join(run["builds"][-1].values()),
        "picture": str(out),
    }
    _print_table(lines)
    return 0


def info(args: argparse.Namespace) -> int:
    """Prints what this installation is; the exit code."""
    _print_table(
        {
            "thalweg": __version__,
            "instruction set": f"{cpu.level} (built: {', '.join(available_levels())}; THALWEG_ISA chooses)",
            "threads": f"{cpu.thread_count(0)}",
            "OpenMP": "yes" if cpu.openmp else "no: one thread",
            "compiler": str(cpu.compiler),
            "CUDA": "no: this build has no CUDA backend",
            "NumPy": np.__version__,
            "scikit-learn": sklearn.__version__,
        }
    )
    return 0


def _print_table(lines: dict[str, str]) -> None:
    width = max(map(len, lines)) + 2
    for name, value in lines.items():
        print(f"{name:<{width}}{value}")

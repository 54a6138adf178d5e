"""`thalweg show` and `thalweg info`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import sklearn

from .. import __version__, _device
from .._native import available_levels, cpu
from ..persistence import write_bytes
from ..plots import filter_mosaic
from .convolutional_model import AUTOENCODER, SPARSE_CODING, ConvolutionalModel
from .convolutional_results import filters_png
from .density_model import DEEP_ENERGY, DensityModel
from .devices import device_fault
from .model_files import job_of
from .patch_model import PatchModel
from .pictures import atoms_png, mosaic_png
from .rbm_data import DIGITS, IMAGES
from .rbm_model import BERNOULLI, GAUSSIAN, RbmModel
from .targets import writable_file


def show(args: argparse.Namespace) -> int:
    """Writes a picture of the atoms or filters and prints what the model is; the exit code."""
    path = Path(args.model)
    job = job_of(path)
    if job in (BERNOULLI, GAUSSIAN):
        picture, lines = _show_rbm(path, job, args.out)
    elif job in (SPARSE_CODING, AUTOENCODER):
        picture, lines = _show_convolutional(path, job, args.out)
    elif job == DEEP_ENERGY:
        picture, lines = _show_deep_energy(path, args.out)
    else:
        picture, lines = _show_atoms(path, args.out)
    _print_table({**lines, "picture": str(picture)})
    return 0


def _show_atoms(path: Path, target: str | None) -> tuple[Path, dict[str, str]]:
    model = PatchModel.load(path)
    learner, run = model.learner, model.run
    out = writable_file(target or "atoms.png")
    write_bytes(out, atoms_png(model.atoms()))
    count, (height, width) = len(learner.components_), model.patch_size
    kind = "colour" if model.channels == 3 else "gray"
    return out, {
        "model": type(learner).__name__,
        "atoms": f"{count} of {height} x {width} pixels, {kind}, {model.dtype}",
        "penalty": f"{learner.penalty}, alpha {learner.alpha:g}",
        "preprocessing": "mean removed, "
        + (
            "divided by one scale"
            if model.whitening is None
            else f"ZCA-whitened, eps {model.whitening.eps:g}"
        ),
        "learnt": _how_long(model, "sparse-coding"),
        "objective": f"{_last_objective(model)} (mean of the last batches)",
        "photographs": _photographs_in_words(run["photographs"]),
        "build": ", ".join(run["builds"][-1].values()),
    }


def _show_rbm(path: Path, job: str, target: str | None) -> tuple[Path, dict[str, str]]:
    model = RbmModel.load(path, job)
    learner, options = model.learner, model.run["options"]
    out = writable_file(target or "filters.png")
    write_bytes(out, mosaic_png(filter_mosaic(model.filters())))
    height, width = model.shape
    lines = {
        "model": type(learner).__name__,
        "hidden units": f"{len(learner.components_)}",
        "visible units": f"{height} x {width} pixels, {options['dtype']}",
        "data": _source_in_words(model.run["source"]),
        "loss": f"{learner.loss}, learning rate {learner.learning_rate:g} ({learner.schedule})",
        "learnt": _how_long(model, job),
    }
    if model.whitening is not None:
        lines["preprocessing"] = f"mean removed, ZCA-whitened, eps {model.whitening.eps:g}"
    if model.history:
        last = model.history[-1]
        held_out = "" if np.isnan(last.error_held_out) else f", held out {last.error_held_out:.4g}"
        lines["reconstruction"] = f"mean square error {last.error:.4g}{held_out}"
    return out, {**lines, "build": ", ".join(model.run["builds"][-1].values())}


def _show_convolutional(path: Path, job: str, target: str | None) -> tuple[Path, dict[str, str]]:
    model = ConvolutionalModel.load(path, job)
    learner, run = model.learner, model.run
    out = writable_file(target or "filters.png")
    write_bytes(out, filters_png(learner.components_))
    count, _, height, width = learner.components_.shape
    kind = "colour" if model.preprocessing.color else "gray"
    return out, {
        "model": type(learner).__name__,
        "filters": f"{count} of {height} x {width} pixels, {kind}, {run['options']['dtype']}",
        "penalty": f"l1, alpha {learner.alpha:g}",
        "boundary": learner.boundary,
        "preprocessing": model.preprocessing.in_words(),
        "learnt": _how_long(model, job),
        "objective": f"{_last_objective(model)} per pixel (mean of the last steps)",
        "photographs": _photographs_in_words(run["photographs"]),
        "build": ", ".join(run["builds"][-1].values()),
    }


def _show_deep_energy(path: Path, target: str | None) -> tuple[Path, dict[str, str]]:
    model = DensityModel.load(path)
    learner, options = model.learner, model.run["options"]
    out = writable_file(target or "filters.png")
    write_bytes(out, mosaic_png(filter_mosaic(model.filters()["filters"])))
    height, width = model.shape
    layers = [*options["hidden_layer_sizes"], options["n_components"]]
    precision = f"the Gaussian's precision is {model.fitted.structure}"
    lines = {
        "model": type(learner).__name__,
        "layers": f"{', '.join(map(str, layers))} units ({options['activation']})",
        "patches": f"{height} x {width} pixels, {options['dtype']}",
        "preprocessing": f"mean removed, {'whitened; ' * model.is_whitened}{precision}",
        "data": _photographs_in_words(model.run["source"]["paths"], " photographs"),
        "loss": f"{learner.loss}, learning rate {learner.learning_rate:g}",
        "learnt": _how_long(model, DEEP_ENERGY),
    }
    if model.history:
        last = model.history[-1]
        lines["AUC"] = f"{last.auc:.3f} by log p, {last.auc_ratio:.3f} by the log-ratio (fitted Gaussian)"
    return out, {**lines, "build": ", ".join(model.run["builds"][-1].values())}


def _last_objective(model: PatchModel | ConvolutionalModel) -> str:
    return f"{np.mean([point[1] for point in model.history[-20:]]):.5g}"


def _photographs_in_words(paths: list[str] | None, what: str = "") -> str:
    return "scikit-learn's sample photographs" if paths is None else f"{len(paths)}{what}"


def _source_in_words(source: dict[str, Any]) -> str:
    kind, paths = source["kind"], source["paths"]
    if kind == IMAGES:
        return _photographs_in_words(paths, " images")
    return "scikit-learn's digits" if kind == DIGITS else str(kind)


def _how_long(model: PatchModel | RbmModel | ConvolutionalModel | DensityModel, command: str) -> str:
    unfinished = f", unfinished: `thalweg learn {command} --resume` goes on"
    return f"{model.learner.n_steps_:,} steps in {model.seconds:.1f} s" + (
        "" if model.run["finished"] else unfinished
    )


def info(args: argparse.Namespace) -> int:
    """Prints what this installation is; the exit code."""
    _print_table(
        {
            "thalweg": __version__,
            "instruction set": f"{cpu.level} (built: {', '.join(available_levels())}; THALWEG_ISA chooses)",
            "threads": f"{cpu.thread_count(0)}",
            "OpenMP": "yes" if cpu.openmp else "no: one thread",
            "compiler": str(cpu.compiler),
            "CUDA": _cuda_state(),
            "NumPy": np.__version__,
            "scikit-learn": sklearn.__version__,
        }
    )
    return 0


def _cuda_state() -> str:
    """What there is of the CUDA backend, and how to turn it on."""
    fault = device_fault("cuda")
    if fault is not None:
        return f"no: {fault}"
    cuda = _device.kernels("cuda")
    if cuda.is_emulated:
        return "emulated on the host, for tests"
    found = cuda.device_properties()
    capability = ".".join(map(str, found["compute_capability"]))
    return (
        f"{found['name']}, compute capability {capability}, {found['memory'] / 2**30:.0f} GiB; device='cuda'"
    )


def _print_table(lines: dict[str, str]) -> None:
    width = max(map(len, lines)) + 2
    for name, value in lines.items():
        print(f"{name:<{width}}{value}")

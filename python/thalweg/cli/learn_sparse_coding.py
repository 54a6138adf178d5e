"""`thalweg learn sparse-coding`: from photographs to a dictionary, its pictures and its report."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from .. import _rng, datasets
from ..energies import SparseCodingEnergy
from ..models import MiniBatchDictionaryLearning
from ..persistence import write_bytes
from .patch_model import PatchModel
from .photographs import Patches, draw_patches, files_of, resolved
from .pictures import atoms_png
from .report_sparse_coding import Report, report_html
from .run import Job, Recorder, learn, note_data
from .sections import Comparison, finite_psnr

DEFAULTS: dict[str, Any] = {
    "patch_size": 12,
    "n_components": 256,
    "alpha": 0.5,
    "penalty": "l1",
    "n_patches": 100_000,
    "batch_size": 512,
    "epochs": 6,
    "whitening": "zca",
    "whitening_eps": 1.0,
    "color": False,
    "max_side": 1024,
    "seed": 0,
    "dtype": "float32",
}

_N_COMPARED = 3  # photographs that are shown beside their reconstructions
_COMPARED_SIDE = 512  # pixels
_SMOOTHED_STEPS = 20


def learn_sparse_coding(args: argparse.Namespace) -> int:
    """Runs the command; the exit code."""
    return learn(_SparseCoding(), args)


class _SparseCoding(Job[PatchModel, Patches]):
    """Online dictionary learning on patches of photographs."""

    command = "sparse-coding"
    epochs_parameter = "max_iter"
    options = tuple(DEFAULTS)

    def load(self, path: Path) -> PatchModel:
        return PatchModel.load(path)

    def new(self, given: dict[str, Any], paths: list[str]) -> PatchModel:
        return _new_model({**DEFAULTS, **given}, paths)

    def is_begun_with(self, model: PatchModel, paths: list[str]) -> bool:
        return bool(resolved(paths) == model.run["photographs"])

    def data(self, model: PatchModel) -> Patches:
        return _training_data(model)

    def rows(self, data: Patches) -> NDArray[Any]:
        return data.learnt

    def fit(self, model: PatchModel, rows: NDArray[Any]) -> None:
        model.learner.set_params(dict_init=_first_atoms(rows, model.run["options"]))
        try:
            model.learner.fit(rows)
        finally:
            model.learner.set_params(dict_init=None)

    def recorder(self, model: PatchModel, data: Patches, path: Path, bar: Any, every: float) -> _Recorder:
        return _Recorder(model, path, bar, every)

    def write_results(self, model: PatchModel, data: Patches, out: Path) -> None:
        _write_results(model, data, out)

    def summary(self, model: PatchModel) -> str:
        return f"{len(model.learner.components_)} atoms"


def _new_model(options: dict[str, Any], photos: list[str]) -> PatchModel:
    size = options["patch_size"]
    if options["n_components"] > options["n_patches"]:
        raise ValueError(
            f"--n-components {options['n_components']}: expected at most the number of patches, "
            f"{options['n_patches']}"
        )
    learner = MiniBatchDictionaryLearning(
        options["n_components"],
        alpha=options["alpha"],
        penalty=options["penalty"],
        batch_size=options["batch_size"],
        random_state=options["seed"],
        tol=0.0,
        max_no_improvement=None,
        transform_algorithm="lasso_cd",
    )
    run = {
        "options": options,
        "photographs": resolved(photos),
        "builds": [],
        "finished": False,
    }
    return PatchModel(learner, (size, size), 3 if options["color"] else 1, options["dtype"], run=run)


def _training_data(model: PatchModel) -> Patches:
    """Random patches as rows; the preprocessing is fitted where the model is new."""
    options, is_new = model.run["options"], "digest" not in model.run
    learnt, held_out, used = draw_patches(files_of(model.run["photographs"]), options)
    note_data(model.run, learnt, "photographs")
    centred, _ = model.centred(learnt)
    if is_new:
        model.fit_preprocessing(centred, options["whitening_eps"] if options["whitening"] == "zca" else None)
    rows = model.rows(centred)
    return Patches(rows, None if held_out is None else model.rows(model.centred(held_out)[0]), used)


class _Recorder(Recorder[PatchModel]):
    """Keeps the objective of every batch."""

    def note(self, state: dict[str, Any], seconds: float) -> None:
        history, learner = self.model.history, self.model.learner
        learner.dict_init = None  # it has served, and a checkpoint need not hold it
        history.append((state["i"] + 1, state["batch_cost"], seconds))
        recent = [point[1] for point in history[-_SMOOTHED_STEPS:]]
        self.bar.set_postfix_str(f"objective {np.mean(recent):.5g}", refresh=False)


def _first_atoms(rows: NDArray[Any], options: dict[str, Any]) -> NDArray[Any]:
    """Random rows of unit norm."""
    order = _rng.permutation(options["seed"], _rng.STREAM_INITIAL_ATOMS, 0, len(rows))
    atoms = rows[order[: options["n_components"]]]
    norms = np.linalg.norm(atoms, axis=1, keepdims=True)
    unit: NDArray[Any] = np.divide(atoms, np.where(norms > 0, norms, 1), dtype=atoms.dtype)
    return unit


def _write_results(model: PatchModel, data: Patches, out: Path) -> None:
    metrics = _metrics(model, data)
    usage = gap = None
    if data.held_out is not None:
        codes, info = model.learner.encode(data.held_out, sparse_output=True, return_info=True)
        metrics["held_out"] = _held_out(model, data.held_out, codes, info)
        usage, gap = np.bincount(codes.indices, minlength=codes.shape[1]) / codes.shape[0], info.gap
    comparisons = _comparisons(model, data.photographs)
    metrics["psnr"] = {c.name: finite_psnr(c.original, c.reconstruction) for c in comparisons}
    text = json.dumps(metrics, indent=1)
    page = report_html(Report(metrics, model.atoms(), usage, gap, comparisons))
    write_bytes(out / "metrics.json", text.encode())
    write_bytes(out / "atoms.png", atoms_png(model.atoms()))
    write_bytes(out / "report.html", page.encode(errors="backslashreplace"))  # a file's name may be no UTF-8


def _metrics(model: PatchModel, data: Patches) -> dict[str, Any]:
    run = model.run
    steps, objective, seconds = zip(*model.history)
    return {
        "options": run["options"],
        "photographs": [str(p) for p in data.photographs],
        "builds": run["builds"],
        "finished": run["finished"],
        "n_steps": int(model.learner.n_steps_),
        "n_patches": len(data.learnt),
        "seconds": seconds[-1],
        "history": {"step": [int(s) for s in steps], "objective": list(objective), "seconds": list(seconds)},
    }


def _held_out(model: PatchModel, rows: NDArray[Any], codes: csr_matrix, info: Any) -> dict[str, Any]:
    """How well patches are explained that were not learnt from."""
    learner = model.learner
    energy = SparseCodingEnergy(learner.components_, learner.alpha, penalty=learner.penalty)
    residual = rows - codes @ learner.components_
    return {
        "n_patches": len(rows),
        "objective": float(energy.value(rows, codes.toarray()).mean()),
        "explained": 1.0 - float(np.square(residual).sum() / (np.square(rows).sum() or 1.0)),
        "nonzeros_per_patch": codes.nnz / codes.shape[0],
        "unused_atoms": int(np.sum(np.bincount(codes.indices, minlength=codes.shape[1]) == 0)),
        "criterion": info.criterion,
        "tolerance": learner.transform_tol,
        "worst_gap": float(np.nanmax(info.gap)),
        "median_gap": float(np.nanmedian(info.gap)),
    }


def _comparisons(model: PatchModel, photographs: list[Path]) -> list[Comparison]:
    """The first photographs, shrunk for the page, beside what their codes give back."""
    options = model.run["options"]
    side = max(_COMPARED_SIDE, options["patch_size"])
    found = []
    images = datasets.iter_images(
        photographs[:_N_COMPARED], color=options["color"], max_side=side, dtype=model.dtype
    )
    for path, image in images:
        if min(image.shape[:2]) < options["patch_size"]:
            continue
        encoded = model.encode_image(image, max(1, options["patch_size"] // 2))
        back = np.clip(model.decode_image(encoded.codes, encoded.means, encoded.grid), 0.0, 1.0)
        found.append(Comparison(path.name, image, back))
    return found

"""`thalweg learn sparse-coding`: from photographs to a dictionary, its pictures and its report."""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any
from warnings import warn

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from tqdm import tqdm

from .. import __version__, _rng, datasets
from .._native import cpu
from ..energies import SparseCodingEnergy
from ..models import MiniBatchDictionaryLearning
from ..persistence import write_bytes
from ..plots import psnr
from ..preprocessing import extract_patches
from .patch_model import PatchModel
from .pictures import atoms_png
from .report import Comparison, Report, report_html
from .targets import writable_folder

MODEL = "model.safetensors"

# What decides the learnt numbers; a run that goes on keeps all of them but `epochs`, which may grow.
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

_HELD_OUT = 5000  # patches from regions that are not learnt from, for the figures of the report
_N_COMPARED = 3  # photographs that are shown beside their reconstructions
_COMPARED_SIDE = 512  # pixels
_SMOOTHED_STEPS = 20


def learn_sparse_coding(args: argparse.Namespace) -> int:
    """Runs the command; the exit code."""
    out = writable_folder(args.out)
    given = {name: getattr(args, name) for name in DEFAULTS if getattr(args, name) is not None}
    model = _model_to_resume(out, given, args.photos) if args.resume else None
    if model is None:
        _refuse_to_lose_a_run(out, args.overwrite)
        model = _new_model({**DEFAULTS, **given}, args.photos)
    photographs = _photographs(model)
    data = _training_data(model, photographs)
    model.learner.set_params(n_jobs=args.threads)
    interrupted = _learn(model, data.learnt, out, args.checkpoint_every, args.quiet)
    if interrupted and not getattr(model.learner, "n_steps_", 0):
        print("interrupted before the first step: nothing was learnt", file=sys.stderr)
        return 130
    model.save(out / MODEL)
    _write_results(model, data, out)
    _say_how_it_went(model, out, interrupted)
    return 130 if interrupted else 0


def _refuse_to_lose_a_run(out: Path, overwrite: bool) -> None:
    path = out / MODEL
    if overwrite or not path.exists():
        return
    try:
        earlier = PatchModel.load(path)
    except ValueError:
        raise ValueError(
            f"{path} exists and is no model that can be resumed; --overwrite replaces it"
        ) from None
    kind, more = ("a finished", " and more --epochs") if earlier.run["finished"] else ("an unfinished", "")
    raise ValueError(
        f"{path} holds {kind} run ({earlier.learner.n_steps_} steps): go on with --resume{more}, "
        "start anew with --overwrite, which replaces it, or learn into another folder with --out"
    )


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
        "photographs": [str(p.resolve()) for p in datasets.find_images(photos)] if photos else None,
        "builds": [],
        "finished": False,
    }
    return PatchModel(learner, (size, size), 3 if options["color"] else 1, options["dtype"], run=run)


def _model_to_resume(out: Path, given: dict[str, Any], photos: list[str]) -> PatchModel | None:
    path = out / MODEL
    if not path.exists():
        raise ValueError(f"--resume: there is no {path} to go on with")
    model = PatchModel.load(path)
    options = model.run["options"]
    for name, value in given.items():
        if value != options[name] and name != "epochs":
            flag = "--" + name.replace("_", "-")
            raise ValueError(
                f"{flag} {value}: the run in {out} was begun with {options[name]}; leave it out, "
                "or learn into another folder"
            )
    if photos:
        named = [str(p.resolve()) for p in datasets.find_images(photos)]
        if named != model.run["photographs"]:
            raise ValueError(f"--resume: the run in {out} was begun with other photographs; leave them out")
    options["epochs"] = given.get("epochs", options["epochs"])
    if options["epochs"] < model.learner.n_iter_:
        raise ValueError(
            f"--epochs {options['epochs']}: the run in {out} has got to epoch {model.learner.n_iter_} "
            "already; expected at least that"
        )
    return model


def _photographs(model: PatchModel) -> list[Path]:
    named = model.run["photographs"]
    return datasets.sample_image_paths() if named is None else [Path(p) for p in named]


def _images(model: PatchModel, files: list[Path]) -> Iterator[tuple[Path, NDArray[Any]]]:
    options = model.run["options"]
    return datasets.iter_images(
        files, color=options["color"], max_side=options["max_side"], dtype=model.dtype
    )


@dataclass
class _Data:
    """Rows to learn from, rows held out (None: no photograph can spare any), and the photographs."""

    learnt: NDArray[Any]
    held_out: NDArray[Any] | None
    photographs: list[Path]


def _training_data(model: PatchModel, files: list[Path]) -> _Data:
    """Random patches as rows; the preprocessing is fitted where the model is new."""
    options = model.run["options"]
    learnt, held_out, used = _draw(model, files)
    digest = hashlib.sha256(learnt.tobytes()).hexdigest()
    centred, _ = model.centred(learnt)
    if "digest" not in model.run:
        model.run["digest"] = digest
        model.fit_preprocessing(centred, options["whitening_eps"] if options["whitening"] == "zca" else None)
    elif digest != model.run["digest"]:
        raise ValueError(
            "--resume: the photographs, or how they decode, have changed since the run was begun"
        )
    rows = model.rows(centred)
    return _Data(rows, None if held_out is None else model.rows(model.centred(held_out)[0]), used)


def _draw(model: PatchModel, files: list[Path]) -> tuple[NDArray[Any], NDArray[Any] | None, list[Path]]:
    """As many patches from every photograph; what one cannot give, the following give."""
    options = model.run["options"]
    size, wanted = options["patch_size"], options["n_patches"]
    drawn: tuple[list[NDArray[Any]], list[NDArray[Any]]] = ([], [])  # learnt, held out
    used: list[Path] = []
    place = {file: i for i, file in enumerate(files)}
    for path, image in _images(model, files):
        if min(image.shape[:2]) < size:
            warn(f"{path}: skipped, for it is smaller than a patch", stacklevel=2)
            continue
        missing = [n - sum(map(len, rows)) for n, rows in zip((wanted, min(_HELD_OUT, wanted)), drawn)]
        if not any(missing):
            break
        seeds = np.random.SeedSequence([options["seed"], place[path]]).generate_state(2, np.uint64) >> 1
        for region, rows, n, seed in zip(_regions(image, size), drawn, missing, seeds):
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
    return np.concatenate(learnt), np.concatenate(held_out) if held_out else None, used


def _regions(image: NDArray[Any], size: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """What is learnt from, and right of it a tenth that is not, no pixel in common; of a narrow image none.

    A strip from top to bottom, as photographs differ more from sky to ground than from left to right.
    """
    width = image.shape[1]
    border = width - max(size, width // 10) if width >= 3 * size else width
    return image[:, :border], image[:, border:]


def _learn(model: PatchModel, rows: NDArray[Any], out: Path, checkpoint_every: float, quiet: bool) -> bool:
    """Learns to the end of the last epoch, or to Ctrl-C; whether it was Ctrl-C."""
    options, learner = model.run["options"], model.learner
    _note_build(model.run)
    n_steps = options["epochs"] * -(-len(rows) // min(options["batch_size"], len(rows)))
    begun = hasattr(learner, "components_")
    if begun and learner.n_steps_ >= n_steps:
        model.run["finished"] = True  # Ctrl-C may have come after the last step
        return False
    with tqdm(
        total=n_steps,
        initial=learner.n_steps_ if begun else 0,
        unit="step",
        disable=quiet,
        file=sys.stderr,
        mininterval=0.2 if sys.stderr.isatty() else 5.0,
    ) as bar:
        recorder = _Recorder(model, out / MODEL, bar, checkpoint_every)
        learner.set_params(max_iter=options["epochs"], callback=recorder)
        try:
            if begun:
                learner.resume(rows)
            else:
                learner.set_params(dict_init=_first_atoms(rows, options))
                learner.fit(rows)
        except KeyboardInterrupt:
            model.run["finished"] = False
            return True
        except Exception:
            _save_in_spite_of_an_error(model, out)
            raise
        finally:
            learner.set_params(callback=None, dict_init=None)
    model.run["finished"] = True
    return False


def _save_in_spite_of_an_error(model: PatchModel, out: Path) -> None:
    """Keeps the steps that were made; that this may fail too must not hide the first error."""
    steps = getattr(model.learner, "n_steps_", 0)
    if not steps:
        return
    model.run["finished"] = False
    model.learner.set_params(dict_init=None)
    try:
        model.save(out / MODEL)
    except Exception as error:
        warn(f"what was learnt in {steps} steps is lost: {error}", stacklevel=2)
    else:
        print(f"an error after {steps} steps; {_how_to_go_on(out)}", file=sys.stderr)


class _Recorder:
    """Called after every step: keeps the history, moves the bar, and saves the model now and then."""

    def __init__(self, model: PatchModel, path: Path, bar: Any, every: float) -> None:
        self._model, self._path, self._bar, self._every = model, path, bar, every
        self._history = model.history
        self._before = self._history[-1][2] if self._history else 0.0
        self._begun = self._saved = perf_counter()

    def __call__(self, state: dict[str, Any]) -> None:
        now = perf_counter()
        self._history.append((state["i"] + 1, state["batch_cost"], self._before + now - self._begun))
        recent = [point[1] for point in self._history[-_SMOOTHED_STEPS:]]
        self._bar.set_postfix_str(f"objective {np.mean(recent):.5g}", refresh=False)
        self._bar.update()
        if now - self._saved >= self._every:
            self._model.run["finished"] = False
            self._model.learner.set_params(dict_init=None)
            self._model.save(self._path)
            self._saved = perf_counter()


def _first_atoms(rows: NDArray[Any], options: dict[str, Any]) -> NDArray[Any]:
    """Random rows of unit norm."""
    order = _rng.permutation(options["seed"], _rng.STREAM_INITIAL_ATOMS, 0, len(rows))
    atoms = rows[order[: options["n_components"]]]
    norms = np.linalg.norm(atoms, axis=1, keepdims=True)
    unit: NDArray[Any] = np.divide(atoms, np.where(norms > 0, norms, 1), dtype=atoms.dtype)
    return unit


def build() -> dict[str, str]:
    """What decides the bits, beside the data and the options."""
    return {
        "version": __version__,
        "instruction_set": str(cpu.level),
        "compiler": str(cpu.compiler),
        "numpy": np.__version__,
        "machine": platform.machine(),
    }


def _note_build(run: dict[str, Any]) -> None:
    builds, here = run["builds"], build()
    if builds and builds[-1] != here:
        changed = ", ".join(f"{k} {builds[-1][k]} -> {here[k]}" for k in here if builds[-1][k] != here[k])
        print(
            f"note: the run was begun with another build ({changed}); "
            "its numbers will differ in their last bits from an unbroken run",
            file=sys.stderr,
        )
    if not builds or builds[-1] != here:
        builds.append(here)


def _write_results(model: PatchModel, data: _Data, out: Path) -> None:
    metrics = _metrics(model, data)
    usage = gap = None
    if data.held_out is not None:
        codes, info = model.learner.encode(data.held_out, sparse_output=True, return_info=True)
        metrics["held_out"] = _held_out(model, data.held_out, codes, info)
        usage, gap = np.bincount(codes.indices, minlength=codes.shape[1]) / codes.shape[0], info.gap
    comparisons = _comparisons(model, data.photographs)
    metrics["psnr"] = {c.name: _decibels(c) for c in comparisons}
    text = json.dumps(metrics, indent=1)
    page = report_html(Report(metrics, model.atoms(), usage, gap, comparisons))
    write_bytes(out / "metrics.json", text.encode())
    write_bytes(out / "atoms.png", atoms_png(model.atoms()))
    write_bytes(out / "report.html", page.encode(errors="backslashreplace"))  # a file's name may be no UTF-8


def _metrics(model: PatchModel, data: _Data) -> dict[str, Any]:
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


def _decibels(pair: Comparison) -> float | None:
    """None where the reconstruction is perfect, for JSON has no infinity."""
    value = psnr(pair.original, pair.reconstruction)
    return value if np.isfinite(value) else None


def _say_how_it_went(model: PatchModel, out: Path, interrupted: bool) -> None:
    steps = model.learner.n_steps_
    if interrupted:
        print(f"interrupted after {steps} steps; {_how_to_go_on(out)}", file=sys.stderr)
    else:
        print(f"{len(model.learner.components_)} atoms after {steps} steps: see {out / 'report.html'}")


def _how_to_go_on(out: Path) -> str:
    return f"what was learnt is in {out}. Go on with: thalweg learn sparse-coding --out {out} --resume"

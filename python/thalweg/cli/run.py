"""A run, whatever is learnt in it: its folder, checkpoints, Ctrl-C, errors, and going on bit for bit."""

from __future__ import annotations

import argparse
import hashlib
import platform
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any, ClassVar, Generic, Protocol, TypeVar
from warnings import warn

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from .. import __version__
from .._native import cpu
from .devices import device_name
from .model_files import OtherModel
from .targets import writable_folder

MODEL = "model.safetensors"


class Model(Protocol):
    """A learner with `fit`, `resume`, `n_steps_` and `n_iter_`, and how it was learnt.

    `run` is a dict of what is saved beside it: at least "options", "builds" and "finished".
    """

    learner: Any
    run: dict[str, Any]

    @property
    def seconds(self) -> float:
        """How long it has learnt."""

    def save(self, path: Path) -> None: ...


M = TypeVar("M", bound=Model)
D = TypeVar("D")


class Job(ABC, Generic[M, D]):
    """What `thalweg learn` does for one kind of model M with data D; `learn` does what all have in common."""

    command: ClassVar[str]  # its name after `thalweg learn`
    inputs: ClassVar[str] = "photographs"
    epochs_parameter: ClassVar[str]  # the learner's name for the number of epochs
    # What decides the learnt numbers; a run that goes on keeps all of them but `epochs`, which may grow.
    options: Sequence[str]
    device_losses: ClassVar[Sequence[str] | None] = None  # those of --loss for --device cuda; None: all

    @abstractmethod
    def load(self, path: Path) -> M:
        """The model of a file; ValueError where it is none that can be resumed."""

    @abstractmethod
    def new(self, given: dict[str, Any], paths: list[str]) -> M:
        """A model that is still to be learnt, with the options that are given, from these inputs."""

    @abstractmethod
    def is_begun_with(self, model: M, paths: list[str]) -> bool:
        """Whether these are the inputs that the model is learnt from."""

    @abstractmethod
    def data(self, model: M) -> D:
        """What is learnt from, and what is held out."""

    @abstractmethod
    def rows(self, data: D) -> Any:
        """What is learnt from, as the learner takes it: rows, or a sequence of images."""

    @abstractmethod
    def recorder(self, model: M, data: D, path: Path, bar: Any, every: float) -> Recorder[M]: ...

    @abstractmethod
    def write_results(self, model: M, data: D, out: Path) -> None:
        """Pictures, figures and report, beside the model."""

    @abstractmethod
    def summary(self, model: M) -> str:
        """What was learnt, in a few words."""

    def fit(self, model: M, rows: Any) -> None:
        """Learns from the start."""
        model.learner.fit(rows)

    def n_stages(self, model: M) -> int:
        """How many times all epochs are made, each time of another part of the model."""
        return 1

    def steps_per_epoch(self, model: M, rows: Any) -> int:
        return steps_per_epoch(rows, model.run["options"])


def learn(job: Job[M, D], args: argparse.Namespace) -> int:
    """Runs `thalweg learn` for one kind of model; the exit code."""
    out = Path(args.out)
    given = {name: getattr(args, name) for name in job.options if getattr(args, name) is not None}
    if args.resume:
        model = _model_to_resume(job, out, given, args.inputs)
    else:
        _refuse_to_lose_a_run(job, out, args.overwrite)
        model = job.new(given, args.inputs)
    _require_loss(job, model, args.device)
    model.learner.set_params(n_jobs=args.threads, device=args.device)
    writable_folder(args.out)
    data = job.data(model)
    interrupted = _learn(job, model, data, out, args.checkpoint_every, args.quiet)
    if interrupted and not getattr(model.learner, "n_steps_", 0):
        print("interrupted before the first step: nothing was learnt", file=sys.stderr)
        return 130
    model.save(out / MODEL)
    steps = model.learner.n_steps_
    if interrupted:  # said before the report is made, which a second Ctrl-C skips
        print(
            f"interrupted after {steps} steps; {_how_to_go_on(job, model, out)}", file=sys.stderr, flush=True
        )
    job.write_results(model, data, out)
    if not interrupted:
        print(f"{job.summary(model)} after {steps} steps: see {out / 'report.html'}")
    return 130 if interrupted else 0


def flag(option: str) -> str:
    return "--" + option.replace("_", "-")


def note_data(run: dict[str, Any], rows: NDArray[Any], inputs: str) -> None:
    """Keeps a digest of what is learnt from; ValueError where a run would go on with something else."""
    note_digest(run, hashlib.sha256(np.ascontiguousarray(rows).data).hexdigest(), inputs)


def note_digest(run: dict[str, Any], digest: str, inputs: str) -> None:
    """`note_data` of what is not held at once."""
    if run.setdefault("digest", digest) != digest:
        raise ValueError(f"--resume: the {inputs}, or how they decode, have changed since the run was begun")


def _require_loss(job: Job[M, D], model: M, device: str) -> None:
    """ValueError where what training is to lower has no kernels on this device."""
    loss = model.run["options"].get("loss")
    if device != "cpu" and job.device_losses is not None and loss not in job.device_losses:
        raise ValueError(
            f"--device {device}: --loss {loss} has no kernels there; give --loss "
            f"{', '.join(job.device_losses[:-1])} or {job.device_losses[-1]}, or leave --device out"
        )


def _refuse_to_lose_a_run(job: Job[M, D], out: Path, overwrite: bool) -> None:
    path = out / MODEL
    if overwrite or not path.exists():
        return
    try:
        earlier = job.load(path)
    except OtherModel as error:
        raise ValueError(
            f"{error}; --overwrite replaces it, and --out names another folder to learn into"
        ) from None
    except ValueError:
        raise ValueError(
            f"{path} exists and is no model that can be resumed; --overwrite replaces it"
        ) from None
    kind, more = ("a finished", " and more --epochs") if earlier.run["finished"] else ("an unfinished", "")
    raise ValueError(
        f"{path} holds {kind} run ({earlier.learner.n_steps_} steps): go on with --resume{more}, "
        "start anew with --overwrite, which replaces it, or learn into another folder with --out"
    )


def _model_to_resume(job: Job[M, D], out: Path, given: dict[str, Any], paths: list[str]) -> M:
    path = out / MODEL
    if not path.exists():
        raise ValueError(f"--resume: there is no {path} to go on with")
    model = job.load(path)
    options = model.run["options"]
    for name, value in given.items():
        if value != options.get(name) and name != "epochs":
            raise ValueError(
                f"{flag(name)} {value}: the run in {out} was begun with {options.get(name)}; leave it out, "
                "or learn into another folder"
            )
    if paths and not job.is_begun_with(model, paths):
        raise ValueError(f"--resume: the run in {out} was begun with other {job.inputs}; leave them out")
    options["epochs"] = given.get("epochs", options["epochs"])
    done = -(-model.learner.n_iter_ // job.n_stages(model))
    if options["epochs"] < done:
        raise ValueError(
            f"--epochs {options['epochs']}: the run in {out} has got to epoch {done} already; expected at "
            "least that"
        )
    return model


def _learn(job: Job[M, D], model: M, data: D, out: Path, checkpoint_every: float, quiet: bool) -> bool:
    """Learns to the end of the last epoch, or to Ctrl-C; whether it was Ctrl-C."""
    options, learner, rows = model.run["options"], model.learner, job.rows(data)
    _note_build(model.run, learner.device)
    n_steps = options["epochs"] * job.steps_per_epoch(model, rows) * job.n_stages(model)
    begun = hasattr(learner, "n_steps_")
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
        recorder = job.recorder(model, data, out / MODEL, bar, checkpoint_every)
        learner.set_params(**{job.epochs_parameter: options["epochs"]}, callback=recorder)
        try:
            if begun:
                learner.resume(rows)
            else:
                job.fit(model, rows)
        except KeyboardInterrupt:
            model.run["finished"] = False
            return True
        except Exception:
            _save_in_spite_of_an_error(job, model, out)
            raise
        finally:
            learner.set_params(callback=None)
    model.run["finished"] = True
    return False


def steps_per_epoch(rows: Any, options: dict[str, Any]) -> int:
    batch_size: int = options["batch_size"]
    return -(-len(rows) // min(batch_size, len(rows)))


def _save_in_spite_of_an_error(job: Job[M, D], model: M, out: Path) -> None:
    """Keeps the steps that were made; that this may fail too must not hide the first error."""
    steps = getattr(model.learner, "n_steps_", 0)
    if not steps:
        return
    model.run["finished"] = False
    try:
        model.save(out / MODEL)
    except Exception as error:
        warn(f"what was learnt in {steps} steps is lost: {error}", stacklevel=2)
    else:
        print(f"an error after {steps} steps; {_how_to_go_on(job, model, out)}", file=sys.stderr)


class Recorder(ABC, Generic[M]):
    """Called after every step: notes how it goes, moves the bar, and saves the model now and then."""

    def __init__(self, model: M, path: Path, bar: Any, every: float) -> None:
        self.model, self.bar = model, bar
        self._path, self._every = path, every
        self._before = model.seconds
        self._begun = self._saved = perf_counter()

    def __call__(self, state: dict[str, Any]) -> None:
        now = perf_counter()
        self.note(state, self._before + now - self._begun)
        self.bar.update()
        if now - self._saved >= self._every:
            self.model.run["finished"] = False
            self.model.save(self._path)
            self._saved = perf_counter()

    @abstractmethod
    def note(self, state: dict[str, Any], seconds: float) -> None:
        """Keeps what the report shows of this step, after so many seconds of learning."""


def build(device: str) -> dict[str, str]:
    """What decides the bits, beside the data and the options."""
    return {
        "version": __version__,
        "instruction_set": str(cpu.level),
        "compiler": str(cpu.compiler),
        "numpy": np.__version__,
        "machine": platform.machine(),
        "device": device_name(device),
    }


def _note_build(run: dict[str, Any], device: str) -> None:
    builds, here = run["builds"], build(device)
    before = {"device": "cpu", **builds[-1]} if builds else here  # the CPU is not always named
    if before != here:
        changed = ", ".join(f"{k} {before[k]} -> {here[k]}" for k in here if before[k] != here[k])
        print(
            f"note: the run was begun with another build ({changed}); "
            "its numbers will not be those of an unbroken run, bit for bit",
            file=sys.stderr,
        )
    if not builds or before != here:
        builds.append(here)


def _how_to_go_on(job: Job[M, D], model: M, out: Path) -> str:
    device = model.learner.device
    more = "" if device == "cpu" else f" --device {device}"
    return f"what was learnt is in {out}. Go on with: thalweg learn {job.command} --out {out} --resume{more}"

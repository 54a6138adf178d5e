"""Which command learnt the model of a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..persistence import load_model_and_extra

# What a file names as its job, and the command that learns such models.
COMMANDS = {
    "sparse-coding of photographs": "sparse-coding",
    "rbm": "rbm",
    "gaussian-rbm": "gaussian-rbm",
    "conv-sparse-coding": "conv-sparse-coding",
    "conv-autoencoder": "conv-autoencoder",
    "deep-energy": "deep-energy",
}


def job_of(path: Path) -> Any:
    """The job that a file names, or None."""
    return load_model_and_extra(path)[1].get("job")


class OtherModel(ValueError):
    """A file holds a model, but not one of the command that is asked for."""


def load_learnt(path: Path, job: str) -> tuple[Any, dict[str, Any]]:
    """The learner of a file of this job, and what is saved beside it; `OtherModel` where it is of another."""
    learner, extra = load_model_and_extra(path)
    found = extra.get("job")
    if found != job:
        by = f" of `thalweg learn {COMMANDS[found]}`" if found in COMMANDS else ""
        raise OtherModel(
            f"{path}: holds a {type(learner).__name__}{by}, not learnt by `thalweg learn {COMMANDS[job]}`"
        )
    return learner, extra

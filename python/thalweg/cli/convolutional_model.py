"""A convolutional model as `thalweg learn` leaves it, and its file."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..persistence import save_model
from .convolutional_images import Preprocessing
from .model_files import load_learnt

# Jobs, and the commands that learn such models.
SPARSE_CODING, AUTOENCODER = "conv-sparse-coding", "conv-autoencoder"

# What is kept of every step: energies are means over the pixels of its images.
COLUMNS = {
    SPARSE_CODING: ("step", "objective", "seconds"),
    AUTOENCODER: ("step", "objective", "seconds", "reconstruction", "sparsity", "prediction"),
}


@dataclass
class ConvolutionalModel:
    """Filters of whole images, what turns photographs into these, and how they were learnt."""

    job: str
    learner: Any
    preprocessing: Preprocessing
    run: dict[str, Any] = field(default_factory=dict)  # options, photographs, builds
    history: list[tuple[float, ...]] = field(default_factory=list)  # rows of `COLUMNS`

    @property
    def seconds(self) -> float:
        """How long it has learnt."""
        return self.history[-1][2] if self.history else 0.0

    def history_by_name(self) -> dict[str, list[float]]:
        columns = dict(zip(COLUMNS[self.job], map(list, zip(*self.history))))
        return {**columns, "step": [int(step) for step in columns["step"]]}

    def save(self, path: Path) -> None:
        extra = {
            "job": self.job,
            "preprocessing": asdict(self.preprocessing),
            "run": self.run,
            "history": np.array(self.history, np.float64).reshape(-1, len(COLUMNS[self.job])),
        }
        save_model(self.learner, path, extra)

    @classmethod
    def load(cls, path: Path, job: str) -> ConvolutionalModel:
        learner, extra = load_learnt(path, job)
        return cls(
            job=job,
            learner=learner,
            preprocessing=Preprocessing(**extra["preprocessing"]),
            run=extra["run"],
            history=[tuple(point) for point in extra["history"].tolist()],
        )

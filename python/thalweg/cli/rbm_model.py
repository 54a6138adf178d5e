"""A Boltzmann machine as `thalweg learn` leaves it, and its file."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from ..persistence import save_model
from ..preprocessing import Whitening
from .model_files import load_learnt
from .patch_rows import whitening_from, whitening_state

BERNOULLI, GAUSSIAN = "rbm", "gaussian-rbm"  # jobs, and the commands that learn such models


class Point(NamedTuple):
    """How the model was doing after a step: means over fixed rows learnt from, and rows held out (or NaN)."""

    step: int
    epoch: float
    free_energy: float
    free_energy_held_out: float
    error: float  # of the reconstruction: mean square
    error_held_out: float


@dataclass
class RbmModel:
    """A machine whose visible units are the pixels of pictures of this shape, and how it was learnt."""

    job: str
    learner: Any
    shape: tuple[int, int]
    run: dict[str, Any] = field(default_factory=dict)  # options, source, builds, seconds
    whitening: Whitening | None = None
    history: list[Point] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """How long it has learnt."""
        return float(self.run["seconds"])

    @property
    def signed(self) -> bool:
        """Whether pixels lie about zero, and not between 0 and 1."""
        return self.job == GAUSSIAN

    def pictures(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Rows as pictures (n, height, width)."""
        return np.reshape(rows, (-1, *self.shape))

    def filters(self) -> NDArray[Any]:
        """The weights of every hidden unit as a picture, the strongest first."""
        components = self.learner.components_
        order = np.argsort(-np.linalg.norm(components, axis=1), kind="stable")
        return self.pictures(components[order])

    def save(self, path: Path) -> None:
        extra = {
            "job": self.job,
            "shape": list(self.shape),
            "run": self.run,
            "whitening": whitening_state(self.whitening),
            "history": np.array(self.history, np.float64).reshape(-1, len(Point._fields)),
        }
        save_model(self.learner, path, extra)

    @classmethod
    def load(cls, path: Path, job: str) -> RbmModel:
        learner, extra = load_learnt(path, job)
        return cls(
            job=job,
            learner=learner,
            shape=cast("tuple[int, int]", tuple(extra["shape"])),
            run=extra["run"],
            whitening=whitening_from(extra["whitening"]),
            history=[Point(int(step), *rest) for step, *rest in extra["history"].tolist()],
        )

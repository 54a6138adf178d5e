"""How a deep energy is doing: log p of patches learnt from, held out, and drawn from the fitted Gaussian."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .density_model import DensityModel, Point
from .density_scores import auc, summary
from .rbm_data import Rows
from .rbm_metrics import spread

N_MONITORED = 2000  # rows that are followed over the epochs
_N_EVALUATED = 5000  # rows for the figures at the end
LEARNT, HELD_OUT, GAUSSIAN = "training", "held out", "fitted Gaussian"


@dataclass
class Monitored:
    """Rows of each set, by name: `LEARNT`, `HELD_OUT` where there are such, and `GAUSSIAN`."""

    sets: dict[str, NDArray[Any]]

    @property
    def natural(self) -> str:
        """The set that is to be told from the Gaussian's samples: the one held out, if there is one."""
        return HELD_OUT if HELD_OUT in self.sets else LEARNT


def monitored(model: DensityModel, rows: Rows, count: int = N_MONITORED) -> Monitored:
    """At most so many rows of each set, spread over the photographs."""
    sets = {LEARNT: spread(rows.learnt, count)}
    if rows.held_out is not None:
        sets[HELD_OUT] = spread(rows.held_out, count)
    sets[GAUSSIAN] = model.gaussian_rows(count, model.run["options"]["seed"])
    return Monitored(sets)


def evaluated(model: DensityModel, rows: Rows) -> Monitored:
    """The rows that the figures at the end are of."""
    return monitored(model, rows, _N_EVALUATED)


def scores(model: DensityModel, rows: Monitored) -> dict[str, dict[str, NDArray[np.float64]]]:
    """By what is scored, and by set: log p, the Gaussian's, and the first less the second."""
    log_p = {name: model.log_p(X) for name, X in rows.sets.items()}
    gaussian = {name: model.log_gaussian(X) for name, X in rows.sets.items()}
    ratio = {name: log_p[name] - gaussian[name] for name in rows.sets}
    return {"log_p": log_p, "log_ratio": ratio, "log_p_gaussian": gaussian}


def point(model: DensityModel, rows: Monitored, epoch: float) -> Point:
    """How the model is doing on these rows."""
    curve = model.learner.loss_curve_
    found = scores(model, rows)
    means = {name: float(values.mean()) for name, values in found["log_p"].items()}
    areas = [auc(found[kind][rows.natural], found[kind][GAUSSIAN]) for kind in ("log_p", "log_ratio")]
    return Point(
        model.learner.n_steps_,
        epoch,
        float(curve[-1]) if len(curve) else np.nan,
        means[LEARNT],
        means.get(HELD_OUT, np.nan),
        means[GAUSSIAN],
        *areas,
    )


def summaries(
    found: dict[str, dict[str, NDArray[np.float64]]], first: str
) -> dict[str, dict[str, dict[str, float | None]]]:
    """Of every score and set its mean, deviation, and the AUC of telling it from the set `first`."""
    return {
        kind: {name: summary(v, None if name == first else sets[first]) for name, v in sets.items()}
        for kind, sets in found.items()
    }

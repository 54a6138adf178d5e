"""What deep energies learn from: gray patches of photographs that vary, less their mean, whitened or not."""

from __future__ import annotations

from typing import Any
from warnings import warn

import numpy as np
from numpy.typing import NDArray

from .density_model import DensityModel
from .patch_gaussian import fit_gaussian
from .photographs import draw_patches, files_of
from .rbm_data import Rows
from .run import note_data

_LEAST_RANGE = 1e-6  # of a patch that is not constant but for rounding


def varying(patches: NDArray[Any]) -> NDArray[np.bool_]:
    """Which patches are not of one gray."""
    return np.asarray(np.ptp(patches, axis=1) > _LEAST_RANGE)


def density_rows(model: DensityModel) -> Rows:
    """Rows for the learner; the Gaussian is fitted where the model is new."""
    options = model.run["options"]
    patches = draw_patches(files_of(model.run["source"]["paths"]), {**options, "color": False})
    note_data(model.run, patches.learnt, "photographs")
    learnt, n_constant = _without_constant(patches.learnt)
    model.run["n_constant"] = n_constant
    if model.gaussian is None:
        model.gaussian = fit_gaussian(
            learnt,
            model.shape,
            options["gaussian"],
            options["gaussian_radius"],
            options["gaussian_estimator"],
            options["whitening_eps"],
        )
    held_out = None
    if patches.held_out is not None:
        kept = patches.held_out[varying(patches.held_out)]
        held_out = model.rows(kept) if len(kept) else None
    return Rows(model.rows(learnt), held_out, [path.name for path in patches.photographs])


def _without_constant(patches: NDArray[Any]) -> tuple[NDArray[Any], int]:
    """Patches that vary, and how many did not; ValueError where fewer than two are left."""
    kept = patches[varying(patches)]
    n_constant = len(patches) - len(kept)
    if len(kept) < 2:
        raise ValueError(
            f"{n_constant} of {len(patches)} patches are of one gray: there is nothing to learn from"
        )
    if n_constant:
        warn(f"{n_constant} of {len(patches)} patches dropped, for they are of one gray", stacklevel=3)
    return kept, n_constant

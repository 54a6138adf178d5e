"""Sliced score matching: the divergence of the score along random directions."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _rng
from .._base import DensityEnergy, Draws, Parameters
from .._check import FloatArray, one_of, whole_number
from ._density import added, rows_of

_DIRECTIONS = ("rademacher", "normal")


class SlicedScoreMatching:
    r"""The mean over rows and directions of
    :math:`v^\top \frac{\partial \psi}{\partial x} v + \tfrac12 \lVert \psi \rVert^2`, or
    :math:`\ldots + \tfrac12 (v^\top \psi)^2`.

    v has independent elements of mean 0 and variance 1, so that in the mean over v both are the objective of
    `ExactScoreMatching`, for one directional second derivative each in the place of all. As that one, it
    refuses energies with ReLU.

    Needs of the energy: "curvature".

    Parameters
    ----------
    n_slices : int, default=1
        Directions for each row.
    directions : {"rademacher", "normal"}, default="rademacher"
        v's elements: -1 or 1, whose variance of the loss is less, or standard normals.
    variance_reduced : bool, default=True
        Whether ||psi||^2 is taken as it is, rather than (v' psi)^2.

    References
    ----------
    Y. Song, S. Garg, J. Shi, S. Ermon, Sliced score matching: a scalable approach to density and score
    estimation, UAI 2019.

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg._base import Draws
    >>> from thalweg.energies import GaussianEnergy
    >>> from thalweg.losses import SlicedScoreMatching
    >>> energy, X = GaussianEnergy([0.0, 0.0], np.eye(2)), np.array([[1.0, 1.0]])
    >>> SlicedScoreMatching(2).value_and_gradient(energy, {}, X, Draws(0, 0))[0]  # 1 - 2, in any direction
    -1.0
    """

    needs = frozenset({"curvature"})

    def __init__(
        self, n_slices: int = 1, directions: str = "rademacher", variance_reduced: bool = True
    ) -> None:
        self.n_slices = whole_number(n_slices, "n_slices", minimum=1)
        self.directions = one_of(directions, "directions", _DIRECTIONS)
        self.variance_reduced = bool(variance_reduced)

    def first_parameters(self, energy: DensityEnergy, X: Any) -> Parameters:
        """Nothing is learnt beside the energy's parameters."""
        return {}

    def value_and_gradient(
        self, energy: DensityEnergy, own: Parameters, X: Any, draws: Draws
    ) -> tuple[float, Parameters, Parameters]:
        """The loss, its gradient in the energy's parameters, and {}; see `DensityLoss`."""
        rows = rows_of(X)
        slices = self._slices(rows, draws)
        loss, share = 0.0, 1 / (self.n_slices * len(rows))
        gradient: Parameters = {}
        for i in range(self.n_slices):
            v = np.ascontiguousarray(slices[:, i])
            curved, psi, tape = energy.curvature(rows, v)
            seen = psi if self.variance_reduced else np.einsum("ij,ij->i", v, psi)[:, None]
            loss += share * float(curved.sum(dtype=np.float64))
            loss += 0.5 * share * float(np.einsum("ij,ij->", seen, seen, dtype=np.float64))
            of_score = psi if self.variance_reduced else seen * v
            weight = np.full(len(rows), share, rows.dtype)
            pulled = energy.pull_curvature(tape, weight, of_score * rows.dtype.type(share))
            gradient = added(gradient, pulled)
        return loss, gradient, {}

    def _slices(self, rows: FloatArray, draws: Draws) -> FloatArray:
        """Directions (n, n_slices, n_features)."""
        n, d = rows.shape
        normal: FloatArray = _rng.normal_rows(
            draws.seed,
            _rng.STREAM_SLICES,
            draws.step,
            (n, self.n_slices * d),
            rows.dtype,
            first_row=draws.first_row,
        )
        if self.directions == "rademacher":
            np.copysign(np.ones((), rows.dtype), normal, out=normal)
        return normal.reshape(n, self.n_slices, d)

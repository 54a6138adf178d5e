"""Score matching of unnormalised densities, with the divergence in closed form."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._base import DensityEnergy, Draws, Parameters
from ._density import rows_of, scaled


class ExactScoreMatching:
    r"""The mean over the rows of :math:`\tfrac12 \lVert \psi(x) \rVert^2 + \operatorname{div} \psi(x)`.

    psi = d log p / dx is the model's score. For a density of the data that falls to zero at infinity this is
    half the mean squared distance of psi from the data's own score, up to a constant. It rests on integration
    by parts, for which psi must have no jumps: energies with ReLU are refused.

    Needs of the energy: "score_matching".

    References
    ----------
    A. Hyvarinen, Estimation of non-normalized statistical models by score matching, JMLR 6, 2005.

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg._base import Draws
    >>> from thalweg.energies import GaussianEnergy
    >>> from thalweg.losses import ExactScoreMatching
    >>> energy, X = GaussianEnergy([0.0], [2.0]), np.array([[1.0], [-1.0]])
    >>> loss, gradient, _ = ExactScoreMatching().value_and_gradient(energy, {}, X, Draws(0, 0))
    >>> loss, gradient["precision"]  # the minimum of 1/2 L^2 - L is at 1
    (0.0, array([1.]))
    """

    needs = frozenset({"score_matching"})

    def first_parameters(self, energy: DensityEnergy, X: Any) -> Parameters:
        """Nothing is learnt beside the energy's parameters."""
        return {}

    def value_and_gradient(
        self, energy: DensityEnergy, own: Parameters, X: Any, draws: Draws
    ) -> tuple[float, Parameters, Parameters]:
        """The loss, its gradient in the energy's parameters, and {}; see `DensityLoss`."""
        objective, gradient = energy.score_matching(rows_of(X))
        return float(objective.mean(dtype=np.float64)), scaled(gradient, 1 / len(objective)), {}

"""Denoising score matching: the score of data with noise on them."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _rng
from .._base import DensityEnergy, Draws, Parameters
from .._check import real_number
from ._density import rows_of, scaled


class DenoisingScoreMatching:
    r"""The mean over the rows of
    :math:`\tfrac12 \lVert \psi(\tilde x) - (x - \tilde x) / s^2 \rVert^2` with
    :math:`\tilde x \sim \mathcal N(x, s^2 I)`.

    Up to a constant it is half the mean squared distance of the model's score psi from that of the data
    blurred by the noise: what is found is the blurred density, of a Gaussian of covariance Sigma the one of
    Sigma + s^2 I. No second derivatives are needed, and ReLU is welcome.

    Needs of the energy: "score", "pull_score".

    Parameters
    ----------
    noise_scale : float, default=0.1
        s > 0, in the units of the data.

    References
    ----------
    P. Vincent, A connection between score matching and denoising autoencoders, Neural Comput. 23, 2011.

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg._base import Draws
    >>> from thalweg.energies import GaussianEnergy
    >>> from thalweg.losses import DenoisingScoreMatching
    >>> X = np.zeros((100_000, 1))  # and the blurred density's precision is 1 / s^2 = 4
    >>> loss = DenoisingScoreMatching(0.5)
    >>> loss.value_and_gradient(GaussianEnergy([0.0], [4.0]), {}, X, Draws(0, 0))[0]
    0.0
    """

    needs = frozenset({"score", "pull_score"})

    def __init__(self, noise_scale: float = 0.1) -> None:
        self.noise_scale = real_number(noise_scale, "noise_scale", above=0.0)

    def first_parameters(self, energy: DensityEnergy, X: Any) -> Parameters:
        """Nothing is learnt beside the energy's parameters."""
        return {}

    def value_and_gradient(
        self, energy: DensityEnergy, own: Parameters, X: Any, draws: Draws
    ) -> tuple[float, Parameters, Parameters]:
        """The loss, its gradient in the energy's parameters, and {}; see `DensityLoss`."""
        rows = rows_of(X)
        normal = _rng.normal_rows(
            draws.seed, _rng.STREAM_DENOISING, draws.step, rows.shape, rows.dtype, first_row=draws.first_row
        )
        scale = rows.dtype.type(self.noise_scale)
        psi, tape = energy.score(rows + scale * normal)
        residual = psi + normal / scale
        loss = 0.5 * float(np.einsum("ij,ij->", residual, residual, dtype=np.float64)) / len(rows)
        return loss, scaled(energy.pull_score(tape, residual), 1 / len(rows)), {}

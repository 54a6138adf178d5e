"""Conditional noise-contrastive estimation: data against themselves with noise."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _rng, ops
from .._base import DensityEnergy, Draws, Parameters
from .._check import real_number, whole_number
from ._density import rows_of


class ConditionalNoiseContrastiveEstimation:
    r"""Telling which of a datum x and x' = x + s * normal is the datum.

    .. math:: \frac{2}{\kappa n} \sum_{i=1}^n \sum_{j=1}^{\kappa} S\bigl(E(x_i) - E(x_{ij}')\bigr)

    S the softplus. The noise is symmetric, p(x' | x) = p(x | x'), so that neither its density nor log Z is
    needed, nor learnt. For s to 0 it tends to score matching.

    Needs of the energy: "value".

    Parameters
    ----------
    noise_scale : float, default=0.5
        s > 0, in the units of the data.
    noise_ratio : int, default=1
        kappa, copies with noise of each datum.

    References
    ----------
    C. Ceylan, M. U. Gutmann, Conditional noise-contrastive estimation of unnormalised models, ICML 2018.

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg._base import Draws
    >>> from thalweg.energies import GaussianEnergy
    >>> from thalweg.losses import ConditionalNoiseContrastiveEstimation
    >>> flat, X = GaussianEnergy([0.0], [0.0]), np.array([[1.0], [-1.0]])  # all are equally likely
    >>> loss, _, _ = ConditionalNoiseContrastiveEstimation().value_and_gradient(flat, {}, X, Draws(0, 0))
    >>> bool(np.isclose(loss, 2 * np.log(2)))  # that of chance
    True
    """

    needs = frozenset({"value"})

    def __init__(self, noise_scale: float = 0.5, noise_ratio: int = 1) -> None:
        self.noise_scale = real_number(noise_scale, "noise_scale", above=0.0)
        self.noise_ratio = whole_number(noise_ratio, "noise_ratio", minimum=1)

    def first_parameters(self, energy: DensityEnergy, X: Any) -> Parameters:
        """Nothing is learnt beside the energy's parameters."""
        return {}

    def value_and_gradient(
        self, energy: DensityEnergy, own: Parameters, X: Any, draws: Draws
    ) -> tuple[float, Parameters, Parameters]:
        """The loss, its gradient in the energy's parameters, and {}; see `DensityLoss`."""
        rows = rows_of(X)
        n, d = rows.shape
        normal = _rng.normal_rows(
            draws.seed,
            _rng.STREAM_CONDITIONAL_NOISE,
            draws.step,
            (n, self.noise_ratio * d),
            rows.dtype,
            first_row=draws.first_row,
        ).reshape(n, self.noise_ratio, d)
        noisy = rows[:, None] + rows.dtype.type(self.noise_scale) * normal
        E, tape = energy.value(np.concatenate([rows, noisy.reshape(-1, d)]))
        gap = E[:n, None].astype(np.float64) - E[n:].reshape(n, self.noise_ratio)
        share = 2 / gap.size
        push = share * ops.sigmoid(gap)
        of_energy = np.concatenate([push.sum(axis=1), -push.ravel()]).astype(E.dtype)
        return share * float(ops.softplus(gap).sum()), energy.pullback(tape, of_energy), {}

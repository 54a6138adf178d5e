"""Contrastive divergence of unnormalised densities, by any sampler that moves rows."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from .. import _rng
from .._base import DensityEnergy, Draws, Parameters
from .._check import FloatArray
from ._density import added, rows_of


class DensitySampler(Protocol):
    """Moves rows so that an energy's density stays as it is, or nearly so."""

    def step(self, energy: DensityEnergy, X: FloatArray, draws: Draws) -> FloatArray:
        """The rows after their moves; row i draws as row `draws.first_row` + i."""
        ...


class DensityContrastiveDivergence:
    r"""CD: the mean energy of the data minus that of the rows X' to which a sampler moves them.

    .. math:: \frac1n \sum_i E(x_i) - E(x_i')

    Its gradient is taken with X' held, hence it is not that of any function: it is the likelihood's gradient
    with the model's samples taken after a few moves from the data. The value tells only how far the moves
    lower the energy.

    Needs of the energy: "value", and what the sampler needs, "score" unless it says so itself by `needs`.

    Parameters
    ----------
    sampler : object
        With `step(energy, X, draws) -> X'`, as those of `thalweg.inference` have it.

    References
    ----------
    G. Hinton, Training products of experts by minimizing contrastive divergence, Neural Comput. 14, 2002.
    J. Ngiam, Z. Chen, P. W. Koh, A. Y. Ng, Learning deep energy models, ICML 2011.

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg._base import Draws
    >>> from thalweg.energies import GaussianEnergy
    >>> from thalweg.losses import DensityContrastiveDivergence
    >>> class Outwards:
    ...     def step(self, energy, X, draws):
    ...         return 2 * X
    >>> energy, X = GaussianEnergy([0.0], [1.0]), np.array([[1.0], [-1.0]])
    >>> loss, gradient, _ = DensityContrastiveDivergence(Outwards()).value_and_gradient(
    ...     energy, {}, X, Draws(0, 0)
    ... )
    >>> loss, gradient["precision"]  # a greater precision would make the data likelier
    (-1.5, array([-1.5]))
    """

    def __init__(self, sampler: DensitySampler) -> None:
        self.sampler = sampler

    @property
    def needs(self) -> frozenset[str]:
        """ "value", and what the sampler needs."""
        return frozenset({"value"}) | frozenset(getattr(self.sampler, "needs", {"score"}))

    def first_parameters(self, energy: DensityEnergy, X: Any) -> Parameters:
        """Nothing is learnt beside the energy's parameters."""
        return {}

    def value_and_gradient(
        self, energy: DensityEnergy, own: Parameters, X: Any, draws: Draws
    ) -> tuple[float, Parameters, Parameters]:
        """The mean drop of the energy, its gradient with the samples held, and {}; see `DensityLoss`."""
        rows = rows_of(X)
        key = Draws(draws.seed, _rng.STREAM_DENSITY_CHAINS, draws.first_row, draws.step)
        moved = np.asarray(self.sampler.step(energy, rows, key))
        if moved.shape != rows.shape:
            raise ValueError(f"sampler: expected rows of shape {rows.shape} of its step, got {moved.shape}")
        loss = 0.0
        gradient: Parameters = {}
        for x, sign in ((rows, 1.0), (moved, -1.0)):
            E, tape = energy.value(x)
            loss += sign * float(E.mean(dtype=np.float64))
            share = np.full(len(x), sign / len(x), E.dtype)
            gradient = added(gradient, energy.pullback(tape, share))
        return loss, gradient, {}

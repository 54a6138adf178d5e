"""The energies of a finite set of answers, and of latent states, by an energy of pairs."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._base import AnswerSide, PairEnergy, Parameters
from .._check import FloatArray, float_array


class CandidateEnergy:
    r"""E(x, y_k) or E(x, y_k, z_l) for given answers y_k and latent states z_l.

    So a continuous answer is searched on a grid, and an energy of one's own, written for one pair a row,
    classifies.

    Parameters
    ----------
    energy : PairEnergy
    candidates : array_like of shape (n_answers, n_outputs)
    latents : array_like of shape (n_latents, n_elements), default=None
        For an energy with a latent variable.

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg.energies import CandidateEnergy, DenseNetwork, RegressorEnergy, SquaredDistance
    >>> double = RegressorEnergy(DenseNetwork([np.array([[2.0]])], [None], ["identity"]), SquaredDistance())
    >>> CandidateEnergy(double, [[0.0], [2.0], [4.0]]).energies(np.array([[1.0]]))[0]
    array([[2., 0., 2.]])
    """

    def __init__(self, energy: PairEnergy, candidates: Any, latents: Any = None) -> None:
        self.energy = energy
        self.candidates = float_array(candidates, "candidates", ndim=2)
        self.n_answers = len(self.candidates)
        self.answer_side: AnswerSide = energy.answer_side
        self.latents = None if latents is None else float_array(latents, "latents", ndim=2)
        given = 0 if self.latents is None else self.latents.shape[1]
        if given != energy.n_latents:
            raise ValueError(f"latents: expected {energy.n_latents} elements as the energy has, got {given}")

    @property
    def parameters(self) -> Parameters:
        """Those of the energy of pairs."""
        return self.energy.parameters

    def energies(self, X: FloatArray) -> tuple[FloatArray, Any]:
        """Energies (n, n_answers), or (n, n_answers, n_latents), and a tape for `pullback`."""
        n_states = 1 if self.latents is None else len(self.latents)
        x = np.repeat(X, self.n_answers * n_states, axis=0)
        y = np.tile(np.repeat(self.candidates.astype(X.dtype, copy=False), n_states, axis=0), (len(X), 1))
        z = None
        if self.latents is not None:
            z = np.tile(self.latents.astype(X.dtype, copy=False), (len(X) * self.n_answers, 1))
        value, tape = self.energy.value(x, y, z)
        shape = (len(X), self.n_answers) if z is None else (len(X), self.n_answers, n_states)
        return value.reshape(shape).astype(X.dtype, copy=False), (tape, X.shape)

    def pullback(
        self, tape: Any, gradient: FloatArray, *, inputs: bool = False
    ) -> tuple[Parameters, FloatArray | None]:
        """The gradients of sum(gradient * energies) in the parameters, and where asked for in X."""
        inner, shape = tape
        wrt = ("parameters", "inputs") if inputs else ("parameters",)
        found = self.energy.pullback(inner, gradient.ravel(), wrt)
        of_x = found["inputs"].reshape(shape[0], -1, shape[1]).sum(axis=1) if inputs else None
        return found["parameters"], of_x

    def with_parameters(self, parameters: Parameters) -> CandidateEnergy:
        """The same energy with these arrays."""
        return CandidateEnergy(self.energy.with_parameters(parameters), self.candidates, self.latents)

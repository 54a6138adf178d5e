"""Energies of objects in a latent pose: a reference of each, transformed, compared with the input."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._base import AnswerSide, Distance, Parameters
from .._check import FloatArray, float_array


class PoseEnergy:
    r"""E(x, k, z) = D(T_z r_k, x): the reference r_k of object k under the transformation T_z.

    The references are learnt, the transformations are given: turned, shifted or scaled views, say.

    Parameters
    ----------
    references : array_like of shape (n_answers, n_features)
    transformations : array_like of shape (n_latents, n_features_in, n_features)
        T_z as matrices.
    distance : Distance

    References
    ----------
    Y. LeCun, S. Chopra, R. Hadsell, M. Ranzato, F. Huang, A tutorial on energy-based learning, 2006, section
    3.

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg.energies import PoseEnergy, SquaredDistance
    >>> turns = np.array([[[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [1.0, 0.0]]])
    >>> energy = PoseEnergy([[1.0, 0.0]], turns, SquaredDistance())
    >>> energy.energies(np.array([[0.0, 1.0]]))[0]
    array([[[1., 0.]]])
    """

    answer_side: AnswerSide = "learned"

    def __init__(self, references: Any, transformations: Any, distance: Distance) -> None:
        self.references = float_array(references, "references", ndim=2)
        self.transformations = float_array(
            transformations, "transformations", ndim=3, dtype=self.references.dtype
        )
        if self.transformations.shape[2] != self.references.shape[1]:
            raise ValueError(
                f"transformations: expected matrices with {self.references.shape[1]} columns, "
                f"got shape {self.transformations.shape}"
            )
        self.distance = distance
        self.n_answers = len(self.references)

    @property
    def parameters(self) -> Parameters:
        """The references."""
        return {"references": self.references}

    def _views(self) -> FloatArray:
        """(n_answers, n_latents, n_features_in)."""
        views: FloatArray = np.einsum("zij,kj->kzi", self.transformations, self.references)
        return views

    def energies(self, X: FloatArray) -> tuple[FloatArray, Any]:
        """Energies (n, n_answers, n_latents), and a tape for `pullback`."""
        views = self._views()
        if X.shape[1] != views.shape[2]:
            raise ValueError(f"X: expected {views.shape[2]} features, got shape {X.shape}")
        table = self.distance.value(views, X[:, np.newaxis, np.newaxis])
        return table.astype(X.dtype, copy=False), (X, views)

    def pullback(
        self, tape: Any, gradient: FloatArray, *, inputs: bool = False
    ) -> tuple[Parameters, FloatArray | None]:
        """The gradients of sum(gradient * energies) in the parameters, and where asked for in X."""
        X, views = tape
        of_views, of_inputs = self.distance.gradients(views, X[:, np.newaxis, np.newaxis])
        summed = np.einsum("nkzd,nkz->kzd", of_views, gradient)
        references = np.einsum("zij,kzi->kj", self.transformations, summed)
        return {"references": references}, np.einsum("nkzd,nkz->nd", of_inputs, gradient) if inputs else None

    def with_parameters(self, parameters: Parameters) -> PoseEnergy:
        """The same architecture with these arrays."""
        return PoseEnergy(parameters["references"], self.transformations, self.distance)

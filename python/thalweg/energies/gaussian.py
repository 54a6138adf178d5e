"""The energy of a Gaussian whose precision may be banded, or a convolution."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._base import Parameters
from .._blas import one_blas_thread
from .._check import FloatArray, float_array, real_number, real_operand, whole_number
from ._density_rows import directions_of_rows, tape_of, weights_of_rows
from ._layers import float_dtype, matched
from ._precision import PrecisionStructure, precision_structure
from .deep import SMOOTH_ABILITIES


@dataclass(frozen=True)
class GaussianTape:
    """What the methods leave for the way back."""

    centered: FloatArray  # x - mu
    psi: FloatArray
    matrix: FloatArray  # Lambda
    V: FloatArray | None = None


class GaussianEnergy:
    r"""A Gaussian without its normaliser.

    .. math:: E(x) = \tfrac12 (x - \mu)^\top \Lambda (x - \mu)

    The precision :math:`\Lambda` is symmetric and linear in its free entries. Nothing keeps it positive
    definite while it is learnt: see `log_partition`.

    Parameters
    ----------
    mean : array-like of shape (n_features,)
        mu, float32 or float64; not copied.
    precision : array-like of shape (n_entries,) or (n_features, n_features)
        The free entries, taken in the dtype of `mean`; or the matrix, which must have the structure.
    structure : {"full", "banded", "toeplitz"}, default="full"
        "full": the upper triangle is free, row by row. "banded": of pixels of an image, as rows of `X` hold
        them row-major, those pairs are free whose Euclidean distance is at most `radius`, ordered likewise.
        "toeplitz": a convolution with a kernel of (2 radius + 1)^2 taps, symmetric about its middle, over
        images with zeros around: half of the taps are free, from the middle on in reading order.
    image_shape : tuple of int, optional
        (height, width), for "banded" and "toeplitz".
    radius : float or int, optional
        In pixels; for "toeplitz" an integer below both sides of the image.

    Attributes
    ----------
    parameters : dict of str to ndarray
        "mean" and "precision", the free entries: the arrays themselves.
    n_features : int
    structure : PrecisionStructure
        `rows`, `columns` and `entries`: which free entry stands where in the upper triangle.
    offers : frozenset of str
        All abilities of a density.

    Raises
    ------
    TypeError, ValueError
        Where an argument, here or of a method, is of the wrong kind or shape, by name.

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg.energies import GaussianEnergy
    >>> energy = GaussianEnergy(np.zeros(3), [2.0, -1.0], "toeplitz", image_shape=(1, 3), radius=0)
    Traceback (most recent call last):
    ...
    ValueError: precision: expected 1 free entries, got shape (2,)
    >>> energy = GaussianEnergy(np.zeros(2), [[2.0, -1.0], [-1.0, 2.0]])
    >>> energy.parameters["precision"]
    array([ 2., -1.,  2.])
    >>> energy.value([[1.0, 1.0], [1.0, -1.0]])[0]
    array([1., 3.])
    >>> bool(np.isclose(energy.log_partition(), np.log(2 * np.pi / np.sqrt(3))))
    True
    """

    offers = SMOOTH_ABILITIES

    def __init__(
        self,
        mean: Any,
        precision: Any,
        structure: str = "full",
        *,
        image_shape: tuple[int, int] | None = None,
        radius: float | None = None,
    ) -> None:
        mu = real_operand(mean, "mean")
        if mu.ndim != 1 or mu.size == 0:
            raise ValueError(f"mean: expected shape (n_features,), at least one, got {mu.shape}")
        self.n_features: int = len(mu)
        self.structure: PrecisionStructure = precision_structure(
            structure, self.n_features, image_shape, radius
        )
        free = real_operand(precision, "precision", dtype=mu.dtype)
        if free.ndim == 2:
            if free.shape != (self.n_features,) * 2:
                raise ValueError(f"precision: expected shape {(self.n_features,) * 2}, got {free.shape}")
            free = self.structure.values(free)
        if free.shape != (self.structure.n_entries,):
            raise ValueError(
                f"precision: expected {self.structure.n_entries} free entries, got shape {free.shape}"
            )
        self.parameters: Parameters = {"mean": mu, "precision": free}

    @classmethod
    def diagonal(
        cls,
        n_features: int,
        structure: str = "full",
        *,
        image_shape: tuple[int, int] | None = None,
        radius: float | None = None,
        variance: float = 1.0,
        dtype: Any = np.float64,
    ) -> GaussianEnergy:
        """The energy of mean zero and covariance `variance` times the identity.

        Parameters
        ----------
        n_features : int
        structure, image_shape, radius
            As of the class.
        variance : float, default=1.0
            > 0.
        dtype : {float32, float64}, default=float64

        Returns
        -------
        GaussianEnergy

        Examples
        --------
        >>> from thalweg.energies import GaussianEnergy
        >>> energy = GaussianEnergy.diagonal(4, "toeplitz", image_shape=(2, 2), radius=1, variance=0.5)
        >>> energy.parameters["precision"]
        array([2., 0., 0., 0., 0.])
        """
        size, made_of = whole_number(n_features, "n_features", minimum=1), float_dtype(dtype)
        shape = precision_structure(structure, size, image_shape, radius)
        entries = np.zeros(shape.n_entries, made_of)
        entries[shape.entries[shape.rows == shape.columns]] = 1 / real_number(variance, "variance", above=0.0)
        return cls(np.zeros(size, made_of), entries, structure, image_shape=image_shape, radius=radius)

    @property
    def pattern(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Where the free entries stand: `precision_matrix()[rows[i], columns[i]]` is entry `entries[i]`.

        Returns
        -------
        rows, columns, entries : ndarray of int64
            Both triangles; all other elements are zero.
        """
        s, off = self.structure, self.structure.rows != self.structure.columns
        rows = np.concatenate([s.rows, s.columns[off]])
        columns = np.concatenate([s.columns, s.rows[off]])
        entries = np.concatenate([s.entries, s.entries[off]])
        return rows.astype(np.int64), columns.astype(np.int64), entries.astype(np.int64)

    def with_parameters(self, parameters: Parameters) -> GaussianEnergy:
        """The same structure with other parameters.

        Parameters
        ----------
        parameters : dict of str to ndarray
            "mean" and "precision", both float32 or both float64; not copied.

        Returns
        -------
        GaussianEnergy
        """
        made = copy.copy(self)
        made.parameters = matched(parameters, self.parameters)
        return made

    def precision_matrix(self) -> FloatArray:
        """Lambda.

        Returns
        -------
        ndarray of shape (n_features, n_features)
            In the dtype of the parameters.
        """
        return self.structure.matrix(self.parameters["precision"])

    def log_partition(self) -> float:
        """log Z = (d log 2 pi - log det Lambda) / 2, computed in float64.

        Returns
        -------
        float

        Raises
        ------
        ValueError
            Lambda is not positive definite: the integral is infinite.
        """
        try:
            factor = np.linalg.cholesky(self.precision_matrix().astype(np.float64))
        except np.linalg.LinAlgError:
            raise ValueError(
                "log_partition: the precision is not positive definite, so that the density has no integral"
            ) from None
        return 0.5 * self.n_features * math.log(2 * math.pi) - float(np.log(np.diag(factor)).sum())

    def value(self, X: Any) -> tuple[FloatArray, GaussianTape]:
        """E(x) of every row, without log Z.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        energies : ndarray of shape (n_samples,)
            In the dtype of `X`; summed in float64.
        tape : GaussianTape
            For `pullback`.
        """
        tape = self._tape(X)
        energies = -0.5 * np.einsum("ij,ij->i", tape.centered, tape.psi, dtype=np.float64)
        return energies.astype(tape.psi.dtype), tape

    def pullback(self, tape: GaussianTape, gradient: Any) -> Parameters:
        """The gradient of sum_n gradient_n E(x_n) in both parameters.

        Parameters
        ----------
        tape : GaussianTape
            Of `value`.
        gradient : array-like of shape (n_samples,)

        Returns
        -------
        dict of str to ndarray
            In the dtype of `X`.
        """
        g = weights_of_rows(gradient, "gradient", tape_of(tape, GaussianTape).psi)
        with one_blas_thread:
            of_matrix = 0.5 * (tape.centered * g[:, None]).T @ tape.centered
            return self._made(g @ tape.psi, of_matrix)

    def score_function(self, X: Any) -> FloatArray:
        """psi(x) = -Lambda (x - mu) of every row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_features)
        """
        return self._tape(X).psi

    def score(self, X: Any) -> tuple[FloatArray, GaussianTape]:
        """`score_function`, and a tape for `pull_score`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        psi : ndarray of shape (n_samples, n_features)
        tape : GaussianTape
        """
        tape = self._tape(X)
        return tape.psi, tape

    def pull_score(self, tape: GaussianTape, V: Any) -> Parameters:
        """The gradient of sum_n v_n . psi(x_n) in both parameters, where `V` is constant.

        Parameters
        ----------
        tape : GaussianTape
            Of `score`.
        V : array-like of shape (n_samples, n_features)

        Returns
        -------
        dict of str to ndarray
        """
        v = directions_of_rows(V, "V", tape_of(tape, GaussianTape).psi)
        with one_blas_thread:
            return self._made(v.sum(axis=0) @ tape.matrix, -v.T @ tape.centered)

    def curvature(self, X: Any, V: Any) -> tuple[FloatArray, FloatArray, GaussianTape]:
        """-v' Lambda v of every row, psi, and a tape for `pull_curvature`.

        Parameters
        ----------
        X, V : array-like of shape (n_samples, n_features)

        Returns
        -------
        curvature : ndarray of shape (n_samples,)
        psi : ndarray of shape (n_samples, n_features)
        tape : GaussianTape
        """
        tape = self._tape(X)
        v = directions_of_rows(V, "V", tape.psi)
        with one_blas_thread:
            curved = -np.einsum("ij,ij->i", v, v @ tape.matrix, dtype=np.float64)
        return curved.astype(v.dtype), tape.psi, GaussianTape(tape.centered, tape.psi, tape.matrix, v)

    def pull_curvature(self, tape: GaussianTape, weight: Any, of_score: Any) -> Parameters:
        """The gradient of sum_n weight_n v_n' (d psi/dx_n) v_n + of_score_n . psi(x_n) in both parameters.

        Parameters
        ----------
        tape : GaussianTape
            Of `curvature`.
        weight : array-like of shape (n_samples,)
        of_score : array-like of shape (n_samples, n_features)

        Returns
        -------
        dict of str to ndarray
        """
        w = weights_of_rows(weight, "weight", tape_of(tape, GaussianTape).psi)
        if tape.V is None:
            raise TypeError("tape: expected what `curvature` returned")
        made = self.pull_score(tape, of_score)
        with one_blas_thread:
            of_matrix = -(tape.V * w[:, None]).T @ tape.V
        return {**made, "precision": made["precision"] + self.structure.pulled(of_matrix)}

    def score_matching(self, X: Any) -> tuple[FloatArray, Parameters]:
        """1/2 ||Lambda (x - mu)||^2 - tr Lambda of every row, and the gradient of their sum.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        objective : ndarray of shape (n_samples,)
        gradient : dict of str to ndarray

        References
        ----------
        A. Hyvarinen, Estimation of non-normalized statistical models by score matching, JMLR 6, 2005.
        """
        psi, tape = self.score(X)
        trace = float(np.trace(tape.matrix, dtype=np.float64))
        objective = 0.5 * np.einsum("ij,ij->i", psi, psi, dtype=np.float64) - trace
        made = self.pull_score(tape, psi)
        of_trace = self.structure.pulled(np.eye(self.n_features, dtype=psi.dtype))
        made["precision"] = made["precision"] - len(psi) * of_trace
        return objective.astype(psi.dtype), made

    def _tape(self, X: Any) -> GaussianTape:
        rows = float_array(X, "X")
        if rows.ndim != 2 or rows.shape[1] != self.n_features:
            raise ValueError(f"X: expected shape (n_samples, {self.n_features}), got {rows.shape}")
        centered = rows - self.parameters["mean"].astype(rows.dtype, copy=False)
        matrix = self.precision_matrix().astype(rows.dtype, copy=False)
        with one_blas_thread, np.errstate(over="ignore", invalid="ignore"):
            return GaussianTape(centered, -centered @ matrix, matrix)

    def _made(self, of_mean: FloatArray, of_matrix: FloatArray) -> Parameters:
        return {"mean": of_mean, "precision": self.structure.pulled(of_matrix)}

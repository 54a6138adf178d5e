"""A Gaussian whose precision has structure, and the whitening that belongs to it."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import OneToOneFeatureMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted

from .. import _rng, losses, optim
from .._base import DensityEnergy, DensityLoss, Draws, Parameters
from .._blas import one_blas_thread
from .._check import (
    FloatArray,
    float_array,
    is_finite,
    one_of,
    real_number,
    seed_number,
    whole_number,
)
from ..energies import GaussianEnergy
from ..energies._precision import PrecisionStructure
from ..inference.annealing import LogPartition
from ._covariances import add_to_diagonal, covariance_of, lacking
from ._density import UnnormalisedDensity, blocks
from ._energy_learning import Packing
from ._learning import unchanged_by_errors
from ._precision_fit import (
    SPLITTING_TOLERANCE,
    RowForm,
    ScoreMatchingSystem,
    into_the_cone,
    least_eigenvalue,
    likeliest,
    score_matching_in_the_cone,
)

STRUCTURES = ("full", "banded", "toeplitz")
ESTIMATORS = ("score_matching", "nce", "conditional_nce", "maximum_likelihood")
NOISES = ("full", "diagonal")

_FLOOR = 0.01  # least eigenvalue of the precision, in units of the inverse of the greatest variance measured
_OWN = "own."


class ConstrainedGaussian(OneToOneFeatureMixin, UnnormalisedDensity):  # type: ignore[misc]
    r"""A Gaussian with a structured precision, learnt with or without its normaliser.

    .. math:: \log p(x) = -\tfrac12 (x - \mu)^\top \Lambda (x - \mu) - \log Z, \qquad
              \log Z = \tfrac{d}{2} \log 2\pi - \tfrac12 \log\det\Lambda

    Lambda is symmetric and positive definite. With the covariance S of the data, "score_matching" minimises

    .. math:: J(\Lambda) = \tfrac12 \operatorname{tr} \Lambda S \Lambda - \operatorname{tr} \Lambda

    over the structure, which is a linear system; without structure its solution is the inverse of S, as that
    of "maximum_likelihood". With structure the minimum can have negative eigenvalues: then J is minimised
    over the precisions that have none, and it is reported.

    Parameters
    ----------
    structure : {"full", "banded", "toeplitz"}, default="full"
        "full": no structure. "banded": of the pixels of an image those pairs interact whose distance is at
        most `radius`. "toeplitz": a convolution with a symmetric kernel of (2 radius + 1)^2 taps, over images
        with zeros around.
    image_shape : tuple of int, default=None
        (height, width), whose product is the number of features; for "banded" and "toeplitz".
    radius : float or int, default=2
        In pixels; for "toeplitz" an integer.
    estimator : {"score_matching", "nce", "conditional_nce", "maximum_likelihood"}, default="score_matching"
        "nce" tells the data from noise and learns log Z as well; "conditional_nce" tells them from themselves
        with noise. Both are minimised over all rows at once, with noise that is drawn once.
    regularization : float, default=None
        Added to all variances. None stands for 0 where the data vary along all directions; otherwise for a
        thousandth of their mean variance, with a warning.
    noise : {"full", "diagonal"} or NoiseDistribution, default="full"
        Of "nce": the Gaussian with the data's means and covariance, or variances, or any density that can be
        sampled and evaluated.
    noise_ratio : int, default=1
        Noise samples for every row, of "nce" and "conditional_nce".
    noise_scale : float, default=None
        Deviation of the noise that "conditional_nce" adds, in the units of the data; None stands for
        r sqrt(2 / n_features) with the features' root mean square deviation r.
    max_iter : int, default=500
        Iterations of L-BFGS, or Newton's of "maximum_likelihood".
    tol : float, default=1e-6
        "nce" and "conditional_nce" end where no element of the gradient exceeds it, for data scaled to unit
        variance; "maximum_likelihood" where a step promises less than 1e-4 of it, per feature.
    random_state : int, RandomState or Generator, default=None
        Seed of the noise, and of `sample`.

    Attributes
    ----------
    mean_ : ndarray of shape (n_features,)
    precision_ : ndarray of shape (n_features, n_features)
        Lambda.
    is_constraint_active_ : bool
        Whether an eigenvalue of Lambda had to be kept from falling below a hundredth of 1 / the greatest
        variance along any direction.
    regularization_ : float
        What was added to all variances.
    energy_ : GaussianEnergy
    log_normalizer_ : float
        For "nce": log Z as it was learnt; where the precision was moved to keep its eigenvalues, as the loss
        has it at the precision there.
    n_iter_ : int
        Iterations of L-BFGS, or Newton's; 1 of "score_matching", and of a likelihood without structure.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, where X has names that are all strings.

    See Also
    --------
    thalweg.preprocessing.Whitening : Whitening by the covariance as it was measured.

    References
    ----------
    A. Hyvarinen, Estimation of non-normalized statistical models by score matching, JMLR 6, 2005. M. Gutmann,
    A. Hyvarinen, Noise-contrastive estimation of unnormalized statistical models, JMLR 13, 2012. C. Ceylan,
    M. U. Gutmann, Conditional noise-contrastive estimation of unnormalised models, ICML 2018. A. P. Dempster,
    Covariance selection, Biometrics 28, 1972.

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg import ConstrainedGaussian
    >>> rng = np.random.default_rng(0)
    >>> noise = rng.normal(size=(5000, 8))
    >>> X = noise[:, 1:] + noise[:, :-1]  # rows of 7 pixels
    >>> gaussian = ConstrainedGaussian("toeplitz", image_shape=(1, 7), radius=0).fit(X)
    >>> gaussian.precision_.round(1)[0, :3], gaussian.is_constraint_active_
    (array([0.5, 0. , 0. ]), False)
    >>> white = ConstrainedGaussian().fit_transform(X)
    >>> np.allclose(np.cov(white, rowvar=False, bias=True), np.eye(7))
    True
    """

    def __init__(
        self,
        structure: str = "full",
        *,
        image_shape: Any = None,
        radius: float = 2,
        estimator: str = "score_matching",
        regularization: float | None = None,
        noise: Any = "full",
        noise_ratio: int = 1,
        noise_scale: float | None = None,
        max_iter: int = 500,
        tol: float = 1e-6,
        random_state: Any = None,
    ) -> None:
        self.structure = structure
        self.image_shape = image_shape
        self.radius = radius
        self.estimator = estimator
        self.regularization = regularization
        self.noise = noise
        self.noise_ratio = noise_ratio
        self.noise_scale = noise_scale
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state

    energy_: GaussianEnergy
    mean_: FloatArray
    precision_: FloatArray
    is_constraint_active_: bool
    regularization_: float
    log_normalizer_: float
    n_iter_: int
    _roots: tuple[NDArray[np.float64], NDArray[np.float64]]

    def fit(self, X: Any, y: Any = None) -> ConstrainedGaussian:
        """Learns mean and precision from the rows of X.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Two rows or more; computed with in float64.
        y : ignored

        Returns
        -------
        self : ConstrainedGaussian

        Raises
        ------
        TypeError, ValueError
            Where X or a parameter is of the wrong kind, shape or range, X is not finite, or its rows are all
            the same, or so small or large that the precision has no place in their dtype.

        Warns
        -----
        UserWarning
            Directions without variance, and a constraint that is active.
        ConvergenceWarning
            An estimator that did not reach `tol` within `max_iter` iterations; score matching whose objective
            may lie more than 1e-4 of itself above its minimum over positive definite precisions.
        """
        self._check_parameters()
        with unchanged_by_errors(self), one_blas_thread:
            rows = self._rows(X, reset=True)
            seed = seed_number(self.random_state)
            self.__dict__.pop("log_normalizer_", None)
            self.__dict__.update(_seed=seed, _n_sampled=0, n_iter_=1)
            self._fit(rows)
        return self

    def _check_parameters(self) -> None:
        one_of(self.structure, "structure", STRUCTURES)
        one_of(self.estimator, "estimator", ESTIMATORS)
        for name in ("regularization", "noise_scale"):
            if getattr(self, name) is not None:
                real_number(getattr(self, name), name, minimum=0.0)
        if self.noise_scale is not None:
            real_number(self.noise_scale, "noise_scale", above=0.0)
        if isinstance(self.noise, str):
            one_of(self.noise, "noise", NOISES)
        elif not (hasattr(self.noise, "sample") and hasattr(self.noise, "log_density")):
            raise TypeError(
                f'noise: expected "full", "diagonal" or a density with `sample` and `log_density`, '
                f"got {self.noise!r}"
            )
        whole_number(self.noise_ratio, "noise_ratio", minimum=1)
        whole_number(self.max_iter, "max_iter", minimum=1)
        real_number(self.tol, "tol", above=0.0)

    def _fit(self, X: FloatArray) -> None:
        n, d = X.shape
        mean = X.mean(axis=0, dtype=np.float64)
        measured = covariance_of(X, mean)
        variance = float(np.trace(measured)) / d
        if n < 2 or not variance > 0:
            raise ValueError(f"X: expected two rows or more that differ, got n_samples={n}")
        # Everything is computed for a mean variance of 1.
        first = GaussianEnergy.diagonal(
            d, self.structure, image_shape=self.image_shape, radius=self.radius, variance=1.0
        )
        S, added = self._regularised(measured / variance, n, variance, first.structure)
        floor = _FLOOR / float(np.linalg.eigvalsh(S)[-1])
        if self.estimator in ("nce", "conditional_nce"):
            centre, entries = self._contrasted(X, first, mean, S, variance, floor)
        else:
            centre, entries = mean, self._solved(S, first, floor)
        with np.errstate(over="ignore", under="ignore"):
            entries = entries / variance
            kept = entries.astype(X.dtype)
        matrix = first.structure.matrix(entries)
        if not is_finite(kept) or not np.diag(first.structure.matrix(kept)).all():
            raise ValueError(
                f"X: the precision of rows of variance {variance:g} has no place in {X.dtype}; scale X, "
                f"which reaches {float(np.abs(X).max()):g}"
            )
        self.__dict__.update(
            mean_=centre.astype(X.dtype),
            precision_=matrix.astype(X.dtype),
            regularization_=added * variance,
            energy_=self._energy_of(centre.astype(X.dtype), kept),
            _roots=_roots_of(matrix),
        )

    def _regularised(
        self, S: NDArray[np.float64], n: int, variance: float, structure: PrecisionStructure
    ) -> tuple[NDArray[np.float64], float]:
        """The covariance with something added to its diagonal, and what was added."""
        if self.regularization is not None:
            added = float(self.regularization) / variance
            if added == 0.0 and self._is_lacking(S, structure):
                raise ValueError(
                    "regularization: expected a number > 0 where X has no variance along some direction "
                    f"(n_samples={n}, n_features={len(S)}), got 0"
                )
            return add_to_diagonal(S, added), added
        added = lacking(S)
        if added:
            warnings.warn(
                f"X has no variance along some direction (n_samples={n}, n_features={len(S)}): "
                f"{added:g} of the mean variance is added to all variances; see regularization",
                UserWarning,
                stacklevel=4,
            )
        return add_to_diagonal(S, added), added

    def _is_lacking(self, S: NDArray[np.float64], structure: PrecisionStructure) -> bool:
        """Whether what the estimator inverts of S cannot be: all, or that of the features which interact."""
        is_whole = self.structure == "full" or (self.estimator == "nce" and self.noise == "full")
        if is_whole:
            return lacking(S) > 0
        return any(lacking(block) > 0 for block in RowForm.of(structure).neighbourhoods(S))

    def _energy_of(self, mean: FloatArray, entries: FloatArray) -> GaussianEnergy:
        return GaussianEnergy(mean, entries, self.structure, image_shape=self.image_shape, radius=self.radius)

    # --- the estimators

    def _solved(self, S: NDArray[np.float64], energy: GaussianEnergy, floor: float) -> NDArray[np.float64]:
        """Free entries by score matching or by likelihood."""
        structure = energy.structure
        self.__dict__["is_constraint_active_"] = False
        if self.structure == "full":
            inverse = np.linalg.inv(S)
            return structure.values(0.5 * (inverse + inverse.T))
        system = ScoreMatchingSystem(S, structure)
        entries = system.solve()
        is_outside = least_eigenvalue(structure.matrix(entries)) < floor
        inside = _independent(S, energy, floor)
        if self.estimator == "maximum_likelihood":
            start = into_the_cone(entries, inside, structure, floor)
            entries, n_iter, converged = likeliest(S, structure, start, tol=self.tol, max_iter=self.max_iter)
            self._report_iterations("newton", n_iter, converged)
        elif is_outside:
            self._report_constraint()
            entries, gap = score_matching_in_the_cone(system, entries, inside, floor)
            if gap > SPLITTING_TOLERANCE:
                warnings.warn(
                    f"the objective may lie {gap:.1e} of itself above its minimum over positive definite "
                    f"precisions, more than {SPLITTING_TOLERANCE:g}",
                    ConvergenceWarning,
                    stacklevel=4,
                )
        return entries

    def _contrasted(
        self,
        X: FloatArray,
        first: GaussianEnergy,
        mean: NDArray[np.float64],
        S: NDArray[np.float64],
        variance: float,
        floor: float,
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean and free entries by contrastive estimation, of rows with unit mean variance."""
        scale = float(np.sqrt(variance))
        rows = ((X - mean) / scale).astype(np.float64)
        loss = self._make_loss(S, mean, scale)
        inside = _independent(S, first, floor)
        energy = first.with_parameters({"mean": np.zeros(len(S)), "precision": inside})
        own = loss.first_parameters(energy, rows)
        parameters = self._minimised(loss, energy, own, rows)
        entries = parameters["precision"]
        is_outside = least_eigenvalue(first.structure.matrix(entries)) < floor
        self.__dict__["is_constraint_active_"] = is_outside
        if is_outside:
            self._report_constraint()
            entries = into_the_cone(entries, inside, first.structure, floor)
        if _OWN + "log_normalizer" in parameters:
            learnt = float(parameters[_OWN + "log_normalizer"][0])
            if is_outside:
                learnt = self._normalizer_of(
                    loss, energy.with_parameters({"mean": parameters["mean"], "precision": entries}), rows
                )
            self.__dict__["log_normalizer_"] = learnt + len(S) * float(np.log(scale))
        return mean + scale * parameters["mean"], entries

    def _make_loss(self, S: NDArray[np.float64], mean: NDArray[np.float64], scale: float) -> DensityLoss:
        if self.estimator == "nce":
            if not isinstance(self.noise, str):
                return losses.DensityNoiseContrastiveEstimation(
                    _Scaled(self.noise, mean, scale), self.noise_ratio
                )
            covariance = S if self.noise == "full" else np.maximum(np.diag(S), 1e-3)
            noise = losses.GaussianNoise(np.zeros(len(S)), covariance)
            return losses.DensityNoiseContrastiveEstimation(noise, self.noise_ratio)
        own = None if self.noise_scale is None else self.noise_scale / scale
        return losses.ConditionalNoiseContrastiveEstimation(
            float(np.sqrt(2 / len(S))) if own is None else own, self.noise_ratio
        )

    def _minimised(
        self, loss: DensityLoss, energy: GaussianEnergy, own: Parameters, X: NDArray[np.float64]
    ) -> Parameters:
        """The loss over all rows made small, always with the same noise."""
        start = {**energy.parameters, **{_OWN + name: p for name, p in own.items()}}
        packing = Packing(start)
        # An entry that stands in many places bends the loss as often.
        counts = energy.structure.pulled(np.ones((energy.n_features,) * 2))
        shares = {name: np.ones(p.shape) for name, p in start.items()} | {"precision": np.sqrt(counts)}
        unit = packing.flat(shares)

        def objective(v: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            here = packing.unpacked(v / unit)
            learnt = {name.removeprefix(_OWN): here.pop(name) for name in list(here) if _OWN in name}
            model = energy.with_parameters(here)
            value, (of_energy, of_own) = self._contrast(loss, model, learnt, X)
            total = packing.flat({**of_energy, **{_OWN + name: g for name, g in of_own.items()}})
            return value, total / unit

        with np.errstate(over="ignore"):
            found, n_iter, converged = optim.minimise_lbfgs(
                objective, packing.flat(start) * unit, max_iter=self.max_iter, tol=self.tol
            )
        if not is_finite(found):
            raise FloatingPointError("the loss left the finite numbers; scale X, or take other noise")
        self._report_iterations("lbfgs", n_iter, converged)
        return packing.unpacked(found / unit)

    def _contrast(
        self, loss: DensityLoss, energy: DensityEnergy, own: Parameters, X: NDArray[np.float64]
    ) -> tuple[float, list[Parameters]]:
        """The loss over all rows, always with the same noise, and its gradients in all parameters."""
        value = 0.0
        total = [{name: np.zeros(p.shape) for name, p in ps.items()} for ps in (energy.parameters, own)]
        for number, block in enumerate(blocks(len(X))):
            draws = Draws(self._seed, 0, block.start, number)
            part, *gradients = loss.value_and_gradient(energy, own, X[block], draws)
            share = (block.stop - block.start) / len(X)
            value += share * part
            for kept, gradient in zip(total, gradients, strict=True):
                for name in kept:
                    kept[name] += share * gradient[name]
        return value, total

    def _normalizer_of(self, loss: DensityLoss, energy: GaussianEnergy, X: NDArray[np.float64]) -> float:
        """The log Z that the loss gives this energy."""

        def objective(c: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            value, (_, of_own) = self._contrast(loss, energy, {"log_normalizer": c}, X)
            return value, of_own["log_normalizer"]

        start = np.array([energy.log_partition()])
        found, _, _ = optim.minimise_lbfgs(objective, start, max_iter=self.max_iter, tol=self.tol)
        return float(found[0])

    def _report_iterations(self, method: str, n_iter: int, converged: bool) -> None:
        self.__dict__["n_iter_"] = max(n_iter, 1)
        if not converged:
            warnings.warn(
                f"{method} made {n_iter} iterations without reaching tol={self.tol:g}",
                ConvergenceWarning,
                stacklevel=6,
            )

    def _report_constraint(self) -> None:
        self.__dict__["is_constraint_active_"] = True
        warnings.warn(
            f"estimator: {self.estimator!r} alone gives a precision that is not positive definite, or nearly "
            "so; its eigenvalues are kept above a hundredth of 1 / the greatest variance",
            UserWarning,
            stacklevel=5,
        )

    # --- questions

    def log_partition(self) -> LogPartition:
        """log Z = (d log 2 pi - log det Lambda) / 2, exactly.

        Returns
        -------
        LogPartition
        """
        check_is_fitted(self, "energy_")
        values = self._roots[0]
        log_z = 0.5 * (len(values) * np.log(2 * np.pi) - np.log(values).sum())
        return LogPartition.exactly(float(log_z))

    def sample(self, n: int = 1, *, random_state: Any = None) -> FloatArray:
        """Rows drawn from the Gaussian.

        Parameters
        ----------
        n : int, default=1
        random_state : int, RandomState or Generator, default=None
            Seed of the draws; None goes on with the estimator's own sequence, so that calls differ.

        Returns
        -------
        ndarray of shape (n, n_features)
            In the dtype of the parameters.
        """
        check_is_fitted(self, "energy_")
        whole_number(n, "n", minimum=1)
        seed = self._next_seed(random_state)
        normals = _rng.normal_rows(seed, _rng.STREAM_SAMPLES, 0, (n, self.n_features_in_), np.float64)
        values, vectors = self._roots
        with one_blas_thread:
            rows = (normals / np.sqrt(values)) @ vectors.T
        drawn: FloatArray = (rows + self.mean_).astype(self.mean_.dtype)
        return drawn

    def transform(self, X: Any) -> FloatArray:
        """Whitens: (x - mean) P with P = Lambda^(1/2) symmetric, the whitening that changes rows least.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            float32 where X is, float64 otherwise.
        """
        rows = self._rows(X)
        whitening = self._power(0.5).astype(rows.dtype)
        with one_blas_thread:
            return np.asarray((rows - self.mean_.astype(rows.dtype)) @ whitening)

    def inverse_transform(self, X: Any) -> FloatArray:
        """Takes whitened rows back: x P^-1 + mean.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_features)
        """
        rows = self._vectors(X, "X")
        with one_blas_thread:
            made: FloatArray = rows @ self._power(-0.5).astype(rows.dtype) + self.mean_.astype(rows.dtype)
        return made

    def analysis_filters(self, V: Any) -> FloatArray:
        """V P: what filters of whitened rows are to the rows before, whose products with them they take.

        Parameters
        ----------
        V : array-like of shape (n_filters, n_features)

        Returns
        -------
        ndarray of shape (n_filters, n_features)
        """
        rows = self._vectors(V, "V")
        with one_blas_thread:
            return np.asarray(rows @ self._power(0.5).astype(rows.dtype))

    def synthesis_filters(self, V: Any) -> FloatArray:
        """V P^-1: rows before the whitening that become those of V.

        Parameters
        ----------
        V : array-like of shape (n_filters, n_features)

        Returns
        -------
        ndarray of shape (n_filters, n_features)
        """
        rows = self._vectors(V, "V")
        with one_blas_thread:
            return np.asarray(rows @ self._power(-0.5).astype(rows.dtype))

    def _power(self, power: float) -> NDArray[np.float64]:
        """A power of Lambda, symmetric."""
        values, vectors = self._roots
        with one_blas_thread:
            made: NDArray[np.float64] = (vectors * values**power) @ vectors.T
        return made

    def _vectors(self, X: Any, name: str) -> FloatArray:
        check_is_fitted(self, "energy_")
        rows = float_array(X, name, ndim=2)
        if rows.shape[1] != self.n_features_in_:
            raise ValueError(f"{name}: expected {self.n_features_in_} features, got shape {rows.shape}")
        return rows

    # --- state

    def _get_state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        check_is_fitted(self, "energy_")
        tensors = {
            "mean_": self.mean_,
            "precision_": self.precision_,
            "entries": self.energy_.parameters["precision"],
            "values": self._roots[0],
            "vectors": self._roots[1],
        }
        names = (
            "is_constraint_active_",
            "regularization_",
            "n_iter_",
            "n_features_in_",
            "_seed",
            "_n_sampled",
        )
        values = {name: getattr(self, name) for name in names}
        if hasattr(self, "log_normalizer_"):
            values["log_normalizer_"] = self.log_normalizer_
        held = getattr(self, "feature_names_in_", None)
        values["feature_names_in_"] = None if held is None else list(held)
        return tensors, values

    def _set_state(self, tensors: dict[str, NDArray[Any]], values: dict[str, Any]) -> None:
        held = {name: np.array(value) for name, value in tensors.items()}
        state = {name: value for name, value in values.items() if name != "feature_names_in_"}
        if values["feature_names_in_"] is not None:
            state["feature_names_in_"] = np.array(values["feature_names_in_"], object)
        d = len(held["mean_"])
        if any(held[name].shape != (d, d) for name in ("precision_", "vectors")):
            raise ValueError("parts of the state do not belong to one number of features")
        self.__dict__.update(
            state,
            mean_=held["mean_"],
            precision_=held["precision_"],
            energy_=self._energy_of(held["mean_"], held["entries"]),
            _roots=(held["values"], held["vectors"]),
        )


class _Scaled:
    """A noise density of the data as one of (x - mean) / scale."""

    def __init__(self, noise: Any, mean: NDArray[np.float64], scale: float) -> None:
        self._noise, self._mean, self._scale = noise, mean, scale

    def sample(self, n: int, draws: Draws, dtype: Any) -> FloatArray:
        drawn: FloatArray = ((self._noise.sample(n, draws, dtype) - self._mean) / self._scale).astype(dtype)
        return drawn

    def log_density(self, X: Any) -> NDArray[np.float64]:
        there = np.asarray(self._noise.log_density(X * self._scale + self._mean), np.float64)
        scaled: NDArray[np.float64] = there + X.shape[1] * float(np.log(self._scale))
        return scaled


def _independent(S: NDArray[np.float64], energy: GaussianEnergy, floor: float) -> NDArray[np.float64]:
    """Free entries of a diagonal precision, that of features which vary as they do, one by one."""
    structure: PrecisionStructure = energy.structure
    on = structure.rows == structure.columns
    places = structure.entries[on]
    variances = np.bincount(places, np.diag(S)[structure.rows[on]], structure.n_entries)
    counts = np.bincount(places, minlength=structure.n_entries)
    entries = np.zeros(structure.n_entries)
    entries[counts > 0] = np.maximum(counts[counts > 0] / np.maximum(variances[counts > 0], 1e-3), 2 * floor)
    return entries


def _roots_of(matrix: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Eigenvalues and eigenvectors of the precision, the signs fixed: a refit gives the same."""
    values, vectors = np.linalg.eigh(matrix)
    if not values[0] > 0:
        raise ValueError("X: its covariance cannot be inverted in float64; see regularization")
    largest = np.abs(vectors).argmax(axis=0)
    signed: NDArray[np.float64] = vectors * np.sign(vectors[largest, np.arange(len(vectors))])
    return values, signed

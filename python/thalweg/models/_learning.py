"""What the two dictionary learners share: parameters of learning, the first dictionary, and the objective."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.utils.validation import check_is_fitted

from .. import _device, optim
from .._check import FloatArray, float_array, one_of, real_number, whole_number
from ..energies import SparseCodingEnergy
from ..inference.lasso import LassoSolver
from ..inference.sparse_encode import device_rows, float_dtype
from ._sparse_coding import SparseCodingTransformer

FIT_ALGORITHMS = ("lars", "cd")
_BLOCK_ROWS = 4096


@contextmanager
def unchanged_by_errors(estimator: Any) -> Iterator[None]:
    """Whatever is raised inside, the estimator is left as it was."""
    before = estimator.__dict__.copy()
    try:
        yield
    except BaseException:
        estimator.__dict__ = before
        raise


class DictionaryLearner(SparseCodingTransformer):
    """A transformer whose dictionary, `components_`, is learnt."""

    n_components: int | None
    alpha: float
    max_iter: int
    tol: float
    fit_algorithm: str
    dict_init: Any
    verbose: int | bool
    random_state: Any
    positive_dict: bool
    coding_tol: float
    components_: FloatArray

    def _check_learning_parameters(self) -> None:
        self._check_transform_parameters()
        if self.n_components is not None:
            whole_number(self.n_components, "n_components", minimum=1)
        real_number(self.alpha, "alpha", minimum=0.0)
        whole_number(self.max_iter, "max_iter")
        real_number(self.tol, "tol", minimum=0.0)
        real_number(self.coding_tol, "coding_tol", above=0.0)
        one_of(self.fit_algorithm, "fit_algorithm", FIT_ALGORITHMS)
        one_of(self.positive_dict, "positive_dict", (False, True))

    def _check_resumable(self, X: NDArray[Any], n_rows: int) -> None:
        if n_rows == 0:
            raise NotFittedError("there is no `fit` to go on with: the last step was one of `partial_fit`")
        if len(X) != n_rows:
            raise ValueError(f"X: expected the {n_rows} rows of fit, got shape {X.shape}")

    def _coding_problem(self, dictionary: FloatArray) -> LassoSolver:
        """The problem whose minimum the codes are while learning: a convex one, where the penalty is "l1"."""
        return LassoSolver(
            dictionary,
            penalty=self.penalty,
            positive=self.positive_code,
            solver=self.solver,
            max_iter=self.transform_max_iter,
            tol=self.coding_tol,
            n_jobs=self.n_jobs,
            device=self.device,
        )

    def _rows(self, X: Any, *, reset: bool = False) -> NDArray[Any]:
        # The atoms' step is the CPU's.
        if self._is_there(X):
            X = _device.to_host(device_rows(X, "X"))
        return super()._rows(X, reset=reset)

    def _first_dictionary(self, X: NDArray[Any]) -> FloatArray:
        """`dict_init`, or the principal directions of X times their singular values; zeros fill up."""
        dtype = float_dtype(X)
        n_components = X.shape[1] if self.n_components is None else self.n_components
        if self.dict_init is None:
            given = principal_directions(X, n_components)
        else:
            given = float_array(self.dict_init, "dict_init", ndim=2)[:n_components]
            if given.shape[1] != X.shape[1] or len(given) == 0:
                raise ValueError(
                    f"dict_init: expected {X.shape[1]} features, as X has, and an atom or more, "
                    f"got shape {given.shape}"
                )
        dictionary = np.zeros((n_components, X.shape[1]), dtype)
        dictionary[: len(given)] = given
        return dictionary

    def _update_atoms(
        self, dictionary: FloatArray, A: NDArray[np.float64], B: NDArray[np.float64]
    ) -> NDArray[np.bool_]:
        """The closed-form step of every atom, in place; says which are dead, brought into the ball."""
        dead = optim.update_dictionary(dictionary, A, B, positive=self.positive_dict, n_jobs=self.n_jobs)
        left = dictionary[dead]
        if self.positive_dict:
            left = np.maximum(left, 0)
        dictionary[dead] = left / np.maximum(np.linalg.norm(left, axis=1, keepdims=True), 1)
        return dead

    def _energy_of(self, X: FloatArray, codes: FloatArray, dictionary: FloatArray) -> float:
        """The objective of these rows."""
        energy = SparseCodingEnergy(dictionary, self.alpha, penalty=self.penalty)
        return float(sum(energy.value(block, codes[rows]).sum() for rows, block in row_blocks(X)))

    def _warn_unconverged(self, gap: NDArray[np.float64], stacklevel: int) -> None:
        missed = np.count_nonzero(gap > self.coding_tol)
        if missed:
            warnings.warn(
                f"{missed} of {len(gap)} rows did not reach coding_tol={self.coding_tol:g} within "
                f"transform_max_iter={self.transform_max_iter} iterations: "
                f"the worst relative gap is {np.nanmax(gap):.3g}",
                ConvergenceWarning,
                stacklevel=stacklevel + 1,
            )

    def _alpha_of_transform(self) -> Any:
        return self.alpha if self.transform_alpha is None else self.transform_alpha

    def _dictionary(self) -> FloatArray:
        check_is_fitted(self, "components_")
        return self.components_

    @property
    def _n_features_out(self) -> int:
        return self._n_columns_out(len(self.components_))


def row_blocks(X: NDArray[Any]) -> Iterator[tuple[slice, FloatArray]]:
    """Blocks of the rows of X, finite and in the dtype that they are coded in."""
    for start in range(0, len(X), _BLOCK_ROWS):
        rows = slice(start, min(start + _BLOCK_ROWS, len(X)))
        yield rows, float_array(X[rows], "X", dtype=float_dtype(X))


def require_finite_rows(X: NDArray[Any]) -> None:
    """ValueError unless every element of X is finite; one block is held at a time."""
    for _ in row_blocks(X):
        pass


def principal_directions(X: NDArray[Any], n_components: int) -> NDArray[np.float64]:
    """Right singular vectors of X times their singular values, the greatest first, at most `n_components`.

    From the eigenvectors of X' X, so that X is read twice in blocks and never copied. A direction points to
    where the sample of greatest magnitude along it lies.
    """
    n_features = X.shape[1]
    scatter = np.zeros((n_features, n_features))
    for _, block in row_blocks(X):
        wide = block.astype(np.float64, copy=False)
        with np.errstate(over="ignore", invalid="ignore"):
            scatter += wide.T @ wide
    if not np.isfinite(scatter).all():
        raise ValueError("X: the squares of its elements overflow; scale it down")
    squared, vectors = np.linalg.eigh(scatter)
    count = min(n_components, *X.shape)
    values = np.sqrt(np.maximum(squared[::-1][:count], 0.0))
    directions = vectors[:, ::-1][:, :count]
    extreme = np.zeros(count)
    for _, block in row_blocks(X):
        along = block @ directions
        peak = along[np.abs(along).argmax(axis=0), np.arange(count)]
        extreme = np.where(np.abs(peak) > np.abs(extreme), peak, extreme)
    signed: NDArray[np.float64] = (np.where(extreme < 0, -values, values) * directions).T
    return signed


def require_finite_step(step: int, *results: Any) -> None:
    """FloatingPointError unless all that a step has computed so far is finite."""
    if not all(np.isfinite(result).all() for result in results):
        raise FloatingPointError(
            f"step {step}: the objective, a code or an atom is not finite; "
            "the estimator keeps the parameters of the step before"
        )

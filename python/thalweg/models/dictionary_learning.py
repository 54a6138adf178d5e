"""Dictionary learning on all samples at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, issparse
from sklearn.utils.validation import check_is_fitted

from .. import optim
from .._blas import one_blas_thread
from .._check import FloatArray, float_array, seed_number
from ._learning import DictionaryLearner, require_finite_step, unchanged_by_errors


class DictionaryLearning(DictionaryLearner):
    r"""Learns a dictionary and codes in turns; stands in for scikit-learn's class of that name.

    .. math:: \min_{Z, D} \tfrac12 \lVert X - Z D \rVert_F^2 + \alpha \sum_{ik} p(z_{ik})
              \quad\text{with}\quad \lVert d_k \rVert_2 \le 1

    by block coordinate descent: the codes of all samples, warm-started and solved to `coding_tol`, then every
    atom in closed form. With the convex penalty "l1" the objective never rises by more than what `coding_tol`
    grants. An atom that no sample uses is born again from the sample that is explained worst.

    Parameters
    ----------
    n_components : int, default=None
        Number of atoms; None stands for n_features.
    alpha : float, default=1
        Weight of the penalty.
    max_iter : int, default=1000
        Most iterations, counted from the start of `fit`, across `resume`.
    tol : float, default=1e-8
        Learning ends when an iteration lowers the objective by less than tol * objective.
    fit_algorithm : {"lars", "cd"}, default="lars"
        Both names stand for the same problem, the lasso; `solver` picks the method.
    transform_algorithm : {"lasso_lars", "lasso_cd", "lars", "omp", "threshold"}, default="omp"
        What `transform` and `encode` solve; see `SparseCoder`.
    transform_n_nonzero_coefs : int, default=None
        Non-zeros of a row for "omp" and "lars"; None stands for n_features / 10, at least 1.
    transform_alpha : float, default=None
        alpha of the transform, or its threshold; None stands for `alpha`.
    n_jobs : int, default=None
        Threads; None stands for OpenMP's number. The results are the same bits for any number.
    code_init : ndarray of shape (n_samples, n_components), default=None
        First codes, used with `dict_init` only, as in scikit-learn.
    dict_init : ndarray of shape (n_components, n_features), default=None
        First dictionary. None takes the principal directions of X, times their singular values.
    callback : callable, default=None
        Called after every fifth iteration with a dict: `self`, `X`, `ii`, `code`, `dictionary`, `errors`,
        `current_cost`. The estimator holds that iteration already, so the callback may save it.
    verbose : bool or int, default=False
        Print one line an iteration.
    split_sign : bool, default=False
        `transform` gives the positive parts followed by the negative parts.
    random_state : int, RandomState or Generator, default=None
        Taken for compatibility: nothing here is drawn at random.
    positive_code, positive_dict : bool, default=False
        Codes, atoms >= 0.
    transform_max_iter : int, default=1000
        Most iterations of a row, for the lasso, while learning too.
    solver : {"auto", "active_set", "cd", "fista", "ista"}, default="auto"
        The method for the lasso.
    penalty : {"l1", "l0", "l1/2", "l2/3"}, default="l1"
        :math:`p(z) = |z|^q` while learning and for the lasso algorithms of the transform.
    transform_tol : float, default=1e-4
        Relative duality gap that ends a row in `transform` and `encode`, for the lasso.
    coding_tol : float, default=1e-6
        The same while learning.
    device : {"cpu", "cuda"}, default="cpu"
        Where rows are coded. The GPU has the lasso algorithms, by "fista" (which "auto" stands for there)
        and "ista".
        Learning codes rows there, and moves the atoms on the CPU: X is kept on the host.

    Attributes
    ----------
    components_ : ndarray of shape (n_components, n_features)
        The atoms.
    error_ : ndarray of shape (n_iter_,)
        Objective after each iteration.
    n_iter_ : int
        Number of iterations.
    gap_ : ndarray of shape (n_samples,), float64
        How well the code of each row was solved in the last iteration: its relative duality gap (for the
        other penalties its fixed-point residual).
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, where X has names that are all strings.

    See Also
    --------
    MiniBatchDictionaryLearning : The same problem online: far faster where samples are many.

    References
    ----------
    J. Mairal, F. Bach, J. Ponce, G. Sapiro, Online learning for matrix factorization and sparse coding, JMLR
    11, 2010 (the update of the atoms). K. Engan, S. O. Aase, J. H. Husoy, Method of optimal directions for
    frame design, ICASSP 1999 (codes and atoms in turns).

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg import DictionaryLearning
    >>> X = np.random.default_rng(0).normal(size=(60, 8))
    >>> learner = DictionaryLearning(n_components=12, alpha=0.5, max_iter=20).fit(X)
    >>> learner.components_.shape
    (12, 8)
    >>> bool(learner.error_[-1] < learner.error_[0])
    True
    """

    _codes: Any  # of the training rows: an array while learning, a CSR matrix else

    def __init__(
        self,
        n_components: int | None = None,
        *,
        alpha: float = 1,
        max_iter: int = 1000,
        tol: float = 1e-8,
        fit_algorithm: str = "lars",
        transform_algorithm: str = "omp",
        transform_n_nonzero_coefs: int | None = None,
        transform_alpha: float | None = None,
        n_jobs: int | None = None,
        code_init: Any = None,
        dict_init: Any = None,
        callback: Callable[[dict[str, Any]], Any] | None = None,
        verbose: int | bool = False,
        split_sign: bool = False,
        random_state: Any = None,
        positive_code: bool = False,
        positive_dict: bool = False,
        transform_max_iter: int = 1000,
        solver: str = "auto",
        penalty: str = "l1",
        transform_tol: float = 1e-4,
        coding_tol: float = 1e-6,
        device: str = "cpu",
    ) -> None:
        self.n_components = n_components
        self.alpha = alpha
        self.max_iter = max_iter
        self.tol = tol
        self.fit_algorithm = fit_algorithm
        self.transform_algorithm = transform_algorithm
        self.transform_n_nonzero_coefs = transform_n_nonzero_coefs
        self.transform_alpha = transform_alpha
        self.n_jobs = n_jobs
        self.code_init = code_init
        self.dict_init = dict_init
        self.callback = callback
        self.verbose = verbose
        self.split_sign = split_sign
        self.random_state = random_state
        self.positive_code = positive_code
        self.positive_dict = positive_dict
        self.transform_max_iter = transform_max_iter
        self.solver = solver
        self.penalty = penalty
        self.transform_tol = transform_tol
        self.coding_tol = coding_tol
        self.device = device

    def fit(self, X: Any, y: Any = None) -> DictionaryLearning:
        """Learns a dictionary from the rows of X, from the start.

        Interrupted by Ctrl-C or by an error, the estimator holds the last iteration that was completed, and
        `resume` goes on from there.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            float32 is learnt in float32, every other real kind in float64.
        y : ignored

        Returns
        -------
        self : DictionaryLearning

        Raises
        ------
        TypeError, ValueError
            Where X or a parameter is of the wrong kind, shape or range, or X is not finite.
        FloatingPointError
            Where the objective or a parameter leaves the finite numbers.

        Warns
        -----
        ConvergenceWarning
            Where rows stop at `transform_max_iter` in the last iteration, with the worst gap reached.
        """
        self._fit(X)
        return self

    def fit_transform(self, X: Any, y: Any = None) -> FloatArray:
        """Learns a dictionary and returns the codes that learning ended with, as scikit-learn's does.

        They are the codes of `fit_algorithm` over the dictionary before its last update, whatever
        `transform_algorithm` is.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : ignored

        Returns
        -------
        codes : ndarray of shape (n_samples, n_components)

        Raises
        ------
        TypeError, ValueError, FloatingPointError
            As `fit`.
        """
        return self._fit(X)

    def resume(self, X: Any) -> DictionaryLearning:
        """Goes on with a `fit` that was interrupted, or saved by a callback and loaded: the same bits.

        Does nothing where `fit` had come to its end, by `tol` or `max_iter`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The same rows in the same order.

        Returns
        -------
        self : DictionaryLearning

        Raises
        ------
        NotFittedError
            Where there is nothing to go on with.
        TypeError, ValueError, FloatingPointError
            As `fit`.
        """
        check_is_fitted(self, "components_")
        self._check_learning_parameters()
        rows = self._samples(X, reset=False)
        self._check_resumable(rows, len(self.gap_))
        self._learn(rows.astype(self.components_.dtype, copy=False))
        return self

    def _fit(self, X: Any) -> FloatArray:
        self._check_learning_parameters()
        seed_number(self.random_state)
        with unchanged_by_errors(self):
            rows = self._samples(X, reset=True)
            with one_blas_thread:
                dictionary = self._first_dictionary(rows)
            codes = self._first_codes(rows, dictionary)
        self._commit(dictionary, codes, np.empty(0), np.full(len(rows), np.inf))
        return self._learn(rows)

    def _samples(self, X: Any, *, reset: bool) -> FloatArray:
        return float_array(self._rows(X, reset=reset), "X")

    def _first_codes(self, X: FloatArray, dictionary: FloatArray) -> FloatArray:
        shape = (len(X), len(dictionary))
        if self.code_init is None or self.dict_init is None:
            return np.zeros(shape, X.dtype)
        codes = np.array(float_array(self.code_init, "code_init", ndim=2, dtype=X.dtype))
        if codes.shape != shape:
            raise ValueError(f"code_init: expected shape {shape}, got {codes.shape}")
        return codes

    def _learn(self, X: FloatArray) -> FloatArray:
        # BLAS enters the objective alone; with one thread its bits do not depend on the machine's load.
        try:
            with one_blas_thread:
                while self.n_iter_ < self.max_iter and not self._has_converged():
                    with np.errstate(over="ignore", invalid="ignore"):  # the step ends with a check
                        self._iterate(X)
                    if self.callback is not None and self.n_iter_ % 5 == 1 and not self._has_converged():
                        self.callback(self._progress(X))
            codes = self._dense_codes()
        finally:
            # Between fits the codes are kept for `resume` alone.
            self._codes = csr_matrix(self._codes)
        if self.n_iter_:
            self._warn_unconverged(self.gap_, stacklevel=4)
        return codes

    def _iterate(self, X: FloatArray) -> None:
        """Codes, then atoms; the estimator changes when both are done."""
        found = self._coding_problem(self.components_).encode(X, self.alpha, init=self._dense_codes())
        codes: FloatArray = found[0]
        codes += 0.0  # -0.0 does not survive a CSR matrix: let it not arise
        require_finite_step(self.n_iter_ + 1, codes)
        dictionary, n_reborn = self._improved_dictionary(X, codes)
        require_finite_step(self.n_iter_ + 1, dictionary)
        objective = self._energy_of(X, codes, dictionary)
        require_finite_step(self.n_iter_ + 1, objective)
        self._commit(dictionary, codes, np.append(self.error_, objective), found[1].gap)
        if self.verbose:
            print(f"[dict_learning] iteration {self.n_iter_}: objective {objective:.6g}, {n_reborn} reborn")

    def _improved_dictionary(self, X: FloatArray, codes: FloatArray) -> tuple[FloatArray, int]:
        """The atoms after their closed-form step, and how many of them were reborn."""
        dictionary = self.components_.copy()
        n_components, n_features = dictionary.shape
        A, B = np.zeros((n_components, n_components)), np.zeros((n_components, n_features))
        optim.accumulate_statistics(codes, X, A, B, n_jobs=self.n_jobs)
        dead = self._update_atoms(dictionary, A, B)
        # Only an atom that no code uses can be replaced without raising the objective.
        dead &= ~codes.any(axis=0)
        n_reborn = optim.revive_dead_atoms(dictionary, dead, A, B, X, codes, positive=self.positive_dict)
        return dictionary, n_reborn

    def _has_converged(self) -> bool:
        if len(self.error_) < 2:
            return False
        before, now = self.error_[-2:]
        return bool(now == 0 or before - now < self.tol * now)

    def _progress(self, X: FloatArray) -> dict[str, Any]:
        return {
            "self": self,
            "X": X,
            "ii": self.n_iter_ - 1,
            "code": self._codes,
            "dictionary": self.components_,
            "errors": self.error_,
            "current_cost": float(self.error_[-1]),
        }

    def _commit(
        self, dictionary: FloatArray, codes: FloatArray, errors: NDArray[Any], gap: NDArray[Any]
    ) -> None:
        # One call into C: a signal finds the old state or the new one.
        self.__dict__.update(
            components_=dictionary, _codes=codes, error_=errors, gap_=gap, n_iter_=len(errors)
        )

    def _dense_codes(self) -> FloatArray:
        codes: FloatArray = self._codes.toarray() if issparse(self._codes) else self._codes
        return codes

    def _get_state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        check_is_fitted(self, "components_")
        codes = csr_matrix(self._codes)
        tensors = {
            "components_": self.components_,
            "error_": self.error_,
            "gap_": self.gap_,
            "codes_data": codes.data,
            "codes_indices": codes.indices,
            "codes_indptr": codes.indptr,
        }
        return tensors, self._feature_values()

    def _set_state(self, tensors: dict[str, NDArray[Any]], values: dict[str, Any]) -> None:
        dictionary, errors, gap = (
            np.ascontiguousarray(tensors[k]) for k in ("components_", "error_", "gap_")
        )
        parts = tuple(tensors[f"codes_{part}"] for part in ("data", "indices", "indptr"))
        codes = csr_matrix(parts, shape=(len(gap), len(dictionary)))
        codes.check_format(full_check=True)
        self.__dict__.update(self._features_from(values))
        self._commit(dictionary, codes, errors, gap)

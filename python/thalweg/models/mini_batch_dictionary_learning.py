"""Dictionary learning online, batch by batch."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from .. import _rng, optim
from .._blas import one_blas_thread
from .._check import FloatArray, float_array, one_of, real_number, seed_number, whole_number
from ..inference.lasso import EncodeInfo
from ..inference.sparse_encode import float_dtype
from ._learning import (
    DictionaryLearner,
    require_finite_rows,
    require_finite_step,
    unchanged_by_errors,
)

# The state: all that prediction and the next step depend on.
_TENSORS = ("components_", "_A", "_B", "gap_")
_VALUES = (
    "n_steps_",
    "n_iter_",
    "_n_rows",  # of fit; 0 after partial_fit, with which `resume` cannot go on
    "_seed",
    "_smooth_cost",
    "_least_cost",
    "_n_without_improvement",
    "_movement",
)


class _Step(NamedTuple):
    """What one batch makes of the state."""

    components: FloatArray
    A: FloatArray
    B: FloatArray
    cost: float  # mean objective of the batch, before the update
    info: EncodeInfo


class MiniBatchDictionaryLearning(DictionaryLearner):
    r"""Learns a dictionary online; stands in for scikit-learn's class of that name.

    .. math:: \min_D \mathbb{E}_x \min_z \tfrac12 \lVert x - z D \rVert^2 + \alpha \sum_k p(z_k)
              \quad\text{with}\quad \lVert d_k \rVert_2 \le 1

    Step t codes a batch of rows to `coding_tol`, updates the sufficient statistics

    .. math:: A_t = \beta_t A_{t-1} + Z^\top Z, \qquad B_t = \beta_t B_{t-1} + Z^\top X,
              \qquad \beta_t = (1 - 1/t)^\rho

    and then every atom in closed form. So the batch of step s weighs (s/t)^rho: what early, poor dictionaries
    coded is forgotten, and the weights still spread over ever more batches. An atom that no sample uses is
    born again from the sample of the batch that is explained worst.

    Parameters
    ----------
    n_components : int, default=None
        Number of atoms; None stands for n_features.
    alpha : float, default=1
        Weight of the penalty.
    max_iter : int, default=1000
        Most passes over the data, counted from the start of `fit`, across `resume`.
    fit_algorithm : {"lars", "cd"}, default="lars"
        Both names stand for the same problem, the lasso; `solver` picks the method.
    n_jobs : int, default=None
        Threads; None stands for OpenMP's number. The results are the same bits for any number.
    batch_size : int, default=256
        Rows of a step.
    shuffle : bool, default=True
        Take the rows in a new random order in every pass.
    dict_init : ndarray of shape (n_components, n_features), default=None
        First dictionary. None takes the principal directions of X (in `partial_fit` of the first batch),
        times their singular values.
    transform_algorithm : {"lasso_lars", "lasso_cd", "lars", "omp", "threshold"}, default="omp"
        What `transform` and `encode` solve; see `SparseCoder`.
    transform_n_nonzero_coefs : int, default=None
        Non-zeros of a row for "omp" and "lars"; None stands for n_features / 10, at least 1.
    transform_alpha : float, default=None
        alpha of the transform, or its threshold; None stands for `alpha`.
    verbose : bool or int, default=False
        Print one line a step.
    split_sign : bool, default=False
        `transform` gives the positive parts followed by the negative parts.
    random_state : int, RandomState or Generator, default=None
        Seed of the order of the rows. The same seed gives the same bits.
    positive_code, positive_dict : bool, default=False
        Codes, atoms >= 0.
    transform_max_iter : int, default=1000
        Most iterations of a row, for the lasso, while learning too.
    callback : callable, default=None
        Called after every step of `fit` with a dict: `self`, `X`, `i`, `n_steps`, `batch_cost`, `dictionary`.
        The estimator holds that step already, so the callback may save it.
    tol : float, default=1e-3
        `fit` ends when a step moves the dictionary by at most tol * n_components in the Frobenius norm; 0
        never.
    max_no_improvement : int, default=10
        `fit` ends when the smoothed objective has not improved for so many steps; None never. Neither rule
        applies in the first pass, or the first 100 steps where these are fewer.
    solver : {"auto", "active_set", "cd", "fista", "ista"}, default="auto"
        The method for the lasso.
    penalty : {"l1", "l0", "l1/2", "l2/3"}, default="l1"
        :math:`p(z) = |z|^q` while learning and for the lasso algorithms of the transform.
    transform_tol : float, default=1e-4
        Relative duality gap that ends a row in `transform` and `encode`, for the lasso.
    coding_tol : float, default=1e-3
        The same while learning.
    rho : float, default=5.0
        How fast old batches are forgotten, >= 0; 0 weighs all batches alike.
    device : {"cpu", "cuda"}, default="cpu"
        Where rows are coded. The GPU has the lasso algorithms, by "fista" (which "auto" stands for there)
        and "ista".
        Learning codes rows there, and moves the atoms on the CPU: X is kept on the host.

    Attributes
    ----------
    components_ : ndarray of shape (n_components, n_features)
        The atoms.
    n_iter_ : int
        Number of passes over the data, the last one begun.
    n_steps_ : int
        Number of batches.
    gap_ : ndarray of shape (n_samples,), float64
        How well the code of each row was solved when it was last coded: its relative duality gap (for the
        other penalties its fixed-point residual). NaN for rows not seen yet; after `partial_fit` those of its
        batch.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, where X has names that are all strings.

    See Also
    --------
    DictionaryLearning : The same problem, on all samples at once.

    References
    ----------
    J. Mairal, F. Bach, J. Ponce, G. Sapiro, Online learning for matrix factorization and sparse coding, JMLR
    11, 2010.

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg import MiniBatchDictionaryLearning
    >>> X = np.random.default_rng(0).normal(size=(600, 8))
    >>> learner = MiniBatchDictionaryLearning(12, alpha=0.5, batch_size=50, max_iter=3, random_state=0).fit(X)
    >>> learner.components_.shape
    (12, 8)
    >>> codes, info = learner.set_params(transform_algorithm="lasso_cd").encode(X, return_info=True)
    >>> bool(info.gap.max() <= 1e-4)
    True
    """

    def __init__(
        self,
        n_components: int | None = None,
        *,
        alpha: float = 1,
        max_iter: int = 1000,
        fit_algorithm: str = "lars",
        n_jobs: int | None = None,
        batch_size: int = 256,
        shuffle: bool = True,
        dict_init: Any = None,
        transform_algorithm: str = "omp",
        transform_n_nonzero_coefs: int | None = None,
        transform_alpha: float | None = None,
        verbose: int | bool = False,
        split_sign: bool = False,
        random_state: Any = None,
        positive_code: bool = False,
        positive_dict: bool = False,
        transform_max_iter: int = 1000,
        callback: Callable[[dict[str, Any]], Any] | None = None,
        tol: float = 1e-3,
        max_no_improvement: int | None = 10,
        solver: str = "auto",
        penalty: str = "l1",
        transform_tol: float = 1e-4,
        coding_tol: float = 1e-3,
        rho: float = 5.0,
        device: str = "cpu",
    ) -> None:
        self.n_components = n_components
        self.alpha = alpha
        self.max_iter = max_iter
        self.fit_algorithm = fit_algorithm
        self.n_jobs = n_jobs
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.dict_init = dict_init
        self.transform_algorithm = transform_algorithm
        self.transform_n_nonzero_coefs = transform_n_nonzero_coefs
        self.transform_alpha = transform_alpha
        self.verbose = verbose
        self.split_sign = split_sign
        self.random_state = random_state
        self.positive_code = positive_code
        self.positive_dict = positive_dict
        self.transform_max_iter = transform_max_iter
        self.callback = callback
        self.tol = tol
        self.max_no_improvement = max_no_improvement
        self.solver = solver
        self.penalty = penalty
        self.transform_tol = transform_tol
        self.coding_tol = coding_tol
        self.rho = rho
        self.device = device

    def fit(self, X: Any, y: Any = None) -> MiniBatchDictionaryLearning:
        """Learns a dictionary from the rows of X, from the start, in passes over random batches.

        Interrupted by Ctrl-C or by an error, the estimator holds the last step that was completed, and
        `resume` goes on from there.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            float32 is learnt in float32, every other real kind in float64. Read in batches: a memory map is
            never loaded whole.
        y : ignored

        Returns
        -------
        self : MiniBatchDictionaryLearning

        Raises
        ------
        TypeError, ValueError
            Where X or a parameter is of the wrong kind, shape or range, or X is not finite.
        FloatingPointError
            Where the objective or a parameter leaves the finite numbers.

        Warns
        -----
        ConvergenceWarning
            Where rows stopped at `transform_max_iter`, with the worst gap reached.
        """
        self._check_learning_parameters()
        with unchanged_by_errors(self):
            rows = self._rows(X, reset=True)
            require_finite_rows(rows)
            self._start(rows)
            self._n_rows = len(rows)
        self._learn(rows)
        return self

    def partial_fit(self, X: Any, y: Any = None) -> MiniBatchDictionaryLearning:
        """Makes one step with X as the batch, whatever `batch_size` is.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Brought to the dtype that learning began with.
        y : ignored

        Returns
        -------
        self : MiniBatchDictionaryLearning

        Raises
        ------
        TypeError, ValueError, FloatingPointError
            As `fit`; the estimator is left as it was.

        Warns
        -----
        ConvergenceWarning
            Where rows stopped at `transform_max_iter`, with the worst gap reached.
        """
        self._check_learning_parameters()
        with unchanged_by_errors(self):
            step = self._first_or_next_step(X)
        self._commit(step, gap_=step.info.gap, _n_rows=0)
        self._warn_unconverged(step.info.gap, stacklevel=2)
        return self

    def _first_or_next_step(self, X: Any) -> _Step:
        begun = hasattr(self, "components_")
        rows = self._rows(X, reset=not begun)
        batch = float_array(rows, "X", dtype=self.components_.dtype if begun else float_dtype(rows))
        with one_blas_thread:
            if not begun:
                self._start(batch)
            return self._step(batch)

    def resume(self, X: Any) -> MiniBatchDictionaryLearning:
        """Goes on with a `fit` that was interrupted, or saved by a callback and loaded: the same bits.

        Does nothing where `fit` had come to its end, by `tol`, `max_no_improvement` or `max_iter`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The same rows in the same order.

        Returns
        -------
        self : MiniBatchDictionaryLearning

        Raises
        ------
        NotFittedError
            Where there is nothing to go on with.
        TypeError, ValueError, FloatingPointError
            As `fit`.
        """
        check_is_fitted(self, "components_")
        self._check_learning_parameters()
        rows = self._rows(X)
        self._check_resumable(rows, self._n_rows)
        require_finite_rows(rows)
        self._learn(rows)
        return self

    def _check_learning_parameters(self) -> None:
        super()._check_learning_parameters()
        whole_number(self.batch_size, "batch_size", minimum=1)
        one_of(self.shuffle, "shuffle", (False, True))
        real_number(self.rho, "rho", minimum=0.0)
        if self.max_no_improvement is not None:
            whole_number(self.max_no_improvement, "max_no_improvement")

    def _start(self, X: NDArray[Any]) -> None:
        dictionary = self._first_dictionary(X)
        n_components, n_features = dictionary.shape
        self.__dict__.update(
            components_=dictionary,
            n_steps_=0,
            n_iter_=0,
            gap_=np.full(len(X), np.nan),
            _A=np.zeros((n_components, n_components)),
            _B=np.zeros((n_components, n_features)),
            _seed=seed_number(self.random_state),
            _smooth_cost=None,
            _least_cost=None,
            _n_without_improvement=0,
            _movement=None,
        )

    def _learn(self, X: NDArray[Any]) -> None:
        """Steps of `fit`, from the one that the estimator holds."""
        n_samples = len(X)
        batch_size = min(self.batch_size, n_samples)
        steps_per_pass = ceil(n_samples / batch_size)
        n_steps = self.max_iter * steps_per_pass
        order: NDArray[Any] = np.empty(0, np.int64)
        # BLAS forms the objective and moves the monitors: with one thread their bits depend on nothing else.
        with one_blas_thread:
            while self.n_steps_ < n_steps and not self._has_converged():
                i = self.n_steps_
                epoch, place = divmod(i, steps_per_pass)
                if place == 0 or not len(order):
                    order = self._order(epoch, n_samples)
                rows = order[place * batch_size : (place + 1) * batch_size]
                step = self._step(float_array(X[rows], "X", dtype=self.components_.dtype))
                self.gap_[rows] = step.info.gap
                self._commit(step, n_iter_=epoch + 1, **self._monitors(step, i, n_samples, batch_size))
                if self.callback is not None and not self._has_converged():
                    self.callback(self._progress(X, i, n_steps, step.cost))
        self._warn_unconverged(self.gap_, stacklevel=3)

    def _order(self, epoch: int, n_samples: int) -> NDArray[Any]:
        if not self.shuffle:
            return np.arange(n_samples)
        order: NDArray[Any] = _rng.permutation(self._seed, _rng.STREAM_BATCH_ORDER, epoch, n_samples)
        return order

    def _step(self, X: FloatArray) -> _Step:
        """Codes of the batch, statistics, atoms; the estimator does not change."""
        t = self.n_steps_ + 1
        with np.errstate(over="ignore", invalid="ignore"):  # the step ends with a check
            codes, info = self._coding_problem(self.components_).encode(X, self.alpha)
            require_finite_step(t, codes)
            cost = self._energy_of(X, codes, self.components_) / len(X)
            components, A, B = self.components_.copy(), self._A.copy(), self._B.copy()
            decay = (1.0 - 1.0 / t) ** self.rho
            optim.accumulate_statistics(codes, X, A, B, decay=decay, n_jobs=self.n_jobs)
            dead = self._update_atoms(components, A, B)
            n_reborn = optim.revive_dead_atoms(components, dead, A, B, X, codes, positive=self.positive_dict)
        require_finite_step(t, cost, components, A, B)
        if self.verbose:
            print(f"[dict_learning] step {t}: mean objective of the batch {cost:.6g}, {n_reborn} reborn")
        return _Step(components, A, B, cost, info)

    def _monitors(self, step: _Step, i: int, n_samples: int, batch_size: int) -> dict[str, Any]:
        """What scikit-learn's stopping rules look at: smoothed objective, and movement of the dictionary."""
        if i + 1 <= min(100, n_samples / batch_size):
            return {}
        smooth, least = self._smooth_cost, self._least_cost
        share = min(batch_size / (n_samples + 1), 1.0)
        smooth = step.cost if smooth is None else (1 - share) * smooth + share * step.cost
        improved = least is None or smooth < least
        movement = np.linalg.norm(step.components - self.components_) / len(step.components)
        return {
            "_smooth_cost": smooth,
            "_least_cost": smooth if improved else least,
            "_n_without_improvement": 0 if improved else self._n_without_improvement + 1,
            "_movement": float(movement),
        }

    def _has_converged(self) -> bool:
        if self._movement is None:
            return False
        if self.tol > 0 and self._movement <= self.tol:
            return True
        return self.max_no_improvement is not None and self._n_without_improvement >= self.max_no_improvement

    def _commit(self, step: _Step, **more: Any) -> None:
        # One call into C: a signal finds the old state or the new one.
        self.__dict__.update(
            components_=step.components, _A=step.A, _B=step.B, n_steps_=self.n_steps_ + 1, **more
        )

    def _progress(self, X: NDArray[Any], i: int, n_steps: int, cost: float) -> dict[str, Any]:
        return {
            "self": self,
            "X": X,
            "i": i,
            "n_steps": n_steps,
            "batch_cost": cost,
            "dictionary": self.components_,
        }

    def _get_state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        check_is_fitted(self, "components_")
        tensors = {name: getattr(self, name) for name in _TENSORS}
        return tensors, {**self._feature_values(), **{name: getattr(self, name) for name in _VALUES}}

    def _set_state(self, tensors: dict[str, NDArray[Any]], values: dict[str, Any]) -> None:
        state: dict[str, Any] = {name: np.array(tensors[name]) for name in _TENSORS}
        n_components, n_features = state["components_"].shape
        shapes = (state["_A"].shape, state["_B"].shape)
        if shapes != ((n_components, n_components), (n_components, n_features)):
            raise ValueError("the statistics of the state do not belong to its dictionary")
        state.update({name: values[name] for name in _VALUES})
        self.__dict__.update(state, **self._features_from(values))

"""Sparse coding over a dictionary that is given."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from .._check import FloatArray, float_array
from ..inference.sparse_encode import check_algorithm
from ._sparse_coding import SparseCodingTransformer


class SparseCoder(SparseCodingTransformer):
    r"""Sparse codes over a fixed dictionary; stands in for :class:`sklearn.decomposition.SparseCoder`.

    With the two lasso algorithms it finds for every row x

    .. math:: \min_z \tfrac12 \lVert x - z D \rVert^2 + \alpha \sum_k p(z_k)

    and every row stops by its own duality gap.

    Parameters
    ----------
    dictionary : array-like of shape (n_components, n_features)
        The atoms, one a row.
    transform_algorithm : {"lasso_lars", "lasso_cd", "lars", "omp", "threshold"}, default="omp"
        The problem: the lasso (both names; `solver` picks the method), least angle regression (scikit-learn's
        `lars_path`), orthogonal matching pursuit, or one shrinkage of X @ dictionary.T.
    transform_n_nonzero_coefs : int, default=None
        Non-zeros of a row for "omp" and "lars"; None stands for n_features / 10, at least 1.
    transform_alpha : float, default=None
        alpha, or the threshold of "threshold"; None stands for 1.
    split_sign : bool, default=False
        `transform` gives the positive parts followed by the negative parts.
    n_jobs : int, default=None
        Threads; None stands for OpenMP's number. The codes are the same bits for any number.
    positive_code : bool, default=False
        Codes >= 0; not with "omp" and "lars".
    transform_max_iter : int, default=1000
        Most iterations of a row, for the lasso algorithms.
    solver : {"auto", "active_set", "cd", "fista", "ista"}, default="auto"
        The method for the lasso algorithms.
    penalty : {"l1", "l0", "l1/2", "l2/3"}, default="l1"
        :math:`p(z) = |z|^q` for the lasso algorithms; for q < 1 a local minimum.
    transform_tol : float, default=1e-4
        A row is done when its duality gap is at most transform_tol * 1/2 ||x||^2.
    device : {"cpu", "cuda"}, default="cpu"
        Where to compute. The GPU has the lasso algorithms, by "fista" (which "auto" stands for there)
        and "ista".

    Attributes
    ----------
    n_components_ : int
        Number of atoms.
    n_features_in_ : int
        Number of features seen by `fit`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of features seen by `fit`, where X has names that are all strings.

    See Also
    --------
    DictionaryLearning : Learns the dictionary, on all samples at once.
    MiniBatchDictionaryLearning : Learns the dictionary online.
    sparse_encode : The same as a function.

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg import SparseCoder
    >>> X = np.array([[-1.0, -1.0, -1.0], [0.0, 0.0, 3.0]])
    >>> dictionary = np.array([[0.0, 1.0, 0.0], [1.0, 1.0, 1.0], [0.0, 0.0, 1.0]])
    >>> coder = SparseCoder(dictionary, transform_algorithm="lasso_lars", transform_alpha=0.5)
    >>> coder.transform(X).round(3) + 0.0
    array([[ 0.   , -0.833,  0.   ],
           [ 0.   ,  0.   ,  2.5  ]])
    """

    def __init__(
        self,
        dictionary: Any,
        *,
        transform_algorithm: str = "omp",
        transform_n_nonzero_coefs: int | None = None,
        transform_alpha: float | None = None,
        split_sign: bool = False,
        n_jobs: int | None = None,
        positive_code: bool = False,
        transform_max_iter: int = 1000,
        solver: str = "auto",
        penalty: str = "l1",
        transform_tol: float = 1e-4,
        device: str = "cpu",
    ) -> None:
        self.dictionary = dictionary
        self.transform_algorithm = transform_algorithm
        self.transform_n_nonzero_coefs = transform_n_nonzero_coefs
        self.transform_alpha = transform_alpha
        self.split_sign = split_sign
        self.n_jobs = n_jobs
        self.positive_code = positive_code
        self.transform_max_iter = transform_max_iter
        self.solver = solver
        self.penalty = penalty
        self.transform_tol = transform_tol
        self.device = device

    def fit(self, X: Any, y: Any = None) -> SparseCoder:
        """Only checks the parameters and the width of X: there is nothing to learn.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : ignored

        Returns
        -------
        self : SparseCoder

        Raises
        ------
        TypeError, ValueError
            Where X, the dictionary or a parameter is of the wrong kind, shape or range.
        """
        self._check_transform_parameters()
        check_algorithm(self.transform_algorithm, "transform_algorithm", self.device)
        dictionary = self._dictionary()
        n_features = dictionary.shape[1]
        if self._is_there(X):
            X = self._rows_there(X, reset=True)
        else:
            X = self._rows(X, reset=True)
            for start in range(0, len(X), 4096):
                float_array(X[start : start + 4096], "X")
        if X.shape[1] != n_features:
            raise ValueError(
                "Dictionary and X have different numbers of features: "
                f"dictionary.shape: {dictionary.shape} X.shape: {tuple(X.shape)}"
            )
        self.n_components_ = len(dictionary)
        return self

    def _dictionary(self) -> FloatArray:
        dictionary = float_array(self.dictionary, "dictionary", ndim=2)
        if 0 in dictionary.shape:
            raise ValueError(
                f"dictionary: expected at least one atom and one feature, got shape {dictionary.shape}"
            )
        return dictionary

    @property
    def _n_features_out(self) -> int:
        return self._n_columns_out(self.n_components_)

    def _get_state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        if not hasattr(self, "n_components_"):
            return {}, {}
        return {}, {**self._feature_values(), "n_components_": self.n_components_}

    def _set_state(self, tensors: dict[str, NDArray[Any]], values: dict[str, Any]) -> None:
        if values:
            self.__dict__.update(self._features_from(values), n_components_=values["n_components_"])

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        return tags

"""What `SparseCoder` and the dictionary learners share: coding, its parameters, and its inverse."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, issparse
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import validate_data

from .. import _device
from .._check import (
    FloatArray,
    float_array,
    is_device_array,
    one_of,
    real_number,
    refuse_device_array,
    refuse_masked,
    thread_number,
    whole_number,
)
from .._check import device as device_name
from ..energies.sparse_coding import PENALTIES
from ..inference.lasso import EncodeInfo, check_solver, warn_unconverged
from ..inference.sparse_encode import (
    ALGORITHMS,
    LASSO_ALGORITHMS,
    Coder,
    CodeStore,
    CsrStore,
    DenseStore,
    SplitStore,
    check_algorithm,
    device_rows,
    encode_blocks,
    encode_there,
    float_dtype,
    make_coder,
)


class SparseCodingTransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Codes rows over a dictionary. A subclass names the dictionary and has the parameters read here."""

    transform_algorithm: str
    transform_n_nonzero_coefs: int | None
    transform_alpha: Any
    transform_max_iter: int
    transform_tol: float
    split_sign: bool
    n_jobs: int | None
    positive_code: bool
    solver: str
    penalty: str
    device: str

    def transform(self, X: Any, y: Any = None) -> Any:
        """Codes of the rows of X, by `transform_algorithm`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            float32 is coded in float32, every other real kind in float64. Read in blocks: a memory map is
            never loaded whole. With device="cuda" an array in the memory of the GPU is coded there.
        y : ignored

        Returns
        -------
        codes : ndarray of shape (n_samples, n_components)
            With `split_sign` (n_samples, 2 * n_components): the positive parts, then the negative parts. An
            array of X's library where X is in the memory of the GPU.

        Raises
        ------
        TypeError, ValueError
            Where X or a parameter is of the wrong kind, shape or range, or X is not finite; where the device
            has no such algorithm or solver.
        RuntimeError
            device="cuda", and no GPU can be used: the message says what is missing.
        MemoryError
            The GPU's memory does not suffice.

        Warns
        -----
        ConvergenceWarning
            Where rows stop at `transform_max_iter`, with the worst gap reached.
        """
        dictionary = self._dictionary()
        if self._is_there(X):
            codes, info = self._encode_there(X, dictionary, splits=self.split_sign)
            warn_unconverged(info, self.transform_tol)
            return codes
        X = self._rows(X)
        store = (SplitStore if self.split_sign else DenseStore)((len(X), len(dictionary)), float_dtype(X))
        warn_unconverged(self._encode_into(store, X, dictionary, certify=False), self.transform_tol)
        return store.result()

    def encode(self, X: Any, *, sparse_output: bool = False, return_info: bool = False) -> Any:
        """Codes of the rows of X, by `transform_algorithm`, with how well each row was solved.

        Unlike `transform` it never splits signs, and can return the codes as a sparse matrix.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        sparse_output : bool, default=False
            Return a :class:`scipy.sparse.csr_matrix`; the dense codes are never held whole.
        return_info : bool, default=False
            Return the certificate of every row as well.

        Returns
        -------
        codes : ndarray or csr_matrix of shape (n_samples, n_components)
        info : EncodeInfo
            Only where `return_info`: `gap`, `n_iter` and `status` (0 converged, 1 out of iterations, 2 a
            fixed number of them) of every row, and `criterion`, what `gap` is: the relative duality gap for
            the lasso names; see :func:`thalweg.sparse_encode`.

        Raises
        ------
        TypeError, ValueError
            As `transform`.

        Warns
        -----
        ConvergenceWarning
            As `transform`.
        """
        dictionary = self._dictionary()
        if self._is_there(X):
            if sparse_output:
                raise ValueError("sparse_output: expected False for X in the memory of the GPU")
            codes, info = self._encode_there(X, dictionary)
            warn_unconverged(info, self.transform_tol)
            return (codes, info) if return_info else codes
        X = self._rows(X)
        store = (CsrStore if sparse_output else DenseStore)((len(X), len(dictionary)), float_dtype(X))
        info = self._encode_into(store, X, dictionary, certify=return_info)
        warn_unconverged(info, self.transform_tol)
        return (store.result(), info) if return_info else store.result()

    def inverse_transform(self, X: Any) -> Any:
        """Rows from their codes: X @ dictionary.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_components)
            Codes as `transform` (with `split_sign` twice as wide) or `encode` gives them.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            An array of X's library where X is in the memory of the GPU.

        Raises
        ------
        ValueError
            Where the number of columns is wrong, or a code is not finite.
        """
        dictionary = self._dictionary()
        if self._is_there(X):
            return self._reconstruct_there(X, dictionary)
        codes = _sparse_codes(X) if issparse(X) else float_array(X, "X", ndim=2)
        self._check_code_width(codes, dictionary)
        if self.split_sign:
            codes = codes[:, : len(dictionary)] - codes[:, len(dictionary) :]
        rows: FloatArray = np.asarray(codes @ dictionary.astype(float_dtype(codes), copy=False))
        return rows

    def _reconstruct_there(self, X: Any, dictionary: FloatArray) -> Any:
        codes = _device.as_device_array(X, "X", ndim=2)
        self._check_code_width(codes, dictionary)
        rows = _device.empty((codes.shape[0], dictionary.shape[1]), codes.dtype, like=codes)
        atoms = np.ascontiguousarray(dictionary, codes.dtype)
        _device.kernels("cuda").reconstruct(codes, atoms, rows)
        return _device.give_back(rows, X)

    def _check_code_width(self, codes: Any, dictionary: FloatArray) -> None:
        width = len(dictionary) * (2 if self.split_sign else 1)
        if codes.shape[1] != width:
            raise ValueError(
                "The number of components in the code is different from the number of components in the "
                f"dictionary. Expected {width}, got {codes.shape[1]}."
            )

    def _dictionary(self) -> FloatArray:
        """The atoms, or NotFittedError."""
        raise NotImplementedError

    def _alpha_of_transform(self) -> Any:
        return self.transform_alpha

    def _rows(self, X: Any, *, reset: bool = False) -> NDArray[Any]:
        """X as a matrix of any real kind, checked against what was fitted; its values are not read yet."""
        refuse_device_array(X, "X")
        refuse_masked(X, "X")
        rows: NDArray[Any] = validate_data(self, X, reset=reset, ensure_all_finite=False)
        return rows

    def _is_there(self, X: Any) -> bool:
        """Whether X is in the memory of the GPU, and may be."""
        return device_name(self.device) == "cuda" and is_device_array(X)

    def _rows_there(self, X: Any, *, reset: bool = False) -> Any:
        """X in the memory of the GPU, checked there as `_rows` and scikit-learn do it on the host."""
        rows = device_rows(X, "X")
        n_features = rows.shape[1]
        if reset:
            self.__dict__.pop("feature_names_in_", None)
            self.n_features_in_ = n_features
        elif n_features != getattr(self, "n_features_in_", n_features):
            raise ValueError(
                f"X has {n_features} features, but {type(self).__name__} is expecting "
                f"{self.n_features_in_} features as input"
            )
        return rows

    def _encode_there(
        self, X: Any, dictionary: FloatArray, *, splits: bool = False
    ) -> tuple[Any, EncodeInfo]:
        rows = self._rows_there(X)
        coder = self._coder(dictionary, float_dtype(rows), certify=True)
        codes, info = encode_there(rows, coder)
        if splits:
            parts = _device.empty((codes.shape[0], 2 * codes.shape[1]), codes.dtype, like=codes)
            _device.kernels("cuda").split_signs(codes, parts)
            codes = parts
        return _device.give_back(codes, X), info

    def _encode_into(
        self, store: CodeStore, X: NDArray[Any], dictionary: FloatArray, *, certify: bool
    ) -> EncodeInfo:
        return encode_blocks(X, self._coder(dictionary, float_dtype(X), certify=certify), store)

    def _coder(self, dictionary: FloatArray, dtype: np.dtype[Any], *, certify: bool) -> Coder:
        self._check_transform_parameters()
        check_algorithm(self.transform_algorithm, "transform_algorithm", self.device)
        # A learner may have learnt with another penalty than its transform, say pursuit, has.
        is_lasso = self.transform_algorithm in LASSO_ALGORITHMS
        return make_coder(
            float_array(dictionary, "dictionary", dtype=dtype),
            algorithm=self.transform_algorithm,
            n_nonzero_coefs=self.transform_n_nonzero_coefs,
            alpha=self._alpha_of_transform(),
            positive=self.positive_code,
            solver=self.solver,
            penalty=self.penalty if is_lasso else "l1",
            l2=0.0,
            max_iter=self.transform_max_iter,
            tol=self.transform_tol,
            n_jobs=self.n_jobs,
            certify=certify,
            device=self.device,
        )

    def _check_transform_parameters(self) -> None:
        device_name(self.device)
        one_of(self.transform_algorithm, "transform_algorithm", ALGORITHMS)
        if self.transform_n_nonzero_coefs is not None:
            whole_number(self.transform_n_nonzero_coefs, "transform_n_nonzero_coefs", minimum=1)
        if self.transform_alpha is not None:
            real_number(self.transform_alpha, "transform_alpha", minimum=0.0)
        whole_number(self.transform_max_iter, "transform_max_iter", minimum=1)
        real_number(self.transform_tol, "transform_tol", minimum=0.0)
        one_of(self.split_sign, "split_sign", (False, True))
        one_of(self.positive_code, "positive_code", (False, True))
        check_solver(self.solver, self.device)
        one_of(self.penalty, "penalty", PENALTIES)
        thread_number(self.n_jobs)

    def _n_columns_out(self, n_components: int) -> int:
        return 2 * n_components if self.split_sign else n_components

    def _feature_values(self) -> dict[str, Any]:
        """Number and names of the features, as JSON values."""
        values: dict[str, Any] = {"n_features_in_": self.n_features_in_}
        if hasattr(self, "feature_names_in_"):
            values["feature_names_in_"] = list(self.feature_names_in_)
        return values

    @staticmethod
    def _features_from(values: dict[str, Any]) -> dict[str, Any]:
        """Attributes from what `_feature_values` gave."""
        features: dict[str, Any] = {"n_features_in_": values["n_features_in_"]}
        if "feature_names_in_" in values:
            features["feature_names_in_"] = np.asarray(values["feature_names_in_"], dtype=object)
        return features

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _sparse_codes(X: Any) -> csr_matrix:
    codes = csr_matrix(X)
    return csr_matrix((float_array(codes.data, "X"), codes.indices, codes.indptr), shape=codes.shape)

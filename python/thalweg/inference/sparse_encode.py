"""`sparse_encode`: every sparse coding problem behind one function, block by block of rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from .. import _device
from .._check import (
    FloatArray,
    array_of,
    float_array,
    is_device_array,
    is_finite,
    one_of,
    real_number,
    thread_number,
    whole_number,
)
from .._check import device as device_name
from .._native import cpu as _cpu
from .lasso import EncodeInfo, LassoSolver, warn_unconverged

ALGORITHMS = ("lasso_lars", "lasso_cd", "lars", "omp", "threshold")
LASSO_ALGORITHMS = ("lasso_lars", "lasso_cd")

# What is coded at once: large enough to keep every thread busy, small beside the memory that a user grants.
_BLOCK_BYTES = 64 << 20


def sparse_encode(
    X: Any,
    dictionary: Any,
    *,
    gram: Any = None,
    cov: Any = None,
    algorithm: str = "lasso_lars",
    n_nonzero_coefs: int | None = None,
    alpha: Any = None,
    copy_cov: bool = True,
    init: Any = None,
    max_iter: int = 1000,
    n_jobs: int | None = None,
    check_input: bool = True,
    verbose: int | bool = 0,
    positive: bool = False,
    solver: str = "auto",
    penalty: str = "l1",
    l2: float = 0.0,
    tol: float = 1e-4,
    sparse_output: bool = False,
    return_info: bool = False,
    device: str = "cpu",
) -> Any:
    r"""Sparse codes of the rows of X over a dictionary: X ~ codes @ dictionary.

    Stands in for :func:`sklearn.decomposition.sparse_encode`. With the two lasso names it finds, row by row,

    .. math:: \min_z \tfrac12 \lVert x - z D \rVert^2 + \sum_k \alpha_k\, p(z_k)
              + \tfrac{l_2}{2} \lVert z \rVert^2

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        float32 is coded in float32, every other real kind in float64. Read in blocks, so that a memory-mapped
        array is never loaded whole. With device="cuda" an array in the memory of the GPU is coded there.
    dictionary : array-like of shape (n_components, n_features)
        The atoms, one a row.
    gram, cov : array-like, default=None
        dictionary @ dictionary.T and dictionary @ X.T. They are taken as scikit-learn takes them, their
        shapes are checked, and they are not needed: the kernels form what they use of them.
    algorithm : {"lasso_lars", "lasso_cd", "lars", "omp", "threshold"}, default="lasso_lars"
        The problem: the lasso (both names, the same minimum; `solver` picks the method), least angle
        regression (scikit-learn's `lars_path`), orthogonal matching pursuit, or one shrinkage of X @
        dictionary.T.
    n_nonzero_coefs : int, default=None
        Non-zeros of a row for "omp" and "lars"; None stands for n_features / 10, at least 1.
    alpha : float or array-like, default=None
        Weight of the penalty, or the threshold of "threshold"; >= 0; None stands for 1. For the lasso names
        also (n_components,), (n_samples, 1) or (n_samples, n_components). "omp" and "lars" do not use it, as
        in scikit-learn's code (its text says otherwise); :func:`thalweg.inference.omp.omp_encode` pursues to
        an error.
    copy_cov, check_input : bool
        Taken for compatibility: `cov` is never written to, and the input is always checked.
    init : array-like of shape (n_samples, n_components), default=None
        Where the lasso solvers start.
    max_iter : int, default=1000
        Most iterations of a row, for the lasso names.
    n_jobs : int, default=None
        Threads; None stands for OpenMP's number. The codes are the same bits for any number. Says nothing on
        the GPU.
    verbose : int, default=0
        Positive prints one line on how well the rows were solved.
    positive : bool, default=False
        Codes >= 0; not with "omp" and "lars".
    solver : {"auto", "active_set", "cd", "fista", "ista"}, default="auto"
        The method for the lasso names; on the GPU "auto" is "fista", and there are "fista" and "ista" only.
    penalty : {"l1", "l0", "l1/2", "l2/3"}, default="l1"
        :math:`p(z) = |z|^q` for the lasso names; for q < 1 a local minimum.
    l2 : float, default=0.0
        Weight of the quadratic term, >= 0, for the lasso names.
    tol : float, default=1e-4
        A row is done when its duality gap is at most tol * 1/2 ||x||^2. 0 runs exactly `max_iter` iterations.
    sparse_output : bool, default=False
        Return the codes as a :class:`scipy.sparse.csr_matrix`; the dense codes are never held whole.
    return_info : bool, default=False
        Return an `EncodeInfo` as well.
    device : {"cpu", "cuda"}, default="cpu"
        Where to compute: on the GPU only the lasso names.

    Returns
    -------
    codes : ndarray or csr_matrix of shape (n_samples, n_components)
        An array of X's library where X is in the memory of the GPU.
    info : EncodeInfo
        Only where `return_info`: `gap`, `n_iter` and `status` of every row, and the `criterion` that `gap`
        is. Where the problem has no duality gap ("omp", "lars", "threshold") it is the relative residual ||x
        - z D||^2 / ||x||^2, `n_iter` the number of non-zeros, and `status` 2.

    Raises
    ------
    TypeError
        Where an argument is of the wrong kind: a sparse matrix, a number that is none, objects in an array.
    ValueError
        Where an argument is out of range, of the wrong shape, empty, masked, complex, an array of text, or
        not finite, or so large that squares of its elements, or the codes, overflow; where the device has no
        such algorithm or solver.
    RuntimeError
        device="cuda", and no GPU can be used: the message says what is missing.
    MemoryError
        The GPU's memory does not suffice.

    Warns
    -----
    ConvergenceWarning
        Where rows stop at `max_iter`, with the worst gap reached.

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg import sparse_encode
    >>> X = np.array([[-1.0, -1.0, -1.0], [0.0, 0.0, 3.0]])
    >>> dictionary = np.array([[0.0, 1.0, 0.0], [1.0, 1.0, 1.0], [0.0, 0.0, 1.0]])
    >>> sparse_encode(X, dictionary, algorithm="threshold", alpha=1.0)
    array([[ 0., -2.,  0.],
           [ 0.,  2.,  2.]])
    >>> codes, info = sparse_encode(X, dictionary, alpha=0.5, return_info=True)
    >>> bool(info.gap.max() <= 1e-4)
    True
    """
    like = X
    is_there = device_name(device) == "cuda" and is_device_array(X)
    X = device_rows(X, "X") if is_there else row_array(X, "X")
    dictionary = float_array(
        _on_host(dictionary, "dictionary", device), "dictionary", ndim=2, dtype=float_dtype(X)
    )
    _check_precomputed(gram, cov, len(dictionary), len(X))
    coder = make_coder(
        dictionary,
        algorithm=algorithm,
        n_nonzero_coefs=n_nonzero_coefs,
        alpha=alpha,
        positive=positive,
        solver=solver,
        penalty=penalty,
        l2=l2,
        max_iter=max_iter,
        tol=tol,
        n_jobs=n_jobs,
        certify=return_info or bool(verbose),
        device=device,
    )
    if is_there:
        if sparse_output:
            raise ValueError("sparse_output: expected False for X in the memory of the GPU")
        codes, info = encode_there(X, coder, init=init)
        codes = _device.give_back(codes, like)
    else:
        store: CodeStore
        shape = (len(X), len(dictionary))
        store = CsrStore(shape, dictionary.dtype) if sparse_output else DenseStore(shape, dictionary.dtype)
        info = encode_blocks(X, coder, store, init=_on_host(init, "init", device))
        codes = store.result()
    if verbose:
        print(f"[sparse_encode] {len(X)} rows, worst {info.criterion} {info.gap.max():.3g}")
    warn_unconverged(info, tol)
    return (codes, info) if return_info else codes


# ---------------------------------------------------------------------------------------- the rows


def float_dtype(X: Any) -> np.dtype[Any]:
    """The dtype that rows of X are coded in: float32 for float32, float64 for every other kind."""
    return np.dtype(np.float32 if X.dtype == np.float32 else np.float64)


def row_array(X: Any, name: str) -> NDArray[Any]:
    """X as a non-empty matrix of any real kind; neither copied nor read: a memory map stays on disk."""
    array = array_of(X, name)
    if array.dtype.kind not in "biuf":
        array = float_array(array, name)
    if array.ndim != 2:
        raise ValueError(
            f"{name}: expected 2 dimensions, got shape {array.shape}; for one sample use reshape(1, -1)"
        )
    if 0 in array.shape:
        raise ValueError(f"{name}: expected at least one row and one column, got shape {array.shape}")
    return array


def _on_host(x: Any, name: str, device: str) -> Any:
    """`x`; as NumPy's where it is in the memory of the GPU and may be there. For small things."""
    if device == "cuda" and is_device_array(x):
        return _device.to_host(_device.device_operand(x, name))
    return x


def device_rows(X: Any, name: str) -> Any:
    """X, in the memory of the GPU, as a non-empty matrix of finite float32 or float64 numbers there."""
    array = _device.as_device_array(X, name)
    if array.ndim != 2:
        raise ValueError(
            f"{name}: expected 2 dimensions, got shape {array.shape}; for one sample use reshape(1, -1)"
        )
    if 0 in array.shape:
        raise ValueError(f"{name}: expected at least one row and one column, got shape {array.shape}")
    return array


def _check_precomputed(gram: Any, cov: Any, n_components: int, n_samples: int) -> None:
    expected = {"gram": (n_components, n_components), "cov": (n_components, n_samples)}
    for name, value in (("gram", gram), ("cov", cov)):
        if value is not None and np.shape(value) != expected[name]:
            raise ValueError(f"{name}: expected shape {expected[name]}, got {np.shape(value)}")


def _blocks(n_samples: int, width: int, itemsize: int) -> Iterator[slice]:
    rows = max(256, _BLOCK_BYTES // (itemsize * width) // 256 * 256)
    for start in range(0, n_samples, rows):
        yield slice(start, min(start + rows, n_samples))


# ---------------------------------------------------------------------------------------- the problems


class Coder(Protocol):
    """One coding problem over one dictionary."""

    dictionary: FloatArray
    needs_squares: bool  # of the rows, for the codes or for what is known of them

    def check_rows(self, n_samples: int) -> None:
        """ValueError where the problem does not fit that many rows."""
        ...

    def encode(self, X: FloatArray, rows: slice, out: FloatArray, init: FloatArray | None) -> EncodeInfo:
        """Codes of `X`, which are the rows `rows` of the data, into `out`."""
        ...


def make_coder(
    dictionary: FloatArray,
    *,
    algorithm: str,
    n_nonzero_coefs: int | None,
    alpha: Any,
    positive: bool,
    solver: str,
    penalty: str,
    l2: float,
    max_iter: int,
    tol: float,
    n_jobs: int | None,
    certify: bool,
    device: str = "cpu",
) -> Coder:
    """The problem that scikit-learn calls `algorithm`, its arguments checked.

    The lasso brings its certificate along; for the others `certify` asks for the residuals (else NaN).
    """
    check_algorithm(algorithm, "algorithm", device)
    if 0 in dictionary.shape:
        raise ValueError(
            f"dictionary: expected at least one atom and one feature, got shape {dictionary.shape}"
        )
    if not is_finite(dictionary):
        raise ValueError(f"dictionary: every element must be finite in {dictionary.dtype}, as X has it")
    if positive and algorithm in ("omp", "lars"):
        raise ValueError(f"Positive constraint not supported for {algorithm!r} coding method.")
    if algorithm in LASSO_ALGORITHMS:
        weights = _weights(1.0 if alpha is None else _on_host(alpha, "alpha", device), dictionary)
        problem = LassoSolver(
            dictionary,
            penalty=penalty,
            positive=bool(positive),
            l2=l2,
            solver=solver,
            max_iter=max_iter,
            tol=tol,
            n_jobs=n_jobs,
            device=device,
        )
        return _Lasso(dictionary, problem, weights)
    if penalty != "l1" or l2 != 0:
        raise ValueError(
            f"penalty, l2: algorithm={algorithm!r} has none, got penalty={penalty!r} and l2={l2!r}"
        )
    if algorithm == "threshold":
        threshold = real_number(1.0 if alpha is None else alpha, "alpha", minimum=0.0)
        return _Threshold(dictionary, certify, threshold, positive)
    n_components, n_features = dictionary.shape
    if n_nonzero_coefs is None:
        n_nonzero_coefs = int(min(max(n_features / 10, 1), n_components))
    count = whole_number(n_nonzero_coefs, "n_nonzero_coefs", minimum=1)
    if count > n_components:
        raise ValueError(
            f"n_nonzero_coefs: expected at most {n_components}, the number of atoms, got {count}"
        )
    if algorithm == "omp":
        return _Pursuit(dictionary, count, n_jobs)
    return _Lars(dictionary, certify, count)


def check_algorithm(algorithm: Any, name: str, device: str) -> None:
    """ValueError unless the device has this algorithm."""
    one_of(algorithm, name, ALGORITHMS)
    if device == "cuda" and algorithm not in LASSO_ALGORITHMS:
        raise ValueError(f"{name}: device='cuda' has 'lasso_lars' and 'lasso_cd', got {algorithm!r}")


def _weights(alpha: Any, dictionary: FloatArray) -> FloatArray:
    weights = np.asarray(float_array(alpha, "alpha", dtype=dictionary.dtype))
    if weights.size == 0 or weights.min() < 0:
        least = weights.min() if weights.size else "none"
        raise ValueError(f"alpha: expected numbers >= 0, got {least}")
    n_components = len(dictionary)
    if weights.ndim > 2 or (weights.ndim > 0 and weights.shape[-1] not in (1, n_components)):
        raise ValueError(
            f"alpha: expected a scalar, ({n_components},), (n_samples, 1) or (n_samples, {n_components}), "
            f"got shape {weights.shape}"
        )
    return weights


class _Lasso:
    def __init__(self, dictionary: FloatArray, solver: LassoSolver, alpha: FloatArray) -> None:
        self.dictionary, self._solver, self._alpha = dictionary, solver, alpha
        self.needs_squares = solver.penalty == "l1"

    def check_rows(self, n_samples: int) -> None:
        if self._alpha.ndim == 2 and len(self._alpha) != n_samples:
            raise ValueError(f"alpha: expected {n_samples} rows, as X has, got shape {self._alpha.shape}")

    def encode(self, X: FloatArray, rows: slice, out: FloatArray, init: FloatArray | None) -> EncodeInfo:
        alpha = self._alpha[rows] if self._alpha.ndim == 2 else self._alpha
        return self._solver.encode(X, alpha, init=init, out=out)[1]

    def encode_there(self, X: Any, init: Any) -> tuple[Any, EncodeInfo]:
        """Codes of all rows, in the memory of the GPU as X is."""
        return self._solver.encode(X, self._alpha, init=init)


class _Direct:
    """A problem solved in a fixed number of steps, with the relative residual as what is known of a row."""

    criterion = "relative residual"

    def __init__(self, dictionary: FloatArray, certify: bool) -> None:
        self.dictionary, self.needs_squares = dictionary, certify

    def check_rows(self, n_samples: int) -> None:
        """Any number of rows."""

    def encode(self, X: FloatArray, rows: slice, out: FloatArray, init: FloatArray | None) -> EncodeInfo:
        squared = self._codes(X, out)
        if squared is None and not is_finite(out):
            raise ValueError(f"X, dictionary: the codes overflow {out.dtype}; scale one of them down")
        if squared is None and self.needs_squares:
            residual = X - out @ self.dictionary
            squared = np.einsum("ij,ij->i", residual, residual, dtype=np.float64)
        count = np.count_nonzero(out, axis=1).astype(np.int32)
        return EncodeInfo(_relative(squared, X), count, np.full(len(X), 2, np.int8), self.criterion)

    def _codes(self, X: FloatArray, out: FloatArray) -> NDArray[np.float64] | None:
        """The codes into `out`; the squared norms of the residuals, where they come for nothing."""
        raise NotImplementedError


def _relative(squared: NDArray[np.float64] | None, X: FloatArray) -> NDArray[np.float64]:
    if squared is None:
        return np.full(len(X), np.nan)
    norm = np.einsum("ij,ij->i", X, X, dtype=np.float64)
    relative: NDArray[np.float64] = np.divide(squared, norm, out=np.zeros_like(norm), where=norm > 0)
    return relative


class _Threshold(_Direct):
    def __init__(self, dictionary: FloatArray, certify: bool, alpha: float, positive: bool) -> None:
        super().__init__(dictionary, certify)
        self._alpha = alpha
        self._positive = positive

    def _codes(self, X: FloatArray, out: FloatArray) -> None:
        np.matmul(X, self.dictionary.T, out=out)
        if self._positive:
            np.maximum(out - self._alpha, 0, out=out)
        else:
            out -= np.clip(out, -self._alpha, self._alpha)


class _Pursuit(_Direct):
    def __init__(self, dictionary: FloatArray, count: int, n_jobs: int | None) -> None:
        super().__init__(dictionary, certify=True)
        self._count, self._n_threads = count, thread_number(n_jobs)
        kind = _cpu.CodingDictionary32 if dictionary.dtype == np.float32 else _cpu.CodingDictionary64
        self._prepared = kind(dictionary, 0.0, self._n_threads)

    def _codes(self, X: FloatArray, out: FloatArray) -> NDArray[np.float64]:
        n_samples = len(X)
        squared = np.empty(n_samples)
        unused = np.empty(n_samples, np.int32), np.empty(n_samples, np.int8)  # non-zeros, and why it stopped
        _cpu.omp_encode(self._prepared, X, out, squared, *unused, self._count, -1.0, self._n_threads)
        return squared


class _Lars(_Direct):
    def __init__(self, dictionary: FloatArray, certify: bool, count: int) -> None:
        super().__init__(dictionary, certify)
        self._count = count
        with np.errstate(over="ignore", invalid="ignore"):
            self._gram = dictionary @ dictionary.T
        if not is_finite(self._gram):
            raise ValueError(f"dictionary: the squares of its elements overflow {dictionary.dtype}")

    def _codes(self, X: FloatArray, out: FloatArray) -> None:
        from sklearn.linear_model import lars_path  # slow to import, and seldom needed

        # Overflow and division by zero are how lars_path meets degenerate atoms.
        with np.errstate(all="ignore"):
            for x, correlation, z in zip(X, X @ self.dictionary.T, out):
                path = lars_path(
                    self.dictionary.T,
                    x,
                    Xy=correlation,
                    Gram=self._gram,
                    max_iter=self._count,
                    method="lar",
                    return_path=False,
                )
                z[:] = path[2]


# ---------------------------------------------------------------------------------------- the result


class CodeStore(Protocol):
    """Where blocks of codes end up."""

    def buffer(self, rows: slice) -> FloatArray:
        """C-contiguous memory for the codes of these rows."""
        ...

    def put(self, rows: slice, codes: FloatArray) -> None:
        """The buffer of these rows, filled; rows come in order."""
        ...

    def result(self) -> Any:
        """The codes of all rows."""
        ...


class DenseStore:
    """Codes as an array, written in place."""

    def __init__(self, shape: tuple[int, int], dtype: np.dtype[Any]) -> None:
        self._codes = np.empty(shape, dtype)

    def buffer(self, rows: slice) -> FloatArray:
        return self._codes[rows]

    def put(self, rows: slice, codes: FloatArray) -> None:
        """The buffer is the result."""

    def result(self) -> FloatArray:
        return self._codes


class SplitStore:
    """Codes as their positive parts followed by their negative parts, twice as wide."""

    def __init__(self, shape: tuple[int, int], dtype: np.dtype[Any]) -> None:
        self._width = shape[1]
        self._codes = np.empty((shape[0], 2 * shape[1]), dtype)
        self._scratch = np.empty((0, shape[1]), dtype)

    def buffer(self, rows: slice) -> FloatArray:
        if len(self._scratch) < rows.stop - rows.start:
            self._scratch = np.empty((rows.stop - rows.start, self._width), self._codes.dtype)
        return self._scratch[: rows.stop - rows.start]

    def put(self, rows: slice, codes: FloatArray) -> None:
        np.maximum(codes, 0, out=self._codes[rows, : self._width])
        np.maximum(-codes, 0, out=self._codes[rows, self._width :])

    def result(self) -> FloatArray:
        return self._codes


class CsrStore:
    """Codes as a CSR matrix; grows in place, so that the whole is held once."""

    def __init__(self, shape: tuple[int, int], dtype: np.dtype[Any]) -> None:
        self._shape = shape
        self._scratch = np.empty((0, shape[1]), dtype)
        self._data = np.empty(0, dtype)
        self._indices = np.empty(0, np.int32)
        self._indptr = np.zeros(shape[0] + 1, np.int64)
        self._used = 0

    def buffer(self, rows: slice) -> FloatArray:
        if len(self._scratch) < rows.stop - rows.start:
            self._scratch = np.empty((rows.stop - rows.start, self._shape[1]), self._data.dtype)
        return self._scratch[: rows.stop - rows.start]

    def put(self, rows: slice, codes: FloatArray) -> None:
        n_components = codes.shape[1]
        flat = codes.ravel()
        place = np.flatnonzero(flat != 0)  # of booleans, which is faster than of numbers
        row_ends = np.arange(1, len(codes) + 1) * n_components
        self._indptr[rows.start + 1 : rows.stop + 1] = self._used + np.searchsorted(place, row_ends)
        start, stop = self._used, self._used + len(place)
        self._reserve(stop)
        self._data[start:stop] = flat[place]
        self._indices[start:stop] = place % n_components
        self._used = stop

    def _reserve(self, needed: int) -> None:
        if needed > len(self._data):
            # ndarray.resize has the system move pages, not bytes: nothing is held twice.
            size = needed + needed // 8
            self._data.resize(size, refcheck=False)
            self._indices.resize(size, refcheck=False)

    def result(self) -> csr_matrix:
        self._data.resize(self._used, refcheck=False)
        self._indices.resize(self._used, refcheck=False)
        indptr = self._indptr
        if self._used <= np.iinfo(np.int32).max:
            indptr = indptr.astype(np.int32)
        return csr_matrix((self._data, self._indices, indptr), shape=self._shape)


def encode_blocks(X: NDArray[Any], coder: Coder, store: CodeStore, *, init: Any = None) -> EncodeInfo:
    """Codes the rows of `X` block by block into `store`; each block is converted and checked on its own."""
    n_samples = len(X)
    n_components, n_features = coder.dictionary.shape
    if X.shape[1] != n_features:
        raise ValueError(
            "Dictionary and X have different numbers of features: "
            f"dictionary.shape: {coder.dictionary.shape} X.shape: {X.shape}"
        )
    coder.check_rows(n_samples)
    if init is not None and np.shape(init) != (n_samples, n_components):
        raise ValueError(f"init: expected shape {(n_samples, n_components)}, got {np.shape(init)}")
    start_codes = None if init is None else row_array(init, "init")
    gap = np.empty(n_samples, np.float64)
    n_iter = np.empty(n_samples, np.int32)
    status = np.empty(n_samples, np.int8)
    dtype = coder.dictionary.dtype
    criteria = set()
    for rows in _blocks(n_samples, n_components + n_features, dtype.itemsize):
        block = float_array(X[rows], "X", dtype=dtype)
        start = None if start_codes is None else float_array(start_codes[rows], "init", dtype=dtype)
        codes = store.buffer(rows)
        found = _encode_block(coder, block, rows, codes, start)
        store.put(rows, codes)
        gap[rows], n_iter[rows], status[rows] = found[:3]
        criteria.add(found.criterion)
    return EncodeInfo(gap, n_iter, status, " or ".join(sorted(criteria)))


def encode_there(X: Any, coder: Coder, *, init: Any = None) -> tuple[Any, EncodeInfo]:
    """Codes of the rows of X, which `device_rows` has let through: there are those of the lasso only."""
    if not isinstance(coder, _Lasso):
        raise TypeError(f"no codes by {type(coder).__name__} in the memory of the GPU")
    n_features = coder.dictionary.shape[1]
    if X.shape[1] != n_features:
        raise ValueError(
            "Dictionary and X have different numbers of features: "
            f"dictionary.shape: {coder.dictionary.shape} X.shape: {tuple(X.shape)}"
        )
    coder.check_rows(len(X))
    codes, info = coder.encode_there(X, init)
    _require_finite_certificates(coder, info)
    return codes, info


def _encode_block(
    coder: Coder, X: FloatArray, rows: slice, out: FloatArray, init: FloatArray | None
) -> EncodeInfo:
    """Codes of one block; ValueError where something overflows on the way."""
    if coder.needs_squares:
        _require_finite_squares(X)
    with np.errstate(over="ignore", invalid="ignore"):  # the certificates tell
        found = coder.encode(X, rows, out, init)
    _require_finite_certificates(coder, found)
    return found


def _require_finite_certificates(coder: Coder, found: EncodeInfo) -> None:
    if coder.needs_squares and not is_finite(found.gap):
        dtype = coder.dictionary.dtype
        raise ValueError(
            f"X, dictionary: the {found.criterion} of a row overflows {dtype}; scale one of them down"
        )


def _require_finite_squares(X: FloatArray) -> None:
    if X.dtype == np.float32:
        return  # they are summed in float64, where they fit
    flat = X.ravel()
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(np.dot(flat, flat)) or np.isfinite(np.einsum("ij,ij->i", X, X)).all():
            return
    raise ValueError("X: the squares of its elements overflow float64; scale X down")

"""Sparse codes of many samples over one dictionary, with a certificate for every row."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from thalweg import _check, _device
from thalweg._device import is_device_array
from thalweg._native import cpu as _cpu

SOLVERS = ("auto", "active_set", "cd", "fista", "ista")
DEVICE_SOLVERS = ("auto", "fista", "ista")
PENALTIES = ("l1", "l2/3", "l1/2", "l0")

CONVERGED = 0
NOT_CONVERGED = 1
FIXED_ITERATIONS = 2

# Rows that are converted, checked and encoded at a time: a memory-mapped X is never held as a whole.
BLOCK_BYTES = 64 << 20

_METHODS = {
    "active_set": _cpu.LassoMethod.active_set,
    "cd": _cpu.LassoMethod.coordinate_descent,
    "fista": _cpu.LassoMethod.fista,
    "ista": _cpu.LassoMethod.ista,
}
_PENALTIES = {
    "l1": _cpu.Penalty.l1,
    "l2/3": _cpu.Penalty.l_two_thirds,
    "l1/2": _cpu.Penalty.l_half,
    "l0": _cpu.Penalty.l0,
}
_CRITERIA = {
    "duality gap": _cpu.Criterion.duality_gap,
    "optimality residual": _cpu.Criterion.optimality_residual,
    "fixed-point residual": _cpu.Criterion.fixed_point_residual,
}


class EncodeInfo(NamedTuple):
    """What is known of every row's code.

    Attributes
    ----------
    gap : ndarray of shape (n_samples,), float64
        The certificate that `criterion` names, computed in float64 from the codes as returned; 0 for a zero
        row.
    n_iter : ndarray of shape (n_samples,), int32
        Iterations of the solver.
    status : ndarray of shape (n_samples,), int8
        0: `gap` is at most `tol`. 1: it is not. 2: `tol` was 0, and `max_iter` iterations were made.
    criterion : str
        "duality gap": relative to 1/2 ||x||^2. "optimality residual" (some alpha is 0): the largest distance
        of a correlation to its subdifferential, relative to the largest correlation of x. "fixed-point
        residual" (q < 1): the largest change that one proximal step makes, relative to the largest
        coefficient.
    """

    gap: NDArray[np.float64]
    n_iter: NDArray[np.int32]
    status: NDArray[np.int8]
    criterion: str


class LassoSolver:
    """Encodes samples over one dictionary, which is prepared once.

    Minimises, for every row x of X,

        1/2 ||x - z D||^2 + sum_j alpha_j |z_j|^q + l2/2 ||z||^2

    Parameters
    ----------
    dictionary : array-like of shape (n_components, n_features)
        Rows are atoms, of any norm. float32 and float64 are kept; the samples are brought to its dtype.
    penalty : {"l1", "l2/3", "l1/2", "l0"}
        The q of the penalty: 1, 2/3, 1/2, 0.
    positive : bool
        Whether codes must be non-negative.
    l2 : float
        Weight of the quadratic term (elastic net).
    solver : {"auto", "active_set", "cd", "fista", "ista"}
        "active_set": Newton steps on the atoms in use (l1 with alpha > 0 only). "cd": coordinate descent on
        the Gram matrix. "fista", "ista": proximal gradient with step 1/L. "auto": "active_set" where it
        applies, else "cd"; "fista" where `tol` is 0, and on the GPU, which has "fista" and "ista" only.
    max_iter : int
        Iterations per row, at the most.
    tol : float
        A row is finished when its certificate (see `EncodeInfo`) is at most this. 0 asks for exactly
        `max_iter` iterations.
    restart : bool
        Adaptive restart of FISTA's momentum (O'Donoghue and Candes). With solver="fista", restart=False and
        tol=0 the iterates are Beck and Teboulle's to the letter.
    n_jobs : int or None
        Threads; None takes OpenMP's default. Says nothing on the GPU.
    device : {"cpu", "cuda"}
        Where to compute. The certificates are computed in float64 on either.

    Raises
    ------
    TypeError, ValueError
        Where an argument is of the wrong kind, shape or range.
    RuntimeError
        device="cuda", and no GPU can be used: the message says what is missing.
    MemoryError
        The GPU's memory does not suffice.

    References
    ----------
    A. Beck, M. Teboulle, "A fast iterative shrinkage-thresholding algorithm", SIAM J. Imaging Sci. 2, 2009.
    H. Lee, A. Battle, R. Raina, A. Ng, "Efficient sparse coding algorithms", NIPS 2006.
    J. Friedman et al., "Pathwise coordinate optimization", Ann. Appl. Stat. 1, 2007.

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg.inference.lasso import LassoSolver
    >>> codes, info = LassoSolver(np.eye(3)).encode([[3.0, -0.5, 1.0]], alpha=1.0)
    >>> codes
    array([[2., 0., 0.]])
    >>> float(info.gap[0]) <= 1e-4
    True
    """

    def __init__(
        self,
        dictionary: Any,
        *,
        penalty: str = "l1",
        positive: bool = False,
        l2: float = 0.0,
        solver: str = "auto",
        max_iter: int = 1000,
        tol: float = 1e-4,
        restart: bool = True,
        n_jobs: int | None = None,
        device: str = "cpu",
    ) -> None:
        self.device = _check.device(device)
        check_solver(solver, self.device)
        kernels = _device.kernels(self.device)
        if self.device == "cuda" and is_device_array(dictionary):
            atoms = _device.as_device_array(dictionary, "dictionary", ndim=2)
        else:
            atoms = _check.float_array(dictionary, "dictionary", ndim=2)
        if 0 in atoms.shape:
            raise ValueError(
                f"dictionary: expected at least one atom and one feature, got shape {atoms.shape}"
            )
        self.dtype: np.dtype[Any] = atoms.dtype
        self.n_components, self.n_features = atoms.shape
        self.penalty = _check.one_of(penalty, "penalty", PENALTIES)
        self.solver = solver
        self.positive = bool(positive)
        self.max_iter = _check.whole_number(max_iter, "max_iter", minimum=1)
        self.tol = _check.real_number(tol, "tol", minimum=0.0)
        self.restart = bool(restart)
        self.n_threads = _check.thread_number(n_jobs)
        if self.solver == "active_set" and (self.penalty != "l1" or self.tol == 0):
            raise ValueError("solver: 'active_set' needs penalty='l1' and tol > 0")
        kind = kernels.CodingDictionary32 if self.dtype == np.float32 else kernels.CodingDictionary64
        self._native = kind(atoms, _check.real_number(l2, "l2", minimum=0.0), self.n_threads)

    @property
    def lipschitz(self) -> float:
        """L, an upper bound of the largest eigenvalue of D D^T + l2 I; 1/L is the proximal methods' step."""
        return float(self._native.lipschitz())

    def encode(self, X: Any, alpha: Any, *, init: Any = None, out: Any = None) -> tuple[Any, EncodeInfo]:
        """Codes of the rows of X.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples. A memory-mapped array is read in blocks. With device="cuda" an array in the memory of the
            GPU is read there.
        alpha : float or array-like
            Weight of the penalty: a number, (n_components,), (n_samples, 1) or (n_samples, n_components).
        init : array-like of shape (n_samples, n_components) or None
            Where to start; None starts from zero.
        out : array of shape (n_samples, n_components) or None
            Where to put the codes, in the memory of the GPU where X is: C-contiguous, of the dictionary's
            dtype. May share memory with the others.

        Returns
        -------
        codes : ndarray of shape (n_samples, n_components)
            An array of X's library where X is in the memory of the GPU.
        info : EncodeInfo
        """
        if self.device == "cuda" and is_device_array(X):
            return self._encode_there(X, alpha, init, out)
        samples, weights = self._open(X, alpha)
        n_samples = samples.shape[0]
        codes = self._output(out, n_samples)
        if out is not None:
            samples, weights = _check.apart(samples, codes), _check.apart(weights, codes)
        criterion = self._criterion(weights.min(initial=np.inf))
        init = _on_host(init, "init") if self.device == "cuda" else init
        if init is not None and np.shape(init) != codes.shape:
            raise ValueError(f"init: expected shape {codes.shape}, got {np.shape(init)}")
        if isinstance(init, np.ndarray):
            init = _check.apart(init, codes)
        info = EncodeInfo(
            np.empty(n_samples), np.empty(n_samples, np.int32), np.empty(n_samples, np.int8), criterion
        )
        for rows in self._blocks(n_samples):
            self._encode_block(samples, weights, init, codes[rows], info, rows)
        return codes, info

    def _encode_there(self, X: Any, alpha: Any, init: Any, out: Any) -> tuple[Any, EncodeInfo]:
        """`encode` of samples in the memory of the GPU."""
        samples = _device.as_device_array(X, "X", ndim=2, dtype=self.dtype)
        self._check_width(samples)
        n_samples = samples.shape[0]
        weights, least = self._weights_there(alpha, n_samples)
        criterion = self._criterion(least)
        shape = (n_samples, self.n_components)
        if init is not None and tuple(np.shape(init)) != shape:
            raise ValueError(f"init: expected shape {shape}, got {tuple(np.shape(init))}")
        options = self._options(criterion)
        options.warm_start = init is not None
        codes = _device.output(out, shape, self.dtype)
        if out is not None:
            samples, weights = _device.apart(samples, codes), _device.apart(weights, codes)
        if init is not None:
            first = _device.as_device_array(init, "init", ndim=2, dtype=self.dtype)
            codes.assign(_device.apart(first, codes))
        info = EncodeInfo(
            np.empty(n_samples), np.empty(n_samples, np.int32), np.empty(n_samples, np.int8), criterion
        )
        self._native.encode(samples, weights, codes, info.gap, info.n_iter, info.status, options)
        return out if out is not None else _device.give_back(codes, X), info

    def _check_width(self, samples: Any) -> None:
        if samples.shape[1] != self.n_features:
            raise ValueError(
                f"X: expected {self.n_features} features, as the dictionary has, got {samples.shape[1]}"
            )

    def _open(self, X: Any, alpha: Any) -> tuple[Any, NDArray[Any]]:
        _check.refuse_device_array(X, "X")
        if hasattr(X, "toarray"):
            raise TypeError("X: a dense array is required, got a sparse matrix; use X.toarray()")
        samples = X if isinstance(X, np.ndarray) else np.asarray(X)
        if samples.ndim != 2:
            raise ValueError(f"X: expected 2 dimensions (n_samples, n_features), got shape {samples.shape}")
        self._check_width(samples)
        weights = _on_host(alpha, "alpha") if self.device == "cuda" else alpha
        return samples, self._weights(weights, samples.shape[0])

    def _weights(self, alpha: Any, n_samples: int) -> NDArray[Any]:
        weights = _check.float_array(alpha, "alpha", dtype=self.dtype)
        if weights.size and weights.min() < 0:
            raise ValueError(f"alpha: expected numbers >= 0, got {weights.min():g}")
        made: NDArray[Any] = self._to_broadcast(weights, n_samples)
        return made

    def _weights_there(self, alpha: Any, n_samples: int) -> tuple[Any, float]:
        """`alpha` on the side where it is, and the least of it."""
        if not is_device_array(alpha):
            weights = self._weights(alpha, n_samples)
            return weights, float(weights.min(initial=np.inf))
        there = _device.device_operand(alpha, "alpha", dtype=self.dtype)
        found = _device.refuse_negative(there, "alpha")
        return self._to_broadcast(there, n_samples), found.least

    def _to_broadcast(self, weights: Any, n_samples: int) -> Any:
        """`weights` with two axes, as the kernels take them."""
        given = tuple(weights.shape)
        if weights.ndim <= 1:
            weights = weights.reshape((1, -1))
        fits = (
            weights.ndim == 2
            and weights.shape[0] in (1, n_samples)
            and weights.shape[1] in (1, self.n_components)
        )
        if not fits:
            raise ValueError(
                f"alpha: expected a number, ({self.n_components},), ({n_samples}, 1) or "
                f"({n_samples}, {self.n_components}), got shape {given}"
            )
        return weights

    def _criterion(self, least: float) -> str:
        """What stopping goes by, where this is the least weight."""
        if self.penalty != "l1":
            return "fixed-point residual"
        return "duality gap" if least > 0 else "optimality residual"

    def _method(self, criterion: str) -> str:
        if self.solver != "auto":
            if self.solver == "active_set" and criterion != "duality gap":
                raise ValueError(
                    "alpha: solver='active_set' needs every alpha > 0; use solver='auto' or 'cd'"
                )
            return str(self.solver)
        if self.tol == 0 or self.device == "cuda":
            return "fista"
        return "active_set" if criterion == "duality gap" else "cd"

    def _output(self, out: NDArray[Any] | None, n_samples: int) -> NDArray[Any]:
        shape = (n_samples, self.n_components)
        if out is None:
            return np.empty(shape, self.dtype)
        if not isinstance(out, np.ndarray):
            raise TypeError(f"out: expected an ndarray, got {type(out).__name__}")
        good = (
            out.shape == shape and out.dtype == self.dtype and out.flags.c_contiguous and out.flags.writeable
        )
        if not good:
            raise ValueError(
                f"out: expected a writeable C-contiguous {self.dtype} array of shape {shape}, "
                f"got {out.dtype} of shape {out.shape}"
            )
        return out

    def _blocks(self, n_samples: int) -> list[slice]:
        row_bytes = self.dtype.itemsize * (self.n_features + self.n_components)
        size = max(1024, BLOCK_BYTES // row_bytes)
        return [slice(start, min(start + size, n_samples)) for start in range(0, n_samples, size)]

    def _encode_block(
        self,
        samples: Any,
        weights: NDArray[Any],
        init: Any,
        codes: NDArray[Any],
        info: EncodeInfo,
        rows: slice,
    ) -> None:
        x = _check.float_array(samples[rows], "X", ndim=2, dtype=self.dtype)
        options = self._options(info.criterion)
        if init is not None:
            codes[...] = _check.float_array(init[rows], "init", ndim=2, dtype=self.dtype)
            options.warm_start = True
        alpha = weights[rows] if weights.shape[0] > 1 else weights
        self._native.encode(x, alpha, codes, info.gap[rows], info.n_iter[rows], info.status[rows], options)

    def _options(self, criterion: str) -> Any:
        options = _cpu.LassoOptions()
        options.method = _METHODS[self._method(criterion)]
        options.penalty = _PENALTIES[self.penalty]
        options.criterion = _CRITERIA[criterion]
        options.positive = self.positive
        options.adaptive_restart = self.restart
        options.tol = self.tol
        options.max_iter = self.max_iter
        options.n_jobs = self.n_threads
        return options


def check_solver(solver: Any, device: str) -> None:
    """ValueError unless the device has this solver."""
    _check.one_of(solver, "solver", SOLVERS)
    if device == "cuda" and solver not in DEVICE_SOLVERS:
        names = ", ".join(map(repr, DEVICE_SOLVERS))
        raise ValueError(f"solver: device='cuda' has {names}, got {solver!r}")


def _on_host(x: Any, name: str) -> Any:
    return _device.to_host(_device.device_operand(x, name)) if is_device_array(x) else x


def warn_unconverged(info: EncodeInfo, tol: float) -> None:
    """ConvergenceWarning where a row's certificate missed `tol`."""
    from sklearn.exceptions import ConvergenceWarning

    missed = info.status == NOT_CONVERGED
    if missed.any():
        warnings.warn(
            f"{int(missed.sum())} of {missed.size} rows did not reach tol={tol:g}: the worst "
            f"{info.criterion} is {info.gap[missed].max():.2e} after {int(info.n_iter[missed].max())} "
            "iterations; raise max_iter or tol",
            ConvergenceWarning,
            stacklevel=3,
        )

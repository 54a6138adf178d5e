"""Conditional random fields on chains: labels of sequences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from .._base import AnswerLoss, Parameters
from .._check import FloatArray, float_array, thread_number
from ..inference.chains import (
    ChainSums,
    chain_best,
    chain_marginals,
    chain_offending,
    is_start,
    path_energies,
)
from ._crf import ConditionalRandomField, label_arrays
from ._learning import unchanged_by_errors
from ._structured_answers import StructuredAnswers


class ChainCRF(ConditionalRandomField):
    r"""Labels sequences by the path of least energy.

    .. math:: E(x, y) = a_{y_0} + \sum_t G_{y_t}(x_t) + \sum_t T_{y_t, y_{t+1}} + b_{y_{L-1}}

    with G linear or a network, and energies T, a, b of transitions, of first and of last labels. With the
    log-likelihood loss it is a linear-chain conditional random field, with the perceptron loss a structured
    perceptron.

    Parameters
    ----------
    hidden_layer_sizes : int or sequence of int, default=()
        Of G; none makes it linear.
    activation : {"tanh", "sigmoid", "relu", "softplus", "identity"}, default="tanh"
    loss : str or AnswerLoss, default="nll"
        As in `EnergyClassifier`, an answer being the labels of a whole sequence.
    margin, beta, l2, l1, optimizer, learning_rate, momentum, schedule, batch_size, max_iter, tol, \
allow_collapse, random_state, callback :
        As in `EnergyClassifier`; samples are sequences.
    n_jobs : int, default=None
        Threads of the sums over paths; the bits do not depend on their number.

    Attributes
    ----------
    network_ : Network
        G.
    transitions_ : ndarray of shape (n_classes, n_classes)
        T, from the label before (rows) to the next.
    start_, end_ : ndarray of shape (n_classes,)
    classes_ : ndarray of shape (n_classes,)
    loss_curve_ : ndarray
    n_iter_ : int
    n_features_in_ : int

    References
    ----------
    J. Lafferty, A. McCallum, F. Pereira, Conditional random fields, ICML 2001. M. Collins, Discriminative
    training methods for hidden Markov models, EMNLP 2002.

    Examples
    --------
    Labels that hardly ever change, seen through noise:

    >>> import numpy as np
    >>> from thalweg import ChainCRF
    >>> rng = np.random.default_rng(0)
    >>> y = [np.repeat(rng.integers(2, size=5), 8) for _ in range(30)]
    >>> X = [labels[:, None] + 0.5 * rng.normal(size=(40, 1)) for labels in y]
    >>> crf = ChainCRF(l2=1e-3, random_state=0).fit(X[:20], y[:20])
    >>> bool(crf.score(X[20:], y[20:]) > 0.85)
    True
    """

    _own = ("transitions", "start", "end")

    transitions_: FloatArray
    start_: FloatArray
    end_: FloatArray

    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] = (),
        *,
        activation: str = "tanh",
        loss: Any = "nll",
        margin: float = 1.0,
        beta: float = 1.0,
        l2: float = 0.0,
        l1: float = 0.0,
        optimizer: str = "lbfgs",
        learning_rate: float = 0.01,
        momentum: float = 0.9,
        schedule: str = "constant",
        batch_size: int = 20,
        max_iter: int = 1000,
        tol: float = 1e-5,
        allow_collapse: bool = False,
        random_state: Any = None,
        n_jobs: int | None = None,
        callback: Callable[[dict[str, Any]], Any] | None = None,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.loss = loss
        self.margin = margin
        self.beta = beta
        self.l2 = l2
        self.l1 = l1
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.schedule = schedule
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.tol = tol
        self.allow_collapse = allow_collapse
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.callback = callback

    def fit(self, X: Any, y: Any) -> ChainCRF:
        """Learns from sequences and their labels.

        Parameters
        ----------
        X : sequence of array-like, each of shape (length, n_features)
            All float32 are learnt in float32, otherwise in float64.
        y : sequence of array-like, each of shape (length,)
            Labels, two or more different ones in all.

        Returns
        -------
        self : ChainCRF

        Raises
        ------
        TypeError, ValueError
            Where X, y or a parameter is of the wrong kind, shape or range, or a loss would collapse.
        FloatingPointError
            Where the loss or a parameter leaves the finite numbers; the last good ones are kept.
        """
        self._check_learning_parameters()
        thread_number(self.n_jobs)
        with unchanged_by_errors(self):
            rows, starts = _joined(X, None, None)
            labels = _labels(y, starts)
            first = self._first_parameters(labels, rows.shape[1], rows.dtype)
            right = self._states(labels)
        self._learn(first, self._objective_on(rows, starts, right), len(starts) - 1)
        return self

    def _own_shapes(self, n_classes: int) -> dict[str, tuple[int, ...]]:
        return {"transitions": (n_classes, n_classes), "start": (n_classes,), "end": (n_classes,)}

    def _objective_on(self, X: FloatArray, starts: NDArray[np.int64], right: NDArray[np.int64]) -> Any:
        def objective(
            parameters: Parameters, rows: NDArray[np.int64], loss: AnswerLoss
        ) -> tuple[float, Parameters]:
            positions, own_starts = _gathered(starts, rows)
            network = self._network_of(parameters)
            output, tape = network.forward(X[positions])
            unary = _with_ends(output, own_starts, parameters["start"], parameters["end"])
            answers = ChainAnswers(
                unary, parameters["transitions"], own_starts, right[positions], self.n_jobs
            )
            values, of_unary, of_steps = answers.loss_and_gradient(loss)
            of_unary = of_unary.astype(unary.dtype, copy=False)
            gradients, _ = network.pullback(tape, of_unary)
            gradients = gradients | {
                "transitions": of_steps,
                "start": of_unary[own_starts[:-1]].sum(axis=0),
                "end": of_unary[own_starts[1:] - 1].sum(axis=0),
            }
            return float(values.sum()), gradients

        return objective

    # --- questions about y

    def predict(self, X: Any) -> list[NDArray[Any]]:
        """The labels of least energy of every sequence, each of shape (length,)."""
        unary, starts = self._unary(X)
        states, _ = chain_best(unary, self.transitions_, starts, n_jobs=self.n_jobs)
        return np.split(self.classes_[states], starts[1:-1])

    def predict_marginals(self, X: Any, beta: float | None = None) -> list[FloatArray]:
        """P(y_t | x) at every position, each of shape (length, n_classes)."""
        unary, starts = self._unary(X)
        beta = self._finite_beta(beta)
        sums = chain_marginals(unary, self.transitions_, starts, beta=beta, n_jobs=self.n_jobs)
        return np.split(sums.marginals, starts[1:-1])

    def energies(self, X: Any, y: Any) -> NDArray[np.float64]:
        """E(x, y) of every sequence with its labels, shape (n_sequences,)."""
        unary, starts = self._unary(X)
        states = self._states(_labels(y, starts))
        return path_energies(unary, self.transitions_, starts, states)

    def _free_energies(self, X: Any, beta: float) -> NDArray[np.float64]:
        unary, starts = self._unary(X)
        return chain_marginals(unary, self.transitions_, starts, beta=beta, n_jobs=self.n_jobs).free_energy

    def score(self, X: Any, y: Any) -> float:
        """The share of labels that are predicted right."""
        predicted = np.concatenate(self.predict(X))
        _, starts = _joined(X, self.n_features_in_, self.transitions_.dtype)
        return float((predicted == _labels(y, starts)).mean())

    # --- doors

    def _unary(self, X: Any) -> tuple[FloatArray, NDArray[np.int64]]:
        check_is_fitted(self, "network_")
        rows, starts = _joined(X, self.n_features_in_, self.transitions_.dtype)
        return _with_ends(self.network_.forward(rows)[0], starts, self.start_, self.end_), starts


class ChainAnswers(StructuredAnswers):
    """The labellings of a batch of chains as answers to a loss."""

    def __init__(
        self,
        unary: FloatArray,
        steps: FloatArray,
        starts: NDArray[np.int64],
        right: NDArray[np.int64],
        n_jobs: int | None,
    ) -> None:
        self._unary, self._steps, self._starts, self._right = unary, steps, starts, right
        self._n_jobs = n_jobs
        self._lengths = np.diff(starts)

    def energy(self) -> NDArray[np.float64]:
        return path_energies(self._unary, self._steps, self._starts, self._right)

    def offending(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        return chain_offending(self._unary, self._steps, self._starts, self._right, n_jobs=self._n_jobs)

    def free_energy(self, beta: float) -> NDArray[np.float64]:
        return self._sums(beta, None).free_energy

    def expected(
        self, beta: float, weight: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        sums = self._sums(beta, weight)
        return np.repeat(weight, self._lengths)[:, None] * sums.marginals, sums.pairs

    def counted(
        self, states: NDArray[np.int64] | None, weight: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        states = self._right if states is None else states
        of_positions = np.repeat(weight, self._lengths)
        of_unary = np.zeros(self._unary.shape)
        of_unary[np.arange(len(states)), states] = of_positions
        arrivals = np.flatnonzero(~is_start(self._starts, len(states)))
        of_steps = np.zeros(self._steps.shape)
        np.add.at(of_steps, (states[arrivals - 1], states[arrivals]), of_positions[arrivals])
        return of_unary, of_steps

    def _sums(self, beta: float, weights: NDArray[np.float64] | None) -> ChainSums:
        return chain_marginals(
            self._unary, self._steps, self._starts, beta=beta, weights=weights, n_jobs=self._n_jobs
        )


def _with_ends(
    output: FloatArray, starts: NDArray[np.int64], start: FloatArray, end: FloatArray
) -> FloatArray:
    unary: FloatArray = output.copy()
    unary[starts[:-1]] += start
    unary[starts[1:] - 1] += end
    return unary


def _gathered(
    starts: NDArray[np.int64], rows: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The positions of these sequences, and where each begins among them."""
    lengths = starts[rows + 1] - starts[rows]
    own = np.concatenate([[0], np.cumsum(lengths)])
    positions = np.arange(own[-1]) + np.repeat(starts[rows] - own[:-1], lengths)
    return positions, own


def _joined(X: Any, n_features: int | None, dtype: Any) -> tuple[FloatArray, NDArray[np.int64]]:
    """The positions of all sequences as rows of one table, and where each begins."""
    if isinstance(X, np.ndarray) and X.ndim == 2:
        raise ValueError(
            f"X: expected a list of sequences, each of shape (length, n_features), got {X.shape}"
        )
    if not isinstance(X, list | tuple | np.ndarray) or len(X) == 0:
        raise ValueError("X: expected a list of one sequence or more, each of shape (length, n_features)")
    tables = [float_array(x, f"X[{i}]", ndim=2) for i, x in enumerate(X)]
    expected = tables[0].shape[1] if n_features is None else n_features
    for i, table in enumerate(tables):
        if len(table) == 0 or table.shape[1] != expected or expected == 0:
            raise ValueError(f"X[{i}]: expected shape (length, {expected}), not empty, got {table.shape}")
    if dtype is None:
        dtype = np.float32 if all(t.dtype == np.float32 for t in tables) else np.float64
    starts = np.concatenate([[0], np.cumsum([len(t) for t in tables])]).astype(np.int64)
    return np.concatenate(tables).astype(dtype, copy=False), starts


def _labels(y: Any, starts: NDArray[np.int64]) -> NDArray[Any]:
    """The labels of all sequences, one after another."""
    return np.concatenate(label_arrays(y, [(int(length),) for length in np.diff(starts)]))

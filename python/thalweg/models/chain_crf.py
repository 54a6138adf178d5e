"""Conditional random fields on chains: labels of sequences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from .._base import AnswerLoss, Network, Parameters
from .._check import FloatArray, float_array, one_of, seed_number, thread_number
from ..energies import DenseNetwork
from ..inference.chains import (
    ChainSums,
    chain_best,
    chain_marginals,
    chain_offending,
    is_start,
    path_energies,
)
from ..inference.continuous import minimise_continuous
from ..inference.free_energy import free_energy
from ._energy_learning import EnergyLearner, loss_name, require_no_collapse
from ._learning import unchanged_by_errors
from ._structured_answers import StructuredAnswers

_OWN = ("transitions", "start", "end")  # parameters beside the network's


class ChainCRF(EnergyLearner):
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

    network_: Network
    transitions_: FloatArray
    start_: FloatArray
    end_: FloatArray
    classes_: NDArray[Any]
    n_features_in_: int

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
            classes, right = np.unique(labels, return_inverse=True)
            if len(classes) < 2:
                raise ValueError(f"y: expected two labels or more, got one only: {classes[0]!r}")
            require_no_collapse(self._make_loss(), "unbounded", loss_name(self.loss), self.allow_collapse)
            network = DenseNetwork.random(
                rows.shape[1],
                self.hidden_layer_sizes,
                len(classes),
                self.activation,
                seed_number(self.random_state),
                rows.dtype,
            )
            first = {name: p.copy() for name, p in network.parameters.items()}
            first |= {
                "transitions": np.zeros((len(classes), len(classes)), rows.dtype),
                "start": np.zeros(len(classes), rows.dtype),
                "end": np.zeros(len(classes), rows.dtype),
            }
            self.__dict__.update(classes_=classes, network_=network, n_features_in_=rows.shape[1])
            self._take(first)
        self._learn(first, self._objective_on(rows, starts, right.astype(np.int64)), len(starts) - 1)
        return self

    def _take(self, parameters: Parameters) -> None:
        own = {f"{name}_": parameters[name] for name in _OWN}
        network = self.network_.with_parameters({k: p for k, p in parameters.items() if k not in _OWN})
        self.__dict__.update(network_=network, **own)

    def _objective_on(self, X: FloatArray, starts: NDArray[np.int64], right: NDArray[np.int64]) -> Any:
        def objective(
            parameters: Parameters, rows: NDArray[np.int64], loss: AnswerLoss
        ) -> tuple[float, Parameters]:
            positions, own_starts = _gathered(starts, rows)
            network = self.network_.with_parameters({k: p for k, p in parameters.items() if k not in _OWN})
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
        beta = self.beta if beta is None else beta
        sums = chain_marginals(unary, self.transitions_, starts, beta=beta, n_jobs=self.n_jobs)
        return np.split(sums.marginals, starts[1:-1])

    def energies(self, X: Any, y: Any) -> NDArray[np.float64]:
        """E(x, y) of every sequence with its labels, shape (n_sequences,)."""
        unary, starts = self._unary(X)
        states = self._states(_labels(y, starts))
        return path_energies(unary, self.transitions_, starts, states)

    def log_likelihood(self, X: Any, y: Any, beta: float | None = None) -> NDArray[np.float64]:
        """log P(y | x) of every sequence with its labels, shape (n_sequences,)."""
        unary, starts = self._unary(X)
        beta = self.beta if beta is None else beta
        own = path_energies(unary, self.transitions_, starts, self._states(_labels(y, starts)))
        sums = chain_marginals(unary, self.transitions_, starts, beta=beta, n_jobs=self.n_jobs)
        difference: NDArray[np.float64] = beta * (sums.free_energy - own)
        return difference

    def rank(self, x: Any, candidates: Any) -> NDArray[np.int64]:
        """Numbers of candidate labellings of one sequence, from the least energy to the greatest."""
        ranked: NDArray[np.int64] = np.argsort(
            self.energies([x] * len(candidates), candidates), kind="stable"
        )
        return ranked

    def predict_proba(self, x: Any, candidates: Any, beta: float | None = None) -> NDArray[np.float64]:
        """P(y | x) of candidate labellings of one sequence, among all labellings, (n_candidates,)."""
        return np.exp(self.log_likelihood([x] * len(candidates), candidates, beta))

    # --- questions about x

    def rank_inputs(self, X: Any, y: Any) -> NDArray[np.int64]:
        """Numbers of sequences of one length, from that to which the labels `y` fit best on."""
        ranked: NDArray[np.int64] = np.argsort(self.energies(X, [y] * len(X)), kind="stable")
        return ranked

    def input_distribution(self, X: Any, y: Any, beta: float | None = None) -> NDArray[np.float64]:
        """P(x | y) over candidate sequences of one length, proportional to exp(-beta E), (n_sequences,)."""
        return free_energy(self.energies(X, [y] * len(X)), self.beta if beta is None else beta)[1]

    def best_input(self, y: Any, bounds: tuple[Any, Any], *, n_restarts: int = 4) -> NDArray[np.float64]:
        """The sequence of least energy for the labels `y` within bounds, shape (length, n_features).

        Positions do not interact in x: that of a label is the best for it wherever it stands.
        """
        check_is_fitted(self, "network_")
        labels = np.asarray(y)
        states = self._states(labels)
        present = np.unique(states)
        low, high = (np.broadcast_to(np.asarray(b, np.float64), (self.n_features_in_,)) for b in bounds)

        def of_inputs(x: NDArray[np.float64], rows: NDArray[np.int64]) -> tuple[FloatArray, FloatArray]:
            output, tape = self.network_.forward(x.astype(self.transitions_.dtype))
            gradient = np.zeros_like(output)
            gradient[np.arange(len(rows)), present[rows]] = 1
            value = output[np.arange(len(rows)), present[rows]]
            return value, self.network_.pullback(tape, gradient, inputs=True)[1]  # type: ignore[return-value]

        start = np.repeat(0.5 * (low + high)[None], len(present), axis=0)
        best = minimise_continuous(of_inputs, start, bounds=bounds, n_restarts=n_restarts).x
        return best[np.searchsorted(present, states)]

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

    def _states(self, labels: NDArray[Any]) -> NDArray[np.int64]:
        places = np.minimum(np.searchsorted(self.classes_, labels), len(self.classes_) - 1)
        unseen = self.classes_[places] != labels
        if unseen.any():
            raise ValueError(
                f"y: the label {labels[unseen][:1].tolist()[0]!r} was not among those learnt from"
            )
        return places.astype(np.int64)

    # --- files

    def _get_state(self) -> tuple[dict[str, Any], dict[str, Any]]:
        check_is_fitted(self, "network_")
        tensors = dict(self.network_.parameters) | {name: getattr(self, f"{name}_") for name in _OWN}
        tensors["loss_curve"] = self.loss_curve_
        values: dict[str, Any] = {"n_iter": self.n_iter_, "n_features_in": self.n_features_in_}
        if self.classes_.dtype.kind in "UO":
            return tensors, values | {"classes": [str(c) for c in self.classes_]}
        return tensors | {"classes": self.classes_}, values

    def _set_state(self, tensors: dict[str, Any], values: dict[str, Any]) -> None:
        parameters = {k: np.array(t) for k, t in tensors.items() if k not in ("classes", "loss_curve")}
        classes = np.array(values["classes"]) if "classes" in values else np.array(tensors["classes"])
        sizes, dtype = self.hidden_layer_sizes, parameters["transitions"].dtype
        network = DenseNetwork.random(values["n_features_in"], sizes, len(classes), self.activation, 0, dtype)
        given = {k: p.shape for k, p in parameters.items() if k not in _OWN}
        if given != {k: p.shape for k, p in network.parameters.items()}:
            raise ValueError("the parameters of the state do not belong to this network")
        self.__dict__.update(
            classes_=classes,
            network_=network,
            n_iter_=values["n_iter"],
            n_features_in_=values["n_features_in"],
            loss_curve_=np.array(tensors["loss_curve"]),
        )
        self._take(parameters)


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
    if len(y) != len(starts) - 1:
        raise ValueError(f"y: expected {len(starts) - 1} sequences of labels as X has, got {len(y)}")
    given = [np.asarray(labels) for labels in y]
    for i, labels in enumerate(given):
        if labels.shape != (starts[i + 1] - starts[i],):
            raise ValueError(f"y[{i}]: expected {starts[i + 1] - starts[i]} labels, got shape {labels.shape}")
    joined = np.concatenate(given)
    one_of(joined.dtype.kind in "biufUO", "y: labels are numbers or strings", (True,))
    return joined

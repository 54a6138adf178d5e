"""Which of several candidates belongs to an input: a matcher of two sides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from .._base import AnswerLoss, Parameters
from .._check import FloatArray, one_of, seed_number, whole_number
from ..energies import DenseNetwork, MatcherEnergy
from ..energies.distances import DISTANCES
from ..inference.free_energy import free_energy
from ._energy_learning import EnergyLearner, loss_name, require_no_collapse
from ._inputs import InputQuestions, best_inputs
from ._learning import unchanged_by_errors


class EnergyMatcher(InputQuestions, EnergyLearner):
    r"""Learns an energy D(G_y(y), G_x(x)) that is low for pairs which belong together.

    For every x of a batch its own y is the right answer and those of the other rows are incorrect ones, but
    for rows of the same label.

    Parameters
    ----------
    n_components : int, default=16
        Outputs of the networks.
    shared : bool, default=True
        Whether one network takes both sides, which then have the same features.
    hidden_layer_sizes : int or sequence of int, default=(100,)
    activation : {"tanh", "sigmoid", "relu", "softplus", "identity"}, default="tanh"
    distance : {"squared", "absolute", "huber", "cosine"}, default="squared"
    loss : str or AnswerLoss, default="nll"
        As in `EnergyClassifier`; "energy", "perceptron" and "lvq2" are refused: all energies would become
        equal.
    margin, beta : float, default=1.0
        As in `EnergyClassifier`.
    l2, l1, optimizer, learning_rate, momentum, schedule, batch_size, max_iter, tol, allow_collapse, \
random_state, callback :
        As in `EnergyClassifier`; "lbfgs" takes batches too, always the same ones.

    Attributes
    ----------
    energy_ : MatcherEnergy
    candidates_ : ndarray
        The y of `fit`, which `predict` takes candidates from unless it is given others.
    loss_curve_ : ndarray
    n_iter_ : int
    n_features_in_ : int

    References
    ----------
    J. Bromley, I. Guyon, Y. LeCun, E. Saeckinger, R. Shah, Signature verification using a Siamese time delay
    neural network, NIPS 1993. S. Chopra, R. Hadsell, Y. LeCun, Learning a similarity metric discriminatively,
    CVPR 2005.

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg import EnergyMatcher
    >>> X = np.random.default_rng(0).normal(size=(200, 3))
    >>> matcher = EnergyMatcher(2, shared=False, max_iter=30, tol=0.0, random_state=0).fit(X, -X[:, ::-1])
    >>> bool(matcher.score(X[:20], -X[:20, ::-1]) > 0.8)
    True
    """

    energy_: MatcherEnergy
    candidates_: FloatArray

    def __init__(
        self,
        n_components: int = 16,
        *,
        shared: bool = True,
        hidden_layer_sizes: int | Sequence[int] = (100,),
        activation: str = "tanh",
        distance: str = "squared",
        loss: Any = "nll",
        margin: float = 1.0,
        beta: float = 1.0,
        l2: float = 0.0,
        l1: float = 0.0,
        optimizer: str = "adam",
        learning_rate: float = 1e-3,
        momentum: float = 0.9,
        schedule: str = "constant",
        batch_size: int = 100,
        max_iter: int = 100,
        tol: float = 1e-4,
        allow_collapse: bool = False,
        random_state: Any = None,
        callback: Callable[[dict[str, Any]], Any] | None = None,
    ) -> None:
        self.n_components = n_components
        self.shared = shared
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.distance = distance
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
        self.callback = callback

    def fit(self, X: Any, y: Any, labels: Any = None) -> EnergyMatcher:
        """Learns from pairs that belong together.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            float32 is learnt in float32, every other real kind in float64.
        y : array-like of shape (n_samples, n_answer_features)
            Row i belongs to row i of X.
        labels : array-like of shape (n_samples,), default=None
            Rows of equal labels belong to each other too; None for none.

        Returns
        -------
        self : EnergyMatcher

        Raises
        ------
        TypeError, ValueError
            Where an argument or a parameter is of the wrong kind, shape or range, or a loss would collapse.
        FloatingPointError
            Where the loss or a parameter leaves the finite numbers; the last good ones are kept.
        """
        self._check_parameters()
        with unchanged_by_errors(self):
            X = validate_data(self, X, dtype=[np.float64, np.float32], order="C", ensure_min_samples=2)
            Y = self._answers(y, X.dtype)
            if len(Y) != len(X):
                raise ValueError(f"y: expected {len(X)} rows as X has, got {len(Y)}")
            groups = self._groups(labels, len(X))
            if groups.min() == groups.max():
                raise ValueError("labels: expected two different ones or more, got one only")
            energy = self._first_energy(X.shape[1], Y.shape[1], X.dtype)
            require_no_collapse(
                self._make_loss(), energy.answer_side, loss_name(self.loss), self.allow_collapse
            )
            self.__dict__.update(energy_=energy, candidates_=Y)
        first = {name: p.copy() for name, p in energy.parameters.items()}
        self._learn(first, self._objective_on(X, Y, groups), len(X))
        return self

    def _check_parameters(self) -> None:
        self._check_learning_parameters()
        whole_number(self.n_components, "n_components", minimum=1)
        whole_number(self.batch_size, "batch_size", minimum=2)
        one_of(self.shared, "shared", (False, True))
        one_of(self.distance, "distance", tuple(DISTANCES))

    def _answers(self, y: Any, dtype: Any, name: str = "y") -> FloatArray:
        checked: FloatArray = check_array(y, dtype=dtype, order="C", input_name=name)
        return checked

    @staticmethod
    def _groups(labels: Any, n: int) -> NDArray[np.int64]:
        if labels is None:
            return np.arange(n)
        given = np.asarray(labels)
        if given.shape != (n,):
            raise ValueError(f"labels: expected shape ({n},), one a row, got {given.shape}")
        return np.unique(given, return_inverse=True)[1].astype(np.int64)

    def _first_energy(self, n_features: int, n_answer_features: int, dtype: Any) -> MatcherEnergy:
        if self.shared and n_features != n_answer_features:
            raise ValueError(
                f"y: with shared=True expected {n_features} features as X has, got {n_answer_features}"
            )
        seed = seed_number(self.random_state)
        widths = [n_features] if self.shared else [n_features, n_answer_features]
        networks = [
            DenseNetwork.random(
                width, self.hidden_layer_sizes, self.n_components, self.activation, seed + i, dtype
            )
            for i, width in enumerate(widths)
        ]
        return MatcherEnergy(*networks, distance=DISTANCES[self.distance]())

    def _block_rows(self) -> int:
        return self.batch_size

    def _objective_on(self, X: FloatArray, Y: FloatArray, groups: NDArray[np.int64]) -> Any:
        def objective(
            parameters: Parameters, rows: NDArray[np.int64], loss: AnswerLoss
        ) -> tuple[float, Parameters]:
            energy = self.energy_.with_parameters(parameters)
            table, tape = energy.cross(X[rows], Y[rows])
            own = groups[rows]
            belongs = own[:, None] == own
            np.fill_diagonal(belongs, False)
            values, gradient = loss.value_and_gradient(np.where(belongs, np.inf, table), np.arange(len(rows)))
            gradients: Parameters = energy.pull_cross(tape, gradient, ("parameters",))["parameters"]
            return float(values.sum(dtype=np.float64)), gradients

        return objective

    def _take(self, parameters: Parameters) -> None:
        self.__dict__["energy_"] = self.energy_.with_parameters(parameters)

    def energies(self, X: Any, candidates: Any = None) -> FloatArray:
        """E(x, y) of every sample with every candidate, shape (n_samples, n_candidates).

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        candidates : array-like of shape (n_candidates, n_answer_features), default=None
            None for those of `fit`.
        """
        check_is_fitted(self, "energy_")
        dtype = self.candidates_.dtype
        X = validate_data(self, X, dtype=[np.float64, np.float32], order="C", reset=False)
        Y = self.candidates_ if candidates is None else self._answers(candidates, dtype, "candidates")
        if Y.shape[1] != self.candidates_.shape[1]:
            raise ValueError(
                f"candidates: expected {self.candidates_.shape[1]} features, got shape {Y.shape}"
            )
        X = X.astype(dtype, copy=False)
        step = max(1, _CELLS // (len(Y) * self.n_components))
        blocks = [self.energy_.cross(X[i : i + step], Y)[0] for i in range(0, len(X), step)]
        return np.concatenate(blocks)

    def predict(self, X: Any, candidates: Any = None) -> NDArray[np.int64]:
        """The number of the candidate of least energy for every sample, shape (n_samples,)."""
        best: NDArray[np.int64] = self.energies(X, candidates).argmin(axis=1)
        return best

    def rank(self, X: Any, candidates: Any = None) -> NDArray[np.int64]:
        """Numbers of the candidates from the least energy to the greatest, (n_samples, n_candidates)."""
        ranked: NDArray[np.int64] = np.argsort(self.energies(X, candidates), axis=1, kind="stable")
        return ranked

    def predict_proba(self, X: Any, candidates: Any = None, beta: float | None = None) -> FloatArray:
        """P(y | x) over the candidates, proportional to exp(-beta E), (n_samples, n_candidates)."""
        return free_energy(self.energies(X, candidates), self.beta if beta is None else beta)[1]

    # --- questions about x

    def rank_inputs(self, X: Any, y: Any) -> NDArray[np.int64]:
        """Numbers of the samples, from that to which the one answer `y` belongs most on."""
        ranked: NDArray[np.int64] = np.argsort(self._energies_with(X, y), kind="stable")
        return ranked

    def input_distribution(self, X: Any, y: Any, beta: float | None = None) -> NDArray[np.float64]:
        """P(x | y) over the candidates X, proportional to exp(-beta E(x, y)), shape (n_samples,)."""
        energies = self._energies_with(X, y).astype(np.float64)
        return free_energy(energies, self.beta if beta is None else beta)[1]

    def best_input(
        self, y: Any, bounds: Any, *, n_restarts: int = 4, max_iter: int = 200
    ) -> NDArray[np.float64]:
        """The input of least energy for the one answer `y`, within bounds.

        Parameters
        ----------
        y : array-like of shape (n_answer_features,)
        bounds : tuple of array_like
            Least and greatest value of every feature.
        n_restarts : int, default=4
            Starts at random besides the middle of the box.
        max_iter : int, default=200

        Returns
        -------
        ndarray of shape (n_features,)
        """
        shape = (1, self._n_features())
        found: NDArray[np.float64] = best_inputs(
            self._energy_of_inputs(y), shape, bounds, n_restarts=n_restarts, max_iter=max_iter
        )[0]
        return found

    def _energy_of_inputs(self, y: Any) -> Any:
        Y = self._one_answer(y)

        def energy(x: NDArray[np.float64], rows: NDArray[np.int64]) -> tuple[FloatArray, FloatArray]:
            value, tape = self.energy_.value(x.astype(Y.dtype), np.repeat(Y, len(x), axis=0))
            return value, self.energy_.pullback(tape, np.ones_like(value), ("inputs",))["inputs"]

        return energy

    def _energies_with(self, X: Any, y: Any) -> FloatArray:
        return self.energies(X, self._one_answer(y))[:, 0]

    def _one_answer(self, y: Any) -> FloatArray:
        check_is_fitted(self, "energy_")
        answer, expected = np.asarray(y), (self.candidates_.shape[1],)
        if answer.shape != expected:
            raise ValueError(f"y: expected one answer of shape {expected}, got shape {answer.shape}")
        return self._answers(answer[None], self.candidates_.dtype)

    def score(self, X: Any, y: Any, labels: Any = None) -> float:
        """The share of samples whose best candidate among the rows of `y` belongs to them."""
        best = self.predict(X, y)
        groups = self._groups(labels, len(best))
        if len(np.asarray(y)) != len(groups):
            raise ValueError(f"y: expected {len(groups)} rows as X has, got {len(np.asarray(y))}")
        return float((groups[best] == groups).mean())

    def _get_state(self) -> tuple[dict[str, Any], dict[str, Any]]:
        check_is_fitted(self, "energy_")
        tensors = dict(self.energy_.parameters)
        tensors |= {"loss_curve": self.loss_curve_, "candidates": self.candidates_}
        return tensors, {"n_iter": self.n_iter_, "n_features_in": self.n_features_in_}

    def _set_state(self, tensors: dict[str, Any], values: dict[str, Any]) -> None:
        parameters = {k: np.array(t) for k, t in tensors.items() if k not in ("candidates", "loss_curve")}
        candidates = np.array(tensors["candidates"])
        energy = self._first_energy(values["n_features_in"], candidates.shape[1], candidates.dtype)
        if {k: p.shape for k, p in energy.parameters.items()} != {k: p.shape for k, p in parameters.items()}:
            raise ValueError("the parameters of the state do not belong to this energy")
        self.__dict__.update(
            energy_=energy.with_parameters(parameters),
            candidates_=candidates,
            n_iter_=values["n_iter"],
            n_features_in_=values["n_features_in"],
            loss_curve_=np.array(tensors["loss_curve"]),
        )


_CELLS = 2**22  # numbers of a block of differences

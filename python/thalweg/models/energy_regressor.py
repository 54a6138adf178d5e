"""Regression by the continuous answer of least energy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import RegressorMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from .._base import AnswerLoss, PairEnergy, Parameters
from .._check import FloatArray, float_array, one_of, real_number, seed_number
from ..energies import DenseNetwork, RegressorEnergy
from ..energies.distances import DISTANCES
from ..inference.continuous import Minima, minimise_continuous
from ..inference.free_energy import free_energy
from ._energy_learning import EnergyLearner, loss_name, require_members, require_no_collapse
from ._inputs import InputQuestions, best_inputs
from ._learning import unchanged_by_errors

ENERGIES = ("linear", "dense")
_MEMBERS = ("parameters", "answer_side", "gradients", "n_latents", "value", "pullback", "with_parameters")


class EnergyRegressor(RegressorMixin, InputQuestions, EnergyLearner):  # type: ignore[misc]
    r"""A regressor that answers with the vector of least energy.

    .. math:: \hat y(x) = \arg\min_y \min_z E(x, y, z; W)

    For E = D(y, G(x)) that is G(x), and the energy loss is enough: with the squared distance and a linear G
    it is least squares.

    Parameters
    ----------
    energy : {"linear", "dense"}, PairEnergy or callable, default="linear"
        D(y, G(x)) with G linear, or a network with hidden layers. Or an energy of one's own, whose parameters
        learning begins with, or a function that makes one from (n_features, n_outputs, dtype, seed).
    hidden_layer_sizes : int or sequence of int, default=(100,)
        Of "dense".
    activation : {"tanh", "sigmoid", "relu", "softplus", "identity"}, default="tanh"
    fit_intercept : bool, default=True
        Whether layers have biases.
    distance : {"squared", "absolute", "huber", "cosine"}, default="squared"
        D.
    loss : str or AnswerLoss, default="energy"
        As in `EnergyClassifier`, of the right answer's energy and the most offending incorrect one's; those
        that see all answers ("nll", "mee") need `candidates`.
    radius : float, default=0.1
        An answer counts as incorrect from this Euclidean distance to the right one on, in units of y.
    candidates : array-like of shape (n_candidates,) or (n_candidates, n_outputs), default=None
        The incorrect answers that a loss sees, a grid say; among them `predict` searches where the energy
        has no closed form. None leaves that to the energy's `most_offending`, and to gradients.
    margin, beta : float, default=1.0
        As in `EnergyClassifier`.
    l2, l1, optimizer, learning_rate, momentum, schedule, batch_size, max_iter, tol, allow_collapse, \
random_state, callback :
        As in `EnergyClassifier`.

    Attributes
    ----------
    energy_ : PairEnergy
    loss_curve_ : ndarray
    n_iter_ : int
    n_features_in_ : int

    References
    ----------
    Y. LeCun, S. Chopra, R. Hadsell, M. Ranzato, F. Huang, A tutorial on energy-based learning, 2006.

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg import EnergyRegressor
    >>> X = np.array([[0.0], [1.0], [2.0], [3.0]])
    >>> regressor = EnergyRegressor(random_state=0).fit(X, 2 * X.ravel() + 1)
    >>> regressor.predict([[10.0]]).round(3)
    array([21.])
    """

    energy_: PairEnergy
    _is_flat: bool  # y came as one number a sample
    _range: NDArray[np.float64]  # least and greatest answers seen

    def __init__(
        self,
        energy: Any = "linear",
        *,
        hidden_layer_sizes: int | Sequence[int] = (100,),
        activation: str = "tanh",
        fit_intercept: bool = True,
        distance: str = "squared",
        loss: Any = "energy",
        radius: float = 0.1,
        candidates: Any = None,
        margin: float = 1.0,
        beta: float = 1.0,
        l2: float = 0.0,
        l1: float = 0.0,
        optimizer: str = "lbfgs",
        learning_rate: float = 0.01,
        momentum: float = 0.9,
        schedule: str = "constant",
        batch_size: int = 100,
        max_iter: int = 1000,
        tol: float = 1e-5,
        allow_collapse: bool = False,
        random_state: Any = None,
        callback: Callable[[dict[str, Any]], Any] | None = None,
    ) -> None:
        self.energy = energy
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.fit_intercept = fit_intercept
        self.distance = distance
        self.loss = loss
        self.radius = radius
        self.candidates = candidates
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

    def fit(self, X: Any, y: Any) -> EnergyRegressor:
        """Learns from samples and their answers.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            float32 is learnt in float32, every other real kind in float64.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)

        Returns
        -------
        self : EnergyRegressor

        Raises
        ------
        TypeError, ValueError
            Where X, y or a parameter is of the wrong kind, shape or range, or a loss would collapse.
        FloatingPointError
            Where the loss or a parameter leaves the finite numbers; the last good ones are kept.
        """
        self._check_parameters()
        with unchanged_by_errors(self):
            X, y = validate_data(
                self, X, y, dtype=[np.float64, np.float32], order="C", multi_output=True, y_numeric=True
            )
            Y = float_array(y.reshape(len(y), -1), "y", dtype=X.dtype)
            energy = self._first_energy(X.shape[1], Y.shape[1], X.dtype)
            _require_pair_energy(energy, X[:1], Y[:1])
            loss = self._make_loss()
            self._require_fitting(loss, energy)
            grid = self._grid(Y)
            self.__dict__.update(
                energy_=energy,
                _is_flat=y.ndim == 1,
                _range=np.array([Y.min(axis=0), Y.max(axis=0)], np.float64),
            )
        first = {name: p.copy() for name, p in energy.parameters.items()}
        self._learn(
            first, self._objective_on(X, Y) if grid is None else self._objective_over(X, Y, grid), len(X)
        )
        return self

    def _check_parameters(self) -> None:
        self._check_learning_parameters()
        if isinstance(self.energy, str):
            one_of(self.energy, "energy", ENERGIES)
        one_of(self.fit_intercept, "fit_intercept", (False, True))
        one_of(self.distance, "distance", tuple(DISTANCES))
        real_number(self.radius, "radius", above=0.0)

    def _require_fitting(self, loss: AnswerLoss, energy: PairEnergy) -> None:
        name = loss_name(self.loss)
        is_finite = self.candidates is not None
        require_no_collapse(loss, energy.answer_side, name, self.allow_collapse, is_finite=is_finite)
        if self.candidates is not None:
            return
        if loss.needs == "all":
            raise ValueError(
                f"loss: {name} sums over all answers, which are continuous here: give `candidates`; or take "
                '"energy", as the normaliser of D(y, G(x)) does not depend on W'
            )
        elif loss.guarantee != "none" and not hasattr(energy, "most_offending"):
            raise ValueError(
                f"loss: {name} needs the most offending answer: give `candidates`, or the energy a "
                "`most_offending`"
            )

    def _grid(self, Y: FloatArray) -> FloatArray | None:
        """The candidates, as rows of the dtype of Y."""
        if self.candidates is None:
            return None
        grid = float_array(self.candidates, "candidates", dtype=Y.dtype)
        grid = grid[:, None] if grid.ndim == 1 else grid
        if grid.ndim != 2 or grid.shape[1] != Y.shape[1] or len(grid) == 0:
            raise ValueError(
                f"candidates: expected rows of {Y.shape[1]} outputs as y has, got shape {grid.shape}"
            )
        return grid

    def _first_energy(self, n_features: int, n_outputs: int, dtype: Any) -> PairEnergy:
        seed = seed_number(self.random_state)
        if not isinstance(self.energy, str):
            made = self.energy
            if callable(made) and not hasattr(made, "value"):
                made = made(n_features, n_outputs, dtype, seed)
            require_members(made, _MEMBERS, "PairEnergy")
            own: PairEnergy = made.with_parameters(
                {k: np.array(p, dtype) for k, p in made.parameters.items()}
            )
            return own
        sizes = () if self.energy == "linear" else self.hidden_layer_sizes
        network = DenseNetwork.random(n_features, sizes, n_outputs, self.activation, seed, dtype)
        if not self.fit_intercept:
            weights = [p for name, p in network.parameters.items() if name.startswith("weights")]
            network = DenseNetwork(weights, [None] * len(weights), network.activations)
        return RegressorEnergy(network, DISTANCES[self.distance]())

    def _objective_on(self, X: FloatArray, Y: FloatArray) -> Any:
        def objective(
            parameters: Parameters, rows: NDArray[np.int64], loss: AnswerLoss
        ) -> tuple[float, Parameters]:
            energy = self.energy_.with_parameters(parameters)
            x, y = X[rows], Y[rows]
            right, tape = energy.value(x, y, self._best_latents(energy, x, y))
            if loss.guarantee == "none":
                values, gradient = loss.value_and_gradient(right[:, None], _first(right))
                return float(values.sum(dtype=np.float64)), _pulled(energy, tape, gradient[:, 0], x.dtype)
            wrong = energy.most_offending(x, y, self.radius)  # type: ignore[attr-defined]
            offending, wrong_tape = energy.value(x, wrong, self._best_latents(energy, x, wrong))
            table = np.stack([right, offending], axis=1)
            values, gradient = loss.value_and_gradient(table, _first(right))
            gradients = _pulled(energy, tape, gradient[:, 0], x.dtype)
            pushed = _pulled(energy, wrong_tape, gradient[:, 1], x.dtype)
            total = {name: g + pushed[name] for name, g in gradients.items()}
            return float(values.sum(dtype=np.float64)), total

        return objective

    def _objective_over(self, X: FloatArray, Y: FloatArray, grid: FloatArray) -> Any:
        """Of the right answer in the first column, and of the candidates that are not within the radius."""

        def objective(
            parameters: Parameters, rows: NDArray[np.int64], loss: AnswerLoss
        ) -> tuple[float, Parameters]:
            energy = self.energy_.with_parameters(parameters)
            x, y = X[rows], Y[rows]
            right, tape = energy.value(x, y, self._best_latents(energy, x, y))
            each_x, each_y = np.repeat(x, len(grid), axis=0), np.tile(grid, (len(x), 1))
            flat, flat_tape = energy.value(each_x, each_y, self._best_latents(energy, each_x, each_y))
            table = flat.reshape(len(x), len(grid))
            is_near = np.linalg.norm(grid - y[:, None], axis=2) < self.radius
            joined = np.concatenate([right[:, None], np.where(is_near, np.inf, table)], axis=1)
            values, gradient = loss.value_and_gradient(joined, _first(right))
            pulled = _pulled(energy, tape, gradient[:, 0], x.dtype)
            pushed = _pulled(energy, flat_tape, gradient[:, 1:].ravel(), x.dtype)
            total = {name: g + pushed[name] for name, g in pulled.items()}
            return float(values.sum(dtype=np.float64)), total

        return objective

    def _best_latents(self, energy: PairEnergy, X: FloatArray, Y: FloatArray) -> FloatArray | None:
        """argmin_z E(x, y, z) of every row."""
        if not energy.n_latents:
            return None

        def of_latents(z: NDArray[np.float64], rows: NDArray[np.int64]) -> tuple[FloatArray, FloatArray]:
            value, tape = energy.value(X[rows], Y[rows], z.astype(X.dtype))
            return value, energy.pullback(tape, np.ones(len(rows), X.dtype), ("latents",))["latents"]

        start = np.zeros((len(X), energy.n_latents))
        found = minimise_continuous(of_latents, start, method="projected-gradient", max_iter=50, tol=1e-4)
        return found.x.astype(X.dtype)

    def _take(self, parameters: Parameters) -> None:
        self.__dict__["energy_"] = self.energy_.with_parameters(parameters)

    # --- questions about y

    def energies(self, X: Any, Y: Any) -> FloatArray:
        """E(x, y) of every sample with every candidate answer, minimised over z.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        Y : array-like of shape (n_candidates,) or (n_candidates, n_outputs)

        Returns
        -------
        ndarray of shape (n_samples, n_candidates)
        """
        X, candidates = self._inputs(X), self._answers(Y)
        columns = [self._energy_of(X, np.repeat(y[None], len(X), axis=0)) for y in candidates]
        return np.stack(columns, axis=1)

    def _energy_of(self, X: FloatArray, Y: FloatArray) -> FloatArray:
        return self.energy_.value(X, Y, self._best_latents(self.energy_, X, Y))[0]

    def predict(self, X: Any) -> FloatArray:
        """The answer of least energy of every sample, shape (n_samples,) or (n_samples, n_outputs)."""
        X = self._inputs(X)
        closed = getattr(self.energy_, "best_answer", None)
        grid = None if closed is not None else self._grid(self._range.astype(X.dtype))
        if closed is not None:
            answers = closed(X)
        elif grid is not None:
            answers = grid[self.energies(X, grid).argmin(axis=1)]
        else:
            answers = self._searched(X)
        best: FloatArray = answers[:, 0] if self._is_flat else answers
        return best

    def _searched(self, X: FloatArray) -> FloatArray:
        """argmin over y and z together, from the middle of the answers seen."""
        energy, n_outputs = self.energy_, self._range.shape[1]

        def joint(v: NDArray[np.float64], rows: NDArray[np.int64]) -> tuple[FloatArray, FloatArray]:
            y, z = v[:, :n_outputs].astype(X.dtype), v[:, n_outputs:].astype(X.dtype)
            value, tape = energy.value(X[rows], y, z if energy.n_latents else None)
            wrt = ("answers", "latents") if energy.n_latents else ("answers",)
            found = energy.pullback(tape, np.ones(len(rows), X.dtype), wrt)
            return value, np.concatenate([found[name] for name in wrt], axis=1)

        start = np.zeros((len(X), n_outputs + energy.n_latents))
        start[:, :n_outputs] = self._range.mean(axis=0)
        found: Minima = minimise_continuous(
            joint, start, method="projected-gradient", max_iter=500, n_restarts=2
        )
        return found.x[:, :n_outputs].astype(X.dtype)

    def rank(self, X: Any, Y: Any) -> NDArray[np.int64]:
        """Numbers of the candidates `Y` from the least energy to the greatest, (n_samples, n_candidates)."""
        ranked: NDArray[np.int64] = np.argsort(self.energies(X, Y), axis=1, kind="stable")
        return ranked

    def answer_distribution(self, X: Any, Y: Any, beta: float | None = None) -> FloatArray:
        """P(y | x) over the candidates `Y`, proportional to exp(-beta E), (n_samples, n_candidates)."""
        return free_energy(self.energies(X, Y), self.beta if beta is None else beta)[1]

    # --- questions about x

    def rank_inputs(self, X: Any, y: Any) -> NDArray[np.int64]:
        """Which samples fit the answer `y` best: their numbers, from the least energy to the greatest."""
        ranked: NDArray[np.int64] = np.argsort(self.energies(X, self._one(y))[:, 0], kind="stable")
        return ranked

    def best_input(
        self, y: Any, bounds: Any, *, start: Any = None, n_restarts: int = 4
    ) -> NDArray[np.float64]:
        """The input of least energy for the answer `y` within bounds, shape (n_features,)."""
        shape = (1, self._n_features())
        search = self._energy_of_inputs(y)
        found: NDArray[np.float64] = best_inputs(search, shape, bounds, start=start, n_restarts=n_restarts)[0]
        return found

    def _energy_of_inputs(self, y: Any) -> Any:
        answer, dtype = self._answers(self._one(y)), self._dtype()
        if "inputs" not in self.energy_.gradients:
            raise ValueError('energy: expected "inputs" among its gradients, where inputs are searched')

        def energy(x: NDArray[np.float64], rows: NDArray[np.int64]) -> tuple[FloatArray, FloatArray]:
            X, Y = x.astype(dtype), np.repeat(answer, len(rows), axis=0)
            value, tape = self.energy_.value(X, Y, self._best_latents(self.energy_, X, Y))
            return value, self.energy_.pullback(tape, np.ones(len(rows), dtype), ("inputs",))["inputs"]

        return energy

    def input_distribution(self, X: Any, y: Any, beta: float | None = None) -> NDArray[np.float64]:
        """P(x | y) over the candidates X, proportional to exp(-beta E(x, y)), shape (n_samples,)."""
        column = self.energies(X, self._one(y))[:, 0].astype(np.float64)
        return free_energy(column, self.beta if beta is None else beta)[1]

    # --- doors

    def _dtype(self) -> Any:
        return next(iter(self.energy_.parameters.values())).dtype

    def _inputs(self, X: Any) -> FloatArray:
        check_is_fitted(self, "energy_")
        checked: FloatArray = validate_data(
            self, X, dtype=[np.float64, np.float32], order="C", reset=False
        ).astype(self._dtype(), copy=False)
        return checked

    def _answers(self, Y: Any) -> FloatArray:
        check_is_fitted(self, "energy_")
        answers = np.asarray(Y, self._dtype())
        answers = answers[:, None] if answers.ndim == 1 else answers
        if answers.ndim != 2 or answers.shape[1] != self._range.shape[1] or len(answers) == 0:
            raise ValueError(
                f"Y: expected candidates of {self._range.shape[1]} outputs, got shape {np.shape(Y)}"
            )
        if not np.isfinite(answers).all():
            raise ValueError("Y: every element must be finite")
        return answers

    def _one(self, y: Any) -> NDArray[Any]:
        return np.asarray(y, np.float64).reshape(1, -1)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    # --- files

    def _get_state(self) -> tuple[dict[str, Any], dict[str, Any]]:
        check_is_fitted(self, "energy_")
        if not isinstance(self.energy, str):
            raise TypeError("energy: an energy of one's own cannot be saved; save its parameters instead")
        tensors = dict(self.energy_.parameters) | {"loss_curve": self.loss_curve_, "range": self._range}
        values = {"n_iter": self.n_iter_, "n_features_in": self.n_features_in_, "is_flat": self._is_flat}
        return tensors, values

    def _set_state(self, tensors: dict[str, Any], values: dict[str, Any]) -> None:
        parameters = {k: np.array(t) for k, t in tensors.items() if k not in ("range", "loss_curve")}
        dtype = next(iter(parameters.values())).dtype
        n_outputs = tensors["range"].shape[1]
        energy = self._first_energy(values["n_features_in"], n_outputs, dtype)
        if {k: p.shape for k, p in energy.parameters.items()} != {k: p.shape for k, p in parameters.items()}:
            raise ValueError("the parameters of the state do not belong to this energy")
        self.__dict__.update(
            energy_=energy.with_parameters(parameters),
            n_iter_=values["n_iter"],
            n_features_in_=values["n_features_in"],
            _is_flat=values["is_flat"],
            _range=np.array(tensors["range"]),
            loss_curve_=np.array(tensors["loss_curve"]),
        )


def _first(right: FloatArray) -> NDArray[np.int64]:
    """The right answer's column, the first one, of every row."""
    return np.zeros(len(right), np.int64)


def _pulled(energy: PairEnergy, tape: Any, weight: FloatArray, dtype: Any) -> Parameters:
    gradients: Parameters = energy.pullback(tape, weight.astype(dtype, copy=False), ("parameters",))[
        "parameters"
    ]
    return gradients


def _require_pair_energy(energy: Any, x: FloatArray, y: FloatArray) -> None:
    """TypeError or ValueError unless the energy keeps its protocol on one row."""
    one_of(energy.answer_side, "energy.answer_side", ("fixed", "learned", "unbounded"))
    z = np.zeros((1, energy.n_latents), x.dtype) if energy.n_latents else None
    value, tape = energy.value(x, y, z)
    if np.shape(value) != (1,):
        raise ValueError(f"energy: expected energies of shape (1,) for one row, got {np.shape(value)}")
    gradients = energy.pullback(tape, np.zeros(1, x.dtype), ("parameters",))["parameters"]
    for name, parameter in energy.parameters.items():
        if name not in gradients or gradients[name].shape != parameter.shape:
            raise ValueError(f"energy: `pullback` gave no gradient of shape {parameter.shape} for {name!r}")
    if energy.n_latents and "latents" not in energy.gradients:
        raise ValueError('energy: has a latent variable, and so expected "latents" among its gradients')
    if not hasattr(energy, "best_answer") and "answers" not in energy.gradients:
        raise ValueError('energy: expected "answers" among its gradients, or a `best_answer`')

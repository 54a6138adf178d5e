"""Classification by the answer of least energy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from .._base import AnswerEnergy, AnswerLoss, Parameters
from .._check import FloatArray, inverse_temperature, one_of, seed_number, whole_number
from ..energies import ClassifierEnergy, DenseNetwork, OutputCodeEnergy, PerceptronEnergy, SquaredDistance
from ..inference.free_energy import free_energy
from ._energy_learning import EnergyLearner, loss_name, require_members, require_no_collapse
from ._inputs import InputQuestions, best_inputs
from ._learning import unchanged_by_errors

ENERGIES = ("linear", "dense", "perceptron", "codes")
_MEMBERS = ("parameters", "n_answers", "answer_side", "energies", "pullback", "with_parameters")


class EnergyClassifier(ClassifierMixin, InputQuestions, EnergyLearner):  # type: ignore[misc]
    r"""A classifier that answers with the class of least energy.

    .. math:: \hat y(x) = \arg\min_y F(x, y), \qquad
              F(x, y) = -\tfrac1{\beta_z} \log \sum_z e^{-\beta_z E(x, y, z; W)}

    where F is E itself if there is no latent variable z. Learning lowers

    .. math:: \frac1n \sum_i L(F(x_i, \cdot), y_i) + \tfrac{l_2}{2} \lVert W \rVert^2 + l_1 \lVert W \rVert_1

    with the intercepts not penalised.

    Parameters
    ----------
    energy : {"linear", "dense", "perceptron", "codes"}, AnswerEnergy or callable, default="linear"
        "linear": E(x, k) = w_k'x + b_k. "dense": the outputs of a network with hidden layers.
        "perceptron": two classes, E = -1/2 y (w'x + b) with y = -1 for the first one and +1. "codes": the
        squared distance of a network's outputs to a fixed code for each class, 1 at its place and 0
        elsewhere. Or an energy of one's own, whose parameters learning begins with, or a function that makes
        one from (n_features, n_classes, dtype, seed).
    hidden_layer_sizes : int or sequence of int, default=(100,)
        Of "dense" and "codes".
    activation : {"tanh", "sigmoid", "relu", "softplus", "identity"}, default="tanh"
    fit_intercept : bool, default=True
        Whether layers have biases.
    loss : str or AnswerLoss, default="nll"
        "energy", "perceptron", "hinge", "log", "lvq2", "mce", "square_square", "square_exponential", "nll"
        (negative log-likelihood) or "mee"; see `thalweg.losses`. One that lets this architecture collapse is
        refused.
    margin : float, default=1.0
        Of "hinge" and "square_square"; the ceiling of "lvq2".
    beta : float, default=1.0
        Inverse temperature of the distribution over classes, in `predict_proba` and in "nll" and "mee".
    latent_beta : float, default=inf
        beta_z, that of the latent variable; infinity takes its best state.
    l2, l1 : float, default=0.0
        Weights of the penalties.
    optimizer : {"lbfgs", "sgd", "adam"}, default="lbfgs"
        "lbfgs" takes all samples at once; a hinge loss is approached by ever sharper smooth ones.
    learning_rate : float, default=0.1
        Of "sgd" and "adam".
    momentum : float, default=0.9
        Of "sgd", in [0, 1).
    schedule : {"constant", "linear", "inverse"}, default="constant"
        How the learning rate falls: not; to zero after max_iter passes; as 1 / (1 + passes).
    batch_size : int, default=100
    max_iter : int, default=1000
        Iterations of "lbfgs" (for each smooth loss), or passes.
    tol : float, default=1e-5
        "lbfgs" ends where no element of the gradient exceeds it; the others where ten passes have not lowered
        the loss by so much. 0 makes all passes.
    allow_collapse : bool, default=False
        Whether a loss may be used where all energies can become equal or fall without end.
    random_state : None, int, RandomState or Generator
    callback : callable, default=None
        Called after every iteration or pass with a dict of "n_iter", "loss" and "estimator".

    Attributes
    ----------
    energy_ : AnswerEnergy
    classes_ : ndarray of shape (n_classes,)
        The columns of all tables of energies.
    loss_curve_ : ndarray
        The objective after every iteration, or on the way through every pass.
    n_iter_ : int
    n_features_in_ : int

    References
    ----------
    Y. LeCun, S. Chopra, R. Hadsell, M. Ranzato, F. Huang, A tutorial on energy-based learning, 2006.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from thalweg import EnergyClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> classifier = EnergyClassifier(loss="hinge", l2=1e-3, random_state=0).fit(X, y)
    >>> bool(classifier.score(X, y) > 0.95)
    True
    >>> classifier.rank(X[:1])
    array([[0, 1, 2]])
    """

    energy_: AnswerEnergy
    classes_: NDArray[Any]

    def __init__(
        self,
        energy: Any = "linear",
        *,
        hidden_layer_sizes: int | Sequence[int] = (100,),
        activation: str = "tanh",
        fit_intercept: bool = True,
        loss: Any = "nll",
        margin: float = 1.0,
        beta: float = 1.0,
        latent_beta: float = inf,
        l2: float = 0.0,
        l1: float = 0.0,
        optimizer: str = "lbfgs",
        learning_rate: float = 0.1,
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
        self.loss = loss
        self.margin = margin
        self.beta = beta
        self.latent_beta = latent_beta
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

    def fit(self, X: Any, y: Any) -> EnergyClassifier:
        """Learns from samples and their classes.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            float32 is learnt in float32, every other real kind in float64.
        y : array-like of shape (n_samples,)
            Classes, two or more.

        Returns
        -------
        self : EnergyClassifier

        Raises
        ------
        TypeError, ValueError
            Where X, y or a parameter is of the wrong kind, shape or range, or a loss would collapse.
        FloatingPointError
            Where the loss or a parameter leaves the finite numbers; the last good ones are kept.
        """
        self._check_parameters()
        with unchanged_by_errors(self):
            X, y = validate_data(self, X, y, dtype=[np.float64, np.float32], order="C")
            check_classification_targets(y)
            classes, right = np.unique(y, return_inverse=True)
            if len(classes) < 2:
                raise ValueError(f"y: expected two classes or more, got one class only: {classes[0]!r}")
            energy = self._first_energy(X.shape[1], len(classes), X.dtype)
            _require_answer_energy(energy, X[:1], len(classes))
            loss = self._make_loss()
            require_no_collapse(
                loss, energy.answer_side, loss_name(self.loss), self.allow_collapse, is_finite=True
            )
            self.__dict__.update(classes_=classes, energy_=energy)
        self._learn(_copied(energy.parameters), self._objective_on(X, right), len(X))
        return self

    def _check_parameters(self) -> None:
        self._check_learning_parameters()
        if isinstance(self.energy, str):
            one_of(self.energy, "energy", ENERGIES)
        one_of(self.fit_intercept, "fit_intercept", (False, True))
        inverse_temperature(self.latent_beta, "latent_beta")

    def _first_energy(self, n_features: int, n_classes: int, dtype: Any) -> AnswerEnergy:
        seed = seed_number(self.random_state)
        if not isinstance(self.energy, str):
            made = self.energy
            if callable(made) and not hasattr(made, "energies"):
                made = made(n_features, n_classes, dtype, seed)
            require_members(made, _MEMBERS, "AnswerEnergy")
            parameters = {name: np.array(p, dtype) for name, p in made.parameters.items()}
            own: AnswerEnergy = made.with_parameters(parameters)
            return own
        if self.energy == "perceptron" and n_classes != 2:
            raise ValueError(f'y: expected two classes with energy="perceptron", got {n_classes} classes')
        # Random even where the energies are linear: where all are equal, some losses are at rest.
        network = DenseNetwork.random(
            n_features,
            self.hidden_layer_sizes if self.energy in ("dense", "codes") else (),
            1 if self.energy == "perceptron" else n_classes,
            self.activation,
            seed,
            dtype,
        )
        if not self.fit_intercept:
            weights = [p for name, p in network.parameters.items() if name.startswith("weights")]
            network = DenseNetwork(weights, [None] * len(weights), network.activations)
        if self.energy == "perceptron":
            return PerceptronEnergy(network, 0.5)
        if self.energy != "codes":
            return ClassifierEnergy(network)
        return OutputCodeEnergy(network, np.eye(n_classes, dtype=dtype), SquaredDistance())

    def _objective_on(self, X: FloatArray, right: NDArray[np.int64]) -> Any:
        def objective(
            parameters: Parameters, rows: NDArray[np.int64], loss: AnswerLoss
        ) -> tuple[float, Parameters]:
            energy = self.energy_.with_parameters(parameters)
            table, tape = energy.energies(X[rows])
            free, states = self._over_latents(table)
            values, of_free = loss.value_and_gradient(free, right[rows])
            gradient = of_free if states is None else of_free[..., None] * states
            return float(values.sum(dtype=np.float64)), energy.pullback(tape, gradient)[0]

        return objective

    def _over_latents(self, table: FloatArray) -> tuple[FloatArray, FloatArray | None]:
        """Free energies of the answers, and the distribution over latent states where there are any."""
        if table.ndim == 2:
            return table, None
        return free_energy(table, self.latent_beta)

    def _take(self, parameters: Parameters) -> None:
        self.__dict__["energy_"] = self.energy_.with_parameters(parameters)

    # --- questions about y

    def energies(self, X: Any) -> FloatArray:
        """F(x, y) of every class.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
        """
        check_is_fitted(self, "energy_")
        X = self._inputs(X)
        blocks = [
            self._over_latents(self.energy_.energies(X[i : i + 4096])[0])[0] for i in range(0, len(X), 4096)
        ]
        found = np.concatenate(blocks)
        forbidden = np.isposinf(found).all(axis=1)
        if forbidden.any():
            raise ValueError(f"X: row {int(forbidden.argmax())}: every class is forbidden: all are +inf")
        return found

    def predict(self, X: Any) -> NDArray[Any]:
        """The class of least energy of every sample, shape (n_samples,)."""
        columns = self.energies(X).argmin(axis=1)
        best: NDArray[Any] = self.classes_[columns]
        return best

    def rank(self, X: Any) -> NDArray[Any]:
        """The classes of every sample from the least energy to the greatest, shape (n_samples, n_classes)."""
        order = np.argsort(self.energies(X), axis=1, kind="stable")
        ranked: NDArray[Any] = self.classes_[order]
        return ranked

    def decision_function(self, X: Any) -> FloatArray:
        """Minus the energies, (n_samples, n_classes); of two classes E(first) - E(second), (n_samples,)."""
        energies = self.energies(X)
        return energies[:, 0] - energies[:, 1] if energies.shape[1] == 2 else -energies

    def predict_proba(self, X: Any, beta: float | None = None) -> FloatArray:
        """The Gibbs distribution over classes, P(y | x) proportional to exp(-beta F(x, y)).

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        beta : float, default=None
            Inverse temperature; None takes the estimator's.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
        """
        return free_energy(self.energies(X), self.beta if beta is None else beta)[1]

    # --- questions about x

    def rank_inputs(self, X: Any, y: Any) -> NDArray[np.int64]:
        """Which samples belong to class `y` most: their numbers, from the least energy to the greatest."""
        ranked: NDArray[np.int64] = np.argsort(self.energies(X)[:, self._column(y)], kind="stable")
        return ranked

    def best_input(
        self,
        y: Any,
        bounds: tuple[Any, Any] | None,
        *,
        start: Any = None,
        n_restarts: int = 4,
        max_iter: int = 200,
    ) -> NDArray[np.float64]:
        """The input of least energy for class `y`, within bounds.

        Parameters
        ----------
        y : class
        bounds : tuple of array_like
            Least and greatest value of every feature; a linear energy has no least one without. None for
            energies that have.
        start : array_like of shape (n_features,), default=None
            Where the search begins; None for the middle of the box, or zero.
        n_restarts : int, default=4
            Other starts, at random.
        max_iter : int, default=200

        Returns
        -------
        ndarray of shape (n_features,)

        Raises
        ------
        ValueError
            Where the energy falls without end: give bounds.
        """
        shape = (1, self._n_features())
        found: NDArray[np.float64] = best_inputs(
            self._energy_of_inputs(y), shape, bounds, start=start, n_restarts=n_restarts, max_iter=max_iter
        )[0]
        return found

    def input_distribution(self, X: Any, y: Any, beta: float | None = None) -> NDArray[np.float64]:
        """P(x | y) over the candidates X, proportional to exp(-beta F(x, y)), shape (n_samples,)."""
        column = self.energies(X)[:, self._column(y)].astype(np.float64)
        return free_energy(column, self.beta if beta is None else beta)[1]

    def _energy_of_inputs(self, y: Any) -> Any:
        column = self._column(y)
        dtype = next(iter(self.energy_.parameters.values())).dtype

        def energy(x: NDArray[np.float64], rows: NDArray[np.int64]) -> tuple[FloatArray, FloatArray]:
            table, tape = self.energy_.energies(x.astype(dtype))
            free, states = self._over_latents(table)
            gradient = np.zeros_like(free)
            gradient[:, column] = 1
            if states is not None:
                gradient = gradient[..., None] * states
            of_inputs = self.energy_.pullback(tape, gradient, inputs=True)[1]
            return free[:, column], np.asarray(of_inputs)

        return energy

    def _column(self, y: Any) -> int:
        check_is_fitted(self, "energy_")
        found = np.flatnonzero(self.classes_ == y)
        if len(found) != 1:
            raise ValueError(f"y: expected one of the classes {self.classes_.tolist()}, got {y!r}")
        return int(found[0])

    def _inputs(self, X: Any) -> FloatArray:
        dtype = next(iter(self.energy_.parameters.values())).dtype
        checked: FloatArray = validate_data(
            self, X, dtype=[np.float64, np.float32], order="C", reset=False
        ).astype(dtype, copy=False)
        return checked

    # --- files

    def _get_state(self) -> tuple[dict[str, Any], dict[str, Any]]:
        check_is_fitted(self, "energy_")
        if not isinstance(self.energy, str):
            raise TypeError("energy: an energy of one's own cannot be saved; save its parameters instead")
        tensors = dict(self.energy_.parameters) | {"loss_curve": self.loss_curve_}
        is_text = self.classes_.dtype.kind in "UO"
        if not is_text:
            tensors["classes"] = self.classes_
        values = {"n_iter": self.n_iter_, "n_features_in": self.n_features_in_}
        return tensors, values | ({"classes": [str(c) for c in self.classes_]} if is_text else {})

    def _set_state(self, tensors: dict[str, Any], values: dict[str, Any]) -> None:
        parameters = {k: np.array(t) for k, t in tensors.items() if k not in ("classes", "loss_curve")}
        classes = np.array(values["classes"]) if "classes" in values else np.array(tensors["classes"])
        dtype = next(iter(parameters.values())).dtype
        energy = self._first_energy(values["n_features_in"], len(classes), dtype)
        if {k: p.shape for k, p in energy.parameters.items()} != {k: p.shape for k, p in parameters.items()}:
            raise ValueError("the parameters of the state do not belong to this energy")
        self.__dict__.update(
            classes_=classes,
            energy_=energy.with_parameters(parameters),
            n_iter_=values["n_iter"],
            n_features_in_=values["n_features_in"],
            loss_curve_=np.array(tensors["loss_curve"]),
        )


def _copied(parameters: Parameters) -> Parameters:
    return {name: p.copy() for name, p in parameters.items()}


def _require_answer_energy(energy: Any, row: FloatArray, n_answers: int) -> None:
    """TypeError or ValueError unless the energy keeps its protocol on one row."""
    if energy.n_answers != n_answers:
        raise ValueError(f"energy: has {energy.n_answers} answers, but y has {n_answers} classes")
    one_of(energy.answer_side, "energy.answer_side", ("fixed", "learned", "unbounded"))
    table, tape = energy.energies(row)
    if table.ndim not in (2, 3) or table.shape[:2] != (1, n_answers) or table.size == 0:
        raise ValueError(
            f"energy: expected energies of shape (1, {n_answers}) or (1, {n_answers}, n_latents) "
            f"for one row, got {table.shape}"
        )
    gradients, _ = energy.pullback(tape, np.zeros_like(table))
    for name, parameter in energy.parameters.items():
        if name not in gradients or gradients[name].shape != parameter.shape:
            raise ValueError(f"energy: `pullback` gave no gradient of shape {parameter.shape} for {name!r}")
    whole_number(len(energy.parameters), "energy: number of parameters", minimum=1)

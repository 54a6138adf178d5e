"""A factor graph whose numbers are learnt from configurations."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from math import inf
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted

from .. import _check, _rng
from .._base import AnswerLoss, FactorStructure, Parameters
from .._check import FloatArray, one_of, real_number, thread_number, whole_number
from ..energies import FactorGraph
from ..inference.free_energy import free_energy
from ..inference.junction_tree import JunctionTree
from ._crf import ConditionalRandomField
from ._energy_learning import EnergyLearner, loss_name, require_no_collapse
from ._factor_answers import FactorAnswers
from ._factor_inference import WAYS, GraphInference, States
from ._factor_parameters import FactorParameters
from ._learning import unchanged_by_errors

# Statistics and beliefs that are held at once while learning.
_BLOCK_ELEMENTS = 2**22

_STRUCTURE = ("cardinalities", "kinds", "scope_starts", "scope_variables")


class FactorGraphModel(EnergyLearner):
    r"""Learns the numbers of a factor graph from observed configurations, by any loss of answers.

    .. math:: E(y; x, \theta) = \sum_f E_f(y_{\partial f}; \theta) + \sum_i x_{i, y_i}

    with energies x of single states as a sample's context, if there are any. The numbers of the graph that
    the model is given are where learning starts from; any of them may be tied together or held fixed. With
    the log-likelihood the gradient is what the data count less what the model expects: learning ends where
    both agree.

    A variable may be unobserved in any sample. An answer is then what the observed variables are; its energy
    is minimised over the others, or summed as :math:`-1/\beta \log \sum \exp(-\beta E)` by the losses that
    sum over all answers.

    Parameters
    ----------
    graph : FactorGraph
        Factors and first numbers. Numbers that are +inf (what is forbidden, a cap that is none) stay so.
    groups : array-like of shape (n_energies,), dict, or None, default=None
        Which numbers are one parameter, and then begin equal: a label (int or str) of every number in
        `graph.energies`, or a dict of name to the numbers of factors, which share what they have (the k-th
        number of each is one parameter; factors in no group have their own). None ties nothing.
    learned : array-like or None, default=None
        What is learnt: a boolean of every number, or labels or names of `groups`. None stands for all.
    inference : {"auto", "tree", "junction_tree", "flooding", "residual"}, default="auto"
        Of minima and of sums over configurations. "tree": two passes, exact, for forests. "junction_tree":
        exact, one tree after the other for samples whose contexts or observations differ. "flooding" and
        "residual": loopy belief propagation with that schedule; sums are Bethe's approximation, minima are
        not certain. "auto": the first of "tree", "junction_tree" and "flooding" that structure and
        `max_bytes` allow.
    max_bytes : int, default=2**22
        Of the tables of a junction tree.
    damping : float, default=0.5
        Share of the old message in the new one, for loopy belief propagation.
    inference_max_iter : int, default=200
        Sweeps, likewise.
    inference_tol : float, default=1e-6
        Messages have converged when none would change by more, likewise.
    loss : str or AnswerLoss, default="nll"
        As in `EnergyClassifier`, an answer being a configuration of the observed variables. The most
        offending incorrect one differs in one of them or more; it is exact where inference is, else the
        lower one of what belief propagation finds and the best with one variable changed.
    margin, beta, l2, l1, optimizer, learning_rate, momentum, schedule, batch_size, max_iter, tol, \
allow_collapse, random_state, callback :
        As in `EnergyClassifier`; the penalties are those of all parameters.
    n_jobs : int, default=None
        Threads of belief propagation; the bits do not depend on their number.

    Attributes
    ----------
    graph_ : FactorGraph
        With the numbers learnt.
    parameters_ : ndarray of shape (n_parameters,)
    parameter_of_ : ndarray of int64, shape (n_energies,)
        The parameter that each number is, -1 where it is held fixed.
    inference_ : str
        What `inference` has come to.
    loss_curve_ : ndarray
    n_iter_ : int

    References
    ----------
    Y. LeCun, S. Chopra, R. Hadsell, M. Ranzato, F. J. Huang, A tutorial on energy-based learning, 2006. D.
    Koller, N. Friedman, Probabilistic Graphical Models, MIT Press 2009, chapter 20. J. S. Yedidia, W. T.
    Freeman, Y. Weiss, Constructing free-energy approximations and generalized belief propagation algorithms,
    IEEE Trans. Inf. Theory 51, 2005.

    Examples
    --------
    A ring of five spins that share one coupling, learnt from what another such ring does:

    >>> import numpy as np
    >>> from thalweg import FactorGraphModel
    >>> from thalweg.energies import FactorGraph
    >>> ring = FactorGraph([2] * 5)
    >>> bonds = ring.add_potts([[0, 1], [1, 2], [2, 3], [3, 4], [4, 0]], 0.8)
    >>> Y = FactorGraphModel(ring, max_iter=0).fit([[0] * 5]).sample(500, random_state=0)
    >>> start = ring.with_energies(np.zeros(5))
    >>> model = FactorGraphModel(start, groups={"bonds": bonds}, random_state=0).fit(Y)
    >>> model.inference_, model.parameters_.round(1)
    ('junction_tree', array([0.8]))

    What the others are likely to be where some are seen (-1 stands for the others):

    >>> model.predict(given=[[1, -1, -1, -1, 1]])
    array([[1, 1, 1, 1, 1]])
    """

    graph_: FactorGraph
    parameters_: FloatArray
    parameter_of_: NDArray[np.int64]
    inference_: str

    def __init__(
        self,
        graph: FactorGraph,
        *,
        groups: Any = None,
        learned: Any = None,
        inference: str = "auto",
        max_bytes: int = 2**22,
        damping: float = 0.5,
        inference_max_iter: int = 200,
        inference_tol: float = 1e-6,
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
        self.graph = graph
        self.groups = groups
        self.learned = learned
        self.inference = inference
        self.max_bytes = max_bytes
        self.damping = damping
        self.inference_max_iter = inference_max_iter
        self.inference_tol = inference_tol
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

    def fit(self, Y: Any, X: Any = None) -> FactorGraphModel:
        """Learns from configurations.

        Parameters
        ----------
        Y : array-like of int, shape (n_samples, n_variables), or dict of name to states (n_samples,)
            -1 where a variable was not observed; in a dict variables that never were may be missing.
        X : array-like of shape (n_samples, n_states) or None
            Energies of the variables' states in every sample, one variable after the other; +inf forbids.

        Returns
        -------
        self : FactorGraphModel

        Raises
        ------
        TypeError, ValueError
            Where Y, X or a parameter is of the wrong kind, shape or range, what was observed is forbidden, or
            a loss would collapse.
        FloatingPointError
            Where the loss or a parameter leaves the finite numbers; the last good ones are kept.

        Warns
        -----
        sklearn.exceptions.ConvergenceWarning
            Where learning, or in the end loopy belief propagation, has not converged.
        """
        self._check_parameters()
        with unchanged_by_errors(self):
            tied = FactorParameters(self.graph, self.groups, self.learned)
            self.__dict__.update(parameter_of_=tied.place, _tied=tied)
            # a column: vectors are intercepts, which are not penalised
            first = {"energies": tied.first[:, None]}
            self._take(first)
            inference = self._make_inference(is_quiet=True)
            self.__dict__["inference_"] = inference.way
            right, context = self._observed(Y), self._contexts(X)
            _require_rows(right, context)
            self._refuse_forbidden(right, context, inference)
        try:
            self._learn(first, self._objective_on(right, context, inference), len(right))
        finally:
            del self._tied
        if inference.residual:
            warnings.warn(
                "belief propagation did not converge in the last step of learning: the largest residual is "
                f"{inference.residual:.2e}; raise inference_max_iter, inference_tol or damping",
                ConvergenceWarning,
                stacklevel=2,
            )
        return self

    def _check_parameters(self) -> None:
        if not isinstance(self.graph, FactorGraph):
            raise TypeError(f"graph: expected a FactorGraph, got {type(self.graph).__name__}")
        self._check_learning_parameters()
        self._check_inference()
        loss = self._make_loss()
        if loss.needs == "all" and not hasattr(loss, "beta"):
            raise TypeError(
                "loss: expected to have a `beta`, as it asks for P(right) among all configurations"
            )
        require_no_collapse(loss, "unbounded", loss_name(self.loss), self.allow_collapse)

    def _check_inference(self) -> None:
        one_of(self.inference, "inference", WAYS)
        whole_number(self.max_bytes, "max_bytes", minimum=1, maximum=2**62)
        if real_number(self.damping, "damping", minimum=0.0) >= 1:
            raise ValueError(f"damping: expected a number in [0, 1), got {self.damping:g}")
        whole_number(self.inference_max_iter, "inference_max_iter", minimum=1)
        real_number(self.inference_tol, "inference_tol", minimum=0.0)
        thread_number(self.n_jobs)

    def _make_inference(self, is_quiet: bool) -> GraphInference:
        options = {
            "damping": self.damping,
            "max_iter": self.inference_max_iter,
            "tol": self.inference_tol,
            "n_jobs": self.n_jobs,
        }
        return GraphInference(self.graph_.structure, self.inference, self.max_bytes, options, is_quiet)

    def _take(self, parameters: Parameters) -> None:
        theta = parameters["energies"].ravel()
        self.__dict__.update(parameters_=theta, graph_=self._tied.graph(theta))

    def _block_rows(self) -> int:
        return max(1, _BLOCK_ELEMENTS // (len(self.parameter_of_) + _n_states(self.graph_)))

    def _refuse_forbidden(
        self, right: NDArray[np.int64], context: FloatArray | None, inference: GraphInference
    ) -> None:
        """ValueError where what was observed has the energy +inf, which learning never changes."""
        step = self._block_rows()
        for first in range(0, len(right), step):
            rows = np.arange(first, min(first + step, len(right)))
            own = None if context is None else context[rows]
            try:
                energy = FactorAnswers(self.graph_, inference, right[rows], own, inf).energy()
            except ValueError as error:
                raise ValueError(
                    f"Y: what was observed in a row of {rows[0]} to {rows[-1]} is forbidden: {error}"
                ) from error
            if np.isinf(energy).any():
                raise ValueError(
                    f"Y: row {rows[np.argmax(np.isinf(energy))]} is forbidden: its energy is +inf"
                )

    def _objective_on(
        self, right: NDArray[np.int64], context: FloatArray | None, inference: GraphInference
    ) -> Any:
        tied: FactorParameters = self._tied

        def objective(
            parameters: Parameters, rows: NDArray[np.int64], loss: AnswerLoss
        ) -> tuple[float, Parameters]:
            theta = parameters["energies"].ravel()
            if not np.isfinite(theta).all():
                raise FloatingPointError(self._not_finite())
            inference.residual = 0.0
            beta = loss.beta if loss.needs == "all" else inf  # type: ignore[attr-defined]
            own = None if context is None else context[rows]
            answers = FactorAnswers(tied.graph(theta), inference, right[rows], own, beta)
            values, _, of_energies = answers.loss_and_gradient(loss)
            return float(values.sum()), {"energies": tied.gradient(of_energies)[:, None]}

        return objective

    # --- questions about configurations

    def predict(self, X: Any = None, given: Any = None) -> NDArray[np.int64]:
        """Configurations of least energy, as far as inference finds them.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_states) or None
            Contexts, as for `fit`.
        given : array-like of shape (n_samples, n_variables), dict, or None
            What is known, as `Y` of `fit`; -1 elsewhere.

        Returns
        -------
        ndarray of shape (n_samples, n_variables)
            Of one row where neither contexts nor observations are given.
        """
        inference, unary = self._asked(X, given)
        return inference.infer(self.graph_, unary, inf).states

    def predict_marginals(self, X: Any = None, given: Any = None, beta: float | None = None) -> FloatArray:
        """P(y_i | x, given) of all states, one variable after the other, shape (n_samples, n_states).

        Takes what `predict` takes, and an inverse temperature; approximate where inference is.
        """
        inference, unary = self._asked(X, given)
        return inference.infer(self.graph_, unary, self._finite_beta(beta)).beliefs

    def energies(self, Y: Any, X: Any = None) -> NDArray[np.float64]:
        """E of every configuration, minimised over what was not observed, shape (n_samples,).

        Takes what `fit` takes.
        """
        return self._answers(Y, X, inf).energy()

    def log_likelihood(self, Y: Any, X: Any = None, beta: float | None = None) -> NDArray[np.float64]:
        """log P(y | x) of what was observed in every sample, shape (n_samples,).

        Takes what `fit` takes, and an inverse temperature. Where inference is not exact the sums are Bethe's
        approximation, and where that is far off, which a warning says, values exceed 0.
        """
        beta = self._finite_beta(beta)
        answers = self._answers(Y, X, beta)
        free = answers.free_energy(beta)
        return ConditionalRandomField._log_shares(free, answers.energy(), beta)

    def predict_proba(self, Y: Any, X: Any = None, beta: float | None = None) -> NDArray[np.float64]:
        """P(y | x) of what was observed in every sample, the exponential of `log_likelihood`."""
        return np.exp(self.log_likelihood(Y, X, beta))

    def score(self, Y: Any, X: Any = None) -> float:
        """The mean log-likelihood at the model's own `beta`."""
        return float(self.log_likelihood(Y, X).mean())

    def rank(self, Y: Any, x: Any = None) -> NDArray[np.int64]:
        """Numbers of candidate configurations, from the least energy to the greatest, in one context."""
        check_is_fitted(self, "graph_")
        count = len(self._observed(Y))
        contexts = None if x is None else np.tile(self._context(x), (count, 1))
        ranked: NDArray[np.int64] = np.argsort(self.energies(Y, contexts), kind="stable")
        return ranked

    def sample(
        self,
        n_samples: int = 1,
        x: Any = None,
        *,
        given: Any = None,
        beta: float | None = None,
        random_state: Any = None,
    ) -> NDArray[np.int64]:
        """Independent configurations from P(y | x, given), exactly, by a junction tree.

        Parameters
        ----------
        n_samples : int, default=1
        x : array-like of shape (n_states,) or None
            One context.
        given : array-like of shape (n_variables,) or None
            What is known, -1 elsewhere.
        beta : float or None
            Inverse temperature; None stands for the model's own.
        random_state : None, int, RandomState or Generator
            None stands for the model's own.

        Returns
        -------
        ndarray of shape (n_samples, n_variables)

        Raises
        ------
        ValueError
            Where the tables would need more than `max_bytes`, and where `given` is forbidden.
        """
        count = whole_number(n_samples, "n_samples", minimum=1)
        row = None if given is None else np.asarray(_check.array_of(given, "given"))[None]
        unary = self._asked(None if x is None else self._context(x)[None], row)[1]
        seed = _check.seed_number(self.random_state if random_state is None else random_state)
        uniform = _rng.uniform(seed, _rng.STREAM_STATES, 0, count * self.graph_.n_variables)
        return JunctionTree(self.graph_, self.max_bytes).sample(
            self.graph_,
            uniform.reshape(count, -1),
            None if unary is None else unary[0],
            beta=self._finite_beta(beta),
        )

    # --- questions about contexts

    def rank_inputs(self, X: Any, y: Any) -> NDArray[np.int64]:
        """Numbers of contexts, from that to which the configuration `y` fits best on."""
        return np.argsort(self._energies_in(X, y), kind="stable").astype(np.int64)

    def input_distribution(self, X: Any, y: Any, beta: float | None = None) -> NDArray[np.float64]:
        """P(x | y) over candidate contexts, proportional to exp(-beta E), shape (n_contexts,)."""
        return free_energy(self._energies_in(X, y), self._finite_beta(beta))[1]

    def _energies_in(self, X: Any, y: Any) -> NDArray[np.float64]:
        check_is_fitted(self, "graph_")
        contexts = self._contexts(X, is_needed=True)
        row = _check.array_of(y, "y")
        return self.energies(np.tile(row, (len(contexts), 1)), contexts)

    # --- doors

    def _finite_beta(self, beta: float | None) -> float:
        return real_number(self.beta if beta is None else beta, "beta", above=0.0)

    def _answers(self, Y: Any, X: Any, beta: float) -> FactorAnswers:
        check_is_fitted(self, "graph_")
        right, context = self._observed(Y), self._contexts(X)
        _require_rows(right, context)
        return FactorAnswers(self.graph_, self._make_inference(False), right, context, beta)

    def _asked(self, X: Any, given: Any) -> tuple[GraphInference, FloatArray | None]:
        """Inference, and energies of states that forbid what was not observed."""
        check_is_fitted(self, "graph_")
        self._check_inference()
        context = self._contexts(X)
        if given is None:
            return self._make_inference(False), context
        seen = self._observed(given, "given")
        _require_rows(seen, context, "given", needs_some=False)
        clamped = States.of(self.graph_.structure).clamped(seen, context, self.graph_.dtype)
        return self._make_inference(False), clamped

    def _observed(self, Y: Any, name: str = "Y") -> NDArray[np.int64]:
        """(n, n_variables) states, -1 where there is none."""
        rows = self._columns(Y, name) if isinstance(Y, Mapping) else _check.array_of(Y, name)
        n_variables = self.graph_.n_variables
        if rows.dtype.kind not in "iub":
            raise TypeError(f"{name}: expected whole numbers, got dtype {rows.dtype}")
        if rows.ndim != 2 or rows.shape[1] != n_variables or len(rows) == 0:
            raise ValueError(f"{name}: expected shape (n_samples, {n_variables}), got {rows.shape}")
        counts = self.graph_.structure.cardinalities
        outside = (rows < -1) | (rows >= counts)
        if outside.any():
            row, variable = (int(k) for k in np.argwhere(outside)[0])
            raise ValueError(
                f"{name}: variable {self.graph_.names[variable]!r} has the states 0 to "
                f"{counts[variable] - 1}, and -1 where it was not observed, got {rows[row, variable]}"
            )
        return rows.astype(np.int64)

    def _columns(self, Y: Mapping[Any, Any], name: str) -> NDArray[Any]:
        names = self.graph_.names
        unknown = [given for given in Y if given not in names]
        if unknown or not Y:
            raise ValueError(f"{name}: {unknown[0] if unknown else 'nothing'!r} is no variable of the graph")
        columns = {n: _check.array_of(states, f"{name}: variable {n!r}") for n, states in Y.items()}
        shape = next(iter(columns.values())).shape
        for n, states in columns.items():
            if states.ndim != 1 or states.shape != shape:
                raise ValueError(f"{name}: variable {n!r}: expected shape {shape}, got {states.shape}")
        missing = np.full(shape, -1)
        return np.stack([columns.get(n, missing) for n in names], axis=1)

    def _contexts(self, X: Any, is_needed: bool = False) -> Any:
        """(n, n_states) in the dtype of the graph, or None."""
        if X is None and not is_needed:
            return None
        count = _n_states(self.graph_)
        given = _check.real_operand(X, "X")
        if given.ndim != 2 or given.shape[1] != count or len(given) == 0:
            raise ValueError(f"X: expected shape (n_samples, {count}), got {given.shape}")
        if np.isnan(given).any() or np.isneginf(given).any():
            raise ValueError("X: an energy must be finite or +inf, which forbids, but one is NaN or -inf")
        made = given.astype(self.graph_.dtype, copy=False)
        if (np.isinf(made) & np.isfinite(given)).any():
            raise ValueError(f"X: overflows {made.dtype}: an element is too large for it")
        return made

    def _context(self, x: Any) -> FloatArray:
        check_is_fitted(self, "graph_")
        given = _check.real_operand(x, "x")
        if given.shape != (_n_states(self.graph_),):
            raise ValueError(f"x: expected shape ({_n_states(self.graph_)},), got {given.shape}")
        one: FloatArray = self._contexts(given[None])[0]
        return one

    # --- files

    def _get_state(self) -> tuple[dict[str, Any], dict[str, Any]]:
        check_is_fitted(self, "graph_")
        graph = self.graph
        if graph.structure is not self.graph_.structure:
            raise ValueError("graph: is another one than that of `fit`; fit again before saving")
        tensors = {name: getattr(graph.structure, name) for name in _STRUCTURE}
        tensors |= {"first": graph.energies, "energies": self.graph_.energies}
        tensors |= {"parameters": self.parameters_, "parameter_of": self.parameter_of_}
        tensors["loss_curve"] = self.loss_curve_
        is_named = graph.names != tuple(range(graph.n_variables))
        values: dict[str, Any] = {"n_iter": self.n_iter_, "inference": self.inference_}
        values |= {"constant": graph.constant, "names": list(graph.names) if is_named else None}
        return tensors, values

    def _set_state(self, tensors: dict[str, Any], values: dict[str, Any]) -> None:
        structure = FactorStructure(*(np.array(tensors[name]) for name in _STRUCTURE))
        names = values["names"]
        graph = FactorGraph.from_structure(structure, tensors["first"], names, values["constant"])
        self.__dict__.update(
            graph=graph,
            graph_=graph.with_energies(tensors["energies"]),
            parameters_=np.array(tensors["parameters"]),
            parameter_of_=np.array(tensors["parameter_of"]),
            loss_curve_=np.array(tensors["loss_curve"]),
            n_iter_=values["n_iter"],
            inference_=values["inference"],
        )


def _n_states(graph: FactorGraph) -> int:
    return int(graph.structure.cardinalities.sum())


def _require_rows(
    right: NDArray[np.int64], context: FloatArray | None, name: str = "Y", needs_some: bool = True
) -> None:
    """ValueError where rows are not as many as contexts, or a row says nothing."""
    if context is not None and len(context) != len(right):
        raise ValueError(f"{name}: expected {len(context)} rows, as X has, got {len(right)}")
    empty = (right < 0).all(axis=1)
    if needs_some and empty.any():
        raise ValueError(f"{name}: row {int(np.argmax(empty))} observes no variable")

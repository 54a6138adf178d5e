"""Belief propagation: exact marginals, minima and log Z of trees, Bethe's approximation of the others."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _check
from .._base import FactorStructure
from .._check import FloatArray
from .._factors import Integers, check_structure
from .._native import cpu as _cpu
from ._graphs import GraphBeliefs, GraphProblem, problem_of

SCHEDULES = ("auto", "tree", "flooding", "residual")

# At infinite beta a loopy graph's messages may wander: their states are looked at after every sweep, which
# costs about another one; after every tenth where the graph has more states than this.
_STATES_LOOKED_AT_ALWAYS = 10_000
_SWEEPS_BETWEEN_LOOKS = 10


class BeliefPropagation:
    r"""Messages along the edges of a factor graph, at one inverse temperature.

    With energies, from factor f to variable i and from variable i to factor f,

    .. math:: m_{f \to i}(x_i) = -\tfrac1\beta \log \sum_{x_{\partial f \setminus i}}
              \exp\Bigl(-\beta \bigl(E_f(x) + \textstyle\sum_{j \neq i} m_{j \to f}(x_j)\bigr)\Bigr),
              \qquad m_{i \to f} = \textstyle\sum_{g \neq f} m_{g \to i}

    up to a constant: sum-product, and min-sum (Viterbi on a chain) in the limit of infinite beta. Two passes
    are exact where the graph is a forest, connected or not. On other graphs messages go round until they
    change no more, which they need not reach; beliefs and log Z are then Bethe's approximation.

    Parameters
    ----------
    structure : FactorStructure or FactorGraph
        What is kept from call to call; the energies are given to `infer`.
    beta : float, default=1.0
        Inverse temperature > 0, or infinity; a number of the energies' dtype.
    schedule : {"auto", "tree", "flooding", "residual"}, default="auto"
        "tree": two passes, for forests alone. "flooding": all messages at once, again and again.
        "residual": the factor whose messages would change most comes first. "auto": "tree" where the graph
        is a forest, else "flooding".
    damping : float in [0, 1), default=0.5
        Share of the old message in the new one, against oscillation; "tree" has none.
    max_iter : int, default=200
        Most sweeps; "residual" makes as many updates of factors as that many sweeps do.
    tol : float, default=1e-5
        Messages have converged when none would change by more than this, in units of energy.
    n_jobs : int or None, default=None
        Threads; the bits do not depend on their number.

    Raises
    ------
    TypeError, ValueError
        Where an argument is of the wrong kind, shape or range.

    References
    ----------
    F. R. Kschischang, B. J. Frey, H.-A. Loeliger, "Factor graphs and the sum-product algorithm", IEEE
    Transactions on Information Theory, 2001.
    J. S. Yedidia, W. T. Freeman, Y. Weiss, "Constructing free-energy approximations and generalized belief
    propagation algorithms", IEEE Transactions on Information Theory, 2005.
    G. Elidan, I. McGraw, D. Koller, "Residual belief propagation: informed scheduling for asynchronous
    message passing", UAI 2006.
    P. F. Felzenszwalb, D. P. Huttenlocher, "Efficient belief propagation for early vision", IJCV, 2006.

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg.energies import FactorGraph
    >>> from thalweg.inference import BeliefPropagation
    >>> chain = FactorGraph([2, 2, 2])
    >>> chain.add_unary(range(3), [[0.0, 1.0], [0.4, 0.0], [0.0, 0.2]])
    range(0, 3)
    >>> chain.add_potts([[0, 1], [1, 2]], 1.0)
    range(3, 5)
    >>> found = BeliefPropagation(chain, beta=np.inf).infer(chain)
    >>> found.states.tolist(), round(found.energy, 6), found.is_exact
    ([0, 0, 0], 0.4, True)

    A batch: the same chain with other unary energies, which are added to its own.

    >>> rows = np.array([[0.0, 0, 0, 0, 0, 0], [3.0, 0, 3, 0, 0, 0]])
    >>> BeliefPropagation(chain).infer(chain, unary=rows).states.tolist()
    [[0, 0, 0], [1, 1, 1]]
    """

    def __init__(
        self,
        structure: Any,
        *,
        beta: float = 1.0,
        schedule: str = "auto",
        damping: float = 0.5,
        max_iter: int = 200,
        tol: float = 1e-5,
        n_jobs: int | None = None,
    ) -> None:
        if isinstance(structure, FactorStructure):
            check_structure(structure)
        self.structure = structure if isinstance(structure, FactorStructure) else _structure_of(structure)
        self.beta = _check.inverse_temperature(beta, "beta")
        self.schedule = _check.one_of(schedule, "schedule", SCHEDULES)
        self.damping = _check.real_number(damping, "damping", minimum=0.0)
        if self.damping >= 1:
            raise ValueError(f"damping: expected a number in [0, 1), got {self.damping:g}")
        self.max_iter = _check.whole_number(max_iter, "max_iter", minimum=1)
        self.tol = _check.real_number(tol, "tol", minimum=0.0)
        self._n_threads = _check.thread_number(n_jobs)
        s = self.structure
        self._graph = _cpu.MessageGraph(s.cardinalities, s.kinds, s.scope_starts, s.scope_variables)
        if self.schedule == "tree" and not self.is_forest:
            raise ValueError('schedule: "tree" is for forests, but this graph has a loop')

    @property
    def is_forest(self) -> bool:
        """Whether the graph has no loop, so that two passes are exact."""
        return bool(self._graph.is_forest)

    def infer(self, graph: Any, unary: Any = None, *, statistics: bool = False) -> GraphBeliefs:
        """Beliefs, most probable or minimal states, and log Z.

        Parameters
        ----------
        graph : FactorGraph, or array-like of shape (n_energies,) or (n_graphs, n_energies)
            The energies, in float32 or float64, of one graph or of many graphs of this structure.
        unary : array-like of shape (n_states,) or (n_graphs, n_states), or None
            Energies of the variables' states, added to those of the factors.
        statistics : bool, default=False
            Whether to compute the factors' marginals.

        Returns
        -------
        GraphBeliefs

        Raises
        ------
        ValueError
            Where all states of a variable are forbidden, or `beta` is none of the energies' dtype.

        Warns
        -----
        sklearn.exceptions.ConvergenceWarning
            Where messages still change by more than `tol`; it says by how much.
        """
        if hasattr(graph, "structure"):
            if not _is_same(self.structure, graph.structure):
                raise ValueError("graph: its structure is not the one that this object was made for")
            problem = problem_of(graph, None, unary)
        else:
            problem = problem_of(self.structure, graph, unary)
        return self._infer(problem, statistics)

    def _infer(self, problem: GraphProblem, statistics: bool, stacklevel: int = 3) -> GraphBeliefs:
        self._refuse_beta_beyond(problem.energies.dtype)
        unary = self._unary(problem)
        passer = _cpu.message_passer(self._graph, problem.energies, unary)
        n_graphs = len(unary)
        if self._is_tree():
            passer.two_pass(self.beta, self._n_threads)
            count, residual = np.ones(n_graphs, np.int64), np.zeros(n_graphs)
            states, energy = self._decode(passer, problem, unary)
        else:
            count, residual, states, energy = self._go_round(passer, problem, unary)
        beliefs = np.empty((n_graphs, self._graph.n_states), problem.energies.dtype)
        passer.beliefs(self.beta, beliefs, self._n_threads)
        expected = None
        if statistics:
            expected = np.empty((n_graphs, self._graph.n_energies), problem.energies.dtype)
            passer.statistics(self.beta, expected, self._n_threads)
        log_partition = -energy
        if not math.isinf(self.beta):
            log_partition = np.empty(n_graphs)
            passer.log_partition(self.beta, log_partition, self._n_threads)
            log_partition -= self.beta * problem.constant
        converged = residual <= self.tol
        self._warn(converged, residual, count, stacklevel)
        pick, scalar = _readers(problem.is_batch)
        return GraphBeliefs(
            beta=self.beta,
            beliefs=pick(beliefs),
            states=pick(states),
            energy=scalar(energy),
            log_partition=scalar(log_partition),
            is_exact=self._is_tree(),
            n_iter=scalar(count),
            residual=scalar(residual),
            converged=scalar(converged),
            statistics=None if expected is None else pick(expected),
            structure=self.structure,
            names=problem.names,
        )

    def _refuse_beta_beyond(self, dtype: np.dtype[Any]) -> None:
        """ValueError where beta is finite, but not in the energies' dtype."""
        most = float(np.finfo(dtype).max)
        if most < self.beta < math.inf:
            raise ValueError(
                f"beta: {self.beta:g} overflows the energies' {dtype}: expected at most {most:g}, or infinity"
            )

    def _is_tree(self) -> bool:
        return self.schedule == "tree" or (self.schedule == "auto" and self.is_forest)

    def _unary(self, problem: GraphProblem) -> FloatArray:
        """(n_graphs, n_states), zeros where there are none."""
        shape = problem.n_graphs, self._graph.n_states
        if problem.unary is None:
            return np.zeros(shape, problem.energies.dtype)
        return np.ascontiguousarray(np.broadcast_to(problem.unary, shape))

    def _decode(
        self, passer: Any, problem: GraphProblem, unary: FloatArray
    ) -> tuple[Integers, NDArray[np.float64]]:
        states = np.empty((len(unary), len(self.structure.cardinalities)), np.int64)
        energy = np.empty(len(unary))
        passer.decode(self.beta, states, self._n_threads)
        _cpu.graph_energy(self._graph, problem.energies, unary, states, energy, self._n_threads)
        return states, energy + problem.constant

    def _go_round(
        self, passer: Any, problem: GraphProblem, unary: FloatArray
    ) -> tuple[Integers, FloatArray, Integers, NDArray[np.float64]]:
        """Moves messages until they rest; at infinite beta the lowest of the states on the way is kept."""
        move, unit = self._mover(passer)
        if not math.isinf(self.beta):
            count, residual = move(self.max_iter * unit)
            return count, residual, *self._decode(passer, problem, unary)
        total = np.zeros(len(unary), np.int64)
        residual = np.full(len(unary), np.inf)
        states, energy = self._decode(passer, problem, unary)
        step = 1 if self._graph.n_states <= _STATES_LOOKED_AT_ALWAYS else _SWEEPS_BETWEEN_LOOKS
        for done in range(0, self.max_iter, step):
            is_moving = residual > self.tol  # what a graph gets does not depend on the others
            count, last = move(min(step, self.max_iter - done) * unit, is_moving)
            total += count
            residual = np.where(is_moving, last, residual)
            now, energy_now = self._decode(passer, problem, unary)
            is_lower = energy_now < energy
            states[is_lower], energy[is_lower] = now[is_lower], energy_now[is_lower]
            if (residual <= self.tol).all():
                break
        return total, residual, states, energy

    def _mover(self, passer: Any) -> tuple[Callable[..., tuple[Any, Any]], int]:
        """A call that moves messages of some graphs so many times, and how many times a sweep is."""
        is_residual = self.schedule == "residual"
        schedule = passer.residual if is_residual else passer.flood
        a_sweep = max(1, int((np.diff(self.structure.scope_starts) > 1).sum())) if is_residual else 1

        def move(n: int, is_moving: NDArray[np.bool_] | None = None) -> tuple[Any, Any]:
            moved: tuple[Any, Any] = schedule(
                self.beta, self.damping, n, self.tol, self._n_threads, is_moving
            )
            return moved

        return move, a_sweep

    def _warn(
        self, converged: NDArray[np.bool_], residual: FloatArray, count: Integers, stacklevel: int
    ) -> None:
        if converged.all():
            return
        from sklearn.exceptions import ConvergenceWarning

        what = "updates of factors" if self.schedule == "residual" else "sweeps"
        who = f"{int((~converged).sum())} of {len(converged)} graphs" if len(converged) > 1 else "messages"
        warnings.warn(
            f"{who} did not reach tol={self.tol:g}: the largest residual is "
            f"{residual[~converged].max():.2e} after {int(count[~converged].max())} {what}; raise max_iter, "
            "tol or damping",
            ConvergenceWarning,
            stacklevel=stacklevel + 1,
        )


def belief_propagation(
    graph: Any,
    energies: Any = None,
    unary: Any = None,
    *,
    beta: float = 1.0,
    schedule: str = "auto",
    damping: float = 0.5,
    max_iter: int = 200,
    tol: float = 1e-5,
    statistics: bool = False,
    n_jobs: int | None = None,
) -> GraphBeliefs:
    """Belief propagation in a factor graph: `BeliefPropagation` in one call.

    Parameters
    ----------
    graph : FactorGraph or FactorStructure
    energies : array-like of shape (n_energies,) or (n_graphs, n_energies), or None
        None stands for the graph's own.
    unary : array-like of shape (n_states,) or (n_graphs, n_states), or None
        Energies of the variables' states, added to those of the factors.
    beta, schedule, damping, max_iter, tol, n_jobs
        As for `BeliefPropagation`.
    statistics : bool, default=False
        Whether to compute the factors' marginals.

    Returns
    -------
    GraphBeliefs

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg.energies import FactorGraph
    >>> from thalweg.inference import belief_propagation
    >>> graph = FactorGraph({"cloudy": 2, "rain": 2})
    >>> graph.add_unary("cloudy", -np.log([0.6, 0.4]))
    range(0, 1)
    >>> graph.add_table(["cloudy", "rain"], -np.log([[0.9, 0.1], [0.3, 0.7]]))
    range(1, 2)
    >>> found = belief_propagation(graph)
    >>> found.marginals["rain"].round(6).tolist(), found.is_exact
    ([0.66, 0.34], True)
    >>> belief_propagation(graph, beta=np.inf).assignment
    {'cloudy': 0, 'rain': 0}
    """
    problem = problem_of(graph, energies, unary)
    propagation = BeliefPropagation(
        graph, beta=beta, schedule=schedule, damping=damping, max_iter=max_iter, tol=tol, n_jobs=n_jobs
    )
    return propagation._infer(problem, statistics)


def _readers(is_batch: bool) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    """What a row and what a number of every graph become: themselves, or those of the only graph."""
    if is_batch:
        return lambda a: a, lambda a: a
    return lambda a: a[0], lambda a: a[0].item()


def _structure_of(graph: Any) -> FactorStructure:
    structure = getattr(graph, "structure", None)
    if not isinstance(structure, FactorStructure):
        raise TypeError(f"structure: expected a FactorGraph or a FactorStructure, got {type(graph).__name__}")
    return structure


def _is_same(a: FactorStructure, b: FactorStructure) -> bool:
    if a is b:
        return True
    names = ("cardinalities", "kinds", "scope_starts", "scope_variables")
    return all(np.array_equal(getattr(a, n), getattr(b, n)) for n in names)

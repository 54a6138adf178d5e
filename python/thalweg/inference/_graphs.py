"""What inference in factor graphs is given and what it gives back."""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import _factors
from .._base import FactorEnergy, FactorStructure
from .._check import FloatArray
from .._factors import Integers


@dataclass(frozen=True, eq=False)
class GraphProblem:
    """One structure with the energies of one graph, or of several; `is_batch` tells which."""

    structure: FactorStructure
    energies: FloatArray  # (n_energies,) or (n_graphs, n_energies)
    unary: FloatArray | None  # (n_states,) or (n_graphs, n_states)
    constant: float
    names: tuple[Hashable, ...] | None

    @property
    def is_batch(self) -> bool:
        return self.energies.ndim == 2 or (self.unary is not None and self.unary.ndim == 2)

    @property
    def n_graphs(self) -> int:
        if self.energies.ndim == 2:
            return len(self.energies)
        return len(self.unary) if self.unary is not None and self.unary.ndim == 2 else 1


def problem_of(graph: Any, energies: Any = None, unary: Any = None) -> GraphProblem:
    """Checks a graph, or a structure with energies, and the energies of single variables besides."""
    if isinstance(graph, FactorStructure):
        structure, constant, names = graph, 0.0, None
        _factors.check_structure(structure)
        if energies is None:
            raise ValueError("energies: a structure has none of its own, give them")
    elif isinstance(graph, FactorEnergy):
        structure, constant = graph.structure, float(graph.constant)
        names = None if graph.names == tuple(range(len(graph.names))) else graph.names
        energies = graph.energies if energies is None else energies
    else:
        raise TypeError(f"graph: expected a FactorGraph or a FactorStructure, got {type(graph).__name__}")
    counts = int(_factors.energy_starts(structure)[-1]), int(structure.cardinalities.sum())
    values = _energies(energies, "energies", counts[0], None)
    fields = None if unary is None else _energies(unary, "unary", counts[1], values.dtype)
    if fields is not None and values.ndim == fields.ndim == 2 and len(values) != len(fields):
        raise ValueError(f"unary: expected {len(values)} rows, as energies has, got {len(fields)}")
    problem = GraphProblem(structure, values, fields, constant, names)
    _refuse_not_numbers(problem)
    return problem


def _energies(given: Any, name: str, count: int, dtype: Any) -> FloatArray:
    values = _factors.energy_numbers(given, name, dtype)
    if values.ndim not in (1, 2) or values.shape[-1] != count or 0 in values.shape[:-1]:
        raise ValueError(f"{name}: expected shape ({count},) or (n_graphs, {count}), got {values.shape}")
    return np.ascontiguousarray(values)


def _refuse_not_numbers(problem: GraphProblem) -> None:
    structure, names = problem.structure, problem.names
    if not _is_moderate(problem):
        for group in _factors.factor_groups(structure):
            for values in np.atleast_2d(problem.energies):
                fault = _factors.number_fault(group.kind, group.shape, group.values(values))
                if fault is not None:
                    factor = int(group.factors[fault[0]])
                    raise ValueError(f"energies: {_factors.describe(structure, factor, names)}: {fault[1]}")
    if problem.unary is None:
        return
    wrong = np.isnan(problem.unary) | (problem.unary == -np.inf)
    if wrong.any():
        place = int(np.flatnonzero(wrong.reshape(-1))[0])
        starts = _factors.state_starts(structure)
        variable = int(np.searchsorted(starts, place % starts[-1], side="right")) - 1
        raise ValueError(
            f"unary: variable {variable_name(variable, names)}: an energy must be finite or +inf, which "
            f"forbids, got {problem.unary.reshape(-1)[place]}"
        )


def _is_moderate(problem: GraphProblem) -> bool:
    """Whether all energies are numbers that no factor can multiply beyond its dtype."""
    energies = problem.energies
    if not energies.size:
        return True
    most = float(max(int(problem.structure.cardinalities.max()) - 1, 1)) ** 2
    limit = 0.5 * float(np.finfo(energies.dtype).max) / most
    with np.errstate(invalid="ignore"):
        return bool(energies.min() > -limit and energies.max() < limit)


def variable_name(variable: int, names: tuple[Hashable, ...] | None) -> str:
    """A variable in words."""
    return repr(names[variable]) if names is not None else str(variable)


@dataclass(frozen=True, eq=False)
class GraphBeliefs:
    """What inference found out about a factor graph, or about every graph of a batch.

    Of a batch every array has a first axis (n_graphs,), and scalars are arrays of that shape.

    Attributes
    ----------
    beta : float
        Inverse temperature: p(x) is proportional to exp(-beta E(x)). Infinite: minima instead of sums.
    beliefs : ndarray of shape (n_states,)
        All variables' beliefs, one after the other; see `marginals`.
    states : ndarray of int64, shape (n_variables,)
        The states that minimise E as far as is known where beta is infinite; else every variable's most
        probable state, the first one of several. `assignment` has them by name.
    energy : float
        E of `states`; +inf where they are forbidden.
    log_partition : float
        log Z = log sum_x exp(-beta E(x)), or Bethe's approximation of it; for infinite beta minus `energy`,
        the limit of log Z / beta where `states` are minimal.
    is_exact : bool
        Whether beliefs and `log_partition` are exact; else they are those of Bethe's approximation.
    n_iter : int
        Sweeps over the graph; updates of single factors for the schedule "residual"; 1 where two passes, or a
        junction tree, did it.
    residual : float
        The largest change of a message that was still to come; 0 where exact.
    converged : bool
        Whether `residual` is at most `tol`.
    statistics : ndarray of shape (n_energies,) or None
        The expectation of dE/d`energies` under the beliefs (at `states` for infinite beta): the marginals of
        a table, p(x != y) of a Potts factor, and so on. `factor_marginals` cuts it into factors.
    """

    beta: float
    beliefs: FloatArray
    states: Integers
    energy: Any
    log_partition: Any
    is_exact: bool
    n_iter: Any
    residual: Any
    converged: Any
    statistics: FloatArray | None
    structure: FactorStructure
    names: tuple[Hashable, ...] | None = None

    @property
    def free_energy(self) -> Any:
        """F_beta = -log Z / beta, which grows to min E with beta; `energy` for infinite beta."""
        return -self.log_partition if math.isinf(self.beta) else -self.log_partition / self.beta

    @property
    def marginals(self) -> list[FloatArray] | dict[Hashable, FloatArray]:
        """Every variable's belief, shape (cardinality,): a dict where variables have names, else a list.

        p(x_i) for finite beta. For infinite beta the min-marginal min E given x_i, less the least of them: 0
        at the states that a minimum may have.
        """
        cuts = _factors.state_starts(self.structure)[1:-1]
        per_variable = np.split(self.beliefs, cuts, axis=-1)
        return per_variable if self.names is None else dict(zip(self.names, per_variable, strict=True))

    @property
    def assignment(self) -> dict[Hashable, Any]:
        """`states` by the variables' names: ints, or arrays (n_graphs,)."""
        names = self.names or tuple(range(self.states.shape[-1]))
        columns = self.states.T.tolist() if self.states.ndim == 1 else list(self.states.T)
        return dict(zip(names, columns, strict=True))

    @property
    def factor_marginals(self) -> list[FloatArray]:
        """`statistics` cut into factors; those of tables have the tables' shapes."""
        if self.statistics is None:
            raise ValueError("factor_marginals: ask for them by statistics=True")
        cut = np.split(self.statistics, _factors.energy_starts(self.structure)[1:-1], axis=-1)
        for group in _factors.factor_groups(self.structure):
            if group.kind == _factors.FactorKind.TABLE:
                for factor in group.factors:
                    cut[factor] = cut[factor].reshape(*cut[factor].shape[:-1], *group.shape)
        return cut


def configuration_energy(problem: GraphProblem, states: Integers) -> float:
    """E of one configuration of a single graph, in float64."""
    total = problem.constant
    for group in _factors.factor_groups(problem.structure):
        total += float(_factors.evaluate(group, problem.energies, states[None]).sum(dtype=np.float64))
    if problem.unary is not None:
        places = _factors.state_starts(problem.structure)[:-1] + states
        total += float(problem.unary[places].sum(dtype=np.float64))
    return total


def refuse_batch(problem: GraphProblem, what: str) -> None:
    """ValueError where the energies are those of several graphs."""
    if problem.is_batch:
        raise ValueError(f"energies: {what} takes one graph at a time, got {problem.n_graphs}")

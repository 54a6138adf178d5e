"""Minimal configurations of submodular binary energies, by a maximal flow."""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import _factors
from .._check import FloatArray
from .._factors import FactorGroup, Integers
from ._graphs import GraphProblem, configuration_energy, problem_of, refuse_batch, variable_name

Reals = NDArray[np.float64]

# SciPy's capacities are int32, and so is the residual, capacity and flow back: half of that for each.
_MAX_FLOW = 2**30 - 1
# Violations of submodularity that rounding explains, relative to the table's numbers.
_ROUNDING = 16 * np.finfo(np.float64).eps


@dataclass(frozen=True, eq=False)
class MinCut:
    """A configuration of least energy.

    Attributes
    ----------
    states : ndarray of int64, shape (n_variables,)
        0 or 1; `assignment` has them by name. Of several minima the one with the fewest ones.
    energy : float
        E of `states`, in float64.
    bound : float
        `energy` lies at most this far above the minimum: what rounding the capacities to int32 may cost; 0
        where they are whole numbers, or multiples of a power of two, that fit.
    """

    states: Integers
    energy: float
    bound: float
    names: tuple[Hashable, ...] | None = None

    @property
    def assignment(self) -> dict[Hashable, int]:
        """`states` by the variables' names."""
        names = self.names or tuple(range(len(self.states)))
        return dict(zip(names, self.states.tolist(), strict=True))


def min_cut(graph: Any, energies: Any = None, unary: Any = None) -> MinCut:
    """The minimum of an energy of binary variables and submodular factors of one or two variables.

    A factor is submodular where E(0, 0) + E(1, 1) <= E(0, 1) + E(1, 0): it prefers equal states, as a Potts
    factor of positive weight does. The energy is then the capacity of a cut, up to a constant, and a maximal
    flow finds the least one in polynomial time. SciPy's flow takes int32: capacities are scaled by a power
    of two and rounded, and `bound` says what that may cost.

    Parameters
    ----------
    graph : FactorGraph or FactorStructure
        All variables binary, all factors of at most two variables. +inf forbids.
    energies : array-like of shape (n_energies,) or None
        None stands for the graph's own.
    unary : array-like of shape (n_states,) or None
        Energies of the variables' states, added to those of the factors.

    Returns
    -------
    MinCut

    Raises
    ------
    ValueError
        Where a variable is not binary, a factor is not submodular or has more than two variables (the message
        names it), or where all configurations are forbidden.

    References
    ----------
    V. Kolmogorov, R. Zabih, "What energy functions can be minimized via graph cuts?", IEEE TPAMI, 2004.

    Examples
    --------
    >>> from thalweg.energies import FactorGraph
    >>> from thalweg.inference import min_cut
    >>> graph = FactorGraph({"a": 2, "b": 2, "c": 2})
    >>> graph.add_unary(["a", "b", "c"], [[0, 3], [1, 0], [2, 0]])
    range(0, 3)
    >>> graph.add_potts([["a", "b"], ["b", "c"]], 2.0)
    range(3, 5)
    >>> found = min_cut(graph)
    >>> found.assignment, found.energy, found.bound
    ({'a': 0, 'b': 1, 'c': 1}, 2.0, 0.0)
    """
    problem = problem_of(graph, energies, unary)
    refuse_batch(problem, "a minimal cut")
    _refuse_not_binary(problem)
    scaled, unit = _in_units(problem)
    arcs = _arcs(scaled, unit)
    states, bound = _cut(arcs, len(problem.structure.cardinalities))
    energy = unit * configuration_energy(scaled, states)
    if math.isinf(energy):
        raise ValueError("energies: the least energy overflows float64")
    return MinCut(states, energy, unit * bound, problem.names)


def _in_units(problem: GraphProblem) -> tuple[GraphProblem, float]:
    """The problem, and a power of two in units of which its energies are: 1 unless sums would overflow."""
    given = [problem.energies] if problem.unary is None else [problem.energies, problem.unary]
    finite = [np.abs(a, where=np.isfinite(a), out=np.zeros_like(a)).max(initial=0) for a in given]
    largest = max(abs(problem.constant), *map(float, finite))
    terms = 16.0 * max(1, sum(a.size for a in given))  # no cost takes more of one number
    if largest <= np.finfo(np.float64).max / terms:
        return problem, 1.0
    unit = 2.0 ** math.ceil(math.log2(terms))
    unary = None if problem.unary is None else problem.unary / unit
    constant = problem.constant / unit
    return replace(problem, energies=problem.energies / unit, unary=unary, constant=constant), unit


class _Arcs(NamedTuple):
    """Costs: `ones` (n,) of state 1 rather than 0, `sources` 0 and `targets` 1 at once `costs`."""

    ones: Reals
    sources: Integers
    targets: Integers
    costs: Reals


def _refuse_not_binary(problem: GraphProblem) -> None:
    structure = problem.structure
    wrong = structure.cardinalities != 2
    if wrong.any():
        v = int(np.argmax(wrong))
        raise ValueError(
            f"graph: variable {variable_name(v, problem.names)} has {structure.cardinalities[v]} states, "
            "a minimal cut needs 2"
        )
    arities = np.diff(structure.scope_starts)
    if (arities > 2).any():
        factor = int(np.argmax(arities > 2))
        raise ValueError(
            f"{_factors.describe(structure, factor, problem.names)} has {arities[factor]} variables, "
            "a minimal cut takes at most 2"
        )


def _arcs(problem: GraphProblem, unit: float) -> _Arcs:
    fields = np.zeros((len(problem.structure.cardinalities), 2))
    if problem.unary is not None:
        fields += problem.unary.reshape(-1, 2)
    parts: list[tuple[Integers, Integers, Reals]] = [
        (np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
    ]
    for group in _factors.factor_groups(problem.structure):
        values = group.values(problem.energies).astype(np.float64)
        table = np.array(_factors.tables(group.kind, group.shape, values))
        if len(group.shape) == 1:
            np.add.at(fields, group.scopes[:, 0], table)
        else:
            parts += _pairs(problem, group, table, fields, unit)
    both = np.isinf(fields).all(axis=1)
    if both.any():
        _refuse_forbidden(variable_name(int(np.argmax(both)), problem.names))
    sources, targets, costs = (np.concatenate(column) for column in zip(*parts, strict=True))
    return _Arcs(fields[:, 1] - fields[:, 0], sources, targets, costs)


def _refuse_forbidden(who: str) -> None:
    raise ValueError(f"all configurations of variable {who} are forbidden")


def _pairs(
    problem: GraphProblem, group: FactorGroup, table: FloatArray, fields: Reals, unit: float
) -> list[tuple[Integers, Integers, Reals]]:
    """Splits tables (n, 2, 2) into `fields`, which it adds to, and arcs between variables."""
    first, second = group.scopes.T
    _force(table, first, fields)
    _force(table.transpose(0, 2, 1), second, fields)
    (e00, e01), (e10, e11) = table.transpose(1, 2, 0)
    with np.errstate(invalid="ignore"):
        cost = np.where(np.isinf(e01) | np.isinf(e10), np.inf, e01 + e10) - (e00 + e11)
    finite = np.where(np.isinf(table), 0.0, np.abs(table)).max(axis=(1, 2))
    wrong = np.isinf(e00) | np.isinf(e11) | ~(cost >= -_ROUNDING * finite)
    if wrong.any():
        row = int(np.argmax(wrong))
        what = _factors.describe(problem.structure, int(group.factors[row]), problem.names)
        equal, other = unit * float(e00[row] + e11[row]), unit * float(e01[row] + e10[row])
        raise ValueError(
            f"{what} is not submodular: E(0, 0) + E(1, 1) = {equal:g} exceeds E(0, 1) + E(1, 0) = {other:g}"
        )
    # Along the way from (0, 0) to (1, 1) that is not forbidden; the other one then costs `cost` more.
    by_first = ~np.isinf(e10)
    step = np.where(by_first, e10, np.where(np.isinf(e01), e00, e01))
    gains = np.where(by_first, step - e00, e11 - step), np.where(by_first, e11 - step, step - e00)
    np.add.at(fields[:, 1], first, gains[0])
    np.add.at(fields[:, 1], second, gains[1])
    parts = [
        (np.where(by_first, first, second), np.where(by_first, second, first), np.maximum(cost, 0.0)),
    ]
    closed = np.isinf(e01) & np.isinf(e10)
    parts.append((first[closed], second[closed], np.full(int(closed.sum()), np.inf)))
    return parts


def _force(table: FloatArray, variables: Integers, fields: Reals) -> None:
    """Forbids in `fields` the states that a table (n, 2, 2) wholly forbids, and frees them in the table."""
    for state in (0, 1):
        closed = np.isinf(table[:, state]).all(axis=1)
        np.add.at(fields[:, state], variables[closed], np.inf)
        table[closed, state] = table[closed, 1 - state]
    empty = np.isinf(table).all(axis=(1, 2))  # the variable has lost both states and is refused
    table[empty] = 0.0


def _cut(arcs: _Arcs, n_variables: int) -> tuple[Integers, float]:
    """States of a least cut, and what rounding may have cost."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import breadth_first_order, maximum_flow

    # the source's side has state 0, so that an arc from the source is cut where its variable has state 1
    source, sink, start = n_variables, n_variables + 1, n_variables + 2
    variables = np.arange(n_variables)
    tails = np.concatenate([np.full(n_variables, source), variables, arcs.sources])
    heads = np.concatenate([variables, np.full(n_variables, sink), arcs.targets])
    costs = np.concatenate([np.maximum(arcs.ones, 0.0), np.maximum(-arcs.ones, 0.0), arcs.costs])
    capacities, ceiling, bound = _whole(costs, _most_flow(costs, n_variables))
    # one arc into the source keeps the flow within int32 where no cut is finite
    tails, heads = np.append(tails, start), np.append(heads, source)
    size = n_variables + 3
    graph = csr_array((np.append(capacities, ceiling), (tails, heads)), shape=(size, size))
    graph.sum_duplicates()
    data = np.minimum(graph.data, ceiling).astype(np.int32)
    indices, indptr = graph.indices.astype(np.int32), graph.indptr.astype(np.int32)
    graph = csr_array((data, indices, indptr), shape=(size, size))
    found = maximum_flow(graph, start, sink)
    if found.flow_value >= ceiling:
        raise ValueError("all configurations are forbidden: every one has the energy +inf")
    residual = graph - csr_array(found.flow)
    residual.eliminate_zeros()
    reaching = breadth_first_order(residual.T.tocsr(), sink, return_predecessors=False)
    states = np.zeros(size, np.int64)
    states[reaching] = 1
    return states[:n_variables], bound


def _whole(costs: Reals, most: float) -> tuple[Integers, int, float]:
    """Costs in whole numbers, the one of arcs that no least cut has, and the sum of all roundings."""
    scale = _scale(len(costs), most)
    is_open = costs > most
    finite = np.where(is_open, 0.0, costs)
    whole = np.rint(finite * scale)
    bound = float(np.abs(finite - whole / scale).sum())
    ceiling = math.ceil(most * scale) + len(costs) + 1
    return np.where(is_open, ceiling, whole).astype(np.int64), ceiling, bound


def _most_flow(costs: Reals, n_variables: int) -> float:
    """No cut of finite capacity that is minimal has more than this."""
    ends = costs[:n_variables].sum(), costs[n_variables : 2 * n_variables].sum()
    return float(min(*ends, costs[np.isfinite(costs)].sum()))


def _scale(n_arcs: int, most: float) -> float:
    """The largest power of two with which the flow fits: at least 1 where whole costs do."""
    room = _MAX_FLOW - n_arcs - 2  # rounding adds at most half of one an arc
    if room < 1:
        raise ValueError(f"graph: {n_arcs} arcs are too many for int32 capacities")
    return 2.0 ** min(1000, math.floor(math.log2(room) - math.log2(most))) if most > 0 else 1.0

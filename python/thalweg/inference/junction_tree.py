"""Exact marginals, minima and log Z of factor graphs with loops, where the width allows."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _check, _factors
from .._base import FactorEnergy, FactorStructure
from .._factors import FactorGroup, Integers
from ._elimination import Cliques, TooLarge, TreeWidth, describe_cost, eliminate, in_units
from ._graphs import (
    GraphBeliefs,
    GraphProblem,
    configuration_energy,
    problem_of,
    refuse_batch,
)

Table = NDArray[np.float64]

# Tables that are made without being asked about.
MAX_BYTES = 2**30


def tree_width(graph: Any) -> TreeWidth:
    """What `junction_tree` would cost, without doing it.

    The variables are eliminated in the min-fill order; no table is made. The time grows with the square of
    the width, a large dense graph takes long.

    Parameters
    ----------
    graph : FactorGraph or FactorStructure

    Returns
    -------
    TreeWidth
        Width, number of cliques, size of the largest one, bytes of all tables.

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg.energies import FactorGraph
    >>> from thalweg.inference import tree_width
    >>> grid = FactorGraph([2] * 36)
    >>> numbers = np.arange(36).reshape(6, 6)
    >>> across = np.stack([numbers[:, :-1].ravel(), numbers[:, 1:].ravel()], axis=1)
    >>> down = np.stack([numbers[:-1].ravel(), numbers[1:].ravel()], axis=1)
    >>> _ = grid.add_potts(across), grid.add_potts(down)
    >>> cost = tree_width(grid)
    >>> cost.width, cost.largest_clique
    (6, 128)
    """
    structure = _structure_of(graph)
    return eliminate(structure).cost(structure.cardinalities)


def junction_tree(
    graph: Any,
    energies: Any = None,
    unary: Any = None,
    *,
    beta: float = 1.0,
    statistics: bool = False,
    max_bytes: int = MAX_BYTES,
) -> GraphBeliefs:
    """Exact inference in any factor graph whose width allows.

    Variables are eliminated in the min-fill order, which gives a tree of cliques; messages between the
    cliques, in float64 and in the log domain, towards the root and back, are exact. The time and the memory
    grow with the product of the cardinalities of the largest clique: `tree_width` tells it beforehand.

    Parameters
    ----------
    graph : FactorGraph or FactorStructure
    energies : array-like of shape (n_energies,) or None
        None stands for the graph's own.
    unary : array-like of shape (n_states,) or None
        Energies of the variables' states, added to those of the factors.
    beta : float, default=1.0
        Inverse temperature > 0. Infinite: minima, whose states are found by back-tracking.
    statistics : bool, default=False
        Whether to compute the factors' marginals.
    max_bytes : int, default=2**30
        Refuse a graph whose tables need more memory than this.

    Returns
    -------
    GraphBeliefs
        In float64, with `is_exact` True.

    Raises
    ------
    ValueError
        Where the tables would need more than `max_bytes`, and where all configurations are forbidden.

    References
    ----------
    S. L. Lauritzen, D. J. Spiegelhalter, "Local computations with probabilities on graphical structures and
    their application to expert systems", Journal of the Royal Statistical Society B, 1988.

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg.energies import FactorGraph
    >>> from thalweg.inference import junction_tree
    >>> ring = FactorGraph([2, 2, 2])
    >>> ring.add_potts([[0, 1], [1, 2], [2, 0]], [1.0, 1.0, -1.0])
    range(0, 3)
    >>> ring.add_unary(0, [0.0, 0.5])
    range(3, 4)
    >>> exact = junction_tree(ring)
    >>> states = np.indices((2, 2, 2)).reshape(3, -1).T
    >>> bool(np.isclose(exact.log_partition, np.log(np.exp(-ring.energy(states)).sum())))
    True
    >>> junction_tree(ring, beta=np.inf).energy
    0.0
    """
    problem = problem_of(graph, energies, unary)
    refuse_batch(problem, "a junction tree")
    beta = _check.inverse_temperature(beta, "beta")
    tree = JunctionTree(problem.structure, max_bytes).collected(problem, beta)
    tree.distribute()
    return _beliefs(problem, tree, statistics)


class JunctionTree:
    """The cliques of a structure, for graphs that differ in their energies alone; see `junction_tree`.

    Parameters
    ----------
    graph : FactorGraph or FactorStructure
    max_bytes : int, default=2**30
        ValueError where the tables need more memory than this.
    """

    def __init__(self, graph: Any, max_bytes: int = MAX_BYTES) -> None:
        limit = _check.whole_number(max_bytes, "max_bytes", minimum=1, maximum=2**62)
        self._cliques = _affordable(_structure_of(graph), limit)

    def infer(
        self, graph: FactorEnergy, unary: Any = None, *, beta: float = 1.0, statistics: bool = False
    ) -> GraphBeliefs:
        """As `junction_tree`, for a graph of this structure."""
        problem = problem_of(graph, None, unary)
        refuse_batch(problem, "a junction tree")
        tree = self.collected(problem, _check.inverse_temperature(beta, "beta"))
        tree.distribute()
        return _beliefs(problem, tree, statistics)

    def sample(
        self, graph: FactorEnergy, uniform: NDArray[np.float64], unary: Any = None, *, beta: float = 1.0
    ) -> Integers:
        """Independent configurations (n, n_variables) from exp(-beta E), exactly.

        Takes uniform numbers (n, n_variables) from [0, 1); `beta` is finite.
        """
        problem = problem_of(graph, None, unary)
        refuse_batch(problem, "a junction tree")
        return self.collected(problem, _check.real_number(beta, "beta", above=0.0)).draw(uniform)

    def collected(self, problem: GraphProblem, beta: float) -> _Tree:
        """Tables with all messages to the roots; ValueError where all configurations are forbidden."""
        tree = _Tree(problem, self._cliques, beta)
        tree.collect()
        if tree.free_energy == np.inf:
            raise ValueError("all configurations are forbidden: every one has the energy +inf")
        return tree


def _structure_of(graph: Any) -> FactorStructure:
    if isinstance(graph, FactorStructure):
        _factors.check_structure(graph)
        return graph
    if isinstance(graph, FactorEnergy):
        return graph.structure
    raise TypeError(f"graph: expected a FactorGraph or a FactorStructure, got {type(graph).__name__}")


def _affordable(structure: FactorStructure, limit: int) -> Cliques:
    try:
        cliques = eliminate(structure, limit)
    except TooLarge as fault:
        raise ValueError(
            f"the junction tree needs more than {in_units(fault.n_bytes)} of tables, and max_bytes allows "
            f"{in_units(limit)}; raise max_bytes, or use belief propagation"
        ) from None
    cost = cliques.cost(structure.cardinalities)
    if cost.n_bytes > limit:
        raise ValueError(
            f"the junction tree needs {describe_cost(cost)}, and max_bytes allows {in_units(limit)}; raise "
            "max_bytes, or use belief propagation"
        )
    return cliques


class _Tree:
    """Tables of energies on the cliques, and the messages between them."""

    def __init__(self, problem: GraphProblem, cliques: Cliques, beta: float) -> None:
        self.cliques, self.beta = cliques, beta
        self.cardinalities = problem.structure.cardinalities
        self.free_energy = problem.constant
        self.tables: list[Table] = [np.zeros(self._shape(m)) for m in cliques.members]
        self._upwards: list[Table] = [np.zeros(())] * len(self.tables)
        self._add_factors(problem)
        self._add_unary(problem)

    def _shape(self, variables: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(int(self.cardinalities[v]) for v in variables)

    def _add_factors(self, problem: GraphProblem) -> None:
        for group in _factors.factor_groups(problem.structure):
            values = group.values(problem.energies).astype(np.float64)
            for row, scope in enumerate(group.scopes):
                table = _factors.tables(group.kind, group.shape, values[row : row + 1])[0]
                self._add(scope, table)

    def _add_unary(self, problem: GraphProblem) -> None:
        if problem.unary is None:
            return
        starts = _factors.state_starts(problem.structure)
        for v, (first, last) in enumerate(itertools.pairwise(starts)):
            self._add(np.array([v]), problem.unary[first:last].astype(np.float64))

    def _add(self, scope: Integers, table: Table) -> None:
        place = self.home_of(scope)
        if place < 0:
            self.free_energy += float(table.reshape(-1)[0])
            return
        kept = [int(v) for v in scope if self.cardinalities[v] > 1]
        ordered = table.reshape(self._shape(tuple(kept))).transpose(np.argsort(kept))
        self.tables[place] += self._spread(ordered, tuple(sorted(kept)), place)

    def home_of(self, scope: Integers) -> int:
        """A clique that holds the scope less variables with one state; -1 where there are no others."""
        free = [int(v) for v in scope if self.cardinalities[v] > 1]
        return int(self.cliques.home[min(free, key=lambda v: self.cliques.order[v])]) if free else -1

    def _spread(self, table: Table, variables: tuple[int, ...], place: int) -> Table:
        """A table of some of a clique's variables, in the clique's axes."""
        return table.reshape(
            [int(self.cardinalities[v]) if v in variables else 1 for v in self._members(place)]
        )

    def _members(self, place: int) -> tuple[int, ...]:
        return self.cliques.members[place]

    def others(self, place: int, variables: tuple[int, ...]) -> tuple[int, ...]:
        """Axes of a clique's variables that are not among these."""
        return tuple(axis for axis, v in enumerate(self._members(place)) if v not in variables)

    def collect(self) -> None:
        """Messages to the roots; the tables take in what comes from below."""
        for place, parent in enumerate(self.cliques.parents):
            separator = self.cliques.separators[place]
            message = soft_minimum(self.tables[place], self.others(place, separator), self.beta)
            if parent < 0:
                self.free_energy += float(message)
            else:
                self._upwards[place] = message
                self.tables[parent] += self._spread(message, separator, parent)

    def back_track(self) -> Integers:
        """States of the least energy, from the roots downwards: after `collect`, before `distribute`."""
        states = np.zeros(len(self.cardinalities), np.int64)
        for place in reversed(range(len(self.tables))):
            separator = self.cliques.separators[place]
            members = self._members(place)
            chosen = tuple(int(states[v]) if v in separator else slice(None) for v in members)
            rest = self.tables[place][chosen]
            free = [v for v in members if v not in separator]
            states[free] = np.unravel_index(int(np.argmin(rest)), rest.shape)
        return states

    def draw(self, uniform: Table) -> Integers:
        """Configurations by inverting distributions, from the roots down: after `collect` alone."""
        states = np.zeros((len(uniform), len(self.cardinalities)), np.int64)
        for place in reversed(range(len(self.tables))):
            members, separator = self._members(place), self.cliques.separators[place]
            free = tuple(v for v in members if v not in separator)
            order = [members.index(v) for v in separator + free]
            table = self.tables[place].transpose(order).reshape(-1, math.prod(self._shape(free)))
            given = np.zeros(len(states), np.int64)
            for v in separator:
                given = given * int(self.cardinalities[v]) + states[:, v]
            drawn = np.empty(len(states), np.int64)
            for row in np.unique(given):
                is_row = given == row
                total = np.exp(-self.beta * (table[row] - table[row].min())).cumsum()
                drawn[is_row] = np.searchsorted(total, uniform[is_row, place] * total[-1], side="right")
            states[:, free] = np.stack(np.unravel_index(drawn, self._shape(free)), axis=1)
        return states

    def distribute(self) -> None:
        """Messages from the roots; each table then says all there is to say of its variables."""
        self.states = self.back_track()
        for place in reversed(range(len(self.tables))):
            parent = self.cliques.parents[place]
            if parent < 0:
                continue
            separator = self.cliques.separators[place]
            whole = soft_minimum(self.tables[parent], self.others(parent, separator), self.beta)
            own = self._upwards[place]
            # where the child itself forbids, nothing that is added changes that
            message = np.where(np.isinf(own), 0.0, whole - np.where(np.isinf(own), 0.0, own))
            self.tables[place] += self._spread(message, separator, place)

    def marginal(self, place: int, variables: tuple[int, ...]) -> Table:
        """Of some variables of a clique, increasing: probabilities, or min-marginals less the minimum."""
        over = self.others(place, variables)
        if math.isinf(self.beta):
            least = self.tables[place].min(axis=over)
            return np.asarray(least - least.min())
        table = self.tables[place]
        p = np.exp(-self.beta * (table - table.min())).sum(axis=over)
        return np.asarray(p / p.sum())


def soft_minimum(table: Table, axes: tuple[int, ...], beta: float) -> Table:
    """-1/beta log sum exp(-beta table) over the axes; the minimum for infinite beta."""
    least = table.min(axis=axes, keepdims=True)
    if math.isinf(beta) or not axes:
        return np.asarray(least.squeeze(axis=axes))
    shift = np.where(np.isinf(least), 0.0, least)
    with np.errstate(divide="ignore"):
        sums = np.log(np.exp(-beta * (table - shift)).sum(axis=axes))
    return np.asarray(np.squeeze(shift, axis=axes) - sums / beta)


def _beliefs(problem: GraphProblem, tree: _Tree, statistics: bool) -> GraphBeliefs:
    is_infinite = math.isinf(tree.beta)
    beliefs = _variable_beliefs(problem, tree)
    states = tree.states if is_infinite else _most_probable(problem, beliefs)
    energy = configuration_energy(problem, states)
    return GraphBeliefs(
        beta=tree.beta,
        beliefs=beliefs,
        states=states,
        energy=energy,
        log_partition=-energy if is_infinite else -tree.beta * tree.free_energy,
        is_exact=True,
        n_iter=1,
        residual=0.0,
        converged=True,
        statistics=_statistics(problem, tree) if statistics else None,
        structure=problem.structure,
        names=problem.names,
    )


def _variable_beliefs(problem: GraphProblem, tree: _Tree) -> Table:
    starts = _factors.state_starts(problem.structure)
    beliefs = np.empty(int(starts[-1]))
    for v, place in enumerate(tree.cliques.home):
        lone = 0.0 if math.isinf(tree.beta) else 1.0  # of a variable with one state
        beliefs[starts[v] : starts[v + 1]] = tree.marginal(int(place), (v,)) if place >= 0 else lone
    return beliefs


def _most_probable(problem: GraphProblem, beliefs: Table) -> Integers:
    starts = _factors.state_starts(problem.structure)
    return np.array([int(np.argmax(b)) for b in np.split(beliefs, starts[1:-1])], np.int64)


def _statistics(problem: GraphProblem, tree: _Tree) -> Table:
    expected = np.zeros(len(problem.energies))
    for group in _factors.factor_groups(problem.structure):
        if group.n_numbers == 0:
            continue
        if math.isinf(tree.beta):
            weight = np.ones(1)
            _factors.add_derivatives(group, problem.energies, tree.states[None], weight, expected)
        else:
            marginals = np.stack([_factor_marginal(group, scope, tree) for scope in group.scopes])
            values = group.values(problem.energies).astype(np.float64)
            group.put(expected, _factors.expected_derivatives(group, values, marginals))
    return expected


def _factor_marginal(group: FactorGroup, scope: Integers, tree: _Tree) -> Table:
    place = tree.home_of(scope)
    if place < 0:
        return np.ones(group.shape)
    kept = [int(v) for v in scope if tree.cardinalities[v] > 1]
    marginal = tree.marginal(place, tuple(sorted(kept)))
    back = np.argsort(np.argsort(kept))  # from increasing variables to the order of the scope
    return np.asarray(marginal.transpose(back).reshape(group.shape))

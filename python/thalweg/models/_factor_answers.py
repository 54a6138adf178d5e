"""Configurations of a factor graph as answers to a loss."""

from __future__ import annotations

from math import inf

import numpy as np
from numpy.typing import NDArray

from .. import _factors
from .._check import FloatArray
from ..energies import FactorGraph
from ._factor_inference import Found, GraphInference, States
from ._structured_answers import Gradients, StructuredAnswers


class FactorAnswers(StructuredAnswers):
    """What the observed variables of rows could be, of which what was observed is right.

    An answer's energy is that of a configuration of all variables, minimised over those that were not
    observed, or where `beta` is finite -1/beta log of the sum of exp(-beta E) over them.

    Parameters
    ----------
    graph : FactorGraph
    inference : GraphInference
    right : ndarray of int64, shape (n, n_variables)
        -1 where a variable was not observed.
    context : ndarray of shape (n, n_states) or None
        Energies of single states besides.
    beta : float
        Of the sums over variables that were not observed; infinite for minima.
    """

    def __init__(
        self,
        graph: FactorGraph,
        inference: GraphInference,
        right: NDArray[np.int64],
        context: FloatArray | None,
        beta: float,
    ) -> None:
        self._graph, self._inference = graph, inference
        self._right, self._context, self._beta = right, context, beta
        self._states = States.of(graph.structure)
        self._is_seen = right >= 0
        self._is_whole = self._is_seen.all(axis=1)
        self._hidden: Found | None = None
        self._held: tuple[float, Found] | None = None

    def energy(self) -> NDArray[np.float64]:
        values = np.empty(len(self._right))
        whole = np.flatnonzero(self._is_whole)
        values[whole] = self._energy_of(self._right[whole], whole)
        if not self._is_whole.all():
            values[~self._is_whole] = self._of_hidden().free_energy
        return values

    def _energy_of(self, states: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """E of whole configurations, in the contexts of these rows."""
        values = np.asarray(self._graph.energy(states), np.float64)
        if self._context is None:
            return values
        chosen = self._states.number == states[:, self._states.owner]
        own = self._context[rows]
        total: NDArray[np.float64] = values + np.where(chosen, own, 0).sum(axis=1, dtype=np.float64)
        return total

    def _of_hidden(self) -> Found:
        """Of the rows with unobserved variables, given the others."""
        if self._hidden is None:
            rows = np.flatnonzero(~self._is_whole)
            self._hidden = self._infer(self._clamped(self._right[rows], rows), self._beta, True)
        return self._hidden

    def _clamped(self, seen: NDArray[np.int64], rows: NDArray[np.int64]) -> FloatArray:
        context = None if self._context is None else self._context[rows]
        return self._states.clamped(seen, context, self._graph.dtype)

    def _infer(self, unary: FloatArray | None, beta: float, statistics: bool = False) -> Found:
        return self._inference.infer(self._graph, unary, beta, statistics=statistics)

    # --- the most offending incorrect answer

    def offending(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        every = np.arange(len(self._right))
        found = self._infer(self._context, inf)
        states = np.broadcast_to(found.states, self._right.shape).copy()
        is_right = np.where(self._is_seen, states == self._right, True).all(axis=1)
        rows = np.flatnonzero(is_right)
        best = np.broadcast_to(found.beliefs, (len(every), len(self._states.owner)))[rows]
        states[rows], exists = self._second(best, rows)
        energy = self._energy_of(states, every)
        energy[rows[~exists]] = inf
        if not self._inference.is_exact:
            near, cost = self._best_neighbour(states)
            is_lower = cost < energy
            states[is_lower], energy[is_lower] = near[is_lower], cost[is_lower]
        return states, energy

    def _second(
        self, beliefs: FloatArray, rows: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """The best configurations that are not right in all that was seen, and whether there are any.

        They differ somewhere: the least min-marginal of a state that was seen otherwise is their energy.
        """
        right = self._right[rows]
        own = right[:, self._states.owner]
        costs = np.where((own >= 0) & (own != self._states.number), beliefs, inf)
        place = costs.argmin(axis=1)
        exists = np.isfinite(costs[np.arange(len(rows)), place])
        states = np.maximum(right, 0)
        if exists.any():
            there = np.flatnonzero(exists)
            only = np.full((len(there), right.shape[1]), -1)
            forced = place[there]
            only[np.arange(len(there)), self._states.owner[forced]] = self._states.number[forced]
            states[there] = self._infer(self._clamped(only, rows[there]), inf).states
        return states, exists

    def _best_neighbour(self, states: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """What was seen, with that one variable changed which costs least; the unobserved as in `states`."""
        base = np.where(self._is_seen, self._right, states)
        cost = self._local_energies(base)
        if self._context is not None:
            cost += self._context
        own, number = base[:, self._states.owner], self._states.number
        is_own = own == number
        here = np.zeros(base.shape)
        rows, places = np.nonzero(is_own)
        here[rows, self._states.owner[places]] = cost[is_own]
        with np.errstate(invalid="ignore"):
            change = cost - here[:, self._states.owner]
        is_other = ~is_own & self._is_seen[:, self._states.owner]
        change = np.where(is_other & ~np.isnan(change), change, inf)
        place = change.argmin(axis=1)
        every = np.arange(len(base))
        changed = base.copy()
        changed[every, self._states.owner[place]] = number[place]
        energy = self._energy_of(changed, every)
        energy[~is_other[every, place]] = inf
        return changed, energy

    def _local_energies(self, states: NDArray[np.int64]) -> NDArray[np.float64]:
        """(n, n_states): of the factors on a variable where it has this state, the others as they are."""
        graph, n_variables = self._graph, states.shape[1]
        starts = _factors.state_starts(graph.structure)
        cost = np.zeros((len(self._states.owner), len(states)))
        for group in _factors.factor_groups(graph.structure):
            for axis, count in enumerate(group.shape):
                scopes = group.scopes.copy()
                scopes[:, axis] = n_variables  # a column beside the variables, of the state that is tried
                tried = group._replace(scopes=scopes)
                for state in range(count):
                    with_state = np.column_stack([states, np.full(len(states), state)])
                    values = _factors.evaluate(tried, graph.energies, with_state)
                    np.add.at(cost, starts[group.scopes[:, axis]] + state, values.T)
        by_row: NDArray[np.float64] = cost.T.copy()
        return by_row

    # --- sums over all configurations

    def free_energy(self, beta: float) -> NDArray[np.float64]:
        free: NDArray[np.float64] = np.broadcast_to(self._sums(beta).free_energy, len(self._right)).copy()
        return free

    def expected(self, beta: float, weight: NDArray[np.float64]) -> Gradients:
        return np.zeros(0), self._weighted(self._sums(beta), weight)

    def _sums(self, beta: float) -> Found:
        """Asked for twice with one beta: first free energies, then statistics."""
        if self._held is None or self._held[0] != beta:
            self._held = beta, self._infer(self._context, beta, True)
        return self._held[1]

    def counted(self, states: NDArray[np.int64] | None, weight: NDArray[np.float64]) -> Gradients:
        if states is not None:
            return np.zeros(0), self._graph.gradient(states, weight)
        whole = self._is_whole
        total = self._graph.gradient(self._right[whole], weight[whole])
        if not whole.all():
            total += self._weighted(self._of_hidden(), weight[~whole])
        return np.zeros(0), total

    @staticmethod
    def _weighted(found: Found, weight: NDArray[np.float64]) -> NDArray[np.float64]:
        statistics = np.asarray(found.statistics, np.float64)
        if len(statistics) == 1:  # one graph for all rows
            weight = weight.sum(keepdims=True)
        total: NDArray[np.float64] = weight @ statistics
        return total

"""Orders of elimination, and the junction tree that one leads to."""

from __future__ import annotations

import heapq
import itertools
import math
from dataclasses import dataclass

import numpy as np

from .._base import FactorStructure
from .._factors import Integers

_BYTES = 8  # float64


@dataclass(frozen=True)
class TreeWidth:
    """What exact inference by a junction tree costs, for the min-fill order of elimination.

    Attributes
    ----------
    width : int
        Variables of the largest clique less one: the treewidth, or a little more, since min-fill is a
        heuristic.
    n_cliques : int
    largest_clique : int
        Joint states of the largest clique.
    n_bytes : int
        Memory of the tables, float64.
    """

    width: int
    n_cliques: int
    largest_clique: int
    n_bytes: int


@dataclass(frozen=True, eq=False)
class Cliques:
    """The cliques of a junction tree (a forest), children before their parents.

    Attributes
    ----------
    members : list of tuple of int
        The variables of each clique, increasing.
    separators : list of tuple of int
        Those that it shares with its parent, increasing; none of a root.
    parents : list of int
        -1 of a root.
    home : ndarray of int64, shape (n_variables,)
        A clique that holds the variable and all that is eliminated later and linked with it; -1 of variables
        with one state, which are in no clique.
    order : ndarray of int64, shape (n_variables,)
        When a variable is eliminated.
    """

    members: list[tuple[int, ...]]
    separators: list[tuple[int, ...]]
    parents: list[int]
    home: Integers
    order: Integers

    def cost(self, cardinalities: Integers) -> TreeWidth:
        """Width and memory."""
        sizes = [math.prod(int(cardinalities[v]) for v in m) for m in self.members]
        shared = [math.prod(int(cardinalities[v]) for v in s) for s in self.separators]
        largest = max(sizes, default=1)
        width = max((len(m) for m in self.members), default=1) - 1
        return TreeWidth(width, len(sizes), largest, table_bytes(sum(sizes), sum(shared), largest))


def table_bytes(cliques: int, separators: int, largest: int) -> int:
    """Of so many joint states: tables, messages both ways, and three temporaries of the largest table."""
    return _BYTES * (cliques + 2 * separators + 3 * largest)


class TooLarge(Exception):
    """Raised when the tables of an order of elimination pass the limit; it holds the bytes up to there."""

    def __init__(self, n_bytes: int) -> None:
        super().__init__(n_bytes)
        self.n_bytes = n_bytes


def neighbours(structure: FactorStructure) -> list[set[int]]:
    """For every variable those that share a factor with it; variables with one state are left out."""
    linked: list[set[int]] = [set() for _ in structure.cardinalities]
    is_fixed = structure.cardinalities == 1
    starts, variables = structure.scope_starts.tolist(), structure.scope_variables.tolist()
    for first, last in itertools.pairwise(starts):
        if last - first > 1:
            scope = {v for v in variables[first:last] if not is_fixed[v]}
            for v in scope:
                linked[v] |= scope
    for v, others in enumerate(linked):
        others.discard(v)
    return linked


def eliminate(structure: FactorStructure, max_bytes: float = math.inf) -> Cliques:
    """The cliques of the min-fill order; TooLarge as soon as their tables pass `max_bytes`.

    References
    ----------
    D. Koller, N. Friedman, Probabilistic Graphical Models, MIT Press 2009, sections 9.4 and 10.4.
    """
    cardinalities = structure.cardinalities.tolist()
    linked = neighbours(structure)
    least = _least_clique(linked, cardinalities)
    if table_bytes(least, 0, least) > max_bytes:
        raise TooLarge(table_bytes(least, 0, least))
    queue = _FillQueue(linked, cardinalities)
    order = np.full(len(cardinalities), -1, np.int64)
    tree = _TreeBuilder(len(cardinalities))
    while queue:
        v = queue.pop()
        order[v] = tree.n_eliminated
        others = linked[v]
        # a clique may yet turn out to be part of another, so that the sum is known at the end alone
        size = cardinalities[v] * math.prod(cardinalities[u] for u in others)
        if table_bytes(size, 0, size) > max_bytes:
            raise TooLarge(table_bytes(size, 0, size))
        tree.add(v, others)
        queue.remove(v)
    return tree.finish(order)


def _least_clique(linked: list[set[int]], cardinalities: list[int]) -> int:
    """Joint states that the largest clique of every order has at least, by the graph's degeneracy.

    Some subgraph has all degrees at least d; the first of it to be eliminated is in a clique of d + 1.
    """
    degrees = [len(others) for others in linked]
    queue = [(d, v) for v, d in enumerate(degrees)]
    heapq.heapify(queue)
    left, degeneracy = set(range(len(linked))), 0
    while queue:
        degree, v = heapq.heappop(queue)
        if v not in left or degree != degrees[v]:
            continue
        left.discard(v)
        degeneracy = max(degeneracy, degree)
        for u in linked[v] & left:
            degrees[u] -= 1
            heapq.heappush(queue, (degrees[u], u))
    counts = sorted(k for k in cardinalities if k > 1)
    return math.prod(counts[: degeneracy + 1])


class _FillQueue:
    """Variables by how many links their elimination would add, then by the size of the clique."""

    def __init__(self, linked: list[set[int]], cardinalities: list[int]) -> None:
        self._linked, self._cardinalities = linked, cardinalities
        self._left = {v for v, k in enumerate(cardinalities) if k > 1}
        self._key = {v: self._measure(v) for v in self._left}
        self._heap = [(*key, v) for v, key in self._key.items()]
        heapq.heapify(self._heap)

    def __len__(self) -> int:
        return len(self._left)

    def _measure(self, v: int) -> tuple[int, float]:
        others = self._linked[v]
        missing = sum(len(others - self._linked[u]) - 1 for u in others)
        return missing // 2, sum(math.log(self._cardinalities[u]) for u in others)

    def pop(self) -> int:
        while True:
            *key, v = heapq.heappop(self._heap)
            if v in self._left and self._key[v] == tuple(key):
                self._left.discard(v)
                return v

    def remove(self, v: int) -> None:
        """Links the neighbours of v with each other, and forgets v."""
        others = self._linked[v]
        touched = set(others)
        for u in others:
            added = others - self._linked[u]
            added.discard(u)
            self._linked[u] |= added
            self._linked[u].discard(v)
            for w in added:
                if w > u:
                    touched |= self._linked[u] & self._linked[w]
        for u in touched & self._left:
            self._key[u] = self._measure(u)
            heapq.heappush(self._heap, (*self._key[u], u))


class _TreeBuilder:
    """Collects the cliques of an elimination and leaves out those that another one holds."""

    def __init__(self, n_variables: int) -> None:
        self._eliminated: list[int] = []
        self._later: list[set[int]] = []
        self._n_variables = n_variables

    @property
    def n_eliminated(self) -> int:
        return len(self._eliminated)

    def add(self, v: int, others: set[int]) -> None:
        self._eliminated.append(v)
        self._later.append(set(others))

    def finish(self, order: Integers) -> Cliques:
        count = len(self._eliminated)
        parents = [min((int(order[u]) for u in later), default=-1) for later in self._later]
        holder = list(range(count))  # the clique that holds that of the k-th elimination
        for k, parent in enumerate(parents):
            # k precedes its parent; of several that hold the parent's clique the first one stands for it
            if (
                parent >= 0
                and len(self._later[k]) == len(self._later[parent]) + 1
                and holder[parent] == parent
            ):
                holder[parent] = holder[k]
        kept = [k for k in range(count) if holder[k] == k]
        # a clique that stands for its ancestors hangs where the last of them hung
        top = {k: k for k in kept}
        for k in range(count):
            top[holder[k]] = max(top[holder[k]], k)
        placed = {k: i for i, k in enumerate(sorted(kept, key=lambda k: top[k]))}
        members: list[tuple[int, ...]] = [()] * len(kept)
        separators, above = members.copy(), [-1] * len(kept)
        for k, place in placed.items():
            members[place] = tuple(sorted({self._eliminated[k], *self._later[k]}))
            separators[place] = tuple(sorted(self._later[top[k]]))
            if parents[top[k]] >= 0:
                above[place] = placed[holder[parents[top[k]]]]
        home = np.full(self._n_variables, -1, np.int64)
        for k, v in enumerate(self._eliminated):
            home[v] = placed[holder[k]]
        return Cliques(members, separators, above, home, order)


def describe_cost(cost: TreeWidth) -> str:
    """The cost in words."""
    return (
        f"width {cost.width}, largest clique of {cost.largest_clique:,} joint states, "
        f"{in_units(cost.n_bytes)} of tables"
    )


def in_units(n_bytes: float) -> str:
    """`3.2 GiB`; powers of ten where that is beyond counting."""
    if n_bytes > 2.0**70:
        return f"about 1e{int(math.log10(n_bytes))} bytes"
    for unit in ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB"):
        if n_bytes < 1024 or unit == "PiB":
            break
        n_bytes /= 1024
    return f"{n_bytes:.0f} {unit}" if unit == "bytes" else f"{n_bytes:.1f} {unit}"

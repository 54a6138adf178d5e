"""What is left of factors when some of their variables are observed."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from .. import _factors
from .._check import FloatArray
from .._factors import FactorGroup, FactorKind, Integers

# Inputs of a logical factor that a table may stand for: 2**20 joint states.
_MAX_INPUTS = 20


class Conditioning:
    """Gathers the factors over the free variables, numbered anew.

    Parameters
    ----------
    observed : ndarray of int64, shape (n_variables,)
        The state of every observed variable, -1 of the free ones.
    names : sequence
        The variables' names, for errors.
    """

    def __init__(self, observed: Integers, names: Sequence[Hashable]) -> None:
        self.constant = 0.0
        self._observed, self._names = observed, names
        self._new = np.cumsum(observed < 0) - 1
        self._parts: list[tuple[FactorKind, Integers, FloatArray]] = []

    def factors(self) -> Iterator[tuple[FactorKind, Integers, FloatArray]]:
        """Kind, scopes (n, arity) and numbers (n, n_numbers) of what is left."""
        yield from self._parts

    def take(self, group: FactorGroup, energies: FloatArray) -> None:
        """Conditions the factors of a group."""
        values = group.values(energies)
        for is_seen, rows in _factors.equal_rows(self._observed[group.scopes] >= 0):
            scopes = group.scopes[rows]
            if not is_seen.any():
                self._keep(group.kind, scopes, values[rows])
            elif group.kind in _factors.LOGICAL:
                for number, scope in zip(group.factors[rows], scopes):
                    self._logical(int(number), group.kind, scope, energies.dtype)
            else:
                # the factors' own tables, of one pattern only, not all of the group at once
                table = _factors.tables(group.kind, group.shape, values[rows])
                self._table(group.factors[rows], group.kind, scopes, is_seen, table)

    def _keep(self, kind: FactorKind, scopes: Integers, values: FloatArray) -> None:
        self._parts.append((kind, self._new[scopes], values))

    def _table(
        self,
        numbers: Integers,
        kind: FactorKind,
        scopes: Integers,
        is_seen: NDArray[np.bool_],
        table: FloatArray,
    ) -> None:
        for axis in np.flatnonzero(is_seen)[::-1]:
            states = self._observed[scopes[:, axis]].reshape(-1, *(1,) * (table.ndim - 1))
            table = np.take_along_axis(table, states, axis=int(axis) + 1).squeeze(axis=int(axis) + 1)
        if is_seen.all():
            if np.isinf(table).any():
                row = int(np.argmax(np.isinf(table)))
                self._refuse(int(numbers[row]), kind, scopes[row])
            self.constant += float(table.sum(dtype=np.float64))
        else:
            self._keep(FactorKind.TABLE, scopes[:, ~is_seen], table.reshape(len(table), -1))

    def _logical(self, number: int, kind: FactorKind, scope: Integers, dtype: np.dtype[np.floating]) -> None:
        """One input that is `decisive` makes the output so; else the output is the opposite."""
        decisive = 1 if kind == FactorKind.OR else 0
        inputs, output = scope[:-1], int(scope[-1])
        free = inputs[self._observed[inputs] < 0]
        said = int(self._observed[output])
        decided = (self._observed[inputs] == decisive).any()
        if decided or not len(free):
            follows = decisive if decided else 1 - decisive
            if said < 0:
                self._force(output, follows, dtype)
            elif said != follows:
                self._refuse(number, kind, scope)
        elif said < 0:
            self._keep(kind, np.array([[*free, output]]), np.empty((1, 0), dtype))
        elif said != decisive:
            for variable in free:
                self._force(int(variable), 1 - decisive, dtype)
        else:
            self._some(number, kind, scope, free, decisive, dtype)

    def _force(self, variable: int, state: int, dtype: np.dtype[np.floating]) -> None:
        table = np.full((1, 2), np.inf, dtype)
        table[0, state] = 0.0
        self._keep(FactorKind.TABLE, np.array([[variable]]), table)

    def _some(
        self,
        number: int,
        kind: FactorKind,
        scope: Integers,
        free: Integers,
        state: int,
        dtype: np.dtype[np.floating],
    ) -> None:
        """At least one of the free inputs is in this state."""
        if len(free) > _MAX_INPUTS:
            raise ValueError(
                f"{_factors.describe_factor(number, int(kind), scope, self._names)}: its observed "
                f"output makes a table of 2**{len(free)} joint states of its free inputs, and at most "
                f"2**{_MAX_INPUTS} are made"
            )
        table = np.zeros((1, 2 ** len(free)), dtype)
        table[0, 0 if state == 1 else -1] = np.inf
        self._keep(FactorKind.TABLE, free[None], table)

    def _refuse(self, number: int, kind: FactorKind, scope: Integers) -> None:
        seen = {self._names[v]: int(self._observed[v]) for v in scope if self._observed[v] >= 0}
        who = _factors.describe_factor(number, int(kind), scope, self._names)
        raise ValueError(f"states: {who} forbids the observed {seen}")

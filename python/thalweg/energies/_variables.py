"""The variables of a factor graph: their names and numbers, scopes and states as users give them."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _check
from .._factors import Integers


class Variables:
    """Names and cardinalities; names are 0, 1, ... where `is_named` is False.

    Parameters
    ----------
    names : tuple
    cardinalities : ndarray of int64
    is_named : bool
    """

    def __init__(self, names: tuple[Hashable, ...], cardinalities: Integers, is_named: bool) -> None:
        self.names, self.cardinalities, self.is_named = names, cardinalities, is_named
        self._numbers = {name: i for i, name in enumerate(names)} if is_named else {}

    @classmethod
    def of(cls, cardinalities: Sequence[int] | Mapping[Any, int] | NDArray[Any]) -> Variables:
        """What a user gives: cardinalities, or a dict of them by name."""
        is_named = isinstance(cardinalities, Mapping)
        if isinstance(cardinalities, Mapping):
            names, given = tuple(cardinalities), list(cardinalities.values())
        else:
            is_scalar = isinstance(cardinalities, np.ndarray) and cardinalities.ndim == 0
            if is_scalar or not isinstance(cardinalities, Iterable) or isinstance(cardinalities, str | bytes):
                raise TypeError(
                    "cardinalities: expected a sequence of whole numbers, or a dict of them by name, "
                    f"got {cardinalities!r}"
                )
            given = list(cardinalities)
            names = tuple(range(len(given)))
        if not given:
            raise ValueError("cardinalities: expected at least one variable, got none")
        counts = [
            _check.whole_number(k, f"cardinalities: variable {n!r}", minimum=1) for n, k in zip(names, given)
        ]
        return cls(names, np.array(counts, np.int64), is_named)

    def __len__(self) -> int:
        return len(self.names)

    def some(self, numbers: Integers) -> Variables:
        """Only these, under the names that they have."""
        names = tuple(self.names[int(v)] for v in numbers)
        is_named = self.is_named or names != tuple(range(len(names)))
        return Variables(names, self.cardinalities[numbers], is_named)

    def shape(self, scope: Integers) -> tuple[int, ...]:
        """The cardinalities of a scope."""
        return tuple(int(k) for k in self.cardinalities[scope])

    # --- names

    def is_name(self, value: Any) -> bool:
        """Whether it can be a variable's name here."""
        if not isinstance(value, Hashable):
            return False
        if not self.is_named:
            return isinstance(value, int | np.integer)
        try:
            return value in self._numbers
        except TypeError:  # a tuple with a list in it
            return False

    def is_single(self, value: Any) -> bool:
        """Whether it is meant as one name, known or not."""
        return self.is_name(value) or isinstance(value, str | bytes) or not isinstance(value, Iterable)

    def is_scope(self, variables: Any) -> bool:
        """Whether it is the scope of one factor rather than a sequence of scopes."""
        if isinstance(variables, np.ndarray):
            return variables.ndim == 1
        return isinstance(variables, Iterable) and all(self.is_single(v) for v in variables)

    def number(self, name: Any) -> int:
        """The number of a variable."""
        if self.is_named:
            if not self.is_name(name):
                raise ValueError(f"variables: {name!r} is no variable of this graph")
            return self._numbers[name]
        return int(self._checked(np.array([_check.whole_number(name, "variables")]))[0])

    def scopes(self, variables: Any) -> Integers:
        """(n, arity) numbers of the variables of n scopes of one length."""
        array = self._by_name(variables) if self.is_named else self._by_number(variables)
        if not array.shape[1]:
            raise ValueError(
                f"variables: expected at least one scope of at least one variable, got {array.shape}"
            )
        return array

    def _by_name(self, variables: Any) -> Integers:
        rows = [[self.number(name) for name in _listed(scope)] for scope in _listed(variables)]
        if len({len(row) for row in rows}) > 1:
            raise ValueError("variables: expected scopes of one length; add the others by another call")
        return np.array(rows, np.int64).reshape(len(rows), len(rows[0]) if rows else 0)

    def _by_number(self, variables: Any) -> Integers:
        if not isinstance(variables, np.ndarray):
            variables = [_listed(scope) for scope in _listed(variables)]
        given = _check.array_of(variables, "variables")
        if given.ndim != 2 or (given.size and given.dtype.kind not in "iu"):
            raise ValueError(
                "variables: expected whole numbers of shape (n, arity), "
                f"got shape {given.shape} and dtype {given.dtype}"
            )
        return self._checked(given)

    def _checked(self, given: NDArray[Any]) -> Integers:
        outside = (given < 0) | (given >= len(self))
        if outside.any():
            raise ValueError(
                f"variables: {given[outside][0]} is no variable of this graph, which has 0 to {len(self) - 1}"
            )
        return given.astype(np.int64)

    # --- states

    def states(self, states: Any) -> tuple[Integers, bool]:
        """Rows of states (n, n_variables), and whether one configuration was given."""
        array = self._columns(states) if isinstance(states, Mapping) else _check.array_of(states, "states")
        if array.dtype.kind not in "iub":
            raise TypeError(f"states: expected whole numbers, got dtype {array.dtype}")
        if array.ndim not in (1, 2) or array.shape[-1] != len(self):
            raise ValueError(f"states: expected shape ({len(self)},) or (n, {len(self)}), got {array.shape}")
        rows = np.atleast_2d(array).astype(np.int64)
        outside = (rows < 0) | (rows >= self.cardinalities)
        if outside.any():
            row, variable = (int(k) for k in np.argwhere(outside)[0])
            self.check_state(variable, int(rows[row, variable]))
        return rows, array.ndim == 1

    def _columns(self, states: Mapping[Any, Any]) -> NDArray[Any]:
        missing = [n for n in self.names if n not in states]
        if missing or len(states) != len(self):
            extra = list(set(states).difference(self.names))
            wrong = f"{missing[0]!r} is missing" if missing else f"{extra[0]!r} is no variable"
            raise ValueError(f"states: expected a state of every variable, but {wrong}")
        columns = [_check.array_of(states[n], f"states: variable {n!r}") for n in self.names]
        try:
            return np.stack(np.broadcast_arrays(*columns), axis=-1)
        except ValueError as error:
            raise ValueError("states: expected as many states of every variable, or one") from error

    def observed(self, states: Mapping[Any, int]) -> Integers:
        """The state of every variable, -1 where it is not given."""
        if not isinstance(states, Mapping):
            raise TypeError(f"states: expected a dict of name to state, got {type(states).__name__}")
        seen = np.full(len(self), -1, np.int64)
        for name, state in states.items():
            variable = self.number(name)
            seen[variable] = _check.whole_number(state, f"states: variable {name!r}")
            self.check_state(variable, int(seen[variable]))
        return seen

    def check_state(self, variable: int, state: int) -> None:
        """ValueError where the variable has no such state."""
        count = int(self.cardinalities[variable])
        if not 0 <= state < count:
            raise ValueError(
                f"states: variable {self.names[variable]!r} has the states 0 to {count - 1}, got {state}"
            )


def column(names: Any) -> Any:
    """Scopes of one variable each."""
    if isinstance(names, np.ndarray):
        return names.reshape(-1, 1)
    return [[name] for name in _listed(names)]


def _listed(names: Any) -> list[Any]:
    if isinstance(names, str | bytes) or not isinstance(names, Iterable):
        raise ValueError(f"variables: expected a sequence of names, got {names!r}")
    return list(names)

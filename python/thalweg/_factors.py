"""Factors by kind: their tables, their values at given states, their derivatives. NumPy only."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Sequence
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import _check
from ._base import FactorStructure
from ._check import FloatArray

Integers = NDArray[np.int64]

# Elements of a table or of an array of states that any machine can still address.
_MAX_ELEMENTS = 2**40


class FactorKind(IntEnum):
    """What a factor's energy is, and which numbers it has (its energies, in this order).

    ===================== =============== ===========================================================
    kind                  numbers         energy
    ===================== =============== ===========================================================
    TABLE                 one a joint     looked up; joint states row-major in the order of the scope
                          state
    POTTS                 w               w [x != y]
    TRUNCATED_LINEAR      slope, cap      min(slope abs(x - y), cap)
    TRUNCATED_QUADRATIC   slope, cap      min(slope (x - y)^2, cap)
    PRODUCT               w               w x y
    OR                    none            0 where the last variable is the or of the others, else +inf
    AND                   none            0 where the last variable is the and of the others, else +inf
    ===================== =============== ===========================================================

    POTTS to PRODUCT read two variables; those of OR and AND are binary.
    """

    TABLE = 0
    POTTS = 1
    TRUNCATED_LINEAR = 2
    TRUNCATED_QUADRATIC = 3
    PRODUCT = 4
    OR = 5
    AND = 6


_NUMBERS = {
    FactorKind.POTTS: 1,
    FactorKind.TRUNCATED_LINEAR: 2,
    FactorKind.TRUNCATED_QUADRATIC: 2,
    FactorKind.PRODUCT: 1,
    FactorKind.OR: 0,
    FactorKind.AND: 0,
}
LOGICAL = (FactorKind.OR, FactorKind.AND)
_WORDS = {kind: kind.name.lower().replace("_", " ") for kind in FactorKind}


class FactorGroup(NamedTuple):
    """Factors of one kind whose variables have the same cardinalities.

    Attributes
    ----------
    kind : FactorKind
    shape : tuple of int
        Cardinalities of the scope.
    factors : ndarray of shape (n,)
        Their numbers, increasing.
    scopes : ndarray of shape (n, arity)
    starts : ndarray of shape (n,)
        Where the energies of each begin.
    """

    kind: FactorKind
    shape: tuple[int, ...]
    factors: Integers
    scopes: Integers
    starts: Integers

    @property
    def n_numbers(self) -> int:
        """Energies of one factor."""
        return math.prod(self.shape) if self.kind == FactorKind.TABLE else _NUMBERS[self.kind]

    def values(self, energies: FloatArray) -> FloatArray:
        """(n, n_numbers) of the flat array; a view where they lie one after the other."""
        first, count = int(self.starts[0]), len(self.starts) * self.n_numbers
        if int(self.starts[-1]) + self.n_numbers == first + count:
            return energies[first : first + count].reshape(len(self.starts), self.n_numbers)
        gathered: FloatArray = energies[self.starts[:, None] + np.arange(self.n_numbers)]
        return gathered

    def put(self, flat: FloatArray, values: FloatArray) -> None:
        """Writes (n, n_numbers) to their places of the flat array."""
        flat[self.starts[:, None] + np.arange(self.n_numbers)] = values


def state_starts(structure: FactorStructure) -> Integers:
    """Where the states of each variable begin among all states, shape (n_variables + 1,)."""
    return _starts(structure.cardinalities)


def energy_starts(structure: FactorStructure) -> Integers:
    """Where the energies of each factor begin, shape (n_factors + 1,)."""
    counts = np.array([_NUMBERS.get(kind, 0) for kind in FactorKind], np.int64)[structure.kinds]
    is_table = structure.kinds == FactorKind.TABLE
    if is_table.any():
        joint = np.multiply.reduceat(
            structure.cardinalities[structure.scope_variables], structure.scope_starts[:-1]
        )
        counts = np.where(is_table, joint, counts)
    return _starts(counts)


def _starts(counts: Integers) -> Integers:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)])


def factor_groups(structure: FactorStructure) -> list[FactorGroup]:
    """All factors, by arity, kind and cardinalities."""
    sizes, starts = np.diff(structure.scope_starts), energy_starts(structure)
    groups = []
    for arity in np.unique(sizes):
        of_arity = np.flatnonzero(sizes == arity)
        scopes = structure.scope_variables[structure.scope_starts[of_arity][:, None] + np.arange(arity)]
        keys = np.column_stack([structure.kinds[of_arity], structure.cardinalities[scopes]])
        for key, rows in equal_rows(keys):
            factors = of_arity[rows]
            shape = tuple(int(k) for k in key[1:])
            groups.append(FactorGroup(FactorKind(int(key[0])), shape, factors, scopes[rows], starts[factors]))
    return groups


def equal_rows(keys: NDArray[Any]) -> Iterator[tuple[NDArray[Any], Integers]]:
    """Every distinct row, and the numbers of the rows that equal it, increasing."""
    if (keys == keys[:1]).all():
        yield keys[0], np.arange(len(keys))
        return
    distinct, inverse, counts = np.unique(keys, axis=0, return_inverse=True, return_counts=True)
    order = np.argsort(inverse.reshape(-1), kind="stable")
    yield from zip(distinct, np.split(order, np.cumsum(counts)[:-1]), strict=True)


# --- tables and values


def tables(kind: FactorKind, shape: tuple[int, ...], values: FloatArray) -> FloatArray:
    """The energies of all joint states, shape (n, *shape), of factors with the numbers `values`."""
    if kind == FactorKind.TABLE:
        return values.reshape(len(values), *shape)
    if kind in LOGICAL:
        return np.broadcast_to(_logical_table(kind, len(shape), values.dtype), (len(values), *shape))
    x, y = np.ogrid[: shape[0], : shape[1]]
    return _pairwise(kind, values[:, None, None], x, y)


def _pairwise(kind: FactorKind, values: FloatArray, x: Any, y: Any) -> FloatArray:
    """The energy of the numbers `values` (..., n_numbers) at x and y, which broadcast with the rest."""
    first, feature = values[..., 0], _feature(kind, x, y).astype(values.dtype)
    with np.errstate(over="ignore"):  # what is beyond all numbers is beyond the cap
        energy: FloatArray = first * feature
    return np.minimum(energy, values[..., 1]) if values.shape[-1] == 2 else energy


def _feature(kind: FactorKind, x: Any, y: Any) -> NDArray[Any]:
    """What the first number of a pairwise kind is multiplied with."""
    if kind == FactorKind.PRODUCT:
        return np.asarray(x * y)
    distance = np.abs(x - y)
    if kind == FactorKind.POTTS:
        return np.asarray(distance > 0)
    return np.asarray(distance if kind == FactorKind.TRUNCATED_LINEAR else distance**2)


def _logical_table(kind: FactorKind, arity: int, dtype: np.dtype[Any]) -> FloatArray:
    table = np.full((2,) * arity, np.inf, dtype)
    lone, rest = (0, 1) if kind == FactorKind.OR else (1, 0)
    table[..., rest] = 0.0  # all inputs give `rest`, but those that are all `lone`
    table[(lone,) * (arity - 1)] = np.inf
    table[(lone,) * arity] = 0.0
    return table


def _holds(kind: FactorKind, states: NDArray[Any]) -> NDArray[np.bool_]:
    """Whether the last of the states (..., arity) is the logical function of the others."""
    inputs = states[..., :-1] != 0
    said = inputs.any(axis=-1) if kind == FactorKind.OR else inputs.all(axis=-1)
    return np.asarray(said == (states[..., -1] != 0))


def evaluate(group: FactorGroup, energies: FloatArray, states: NDArray[Any]) -> FloatArray:
    """The energies (n_rows, n) of the group's factors at rows of states (n_rows, n_variables)."""
    joint = states[:, group.scopes]
    if group.kind == FactorKind.TABLE:
        looked_up: FloatArray = energies[group.starts + _flat(joint, group.shape)]
        return looked_up
    if group.kind in LOGICAL:
        return np.where(_holds(group.kind, joint), 0.0, np.inf).astype(energies.dtype)
    return _pairwise(group.kind, group.values(energies), joint[..., 0], joint[..., 1])


def _flat(joint: NDArray[Any], shape: tuple[int, ...]) -> Integers:
    """Row-major numbers of joint states (..., arity)."""
    strides = np.cumprod((*shape[:0:-1],), dtype=np.int64)[::-1] if len(shape) > 1 else ()
    return joint @ np.array([*strides, 1], np.int64)


# --- derivatives of the energy in the factors' numbers


def add_derivatives(
    group: FactorGroup, energies: FloatArray, states: NDArray[Any], weight: FloatArray, out: FloatArray
) -> None:
    """Adds sum_r weight_r dE(states_r)/d(number) to the flat array `out`."""
    joint = states[:, group.scopes]
    if group.kind == FactorKind.TABLE:
        places = group.starts + _flat(joint, group.shape)
        np.add.at(out, places, np.broadcast_to(weight[:, None], places.shape))
    elif group.kind not in LOGICAL:
        x, y = joint[..., 0], joint[..., 1]
        derivatives = _pairwise_derivatives(group.kind, group.values(energies), x, y)
        places = group.starts[:, None] + np.arange(group.n_numbers)
        out[places] += np.einsum("r,rfk->fk", weight, derivatives)


def expected_derivatives(group: FactorGroup, values: FloatArray, marginals: FloatArray) -> FloatArray:
    """The expectation (n, n_numbers) of dE/d(number) under factor marginals (n, *shape)."""
    if group.kind == FactorKind.TABLE:
        return marginals.reshape(len(marginals), -1)
    if group.kind in LOGICAL:
        return np.empty((len(marginals), 0), marginals.dtype)
    x, y = np.ogrid[: group.shape[0], : group.shape[1]]
    derivatives = _pairwise_derivatives(group.kind, values[:, None, None], x, y)
    expected: FloatArray = np.einsum("fxy,fxyk->fk", marginals, derivatives)
    return expected


def _pairwise_derivatives(kind: FactorKind, values: FloatArray, x: Any, y: Any) -> FloatArray:
    """dE/d(number), (..., n_numbers); where slope and cap meet, the slope's share counts."""
    feature = _feature(kind, x, y).astype(np.float64)
    if values.shape[-1] == 1:
        return np.broadcast_to(feature, np.broadcast_shapes(feature.shape, values.shape[:-1]))[..., None]
    with np.errstate(over="ignore"):
        is_sloped = values[..., 0] * feature <= values[..., 1]
    return np.stack(np.broadcast_arrays(feature * is_sloped, 1.0 * ~is_sloped), axis=-1)


# --- checks, and words for errors


def energy_numbers(given: Any, name: str, dtype: Any = None) -> FloatArray:
    """`given` as a float32 or float64 array; ValueError where a finite number overflows that dtype."""
    source = _check.array_of(given, name)
    array = _check.real_operand(source, name, dtype=dtype)
    if array.dtype != source.dtype and np.isinf(array).any():
        numbers = source if source.dtype.kind == "f" else source.astype(np.float64)
        if (np.isinf(array) & np.isfinite(numbers)).any():
            raise ValueError(f"{name}: overflows {array.dtype}: an element is too large for it")
    return array


def describe_factor(
    factor: int, kind: int, scope: Sequence[Any] | Integers, names: Sequence[Hashable] | None = None
) -> str:
    """`factor 3 (potts over 'a', 'b')`."""
    of = [repr(names[int(v)]) if names is not None else str(int(v)) for v in scope]
    shown = ", ".join(of if len(of) <= 8 else [*of[:6], "...", of[-1]])
    return f"factor {factor} ({_WORDS[FactorKind(kind)]} over {shown})"


def scope_of(structure: FactorStructure, factor: int) -> Integers:
    """The variables of a factor."""
    return structure.scope_variables[structure.scope_starts[factor] : structure.scope_starts[factor + 1]]


def describe(structure: FactorStructure, factor: int, names: Sequence[Hashable] | None = None) -> str:
    """The factor in words."""
    return describe_factor(factor, int(structure.kinds[factor]), scope_of(structure, factor), names)


def check_structure(structure: FactorStructure) -> None:
    """ValueError where kinds, scopes and cardinalities are no factor graph."""
    for name in ("cardinalities", "kinds", "scope_starts", "scope_variables"):
        array = getattr(structure, name)
        if not isinstance(array, np.ndarray) or array.ndim != 1 or array.dtype != np.int64:
            raise ValueError(f"structure.{name}: expected one axis of int64")
    if not len(structure.cardinalities):
        raise ValueError("structure: expected at least one variable, got none")
    if (structure.cardinalities < 1).any():
        variable = int(np.argmax(structure.cardinalities < 1))
        raise ValueError(
            f"structure: variable {variable}: expected a cardinality >= 1, "
            f"got {structure.cardinalities[variable]}"
        )
    _check_scopes(structure)
    for group in factor_groups(structure):
        wrong = scope_fault(group.kind, group.shape)
        if wrong:
            raise ValueError(f"{describe(structure, int(group.factors[0]))}: {wrong}")
        repeated = repeated_variable(group.scopes)
        if repeated is not None:
            row, variable = repeated
            raise ValueError(
                f"{describe(structure, int(group.factors[row]))}: variable {variable} stands there twice"
            )


def _check_scopes(structure: FactorStructure) -> None:
    starts, variables = structure.scope_starts, structure.scope_variables
    if len(starts) != len(structure.kinds) + 1 or starts[0] != 0 or starts[-1] != len(variables):
        raise ValueError(
            "structure.scope_starts: expected n_factors + 1 places, from 0 to the length of scope_variables"
        )
    if (np.diff(starts) < 1).any():
        factor = int(np.argmax(np.diff(starts) < 1))
        raise ValueError(f"factor {factor}: expected at least one variable, got an empty scope")
    outside = (structure.kinds < 0) | (structure.kinds > max(FactorKind))
    if outside.any():
        factor = int(np.argmax(outside))
        raise ValueError(f"factor {factor}: expected a kind from 0 to 6, got {structure.kinds[factor]}")
    outside = (variables < 0) | (variables >= len(structure.cardinalities))
    if outside.any():
        place = int(np.argmax(outside))
        factor = int(np.searchsorted(starts, place, side="right")) - 1
        raise ValueError(
            f"factor {factor}: variable {variables[place]} is none of the {len(structure.cardinalities)}"
        )


def scope_fault(kind: FactorKind, shape: tuple[int, ...]) -> str:
    """What is wrong with such cardinalities for this kind; nothing where it is empty."""
    if kind == FactorKind.TABLE:
        size = math.prod(shape)
        return f"a table of {size:,} joint states is too large" if size > _MAX_ELEMENTS else ""
    if kind in LOGICAL:
        if len(shape) < 2:
            return "expected at least one input and the output"
        return "" if set(shape) == {2} else f"expected binary variables, got cardinalities {shape}"
    return "" if len(shape) == 2 else f"expected 2 variables, got {len(shape)}"


def repeated_variable(scopes: Integers) -> tuple[int, int] | None:
    """The first row of (n, arity) in which a variable stands twice, and that variable."""
    ordered = np.sort(scopes, axis=1)
    twice = ordered[:, 1:] == ordered[:, :-1]
    if not twice.any():
        return None
    row = int(np.argmax(twice.any(axis=1)))
    return row, int(ordered[row, int(np.argmax(twice[row]))])


def number_fault(kind: FactorKind, shape: tuple[int, ...], values: FloatArray) -> tuple[int, str] | None:
    """The first factor of (n, n_numbers) whose numbers cannot stand there, and why."""
    if kind == FactorKind.TABLE:
        wrong = np.isnan(values) | (values == -np.inf)
    else:
        wrong = ~np.isfinite(values)
        if values.shape[1] == 2:  # a cap may be infinite: there is none
            wrong[:, 1] &= values[:, 1] != np.inf
    if not wrong.any():
        return None if kind == FactorKind.TABLE or not values.size else _overflow(kind, shape, values)
    row = int(np.argmax(wrong.any(axis=1)))
    place = int(np.argmax(wrong[row]))
    if kind != FactorKind.TABLE:
        name = ("slope", "cap")[place] if values.shape[1] == 2 else "weight"
        return row, f"expected a finite {name}, got {values[row, place]}"
    states = tuple(int(k) for k in np.unravel_index(place, shape))
    return (
        row,
        f"an energy must be finite or +inf, which forbids, got {values[row, place]} at states {states}",
    )


def _overflow(kind: FactorKind, shape: tuple[int, ...], values: FloatArray) -> tuple[int, str] | None:
    """The first pairwise factor of (n, n_numbers) that is infinite at states far apart, and why."""
    far = _largest_feature(kind, shape)
    with np.errstate(over="ignore"):
        energy = values[:, 0] * values.dtype.type(far)
    if values.shape[1] == 2:
        energy = np.minimum(energy, values[:, 1])
    wrong = np.isinf(energy)
    if not wrong.any():
        return None
    row = int(np.argmax(wrong))
    name = "slope" if values.shape[1] == 2 else "weight"
    what = "product of states" if kind == FactorKind.PRODUCT else "distance of states"
    return row, f"{name} {values[row, 0]:g} overflows {values.dtype} at the largest {what}"


def _largest_feature(kind: FactorKind, shape: tuple[int, ...]) -> float:
    """What the first number of a pairwise kind is multiplied with at most."""
    if kind == FactorKind.PRODUCT:
        return float(shape[0] - 1) * float(shape[1] - 1)
    distance = float(max(shape) - 1)
    if kind == FactorKind.POTTS:
        return min(distance, 1.0)
    return distance if kind == FactorKind.TRUNCATED_LINEAR else distance**2

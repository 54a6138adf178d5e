"""Factor graphs: an energy of discrete variables, put together from tables and built-in factors."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import _check, _factors
from .._base import FactorStructure
from .._check import FloatArray
from .._factors import FactorKind, Integers
from ._conditioning import Conditioning
from ._variables import Variables, column

# Joint states that are looked up at once.
_BLOCK = 2**22


class FactorPart(NamedTuple):
    """Factors that were added together: kinds (n,), arities (n,), flat scopes, flat energies."""

    kinds: Integers
    arities: Integers
    scopes: Integers
    energies: FloatArray


class FactorGraph:
    r"""The energy of a configuration of discrete variables, a sum of factors that read a few of them each.

    .. math:: E(x) = \sum_f E_f(x_{\partial f})

    Energies, not potentials: exp(-E_f) is what other books call a potential, and low energy is good. +inf in
    a table forbids a joint state. Factors are added to the graph, one or many in a call; inference
    (`thalweg.inference.belief_propagation`, `junction_tree`, `min_cut`) reads it.

    Parameters
    ----------
    cardinalities : sequence of int, or dict of name to int
        Numbers of states of the variables, at least 1. In a dict the variables have names, any hashable
        ones, and every method takes and gives these; else they are 0, 1, 2, ....
    dtype : {float64, float32}, default=float64
        Of the energies, and so of messages and beliefs.

    Attributes
    ----------
    constant : float
        What is added to the energy of every configuration: what `observe` has made of factors without free
        variables.

    Raises
    ------
    TypeError, ValueError
        Where an argument is of the wrong kind, shape or range; the message names the factor and the variable.

    References
    ----------
    F. R. Kschischang, B. J. Frey, H.-A. Loeliger, "Factor graphs and the sum-product algorithm", IEEE
    Transactions on Information Theory, 2001.
    Y. LeCun, S. Chopra, R. Hadsell, M. Ranzato, F. J. Huang, "A tutorial on energy-based learning", 2006.

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg.energies import FactorGraph
    >>> graph = FactorGraph({"rain": 2, "sprinkler": 2, "grass": 3})
    >>> graph.add_unary("rain", [0.2, 1.6])
    range(0, 1)
    >>> graph.add_table(["rain", "sprinkler"], [[0.5, 0.9], [0.1, np.inf]])
    range(1, 2)
    >>> graph.add_truncated_linear(["rain", "grass"], slope=1.0, cap=1.5)
    range(2, 3)
    >>> graph.energy({"rain": 1, "sprinkler": 0, "grass": 2})
    2.7
    >>> graph.energy({"rain": [1, 1], "sprinkler": [0, 1], "grass": [1, 1]}).tolist()
    [1.7000000000000002, inf]
    >>> seen = graph.observe({"rain": 1})
    >>> seen.names, seen.constant, seen.energy({"sprinkler": 0, "grass": 2})
    (('sprinkler', 'grass'), 1.6, 2.7)

    A chain of five variables, whose numbers are its names; many factors in one call:

    >>> chain = FactorGraph([3] * 5)
    >>> chain.add_unary(range(5), np.eye(5, 3))
    range(0, 5)
    >>> chain.add_potts([[0, 1], [1, 2], [2, 3], [3, 4]], weight=0.5)
    range(5, 9)
    >>> chain.energy([0, 0, 1, 1, 1])
    1.5
    """

    def __init__(
        self, cardinalities: Sequence[int] | Mapping[Any, int] | NDArray[Any], *, dtype: Any = np.float64
    ) -> None:
        self._dtype: np.dtype[Any] = np.dtype(
            _check.one_of(np.dtype(dtype), "dtype", (np.float64, np.float32))
        )
        self._start(Variables.of(cardinalities), 0.0)

    @classmethod
    def from_structure(
        cls,
        structure: FactorStructure,
        energies: Any,
        names: Sequence[Hashable] | None = None,
        constant: float = 0.0,
    ) -> FactorGraph:
        """A graph of all its factors at once.

        Parameters
        ----------
        structure : FactorStructure
        energies : array-like of shape (n_energies,), float32 or float64
            Of all factors, one after the other.
        names : sequence of n_variables different names, or None
            None stands for 0, 1, ....
        constant : float, default=0.0

        Returns
        -------
        FactorGraph
        """
        _factors.check_structure(structure)
        values, counts = _check.real_operand(energies, "energies"), structure.cardinalities.tolist()
        if names is not None and len(set(names)) != len(counts):
            raise ValueError(f"names: expected {len(counts)} different ones, got {len(set(names))}")
        first = cls(counts if names is None else dict(zip(names, counts, strict=True)), dtype=values.dtype)
        size = int(_factors.energy_starts(structure)[-1])
        part = FactorPart(structure.kinds, np.diff(structure.scope_starts), structure.scope_variables, values)
        first._parts = [part._replace(energies=np.zeros(size, values.dtype))]
        first._n_factors, first.constant = len(structure.kinds), _check.real_number(constant, "constant")
        return first.with_energies(values)

    def _start(self, variables: Variables, constant: float) -> None:
        self._variables, self.constant = variables, constant
        self._parts: list[FactorPart] = []
        self._n_factors = 0
        self._structure: FactorStructure | None = None
        self._groups: list[_factors.FactorGroup] | None = None

    # --- what it is

    @property
    def dtype(self) -> np.dtype[Any]:
        """float64 or float32."""
        return self._dtype

    @property
    def names(self) -> tuple[Hashable, ...]:
        """The variables' names, 0, 1, ... where they were given none."""
        return self._variables.names

    @property
    def n_variables(self) -> int:
        """Number of variables."""
        return len(self._variables)

    @property
    def n_factors(self) -> int:
        """Number of factors."""
        return self._n_factors

    @property
    def structure(self) -> FactorStructure:
        """Variables and scopes, without the energies."""
        self._gather()
        if self._structure is None:
            part = self._parts[0]
            starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(part.arities, dtype=np.int64)])
            self._structure = FactorStructure(self._variables.cardinalities, part.kinds, starts, part.scopes)
            for array in vars(self._structure).values():
                array.flags.writeable = False
        return self._structure

    @property
    def energies(self) -> FloatArray:
        """The numbers of all factors in the order in which they were added, shape (n_energies,); read-only.

        Those of factor f begin at `energy_starts()[f]`. What a kind's numbers are: `add_table` and the other
        methods name them.
        """
        self._gather()
        view: FloatArray = self._parts[0].energies.view()
        view.flags.writeable = False
        return view

    def energy_starts(self) -> Integers:
        """Where each factor's numbers begin in `energies`, shape (n_factors + 1,)."""
        return _factors.energy_starts(self.structure)

    def __repr__(self) -> str:
        return f"FactorGraph(n_variables={self.n_variables}, n_factors={self.n_factors})"

    def _gather(self) -> None:
        if len(self._parts) == 1:
            return
        kinds, arities, scopes = (
            np.concatenate([np.empty(0, np.int64), *(p[k] for p in self._parts)]) for k in range(3)
        )
        energies = np.concatenate([np.empty(0, self._dtype), *(p.energies for p in self._parts)])
        self._parts = [FactorPart(kinds, arities, scopes, energies)]

    def _all_groups(self) -> list[_factors.FactorGroup]:
        if self._groups is None:
            self._groups = _factors.factor_groups(self.structure)
        return self._groups

    # --- factors

    def add_table(self, variables: Any, energies: Any) -> range:
        """Adds one factor of any arity, given by its energies.

        Parameters
        ----------
        variables : sequence of names
            The scope.
        energies : array-like of shape (cardinality of the first variable, of the second, ...)
            +inf forbids a joint state.

        Returns
        -------
        range
            The factor's number.
        """
        return self._add_tables(self._variables.scopes([variables]), self._numbers(energies)[None])

    def add_tables(self, variables: Any, energies: Any) -> range:
        """Adds many factors over variables of the same cardinalities.

        Parameters
        ----------
        variables : array-like of names, shape (n, arity)
        energies : array-like of shape (k1, k2, ...) or (n, k1, k2, ...)
            Shared by all, or of each its own.

        Returns
        -------
        range
            The factors' numbers.
        """
        scopes = self._variables.scopes(variables)
        values = self._numbers(energies)
        if values.ndim == scopes.shape[1]:
            values = np.broadcast_to(values, (len(scopes), *values.shape))
        return self._add_tables(scopes, values)

    def add_unary(self, variables: Any, energies: Any) -> range:
        """Adds a factor on one variable, or one on each of many.

        Parameters
        ----------
        variables : name, or sequence of names
        energies : array-like of shape (cardinality,) or (n, cardinality)
            +inf forbids a state.

        Returns
        -------
        range
            The factors' numbers.
        """
        many = [variables] if self._variables.is_single(variables) else variables
        return self.add_tables(column(many), energies)

    def add_potts(self, variables: Any, weight: Any = 1.0) -> range:
        """Adds weight [x != y]; its number is the weight.

        Parameters
        ----------
        variables : pair of names, or array-like of shape (n, 2)
        weight : float or array-like of shape (n,), default=1.0

        Returns
        -------
        range
            The factors' numbers.
        """
        return self._add_pairs(FactorKind.POTTS, variables, {"weight": weight})

    def add_truncated_linear(self, variables: Any, slope: Any, cap: Any) -> range:
        """Adds min(slope abs(x - y), cap); its numbers are slope and cap.

        Parameters
        ----------
        variables : pair of names, or array-like of shape (n, 2)
        slope : float or array-like of shape (n,)
        cap : float or array-like of shape (n,)
            +inf does not truncate.

        Returns
        -------
        range
            The factors' numbers.
        """
        return self._add_pairs(FactorKind.TRUNCATED_LINEAR, variables, {"slope": slope, "cap": cap})

    def add_truncated_quadratic(self, variables: Any, slope: Any, cap: Any) -> range:
        """Adds min(slope (x - y)^2, cap); its numbers are slope and cap.

        Parameters
        ----------
        variables : pair of names, or array-like of shape (n, 2)
        slope : float or array-like of shape (n,)
        cap : float or array-like of shape (n,)
            +inf does not truncate.

        Returns
        -------
        range
            The factors' numbers.
        """
        return self._add_pairs(FactorKind.TRUNCATED_QUADRATIC, variables, {"slope": slope, "cap": cap})

    def add_product(self, variables: Any, weight: Any = 1.0) -> range:
        """Adds weight x y of the states 0, 1, ...; its number is the weight.

        With binary variables it is an edge of a Boltzmann machine, whose weight W is minus this one.

        Parameters
        ----------
        variables : pair of names, or array-like of shape (n, 2)
        weight : float or array-like of shape (n,), default=1.0

        Returns
        -------
        range
            The factors' numbers.
        """
        return self._add_pairs(FactorKind.PRODUCT, variables, {"weight": weight})

    def add_or(self, inputs: Any, output: Any) -> range:
        """Forbids all but output = (some input is 1); all binary, without numbers.

        Parameters
        ----------
        inputs : sequence of names, or array-like of shape (n, n_inputs)
        output : name, or sequence of n names

        Returns
        -------
        range
            The factors' numbers.
        """
        return self._add_logical(FactorKind.OR, inputs, output)

    def add_and(self, inputs: Any, output: Any) -> range:
        """Forbids all but output = (every input is 1); all binary, without numbers.

        Parameters
        ----------
        inputs : sequence of names, or array-like of shape (n, n_inputs)
        output : name, or sequence of n names

        Returns
        -------
        range
            The factors' numbers.
        """
        return self._add_logical(FactorKind.AND, inputs, output)

    # --- what it says

    def energy(self, states: Any) -> float | NDArray[np.float64]:
        """E(x), accumulated in float64; +inf where x is forbidden.

        Parameters
        ----------
        states : array-like of int, shape (n_variables,) or (n, n_variables), or dict of name to state or
        states
            One configuration, or n of them.

        Returns
        -------
        float, or ndarray of float64 of shape (n,)
        """
        rows, is_one = self._variables.states(states)
        total = np.full(len(rows), self.constant)
        energies = self.energies
        for group in self._all_groups():
            step = max(1, _BLOCK // group.scopes.size)
            for first in range(0, len(rows), step):
                block = slice(first, first + step)
                values = _factors.evaluate(group, energies, rows[block])
                total[block] += values.sum(axis=1, dtype=np.float64)
        return float(total[0]) if is_one else total

    def gradient(self, states: Any, weight: Any = None) -> NDArray[np.float64]:
        """sum_n weight_n dE(x_n) / d`energies`: how the energy depends on the factors' numbers.

        Of a table it counts how often each joint state occurs; of a truncated factor it falls to the slope
        where slope and cap agree.

        Parameters
        ----------
        states : as for `energy`
        weight : array-like of shape (n,) or None
            None stands for ones.

        Returns
        -------
        ndarray of float64, shape (n_energies,)
        """
        rows, _ = self._variables.states(states)
        weights = np.ones(len(rows)) if weight is None else _check.float_array(weight, "weight", ndim=1)
        if len(weights) != len(rows):
            raise ValueError(
                f"weight: expected shape ({len(rows)},), as states have rows, got {weights.shape}"
            )
        energies, gradient = self.energies, np.zeros(len(self.energies))
        for group in self._all_groups():
            step = max(1, _BLOCK // group.scopes.size)
            for first in range(0, len(rows), step):
                block = slice(first, first + step)
                _factors.add_derivatives(group, energies, rows[block], weights[block], gradient)
        return gradient

    def with_energies(self, energies: Any) -> FactorGraph:
        """The same variables and scopes with other numbers.

        Parameters
        ----------
        energies : array-like of shape (n_energies,)
            In the order of `energies`.

        Returns
        -------
        FactorGraph
        """
        values = self._numbers(energies)
        if values.shape != self.energies.shape:
            raise ValueError(f"energies: expected shape {self.energies.shape}, got {values.shape}")
        groups = self._all_groups()
        for group in groups:
            self._check_numbers(group.kind, group.scopes, group.values(values), group.factors)
        made = self._like(self._variables, self.constant)
        made._parts = [self._parts[0]._replace(energies=values.copy())]
        made._n_factors, made._structure, made._groups = self._n_factors, self.structure, groups
        return made

    def observe(self, states: Mapping[Any, int]) -> FactorGraph:
        """The energy of the other variables, given the states of these.

        Factors lose the observed variables: what is left of a built-in factor becomes a table, what no longer
        reads any variable goes to `constant`. The free variables keep their names, so that an unnamed graph
        without variable 0 has the variables 1, 2, ....

        Parameters
        ----------
        states : dict of name to state
            At least one variable must stay free.

        Returns
        -------
        FactorGraph
            With E(free) = E(free, observed).

        Raises
        ------
        ValueError
            Where a factor forbids the observation.
        """
        observed = self._variables.observed(states)
        free = np.flatnonzero(observed < 0)
        if not len(free):
            raise ValueError("states: expected at least one variable that is not observed; see energy")
        rest = Conditioning(observed, self.names)
        for group in self._all_groups():
            rest.take(group, self.energies)
        made = self._like(self._variables.some(free), self.constant + rest.constant)
        for kind, scopes, values in rest.factors():
            made._add(kind, scopes, values)
        return made

    def by_name(self, per_variable: Sequence[Any] | NDArray[Any]) -> dict[Hashable, Any]:
        """What belongs to the variables, in their order, as a dict by name."""
        if len(per_variable) != self.n_variables:
            raise ValueError(f"per_variable: expected {self.n_variables} elements, got {len(per_variable)}")
        return dict(zip(self.names, per_variable, strict=True))

    # --- inside

    def _like(self, variables: Variables, constant: float) -> FactorGraph:
        made = object.__new__(FactorGraph)
        made._dtype = self._dtype
        made._start(variables, constant)
        return made

    def _add(self, kind: FactorKind, scopes: Integers, values: FloatArray) -> range:
        """Adds factors with scopes (n, arity) and numbers (n, n_numbers), after all checks."""
        if not len(scopes):
            return range(self._n_factors, self._n_factors)
        wrong = _factors.scope_fault(kind, self._variables.shape(scopes[0]))
        if wrong:
            raise ValueError(f"{self._factor(kind, scopes[0], 0)}: {wrong}")
        repeated = _factors.repeated_variable(scopes)
        if repeated is not None:
            row, variable = repeated
            raise ValueError(
                f"{self._factor(kind, scopes[row], row)}: "
                f"variable {self.names[variable]!r} stands there twice"
            )
        self._check_numbers(kind, scopes, values)
        count, arity = scopes.shape
        self._parts.append(
            FactorPart(
                np.full(count, int(kind), np.int64),
                np.full(count, arity, np.int64),
                scopes.reshape(-1).copy(),
                np.array(values, self._dtype).reshape(-1),
            )
        )
        self._structure = self._groups = None
        self._n_factors += count
        return range(self._n_factors - count, self._n_factors)

    def _add_tables(self, scopes: Integers, values: FloatArray) -> range:
        if len(scopes):
            self._check_shape(scopes, values)
        return self._add(FactorKind.TABLE, scopes, values.reshape(len(scopes), values[:1].size))

    def _add_pairs(self, kind: FactorKind, variables: Any, numbers: dict[str, Any]) -> range:
        is_one = self._variables.is_scope(variables)
        scopes = self._variables.scopes([variables] if is_one else variables)
        columns = np.empty((len(scopes), len(numbers)), self._dtype)
        for k, (name, number) in enumerate(numbers.items()):
            given = self._numbers(number, name)
            if given.ndim and given.shape != (len(scopes),):
                raise ValueError(f"{name}: expected a number or shape ({len(scopes)},), got {given.shape}")
            columns[:, k] = given
        return self._add(kind, scopes, columns)

    def _add_logical(self, kind: FactorKind, inputs: Any, output: Any) -> range:
        is_one = self._variables.is_scope(inputs)
        sources = self._variables.scopes([inputs] if is_one else inputs)
        targets = self._variables.scopes(column([output] if is_one else output))
        if len(sources) != len(targets):
            raise ValueError(
                f"output: expected {len(sources)} variables, as inputs has rows, got {len(targets)}"
            )
        scopes = np.concatenate([sources, targets], axis=1)
        cardinalities = self._variables.cardinalities
        for row in np.flatnonzero((cardinalities[scopes] != 2).any(axis=1))[:1]:
            variable = int(scopes[row][np.argmax(cardinalities[scopes[row]] != 2)])
            raise ValueError(
                f"{self._factor(kind, scopes[row], int(row))}: variable {self.names[variable]!r} has "
                f"{cardinalities[variable]} states, expected 2"
            )
        return self._add(kind, scopes, np.empty((len(scopes), 0), self._dtype))

    def _numbers(self, values: Any, name: str = "energies") -> FloatArray:
        return _factors.energy_numbers(values, name, self._dtype)

    def _factor(self, kind: FactorKind, scope: Integers, row: int) -> str:
        return _factors.describe_factor(self._n_factors + row, int(kind), scope, self.names)

    def _check_shape(self, scopes: Integers, values: FloatArray) -> None:
        count, arity = scopes.shape
        if values.ndim != arity + 1 or len(values) != count:
            raise ValueError(
                f"{self._factor(FactorKind.TABLE, scopes[0], 0)}: expected energies of shape "
                f"{self._variables.shape(scopes[0])} each, got {values.shape} for {count}"
            )
        wrong = self._variables.cardinalities[scopes] != values.shape[1:]
        if wrong.any():
            row = int(np.argmax(wrong.any(axis=1)))
            axis = int(np.argmax(wrong[row]))
            variable = int(scopes[row, axis])
            raise ValueError(
                f"{self._factor(FactorKind.TABLE, scopes[row], row)}: axis {axis} of its energies has "
                f"{values.shape[1 + axis]} entries, but variable {self.names[variable]!r} has "
                f"{self._variables.cardinalities[variable]} states"
            )

    def _check_numbers(
        self, kind: FactorKind, scopes: Integers, values: FloatArray, factors: Integers | None = None
    ) -> None:
        fault = _factors.number_fault(kind, self._variables.shape(scopes[0]), values)
        if fault is not None:
            row, why = fault
            number = self._n_factors + row if factors is None else int(factors[row])
            raise ValueError(f"{_factors.describe_factor(number, int(kind), scopes[row], self.names)}: {why}")

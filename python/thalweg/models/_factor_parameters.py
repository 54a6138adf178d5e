"""Which numbers of a factor graph are learnt, and which of them are one parameter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _check
from .._check import FloatArray
from ..energies import FactorGraph

Numbers = NDArray[np.int64]


class FactorParameters:
    """Parameters of a graph, by the numbers that each of them stands for.

    Parameters
    ----------
    graph : FactorGraph
        Its numbers are the first parameters.
    groups, learned
        As of `FactorGraphModel`.

    Attributes
    ----------
    place : ndarray of int64, shape (n_energies,)
        The parameter that a number is; -1 of those that are not learnt.
    first : ndarray of shape (n_parameters,)
    """

    def __init__(self, graph: FactorGraph, groups: Any, learned: Any) -> None:
        self._graph = graph
        codes = _codes(graph, groups)
        energies = graph.energies
        differ = energies != energies[codes]
        if differ.any():
            number = int(np.argmax(differ))
            raise ValueError(
                f"groups: numbers {codes[number]} and {number} of the graph are one parameter, but start "
                f"from {energies[codes[number]]:g} and {energies[number]:g}"
            )
        is_learnt = _learnt(graph, groups, learned) & np.isfinite(energies)
        split = is_learnt != is_learnt[codes]
        if split.any():
            number = int(np.argmax(split))
            raise ValueError(
                f"learned: numbers {codes[number]} and {number} of the graph are one parameter, but only one "
                "of them is learnt"
            )
        if not is_learnt.any():
            raise ValueError("learned: no number of the graph is left to be learnt")
        self.place = np.full(len(energies), -1, np.int64)
        distinct, self.place[is_learnt] = np.unique(codes[is_learnt], return_inverse=True)
        self.first: FloatArray = energies[distinct].copy()
        self._is_learnt = is_learnt

    def graph(self, parameters: FloatArray) -> FactorGraph:
        """The graph with these parameters."""
        energies = self._graph.energies.copy()
        energies[self._is_learnt] = parameters[self.place[self._is_learnt]]
        return self._graph.with_energies(energies)

    def gradient(self, of_energies: NDArray[np.float64]) -> NDArray[np.float64]:
        """From the derivatives in the graph's numbers to those in the parameters."""
        weights = of_energies[self._is_learnt]
        return np.bincount(self.place[self._is_learnt], weights, len(self.first)).astype(np.float64)


def _codes(graph: FactorGraph, groups: Any) -> Numbers:
    """Of every number the first one that is the same parameter."""
    if groups is None:
        return np.arange(len(graph.energies))
    if not isinstance(groups, Mapping):
        _, first, inverse = np.unique(_labels(graph, groups), return_index=True, return_inverse=True)
        return first[inverse.reshape(-1)].astype(np.int64)
    codes = np.arange(len(graph.energies))
    owner = np.full(graph.n_factors, -1)
    for order, (name, given) in enumerate(groups.items()):
        factors = _factors_of(graph, name, given)
        if (owner[factors] >= 0).any() or len(np.unique(factors)) < len(factors):
            raise ValueError(f"groups: {name!r}: a factor is in two groups, or twice in this one")
        owner[factors] = order
        numbers = _numbers_of(graph, name, factors)
        codes[numbers] = numbers[0]
    return codes


def _labels(graph: FactorGraph, groups: Any) -> NDArray[Any]:
    labels, count = _check.array_of(groups, "groups"), len(graph.energies)
    if labels.shape != (count,):
        raise ValueError(
            f"groups: expected a label of each of the graph's {count} numbers, or a dict of name to factors, "
            f"got shape {labels.shape}"
        )
    if labels.dtype.kind not in "iuU":
        raise TypeError(f"groups: expected whole numbers or strings as labels, got dtype {labels.dtype}")
    return labels


def _factors_of(graph: FactorGraph, name: Any, given: Any) -> Numbers:
    factors = np.atleast_1d(_check.array_of(given, f"groups: {name!r}"))
    if factors.ndim != 1 or not len(factors) or factors.dtype.kind not in "iu":
        raise ValueError(f"groups: {name!r}: expected the numbers of one factor or more, got {given!r}")
    outside = (factors < 0) | (factors >= graph.n_factors)
    if outside.any():
        raise ValueError(
            f"groups: {name!r}: {factors[outside][0]} is no factor of this graph, which has {graph.n_factors}"
        )
    return factors.astype(np.int64)


def _numbers_of(graph: FactorGraph, name: Any, factors: Numbers) -> Numbers:
    """Places (n_factors, n_numbers) in the graph's energies."""
    starts = graph.energy_starts()
    counts = np.diff(starts)[factors]
    if (counts != counts[0]).any():
        raise ValueError(
            f"groups: {name!r}: expected factors with the same count of numbers, got {counts.min()} to "
            f"{counts.max()}"
        )
    places: Numbers = starts[factors][:, None] + np.arange(counts[0])
    return places


def _learnt(graph: FactorGraph, groups: Any, learned: Any) -> NDArray[np.bool_]:
    count = len(graph.energies)
    if learned is None:
        return np.ones(count, bool)
    asked = np.atleast_1d(_check.array_of(learned, "learned"))
    if asked.dtype.kind == "b":
        if asked.shape != (count,):
            raise ValueError(f"learned: expected shape ({count},), got {asked.shape}")
        return asked
    if isinstance(groups, Mapping):
        return _learnt_of_names(graph, groups, asked.tolist())
    labels = np.arange(count) if groups is None else _labels(graph, groups)
    unknown = [label for label in asked.tolist() if label not in labels.tolist()]
    if unknown:
        raise ValueError(f"learned: {unknown[0]!r} is no label of `groups`")
    return np.isin(labels, asked)


def _learnt_of_names(graph: FactorGraph, groups: Mapping[Any, Any], names: list[Any]) -> NDArray[np.bool_]:
    is_learnt = np.zeros(len(graph.energies), bool)
    for name in names:
        if name not in groups:
            raise ValueError(f"learned: {name!r} is no name of `groups`")
        is_learnt[_numbers_of(graph, name, _factors_of(graph, name, groups[name]))] = True
    return is_learnt

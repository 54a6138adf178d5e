"""The way of inference that a factor graph's structure allows, for rows of observations and contexts."""

from __future__ import annotations

import math
import warnings
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning

from .._base import FactorStructure
from .._check import FloatArray
from ..energies import FactorGraph
from ..inference.junction_tree import JunctionTree
from ..inference.messages import BeliefPropagation

WAYS = ("auto", "tree", "junction_tree", "flooding", "residual")


class Found(NamedTuple):
    """Of rows: F_beta, states, beliefs (n, n_states) and statistics (n, n_energies)."""

    free_energy: NDArray[np.float64]
    states: NDArray[np.int64]
    beliefs: FloatArray
    statistics: FloatArray | None


class GraphInference:
    """Minima and sums of graphs of one structure.

    Parameters
    ----------
    structure : FactorStructure
    way : str
        One of `WAYS`; "auto" is exact where `max_bytes` allows, else "flooding".
    max_bytes : int
        Of a junction tree's tables.
    options : dict
        `damping`, `max_iter`, `tol` and `n_jobs` of `BeliefPropagation`.
    is_quiet : bool
        Whether to leave it to the caller to say that messages have not converged; see `residual`.

    Attributes
    ----------
    way : str
        What was chosen.
    residual : float
        What the last sums by loopy messages had still to change, if more than their `tol`; else 0.
    """

    def __init__(
        self, structure: FactorStructure, way: str, max_bytes: int, options: dict[str, Any], is_quiet: bool
    ) -> None:
        self._structure, self._options, self._is_quiet = structure, options, is_quiet
        self.residual = 0.0
        self._tree: JunctionTree | None = None
        if way == "auto":
            way = "tree" if BeliefPropagation(structure).is_forest else "junction_tree"
            if way == "junction_tree":
                try:
                    self._tree = JunctionTree(structure, max_bytes)
                except ValueError:  # too wide, which is what "auto" asks
                    way = "flooding"
        elif way == "junction_tree":
            self._tree = JunctionTree(structure, max_bytes)
        self.way = way
        self._propagations: dict[float, BeliefPropagation] = {}
        if self._tree is None:
            self._propagation(1.0)  # refuses options and loops before anything is learnt

    @property
    def is_exact(self) -> bool:
        """Whether minima and sums are exact."""
        return self.way in ("tree", "junction_tree")

    def infer(
        self, graph: FactorGraph, unary: FloatArray | None, beta: float, *, statistics: bool = False
    ) -> Found:
        """Of the graph with every row of energies of states (n, n_states) besides; one row for None."""
        if unary is None:
            unary = np.zeros((1, int(self._structure.cardinalities.sum())), graph.dtype)
        if self._tree is None:
            return self._by_messages(graph, unary, beta, statistics)
        distinct, inverse = np.unique(unary, axis=0, return_inverse=True)
        rows = [self._tree.infer(graph, u, beta=beta, statistics=statistics) for u in distinct]
        own = inverse.reshape(-1)
        return Found(
            np.array([r.free_energy for r in rows])[own],
            np.stack([r.states for r in rows])[own],
            np.stack([r.beliefs for r in rows])[own],
            np.stack([np.asarray(r.statistics) for r in rows])[own] if statistics else None,
        )

    def _by_messages(self, graph: FactorGraph, unary: FloatArray, beta: float, statistics: bool) -> Found:
        with warnings.catch_warnings():
            if self._is_quiet:
                warnings.simplefilter("ignore", ConvergenceWarning)
            found = self._propagation(beta).infer(graph, unary, statistics=statistics)
        if not math.isinf(beta):
            self.residual = float(np.max(found.residual, where=~found.converged, initial=0.0))
        return Found(np.asarray(found.free_energy), found.states, found.beliefs, found.statistics)

    def _propagation(self, beta: float) -> BeliefPropagation:
        if beta not in self._propagations:
            self._propagations[beta] = BeliefPropagation(
                self._structure, beta=beta, schedule=self.way, **self._options
            )
        return self._propagations[beta]


class States(NamedTuple):
    """All states of all variables, one after the other: whose each is, and which."""

    owner: NDArray[np.int64]
    number: NDArray[np.int64]

    @classmethod
    def of(cls, structure: FactorStructure) -> States:
        """The states of a structure."""
        counts = structure.cardinalities
        owner = np.repeat(np.arange(len(counts)), counts)
        first = np.concatenate([[0], np.cumsum(counts)])[owner]
        return cls(owner, np.arange(len(owner)) - first)

    def clamped(self, seen: NDArray[np.int64], context: FloatArray | None, dtype: Any) -> FloatArray:
        """Energies (n, n_states) that forbid all states but the seen ones; -1 leaves a variable free."""
        own = seen[:, self.owner]
        unary = np.zeros(own.shape, dtype) if context is None else np.broadcast_to(context, own.shape)
        return np.where((own < 0) | (own == self.number), unary, np.inf).astype(dtype, copy=False)

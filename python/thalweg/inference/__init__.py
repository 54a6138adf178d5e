"""Inference: what an energy says of the variables that are not given. Solvers of codes are in the modules."""

from ._elimination import TreeWidth
from ._graphs import GraphBeliefs
from .junction_tree import junction_tree, tree_width
from .langevin import Chains, HamiltonianMonteCarlo, Langevin, MetropolisAdjustedLangevin
from .messages import BeliefPropagation, belief_propagation
from .min_cut import MinCut, min_cut

__all__ = [
    "BeliefPropagation",
    "Chains",
    "GraphBeliefs",
    "HamiltonianMonteCarlo",
    "Langevin",
    "MetropolisAdjustedLangevin",
    "MinCut",
    "TreeWidth",
    "belief_propagation",
    "junction_tree",
    "min_cut",
    "tree_width",
]

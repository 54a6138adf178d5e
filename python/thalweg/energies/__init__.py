"""Energies E(x, z; W): what a model holds to be compatible has low energy."""

from .bernoulli_rbm import BernoulliRBMEnergy
from .conv import ConvolutionalNetwork
from .dense import DenseNetwork
from .distances import AbsoluteDistance, CosineDistance, HuberDistance, SquaredDistance
from .factor_graph import FactorGraph
from .gaussian_rbm import GaussianRBMEnergy
from .predictive_sparse_decomposition import PredictiveSparseDecompositionEnergy
from .sparse_coding import SparseCodingEnergy

__all__ = [
    "AbsoluteDistance",
    "BernoulliRBMEnergy",
    "ConvolutionalNetwork",
    "CosineDistance",
    "DenseNetwork",
    "FactorGraph",
    "GaussianRBMEnergy",
    "HuberDistance",
    "PredictiveSparseDecompositionEnergy",
    "SparseCodingEnergy",
    "SquaredDistance",
]

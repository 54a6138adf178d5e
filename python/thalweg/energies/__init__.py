"""Energies E(x, z; W): what a model holds to be compatible has low energy."""

from .autoencoder_density import AutoencoderDensityEnergy
from .bernoulli_rbm import BernoulliRBMEnergy
from .candidates import CandidateEnergy
from .classifier import ClassifierEnergy
from .conv import ConvolutionalNetwork
from .deep import DeepEnergy
from .dense import DenseNetwork
from .distances import AbsoluteDistance, CosineDistance, HuberDistance, SquaredDistance
from .factor_graph import FactorGraph
from .gaussian import GaussianEnergy
from .gaussian_mixture import GaussianMixtureEnergy
from .gaussian_rbm import GaussianRBMEnergy
from .latent_regressor import LatentRegressorEnergy
from .location import LocationEnergy
from .matcher import MatcherEnergy
from .output_codes import OutputCodeEnergy
from .perceptron import PerceptronEnergy
from .pose import PoseEnergy
from .posteriors import CategoricalPosterior, GaussianPosterior
from .predictive_sparse_decomposition import PredictiveSparseDecompositionEnergy
from .regressor import RegressorEnergy
from .sparse_coding import SparseCodingEnergy

__all__ = [
    "AbsoluteDistance",
    "AutoencoderDensityEnergy",
    "BernoulliRBMEnergy",
    "CandidateEnergy",
    "CategoricalPosterior",
    "ClassifierEnergy",
    "ConvolutionalNetwork",
    "CosineDistance",
    "DeepEnergy",
    "DenseNetwork",
    "FactorGraph",
    "GaussianEnergy",
    "GaussianMixtureEnergy",
    "GaussianPosterior",
    "GaussianRBMEnergy",
    "HuberDistance",
    "LatentRegressorEnergy",
    "LocationEnergy",
    "MatcherEnergy",
    "OutputCodeEnergy",
    "PerceptronEnergy",
    "PoseEnergy",
    "PredictiveSparseDecompositionEnergy",
    "RegressorEnergy",
    "SparseCodingEnergy",
    "SquaredDistance",
]

"""The estimators."""

from .bernoulli_rbm import BernoulliRBM
from .chain_crf import ChainCRF
from .constrained_gaussian import ConstrainedGaussian
from .convolutional_dictionary_learning import ConvolutionalDictionaryLearning
from .convolutional_sparse_autoencoder import ConvolutionalSparseAutoencoder
from .convolutional_sparse_coder import ConvolutionalSparseCoder
from .deep_energy_model import DeepEnergyModel
from .dictionary_learning import DictionaryLearning
from .energy_classifier import EnergyClassifier
from .energy_matcher import EnergyMatcher
from .energy_regressor import EnergyRegressor
from .gaussian_bernoulli_rbm import GaussianBernoulliRBM
from .grid_crf import GridCRF
from .mini_batch_dictionary_learning import MiniBatchDictionaryLearning
from .score_matching_autoencoder import ScoreMatchingAutoencoder
from .sparse_coder import SparseCoder

__all__ = [
    "BernoulliRBM",
    "ChainCRF",
    "ConstrainedGaussian",
    "ConvolutionalDictionaryLearning",
    "ConvolutionalSparseAutoencoder",
    "ConvolutionalSparseCoder",
    "DeepEnergyModel",
    "DictionaryLearning",
    "EnergyClassifier",
    "EnergyMatcher",
    "EnergyRegressor",
    "GaussianBernoulliRBM",
    "GridCRF",
    "MiniBatchDictionaryLearning",
    "ScoreMatchingAutoencoder",
    "SparseCoder",
]

"""thalweg: energy-based and latent-variable models with native kernels."""

from . import datasets, ops, persistence, plots, preprocessing, restoration
from .inference.sparse_encode import sparse_encode
from .models import (
    BernoulliRBM,
    ConvolutionalDictionaryLearning,
    ConvolutionalSparseAutoencoder,
    ConvolutionalSparseCoder,
    DictionaryLearning,
    GaussianBernoulliRBM,
    MiniBatchDictionaryLearning,
    SparseCoder,
)
from .preprocessing import Whitening

__version__ = "0.1.0"

__all__ = [
    "BernoulliRBM",
    "ConvolutionalDictionaryLearning",
    "ConvolutionalSparseAutoencoder",
    "ConvolutionalSparseCoder",
    "DictionaryLearning",
    "GaussianBernoulliRBM",
    "MiniBatchDictionaryLearning",
    "SparseCoder",
    "Whitening",
    "__version__",
    "datasets",
    "ops",
    "persistence",
    "plots",
    "preprocessing",
    "restoration",
    "sparse_encode",
]

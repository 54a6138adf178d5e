"""thalweg: energy-based and latent-variable models with native kernels."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import datasets, ops, persistence, plots, preprocessing, restoration
    from .inference.sparse_encode import sparse_encode
    from .models import (
        BernoulliRBM,
        ChainCRF,
        ConstrainedGaussian,
        ConvolutionalDictionaryLearning,
        ConvolutionalSparseAutoencoder,
        ConvolutionalSparseCoder,
        DeepEnergyModel,
        DictionaryLearning,
        EnergyClassifier,
        EnergyMatcher,
        EnergyRegressor,
        GaussianBernoulliRBM,
        GridCRF,
        MiniBatchDictionaryLearning,
        ScoreMatchingAutoencoder,
        SparseCoder,
    )
    from .preprocessing import Whitening

__version__ = "0.1.0"

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

_MODULES = (
    "cli",
    "datasets",
    "energies",
    "inference",
    "losses",
    "models",
    "ops",
    "optim",
    "persistence",
    "plots",
    "preprocessing",
    "restoration",
)
_HOMES = {"Whitening": "preprocessing", "sparse_encode": "inference.sparse_encode"}  # others: models


# Names are imported when they are first asked for: the command answers Ctrl-C from its first line on, and
# who needs `thalweg.ops` alone does not wait for scikit-learn.
def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES.get(name, 'models')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

"""Losses: what a model's parameters are to make small, and the gradient that a batch gives.

Those of a machine's distribution (contrastive divergence and its kin, noise-contrastive estimation, score
matching) ask a machine for samples or densities; those of answers (`EnergyLoss` to
`MinimumEmpiricalErrorLoss`) see the energies of right and wrong answers, whatever model they come from.
"""

from .contrastive_divergence import ContrastiveDivergence
from .energy import EnergyLoss
from .fast_persistent_contrastive_divergence import FastPersistentContrastiveDivergence
from .hinge import HingeLoss
from .log import LogLoss
from .lvq2 import LVQ2Loss
from .margin import MarginLoss
from .minimum_classification_error import MinimumClassificationErrorLoss
from .minimum_empirical_error import MinimumEmpiricalErrorLoss
from .negative_log_likelihood import NegativeLogLikelihoodLoss
from .noise_contrastive_estimation import NoiseContrastiveEstimation
from .parallel_tempering import ParallelTempering
from .perceptron import PerceptronLoss
from .persistent_contrastive_divergence import PersistentContrastiveDivergence
from .score_matching import ScoreMatching
from .square_exponential import SquareExponentialLoss
from .square_square import SquareSquareLoss

__all__ = [
    "ContrastiveDivergence",
    "EnergyLoss",
    "FastPersistentContrastiveDivergence",
    "HingeLoss",
    "LVQ2Loss",
    "LogLoss",
    "MarginLoss",
    "MinimumClassificationErrorLoss",
    "MinimumEmpiricalErrorLoss",
    "NegativeLogLikelihoodLoss",
    "NoiseContrastiveEstimation",
    "ParallelTempering",
    "PerceptronLoss",
    "PersistentContrastiveDivergence",
    "ScoreMatching",
    "SquareExponentialLoss",
    "SquareSquareLoss",
]

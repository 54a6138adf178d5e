"""Losses: what a model's parameters are to make small, and the gradient that a batch gives.

Those of a machine's distribution (contrastive divergence and its kin, noise-contrastive estimation, score
matching) ask a machine for samples or densities; those of answers (`EnergyLoss` to
`MinimumEmpiricalErrorLoss`) see the energies of right and wrong answers, whatever model they come from; those
of densities without a normaliser (`ExactScoreMatching` to `DensityContrastiveDivergence`) ask an energy of
real rows for values or scores.
"""

from .conditional_noise_contrastive import ConditionalNoiseContrastiveEstimation
from .contrastive_divergence import ContrastiveDivergence
from .denoising_score_matching import DenoisingScoreMatching
from .density_contrastive_divergence import DensityContrastiveDivergence
from .density_noise_contrastive import DensityNoiseContrastiveEstimation
from .density_score_matching import ExactScoreMatching
from .energy import EnergyLoss
from .fast_persistent_contrastive_divergence import FastPersistentContrastiveDivergence
from .gaussian_noise import GaussianNoise
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
from .sliced_score_matching import SlicedScoreMatching
from .square_exponential import SquareExponentialLoss
from .square_square import SquareSquareLoss
from .variational_noise_contrastive import VariationalNoiseContrastiveEstimation

__all__ = [
    "ConditionalNoiseContrastiveEstimation",
    "ContrastiveDivergence",
    "DenoisingScoreMatching",
    "DensityContrastiveDivergence",
    "DensityNoiseContrastiveEstimation",
    "EnergyLoss",
    "ExactScoreMatching",
    "FastPersistentContrastiveDivergence",
    "GaussianNoise",
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
    "SlicedScoreMatching",
    "SquareExponentialLoss",
    "SquareSquareLoss",
    "VariationalNoiseContrastiveEstimation",
]

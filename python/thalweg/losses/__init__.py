"""Losses: what a machine's parameters are to make small, and the gradient that a batch gives."""

from .contrastive_divergence import ContrastiveDivergence
from .fast_persistent_contrastive_divergence import FastPersistentContrastiveDivergence
from .noise_contrastive_estimation import NoiseContrastiveEstimation
from .parallel_tempering import ParallelTempering
from .persistent_contrastive_divergence import PersistentContrastiveDivergence
from .score_matching import ScoreMatching

__all__ = [
    "ContrastiveDivergence",
    "FastPersistentContrastiveDivergence",
    "NoiseContrastiveEstimation",
    "ParallelTempering",
    "PersistentContrastiveDivergence",
    "ScoreMatching",
]

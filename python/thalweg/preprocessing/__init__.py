"""What is done to data before a model sees it: patches, whitening, frequencies, contrast and colours."""

from thalweg.preprocessing.color import opponent_to_rgb, rgb_to_opponent, rgb_to_ycbcr, to_gray, ycbcr_to_rgb
from thalweg.preprocessing.frequency_split import split_frequencies
from thalweg.preprocessing.local_contrast import (
    LocalContrastNormalization,
    LocalContrastStatistics,
    normalize_local_contrast,
    restore_local_contrast,
)
from thalweg.preprocessing.patches import PatchGrid, extract_patches, reconstruct_from_patches
from thalweg.preprocessing.whitening import Whitening

__all__ = [
    "LocalContrastNormalization",
    "LocalContrastStatistics",
    "PatchGrid",
    "Whitening",
    "extract_patches",
    "normalize_local_contrast",
    "opponent_to_rgb",
    "reconstruct_from_patches",
    "restore_local_contrast",
    "rgb_to_opponent",
    "rgb_to_ycbcr",
    "split_frequencies",
    "to_gray",
    "ycbcr_to_rgb",
]

"""What is done to data before a model sees it: patches of images, whitening."""

from thalweg.preprocessing.patches import PatchGrid, extract_patches, reconstruct_from_patches
from thalweg.preprocessing.whitening import Whitening

__all__ = ["PatchGrid", "Whitening", "extract_patches", "reconstruct_from_patches"]

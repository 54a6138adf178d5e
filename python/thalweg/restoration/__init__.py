"""Pictures repaired: noise measured and removed, missing pixels filled."""

from ._method import METHODS as METHODS
from .denoising import denoise
from .inpainting import inpaint
from .noise import estimate_noise

__all__ = ["denoise", "estimate_noise", "inpaint"]

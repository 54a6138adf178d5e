"""Functions of arrays: elementwise ones with the proximal maps, and convolutions of images with filters."""

from thalweg.ops.conv import convolve, correlate, filter_gradient
from thalweg.ops.elementwise import (
    d_log_sigmoid,
    d_sigmoid,
    d_softplus,
    hard_shrink,
    log_sigmoid,
    prox_lq,
    shrink,
    shrink_nonneg,
    sigmoid,
    softplus,
)

__all__ = [
    "convolve",
    "correlate",
    "d_log_sigmoid",
    "d_sigmoid",
    "d_softplus",
    "filter_gradient",
    "hard_shrink",
    "log_sigmoid",
    "prox_lq",
    "shrink",
    "shrink_nonneg",
    "sigmoid",
    "softplus",
]

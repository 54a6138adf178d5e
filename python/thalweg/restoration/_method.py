"""Which way a picture is repaired, and its options."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _check, _device
from ._convolutional import FilterOptions, filter_options
from ._patches import PatchOptions, patch_options

METHODS = ("auto", "patches", "convolutional")

_ATOMS, _FILTERS = 256, 16


def method_options(
    method: Any,
    dictionary: Any,
    patch_size: Any,
    n_components: Any,
    random_state: Any,
    n_jobs: Any,
    device: Any,
) -> PatchOptions | FilterOptions:
    """The options of patches or of filters, checked; "auto" is what the dictionary is for, else patches."""
    _check.one_of(method, "method", METHODS)
    size = _check.whole_number(patch_size, "patch_size", minimum=2)
    is_filters = np.ndim(dictionary) == 4 if method == "auto" else method == "convolutional"
    count = n_components
    if count is None:
        count = _FILTERS if is_filters else _ATOMS
    count = _check.whole_number(count, "n_components", minimum=1)
    seed = _check.seed_number(random_state)
    _check.thread_number(n_jobs)
    _device.kernels(_check.device(device))
    if is_filters:
        return filter_options(dictionary, size, count, seed, n_jobs, device)
    if device != "cpu":
        raise ValueError(
            f"device: {device!r} has no kernels for method 'patches' (which 'auto' is without filters), as "
            "it codes by orthogonal matching pursuit; take method 'convolutional', or device 'cpu'"
        )
    return patch_options(dictionary, size, count, seed, n_jobs)

"""Patches as rows for a learner: without the means of their channels, and whitened."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from ..preprocessing import Whitening

BLOCK_ROWS = 16384  # patches that are in work at once


def centred(patches: NDArray[Any], channels: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Patches without the means of their channels, and these means."""
    by_channel = patches.reshape(len(patches), channels, -1)
    means = by_channel.mean(axis=2, dtype=np.float64).astype(patches.dtype)
    return (by_channel - means[..., np.newaxis]).reshape(patches.shape), means


def whitened(whitening: Whitening, rows: NDArray[Any]) -> NDArray[Any]:
    """The rows, whitened; their bits do not depend on the number of BLAS's threads."""
    result = np.empty_like(rows)
    with threadpool_limits(1, user_api="blas"):
        for start in range(0, len(rows), BLOCK_ROWS):
            block = slice(start, start + BLOCK_ROWS)
            result[block] = whitening.transform(rows[block])
    return result


def whitening_state(whitening: Whitening | None) -> dict[str, Any] | None:
    """What a model file keeps of it."""
    if whitening is None:
        return None
    fitted = {k: v for k, v in vars(whitening).items() if k.endswith("_")}
    return {"params": whitening.get_params(), "fitted": fitted}


def whitening_from(state: dict[str, Any] | None) -> Whitening | None:
    """The inverse of `whitening_state`."""
    if state is None:
        return None
    whitening = Whitening(**state["params"])
    for name, value in state["fitted"].items():
        setattr(whitening, name, value)
    return whitening

"""What the summands of a model ask of each other: energy, inference, and a state that can be saved.

`energies`, `inference` and `losses` never import each other; they meet in `models` through these protocols.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[Any]  # float32 or float64


@runtime_checkable
class LatentEnergy(Protocol):
    """An energy E(x, z; W) of an observation x and a latent z, one pair per row."""

    def value(self, X: FloatArray, Z: FloatArray) -> NDArray[np.float64]:
        """E(x, z) of every row, shape (n_samples,)."""
        ...

    def gradient(self, X: FloatArray, Z: FloatArray) -> FloatArray:
        """The gradient in z of the smooth part of E, shape of `Z`."""
        ...


@runtime_checkable
class Inference(Protocol):
    """Finds argmin_z E(x, z) for every row x of a batch."""

    def encode(
        self, X: FloatArray, alpha: Any, *, init: FloatArray | None = None, out: FloatArray | None = None
    ) -> tuple[FloatArray, Any]:
        """The codes, shape (n_samples, n_components), and how well each row was solved."""
        ...


@runtime_checkable
class PersistableState(Protocol):
    """A model whose state, arrays and JSON values, suffices to predict and to go on learning exactly."""

    def _get_state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Tensors by name, and values that JSON can hold by name."""
        ...

    def _set_state(self, tensors: dict[str, NDArray[Any]], values: dict[str, Any]) -> None:
        """The inverse of `_get_state`, on an estimator with the same parameters."""
        ...

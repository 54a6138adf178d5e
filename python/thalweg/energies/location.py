"""Energies of classes with a latent location: a network looks at one window of the image."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from .._base import AnswerSide, Network, Parameters
from .._check import FloatArray, whole_number


class LocationEnergy:
    r"""E(x, k, z) = G_k(x_z), where x_z is the window of the image at the location z.

    Nobody says where the object is: minimised over z, the energy of a class is that of the window which
    shows it best.

    Parameters
    ----------
    network : Network
        Takes windows as rows of window[0] * window[1] numbers; one output a class.
    image : tuple of int
        Height and width of the images, which come as rows.
    window : tuple of int
    stride : int, default=1
        Step from one location to the next, both ways.

    References
    ----------
    Y. LeCun, S. Chopra, R. Hadsell, M. Ranzato, F. Huang, A tutorial on energy-based learning, 2006, section
    3.

    Examples
    --------
    >>> import numpy as np
    >>> from thalweg.energies import DenseNetwork, LocationEnergy
    >>> spot = DenseNetwork([np.array([[-1.0]])], [None], ["identity"])
    >>> energy = LocationEnergy(spot, image=(2, 2), window=(1, 1))
    >>> energy.energies(np.array([[2.0, 5.0, 1.0, 3.0]]))[0]
    array([[[-2., -5., -1., -3.]]])
    """

    answer_side: AnswerSide = "unbounded"

    def __init__(
        self, network: Network, image: tuple[int, int], window: tuple[int, int], stride: int = 1
    ) -> None:
        self.network = network
        self.image = _size(image, "image")
        self.window = _size(window, "window")
        self.stride = whole_number(stride, "stride", minimum=1)
        if any(w > i for w, i in zip(self.window, self.image, strict=True)):
            raise ValueError(f"window: expected at most the image's size {self.image}, got {self.window}")
        self.n_answers = network.n_outputs
        rows, columns = ((i - w) // self.stride + 1 for i, w in zip(self.image, self.window, strict=True))
        self.locations = (rows, columns)

    @property
    def parameters(self) -> Parameters:
        """Those of the network."""
        return self.network.parameters

    def energies(self, X: FloatArray) -> tuple[FloatArray, Any]:
        """Energies (n, n_answers, n_locations), and a tape for `pullback`."""
        if X.shape[1] != self.image[0] * self.image[1]:
            raise ValueError(f"X: expected images of {self.image} as rows, got shape {X.shape}")
        output, tape = self.network.forward(self._windows(X))
        n_locations = self.locations[0] * self.locations[1]
        table = output.reshape(len(X), n_locations, self.n_answers).transpose(0, 2, 1)
        return np.ascontiguousarray(table), tape

    def _windows(self, X: FloatArray) -> FloatArray:
        """(n * n_locations, pixels of a window), row by row of the locations."""
        views = sliding_window_view(X.reshape(-1, *self.image), self.window, axis=(1, 2))
        views = views[:, :: self.stride, :: self.stride]
        return views.reshape(-1, self.window[0] * self.window[1])

    def pullback(
        self, tape: Any, gradient: FloatArray, *, inputs: bool = False
    ) -> tuple[Parameters, FloatArray | None]:
        """The gradients of sum(gradient * energies) in the parameters, and where asked for in X."""
        flat = np.ascontiguousarray(gradient.transpose(0, 2, 1)).reshape(-1, self.n_answers)
        parameters, of_windows = self.network.pullback(tape, flat, inputs=inputs)
        return parameters, None if of_windows is None else self._placed(of_windows, len(gradient))

    def _placed(self, of_windows: FloatArray, n: int) -> FloatArray:
        """The adjoint of `_windows`."""
        (rows, columns), (height, width), step = self.locations, self.window, self.stride
        windows = of_windows.reshape(n, rows, columns, height, width)
        images = np.zeros((n, *self.image), of_windows.dtype)
        for i in range(height):
            for j in range(width):
                down, right = slice(i, i + step * rows, step), slice(j, j + step * columns, step)
                images[:, down, right] += windows[..., i, j]
        return images.reshape(n, -1)

    def with_parameters(self, parameters: Parameters) -> LocationEnergy:
        """The same architecture with these arrays."""
        network = self.network.with_parameters(parameters)
        return LocationEnergy(network, self.image, self.window, self.stride)


def _size(value: Any, name: str) -> tuple[int, int]:
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise ValueError(f"{name}: expected (height, width), got {value!r}")
    height, width = (whole_number(n, name, minimum=1) for n in value)
    return height, width

"""Conditional random fields on grids: labels of the pixels of images."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from math import inf
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted

from .._base import AnswerLoss, FactorStructure, Parameters
from .._check import FloatArray, float_array, real_number, thread_number, whole_number
from ..inference.messages import BeliefPropagation
from ._crf import ConditionalRandomField, label_arrays
from ._learning import unchanged_by_errors
from ._structured_answers import Gradients, StructuredAnswers

Size = tuple[int, int]


class GridCRF(ConditionalRandomField):
    r"""Labels the pixels of images by a configuration of low energy.

    .. math:: E(x, y) = \sum_p G_{y_p}(x_p) + \sum_{p \to q} A_{y_p, y_q} + \sum_{p \downarrow q} D_{y_p, y_q}

    with G linear or a network on the features of a pixel, and energies A and D of the labels of neighbours,
    from left to right and from top to bottom. Sums and minima over labellings are those of loopy belief
    propagation: Bethe's approximation, not exact.

    Parameters
    ----------
    hidden_layer_sizes : int or sequence of int, default=()
        Of G; none makes it linear.
    activation : {"tanh", "sigmoid", "relu", "softplus", "identity"}, default="tanh"
    loss : str or AnswerLoss, default="nll"
        As in `EnergyClassifier`, an answer being the labels of a whole image. The most offending incorrect
        one is the minimum that belief propagation finds, or where that is right the best with one pixel
        changed.
    inference_max_iter : int, default=30
        Sweeps of belief propagation while learning.
    predict_max_iter : int, default=200
        Sweeps while predicting.
    damping : float, default=0.3
        Share of the old message in the new one.
    margin, beta, l2, l1, optimizer, learning_rate, momentum, schedule, batch_size, max_iter, tol, \
allow_collapse, random_state, callback :
        As in `EnergyClassifier`; samples are images.
    n_jobs : int, default=None
        Threads of belief propagation; the bits do not depend on their number.

    Attributes
    ----------
    network_ : Network
        G.
    across_, down_ : ndarray of shape (n_classes, n_classes)
        A and D, from the left or upper label (rows) to the right or lower one.
    classes_ : ndarray of shape (n_classes,)
    loss_curve_ : ndarray
    n_iter_ : int
    n_features_in_ : int

    References
    ----------
    S. Kumar, M. Hebert, Discriminative random fields, ICCV 2003. J. S. Yedidia, W. T. Freeman, Y. Weiss,
    Constructing free-energy approximations and generalized belief propagation algorithms, IEEE Trans. Inf.
    Theory 51, 2005.

    Examples
    --------
    Two halves, seen through noise:

    >>> import numpy as np
    >>> from thalweg import GridCRF
    >>> rng = np.random.default_rng(0)
    >>> y = [np.arange(12)[:, None] + np.zeros(12, int) > rng.integers(3, 9) for _ in range(8)]
    >>> X = [labels[..., None] + rng.normal(size=(12, 12, 1)) for labels in y]
    >>> crf = GridCRF(l2=1e-2, tol=1e-2, random_state=0).fit(X[:6], y[:6])
    >>> bool(crf.score(X[6:], y[6:]) > 0.9)
    True
    """

    _own = ("across", "down")

    across_: FloatArray
    down_: FloatArray

    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] = (),
        *,
        activation: str = "tanh",
        loss: Any = "nll",
        inference_max_iter: int = 30,
        predict_max_iter: int = 200,
        damping: float = 0.3,
        margin: float = 1.0,
        beta: float = 1.0,
        l2: float = 0.0,
        l1: float = 0.0,
        optimizer: str = "lbfgs",
        learning_rate: float = 0.01,
        momentum: float = 0.9,
        schedule: str = "constant",
        batch_size: int = 4,
        max_iter: int = 200,
        tol: float = 1e-4,
        allow_collapse: bool = False,
        random_state: Any = None,
        n_jobs: int | None = None,
        callback: Callable[[dict[str, Any]], Any] | None = None,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.loss = loss
        self.inference_max_iter = inference_max_iter
        self.predict_max_iter = predict_max_iter
        self.damping = damping
        self.margin = margin
        self.beta = beta
        self.l2 = l2
        self.l1 = l1
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.schedule = schedule
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.tol = tol
        self.allow_collapse = allow_collapse
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.callback = callback

    def fit(self, X: Any, y: Any) -> GridCRF:
        """Learns from images of features and their labels.

        Parameters
        ----------
        X : sequence of array-like, each of shape (height, width, n_features)
            All float32 are learnt in float32, otherwise in float64.
        y : sequence of array-like, each of shape (height, width)
            Labels, two or more different ones in all.

        Returns
        -------
        self : GridCRF

        Raises
        ------
        TypeError, ValueError
            Where X, y or a parameter is of the wrong kind, shape or range, or a loss would collapse.
        FloatingPointError
            Where the loss or a parameter leaves the finite numbers; the last good ones are kept.
        """
        self._check_parameters()
        with unchanged_by_errors(self):
            images = _images(X, None, None)
            labels = _labels(y, images)
            joined = np.concatenate([m.ravel() for m in labels])
            first = self._first_parameters(joined, images[0].shape[2], images[0].dtype)
            answers = [self._states(m) for m in labels]
        self._learn(first, self._objective_on(images, answers), len(images))
        return self

    def _check_parameters(self) -> None:
        self._check_learning_parameters()
        whole_number(self.inference_max_iter, "inference_max_iter", minimum=1)
        whole_number(self.predict_max_iter, "predict_max_iter", minimum=1)
        if real_number(self.damping, "damping", minimum=0.0) >= 1:
            raise ValueError(f"damping: expected a number in [0, 1), got {self.damping:g}")
        thread_number(self.n_jobs)

    def _own_shapes(self, n_classes: int) -> dict[str, tuple[int, ...]]:
        return dict.fromkeys(self._own, (n_classes, n_classes))

    def _objective_on(self, images: list[FloatArray], right: list[NDArray[np.int64]]) -> Any:
        grids: dict[Size, Grid] = {}

        def objective(
            parameters: Parameters, rows: NDArray[np.int64], loss: AnswerLoss
        ) -> tuple[float, Parameters]:
            network = self._network_of(parameters)
            total, gradients = 0.0, {name: np.zeros_like(p) for name, p in parameters.items()}
            for size, members in _by_size([images[i].shape[:2] for i in rows]).items():
                own = rows[members]
                stack = np.stack([images[i] for i in own])
                grid = grids.setdefault(size, Grid(size, len(self.classes_)))
                output, tape = network.forward(stack.reshape(-1, stack.shape[3]))
                answers = GridAnswers(
                    grid,
                    output.reshape(len(own), -1),
                    (parameters["across"], parameters["down"]),
                    np.stack([right[i].ravel() for i in own]),
                    self._propagation(self.inference_max_iter),
                )
                values, of_labels, of_pairs = answers.loss_and_gradient(loss)
                total += float(values.sum())
                pulled, _ = network.pullback(
                    tape, of_labels.reshape(output.shape).astype(output.dtype, copy=False)
                )
                for name, gradient in (pulled | {"across": of_pairs[0], "down": of_pairs[1]}).items():
                    gradients[name] += gradient
            return total, gradients

        return objective

    def _propagation(self, max_iter: int) -> dict[str, Any]:
        return {"damping": self.damping, "max_iter": max_iter, "tol": 1e-4, "n_jobs": self.n_jobs}

    # --- questions about y

    def predict(self, X: Any) -> list[NDArray[Any]]:
        """A labelling of low energy for every image, each of shape (height, width)."""
        return [
            self.classes_[self._infer(image, inf).states.reshape(image.shape[:2])]
            for image in self._checked(X)
        ]

    def predict_marginals(self, X: Any, beta: float | None = None) -> list[FloatArray]:
        """Bethe's approximation of P(y_p | x) at every pixel, each of shape (height, width, n_classes)."""
        beta = self._finite_beta(beta)
        return [self._infer(image, beta).beliefs.reshape(*image.shape[:2], -1) for image in self._checked(X)]

    def energies(self, X: Any, y: Any) -> NDArray[np.float64]:
        """E(x, y) of every image with its labels, shape (n_images,)."""
        images = self._checked(X)
        tables, found = (self.across_, self.down_), np.empty(len(images))
        for i, (image, labels) in enumerate(zip(images, _labels(y, images), strict=True)):
            grid, unary = self._grid(image)
            found[i] = grid.energy(unary, tables, self._states(labels).reshape(1, -1))[0]
        return found

    def _free_energies(self, X: Any, beta: float) -> NDArray[np.float64]:
        """Bethe's approximation of them, shape (n_images,)."""
        return np.array([self._infer(image, beta).free_energy[0] for image in self._checked(X)])

    def _checked(self, X: Any) -> list[FloatArray]:
        check_is_fitted(self, "network_")
        return _images(X, self.n_features_in_, self.across_.dtype)

    def _grid(self, image: FloatArray) -> tuple[Grid, FloatArray]:
        """An image's graph, and the energies of its labels as a batch of one."""
        unary = self.network_.forward(image.reshape(-1, image.shape[2]))[0].reshape(1, -1)
        return Grid(image.shape[:2], len(self.classes_)), unary

    def _infer(self, image: FloatArray, beta: float) -> Any:
        grid, unary = self._grid(image)
        return grid.infer(unary, (self.across_, self.down_), beta, self._propagation(self.predict_max_iter))

    def score(self, X: Any, y: Any) -> float:
        """The share of pixels whose label is predicted right."""
        predicted = self.predict(X)
        truth = _labels(y, [p[..., None] for p in predicted])
        hits = sum(int((p == t).sum()) for p, t in zip(predicted, truth, strict=True))
        return hits / sum(p.size for p in predicted)


class Grid:
    """Images of one size as a factor graph: pixels row by row, factors across, then factors down."""

    def __init__(self, size: Size, n_labels: int) -> None:
        height, width = size
        pixels = np.arange(height * width).reshape(size)
        across = np.stack([pixels[:, :-1].ravel(), pixels[:, 1:].ravel()], axis=1)
        down = np.stack([pixels[:-1].ravel(), pixels[1:].ravel()], axis=1)
        self.pairs = np.concatenate([across, down])
        self.n_across = len(across)
        self.n_pixels, self.n_labels = pixels.size, n_labels
        n_factors = len(self.pairs)
        self.structure = FactorStructure(
            np.full(pixels.size, n_labels, np.int64),
            np.zeros(n_factors, np.int64),
            2 * np.arange(n_factors + 1),
            self.pairs.ravel(),
        )

    def infer(
        self,
        unary: FloatArray,
        tables: tuple[FloatArray, FloatArray],
        beta: float,
        options: dict[str, Any],
        *,
        statistics: bool = False,
        is_quiet: bool = False,
    ) -> Any:
        """Beliefs of a batch (n_images, n_pixels * n_labels)."""
        n_down = len(self.pairs) - self.n_across
        energies = np.concatenate(
            [np.tile(t.ravel(), n) for t, n in zip(tables, (self.n_across, n_down), strict=True)]
        )
        propagation = BeliefPropagation(self.structure, beta=beta, **options)
        with warnings.catch_warnings():
            if is_quiet:
                warnings.simplefilter("ignore", ConvergenceWarning)
            return propagation.infer(energies, unary=unary, statistics=statistics)

    def energy(
        self, unary: FloatArray, tables: tuple[FloatArray, FloatArray], states: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """E of labellings (n_images, n_pixels)."""
        of_labels = np.take_along_axis(
            unary.reshape(len(unary), self.n_pixels, self.n_labels), states[..., None], axis=2
        ).sum(axis=(1, 2), dtype=np.float64)
        first, second = states[:, self.pairs[:, 0]], states[:, self.pairs[:, 1]]
        cut = self.n_across
        across = tables[0][first[:, :cut], second[:, :cut]].sum(axis=1, dtype=np.float64)
        down = tables[1][first[:, cut:], second[:, cut:]].sum(axis=1, dtype=np.float64)
        total: NDArray[np.float64] = of_labels + across + down
        return total


class GridAnswers(StructuredAnswers):
    """The labellings of a batch of images of one size as answers to a loss."""

    def __init__(
        self,
        grid: Grid,
        unary: FloatArray,
        tables: tuple[FloatArray, FloatArray],
        right: NDArray[np.int64],
        options: dict[str, Any],
    ) -> None:
        self._grid, self._unary, self._tables, self._right = grid, unary, tables, right
        self._options = options
        self._held: tuple[float, Any] | None = None

    def energy(self) -> NDArray[np.float64]:
        return self._grid.energy(self._unary, self._tables, self._right)

    def offending(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        found = self._grid.infer(self._unary, self._tables, inf, self._options, is_quiet=True)
        states = found.states.copy()
        for i in np.flatnonzero((states == self._right).all(axis=1)):
            states[i] = self._best_neighbour(int(i))
        return states, self._grid.energy(self._unary, self._tables, states)

    def _best_neighbour(self, i: int) -> NDArray[np.int64]:
        """The right labelling of image i with that one pixel changed which costs least."""
        grid, right = self._grid, self._right[i]
        cost = self._unary[i].reshape(grid.n_pixels, grid.n_labels).astype(np.float64)
        for table, pairs in zip(self._tables, np.split(grid.pairs, [grid.n_across]), strict=True):
            first, second = pairs.T
            np.add.at(cost, first, table[:, right[second]].T)
            np.add.at(cost, second, table[right[first]])
        pixels = np.arange(grid.n_pixels)
        change = cost - cost[pixels, right][:, None]
        change[pixels, right] = inf
        pixel, label = np.unravel_index(change.argmin(), change.shape)
        changed: NDArray[np.int64] = right.copy()
        changed[pixel] = label
        return changed

    def free_energy(self, beta: float) -> NDArray[np.float64]:
        return np.asarray(self._sums(beta).free_energy)

    def expected(self, beta: float, weight: NDArray[np.float64]) -> Gradients:
        sums, k = self._sums(beta), self._grid.n_labels
        of_labels = sums.beliefs.reshape(len(weight), -1, k) * weight[:, None, None]
        tables = sums.statistics.reshape(len(weight), -1, k, k)
        cut = self._grid.n_across
        of_pairs = [np.einsum("nfij,n->ij", part, weight) for part in (tables[:, :cut], tables[:, cut:])]
        return of_labels, np.stack(of_pairs)

    def _sums(self, beta: float) -> Any:
        """Asked for twice with one beta: first free energies, then beliefs."""
        if self._held is None or self._held[0] != beta:
            found = self._grid.infer(
                self._unary, self._tables, beta, self._options, statistics=True, is_quiet=True
            )
            self._held = beta, found
        return self._held[1]

    def counted(self, states: NDArray[np.int64] | None, weight: NDArray[np.float64]) -> Gradients:
        states, k = self._right if states is None else states, self._grid.n_labels
        of_labels = np.zeros((*states.shape, k))
        np.put_along_axis(of_labels, states[..., None], weight[:, None, None], axis=2)
        of_pairs = np.zeros((2, k, k))
        for counts, pairs in zip(of_pairs, np.split(self._grid.pairs, [self._grid.n_across]), strict=True):
            codes = states[:, pairs[:, 0]] * k + states[:, pairs[:, 1]]
            weights = np.broadcast_to(weight[:, None], codes.shape)
            counts += np.bincount(codes.ravel(), weights.ravel(), k * k).reshape(k, k)
        return of_labels, of_pairs


def _by_size(sizes: list[Size]) -> dict[Size, NDArray[np.int64]]:
    """The places of the images of each size."""
    found: dict[Size, list[int]] = {}
    for place, size in enumerate(sizes):
        found.setdefault(size, []).append(place)
    return {size: np.array(places) for size, places in found.items()}


def _images(X: Any, n_features: int | None, dtype: Any) -> list[FloatArray]:
    if not isinstance(X, list | tuple | np.ndarray) or len(X) == 0:
        raise ValueError("X: expected a list of one image or more, each of shape (height, width, n_features)")
    images = [float_array(x, f"X[{i}]", ndim=3) for i, x in enumerate(X)]
    expected = images[0].shape[2] if n_features is None else n_features
    for i, image in enumerate(images):
        if image.size == 0 or image.shape[2] != expected:
            raise ValueError(
                f"X[{i}]: expected shape (height, width, {expected}), not empty, got {image.shape}"
            )
    if dtype is None:
        dtype = np.float32 if all(image.dtype == np.float32 for image in images) else np.float64
    return [image.astype(dtype, copy=False) for image in images]


def _labels(y: Any, images: list[Any]) -> list[NDArray[Any]]:
    return label_arrays(y, [image.shape[:2] for image in images])

"""What conditional random fields on chains and on grids have in common: one network labels every position."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from .._base import Network, Parameters
from .._check import FloatArray, array_of, real_number, seed_number
from ..energies import DenseNetwork
from ..inference.free_energy import free_energy
from ._energy_learning import EnergyLearner, loss_name, require_no_collapse
from ._inputs import best_inputs, sample_count, sampled_inputs


class ConditionalRandomField(EnergyLearner):
    """Energies of single labels from a network, and energies of neighbouring labels."""

    _own: ClassVar[tuple[str, ...]]  # parameters beside the network's, attributes with "_" after

    network_: Network
    classes_: NDArray[Any]
    n_features_in_: int

    @abstractmethod
    def energies(self, X: Any, y: Any) -> NDArray[np.float64]:
        """E(x, y) of every sample with its labels."""

    @abstractmethod
    def _free_energies(self, X: Any, beta: float) -> NDArray[np.float64]:
        """-1/beta log of the sum over all labellings of exp(-beta E), of every sample."""

    @abstractmethod
    def _own_shapes(self, n_classes: int) -> dict[str, tuple[int, ...]]:
        """Of the parameters beside the network's."""

    # --- parameters

    def _first_parameters(self, labels: NDArray[Any], n_features: int, dtype: Any) -> Parameters:
        """Those that learning starts from: a random network, and neighbours that do not matter."""
        classes = np.unique(labels)
        if len(classes) < 2:
            raise ValueError(f"y: expected two labels or more, got one only: {classes[0]!r}")
        loss = self._make_loss()
        if loss.needs == "all" and not hasattr(loss, "beta"):
            raise TypeError("loss: expected to have a `beta`, as it asks for P(right) among all labellings")
        require_no_collapse(loss, "unbounded", loss_name(self.loss), self.allow_collapse)
        network = self._network(n_features, len(classes), dtype, seed_number(self.random_state))
        first = {name: p.copy() for name, p in network.parameters.items()}
        first |= {name: np.zeros(shape, dtype) for name, shape in self._own_shapes(len(classes)).items()}
        self.__dict__.update(classes_=classes, network_=network, n_features_in_=n_features)
        self._take(first)
        return first

    def _network(self, n_features: int, n_classes: int, dtype: Any, seed: int) -> DenseNetwork:
        return DenseNetwork.random(
            n_features, self.hidden_layer_sizes, n_classes, self.activation, seed, dtype
        )

    def _network_of(self, parameters: Parameters) -> Network:
        return self.network_.with_parameters({k: p for k, p in parameters.items() if k not in self._own})

    def _take(self, parameters: Parameters) -> None:
        own = {f"{name}_": parameters[name] for name in self._own}
        self.__dict__.update(network_=self._network_of(parameters), **own)

    def _states(self, labels: NDArray[Any]) -> NDArray[np.int64]:
        """The numbers of labels among the classes."""
        places = np.minimum(np.searchsorted(self.classes_, labels), len(self.classes_) - 1)
        unseen = self.classes_[places] != labels
        if unseen.any():
            label = labels[unseen].tolist()[0]
            raise ValueError(f"y: the label {label!r} was not among those learnt from")
        return places.astype(np.int64)

    # --- questions about y

    def log_likelihood(self, X: Any, y: Any, beta: float | None = None) -> NDArray[np.float64]:
        """log P(y | x) of every sample with its labels, shape (n_samples,).

        Of images approximate, as the sum over labellings is Bethe's: where it is far off, which a warning
        says, values exceed 0.
        """
        beta = self._finite_beta(beta)
        return self._log_shares(self._free_energies(X, beta), self.energies(X, y), beta)

    def rank(self, x: Any, candidates: Any) -> NDArray[np.int64]:
        """Numbers of candidate labellings of one sample, from the least energy to the greatest."""
        energies = self.energies([x] * len(candidates), candidates)
        ranked: NDArray[np.int64] = np.argsort(energies, kind="stable")
        return ranked

    def predict_proba(self, x: Any, candidates: Any, beta: float | None = None) -> NDArray[np.float64]:
        """P(y | x) of candidate labellings of one sample, among all labellings, (n_candidates,).

        Of images approximate, as `log_likelihood`.
        """
        beta = self._finite_beta(beta)
        energies = self.energies([x] * len(candidates), candidates)
        return np.exp(self._log_shares(self._free_energies([x], beta), energies, beta))

    def _finite_beta(self, beta: float | None) -> float:
        return real_number(self.beta if beta is None else beta, "beta", above=0.0)

    @staticmethod
    def _log_shares(
        free: NDArray[np.float64], energies: NDArray[np.float64], beta: float
    ) -> NDArray[np.float64]:
        shares: NDArray[np.float64] = beta * (free - energies)
        if (shares > 1e-6 * (1 + np.abs(beta * energies))).any():
            warnings.warn(
                "the free energy of belief propagation lies above the energy of a labelling: it is a poor "
                "approximation here, and probabilities exceed 1",
                UserWarning,
                stacklevel=3,
            )
        return shares

    # --- questions about x

    def rank_inputs(self, X: Any, y: Any) -> NDArray[np.int64]:
        """Numbers of samples of one size, from that to which the labels `y` fit best on."""
        ranked: NDArray[np.int64] = np.argsort(self.energies(X, [y] * len(X)), kind="stable")
        return ranked

    def input_distribution(self, X: Any, y: Any, beta: float | None = None) -> NDArray[np.float64]:
        """P(x | y) over candidate samples of one size, proportional to exp(-beta E), (n_samples,)."""
        return free_energy(self.energies(X, [y] * len(X)), self.beta if beta is None else beta)[1]

    def best_input(self, y: Any, bounds: Any, *, n_restarts: int = 4) -> NDArray[np.float64]:
        """The sample of least energy for the labels `y`, within bounds on the features of a position.

        Positions do not interact in x: what is best for a label is best wherever the label stands.

        Parameters
        ----------
        y : array_like
            Labels: of a sequence of shape (length,), of an image of shape (height, width).
        bounds : tuple of array_like
            Least and greatest value of every feature.
        n_restarts : int, default=4
            Starts at random besides the middle of the box.

        Returns
        -------
        ndarray of the shape of `y` and n_features

        Raises
        ------
        ValueError
            The energy falls without end in a box that is open.
        """
        states = self._one_labelling(y)
        present = np.unique(states)
        shape = (len(present), self.n_features_in_)
        best = best_inputs(self._energy_of_inputs(present), shape, bounds, n_restarts=n_restarts)
        return best[np.searchsorted(present, states)]

    def sample_inputs(
        self,
        y: Any,
        n_samples: int,
        bounds: Any,
        *,
        n_steps: int = 500,
        step: float = 1e-3,
        beta: float | None = None,
        random_state: Any = None,
    ) -> NDArray[np.float64]:
        """Samples of P(x | y) within bounds by Langevin's dynamics, (n_samples, ...) each as `best_input`."""
        states, count = self._one_labelling(y), sample_count(n_samples)
        found = sampled_inputs(
            self._energy_of_inputs(np.tile(states.ravel(), count)),
            (count * states.size, self.n_features_in_),
            bounds,
            n_steps=n_steps,
            step=step,
            beta=self._finite_beta(beta),
            random_state=random_state,
        )
        return found.reshape(count, *states.shape, self.n_features_in_)

    def _one_labelling(self, y: Any) -> NDArray[np.int64]:
        check_is_fitted(self, "network_")
        labels = label_arrays([y], [np.shape(y)])[0]
        if labels.size == 0:
            raise ValueError("y: expected one label or more, got none")
        return self._states(labels)

    def _energy_of_inputs(self, states: NDArray[np.int64]) -> Any:
        """Of a position's features, given that row i has state i."""
        dtype = next(iter(self.network_.parameters.values())).dtype

        def energy(x: NDArray[np.float64], rows: NDArray[np.int64]) -> tuple[FloatArray, FloatArray]:
            output, tape = self.network_.forward(x.astype(dtype))
            gradient = np.zeros_like(output)
            gradient[np.arange(len(rows)), states[rows]] = 1
            value = output[np.arange(len(rows)), states[rows]]
            return value, np.asarray(self.network_.pullback(tape, gradient, inputs=True)[1])

        return energy

    # --- files

    def _get_state(self) -> tuple[dict[str, Any], dict[str, Any]]:
        check_is_fitted(self, "network_")
        tensors = dict(self.network_.parameters) | {name: getattr(self, f"{name}_") for name in self._own}
        tensors["loss_curve"] = self.loss_curve_
        values: dict[str, Any] = {"n_iter": self.n_iter_, "n_features_in": self.n_features_in_}
        if self.classes_.dtype.kind in "UO":
            return tensors, values | {"classes": [str(c) for c in self.classes_]}
        return tensors | {"classes": self.classes_}, values

    def _set_state(self, tensors: dict[str, Any], values: dict[str, Any]) -> None:
        parameters = {k: np.array(t) for k, t in tensors.items() if k not in ("classes", "loss_curve")}
        classes = np.array(values["classes"]) if "classes" in values else np.array(tensors["classes"])
        dtype = next(iter(parameters.values())).dtype
        network = self._network(values["n_features_in"], len(classes), dtype, 0)
        expected = {k: p.shape for k, p in network.parameters.items()} | self._own_shapes(len(classes))
        if {k: p.shape for k, p in parameters.items()} != expected:
            raise ValueError("the parameters of the state do not belong to this field")
        self.__dict__.update(
            classes_=classes,
            network_=network,
            n_iter_=values["n_iter"],
            n_features_in_=values["n_features_in"],
            loss_curve_=np.array(tensors["loss_curve"]),
        )
        self._take(parameters)


def label_arrays(y: Any, shapes: Sequence[tuple[int, ...]]) -> list[NDArray[Any]]:
    """The labels of every sample, all numbers or all strings, in arrays of these shapes."""
    if not hasattr(y, "__len__"):
        raise TypeError(f"y: expected the labels of {len(shapes)} samples, got {y!r}")
    if len(y) != len(shapes):
        raise ValueError(f"y: expected the labels of {len(shapes)} samples as X has, got {len(y)}")
    labels = [_labels(given, i) for i, given in enumerate(y)]
    for i, (own, shape) in enumerate(zip(labels, shapes, strict=True)):
        if own.shape != shape:
            raise ValueError(f"y[{i}]: expected shape {shape} as X[{i}] has, got {own.shape}")
    if len({own.dtype.kind == "U" for own in labels}) > 1:
        raise ValueError("y: expected labels of one kind, got numbers and strings")
    return labels


def _labels(given: Any, i: int) -> NDArray[Any]:
    """One sample's labels: numbers, none of them NaN, or strings."""
    labels = array_of(given, f"y[{i}]")
    if labels.dtype.kind == "O" and all(isinstance(label, str) for label in labels.ravel()):
        labels = labels.astype(str)
    if labels.dtype.kind not in "biufU":
        raise TypeError(f"y[{i}]: expected numbers or strings, got {labels.dtype}")
    if labels.dtype.kind == "f" and np.isnan(labels).any():
        raise ValueError(f"y[{i}]: expected labels, got NaN")
    return labels

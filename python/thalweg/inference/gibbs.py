"""Gibbs sampling of restricted Boltzmann machines: both conditional distributions, and sweeps of chains."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _check, _device, _rng, ops
from .._base import BipartiteGradient, Bits, Draws, Phase
from .._check import FloatArray
from .._native import cpu as _cpu

_ALIGNMENT = 128  # bytes: one panel of the kernels
_BLOCK_ROWS = 4096
_LOG_2_PI = float(np.log(2 * np.pi))


class RbmMachine:
    """The native kernels around one set of parameters: a bipartite machine as losses and samplers see it.

    Bernoulli visible units, or Gaussian ones where `sigma` is given; `kernels/gibbs.hpp` has the formulas.

    Parameters
    ----------
    up : ndarray of shape (n_features, weight_stride(n_components))
        The transposed weights, for Gaussian units row j divided by sigma_j^2; columns beyond n_components are
        zero.
    down : ndarray of shape (n_components, weight_stride(n_features))
        The weights, padded likewise.
    visible_bias, hidden_bias : ndarray of shape (n_features,), (n_components,)
    sigma : ndarray of shape (n_features,), default=None
    workspace : object, default=None
        Memory of another machine of this dtype that is not in use meanwhile.
    n_jobs : int, default=0
        Threads; 0 stands for OpenMP's default.
    device : {"cpu", "cuda"}, default="cpu"
        Where the kernels run. On "cuda" the parameters are copied there once; results are where the states
        are, NumPy arrays or arrays of the device.
    """

    def __init__(
        self,
        up: FloatArray,
        down: FloatArray,
        visible_bias: FloatArray,
        hidden_bias: FloatArray,
        sigma: FloatArray | None = None,
        *,
        workspace: Any = None,
        n_jobs: int = 0,
        device: str = "cpu",
    ) -> None:
        self.dtype = up.dtype
        self.n_visible, self.n_hidden = len(visible_bias), len(hidden_bias)
        self.is_gaussian = sigma is not None
        self.visible_bias, self.hidden_bias, self.sigma = visible_bias, hidden_bias, sigma
        self.device = _check.device(device)
        self.kernels = _device.kernels(device)
        self.workspace = make_workspace(self.dtype, device) if workspace is None else workspace
        self.n_jobs = n_jobs
        self.down = down
        self._up = up
        self.native = self.kernels.rbm(up, down, visible_bias, hidden_bias, sigma, self.workspace)

    @classmethod
    def of(
        cls,
        weights: FloatArray,
        visible_bias: FloatArray,
        hidden_bias: FloatArray,
        sigma: FloatArray | None = None,
        n_jobs: int = 0,
        device: str = "cpu",
    ) -> RbmMachine:
        """The machine of weights (n_components, n_features) as an estimator has them, all of one dtype."""
        n_hidden, n_visible = weights.shape
        rows = np.ascontiguousarray(weights)
        up, down = padded_rows(n_visible, n_hidden, rows.dtype), padded_rows(n_hidden, n_visible, rows.dtype)
        down[:, :n_visible] = rows
        scale = None if sigma is None else 1 / np.square(sigma)
        _cpu.transpose(rows, scale, up, n_jobs)
        return cls(up, down, visible_bias, hidden_bias, sigma, n_jobs=n_jobs, device=device)

    def hidden(self, visible: FloatArray | Bits) -> FloatArray:
        """p(h = 1 | v), shape (n, n_hidden)."""
        mean = self._empty(visible, self.n_hidden)
        self._hidden(visible, mean=mean)
        return mean

    def hidden_logits(self, visible: FloatArray | Bits) -> FloatArray:
        """log p(h = 1 | v) / p(h = 0 | v), shape (n, n_hidden)."""
        logits = self._empty(visible, self.n_hidden)
        self._hidden(visible, logits=logits)
        return logits

    def draw_hidden(self, visible: FloatArray | Bits, draws: Draws) -> tuple[FloatArray, Bits]:
        """p(h = 1 | v), and states drawn with it."""
        mean = self._empty(visible, self.n_hidden)
        bits = empty_bits(len(visible), self.n_hidden, like=visible)
        self._hidden(visible, draws, mean=mean, bits=bits)
        return mean, bits

    def visible_mean(self, hidden: FloatArray | Bits) -> FloatArray:
        """E[v | h], shape (n, n_visible)."""
        mean = self._empty(hidden, self.n_visible)
        self._visible(hidden, mean=mean)
        return mean

    def draw_visible(self, hidden: FloatArray | Bits, draws: Draws) -> FloatArray | Bits:
        """States drawn from p(v | h): real numbers for Gaussian units, bits for Bernoulli units."""
        states = self.empty_visible(len(hidden), like=hidden)
        self._visible(hidden, draws, states=states)
        return states

    def sweep(
        self,
        hidden: Bits,
        n_sweeps: int,
        draws: Draws,
        *,
        t: FloatArray | None = None,
        base_bias: FloatArray | None = None,
        base_sigma: FloatArray | None = None,
    ) -> tuple[FloatArray | Bits, FloatArray]:
        """`n_sweeps` times v ~ p(v | h), h ~ p(h | v), the chains in `hidden` moved in place.

        Visible units draw from the stream of `draws`, hidden ones from the next. `t` is one inverse
        temperature a chain, between the base model at 0 and the machine at 1. Returns the last visible states
        and p(h = 1 | v) there.
        """
        visible = self.empty_visible(len(hidden), like=hidden)
        mean = self._empty(hidden, self.n_hidden)
        self.native.sweeps(
            hidden.words,
            visible.words if isinstance(visible, Bits) else None,
            None if isinstance(visible, Bits) else visible,
            mean,
            t,
            base_bias,
            base_sigma,
            *_key(draws),
            n_sweeps,
            self.n_jobs,
        )
        return visible, mean

    def statistics(self, phases: list[Phase], extra: list[Phase] | None = None) -> BipartiteGradient:
        """The sum over all rows of weight times the gradient of -E(v, h).

        `extra` phases count in the gradient of the weights alone.
        """
        up = padded_rows(self.n_visible, self.n_hidden, self.dtype, zeros=False)
        visible, hidden = np.empty(self.n_visible, self.dtype), np.empty(self.n_hidden, self.dtype)
        extra = extra or []
        scale = None if self.sigma is None else 1 / np.square(self.sigma)
        given = [(*_real_or_words(p.visible), p.hidden, p.weight) for p in (*phases, *extra)]
        self.kernels.phase_statistics(
            given, len(extra), scale, up, visible, hidden, self.workspace, self.n_jobs
        )
        if scale is None:
            return BipartiteGradient(up, visible, hidden)
        total = sum(float(p.weight.sum()) for p in phases)
        visible_gradient = ((visible - total * self.visible_bias) * scale).astype(self.dtype)
        return BipartiteGradient(up, visible_gradient, hidden, self._log_sigma_gradient(phases))

    def _log_sigma_gradient(self, phases: list[Phase]) -> FloatArray:
        """sum_n weight_n ((v - a)^2 - 2 v (W' h)) / sigma^2."""
        total = np.zeros(self.n_visible, np.float64)
        for phase in phases:
            v, shifted = on_host(phase.visible), on_host(self.visible_mean(phase.hidden))
            assert not isinstance(v, Bits)
            centred = v - self.visible_bias
            terms = centred * centred - 2 * v * (shifted - self.visible_bias)
            total += np.einsum("i,ij->j", phase.weight, terms)
        return (total / np.square(self.sigma)).astype(self.dtype)  # type: ignore[arg-type]

    def shifted(self, up: FloatArray, visible_bias: FloatArray, hidden_bias: FloatArray) -> RbmMachine:
        """The machine with these added to its transposed weights (rows padded) and to its biases."""
        scale = None if self.sigma is None else 1 / np.square(self.sigma)
        new_up = padded_rows(self.n_visible, self.n_hidden, self.dtype, zeros=False)
        np.add(self._up, up if scale is None else up * scale[:, None], out=new_up)
        back = None if self.sigma is None else np.square(self.sigma)
        new_down = padded_rows(self.n_hidden, self.n_visible, self.dtype, zeros=False)
        source = new_up[:, : self.n_hidden]
        _cpu.transpose(source if back is None else source * back[:, None], None, new_down, self.n_jobs)
        return RbmMachine(
            new_up,
            new_down,
            self.visible_bias + visible_bias,
            self.hidden_bias + hidden_bias,
            self.sigma,
            workspace=self.workspace,
            n_jobs=self.n_jobs,
            device=self.device,
        )

    def free_energy(self, visible: FloatArray | Bits) -> NDArray[np.float64]:
        """-log sum_h exp(-E(v, h)), shape (n,); sums in float64."""
        if self.device == "cuda":
            return on_host(self.free_energy_there(visible))  # type: ignore[no-any-return]
        energy = self._visible_energy(visible)
        for first in range(0, len(visible), _BLOCK_ROWS):
            rows = slice(first, first + _BLOCK_ROWS)
            logits = self.hidden_logits(_rows(visible, rows))
            energy[rows] -= ops.softplus(logits, out=logits, n_jobs=self.n_jobs or None).sum(
                axis=1, dtype=np.float64
            )
        return energy

    def free_energy_there(self, visible: FloatArray | Bits) -> Any:
        """`free_energy` of a machine with device="cuda", where `visible` is."""
        energy = _device.empty((len(visible),), np.float64, like=_array_of(visible))
        self.native.free_energy(*_real_or_words(visible), energy)
        return energy

    def joint_energy(self, visible: FloatArray | Bits, hidden: Bits) -> NDArray[np.float64]:
        """E(v, h), shape (n,); sums in float64."""
        visible = on_host(visible)
        states = unpack(on_host(hidden), self.dtype, self.n_jobs)
        energy = self._visible_energy(visible)
        energy -= np.einsum("ij,ij->i", self.hidden_logits(visible), states, dtype=np.float64)
        return energy

    def _visible_energy(self, visible: FloatArray | Bits) -> NDArray[np.float64]:
        """The terms of the energy without hidden units."""
        bias = self.visible_bias.astype(np.float64)
        energy = np.empty(len(visible))
        for first in range(0, len(visible), _BLOCK_ROWS):
            rows = slice(first, first + _BLOCK_ROWS)
            part = _rows(visible, rows)
            v = unpack(part, self.dtype, self.n_jobs) if isinstance(part, Bits) else part
            if self.sigma is None:
                energy[rows] = -np.einsum("ij,j->i", v, bias)
            else:
                energy[rows] = 0.5 * np.square((v - bias) / self.sigma.astype(np.float64)).sum(axis=1)
        return energy

    def log_partition_without_weights(self) -> float:
        """log Z of the machine whose weights are zero."""
        log_z = float(ops.softplus(self.hidden_bias.astype(np.float64)).sum())
        if self.sigma is None:
            return log_z + float(ops.softplus(self.visible_bias.astype(np.float64)).sum())
        return log_z + float(np.log(self.sigma.astype(np.float64)).sum() + 0.5 * self.n_visible * _LOG_2_PI)

    def base_model(self, mean: FloatArray, deviation: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Log-odds of features of this mean, kept away from 0 and 1; or the mean and deviation themselves."""
        if not self.is_gaussian:
            rates = 0.01 + 0.98 * np.clip(np.asarray(mean, np.float64), 0, 1)
            return np.log(rates / (1 - rates)).astype(self.dtype), np.ones(self.n_visible, self.dtype)
        floor = 1e-3 * float(np.sqrt(np.mean(np.square(deviation, dtype=np.float64)))) or 1.0
        return np.asarray(mean, self.dtype), np.maximum(deviation, floor).astype(self.dtype)

    def log_base(
        self,
        visible: FloatArray | Bits,
        base_bias: FloatArray,
        base_sigma: FloatArray | None,
        *,
        normalized: bool = False,
    ) -> NDArray[np.float64]:
        """The log density of the base model, shape (n,); without the constant unless `normalized`."""
        bias = base_bias.astype(np.float64)
        visible = on_host(visible)
        v = unpack(visible, self.dtype, self.n_jobs) if isinstance(visible, Bits) else visible
        if base_sigma is None:
            log_density = v @ bias
            constant = float(ops.softplus(bias).sum())
        else:
            sigma = base_sigma.astype(np.float64)
            log_density = -0.5 * np.square((v - bias) / sigma).sum(axis=1)
            constant = float(np.log(sigma).sum() + 0.5 * len(sigma) * _LOG_2_PI)
        result: NDArray[np.float64] = log_density - constant if normalized else log_density
        return result

    def draw_base(
        self, n: int, base_bias: FloatArray, base_sigma: FloatArray | None, draws: Draws
    ) -> FloatArray:
        """Rows drawn from the base model, shape (n, n_visible)."""
        shape = (n, self.n_visible)
        key = (draws.seed, draws.stream, draws.step, n * self.n_visible, draws.first_row)
        if base_sigma is None:
            rates = ops.sigmoid(base_bias.astype(np.float64))
            drawn: FloatArray = (_rng.uniform(*key).reshape(shape) < rates).astype(self.dtype)
            return drawn
        normal = _rng.normals(*key).reshape(shape)
        rows: FloatArray = (base_bias + base_sigma * normal).astype(self.dtype)
        return rows

    def empty_visible(self, n_rows: int, *, like: FloatArray | Bits | None = None) -> FloatArray | Bits:
        """Room for visible states, on the side where `like` is."""
        if self.is_gaussian:
            return self._empty(like, self.n_visible, n_rows)
        return empty_bits(n_rows, self.n_visible, like=like)

    def place(self, states: FloatArray | Bits) -> FloatArray | Bits:
        """The states where the kernels run."""
        if self.device == "cpu" or _device.is_device_array(_array_of(states)):
            return states
        if isinstance(states, Bits):
            return Bits(self.kernels.to_device(states.words), states.units)
        placed: FloatArray = self.kernels.to_device(states)
        return placed

    def _empty(self, like: FloatArray | Bits | None, n_units: int, n_rows: int | None = None) -> FloatArray:
        """Room for a number a row and unit, on the side where `like` is, which has the rows."""
        count = n_rows if like is None or n_rows is not None else len(like)
        made: FloatArray = _device.empty((count or 0, n_units), self.dtype, like=_array_of(like))
        return made

    def _hidden(
        self,
        visible: FloatArray | Bits,
        draws: Draws = Draws(0, 0),  # noqa: B008 (immutable)
        *,
        logits: FloatArray | None = None,
        mean: FloatArray | None = None,
        bits: Bits | None = None,
    ) -> None:
        words = None if bits is None else bits.words
        self.native.hidden_given_visible(
            *_real_or_words(visible), None, *_key(draws), logits, mean, words, self.n_jobs
        )

    def _visible(
        self,
        hidden: FloatArray | Bits,
        draws: Draws = Draws(0, 0),  # noqa: B008 (immutable)
        *,
        mean: FloatArray | None = None,
        states: FloatArray | Bits | None = None,
    ) -> None:
        words = states.words if isinstance(states, Bits) else None
        real = None if isinstance(states, Bits) else states
        self.native.visible_given_hidden(
            *_real_or_words(hidden), None, None, None, *_key(draws), mean, words, real, self.n_jobs
        )


def make_workspace(dtype: Any, device: str = "cpu") -> Any:
    """Memory that the kernels keep from call to call."""
    kernels = _device.kernels(device)
    return kernels.RbmWorkspaceFloat64() if np.dtype(dtype) == np.float64 else kernels.RbmWorkspaceFloat32()


def padded_rows(n_rows: int, n_units: int, dtype: Any, *, zeros: bool = True) -> FloatArray:
    """An aligned array of the row stride that the kernels want for weights to so many units."""
    kind = np.dtype(dtype)
    stride = _cpu.weight_stride(n_units, kind == np.float64)
    size = n_rows * stride * kind.itemsize
    memory = (np.zeros if zeros else np.empty)(size + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    rows: FloatArray = memory[start : start + size].view(kind).reshape(n_rows, stride)
    return rows


def empty_bits(n_rows: int, n_units: int, *, like: FloatArray | Bits | None = None) -> Bits:
    """Room for rows of states, on the side where `like` is."""
    return Bits(_device.empty((-(-n_units // 32), n_rows), np.uint32, like=_array_of(like)), n_units)


def zero_bits(n_rows: int, n_units: int) -> Bits:
    """Rows of states that are all 0."""
    return Bits(np.zeros((-(-n_units // 32), n_rows), np.uint32), n_units)


def pack(states: FloatArray, n_jobs: int = 0) -> tuple[Bits, bool]:
    """Real states as bits, 1 where they are 1; and whether all of them are 0 or 1."""
    bits = empty_bits(*states.shape, like=states)
    return bits, bool(_kernels_of(states).pack_states(states, bits.words, n_jobs))


def unpack(bits: Bits, dtype: Any, n_jobs: int = 0) -> FloatArray:
    """States as real numbers, shape (n_rows, n_units)."""
    states: FloatArray = _device.empty((len(bits), bits.units), dtype, like=bits.words)
    _kernels_of(bits).unpack_states(bits.words, states, n_jobs)
    return states


def on_host(states: Any) -> Any:
    """States as they are, or brought from the device."""
    if isinstance(states, Bits):
        return Bits(on_host(states.words), states.units)
    return _device.to_host(states) if _device.is_device_array(states) else states


def _array_of(states: FloatArray | Bits | None) -> Any:
    return states.words if isinstance(states, Bits) else states


def _kernels_of(states: FloatArray | Bits) -> Any:
    return _device.kernels("cuda" if _device.is_device_array(_array_of(states)) else "cpu")


def _real_or_words(states: FloatArray | Bits) -> tuple[FloatArray | None, NDArray[np.uint32] | None]:
    return (None, states.words) if isinstance(states, Bits) else (states, None)


def _rows(states: FloatArray | Bits, rows: slice) -> FloatArray | Bits:
    if isinstance(states, Bits):
        return Bits(np.ascontiguousarray(states.words[:, rows]), states.units)
    return states[rows]


def _key(draws: Draws) -> tuple[int, int, int, int]:
    return draws.seed & (2**64 - 1), draws.stream, draws.first_row, draws.step & (2**32 - 1)

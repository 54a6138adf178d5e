"""The problems of the benchmarks of convolutional sparse coding, and their judge: NumPy and SciPy, float64.

    min over z:  1/2 ||y - sum_k f_k * z_k||^2 + alpha ||z||_1,    with z >= 0 where `positive`

Photographs lose their low-pass part as in SPORCO's examples. Filters are learnt by SPORCO from crops of other
photographs, so that no change in thalweg changes the problem that is timed. Image and filters are rounded to
float32 once: every competitor solves the very same problem.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import scipy.fft
from sporco.signal import tikhonov_filter

import common
import sporco_csc
import torch_csc
from thalweg.inference.csc import ConvolutionalLassoSolver

SIZES = {"8x8": (32, 8), "12x12": (64, 12)}  # number of filters, their width
LEARNING_CROP, LEARNING_ITERATIONS, LEARNING_ALPHA = 128, 100, 0.1
SIGNAL = "signal"
SIGNAL_LENGTH, N_ATOMS, N_CHANNELS, ATOM_LENGTH = 20_000, 16, 3, 64
# Best objectives are known to this share of themselves, a hundredth of the finest excess asked for.
CERTAINTY = 1e-5
_CAMERA = 3  # the place of the photograph that is coded among common.photographs()


@dataclass(frozen=True)
class Problem:
    """Image (C, H, W), filters (K, C, kh, kw); a signal is an image of height 1."""

    image: np.ndarray
    filters: np.ndarray
    boundary: str  # "circular", "valid" (codes larger than the image) or "full" (smaller)
    alpha: float
    positive: bool = False

    @property
    def code_shape(self) -> tuple[int, ...]:
        grow = {"circular": 0, "valid": 1, "full": -1}[self.boundary]
        sizes = zip(self.image.shape[1:], self.filters.shape[2:])
        return (len(self.filters), *(n + grow * (k - 1) for n, k in sizes))

    @property
    def _offset(self) -> tuple[int, ...]:
        """Where the image begins in the full convolution of codes and filters."""
        return tuple((k - 1) * (self.boundary == "valid") for k in self.filters.shape[2:])

    @cached_property
    def _grid(self) -> tuple[int, ...]:
        """On "circular" the image's; else one on which what wraps round falls outside image and codes."""
        if self.boundary == "circular":
            return self.image.shape[1:]
        sizes = np.maximum(self.image.shape[1:], self.code_shape[1:])
        return tuple(scipy.fft.next_fast_len(int(n), real=True) for n in sizes)

    @cached_property
    def _spectra(self) -> np.ndarray:
        return scipy.fft.rfft2(self.filters, self._grid)

    def synthesis(self, codes: np.ndarray) -> np.ndarray:
        """(C, H, W): sum_k f_k * z_k."""
        spectra = scipy.fft.rfft2(codes.astype(np.float64), self._grid, workers=common.THREADS)
        total = np.einsum("kchw,khw->chw", self._spectra, spectra)
        (top, left), (height, width) = self._offset, self.image.shape[1:]
        return scipy.fft.irfft2(total, self._grid)[:, top : top + height, left : left + width]

    def correlation(self, x: np.ndarray) -> np.ndarray:
        """The adjoint of `synthesis`."""
        (top, left), (height, width) = self._offset, self.code_shape[1:]
        placed = np.zeros((len(x), *self._grid))
        placed[:, top : top + x.shape[1], left : left + x.shape[2]] = x
        spectra = np.einsum("kchw,chw->khw", self._spectra.conj(), scipy.fft.rfft2(placed))
        return scipy.fft.irfft2(spectra, self._grid, workers=common.THREADS)[:, :height, :width]

    def objective(self, codes: np.ndarray) -> float:
        if codes.shape != self.code_shape:
            raise ValueError(f"codes have shape {codes.shape}, expected {self.code_shape}")
        if self.positive and codes.min() < 0:
            return np.inf
        residual = self.image - self.synthesis(codes)
        return float(0.5 * np.vdot(residual, residual) + self.alpha * np.abs(codes).sum(dtype=np.float64))

    def gap(self, codes: np.ndarray) -> tuple[float, float]:
        """The objective, and its distance to the dual objective at the residual, scaled into the feasible."""
        residual = self.image - self.synthesis(codes)
        correlation = self.correlation(residual)
        largest = float(correlation.max() if self.positive else np.abs(correlation).max())
        scale = min(1.0, self.alpha / max(largest, 1e-300))
        rr, yr = np.vdot(residual, residual), np.vdot(self.image, residual)
        primal = self.objective(codes)
        return primal, primal - float(scale * yr - 0.5 * scale**2 * rr)


# --- images, signals and filters


def highpass(image: np.ndarray) -> np.ndarray:
    """Float64, rounded to float32: the image, or stack (H, W, N), less its low-pass part."""
    return tikhonov_filter(image, 5.0, 16)[1].astype(np.float32).astype(np.float64)


def centre(image: np.ndarray, width: int) -> np.ndarray:
    top, left = ((n - width) // 2 for n in image.shape[:2])
    return image[top : top + width, left : left + width]


def photograph(width: int) -> np.ndarray:
    """(1, width, width), the high-pass part of the centre of a photograph."""
    return highpass(centre(common.photographs()[_CAMERA], width))[None]


def _learn(n_filters: int, width: int) -> np.ndarray:
    others = [p for i, p in enumerate(common.photographs()) if i != _CAMERA][:6]
    stack = highpass(np.stack([centre(p, LEARNING_CROP) for p in others], axis=-1)).astype(np.float32)
    start = np.random.default_rng(0).standard_normal((width, width, n_filters))
    learnt = sporco_csc.learn_batch(stack, start, LEARNING_ALPHA, LEARNING_ITERATIONS)
    return unit_filters(learnt)


def unit_filters(learnt: np.ndarray) -> np.ndarray:
    """(K, 1, kh, kw) float64, each of unit length, rounded to float32, from SPORCO's layout (kh, kw, K)."""
    filters = np.moveaxis(learnt, -1, 0)[:, None].astype(np.float64)
    filters /= np.sqrt((filters**2).sum(axis=(1, 2, 3), keepdims=True))
    return filters.astype(np.float32).astype(np.float64)


def filters(size: str) -> np.ndarray:
    """(K, 1, width, width) float64 filters of unit length, learnt by SPORCO."""
    n_filters, width = SIZES[size]
    return common.cached(f"csc-filters-{n_filters}-{width}", lambda: _learn(n_filters, width))


def signal() -> tuple[np.ndarray, np.ndarray]:
    """Recording (C, 1, L) and atoms (K, C, 1, l): waves that come and go on all channels, and noise.

    The atoms are the true ones: oscillations under a Gauss window, with one weight a channel.
    """
    rng = np.random.default_rng(2)
    time = np.arange(ATOM_LENGTH) - (ATOM_LENGTH - 1) / 2
    frequency = rng.uniform(0.02, 0.2, (N_ATOMS, 1))
    phase = rng.uniform(0, 2 * np.pi, (N_ATOMS, 1))
    window = np.exp(-0.5 * (time / rng.uniform(6, 16, (N_ATOMS, 1))) ** 2)
    waves = window * np.cos(2 * np.pi * frequency * time + phase)
    atoms = rng.standard_normal((N_ATOMS, N_CHANNELS, 1)) * waves[:, None]
    atoms /= np.sqrt((atoms**2).sum(axis=(1, 2), keepdims=True))
    atoms = atoms[:, :, None].astype(np.float32).astype(np.float64)
    shape = (N_ATOMS, 1, SIGNAL_LENGTH - ATOM_LENGTH + 1)
    events = rng.uniform(0.5, 2, shape) * (rng.random(shape) < 0.002)
    clean = Problem(np.zeros((N_CHANNELS, 1, SIGNAL_LENGTH)), atoms, "full", 0.0, True).synthesis(events)
    noisy = clean + 0.05 * rng.standard_normal(clean.shape)
    return noisy.astype(np.float32).astype(np.float64), atoms


# --- alpha and the best objective


def _alpha_for_density(problem: Problem, share: float) -> float:
    """The alpha, whatever the one in `problem`, at which this share of the codes is not zero."""
    image, bank = problem.image.astype(np.float32), problem.filters.astype(np.float32)
    coder = ConvolutionalLassoSolver(
        bank, boundary=problem.boundary, positive=problem.positive, tol=3e-4, max_iter=10_000
    )
    high = float(np.abs(problem.correlation(problem.image)).max())
    low, alpha = high * 1e-4, 0.1 * high
    for _ in range(30):
        found = coder.encode(image, alpha)[0].density
        if abs(found / share - 1) < 0.02:
            return float(np.float32(alpha))
        low, high = (alpha, high) if found > share else (low, alpha)
        # the share of non-zeros falls roughly as the inverse square of alpha: a guess inside the bracket
        guess = alpha * (max(found, 1e-6) / share) ** 0.5
        alpha = guess if low < guess < high else (low * high) ** 0.5
    raise RuntimeError(f"no alpha found for {share:.1%} non-zeros")


def make(case: str, density: float, boundary: str) -> Problem:
    """The problem of a case ("256 8x8", ..., "signal"); alpha is that of the circular boundary on images."""
    if case == SIGNAL:
        image, bank = signal()
        coded = Problem(image, bank, boundary, 0.0, positive=True)
    else:
        width, size = case.split()
        image, bank = photograph(int(width)), filters(size)
        coded = Problem(image, bank, "circular", 0.0)
    name = f"csc-alpha-{case.replace(' ', '-')}-{density}"
    alpha = common.cached(name, lambda: np.array(_alpha_for_density(coded, density)))
    return replace(coded, boundary=boundary, alpha=float(alpha))


Solve = Callable[[Problem], np.ndarray]


def best_objective(name: str, problem: Problem, solve: Solve | None) -> float:
    """The best objective known, certified by its duality gap, from `solve` or from FISTA in float64."""

    def run() -> np.ndarray:
        if solve is None:
            start, _ = torch_csc.to_gap(problem, 1e-3, np.float32)
            codes, _ = torch_csc.to_gap(problem, CERTAINTY, np.float64, init=start.astype(np.float64))
        else:
            codes = solve(problem)
        objective, gap = problem.gap(codes)
        if gap > CERTAINTY * objective:
            raise RuntimeError(f"{name}: the best objective {objective} is uncertain by {gap}")
        return np.array([objective, gap])

    return float(common.cached(f"csc-best-{name.replace(' ', '-')}", run)[0])

"""Convolutional FISTA on PyTorch with adaptive restart, as a user who cares for speed would write it.

Two ways to convolve: `conv2d`, and products of spectra (rFFT).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy.fft import next_fast_len
from torch.nn.functional import conv2d, softshrink

Watch = Callable[[np.ndarray], bool]  # sees the codes after an iteration; True ends the run


class ByFFT:
    """The gradient of 1/2 ||y - sum_k f_k * z_k||^2 in the codes, by products of spectra."""

    def __init__(
        self, image: torch.Tensor, filters: torch.Tensor, boundary: str, codes: tuple[int, ...]
    ) -> None:
        self.circular, self.codes = boundary == "circular", codes[1:]
        sizes = np.maximum(image.shape[1:], self.codes)
        self.grid = tuple(int(n) if self.circular else next_fast_len(int(n)) for n in sizes)
        self.spectra = torch.fft.rfft2(filters, s=self.grid)
        self.conjugates = self.spectra.conj().resolve_conj()
        starts = [(k - 1) * (boundary == "valid") for k in filters.shape[2:]]
        self.window = (slice(None), *(slice(o, o + n) for o, n in zip(starts, image.shape[1:])))
        self.image = image
        if self.circular:
            self.image = torch.fft.rfft2(image)
        self.lipschitz = largest_eigenvalue(self.spectra)

    def residual(self, spectrum: torch.Tensor) -> torch.Tensor:
        """The spectrum of what the codes leave of the image."""
        if self.circular:
            return spectrum.sub_(self.image)
        full = torch.fft.irfft2(spectrum, s=self.grid)
        placed = torch.zeros_like(full)
        torch.sub(full[self.window], self.image, out=placed[self.window])
        return torch.fft.rfft2(placed)

    def gradient(self, z: torch.Tensor) -> torch.Tensor:
        spectra = torch.fft.rfft2(z, s=self.grid)
        if len(self.image) == 1:
            residual = self.residual((self.spectra[:, 0] * spectra).sum(0, keepdim=True))
            torch.mul(self.conjugates[:, 0], residual, out=spectra)
        else:
            residual = self.residual((self.spectra * spectra[:, None]).sum(0))
            torch.sum(self.conjugates * residual, dim=1, out=spectra)
        height, width = self.codes
        return torch.fft.irfft2(spectra, s=self.grid)[:, :height, :width]


class ByConv2d:
    """The same by `conv2d`; "valid" and "full" boundaries."""

    def __init__(
        self, image: torch.Tensor, filters: torch.Tensor, boundary: str, codes: tuple[int, ...]
    ) -> None:
        if boundary == "circular":
            raise ValueError("conv2d knows no circular boundary")
        self.image = image
        self.filters = filters
        self.flipped = filters.flip(2, 3).transpose(0, 1).contiguous()
        border = tuple(k - 1 for k in filters.shape[2:])
        none = (0, 0)
        self.pad_codes, self.pad_image = (none, border) if boundary == "valid" else (border, none)
        grid = tuple(next_fast_len(n + b) for n, b in zip(image.shape[1:], border))
        self.lipschitz = largest_eigenvalue(torch.fft.rfft2(filters, s=grid))

    def gradient(self, z: torch.Tensor) -> torch.Tensor:
        residual = conv2d(z[None], self.flipped, padding=self.pad_codes)[0].sub_(self.image)
        return conv2d(residual[None], self.filters, padding=self.pad_image)[0]


def largest_eigenvalue(spectra: torch.Tensor) -> float:
    """Of the normal operator of the circular convolution with these filters' spectra (K, C, ...)."""
    if spectra.shape[1] == 1:
        return float((spectra.abs() ** 2).sum((0, 1)).max()) * (1 + 1e-5)
    gram = torch.einsum("kchw,kdhw->hwcd", spectra.conj(), spectra)
    return float(torch.linalg.eigvalsh(gram)[..., -1].max()) * (1 + 1e-5)


@torch.no_grad()
def fista(
    operator: Any, z: torch.Tensor, alpha: float, n_iter: int, positive: bool, watch: Watch | None = None
) -> np.ndarray:
    """Iterations from z, with the restart of O'Donoghue and Candes by the sign of a gradient's product."""
    step = 1 / operator.lipschitz
    threshold = alpha * step
    y, t = z, 1.0
    for _ in range(n_iter):
        descent = torch.sub(y, operator.gradient(y), alpha=step)
        z_next = descent.sub_(threshold).clamp_min_(0) if positive else softshrink(descent, threshold)
        moved = z_next - z
        if y is z:
            y = z.clone()
        if float(torch.dot(y.sub_(z_next).view(-1), moved.view(-1))) > 0:
            t = 1.0
        t_next = 0.5 * (1 + (1 + 4 * t * t) ** 0.5)
        torch.add(z_next, moved, alpha=(t - 1) / t_next, out=y)
        z, t = z_next, t_next
        if watch is not None and watch(z.numpy()):
            break
    return z.numpy()


def tensors(problem: Any, dtype: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Image and filters of a problem."""
    return torch.from_numpy(problem.image.astype(dtype)), torch.from_numpy(problem.filters.astype(dtype))


def to_gap(
    problem: Any, tol: float, dtype: Any, *, init: np.ndarray | None = None, max_iter: int = 50_000
) -> tuple[np.ndarray, float]:
    """Codes whose duality gap is at most `tol` times the objective, and the gap over the objective."""
    image, filters = tensors(problem, dtype)
    operator = ByFFT(image, filters, problem.boundary, problem.code_shape)
    start = torch.zeros(problem.code_shape, dtype=image.dtype) if init is None else torch.from_numpy(init)
    relative, iterations = np.inf, 0

    def watch(codes: np.ndarray) -> bool:
        nonlocal relative, iterations
        iterations += 1
        if iterations % 25 == 0:
            objective, gap = problem.gap(codes)
            relative = gap / objective
        return relative <= tol

    codes = fista(operator, start, problem.alpha, max_iter, problem.positive, watch)
    if relative > tol:
        raise RuntimeError(
            f"FISTA came to a gap of {relative:.1e} in {max_iter} iterations, wanted {tol:.1e}"
        )
    return codes, relative

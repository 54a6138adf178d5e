"""FISTA on PyTorch, as a user who cares for speed would write it: rows in chunks, buffers kept small."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn.functional import softshrink

CHUNK = 2048


class _Step:
    """z -> shrink(z - gradient / L, alpha / L) for one chunk of rows.

    With `gram` the gradient is z G - x D^T, one product with the (K, K) Gram matrix; without, (z D - x) D^T,
    two products with D, which is less work where n_features < n_components / 2.
    """

    def __init__(self, atoms: torch.Tensor, alpha: float, gram: bool, lipschitz: float | None = None) -> None:
        self.atoms = atoms
        self.atoms_t = atoms.T.contiguous()
        self.gram = atoms @ self.atoms_t if gram else None
        if lipschitz is None:
            lipschitz = float(torch.linalg.eigvalsh((self.atoms_t @ atoms).double())[-1]) * (1 + 1e-6)
        self.step = 1 / lipschitz
        self.alpha = alpha

    def start(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.atoms_t

    def __call__(self, x: torch.Tensor, correlation: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        if self.gram is not None:
            descent = torch.addmm(correlation, y, self.gram, alpha=-1.0)
        else:
            descent = torch.addmm(x, y, self.atoms, alpha=-1.0) @ self.atoms_t
        return softshrink(torch.add(y, descent, alpha=self.step), self.alpha * self.step)

    def gap(self, x: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        residual = torch.addmm(x, z, self.atoms, alpha=-1.0)
        rr, xr = (residual * residual).sum(1), (x * residual).sum(1)
        bound = self.alpha / (residual @ self.atoms_t).abs_().amax(1).clamp_min(1e-30)
        scale = torch.minimum(torch.maximum(xr / rr.clamp_min(1e-30), -bound), bound)
        primal = 0.5 * rr + self.alpha * z.abs().sum(1)
        return (primal - scale * xr + 0.5 * scale * scale * rr) / (0.5 * (x * x).sum(1))


@torch.no_grad()
def fixed_iterations(
    x: np.ndarray, atoms: np.ndarray, alpha: float, n_iter: int, *, gram: bool, lipschitz: float
) -> np.ndarray:
    """`n_iter` iterations of Beck and Teboulle's FISTA with step 1 / lipschitz, from zero, for every row."""
    step = _Step(torch.from_numpy(atoms), alpha, gram, lipschitz)
    codes = torch.empty(len(x), len(atoms), dtype=step.atoms.dtype)
    for first in range(0, len(x), CHUNK):
        xb = torch.from_numpy(x[first : first + CHUNK])
        correlation = step.start(xb)
        z = torch.zeros_like(correlation)
        y, t = z, 1.0
        for _ in range(n_iter):
            previous, z = z, step(xb, correlation, y)
            t_next = 0.5 * (1 + (1 + 4 * t * t) ** 0.5)
            y = torch.lerp(previous, z, 1 + (t - 1) / t_next)
            t = t_next
        codes[first : first + CHUNK] = z
    return codes.numpy()


@torch.no_grad()
def to_gap(
    x: np.ndarray, atoms: np.ndarray, alpha: float, tol: float, *, gram: bool, max_iter: int = 20_000
) -> np.ndarray:
    """FISTA with a restart per row, to a relative duality gap; finished rows are compacted out."""
    step = _Step(torch.from_numpy(atoms), alpha, gram)
    codes = torch.empty(len(x), len(atoms), dtype=step.atoms.dtype)
    for first in range(0, len(x), CHUNK):
        xb = torch.from_numpy(x[first : first + CHUNK])
        row = torch.arange(first, first + len(xb))
        correlation = step.start(xb)
        z = torch.zeros_like(correlation)
        y = z.clone()
        t = torch.ones(len(xb), 1, dtype=z.dtype)
        stalled = float("inf")
        for i in range(1, max_iter + 1):
            z_next = step(xb, correlation, y)
            moved = z_next - z
            uphill = y.sub_(z_next).mul_(moved).sum(1) > 0
            t[uphill] = 1.0
            t_next = 0.5 * (1 + torch.sqrt(1 + 4 * t * t))
            y = torch.addcmul(z_next, moved, (t - 1) / t_next)
            z, t = z_next, t_next
            if i % 10:
                continue
            gap = step.gap(xb, z)
            done = gap <= tol
            n_done = int(done.sum())
            if n_done == len(done):
                break
            if n_done >= max(16, len(done) // 16):
                codes[row[done]] = z[done]
                left = ~done
                row, xb, correlation = row[left], xb[left], correlation[left]
                z, y, t, gap = z[left], y[left], t[left], gap[left]
            if i % 200 == 0:  # float32 need not reach a tight gap: give up when 200 iterations gained little
                mean_gap = float(gap[gap > tol].mean())
                if z.dtype == torch.float32 and mean_gap > 0.7 * stalled:
                    break
                stalled = min(stalled, mean_gap)
        codes[row] = z
    return codes.numpy()

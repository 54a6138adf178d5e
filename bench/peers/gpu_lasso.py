"""FISTA to a relative duality gap on the GPU: thalweg beside PyTorch on the same card, data there.

Patches of photographs, whitened; dictionaries learnt from them; single precision. PyTorch runs what a user
who cares for speed would write: one Gram matrix, a restart per row, finished rows compacted out, TF32 on and
off; its gap is computed in float32, as it would be. Both are timed by CUDA events, from data on the device to
codes there. Each takes as many rows as fit into its share of the time, up to --rows; figures are per row.
`reached` is the share of 512 rows whose gap, recomputed in float64 from the codes, is at most the tolerance.

`percent_of_rate`: operations of thalweg's products, 2 K^2 (or 4 K n, where two products with the dictionary
are less) a row and iteration, as a share of the card's measured rate in bfloat16. These products are of the
way since the last certificate, so that one in bfloat16 suffices for any gap.

    python bench/peers/gpu_lasso.py --out bench/results/gpu_lasso
    python bench/peers/gpu_lasso.py --small    # a few rows, on the emulated device too: that it runs
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import softshrink

import gpu_common as common
from thalweg import MiniBatchDictionaryLearning, _native
from thalweg.inference.lasso import LassoSolver

CASES = [(8, 256), (16, 1024), (16, 256), (8, 1024)]  # patch width, atoms
SMALL_CASES = [(4, 24), (4, 80), (6, 40)]
TOLS = (1e-3, 1e-6)
MAX_ITER = 20_000
BAR = 0.5  # of PyTorch's time, at most
CHUNK = 65_536  # rows at a time, for PyTorch: 64 MB an array with 256 atoms
PROBE = 16_384  # rows that tell how many fit


# --- data


def photographs() -> list[np.ndarray]:
    """Gray photographs in [0, 1]."""
    from sklearn.datasets import load_sample_images

    images = list(load_sample_images().images)
    beside = Path(__file__).resolve().parents[3] / "shared" / "data"
    folder = Path(os.environ.get("THALWEG_DATA", beside)) / "natural"
    if folder.is_dir():
        from PIL import Image

        images += [np.asarray(Image.open(path)) for path in sorted(folder.glob("kodim*.png"))]
    return [np.ascontiguousarray(image @ np.array([0.299, 0.587, 0.114]) / 255) for image in images]


def patches(width: int, count: int, device: str) -> torch.Tensor:
    """(count, width^2) float32: random patches less their means, ZCA-whitened, of unit deviation."""
    generator = torch.Generator().manual_seed(0)
    images = photographs()
    parts = []
    for image in images:
        windows = torch.from_numpy(image).to(device, torch.float32).unfold(0, width, 1).unfold(1, width, 1)
        share = -(-count // len(images))
        rows, cols = (torch.randint(n, (share,), generator=generator).to(device) for n in windows.shape[:2])
        parts.append(windows[rows, cols].reshape(share, -1))
    x = torch.cat(parts)[torch.randperm(len(images) * share, generator=generator).to(device)[:count]]
    x -= x.mean(1, keepdim=True)
    x += 1e-4 * torch.randn(x.shape, generator=torch.Generator(device).manual_seed(1), device=device)
    values, vectors = torch.linalg.eigh((x.T @ x / len(x)).double())
    scale = vectors / (values.clamp_min(0) + 1e-2 * values.mean()).sqrt()
    x = x @ (scale @ vectors.T).float()
    return (x / x.std()).contiguous()


def problem(width: int, n_components: int, count: int, device: str) -> tuple[torch.Tensor, np.ndarray, float]:
    """Patches, atoms learnt from some of them, and alpha: a quarter of the median largest correlation."""
    x = patches(width, count, device)
    some = x[:20_000].cpu().numpy()
    learner = MiniBatchDictionaryLearning(
        n_components, alpha=0.3 * width, dict_init=_unit_rows(some[:n_components]), batch_size=512,
        max_iter=1, random_state=0, coding_tol=1e-2,
    )  # fmt: skip
    atoms = np.ascontiguousarray(learner.fit(some).components_, np.float32)
    alpha = 0.25 * float(np.median(np.abs(some[:2000] @ atoms.T).max(axis=1)))
    return x, atoms, alpha


def _unit_rows(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=1, keepdims=True)


# --- the competitors


def thalweg_codes(x: Any, atoms: np.ndarray, alpha: float, tol: float) -> tuple[Any, Any]:
    solver = LassoSolver(atoms, solver="fista", tol=tol, max_iter=MAX_ITER, device="cuda")
    return solver.encode(x, alpha)


@torch.no_grad()
def torch_codes(x: torch.Tensor, atoms: np.ndarray, alpha: float, tol: float) -> torch.Tensor:
    d = torch.from_numpy(atoms).to(x.device)
    gram = d @ d.T
    step = 1 / (float(torch.linalg.eigvalsh((d.T @ d).double())[-1]) * (1 + 1e-6))
    codes = torch.empty(len(x), len(d), device=x.device)
    for first in range(0, len(x), CHUNK):
        rows = slice(first, first + CHUNK)
        _torch_chunk(x[rows], d, gram, alpha, step, tol, codes[rows])
    return codes


def _torch_chunk(
    x: torch.Tensor,
    d: torch.Tensor,
    gram: torch.Tensor,
    alpha: float,
    step: float,
    tol: float,
    codes: torch.Tensor,
) -> None:
    row = torch.arange(len(x), device=x.device)
    correlation = x @ d.T
    z = torch.zeros_like(correlation)
    y = z.clone()
    t = torch.ones(len(x), 1, device=x.device)
    stalled = float("inf")
    for i in range(1, MAX_ITER + 1):
        descent = torch.addmm(correlation, y, gram, alpha=-1.0)
        z_next = softshrink(torch.add(y, descent, alpha=step), alpha * step)
        moved = z_next - z
        uphill = y.sub_(z_next).mul_(moved).sum(1, keepdim=True) > 0
        t = torch.where(uphill, 1.0, t)
        t_next = 0.5 * (1 + torch.sqrt(1 + 4 * t * t))
        y = torch.addcmul(z_next, moved, (t - 1) / t_next)
        z, t = z_next, t_next
        if i % 10:
            continue
        gap = torch_gap(x, d, z, alpha)
        done = gap <= tol
        n_done = int(done.sum())
        if n_done == len(done):
            break
        if n_done >= max(16, len(done) // 16):
            codes[row[done]] = z[done]
            left = ~done
            row, x, correlation, gap = row[left], x[left], correlation[left], gap[left]
            z, y, t = z[left], y[left], t[left]
        if i % 200 == 0:  # float32 need not reach a tight gap: give up when 200 iterations gained little
            mean_gap = float(gap[gap > tol].mean())
            if mean_gap > 0.7 * stalled:
                break
            stalled = min(stalled, mean_gap)
    codes[row] = z


def torch_gap(x: torch.Tensor, d: torch.Tensor, z: torch.Tensor, alpha: float) -> torch.Tensor:
    """Relative duality gap of every row, in the dtype of its arguments."""
    residual = torch.addmm(x, z, d, alpha=-1.0)
    rr, xr = (residual * residual).sum(1), (x * residual).sum(1)
    bound = alpha / (residual @ d.T).abs_().amax(1).clamp_min(1e-30)
    scale = torch.minimum((xr / rr.clamp_min(1e-30)).clamp_min(0), bound)
    gap = 0.5 * rr + alpha * z.abs().sum(1) - scale * xr + 0.5 * scale * scale * rr
    return gap / (0.5 * (x * x).sum(1))


def reached(x: torch.Tensor, atoms: np.ndarray, codes: Any, alpha: float, tol: float) -> float:
    """Share of the first rows whose gap, in float64 and on the host, is at most tol."""
    z = torch.as_tensor(codes[:512] if not isinstance(codes, torch.Tensor) else codes[:512].cpu())
    d = torch.from_numpy(atoms).double()
    # 1e-12: the rounding of this other way to compute it.
    return float((torch_gap(x[:512].cpu().double(), d, z.double(), alpha) <= tol + 1e-12).double().mean())


# --- clocks


def thalweg_seconds(call: Callable[[], Any]) -> tuple[float, Any]:
    cuda = _native.cuda()
    torch.cuda.synchronize()
    start = cuda.Moment()
    result = call()
    end = cuda.Moment()
    cuda.synchronize()
    return end.seconds_since(start), result


def torch_seconds(call: Callable[[], Any]) -> tuple[float, Any]:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    start.record()
    result = call()
    end.record()
    end.synchronize()
    return 1e-3 * start.elapsed_time(end), result


def timed(
    clock: Callable[[Callable[[], Any]], tuple[float, Any]],
    encode: Callable[[torch.Tensor], Any],
    x: torch.Tensor,
    share: float,
) -> tuple[float, int, Any]:
    """Seconds, rows and result of the last run: of as many rows as take about `share` seconds.

    The first rows tell how many that are; as a run of their own they warm everything up.
    """
    rows = min(PROBE, len(x))
    clock(partial(encode, x[: min(4096, rows)]))
    seconds, result = clock(partial(encode, x[:rows]))
    fitting = min(len(x), int(rows * share / seconds) // PROBE * PROBE)
    if fitting > rows:
        del result
        rows = fitting
        seconds, result = clock(partial(encode, x[:rows]))
    return seconds, rows, result


def run_case(
    width: int, n_components: int, tol: float, data: Any, share: float, rate: float
) -> list[dict[str, Any]]:
    """A row of the table for thalweg, and one for PyTorch with TF32 off and on."""
    x, atoms, alpha = data
    case = {"patches": f"{width}x{width}", "atoms": n_components, "tol": tol}
    rows = []
    mine = partial(thalweg_codes, atoms=atoms, alpha=alpha, tol=tol)
    seconds, count, (codes, info) = timed(thalweg_seconds, mine, x, share / 3)
    operations = (
        2 * n_components * min(n_components, 2 * width**2 if n_components >= 4 * width**2 else n_components)
    )
    total = operations * float(info.n_iter.sum(dtype=np.int64))
    rows.append({
        **case, "name": "thalweg", "rows": count, "us_per_row": 1e6 * seconds / count,
        "iterations": float(info.n_iter.mean()), "reached": reached(x, atoms, codes, alpha, tol),
        "density": float((codes[:4096] != 0).double().mean()),
        "percent_of_rate": 100 * total / seconds / rate,
    })  # fmt: skip
    del codes
    for name, allow in (("PyTorch", False), ("PyTorch, TF32", True)):
        torch.backends.cuda.matmul.allow_tf32 = allow
        theirs = partial(torch_codes, atoms=atoms, alpha=alpha, tol=tol)
        seconds, count, codes = timed(torch_seconds, theirs, x, share / 3)
        rows.append({
            **case, "name": name, "rows": count, "us_per_row": 1e6 * seconds / count,
            "reached": reached(x, atoms, codes, alpha, tol),
        })  # fmt: skip
        del codes
    torch.backends.cuda.matmul.allow_tf32 = False
    for row in rows[1:]:
        row["thalweg_over_this"] = rows[0]["us_per_row"] / row["us_per_row"]
    return rows


def run_small() -> None:
    """Every path once, checked; on the emulated device as well."""
    for width, n_components in SMALL_CASES:
        x, atoms, alpha = problem(width, n_components, 3000, "cpu")
        x = x[:100]
        for tol in TOLS:
            codes, info = thalweg_codes(x.numpy(), atoms, alpha, tol)
            print(f"{width}x{width} {n_components} atoms, tol {tol:g}: {info.n_iter.mean():.0f} iterations, "
                  f"reached {reached(x, atoms, codes, alpha, tol):.3f}", flush=True)  # fmt: skip
            if not (info.status == 0).all() or reached(x, atoms, codes, alpha, tol) < 1:
                raise RuntimeError("rows did not reach the gap that they claim")
            if torch.cuda.is_available():
                theirs = torch_codes(x.cuda(), atoms, alpha, tol)
                print(f"  PyTorch reached {reached(x, atoms, theirs, alpha, tol):.3f}")


def main() -> None:
    parser = common.parser(__doc__)
    parser.set_defaults(seconds=120)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--small", action="store_true", help="a few rows, to see that it runs")
    args = parser.parse_args()
    if args.small:
        run_small()
        return
    rate = common.matrix_rate("bfloat16")
    limits = {"bfloat16": rate, **{kind: common.matrix_rate(kind) for kind in ("tf32", "float32", "float64")}}
    rows = []
    # A fifth goes into making the problems and warming up.
    share = 0.8 * args.seconds / (len(CASES) * len(TOLS)) / 2
    for width, n_components in CASES:
        data = problem(width, n_components, args.rows, "cuda")
        for tol in TOLS:
            rows += run_case(width, n_components, tol, data, share, rate)
            torch.cuda.empty_cache()
    common.report(args.out, rows, limits)
    for row in rows:
        if row.get("thalweg_over_this", 0) > BAR:
            print(f"above the bar of {BAR:g}: {row['patches']} {row['atoms']} {row['tol']:g} {row['name']}")


if __name__ == "__main__":
    main()

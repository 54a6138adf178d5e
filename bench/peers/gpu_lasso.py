"""FISTA to a relative duality gap on the GPU: thalweg beside PyTorch on the same card, data there.

Patches of photographs, whitened; dictionaries learnt from a few thousand of them; single precision. PyTorch
runs what a user who cares for speed would write: one Gram matrix, a restart per row, finished rows compacted
out, TF32 on and off; its gap is computed in float32, as it would be. Both are timed by CUDA events, from data
on the device to codes there.

thalweg's figures come first, of --rows patches where the clock allows (a million unless told otherwise);
PyTorch's then share what is left of --seconds, each on as many rows as fit. Figures are per row, and `rows`
says how many there were. Where PyTorch did not end even 16,384 rows in its share, `us_per_row_at_least` is
what it had taken by then. `reached` is the share of 512 rows whose gap, recomputed in float64 from the codes,
is at most the tolerance.

`percent_of_rate`: operations of thalweg's products, 2 K^2 (or 4 K n, where two products with the dictionary
are less) a row and iteration, as a share of the card's measured rate in bfloat16. These products are of the
way since the last certificate, so that one in bfloat16 suffices for any gap.

    python bench/peers/gpu_lasso.py --out bench/results/gpu_lasso
    python bench/peers/gpu_lasso.py --seconds 1500 --out bench/results/gpu_lasso    # PyTorch on all rows, too
    python bench/peers/gpu_lasso.py --small    # a few rows, on the emulated device too: checks, no figures
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import softshrink

import gpu_common as common
from thalweg import MiniBatchDictionaryLearning
from thalweg.inference.lasso import LassoSolver

CASES = [(8, 256), (16, 1024), (16, 256), (8, 1024)]  # patch width, atoms
SMALL_CASES = [(4, 24), (4, 80), (6, 40)]
SMALL_ROWS = 100
TOLS = (1e-3, 1e-6)
MAX_ITER = 20_000
BAR = 0.5  # of PyTorch's time, at most
LEARNT_FROM = 8192  # patches
CHUNK = 65_536  # rows at a time, for PyTorch: 64 MB an array with 256 atoms
PROBE = 16_384  # rows that tell how many fit
PEERS = {"PyTorch": False, "PyTorch, TF32": True}
PEERS_PART = 0.5  # of the time, at least
LEAST_SHARE = 1.5  # seconds for one of PyTorch's figures: below that, fewer figures


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


@dataclass
class Problem:
    """Patches on the device and atoms learnt from some of them; a row costs `alpha` a unit of its codes."""

    x: torch.Tensor
    atoms: np.ndarray
    alpha: float
    case: dict[str, Any]

    def operations(self) -> int:
        """Of thalweg's products, a row and iteration; a multiply-add is two."""
        n_components, n_features = self.atoms.shape
        has_two = n_components >= 4 * n_features
        return 2 * n_components * min(n_components, 2 * n_features if has_two else n_components)


def problem(x: torch.Tensor, n_components: int) -> Problem:
    """alpha: a quarter of the median largest correlation."""
    width = round(x.shape[1] ** 0.5)
    some = x[:LEARNT_FROM].cpu().numpy()
    learner = MiniBatchDictionaryLearning(
        n_components, alpha=0.3 * width, dict_init=_unit_rows(some[:n_components]), batch_size=512,
        max_iter=1, random_state=0, coding_tol=1e-2,
    )  # fmt: skip
    atoms = np.ascontiguousarray(learner.fit(some).components_, np.float32)
    alpha = 0.25 * float(np.median(np.abs(some[:2000] @ atoms.T).max(axis=1)))
    return Problem(x, atoms, alpha, {"patches": f"{width}x{width}", "atoms": n_components})


def _unit_rows(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=1, keepdims=True)


# --- the competitors


def thalweg_codes(x: Any, atoms: np.ndarray, alpha: float, tol: float) -> tuple[Any, Any]:
    solver = LassoSolver(atoms, solver="fista", tol=tol, max_iter=MAX_ITER, device="cuda")
    return solver.encode(x, alpha)


class OutOfTime(Exception):
    """PyTorch's share of the clock is used up."""


@torch.no_grad()
def torch_codes(
    x: torch.Tensor,
    atoms: np.ndarray,
    alpha: float,
    tol: float,
    *,
    max_iter: int = MAX_ITER,
    deadline: float = float("inf"),
) -> torch.Tensor:
    """OutOfTime at the first gap after `deadline`, of time.monotonic(): looking costs nothing beside it."""
    d = torch.from_numpy(atoms).to(x.device)
    gram = d @ d.T
    step = 1 / (float(torch.linalg.eigvalsh((d.T @ d).double())[-1]) * (1 + 1e-6))
    codes = torch.empty(len(x), len(d), device=x.device)
    for first in range(0, len(x), CHUNK):
        rows = slice(first, first + CHUNK)
        _torch_chunk(x[rows], d, gram, alpha, step, tol, codes[rows], max_iter, deadline)
    return codes


def _torch_chunk(
    x: torch.Tensor,
    d: torch.Tensor,
    gram: torch.Tensor,
    alpha: float,
    step: float,
    tol: float,
    codes: torch.Tensor,
    max_iter: int,
    deadline: float,
) -> None:
    row = torch.arange(len(x), device=x.device)
    correlation = x @ d.T
    z = torch.zeros_like(correlation)
    y = z.clone()
    t = torch.ones(len(x), 1, device=x.device)
    stalled = float("inf")
    for i in range(1, max_iter + 1):
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
        if time.monotonic() > deadline:
            raise OutOfTime
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
    z = torch.from_numpy(common.host(codes[:512])).double()
    first, d = x[: len(z)].cpu().double(), torch.from_numpy(atoms).double()
    # 1e-12: the rounding of this other way to compute it.
    return float((torch_gap(first, d, z, alpha) <= tol + 1e-12).double().mean())


# --- the rows


def fitting(rows: int, seconds: float, share: float, most: int) -> int:
    """How many rows take `share` seconds where `rows` took `seconds`: a multiple of them, at most `most`."""
    return min(most, int(share / seconds) * rows)


def row_of_thalweg(report: common.Report, p: Problem, tol: float, share: float) -> dict[str, Any]:
    """Of all rows, or of as many as take `share` seconds."""
    x = p.x
    encode = partial(thalweg_codes, atoms=p.atoms, alpha=p.alpha, tol=tol)

    def timed(n: int) -> tuple[float, Any]:
        return common.seconds_of_ours(partial(encode, x[:n]))

    if not report.is_small:
        timed(min(4096, len(x)))
    count = min(PROBE, len(x))
    seconds, (codes, info) = timed(count)
    more = fitting(count, seconds, share, len(x))
    if more > count:
        del codes
        count = more
        seconds, (codes, info) = timed(count)
    if report.is_small and not (info.status == 0).all():
        raise RuntimeError("rows did not reach the gap that they claim")
    row = {
        **p.case, "tol": tol, "name": "thalweg", "rows": count, "us_per_row": 1e6 * seconds / count,
        "rows_per_s": count / seconds, "iterations": float(info.n_iter.mean()),
        "reached": reached(x, p.atoms, codes, p.alpha, tol),
        "density": float((torch.as_tensor(codes[:4096]) != 0).double().mean()),
    }  # fmt: skip
    total = p.operations() * float(info.n_iter.sum(dtype=np.int64))
    row["percent_of_rate"] = 100 * total / seconds / report.limits["bfloat16"]
    if report.is_small and row["reached"] < 1:
        raise RuntimeError(f"rows did not reach the gap that they claim: {row}")
    return report.add(row)


def row_of_torch(
    report: common.Report, p: Problem, tol: float, name: str, share: float, ours: dict[str, Any] | None
) -> None:
    torch.backends.cuda.matmul.allow_tf32 = PEERS[name]
    x, deadline = p.x, time.monotonic() + share
    encode = partial(torch_codes, atoms=p.atoms, alpha=p.alpha, tol=tol)
    count = min(PROBE, len(x))
    common.seconds_of_torch(partial(encode, x[:count], max_iter=20))  # warms up
    row = {**p.case, "tol": tol, "name": name, "rows": count}
    start = time.monotonic()
    try:
        seconds, codes = common.seconds_of_torch(partial(encode, x[:count], deadline=deadline))
    except OutOfTime:
        seconds = time.monotonic() - start
        row["us_per_row_at_least"] = 1e6 * seconds / count
        if ours is not None:
            row["thalweg_over_this_at_most"] = ours["us_per_row"] / row["us_per_row_at_least"]
        report.add(row)
        return
    more = fitting(count, seconds, deadline - time.monotonic(), len(x))
    if more > count:
        try:
            patience = time.monotonic() + 1.5 * more / count * seconds
            took, result = common.seconds_of_torch(partial(encode, x[:more], deadline=patience))
            seconds, count, codes = took, more, result
        except OutOfTime:
            pass  # the first rows were no measure of the others: theirs is the figure
    row |= {"rows": count, "us_per_row": 1e6 * seconds / count, "rows_per_s": count / seconds}
    row["reached"] = reached(x, p.atoms, codes, p.alpha, tol)
    if ours is not None:
        row["thalweg_over_this"] = ours["us_per_row"] / row["us_per_row"]
    report.add(row)


def problems(report: common.Report, n_rows: int) -> Iterator[Problem]:
    """One a case, made when it is asked for; cases of one width share their patches."""
    found: dict[int, torch.Tensor] = {}
    for width, n_components in SMALL_CASES if report.is_small else CASES:
        if report.has_time(f"{width}x{width}, {n_components} atoms", 1.0):
            if width not in found:
                # Fewer patches than that would repeat their atoms.
                x = patches(width, max(n_rows, LEARNT_FROM), common.DEVICE)
                found[width] = x
            p = problem(found[width], n_components)
            p.x = p.x[:n_rows]
            yield p


def run(report: common.Report, n_rows: int) -> None:
    """All of thalweg's rows, then PyTorch's, each in the order of the cases.

    One of thalweg's may take half of what is left for them all: most take far less than their share.
    """
    ours: dict[tuple[int, float], dict[str, Any]] = {}
    made: list[Problem] = []
    for_peers = PEERS_PART * report.left()
    for p in problems(report, n_rows):
        made.append(p)
        for tol in TOLS:
            if report.has_time(f"{p.case} {tol:g}, thalweg", 0.5):
                share = 0.5 * (report.left() - for_peers)
                ours[len(made) - 1, tol] = row_of_thalweg(report, p, tol, share)
    todo = [(i, tol, name) for i in range(len(made)) for tol in TOLS for name in PEERS]
    for done, (i, tol, name) in enumerate(todo):
        if not report.has_time(f"{made[i].case} {tol:g}, {name}", 0.5 * LEAST_SHARE):
            continue
        if common.DEVICE == "cuda":
            torch.cuda.empty_cache()
        share = min(report.share(len(todo) - done, LEAST_SHARE), report.left())
        row_of_torch(report, made[i], tol, name, 60.0 if report.is_small else share, ours.get((i, tol)))
    torch.backends.cuda.matmul.allow_tf32 = False


def main() -> None:
    parser = common.parser(__doc__)
    parser.set_defaults(seconds=120)
    parser.add_argument("--rows", type=int, default=1_000_000)
    args = parser.parse_args()
    report = common.Report(args)
    common.measure_limits(report, "bfloat16", "tf32", "float32")
    run(report, SMALL_ROWS if args.small else args.rows)
    report.close()
    for row in report.rows if not args.small else ():
        if row.get("thalweg_over_this", 0) > BAR:
            print(f"above the bar of {BAR:g}: {row['patches']} {row['atoms']} {row['tol']:g} {row['name']}")


if __name__ == "__main__":
    main()

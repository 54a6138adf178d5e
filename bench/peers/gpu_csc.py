"""Convolutional sparse codes of 2,048 x 2,048 pixels, 64 filters of 12 x 12, on the GPU to a gap of 1e-3.

Seconds from image and filters in memory to codes in memory, on the device by CUDA's events. thalweg stops by
the relative duality gap that it computes itself, in float64. PyTorch's FISTA (`conv2d`, adaptive restart,
cuDNN choosing its algorithm) is timed over exactly the iterations that it needs, which a pilot has found with
thalweg's certificate: its own test for the end costs it nothing. The CPU's solver is stopped after --cap
seconds. Codes and image are float32, all certificates float64.

    python bench/peers/gpu_csc.py --out bench/results/gpu_csc
    python bench/peers/gpu_csc.py --small        # on any device, the emulated one too: checks, no figures
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn.functional import conv2d, softshrink

import gpu_common as common
from thalweg import _native
from thalweg.inference.csc import ConvolutionalLassoSolver, lipschitz_bound
from thalweg.ops import convolve, correlate

TOL = 1e-3
CHECK_EVERY = 10
MAX_ITER = 2000


@dataclass(frozen=True)
class Problem:
    image: np.ndarray  # (1, height, width)
    filters: np.ndarray  # (K, 1, k, k)
    alpha: float

    @property
    def code_shape(self) -> tuple[int, int, int]:
        added = self.filters.shape[2] - 1
        return len(self.filters), self.image.shape[1] + added, self.image.shape[2] + added

    @property
    def operations(self) -> float:
        """Of the two products of an iteration; a multiply-add is two."""
        return 4.0 * float(np.prod(self.code_shape)) * self.filters[0].size


def planted(size: int, n_filters: int, width: int, seed: int = 0) -> Problem:
    """Atoms of noise under a Gaussian window, codes at one place in 400, and noise."""
    rng = np.random.default_rng(seed)
    places = np.arange(width) - (width - 1) / 2
    window = np.exp(-0.5 * (places / (width / 4)) ** 2)
    filters = rng.normal(size=(n_filters, 1, width, width)) * np.outer(window, window)
    filters /= np.sqrt((filters**2).sum((1, 2, 3), keepdims=True))
    shape = (n_filters, size + width - 1, size + width - 1)
    codes = np.zeros(shape, np.float32)
    chosen = rng.integers(0, codes.size, codes.size // (400 * n_filters) + 4)
    codes.reshape(-1)[chosen] = 3 * rng.normal(size=len(chosen))
    filters = filters.astype(np.float32)
    image = np.empty((1, size, size), np.float32)
    image[0] = convolve(codes[None], filters)[0, 0]
    image += 0.1 * rng.normal(size=image.shape)
    largest = max(float(np.abs(correlate(image[None], f[None])).max()) for f in filters)
    return Problem(image, filters, 0.05 * largest)


# --- the peer


@torch.no_grad()
def torch_fista(
    image: torch.Tensor,
    filters: torch.Tensor,
    alpha: float,
    lipschitz: float,
    n_iter: int,
    watch: Callable[[torch.Tensor, int], bool] | None = None,
) -> torch.Tensor:
    """FISTA with the restart of O'Donoghue and Candes, in place where PyTorch can."""
    flipped = filters.flip(2, 3).transpose(0, 1).contiguous()
    border = filters.shape[2] - 1
    size = (image.shape[1] + border, image.shape[2] + border)
    z = torch.zeros((len(filters), *size), device=image.device)
    y, t, step = z.clone(), 1.0, 1 / lipschitz
    for it in range(1, n_iter + 1):
        residual = conv2d(y[None], flipped)[0].sub_(image)
        descent = y.sub(conv2d(residual[None], filters, padding=border)[0], alpha=step)
        z_next = softshrink(descent, alpha * step)
        moved = z_next - z
        if float(torch.dot(y.sub_(z_next).view(-1), moved.view(-1))) > 0:
            t = 1.0
        t_next = 0.5 * (1 + (1 + 4 * t * t) ** 0.5)
        torch.add(z_next, moved, alpha=(t - 1) / t_next, out=y)
        z, t = z_next, t_next
        if watch is not None and it % CHECK_EVERY == 0 and watch(z, it):
            break
    return z


# --- clocks and judges


def timed_on_device(call: Callable[[], Any], reps: int) -> float:
    """Median seconds between two events around the call, which has been made before."""
    if not torch.cuda.is_available():
        return seconds_of(call)
    times = []
    for _ in range(reps):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        start.record()
        call()
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end) / 1e3)
    return common.median(times)


def timed_of_ours(call: Callable[[], Any], reps: int) -> float:
    """The same by events of the stream that thalweg works on."""
    cuda = _native.cuda()
    times = []
    for _ in range(reps):
        cuda.synchronize()
        start = cuda.Moment()
        call()
        end = cuda.Moment()
        cuda.synchronize()
        times.append(end.seconds_since(start))
    return common.median(times)


def seconds_of(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


class TooLong(Exception):
    """The cap on a call's time was reached."""


def capped(call: Callable[[], Any], cap: float) -> tuple[Any, float]:
    """What the call gives, and its seconds; TooLong after `cap`."""

    def stop(*_: object) -> None:
        raise TooLong

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, cap)
    start = time.perf_counter()
    try:
        return call(), time.perf_counter() - start
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def certificate(problem: Problem, codes: Any) -> Any:
    """Objective and gap, in float64, of dense codes on either side."""
    cuda = _native.cuda()
    options = cuda.CscOptions()
    options.tol, options.max_iter = 0.0, 0  # no iteration: only the certificate
    alpha = np.full(len(problem.filters), problem.alpha, np.float32)
    given = cuda.from_dlpack(codes) if codes.device.type == "cuda" else codes.numpy().copy()
    return cuda.csc_fista(
        problem.image, None, problem.filters, alpha, cuda.Boundary.valid, False, 1.0, given, options
    )


# --- the rows


def row_of_thalweg(problem: Problem, reps: int, limits: dict[str, float]) -> dict[str, Any]:
    cuda = _native.cuda()
    solver = ConvolutionalLassoSolver(problem.filters, tol=TOL, max_iter=MAX_ITER, device="cuda")
    image = cuda.to_device(problem.image)
    codes = cuda.empty(problem.code_shape, np.float32)
    info = solver.encode_into(codes, image, problem.alpha)
    assert info.is_converged, info
    seconds = timed_of_ours(lambda: solver.encode_into(codes, image, problem.alpha), reps)
    row = {"name": "thalweg, GPU", "seconds": seconds, "iterations": info.n_iter, "gap": info.gap}
    rate = problem.operations * info.n_iter / seconds
    row |= {"ms_per_iteration": 1e3 * seconds / info.n_iter, "tflops": rate / 1e12}
    if "tf32" in limits:  # three products for one
        row["percent_of_tf32"] = 300 * rate / limits["tf32"]
    return row


def row_of_torch(problem: Problem, use_tf32: bool, reps: int, device: str) -> dict[str, Any]:
    torch.backends.cudnn.allow_tf32 = use_tf32
    torch.backends.cudnn.benchmark = True
    image, filters = (torch.from_numpy(a).to(device) for a in (problem.image, problem.filters))
    lipschitz = lipschitz_bound(problem.filters)
    reached: list[tuple[int, float]] = []

    def watch(z: torch.Tensor, it: int) -> bool:
        gap = certificate(problem, z).gap
        reached.append((it, gap))
        return gap <= TOL

    torch_fista(image, filters, problem.alpha, lipschitz, MAX_ITER, watch)
    n_iter, gap = reached[-1]
    name = f"PyTorch conv2d, TF32 {'on' if use_tf32 else 'off'}"
    if gap > TOL:
        return {"name": name, "seconds": float("inf"), "iterations": n_iter, "gap": gap}
    seconds = timed_on_device(lambda: torch_fista(image, filters, problem.alpha, lipschitz, n_iter), reps)
    return {
        "name": name,
        "seconds": seconds,
        "iterations": n_iter,
        "gap": gap,
        "ms_per_iteration": 1e3 * seconds / n_iter,
    }


def row_of_cpu(problem: Problem, cap: float) -> dict[str, Any]:
    solver = ConvolutionalLassoSolver(problem.filters, tol=TOL, max_iter=MAX_ITER)
    try:
        (_, info), seconds = capped(lambda: solver.encode(problem.image, problem.alpha), cap)
    except TooLong:
        return {"name": "thalweg, CPU", "seconds": float("inf"), "stopped_after": cap}
    return {"name": "thalweg, CPU", "seconds": seconds, "iterations": info.n_iter, "gap": info.gap}


def check(problem: Problem) -> None:
    """The objectives of both sides are equal within the gaps."""
    infos = []
    for device in ("cpu", "cuda"):
        solver = ConvolutionalLassoSolver(problem.filters, tol=TOL, max_iter=MAX_ITER, device=device)
        infos.append(solver.encode(problem.image, problem.alpha)[1])
    half = 0.5 * float((problem.image.astype(np.float64) ** 2).sum())
    assert abs(infos[0].objective - infos[1].objective) <= 1.01 * TOL * half, infos


def main() -> None:
    args = common.parser(__doc__)
    args.add_argument("--small", action="store_true", help="a tiny problem, checks alone, on any device")
    args.add_argument("--cap", type=float, default=40, help="seconds that the CPU may take (default 40)")
    given = args.parse_args()
    if given.small:
        problem = planted(20, 4, 5)
        check(problem)
        rows = [row_of_thalweg(problem, 1, {}), row_of_torch(problem, False, 1, "cpu")]
        rows.append(row_of_cpu(problem, given.cap))
        common.report(None, rows, {})
        return
    check(planted(256, 16, 12))
    limits = {"tf32": common.matrix_rate("tf32"), "copy": common.copy_rate()}
    problem = planted(2048, 64, 12)
    rows = [row_of_thalweg(problem, 3, limits)]
    rows += [row_of_torch(problem, use_tf32, 1, "cuda") for use_tf32 in (False, True)]
    rows.append(row_of_cpu(problem, min(given.cap, 0.5 * given.seconds)))
    for row in rows[1:]:
        row["times_ours"] = row["seconds"] / rows[0]["seconds"]
    common.report(given.out, rows, limits)


if __name__ == "__main__":
    main()

"""Convolutional sparse codes of 2,048 x 2,048 pixels, 64 filters of 12 x 12, on the GPU to a gap of 1e-3.

Seconds from image and filters in memory to codes in memory, on the device by CUDA's events. thalweg stops by
the relative duality gap that it computes itself, in float64. PyTorch's FISTA (`conv2d`, adaptive restart,
cuDNN choosing its algorithm) is timed over exactly the iterations that it needs, which a pilot has found with
thalweg's certificate: its own test for the end costs it nothing. Where --seconds leave no time for that run,
the pilot's seconds without the certificates' are reported (`timed`: "pilot"). The CPU's solver comes last and
has what is then left of --seconds, or --cap. `seconds_at_least` is of what did not end. Codes and image are
float32, all certificates float64.

    python bench/peers/gpu_csc.py --out bench/results/gpu_csc
    python bench/peers/gpu_csc.py --small        # on any device, the emulated one too: checks, no figures
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
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


def repeated(first: float, run: Callable[[], float], most: int, budget: float) -> float:
    """Median seconds of up to `most` runs in all, as many as the budget allows after the first."""
    times = [first]
    while len(times) < most and (len(times) + 1) * first < budget:
        times.append(run())
    return common.median(times)


def row_of_thalweg(report: common.Report, problem: Problem) -> dict[str, Any]:
    cuda = _native.cuda()
    solver = ConvolutionalLassoSolver(problem.filters, tol=TOL, max_iter=MAX_ITER, device="cuda")
    image = cuda.to_device(problem.image)
    codes = cuda.empty(problem.code_shape, np.float32)

    def once() -> tuple[float, Any]:
        return common.seconds_of_ours(lambda: solver.encode_into(codes, image, problem.alpha))

    first, info = once()
    assert info.is_converged, info
    if not report.is_small:  # the first call also brought memory in
        first = once()[0]
    seconds = repeated(first, lambda: once()[0], 3, 0.25 * report.left())
    row = {"name": "thalweg, GPU", "seconds": seconds, "iterations": info.n_iter, "gap": info.gap}
    rate = problem.operations * info.n_iter / seconds
    row |= {"ms_per_iteration": 1e3 * seconds / info.n_iter, "tflops": rate / 1e12}
    row["percent_of_tf32"] = 300 * rate / report.limits["tf32"]  # three products for one
    return report.add(row)


def row_of_torch(
    report: common.Report, problem: Problem, use_tf32: bool, share: float, ours: dict[str, Any]
) -> None:
    torch.backends.cudnn.allow_tf32 = use_tf32
    torch.backends.cudnn.benchmark = True
    end = time.monotonic() + share
    image, filters = (torch.from_numpy(a).to(common.DEVICE) for a in (problem.image, problem.filters))
    fista = partial(torch_fista, image, filters, problem.alpha, lipschitz_bound(problem.filters))
    fista(1)  # cuDNN chooses
    reached: list[tuple[int, float]] = []
    watching = 0.0

    def watch(z: torch.Tensor, it: int) -> bool:
        nonlocal watching
        common.synchronize()
        start = time.monotonic()
        reached.append((it, certificate(problem, z).gap))
        common.synchronize()
        now = time.monotonic()
        watching += now - start
        return reached[-1][1] <= TOL or now > end

    start = time.monotonic()
    fista(MAX_ITER, watch)
    common.synchronize()
    seconds, timed = time.monotonic() - start - watching, "pilot"
    n_iter, gap = reached[-1]
    row = {"name": f"PyTorch conv2d, TF32 {'on' if use_tf32 else 'off'}", "iterations": n_iter, "gap": gap}
    if gap <= TOL:
        if report.is_small or seconds < report.left() - 1:
            seconds, timed = common.seconds_of_torch(lambda: fista(n_iter))[0], "alone"
        row |= {"seconds": seconds, "timed": timed, "times_ours": seconds / ours["seconds"]}
    else:
        row |= {"seconds_at_least": seconds, "times_ours_at_least": seconds / ours["seconds"]}
    report.add({**row, "ms_per_iteration": 1e3 * seconds / n_iter})


def row_of_cpu(report: common.Report, problem: Problem, cap: float, ours: dict[str, Any]) -> None:
    solver = ConvolutionalLassoSolver(problem.filters, tol=TOL, max_iter=MAX_ITER)
    row: dict[str, Any] = {"name": "thalweg, CPU"}
    try:
        (_, info), seconds = capped(lambda: solver.encode(problem.image, problem.alpha), cap)
    except TooLong:
        report.add({**row, "seconds_at_least": cap, "times_ours_at_least": cap / ours["seconds"]})
        return
    row |= {"seconds": seconds, "times_ours": seconds / ours["seconds"]}
    report.add({**row, "iterations": info.n_iter, "gap": info.gap})


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
    args.add_argument("--cap", type=float, help="seconds that the CPU may take (default: what is left)")
    given = args.parse_args()
    report = common.Report(given)
    check(planted(20, 4, 5) if given.small else planted(256, 16, 12))
    common.measure_limits(report, "tf32", "copy")
    problem = planted(20, 4, 5) if given.small else planted(2048, 64, 12)
    ours = row_of_thalweg(report, problem)
    for use_tf32, part in ((True, 0.3), (False, 0.4)):
        if report.has_time(f"PyTorch, TF32 {'on' if use_tf32 else 'off'}", 2.0):
            share = 60.0 if given.small else part * report.left()
            row_of_torch(report, problem, use_tf32, share, ours)
    if report.has_time("CPU", 3.0):
        left = 60.0 if given.small else report.left() - 1
        row_of_cpu(report, problem, left if given.cap is None else min(left, given.cap), ours)
    report.close()


if __name__ == "__main__":
    main()

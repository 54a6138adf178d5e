"""Gibbs sweeps of a 784x500 machine on a GPU, 512 and 65,536 chains, beside PyTorch with TF32 off and on.

The chains stay on the device; times are between events of the device. PyTorch is used as a good user would:
states as numbers, products fused with the biases, uniforms compared with probabilities in place.

The floor is the larger of two times: all multiply-adds of 8-bit digits (2 V H and as many digits as the
weights need, a chain and sweep) at the rate of a large int8 product measured in the same run, and all bytes
(states read and written once, weights read once a sweep) at the rate of a copy.

    python bench/peers/gpu_gibbs.py --out bench/results/gpu_gibbs
    python bench/peers/gpu_gibbs.py --small    # runs anywhere, on the emulated device too: checks, no figures
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

import gpu_common as common
from thalweg import _native
from thalweg._base import Bits, Draws
from thalweg.inference.gibbs import RbmMachine, on_host, zero_bits

V, H = 784, 500
CHAINS = (512, 65_536)
SMALL = (40, 50, (64,))
PEERS = {"PyTorch, TF32 on": True, "PyTorch, TF32 off": False}


def parameters(n_visible: int, n_hidden: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights (H, V), visible and hidden biases: states as sparse as MNIST's."""
    rng = np.random.default_rng(1)
    made = (
        rng.normal(0, 0.05, (n_hidden, n_visible)),
        rng.normal(-1.5, 0.3, n_visible),
        rng.normal(0, 0.1, n_hidden),
    )
    weights, visible, hidden = (a.astype(np.float32) for a in made)
    return weights, visible, hidden


class TorchChains:
    """v ~ p(v | h), h ~ p(h | v) with states as float32 numbers."""

    def __init__(
        self, weights: np.ndarray, visible: np.ndarray, hidden: np.ndarray, n: int, device: str
    ) -> None:
        self.w, self.a, self.b = (torch.from_numpy(x).to(device) for x in (weights, visible, hidden))
        self.h = torch.zeros(n, len(hidden), device=device)
        self.uniform = {width: torch.empty(n, width, device=device) for width in weights.shape}

    def draw(self, logits: torch.Tensor) -> torch.Tensor:
        uniform = self.uniform[logits.shape[1]].uniform_()
        return torch.lt(uniform, logits.sigmoid_()).float()

    def sweep(self) -> None:
        v = self.draw(torch.addmm(self.a, self.h, self.w))
        self.h = self.draw(torch.addmm(self.b, v, self.w.t()))


def check(machine: RbmMachine, twin: RbmMachine, n: int) -> None:
    """Draws are the CPU's, but where a uniform lies within rounding of its probability."""
    rng = np.random.default_rng(0)
    X = (rng.random((n, machine.n_visible)) < 0.2).astype(np.float32)
    draws = Draws(3, 8)
    mean, drawn = machine.draw_hidden(machine.place(X), draws)
    expected_mean, expected = twin.draw_hidden(X, draws)
    error = np.abs(on_host(mean) - expected_mean).max()
    differing = np.bitwise_count(on_host(drawn).words ^ expected.words).sum() / expected_mean.size
    if error > 1e-5 or differing > 1e-5:
        raise AssertionError(f"probabilities off by {error:g}, {differing:g} of the draws differ")


def most_digits(weights: np.ndarray) -> int:
    """Digits to the base 256 that the kernels take for sums over the first axis: 3, or 4."""
    total, largest = np.abs(weights).sum(axis=0, dtype=np.float64), np.abs(weights).max(axis=0)
    finest = np.frexp(total)[1] - 30 + 2
    return 3 if (np.rint(np.ldexp(largest.astype(np.float64), -finest)) <= 127 * 65793).all() else 4


def seconds_per_round(work: Callable[[int], float], most: float) -> float:
    """Median seconds of one of the rounds that `work` makes and times, in runs of 20 ms at least."""
    work(4)
    count = max(4, round(0.02 / (work(4) / 4)))
    runs, start = [], time.perf_counter()
    while len(runs) < (3 if most > 0 else 1) or (len(runs) < 15 and time.perf_counter() - start < most):
        runs.append(work(count) / count)
    return common.median(runs)


def time_ours(machine: RbmMachine, n: int, most: float) -> float:
    """Seconds of a sweep of all chains."""
    cuda = _native.cuda()
    chains = machine.place(zero_bits(n, machine.n_hidden))
    visible = machine.empty_visible(n, like=chains)
    assert isinstance(chains, Bits)
    assert isinstance(visible, Bits)

    def work(count: int) -> float:
        start = cuda.Moment()
        machine.native.sweeps(
            chains.words, visible.words, None, None, None, None, None, 0, 8, 0, work.step, count, 0
        )
        end = cuda.Moment()
        cuda.synchronize()
        work.step += count
        return float(end.seconds_since(start))

    work.step = 0  # type: ignore[attr-defined]
    return seconds_per_round(work, most)


def time_torch(chains: TorchChains, most: float) -> float:
    """Seconds of a sweep of all chains."""
    on_gpu = chains.h.is_cuda

    def work(count: int) -> float:
        if not on_gpu:
            start = time.perf_counter()
            for _ in range(count):
                chains.sweep()
            return time.perf_counter() - start
        first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        first.record()
        for _ in range(count):
            chains.sweep()
        last.record()
        last.synchronize()
        return 1e-3 * first.elapsed_time(last)

    return seconds_per_round(work, most)


def int8_rate(size: int = 8192) -> float:
    """Operations a second of a square product of 8-bit numbers; a multiply-add is two."""
    a = torch.randint(-128, 127, (size, size), dtype=torch.int8, device=common.DEVICE)
    b = torch.randint(-128, 127, (size, size), dtype=torch.int8, device=common.DEVICE).t()
    return 2 * size**3 / common.seconds(lambda: torch._int_mm(a, b), reps=3, most=1.0)


def floor(n: int, size: tuple[int, int], n_digits: int, limits: dict[str, float]) -> float:
    """Seconds that a sweep of n chains takes at least."""
    n_visible, n_hidden = size
    operations = 2 * n * 2 * n_visible * n_hidden * n_digits
    n_bytes = n * 2 * (n_visible + n_hidden) / 8 + 2 * n_visible * n_hidden * n_digits
    return max(operations / limits["int8"], n_bytes / limits["copy"])


def run(report: common.Report, n: int, size: tuple[int, int], n_left: int) -> None:
    """Chain-sweeps a second of all, as one of `n_left` numbers of chains."""
    arrays = parameters(*size)
    machine = RbmMachine.of(*arrays, device="cuda")
    check(machine, RbmMachine.of(*arrays), min(n, 512))
    n_digits = max(most_digits(arrays[0]), most_digits(arrays[0].T))

    def add(name: str, seconds: float) -> dict[str, Any]:
        row: dict[str, Any] = {"machine": f"{size[0]}x{size[1]}", "chains": n, "name": name}
        return row | {"us_per_sweep": 1e6 * seconds, "chain_sweeps_per_s": n / seconds}

    def most(n_figures: int) -> float:
        return 0.0 if report.is_small else min(5.0, report.share(3 * n_left - n_figures))

    row = add("thalweg", time_ours(machine, n, most(0)))
    share = floor(n, size, n_digits, report.limits) * row["chain_sweeps_per_s"] / n
    ours = report.add({**row, "digits": n_digits, "share_of_floor": share})
    for done, (name, is_allowed) in enumerate(PEERS.items()):
        if not report.has_time(f"{n} chains, {name}"):
            continue
        torch.backends.cuda.matmul.allow_tf32 = is_allowed
        row = add(name, time_torch(TorchChains(*arrays, n, common.DEVICE), most(1 + done)))
        report.add({**row, "times": ours["chain_sweeps_per_s"] / row["chain_sweeps_per_s"]})
    torch.backends.cuda.matmul.allow_tf32 = False


def main() -> None:
    given = common.parser(__doc__).parse_args()
    *size, chains = SMALL if given.small else (V, H, CHAINS)
    report = common.Report(given)
    common.measure_limits(report, "copy", "float32", "tf32")
    report.measure("int8", lambda: int8_rate(64 if given.small else 8192))
    for i, n in enumerate(chains):
        if report.has_time(f"{n} chains", 1.0):
            run(report, n, (size[0], size[1]), len(chains) - i)
    report.close()


if __name__ == "__main__":
    main()

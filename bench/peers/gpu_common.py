"""What the benchmarks on a GPU share: clocks, the card's measured limits, reports. Needs PyTorch with CUDA.

Every benchmark takes `--out PATH` (writes PATH.json), `--seconds N` (about how long it may take, its start
included) and `--small` (the same path over tiny problems, on the emulated device too: the checks count, the
figures do not). It checks its results before it times them, begins with what matters most, and writes
PATH.json after every figure: whatever ends it early leaves a valid file.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import thalweg
from thalweg import _native

median = statistics.median

# Where PyTorch's arrays are: on the host only for `--small` without a GPU.
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def _age_of_process() -> float:
    """Seconds since the interpreter was started, of which importing PyTorch takes some; 0 if unknown."""
    try:
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, AttributeError, IndexError, ValueError):
        return 0.0
    return age if 0 <= age < 60 else 0.0  # in a sandbox the two may count from different moments


_STARTED = time.monotonic() - _age_of_process()


def parser(doc: str | None) -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--out", type=Path, help="write PATH.json")
    made.add_argument("--seconds", type=float, default=60, help="about how long it may take (default 60)")
    made.add_argument("--small", action="store_true", help="tiny problems, checks alone, on any device")
    return made


class Report:
    """Rows that are printed and written as they are found, and the clock that they are found by.

    `limits` are rates measured in the same run; `left_out` says what the clock left no time for.
    """

    def __init__(self, given: argparse.Namespace) -> None:
        self.is_small = bool(given.small)
        self.limits: dict[str, float] = {}
        self.rows: list[dict[str, Any]] = []
        self.left_out: list[str] = []
        self._out = None if given.out is None else given.out.with_suffix(".json")
        self._seconds = given.seconds
        self._machine = machine(self.is_small)
        self._is_over = False
        self._write()

    def left(self) -> float:
        """Seconds until the run shall be over."""
        return _STARTED + self._seconds - time.monotonic()

    def share(self, n_left: int, least: float = 0.05) -> float:
        """Seconds for the next of `n_left` cases, the rest shared equally, and no less than `least`."""
        return max(least, self.left() / max(1, n_left))

    def has_time(self, what: str, needed: float = 0.3) -> bool:
        """Whether at least this many seconds are left; notes what is left out where they are not."""
        if self.is_small or self.left() >= needed:
            return True
        print(f"left out: {what}", flush=True)
        self.left_out.append(what)
        self._write()
        return False

    def measure(self, name: str, rate: Callable[[], float]) -> None:
        """Adds one of the limits."""
        self.limits[name] = rate()

    def add(self, row: dict[str, Any]) -> dict[str, Any]:
        """Prints and writes a row, as it is now."""
        print(
            "  ".join(f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in row.items()),
            flush=True,
        )
        self.rows.append(row)
        self._write()
        return row

    def close(self) -> None:
        """Nothing more is to come."""
        self._is_over = True
        self._write()

    def _write(self) -> None:
        if self._out is None:
            return
        found = {
            "machine": self._machine,
            "is_over": self._is_over,
            "seconds": round(time.monotonic() - _STARTED, 1),
            "limits": self.limits,
            "left_out": self.left_out,
            "rows": self.rows,
        }
        self._out.parent.mkdir(parents=True, exist_ok=True)
        partial = self._out.with_suffix(".part")
        partial.write_text(json.dumps(found, indent=1, allow_nan=False) + "\n")
        partial.replace(self._out)


# --- arrays


def on_device(x: torch.Tensor) -> Any:
    """The tensor as thalweg's array on its device: in the same memory where it is on a GPU."""
    cuda = _native.cuda()
    return cuda.from_dlpack(x) if x.is_cuda else cuda.to_device(x.numpy())


def host(x: Any) -> np.ndarray:
    """A tensor or an array, on either side, as NumPy's."""
    if isinstance(x, torch.Tensor):
        return x.cpu().numpy()
    return x if isinstance(x, np.ndarray) else x.numpy()


# --- clocks


def synchronize() -> None:
    """Waits for all that was asked of the device."""
    if DEVICE == "cuda":
        torch.cuda.synchronize()
    _native.cuda().synchronize()


def seconds(call: Callable[[], Any], *, reps: int = 7, at_least: float = 0.02, most: float = 10.0) -> float:
    """Median seconds of one call, of `reps` runs of as many calls as fill `at_least`, from idle to idle.

    The first calls are not timed. Where one takes long, fewer runs are made, so that all take about `most`.
    """

    def timed(count: int) -> float:
        synchronize()
        start = time.perf_counter()
        for _ in range(count):
            call()
        synchronize()
        return (time.perf_counter() - start) / count

    timed(1)
    once = timed(1)
    if 2 * once > most:
        return once
    count = max(1, round(min(at_least, most) / once))
    fitting = max(1, min(reps, int(most / (once * count))))
    return median(timed(count) for _ in range(fitting))


def seconds_of_torch(call: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of one call and what it gives, between two events of PyTorch's stream."""
    if DEVICE == "cpu":
        begin = time.perf_counter()
        result = call()
        return time.perf_counter() - begin, result
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    start.record()
    result = call()
    end.record()
    end.synchronize()
    return 1e-3 * start.elapsed_time(end), result


def seconds_of_ours(call: Callable[[], Any]) -> tuple[float, Any]:
    """The same by events of the stream that thalweg works on."""
    cuda = _native.cuda()
    synchronize()
    start = cuda.Moment()
    result = call()
    end = cuda.Moment()
    cuda.synchronize()
    return float(end.seconds_since(start)), result


# --- the card's limits


def copy_rate(n_bytes: int = 2**30) -> float:
    """Bytes a second that a copy within the device's memory reads and writes."""
    x = torch.randn(n_bytes // 4, device=DEVICE)
    out = torch.empty_like(x)
    return 2 * n_bytes / seconds(lambda: out.copy_(x), most=1.0)


def matrix_rate(kind: str, size: int = 8192) -> float:
    """Operations a second of a square product in "float32", "tf32" or "bfloat16"; a multiply-add is two."""
    dtype = torch.bfloat16 if kind == "bfloat16" else torch.float32
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = kind == "tf32"
    try:
        a, b = (torch.randn(size, size, device=DEVICE, dtype=dtype) for _ in range(2))
        return 2 * size**3 / seconds(lambda: torch.mm(a, b), reps=3, most=1.0)
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def measure_limits(report: Report, *kinds: str) -> None:
    """Adds the rates of a copy ("copy") and of matrix products (their kinds) to the report's limits."""
    small = report.is_small
    for kind in kinds:
        if kind == "copy":
            report.measure(kind, lambda: copy_rate(2**16 if small else 2**30))
        else:
            report.measure(kind, lambda kind=kind: matrix_rate(kind, 64 if small else 8192))


def machine(is_small: bool = False) -> dict[str, Any]:
    """What the figures depend on. RuntimeError where there is no GPU to time and the run is not small."""
    cuda = _native.cuda()
    if not is_small and (cuda.is_emulated or DEVICE == "cpu"):
        missing = "the CUDA backend is emulated on the host" if cuda.is_emulated else "PyTorch sees no GPU"
        raise RuntimeError(f"{missing}: there is nothing to time, use --small")
    properties = cuda.device_properties()
    return {
        "gpu": properties["name"],
        "multiprocessors": properties["multiprocessors"],
        **({"small": "tiny problems: no figure means anything"} if is_small else {}),
        "thalweg": f"{thalweg.__version__}, {cuda.compiler}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "date": time.strftime("%Y-%m-%d"),
        "command": "python " + shlex.join(sys.argv),
    }

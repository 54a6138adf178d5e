"""What the benchmarks on a GPU share: clocks, the card's measured limits, reports. Needs PyTorch with CUDA.

Every benchmark takes `--out PATH` (writes PATH.json) and `--seconds N` (about how long it may take), checks
its results before it times, and stays below a minute or two: `bench/gpu.sh` runs them all in one call.
"""

from __future__ import annotations

import argparse
import json
import platform
import shlex
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import thalweg
from thalweg import _native

median = statistics.median


def parser(doc: str | None) -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--out", type=Path, help="write PATH.json")
    made.add_argument("--seconds", type=float, default=60, help="about how long it may take (default 60)")
    return made


def seconds(call: Callable[[], Any], *, reps: int = 7, at_least: float = 0.02, most: float = 10.0) -> float:
    """Median seconds of one call, of `reps` runs of as many calls as fill `at_least`, from idle to idle.

    The first calls are not timed. Where one takes long, fewer runs are made, so that all take about `most`.
    """

    def timed(count: int) -> float:
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(count):
            call()
        torch.cuda.synchronize()
        return (time.perf_counter() - start) / count

    timed(1)
    once = timed(1)
    count = max(1, round(at_least / once))
    fitting = max(1, min(reps, int(most / (once * count))))
    return median(timed(count) for _ in range(fitting))


def copy_rate(n_bytes: int = 2**30) -> float:
    """Bytes a second that a copy within the device's memory reads and writes."""
    x = torch.randn(n_bytes // 4, device="cuda")
    out = torch.empty_like(x)
    return 2 * n_bytes / seconds(lambda: out.copy_(x))


def matrix_rate(kind: str, size: int = 8192) -> float:
    """Operations a second of a square product in "float32", "tf32", "bfloat16" or "float64".

    A multiply-add is two operations.
    """
    dtype = {"bfloat16": torch.bfloat16, "float64": torch.float64}.get(kind, torch.float32)
    size = size // 2 if kind == "float64" else size
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = kind == "tf32"
    try:
        a, b = (torch.randn(size, size, device="cuda", dtype=dtype) for _ in range(2))
        return 2 * size**3 / seconds(lambda: torch.mm(a, b), reps=3)
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    cuda = _native.cuda()
    if cuda.is_emulated:
        raise RuntimeError("the CUDA backend is emulated on the host: there is nothing to time")
    return {
        "gpu": cuda.device_properties()["name"],
        "multiprocessors": cuda.device_properties()["multiprocessors"],
        "thalweg": f"{thalweg.__version__}, {cuda.compiler}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "date": time.strftime("%Y-%m-%d"),
        "command": "python " + shlex.join(sys.argv),
    }


def report(out: Path | None, rows: list[dict[str, Any]], limits: dict[str, float]) -> None:
    """Prints the rows; with --out writes them, with the machine and the limits measured in the same run."""
    for row in rows:
        print(
            "  ".join(f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in row.items()),
            flush=True,
        )
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        found = {"machine": machine(), "limits": limits, "rows": rows}
        out.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n")

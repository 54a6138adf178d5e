"""Correlate, convolve and filter gradient beside PyTorch's convolutions, as shares of the SGEMM rate.

One gray image and one of three channels, filters inside the image (boundary "full", PyTorch's without
padding), dense codes: every tap of every filter meets every pixel of its code once, 2 K C kh kw Hc Wc FLOP.
The rate to compare with is that of a large float32 matrix product by MKL, timed among the others. Float32,
two threads, the median of --reps interleaved runs of a few calls each.

    python bench/peers/conv.py --out bench/results/conv
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import torch

import common
import roof
from thalweg import ops

NAMES = ("thalweg", "PyTorch")
BAR = 50  # per cent of the SGEMM rate
WIDTHS, CHANNELS, FILTERS = (256, 512), (1, 3), ((32, 8), (64, 12))
BURST_GFLOP = 4.0  # work of one clocked run

Clocks = dict[str, tuple[Callable[[], float], float]]  # by name: seconds of one call, and its GFLOP


def operations(width: int, channels: int, n_filters: int, size: int) -> Clocks:
    rng = np.random.default_rng(0)
    image = rng.standard_normal((1, channels, width, width)).astype(np.float32)
    filters = rng.standard_normal((n_filters, channels, size, size)).astype(np.float32)
    codes = ops.correlate(image, filters, boundary="full")
    x, f, z = map(torch.from_numpy, (image, filters, codes))
    calls = {
        "correlate, thalweg": partial(ops.correlate, image, filters, boundary="full"),
        "correlate, PyTorch": partial(torch.nn.functional.conv2d, x, f),
        "convolve, thalweg": partial(ops.convolve, codes, filters, boundary="full"),
        "convolve, PyTorch": partial(torch.nn.functional.conv_transpose2d, z, f),
        "filter_gradient, thalweg": partial(ops.filter_gradient, codes, image, size, boundary="full"),
        "filter_gradient, PyTorch": partial(torch.nn.grad.conv2d_weight, x, f.shape, z),
    }
    work = 2e-9 * codes.size * channels * size**2
    inner = max(1, round(BURST_GFLOP / work))
    return {name: (roof.on_threads(common.THREADS, call, inner), work) for name, call in calls.items()}


def sgemm() -> tuple[Callable[[], float], float]:
    shape = "x".join(map(str, roof.SHAPES[-1]))
    return roof.products("float32")[f"float32 {shape} (GFLOP/s)", common.THREADS, "MKL"]


def rates(clocks: Clocks, reps: int) -> dict[str, list[float]]:
    """GFLOP/s of interleaved runs."""
    found: dict[str, list[float]] = {name: [] for name in clocks}
    for _ in range(reps):
        for name, (clock, work) in clocks.items():
            found[name].append(work / clock())
    return found


def run_case(width: int, channels: int, n_filters: int, size: int, args: Any) -> list[dict[str, Any]]:
    """One row an operation and library."""
    chosen = {
        name: clock
        for name, clock in operations(width, channels, n_filters, size).items()
        if common.chosen(name, args.only)
    }
    found = rates({"SGEMM": sgemm(), **chosen}, max(args.reps, 5))
    limit = common.median(found.pop("SGEMM"))
    case = {"width": width, "channels": channels, "filters": n_filters, "size": size, "sgemm": limit}
    rows = []
    for name, values in found.items():
        operation, library = name.split(", ")
        rate = common.median(values)
        rows.append({**case, "operation": operation, "name": library, "gflops": rate, "rates": values})
        print(f"{case} {name:26s} {rate:6.1f} GFLOP/s {100 * rate / limit:5.1f} %", flush=True)
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    lines = []
    keys = ("width", "channels", "filters", "size", "operation")
    for key in dict.fromkeys(tuple(r[k] for k in keys) for r in rows):
        group = {r["name"]: r for r in rows if tuple(r[k] for k in keys) == key}
        width, channels, n_filters, size, operation = key
        limit = next(iter(group.values()))["sgemm"]
        shares = [f"{100 * group[n]['gflops'] / limit:.0f}" if n in group else "" for n in NAMES]
        where = [f"{width}x{width}", str(channels), f"{n_filters} of {size}x{size}", operation]
        lines.append([*where, f"{limit:.0f}", *shares, str(BAR)])
    header = ["image", "channels", "filters", "operation", "SGEMM (GFLOP/s)"]
    return common.markdown_table([*header, *(f"{name} (%)" for name in NAMES), "bar (%)"], lines)


def main() -> None:
    args = common.parser(__doc__).parse_args()
    rows: list[dict[str, Any]] = []
    for width, channels, (n_filters, size) in product(WIDTHS, CHANNELS, FILTERS):
        rows += run_case(width, channels, n_filters, size, args)
    common.report(args.out, "Convolutions as shares of the matrix product's rate", table(rows), rows)


if __name__ == "__main__":
    main()

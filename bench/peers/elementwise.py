"""Elementwise functions on 1e7 numbers drawn from N(0, 3), as a share of the machine's copy bandwidth.

The bandwidth is that of the fastest copy in the same run, plain or non-temporal stores, on one thread or two;
bytes read and written count alike. `out`: the result goes into an array that is there already; without it
every call pays for the page faults of a new one, and frees it. Medians of --reps interleaved runs, of five
calls each, on two threads.

    THALWEG_ISA=v3 python bench/peers/elementwise.py --out bench/results/elementwise_v3
    THALWEG_ISA=v4 python bench/peers/elementwise.py --out bench/results/elementwise_v4
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch

import common
from roof import aligned, copy_library
from thalweg import ops

ALPHA = 0.5
BAR = {"shrink": 85, "softplus": 60, "sigmoid": 60, "log_sigmoid": 60}  # per cent of the copy, with `out`

_OURS = {
    "shrink": partial(ops.shrink, alpha=ALPHA),
    "softplus": ops.softplus,
    "sigmoid": ops.sigmoid,
    "log_sigmoid": ops.log_sigmoid,
}
_functional = torch.nn.functional
_TORCH = {
    "shrink": partial(_functional.softshrink, lambd=ALPHA),
    "softplus": _functional.softplus,
    "sigmoid": torch.sigmoid,
    "log_sigmoid": _functional.logsigmoid,
}
_TORCH_OUT = {
    "shrink": lambda x, out: torch._C._nn.softshrink(x, ALPHA, out=out),
    "softplus": lambda x, out: torch._C._nn.softplus(x, out=out),
    "sigmoid": lambda x, out: torch.sigmoid(x, out=out),
    "log_sigmoid": lambda x, out: torch._C._nn.log_sigmoid(x, out=out),
}

Calls = dict[tuple[str, str], Callable[[], Any]]  # by function and competitor


def copies(x: np.ndarray, out: np.ndarray, folder: str) -> Calls:
    calls: Calls = {("copy", "PyTorch"): partial(torch.from_numpy(out).copy_, torch.from_numpy(x))}
    library = copy_library(folder)
    if library is not None:
        n = x.nbytes // 4
        for threads in (1, common.THREADS):
            where = (out.ctypes.data, x.ctypes.data, n, threads)
            calls["copy", f"plain, {threads} threads"] = partial(library.copy_plain, *where)
            calls["copy", f"non-temporal, {threads} threads"] = partial(library.copy_nontemporal, *where)
    return calls


def functions(x: np.ndarray, out: np.ndarray) -> Calls:
    calls: Calls = {}
    tx, tout = torch.from_numpy(x), torch.from_numpy(out)
    for name in BAR:
        calls[name, "thalweg, out"] = partial(_OURS[name], x, out=out)
        calls[name, "PyTorch, out"] = partial(_TORCH_OUT[name], tx, tout)
        calls[name, "thalweg"] = partial(_freed, _OURS[name], x)
        calls[name, "PyTorch"] = partial(_freed, _TORCH[name], tx)
    return calls


def _freed(function: Callable[[Any], Any], x: Any) -> None:
    function(x)


def run_dtype(dtype: str, args: Any, folder: str) -> list[dict[str, Any]]:
    """One row a function and competitor, the copies first."""
    itemsize = np.dtype(dtype).itemsize
    x, out = (aligned(args.n * itemsize // 4).view(dtype) for _ in range(2))
    x[:] = np.random.default_rng(0).normal(0, 3, args.n)
    calls = {**copies(x, out, folder), **functions(x, out)}
    named = {
        "|".join(key): call
        for key, call in calls.items()
        if key[0] == "copy" or common.chosen(" ".join(key), args.only)
    }
    for call in named.values():
        call()
    times, _ = common.interleaved(named, max(args.reps, 9), burst=5)
    rates = {key: 2e-9 * x.nbytes / common.median(t) for key, t in times.items()}
    limit = max(rate for key, rate in rates.items() if key.startswith("copy"))
    rows = []
    for key, rate in rates.items():
        function, name = key.split("|")
        share = 100 * rate / limit
        rows.append({"function": function, "name": name, "dtype": dtype, "gb_per_s": rate, "percent": share})
        print(f"{dtype} {function:12s} {name:24s} {rate:7.1f} GB/s {share:6.1f} %", flush=True)
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """Per cent of the copy bandwidth."""
    lines = []
    for dtype in dict.fromkeys(r["dtype"] for r in rows):
        group = [r for r in rows if r["dtype"] == dtype]
        limit = max(r["gb_per_s"] for r in group if r["function"] == "copy")
        for function, bar in BAR.items():
            shares = {r["name"]: f"{r['percent']:.0f}" for r in group if r["function"] == function}
            cells = [shares.get(n, "") for n in ("thalweg, out", "PyTorch, out", "thalweg", "PyTorch")]
            lines.append([function, dtype, f"{limit:.1f}", *cells, str(bar)])
    header = ["function", "dtype", "copy (GB/s)", "thalweg, out (%)", "PyTorch, out (%)", "thalweg (%)"]
    return common.markdown_table([*header, "PyTorch (%)", "bar, out (%)"], lines)


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--dtypes", default="float32,float64")
    parser.add_argument("--n", type=int, default=10_000_000)
    args = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for dtype in args.dtypes.split(","):
            rows += run_dtype(dtype, args, folder)
    common.report(args.out, "Elementwise functions and the copy bandwidth", table(rows), rows)


if __name__ == "__main__":
    main()

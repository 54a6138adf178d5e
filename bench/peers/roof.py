"""The machine's limits: matrix products (OpenBLAS by NumPy, MKL by PyTorch) and copies, on one and two
threads.

Copies count bytes read and written; the array is 80 MB. Non-temporal stores need a C compiler and AVX.

    python bench/peers/roof.py --out bench/results/roof
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits

import common

SHAPES = ((4096, 256, 256), (2048, 1024, 1024), (2048, 2048, 2048))
COPY_FLOATS = 20_000_000


def copy_library(folder: str) -> ctypes.CDLL | None:
    """The copies in C, or None where they cannot be built."""
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    library = Path(folder) / "copy.so"
    source = Path(__file__).with_name("copy.c")
    command = [compiler, "-O3", "-mavx", "-fopenmp", "-shared", "-fPIC", str(source), "-o", str(library)]
    if subprocess.run(command, check=False).returncode != 0:
        return None
    loaded = ctypes.CDLL(str(library))
    for function in (loaded.copy_plain, loaded.copy_nontemporal):
        function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return loaded


def on_threads(threads: int, call: Callable[[], Any], inner: int) -> Callable[[], float]:
    """Seconds of one call on this many threads, the mean of `inner`; the first one wakes the pool."""

    def run() -> float:
        torch.set_num_threads(threads)
        with threadpool_limits(threads):
            call()
            start = time.perf_counter()
            for _ in range(inner):
                call()
            return (time.perf_counter() - start) / inner

    return run


def products(dtype: str) -> dict[tuple[str, int, str], tuple[Callable[[], float], float]]:
    """By case, thread count and library: the clock, and GFLOP per call."""
    made = {}
    rng = np.random.default_rng(0)
    for m, k, n in SHAPES:
        a, b = rng.standard_normal((m, k)).astype(dtype), rng.standard_normal((k, n)).astype(dtype)
        out = np.empty((m, n), dtype)
        ta, tb, tout = map(torch.from_numpy, (a, b, out.copy()))
        work = 2e-9 * m * k * n
        for threads in (1, common.THREADS):
            for name, call in (
                ("OpenBLAS", partial(np.matmul, a, b, out=out)),
                ("MKL", partial(torch.mm, ta, tb, out=tout)),
            ):
                clock = on_threads(threads, call, max(1, int(5 / work)))
                made[f"{dtype} {m}x{k}x{n} (GFLOP/s)", threads, name] = clock, work
    return made


def copies(folder: str) -> dict[tuple[str, int, str], tuple[Callable[[], float], float]]:
    """By case, thread count and kind: the clock, and GB per call."""
    source, target = (aligned(COPY_FLOATS) for _ in range(2))
    work = 2e-9 * source.nbytes
    library = copy_library(folder)
    made = {}
    for threads in (1, common.THREADS):
        calls = {"PyTorch": partial(torch.from_numpy(target).copy_, torch.from_numpy(source))}
        if library is not None:
            where = (target.ctypes.data, source.ctypes.data, COPY_FLOATS, threads)
            calls["C, plain"] = partial(library.copy_plain, *where)
            calls["C, non-temporal"] = partial(library.copy_nontemporal, *where)
        for name, call in calls.items():
            made["copy (GB/s)", threads, name] = on_threads(threads, call, 3), work
    return made


def aligned(n: int) -> np.ndarray:
    """n float32 zeros at a multiple of 64 bytes."""
    raw = np.zeros(n + 16, np.float32)
    return raw[(-raw.ctypes.data % 64) // 4 :][:n]


def limits(reps: int = 5) -> dict[str, float]:
    """Median rates of the largest float32 product and of the fastest copy, on all threads."""
    with tempfile.TemporaryDirectory() as folder:
        shape = "x".join(map(str, SHAPES[-1]))
        clocks = {
            "SGEMM (GFLOP/s)": [products("float32")[f"float32 {shape} (GFLOP/s)", common.THREADS, "MKL"]],
            "copy (GB/s)": [c for key, c in copies(folder).items() if key[1] == common.THREADS],
        }
        return {
            name: max(common.median([work / clock() for _ in range(reps)]) for clock, work in group)
            for name, group in clocks.items()
        }


def main() -> None:
    args = common.parser(__doc__).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        clocks = {**products("float32"), **products("float64"), **copies(folder)}
        clocks = {key: c for key, c in clocks.items() if common.chosen(" ".join(map(str, key)), args.only)}
        seconds: dict[tuple[str, int, str], list[float]] = {key: [] for key in clocks}
        for _ in range(max(args.reps, 5)):
            for key, (clock, _) in clocks.items():
                time.sleep(0.03)
                seconds[key].append(clock())
    rows = []
    for (case, threads, name), times in seconds.items():
        work = clocks[case, threads, name][1]
        rates = [work / s for s in times]
        rows.append(
            {"case": case, "threads": threads, "name": name, "median": common.median(rates), "rates": rates}
        )
    lines = [
        [
            r["case"],
            str(r["threads"]),
            r["name"],
            f"{r['median']:.1f}",
            f"{min(r['rates']):.1f} to {max(r['rates']):.1f}",
        ]
        for r in rows
    ]
    header = ["case", "threads", "by", "median", "range"]
    common.report(args.out, "The machine's limits", common.markdown_table(header, lines), rows)


if __name__ == "__main__":
    main()

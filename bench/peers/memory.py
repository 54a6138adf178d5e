"""Memory that encoding a million patches takes beyond its result.

Each case runs in a process of its own. Samples in memory: the peak of the resident set during the call,
less what was resident before it, less the result. Samples on disk: the same of the anonymous memory alone,
sampled every 5 ms, since pages of the mapped file are the system's to drop.

    python bench/peers/memory.py --out bench/results/memory
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import common

BAR_MB = 200
WIDTH, N_COMPONENTS = 8, 256
CASES = [(result, place) for place in ("memory", "disk") for result in ("dense", "CSR")]


def status(field: str) -> int:
    """A field of /proc/self/status, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {field}")


class AnonymousPeak:
    """Samples the anonymous resident memory while the block runs."""

    def __enter__(self) -> AnonymousPeak:
        self.peak, self._stop = status("RssAnon"), threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._stop.wait(0.005):
            self.peak = max(self.peak, status("RssAnon"))

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self.peak = max(self.peak, status("RssAnon"))


def size_of(codes: Any) -> int:
    if isinstance(codes, np.ndarray):
        return codes.nbytes
    return codes.data.nbytes + codes.indices.nbytes + codes.indptr.nbytes


def resident_peak(call: Callable[[], Any]) -> tuple[int, Any]:
    """Bytes that the resident set rose at most during the call, and the call's result."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = status("VmRSS")
    result = call()
    return status("VmHWM") - before, result


def measure(call: Callable[[], Any], on_disk: bool) -> dict[str, float]:
    """MB that the call takes beyond its result."""
    start = time.perf_counter()
    if on_disk:
        before = status("RssAnon")
        with AnonymousPeak() as watch:
            codes = call()
        rise = watch.peak - before
    else:
        rise, codes = resident_peak(call)
    size = size_of(codes)
    return {
        "result_mb": size / 1e6,
        "extra_mb": (rise - size) / 1e6,
        "seconds": time.perf_counter() - start,
    }


def samples_file(rows: int) -> Path:
    name = f"patches-{WIDTH}-{rows}-float32"
    return common.cached_path(name, lambda: common.patches(WIDTH, rows).astype(np.float32))


def run_one(result: str, place: str, rows: int) -> None:
    """Runs in a process of its own, and prints its figures as JSON."""
    from thalweg import SparseCoder

    x = np.load(samples_file(rows), mmap_mode="r" if place == "disk" else None)
    atoms = common.dictionary(WIDTH, N_COMPONENTS).astype(np.float32)
    alpha = common.alpha_for_density(np.array(x[:600], np.float64), atoms.astype(np.float64), 0.10)
    coder = SparseCoder(
        atoms,
        transform_algorithm="lasso_cd",
        transform_alpha=alpha,
        transform_tol=1e-3,
        n_jobs=common.THREADS,
    )
    encode = partial(coder.encode, sparse_output=result == "CSR")
    encode(x[:4096])  # starts the threads
    print(json.dumps(measure(lambda: encode(x), place == "disk")))


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--case", nargs=2, metavar=("RESULT", "PLACE"), help="run one case in this process")
    args = parser.parse_args()
    if args.case:
        run_one(*args.case, args.rows)
        return
    samples_file(args.rows)
    rows = []
    for result, place in CASES:
        command = [sys.executable, __file__, "--rows", str(args.rows), "--case", result, place]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        rows.append({"result": result, "samples": place, "rows": args.rows, **json.loads(done.stdout)})
        print(rows[-1], flush=True)
    lines = [
        [
            r["result"],
            r["samples"],
            f"{r['result_mb']:.0f}",
            f"{r['extra_mb']:.0f}",
            str(BAR_MB),
            f"{r['seconds']:.1f}",
        ]
        for r in rows
    ]
    header = ["codes", "samples in", "result (MB)", "beyond the result (MB)", "bar (MB)", "seconds"]
    common.report(
        args.out, f"Memory of encoding {args.rows:,} patches", common.markdown_table(header, lines), rows
    )


if __name__ == "__main__":
    main()

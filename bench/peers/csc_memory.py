"""Memory of convolutional sparse coding: how far the resident set rises at most while a problem is solved.

Each case runs in a process of its own; what is resident before the call (imports, image, filters, and what
a run on a small image left) is not counted, the codes are. SPORCO's ADMM makes a few iterations, for its
memory does not grow with their number; thalweg solves to --tol, into dense and into sparse codes. Last,
thalweg alone codes a gray image of 4,000 x 6,000 with 32 filters into sparse codes.

    python bench/peers/csc_memory.py --out bench/results/csc_memory
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

import common
import csc_problem
import memory
import sporco_csc
from thalweg.inference.csc import ConvolutionalLassoSolver

CASE, LARGE = "512 12x12", "4000x6000 8x8"
BAR, LARGE_BAR_MB = 0.5, 4000  # at most half of SPORCO's; the large image within 4 GB
LARGE_SHAPE, TILE = (4000, 6000), (250, 375)


def _mosaic() -> np.ndarray:
    """(1, 4000, 6000) float32: pieces of photographs less their low-pass part, drawn at random."""
    rng = np.random.default_rng(3)
    photographs = [csc_problem.highpass(photograph) for photograph in common.photographs()]
    image = np.empty(LARGE_SHAPE)
    for top in range(0, LARGE_SHAPE[0], TILE[0]):
        for left in range(0, LARGE_SHAPE[1], TILE[1]):
            source = photographs[rng.integers(len(photographs))]
            y, x = (rng.integers(n - size + 1) for n, size in zip(source.shape, TILE))
            image[top : top + TILE[0], left : left + TILE[1]] = source[y : y + TILE[0], x : x + TILE[1]]
    return image[None].astype(np.float32)


def load(case: str, density: float) -> tuple[np.ndarray, np.ndarray, float]:
    """Image and filters, float32, and alpha: for the large image that of the photograph of 512 x 512."""
    if case == LARGE:
        alpha = csc_problem.make("512 8x8", density, "circular").alpha
        image = np.load(common.cached_path("csc-mosaic", _mosaic))
        return image, csc_problem.filters("8x8").astype(np.float32), alpha
    problem = csc_problem.make(case, density, "circular")
    return problem.image.astype(np.float32), problem.filters.astype(np.float32), problem.alpha


Coder = Callable[[np.ndarray, np.ndarray, float], Any]


def admm(image: np.ndarray, filters: np.ndarray, alpha: float, options: dict[str, Any]) -> Any:
    return sporco_csc.admm(sporco_csc.prepare(image, filters), alpha, 5, None, options)


def thalweg(image: np.ndarray, filters: np.ndarray, alpha: float, tol: float, sparse: bool) -> Any:
    solver = ConvolutionalLassoSolver(filters, boundary="circular", tol=tol, n_jobs=common.THREADS)
    codes, info = solver.encode(image, alpha)
    return codes if sparse else codes.toarray(), float(info.gap)


def coders(tol: float) -> dict[tuple[str, str], Coder]:
    """By case and name."""
    return {
        (CASE, "SPORCO ADMM"): partial(admm, options={}),
        (CASE, "SPORCO ADMM, HighMemSolve"): partial(admm, options={"HighMemSolve": True}),
        (CASE, "thalweg, dense codes"): partial(thalweg, tol=tol, sparse=False),
        (CASE, "thalweg, sparse codes"): partial(thalweg, tol=tol, sparse=True),
        (LARGE, "thalweg, sparse codes"): partial(thalweg, tol=tol, sparse=True),
    }


def run_one(case: str, name: str, density: float, tol: float) -> None:
    """Runs in a process of its own, and prints its figures as JSON."""
    image, filters, alpha = load(case, density)
    code = coders(tol)[case, name]
    code(np.ascontiguousarray(image[:, :64, :64]), filters, alpha)
    start = time.perf_counter()
    rise, result = memory.resident_peak(lambda: code(image, filters, alpha))
    row = {"peak_mb": rise / 1e6, "seconds": time.perf_counter() - start}
    if isinstance(result, tuple):
        row["gap"] = result[1]
    print(json.dumps(row))


def table(rows: list[dict[str, Any]]) -> str:
    sporco = min((r["peak_mb"] for r in rows if r["name"].startswith("SPORCO")), default=None)
    lines = []
    for r in rows:
        bar = LARGE_BAR_MB if r["case"] == LARGE else BAR * sporco if sporco else None
        own = r["name"].startswith("thalweg")
        gap = f"{r['gap']:.1e}" if "gap" in r else ""
        cell = [r["case"], r["name"], f"{r['peak_mb']:.0f}", f"{bar:.0f}" if own and bar else ""]
        lines.append([*cell, gap, f"{r['seconds']:.1f}"])
    header = ["case", "by", "peak (MB)", "bar (MB)", "relative gap", "seconds"]
    return common.markdown_table(header, lines)


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--density", type=float, default=0.02, help="share of non-zeros, which sets alpha")
    parser.add_argument("--tol", type=float, default=1e-3, help="thalweg's relative duality gap")
    parser.add_argument("--case", nargs=2, metavar=("CASE", "NAME"), help="run one case in this process")
    args = parser.parse_args()
    if args.case:
        run_one(*args.case, args.density, args.tol)
        return
    chosen = [key for key in coders(args.tol) if common.chosen(" ".join(key), args.only)]
    for case in {case for case, _ in chosen}:
        load(case, args.density)  # makes what is not in the cache yet
    rows = []
    for case, name in chosen:
        command = [sys.executable, __file__, "--density", str(args.density), "--tol", str(args.tol)]
        done = subprocess.run([*command, "--case", case, name], stdout=subprocess.PIPE, text=True, check=True)
        rows.append({"case": case, "name": name, "density": args.density, **json.loads(done.stdout)})
        print(rows[-1], flush=True)
    common.report(args.out, "Memory of convolutional sparse coding", table(rows), rows)


if __name__ == "__main__":
    main()

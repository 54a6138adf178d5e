"""Learning convolutional filters from ten photographs: held-out objective over time, thalweg beside SPORCO.

Ten photographs of Kodak's, centres of 512 x 512 in gray, less their low-pass part; 32 filters of 8x8;
float32; the circular boundary, which is SPORCO's. The judge, the same for all, scales every filter to unit
length and codes crops of other photographs with a fixed alpha, to a duality gap of 1e-3 of the objective that
NumPy computes in float64, whoever found the codes; its time does not count. SPORCO's learners run once, as
long as in their examples, and their filters are kept after every iteration. thalweg is fitted anew with more
and more iterations until its filters are judged as good as the best of SPORCO's at the end: the time of that
one fit is what it takes.

The photographs are looked for in the folder `natural` of THALWEG_DATA, or of ../shared/data beside the
project.

    python bench/peers/csc_learning.py --out bench/results/csc_learning
    python bench/peers/csc_learning.py --images 3 --width 128 --iterations 20
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import common
import csc_problem
import sporco_csc
from csc_problem import Problem
from thalweg.inference.csc import ConvolutionalLassoSolver
from thalweg.models import ConvolutionalDictionaryLearning

DATA = Path(os.environ.get("THALWEG_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
N_FILTERS, WIDTH = 32, 8
BAR = 1 / 3  # at most this share of SPORCO's time
HELD_OUT, HELD_OUT_WIDTH = slice(20, 24), 256
FIT_ITERATIONS = (1, 2, 3, 5, 8, 12, 18, 27, 40, 60, 90, 135, 200)
JUDGED = 12  # of a learner's snapshots, spread evenly on the logarithm of the iteration

# Iterations of the examples cbpdndl_cns_gry, cbpdndl_parcns_gry and onlinecdl_gry
LEARNERS: dict[str, tuple[Callable[..., np.ndarray], int]] = {
    "SPORCO batch": (sporco_csc.learn_batch, 200),
    "SPORCO batch, parallel": (sporco_csc.learn_parallel, 200),
    "SPORCO online": (sporco_csc.learn_online, 50),
}


def stack(files: list[Path], width: int) -> np.ndarray:
    """(width, width, N) float32: high-pass parts of the photographs' centres."""
    gray = [np.asarray(Image.open(f).convert("L"), np.float64) / 255 for f in files]
    crops = np.stack([csc_problem.centre(image, width) for image in gray], axis=-1)
    return csc_problem.highpass(crops).astype(np.float32)


def held_out_objective(filters: np.ndarray, images: np.ndarray, alpha: float) -> float:
    """The least objective, summed over images (H, W, N), with filters (kh, kw, K) scaled to unit length."""
    bank, total = csc_problem.unit_filters(filters), 0.0
    for i in range(images.shape[-1]):
        problem = Problem(images[None, ..., i].astype(np.float64), bank, "circular", alpha)
        coder = ConvolutionalLassoSolver(
            bank, boundary="circular", max_iter=1_000_000, tol=1e-5, n_jobs=common.THREADS
        )
        codes = coder.encode(problem.image, alpha)[0].toarray()
        objective, gap = problem.gap(codes)
        if gap > 1e-3 * objective:
            raise RuntimeError(f"photograph {i}: a gap of {gap / objective:.1e}, wanted 1e-3")
        total += objective
    return total


class Snapshots:
    """Filters and the time they took, the clock standing still while they are kept."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.filters: list[np.ndarray] = []
        self._since = time.perf_counter()

    def __call__(self, filters: np.ndarray) -> None:
        spent = time.perf_counter() - self._since
        self.seconds.append(spent + (self.seconds[-1] if self.seconds else 0.0))
        self.filters.append(filters.copy())
        self._since = time.perf_counter()

    def judged(self, judge: Callable[[np.ndarray], float]) -> list[dict[str, float]]:
        """Iteration, seconds and held-out objective of some snapshots, the last among them."""
        last = len(self.filters)
        chosen = sorted({round(n) for n in np.geomspace(1, last, JUDGED)})
        return [
            {"iteration": n, "seconds": self.seconds[n - 1], "objective": judge(self.filters[n - 1])}
            for n in chosen
        ]


def learn_sporco(
    name: str, images: np.ndarray, start: np.ndarray, alpha: float, iterations: int | None, judge: Any
) -> dict[str, Any]:
    learn, usual = LEARNERS[name]
    learn(images, start, alpha, 1)  # FFTW plans once a process, and times its candidates for it
    see = Snapshots()
    learn(images, start, alpha, iterations or usual, see)
    return {"name": name, "curve": see.judged(judge)}


def fit_thalweg(images: np.ndarray, alpha: float, max_iter: int) -> np.ndarray:
    """Filters (kh, kw, K)."""
    learner = ConvolutionalDictionaryLearning(
        N_FILTERS,
        (WIDTH, WIDTH),
        alpha=alpha,
        boundary="circular",
        max_iter=max_iter,
        n_jobs=common.THREADS,
        random_state=0,
    )
    filters = learner.fit(np.ascontiguousarray(np.moveaxis(images, -1, 0))).components_
    return np.moveaxis(filters.reshape(N_FILTERS, WIDTH, WIDTH), 0, -1)


def learn_thalweg(images: np.ndarray, alpha: float, goal: float, judge: Any) -> dict[str, Any]:
    """Fits of more and more iterations until one reaches the goal."""
    curve = []
    for max_iter in FIT_ITERATIONS:
        seconds, filters = common.once(partial(fit_thalweg, images, alpha, max_iter))
        curve.append({"iteration": max_iter, "seconds": seconds, "objective": judge(filters)})
        print("thalweg", curve[-1], flush=True)
        if curve[-1]["objective"] <= goal:
            break
    return {"name": "thalweg", "curve": curve}


def seconds_to(curve: list[dict[str, float]], goal: float) -> float | None:
    return next((point["seconds"] for point in curve if point["objective"] <= goal), None)


def table(rows: list[dict[str, Any]]) -> str:
    """Times to the final objective of each of SPORCO's learners."""
    lines = []
    ours = next((r for r in rows if r["name"] == "thalweg"), None)
    for row in rows:
        if row is ours:
            continue
        end = row["curve"][-1]
        cell = [row["name"], f"{end['iteration']:g}", f"{end['objective']:.2f}", f"{end['seconds']:.1f}"]
        own = seconds_to(ours["curve"], end["objective"]) if ours else None
        cell += [f"{own:.1f}", f"{own / end['seconds']:.3f}"] if own is not None else ["", ""]
        lines.append([*cell, f"{BAR:.2f}"])
    header = "learner,iterations,held-out objective,seconds,thalweg to it (s),ratio,bar"
    curves = [
        [r["name"], f"{p['iteration']:g}", f"{p['seconds']:.1f}", f"{p['objective']:.2f}"]
        for r in rows
        for p in r["curve"]
    ]
    detail = common.markdown_table(["learner", "iteration", "seconds", "held-out objective"], curves)
    return f"{common.markdown_table(header.split(','), lines)}\n\n{detail}"


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--alpha", type=float, default=0.1)
    parser.add_argument("--images", type=int, default=10, help="photographs learnt from (default 10)")
    parser.add_argument("--width", type=int, default=512, help="of the photographs' centres (default 512)")
    parser.add_argument("--iterations", type=int, help="of each of SPORCO's learners, not the examples'")
    args = parser.parse_args()
    files = sorted((DATA / "natural").glob("kodim*.png"))
    if len(files) < HELD_OUT.stop:
        sys.exit(f"{DATA / 'natural'} holds {len(files)} Kodak photographs, {HELD_OUT.stop} are needed")
    images = stack(files[: args.images], args.width)
    judge = partial(
        held_out_objective, images=stack(files[HELD_OUT], min(HELD_OUT_WIDTH, args.width)), alpha=args.alpha
    )
    start = np.random.default_rng(0).standard_normal((WIDTH, WIDTH, N_FILTERS)).astype(np.float32)
    rows = []
    for name in LEARNERS:
        if common.chosen(name, args.only):
            rows.append(learn_sporco(name, images, start, args.alpha, args.iterations, judge))
            print(name, rows[-1]["curve"][-1], flush=True)
    if common.chosen("thalweg", args.only):
        goal = min((r["curve"][-1]["objective"] for r in rows), default=0.0)
        rows.append(learn_thalweg(images, args.alpha, goal, judge))
    common.report(args.out, "Learning convolutional filters from photographs", table(rows), rows)


if __name__ == "__main__":
    main()

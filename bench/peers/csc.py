"""Convolutional sparse codes to a relative excess of the objective: thalweg beside what else there is.

Seconds from a fresh start (image and filters in memory, spectra not yet computed) to the first iteration
whose objective, in float64, is within 1e-2 resp. 1e-3 of the best known. A pilot finds that number of
iterations; the timed runs make exactly so many and compute no objective. Two threads, float32 (alphacsc
float64), the median of --reps interleaved runs. A competitor that has a tolerance instead of iterations to
count (thalweg, alphacsc's LGCD) gets the loosest of a fixed ladder that meets the target, and nothing else
is tuned; so does L-BFGS, whose iterations cannot be watched. Whoever takes longer than --cap seconds in the
pilot is not timed.

Every competitor runs in the boundary that it works in, and thalweg on each of them: "circular" for SPORCO
and the FFT, "valid" (codes larger than the image) for `conv2d` and the FFT, "full" (atoms inside the
signal, codes not negative) for alphacsc and both FISTAs, on a recording of three channels.

A lasso's codes have at most as many non-zeros as there are pixels: 64 filters cannot have 2 %.

    python bench/peers/csc.py --out bench/results/csc
    python bench/peers/csc.py --cases "256 8x8" --densities 0.005 --targets 1e-2 --reps 1 --cap 10
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from alphacsc.update_z_multi import update_z_multi
from sporco.pgm.backtrack import BacktrackRobust, BacktrackStandard

import common
import csc_problem
import roof
import sporco_csc
import torch_csc
from csc_problem import Problem
from thalweg.inference.csc import ConvolutionalLassoSolver, SparseMaps

BAR = 0.2  # at most this share of the fastest peer's time
IMAGE_CASES = tuple(f"{width} {size}" for width in (256, 512) for size in csc_problem.SIZES)
BOUNDARIES = {case: ("circular", "valid") for case in IMAGE_CASES} | {csc_problem.SIGNAL: ("full",)}
TOLERANCES = tuple(float(f"{t:.2g}") for t in np.logspace(-1, -5, 17))
LGCD_TOLERANCES = tuple(float(t) for t in np.logspace(0, -5, 21))
ITERATIONS = tuple(int(n) for n in 8 * 2 ** np.arange(0, 10, 0.5))
ENDLESS = 1_000_000


@dataclass(frozen=True)
class Competitor:
    """`run(state, problem, setting, watch)` gives the codes (K, ...), thalweg sparse ones.

    A setting is a number of iterations, and `watch` sees the codes of each; or, with a `ladder`, one of its
    rungs, and `watch` is None.
    """

    boundaries: tuple[str, ...]
    prepare: Callable[[Problem], Any]
    run: Callable[..., np.ndarray]
    ladder: Sequence[float] | None = None


# --- competitors


def _sporco(problem: Problem) -> Any:
    return sporco_csc.prepare(problem.image, problem.filters)


def _admm(state: Any, problem: Problem, n_iter: int, watch: Any, options: dict[str, Any]) -> np.ndarray:
    # SPORCO's own choice of rho, given by hand: HighMemSolve keeps factors of another one otherwise
    rho = {"rho": 50.0 * problem.alpha + 1.0}
    return sporco_csc.admm(state, problem.alpha, n_iter, watch, rho | options)


def _pgm(state: Any, problem: Problem, n_iter: int, watch: Any, backtrack: Any) -> np.ndarray:
    return sporco_csc.pgm(state, problem.alpha, n_iter, watch, backtrack)


def _tensors(problem: Problem) -> tuple[torch.Tensor, torch.Tensor]:
    return torch_csc.tensors(problem, np.float32)


def _fista(state: Any, problem: Problem, n_iter: int, watch: Any, by: Any) -> np.ndarray:
    operator = by(*state, problem.boundary, problem.code_shape)
    start = torch.zeros(problem.code_shape)
    return torch_csc.fista(operator, start, problem.alpha, n_iter, problem.positive, watch)


def _recording(problem: Problem) -> tuple[np.ndarray, np.ndarray]:
    """(1, C, L) and (K, C, l), float64: alphacsc allocates its codes so."""
    return problem.image[None, :, 0], problem.filters[:, :, 0]


def _alphacsc(state: Any, problem: Problem, setting: float, _: None, solver: str) -> np.ndarray:
    control = {"tol": setting} if solver == "lgcd" else {"max_iter": setting, "tol": 0.0}
    codes, _, _ = update_z_multi(*state, problem.alpha, solver=solver, solver_kwargs=control, positive=True)
    return codes[0][:, None]


def _arrays(problem: Problem) -> tuple[np.ndarray, np.ndarray]:
    return problem.image.astype(np.float32), problem.filters.astype(np.float32)


def _thalweg(state: Any, problem: Problem, tol: float, _: None, solver: str) -> SparseMaps:
    image, filters = state
    coder = ConvolutionalLassoSolver(
        filters,
        boundary=problem.boundary,
        positive=problem.positive,
        solver=solver,
        max_iter=ENDLESS,
        tol=tol,
        n_jobs=common.THREADS,
    )
    return coder.encode(image, problem.alpha)[0]


def best_by_thalweg(problem: Problem) -> np.ndarray:
    """Codes of a long run in float64."""
    return dense(_thalweg((problem.image, problem.filters), problem, 1e-7, None, "auto"))


def dense(codes: np.ndarray | SparseMaps) -> np.ndarray:
    return codes.toarray() if isinstance(codes, SparseMaps) else codes


PEERS = {
    "SPORCO ADMM": Competitor(("circular",), _sporco, partial(_admm, options={})),
    "SPORCO ADMM, HighMemSolve": Competitor(
        ("circular",), _sporco, partial(_admm, options={"HighMemSolve": True})
    ),
    "SPORCO ADMM, fixed rho": Competitor(
        ("circular",), _sporco, partial(_admm, options={"HighMemSolve": True, "AutoRho": {"Enabled": False}})
    ),
    "SPORCO PGM, backtracking": Competitor(
        ("circular",), _sporco, partial(_pgm, backtrack=partial(BacktrackStandard, maxiter=15))
    ),
    "SPORCO PGM, robust": Competitor(("circular",), _sporco, partial(_pgm, backtrack=BacktrackRobust)),
    "FISTA on PyTorch, FFT": Competitor(
        ("circular", "valid", "full"), _tensors, partial(_fista, by=torch_csc.ByFFT)
    ),
    "FISTA on PyTorch, conv2d": Competitor(
        ("valid", "full"), _tensors, partial(_fista, by=torch_csc.ByConv2d)
    ),
    "alphacsc LGCD": Competitor(("full",), _recording, partial(_alphacsc, solver="lgcd"), LGCD_TOLERANCES),
    "alphacsc L-BFGS": Competitor(("full",), _recording, partial(_alphacsc, solver="l-bfgs"), ITERATIONS),
}


def thalweg_competitors(solvers: str) -> dict[str, Competitor]:
    return {
        f"thalweg ({solver})": Competitor(
            ("circular", "valid", "full"), _arrays, partial(_thalweg, solver=solver), TOLERANCES
        )
        for solver in solvers.split(",")
    }


# --- pilots


def first_iterations(
    c: Competitor, problem: Problem, best: float, targets: Sequence[float], cap: float
) -> dict[float, Any]:
    """By target: the first iteration within it, None where `cap` seconds did not suffice."""
    found: dict[float, Any] = dict.fromkeys(targets)
    state = c.prepare(problem)
    c.run(state, problem, 1, None)  # FFTW times its plans and threads start, once a process
    iterations, spent, since = 0, 0.0, time.perf_counter()

    def watch(codes: np.ndarray) -> bool:
        nonlocal iterations, spent, since
        spent += time.perf_counter() - since
        iterations += 1
        excess = problem.objective(codes) / best - 1
        for target in targets:
            if found[target] is None and excess <= target and spent <= cap:
                found[target] = iterations
        since = time.perf_counter()
        return spent > cap or None not in found.values()

    c.run(state, problem, ENDLESS, watch)
    return found


def loosest_rungs(
    c: Competitor, problem: Problem, best: float, targets: Sequence[float], cap: float
) -> dict[float, Any]:
    """By target: the first rung of the ladder within it, None where `cap` seconds did not suffice."""
    found: dict[float, Any] = dict.fromkeys(targets)
    state = c.prepare(problem)
    for rung in c.ladder or ():
        seconds, codes = common.once(lambda rung=rung: c.run(state, problem, rung, None))
        excess = problem.objective(dense(codes)) / best - 1
        for target in targets:
            if found[target] is None and excess <= target and seconds <= cap:
                found[target] = rung
        if seconds > cap or None not in found.values():
            break
    return found


def run_cell(
    cell: dict[str, Any],
    competitors: dict[str, Competitor],
    problem: Problem,
    best: float,
    targets: Sequence[float],
    args: Any,
) -> list[dict[str, Any]]:
    """One row a competitor and target for one case, density and boundary."""
    rows, calls = [], {}
    for name, c in competitors.items():
        pilot = first_iterations if c.ladder is None else loosest_rungs
        settings = pilot(c, problem, best, targets, args.cap)
        print(f"pilot of {name}: {settings}", flush=True)
        state = c.prepare(problem)
        for target, setting in settings.items():
            rows.append({**cell, "target": target, "name": name, "setting": setting})
            if setting is not None:
                calls[f"{name} {target}"] = partial(c.run, state, problem, setting, None)
    times, excesses = timed(calls, problem, best, args.reps)
    for row in rows:
        key = f"{row['name']} {row['target']}"
        row["times"] = times.get(key, [])
        row["seconds"] = common.median(row["times"]) if row["times"] else None
        row["excess"] = excesses.get(key)
        print(line(row, args.cap), flush=True)
    return rows


def timed(
    calls: dict[str, Callable[[], np.ndarray]], problem: Problem, best: float, reps: int
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Interleaved times, and the excess of each one's last codes."""
    times, results = common.interleaved(calls, reps)
    return times, {key: problem.objective(dense(codes)) / best - 1 for key, codes in results.items()}


# --- reports


def line(row: dict[str, Any], cap: float) -> str:
    where = (
        f"{row['case']:9s} {row['density']:.1%} {row['boundary']:8s} {row['target']:.0e} {row['name']:28s}"
    )
    if row["seconds"] is None:
        return f"{where} not within {cap:g} s"
    return f"{where} {row['seconds']:8.3f} s  excess {row['excess']:.2e}  setting {row['setting']:g}"


def cells(rows: list[dict[str, Any]]) -> dict[tuple[Any, ...], list[dict[str, Any]]]:
    found: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault((row["case"], row["density"], row["boundary"], row["target"]), []).append(row)
    return found


def summary(rows: list[dict[str, Any]], cap: float) -> str:
    """One line a cell: the best of thalweg against the fastest peer, or what peers did not do it in."""
    lines = []
    for (case, density, boundary, target), group in cells(rows).items():
        done = [r for r in group if r["seconds"] is not None]
        ours = min((r for r in done if r["name"].startswith("thalweg")), key=_seconds, default=None)
        peer = min((r for r in done if not r["name"].startswith("thalweg")), key=_seconds, default=None)
        cell = [case, f"{density:.1%}", boundary, f"{target:.0e}"]
        cell += [f"{ours['seconds']:.3f}", f"{ours['excess']:.1e}"] if ours else ["", ""]
        if all(r["name"].startswith("thalweg") for r in group):
            lines.append([*cell, "", "", "", f"{BAR:g}"])
            continue
        cell += [f"{peer['seconds']:.3f}", peer["name"]] if peer else [f"> {cap:g}", "all of them"]
        limit, least = ("", peer["seconds"]) if peer else ("< ", cap)
        cell += [f"{limit}{ours['seconds'] / least:.3f}", f"{BAR:g}"] if ours else ["", ""]
        lines.append(cell)
    header = "case,non-zeros,boundary,excess,thalweg (s),its excess,fastest peer (s),peer,ratio,bar"
    return common.markdown_table(header.split(","), lines)


def _seconds(row: dict[str, Any]) -> float:
    return float(row["seconds"])


def details(rows: list[dict[str, Any]], cap: float) -> str:
    """Everyone: seconds, and iterations or tolerance."""
    lines = []
    for row in rows:
        cell = [row["case"], f"{row['density']:.1%}", row["boundary"], f"{row['target']:.0e}", row["name"]]
        if row["seconds"] is None:
            cell += [f"not within {cap:g} s", "", ""]
        else:
            cell += [f"{row['seconds']:.3f}", f"{row['setting']:g}", f"{row['excess']:.2e}"]
        lines.append(cell)
    header = "case,non-zeros,boundary,excess,competitor,seconds,iterations or tolerance,its excess"
    return common.markdown_table(header.split(","), lines)


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--cases", default=",".join(BOUNDARIES))
    parser.add_argument("--densities", default="0.005,0.02", help="shares of non-zeros, which set alpha")
    parser.add_argument("--boundaries", default="circular,valid,full")
    parser.add_argument("--targets", default="1e-2,1e-3", help="relative excesses of the objective")
    parser.add_argument("--solvers", default="auto", help="thalweg's solvers to run")
    parser.add_argument(
        "--best-by",
        default="thalweg",
        choices=("thalweg", "fista"),
        help="who finds the best objective, once, in float64 (a duality gap certifies either)",
    )
    parser.add_argument("--cap", type=float, default=60.0, help="most seconds of one run (default 60)")
    args = parser.parse_args()
    everyone = {**thalweg_competitors(args.solvers), **PEERS}
    competitors = {name: c for name, c in everyone.items() if common.chosen(name, args.only)}
    solve = best_by_thalweg if args.best_by == "thalweg" else None
    limits = roof.limits()
    print(limits, flush=True)
    rows: list[dict[str, Any]] = []
    for case in args.cases.split(","):
        for density in map(float, args.densities.split(",")):
            for boundary in BOUNDARIES[case]:
                if boundary not in args.boundaries.split(","):
                    continue
                problem = csc_problem.make(case, density, boundary)
                best = csc_problem.best_objective(f"{case} {density} {boundary}", problem, solve)
                cell = {"case": case, "density": density, "boundary": boundary}
                cell |= {"alpha": problem.alpha, "best": best}
                here = {name: c for name, c in competitors.items() if boundary in c.boundaries}
                targets = [float(t) for t in args.targets.split(",")]
                rows += run_cell(cell, here, problem, best, targets, args)
                write(rows, limits, args)  # after every cell, for a run may take an hour


def write(rows: list[dict[str, Any]], limits: dict[str, float], args: Any) -> None:
    rates = ", ".join(f"{name} {rate:.0f}" for name, rate in limits.items())
    tables = (
        f"{summary(rows, args.cap)}\n\n{details(rows, args.cap)}\n\nOn {common.THREADS} threads: {rates}."
    )
    common.report(args.out, "Convolutional sparse coding to an excess of the objective", tables, rows)


if __name__ == "__main__":
    main()

"""FISTA for a fixed number of iterations: thalweg beside PyTorch, the same iterates within rounding.

Times are microseconds per sample, the median of --reps interleaved runs on two threads; the Gram matrix,
where there is one, is made inside the clock. PyTorch is given thalweg's step 1/L, so that the iterates can
be compared.

    python bench/peers/fista.py --out bench/results/fista
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

import common
import torch_fista
from thalweg.inference.lasso import LassoSolver

ROWS = {"8x8": 8192, "12x12": 4096, "16x16": 2048}
BAR = {"8x8": 0.5, "12x12": None, "16x16": 0.7}  # at most this share of PyTorch's time


def _thalweg(x: np.ndarray, atoms: np.ndarray, alpha: float, n_iter: int) -> np.ndarray:
    solver = LassoSolver(atoms, solver="fista", restart=False, max_iter=n_iter, tol=0, n_jobs=common.THREADS)
    return solver.encode(x, alpha)[0]


def run_case(case: str, dtype: str, args: Any) -> list[dict[str, Any]]:
    """One row a competitor."""
    width, n_components = common.CASES[case]
    x64, atoms64 = common.patches(width)[: ROWS[case]], common.dictionary(width, n_components)
    alpha = common.alpha_for_density(x64, atoms64, 0.10)
    x, atoms = x64.astype(dtype), atoms64.astype(dtype)
    lipschitz = LassoSolver(atoms).lipschitz
    torch_run = partial(torch_fista.fixed_iterations, x, atoms, alpha, args.iterations, lipschitz=lipschitz)
    everyone = {
        "thalweg": partial(_thalweg, x, atoms, alpha, args.iterations),
        "PyTorch, Gram": partial(torch_run, gram=True),
        "PyTorch, two products": partial(torch_run, gram=False),
    }
    calls = {name: call for name, call in everyone.items() if common.chosen(name, args.only)}
    reference = torch_fista.fixed_iterations(
        x64[:256], atoms64, alpha, args.iterations, gram=True, lipschitz=lipschitz
    )
    for call in calls.values():  # pools, pages
        call()
    times, codes = common.interleaved(calls, args.reps)
    rows = []
    for name, z in codes.items():
        difference = float(np.abs(z[:256] - reference).max() / np.abs(reference).max())
        us = 1e6 * common.median(times[name]) / len(x)
        rows.append(
            {
                "case": case,
                "dtype": dtype,
                "name": name,
                "us_per_sample": us,
                "difference": difference,
                "seconds": times[name],
            }
        )
        print(f"{case:5s} {dtype} {name:22s} {us:9.1f} us/sample  off by {difference:.1e}", flush=True)
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """One line a case and dtype; the ratio is to the faster of PyTorch's two forms."""
    lines = []
    for case, dtype in dict.fromkeys((r["case"], r["dtype"]) for r in rows):
        by_name = {r["name"]: r for r in rows if (r["case"], r["dtype"]) == (case, dtype)}
        times = {name: r["us_per_sample"] for name, r in by_name.items()}
        ours = times.pop("thalweg", None)
        line = [case, str(common.CASES[case][1]), dtype]
        line += [
            f"{t:.1f}" if t else ""
            for t in (ours, *map(times.get, ("PyTorch, Gram", "PyTorch, two products")))
        ]
        line.append(f"{ours / min(times.values()):.2f}" if ours and times else "")
        line.append(f"{BAR[case]:g}" if BAR[case] else "")
        line.append(f"{by_name['thalweg']['difference']:.0e}" if ours else "")
        lines.append(line)
    header = "patches|atoms|dtype|thalweg (us)|PyTorch, Gram (us)|PyTorch, two products (us)|ratio|bar|off by"
    return common.markdown_table(header.split("|"), lines)


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--cases", default=",".join(common.CASES))
    parser.add_argument("--dtypes", default="float32,float64")
    parser.add_argument("--iterations", type=int, default=100)
    args = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for case in args.cases.split(","):
        for dtype in args.dtypes.split(","):
            rows += run_case(case, dtype, args)
    common.report(args.out, f"FISTA, {args.iterations} iterations", table(rows), rows)


if __name__ == "__main__":
    main()

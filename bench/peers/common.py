"""What the peer benchmarks share: two threads everywhere, photographs, dictionaries, clocks, gaps, reports.

Data are made with fixed seeds from the photographs that scikit-learn and scikit-image ship, and kept in the
temporary folder (or `THALWEG_BENCH_CACHE`). Dictionaries are learnt by SPAMS, so that no change in thalweg
changes the problem that is timed.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import shlex
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import spams
import torch
from numpy.lib.stride_tricks import sliding_window_view
from threadpoolctl import threadpool_limits

THREADS = 2
CASES = {"8x8": (8, 256), "12x12": (12, 512), "16x16": (16, 1024)}  # patch width, number of atoms
N_PATCHES = 20_000
PEERS = ("numpy", "scipy", "scikit-learn", "torch", "spams-bin", "sporco", "pyfftw", "alphacsc")

_CACHE = Path(os.environ.get("THALWEG_BENCH_CACHE", Path(tempfile.gettempdir()) / "thalweg-bench"))
_SKIMAGE_PHOTOGRAPHS = (
    *("astronaut.png", "camera.png", "coffee.png", "chelsea.png", "rocket.jpg"),
    *("brick.png", "grass.png", "gravel.png", "coins.png"),
)

threadpool_limits(THREADS)
torch.set_num_threads(THREADS)


# --- data


def photographs() -> list[np.ndarray]:
    """Gray photographs in [0, 1], float64."""
    import skimage
    from PIL import Image
    from sklearn.datasets import load_sample_images

    folder = Path(skimage.__file__).parent / "data"
    images = [*load_sample_images().images, *(np.array(Image.open(folder / f)) for f in _SKIMAGE_PHOTOGRAPHS)]
    gray = [im[..., :3] @ np.array([0.299, 0.587, 0.114]) if im.ndim == 3 else im for im in images]
    return [im.astype(np.float64) / 255 for im in gray]


def cached_path(name: str, make: Callable[[], np.ndarray]) -> Path:
    """The .npy file of this name, made if it is not there."""
    path = _CACHE / f"{name}.npy"
    if not path.exists():
        _CACHE.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}.npy")
        np.save(partial, make())
        partial.replace(path)
    return path


def cached(name: str, make: Callable[[], np.ndarray]) -> np.ndarray:
    return np.load(cached_path(name, make))


def _make_patches(width: int, count: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    images = photographs()
    per_image = int(np.ceil(1.05 * count / len(images)))
    drawn = []
    for image in images:
        windows = sliding_window_view(image, (width, width))
        rows, cols = (rng.integers(0, n, per_image) for n in windows.shape[:2])
        drawn.append(windows[rows, cols].reshape(per_image, -1))
    x = np.concatenate(drawn)
    x -= x.mean(axis=1, keepdims=True)
    x = x[x.std(axis=1) > 1e-3]  # flat sky carries no signal, and a zero row has no relative gap
    x = x[rng.permutation(len(x))[:count]]
    if len(x) < count:
        raise RuntimeError(f"only {len(x)} of {count} patches are not flat")
    values, vectors = np.linalg.eigh(x.T @ x / len(x))
    whiten = (vectors / np.sqrt(np.maximum(values, 0) + 1e-2 * values.mean())) @ vectors.T
    x = x @ whiten
    return x / x.std()


def patches(width: int, count: int = N_PATCHES) -> np.ndarray:
    """(count, width^2) float64: random patches less their means, ZCA-whitened, of unit global deviation."""
    return cached(f"patches-{width}-{count}", lambda: _make_patches(width, count))


def random_atoms(x: np.ndarray, n_components: int) -> np.ndarray:
    """(n_components, n_features) rows of x, scaled to unit length."""
    atoms = x[np.random.default_rng(1).choice(len(x), n_components, replace=False)]
    return atoms / np.linalg.norm(atoms, axis=1, keepdims=True)


def _learn(width: int, n_components: int) -> np.ndarray:
    x = patches(width)
    start = random_atoms(x, n_components)
    alpha = 0.25 * float(np.median(np.abs(x @ start.T).max(axis=1)))
    learnt = spams.trainDL(
        np.asfortranarray(x.T),
        D=np.asfortranarray(start.T),
        lambda1=alpha,
        iter=300,
        batchsize=256,
        numThreads=THREADS,
        verbose=False,
    )
    atoms = np.ascontiguousarray(learnt.T)
    return atoms / np.maximum(np.linalg.norm(atoms, axis=1, keepdims=True), 1e-12)


def dictionary(width: int, n_components: int) -> np.ndarray:
    """(n_components, width^2) float64: atoms of unit length learnt from `patches(width)`."""
    return cached(f"dictionary-{width}-{n_components}", lambda: _learn(width, n_components))


def alpha_for_density(x: np.ndarray, atoms: np.ndarray, density: float) -> float:
    """The alpha at which the exact codes of the first 600 rows have this share of non-zeros."""
    xt, dt = np.asfortranarray(x[:600].T), np.asfortranarray(atoms.T)
    low, high = 0.0, float(np.median(np.abs(x[:600] @ atoms.T).max(axis=1)))
    for _ in range(12):
        middle = 0.5 * (low + high)
        found = spams.lasso(xt, D=dt, lambda1=middle, mode=2, numThreads=THREADS).nnz / (600 * len(atoms))
        low, high = (middle, high) if found > density else (low, middle)
    return round(high, 4)


# --- judging


def lasso_gaps(x: np.ndarray, atoms: np.ndarray, alpha: float, codes: Any) -> tuple[np.ndarray, np.ndarray]:
    """Per row, in float64: objective of the lasso, and duality gap over 1/2 ||x||^2.

    The dual point is the residual, scaled as well as feasibility allows. `codes` may be sparse.
    """
    objectives, gaps = np.empty(len(x)), np.empty(len(x))
    for first in range(0, len(x), 2000):
        rows = slice(first, first + 2000)
        z = codes[rows]
        z = np.asarray(z.toarray() if hasattr(z, "toarray") else z, np.float64)
        xb = x[rows].astype(np.float64)
        residual = xb - z @ atoms
        rr = np.einsum("ij,ij->i", residual, residual)
        xr = np.einsum("ij,ij->i", xb, residual)
        bound = alpha / np.maximum(np.abs(residual @ atoms.T).max(axis=1), 1e-300)
        scale = np.clip(xr / np.maximum(rr, 1e-300), -bound, bound)
        objectives[rows] = 0.5 * rr + alpha * np.abs(z).sum(axis=1)
        dual = scale * xr - 0.5 * scale**2 * rr
        gaps[rows] = (objectives[rows] - dual) / (0.5 * np.einsum("ij,ij->i", xb, xb))
    return objectives, gaps


# --- clocks


def once(call: Callable[[], Any], burst: int = 1) -> tuple[float, Any]:
    """Seconds and result of one call. The pause lets the idle workers of the last pool stop spinning.

    `burst` > 1, for calls of milliseconds: the mean of so many, after one that wakes the workers.
    """
    gc.collect()
    time.sleep(0.08)
    if burst > 1:
        call()
    start = time.perf_counter()
    for _ in range(burst):
        result = call()
    return (time.perf_counter() - start) / burst, result


def interleaved(
    calls: dict[str, Callable[[], Any]], reps: int, burst: int = 1
) -> tuple[dict[str, list[float]], dict[str, Any]]:
    """Runs A B C A B C ...; the times of each, and each one's last result.

    A first round is not timed: it brings in the memory that the results need.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    results: dict[str, Any] = {}
    for round_ in range(reps + 1):
        for name, call in calls.items():
            results.pop(name, None)  # its memory serves the next result
            seconds, results[name] = once(call, burst)
            if round_ > 0:
                times[name].append(seconds)
    return times, results


median = statistics.median


# --- command line and reports


def parser(doc: str | None) -> argparse.ArgumentParser:
    """A parser with the options that every benchmark has."""
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument(
        "--out", type=Path, help="write PATH.json and PATH.md, e.g. bench/results/sparse_coding"
    )
    made.add_argument("--only", default="", help="comma-separated parts of names: run these competitors only")
    made.add_argument("--reps", type=int, default=3, help="timed runs of each competitor (default 3)")
    return made


def chosen(name: str, only: str) -> bool:
    """Whether --only leaves this competitor in."""
    return not only or any(part in name for part in only.split(","))


def _package_version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def machine() -> dict[str, Any]:
    """What the figures depend on: processor, thread count, versions, date and command."""
    import thalweg
    from thalweg._native import cpu

    model = platform.processor()
    if os.path.exists("/proc/cpuinfo"):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "threads": THREADS,
        "thalweg": f"{thalweg.__version__}, level {cpu.level}, {cpu.compiler}",
        "python": platform.python_version(),
        "packages": {name: _package_version(name) for name in PEERS},
        "date": time.strftime("%Y-%m-%d"),
        "command": "python " + shlex.join(sys.argv),
    }


def markdown_table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def report(out: Path | None, title: str, table: str, rows: list[dict[str, Any]]) -> None:
    """Prints the table; with --out also writes it as Markdown and the rows as JSON."""
    print(f"\n{table}\n", flush=True)
    if out is None:
        return
    facts = machine()
    out.parent.mkdir(parents=True, exist_ok=True)
    out.with_suffix(".json").write_text(json.dumps({"machine": facts, "rows": rows}, indent=1) + "\n")
    versions = ", ".join(f"{name} {v}" for name, v in facts["packages"].items() if v)
    out.with_suffix(".md").write_text(
        f"# {title}\n\n"
        f"{facts['date']}; {facts['processor']}, {facts['cores']} cores, {facts['threads']} threads; "
        f"thalweg {facts['thalweg']}; Python {facts['python']}, {versions}.\n\n"
        f"    {facts['command']}\n\n{table}\n"
    )

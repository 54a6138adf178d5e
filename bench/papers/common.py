"""What the reproductions share: data, training that resumes, likelihoods with error bars, and reports."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import thalweg
from thalweg._native import cpu
from thalweg.datasets import load_mnist
from thalweg.inference.annealing import LogPartition
from thalweg.persistence import load_model, save_model

_SAVE_EVERY = 60.0  # seconds


def data_root() -> Path:
    """Where MNIST and the photographs lie: THALWEG_DATA, else ../shared/data beside the project."""
    beside = Path(__file__).resolve().parents[3] / "shared" / "data"
    return Path(os.environ.get("THALWEG_DATA", beside))


def mnist(root: Path | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Training and test rows in [0, 1], float32."""
    folder = (root or data_root()) / "mnist"
    train, test = (load_mnist(folder, split=s)[0].reshape(-1, 784) for s in ("train", "test"))
    return train, test


def mnist_with_labels() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Training rows in [0, 1] with their digits, and test rows with theirs."""
    folder = data_root() / "mnist"
    train, test = (load_mnist(folder, split=s) for s in ("train", "test"))
    return *train, *test


# How a run differs from another; the first two are the published settings.
VARIANTS: dict[str, dict[str, Any]] = {
    "centred": {"centering": True},
    "plain": {"centering": False},
    "centred, 1,000 chains, momentum 0.9, linear": {
        "centering": True,
        "n_chains": 1000,
        "momentum": 0.9,
        "schedule": "linear",
    },
}


def sampled(rows: np.ndarray, seed: int) -> np.ndarray:
    """Each number as a draw of 0 or 1 with that probability."""
    random = np.random.default_rng(seed)
    return (random.random(rows.shape, dtype=np.float32) < rows).astype(np.float32)


def learn(
    path: Path | None,
    make: Callable[[], Any],
    n_epochs: int,
    step: Callable[[Any, int], None],
) -> tuple[Any, float]:
    """Epochs of `step(model, epoch)`, from where the file `path` left off; the model, and seconds in all."""
    model, done, seconds = make(), 0, 0.0
    if path is not None and path.exists():
        model = load_model(path)
        notes = json.loads(path.with_suffix(".progress.json").read_text())
        done, seconds = notes["epochs"], notes["seconds"]
    last = time.perf_counter()
    for epoch in range(done, n_epochs):
        begun = time.perf_counter()
        step(model, epoch)
        seconds += time.perf_counter() - begun
        if path is not None and (time.perf_counter() - last > _SAVE_EVERY or epoch + 1 == n_epochs):
            save_model(model, path)
            path.with_suffix(".progress.json").write_text(
                json.dumps({"epochs": epoch + 1, "seconds": seconds})
            )
            last = time.perf_counter()
        print(f"\repoch {epoch + 1}/{n_epochs}, {seconds:.0f} s", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return model, seconds


def learn_all(
    path: Path | None, make: Callable[[], Any], n_epochs: int, rows: np.ndarray
) -> tuple[Any, float]:
    """`learn` by the estimator's own `fit`, whose schedule knows its end."""
    total = n_epochs * -(-len(rows) // make().batch_size)
    per_epoch = total // max(n_epochs, 1)

    def step(model: Any, epoch: int) -> None:
        model.set_params(n_iter=n_epochs, callback=_stop_after(per_epoch * (epoch + 1)))
        with contextlib.suppress(_EpochEnded):
            model.resume(rows) if hasattr(model, "components_") else model.fit(rows)
        model.set_params(callback=None)

    return learn(path, make, n_epochs, step)


class _EpochEnded(Exception):
    """Raised by a callback."""


def _stop_after(n_steps: int) -> Callable[[dict[str, Any]], None]:
    def check(progress: dict[str, Any]) -> None:
        if progress["i"] + 1 >= n_steps:
            raise _EpochEnded

    return check


def both_ways(model: Any, X: np.ndarray, n_runs: int, temperatures: int) -> tuple[LogPartition, LogPartition]:
    """log Z by annealing up, and down from chains that begin at rows of X."""
    up = model.log_partition("ais", n_runs=n_runs, temperatures=temperatures, X=X, random_state=1)
    down = model.log_partition(
        "reverse_ais", n_runs=n_runs, temperatures=temperatures, X=X, burn_in=1000, random_state=2
    )
    return up, down


def likelihoods(model: Any, rows: np.ndarray, log_z: list[LogPartition]) -> dict[str, tuple[float, float]]:
    """Mean log-likelihood of the rows by each log Z: with the standard error of that log Z."""
    energy = model.free_energy(rows).mean()
    return {z.method: (float(-energy - z.log_z), z.std_error) for z in log_z}


def parser(doc: str | None, epochs: int) -> argparse.ArgumentParser:
    """A parser with the options that every reproduction has."""
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--epochs", type=int, default=epochs, help=f"passes over the data (default {epochs})")
    made.add_argument("--rows", type=int, default=None, help="training rows (default: all)")
    made.add_argument("--threads", type=int, default=None, help="threads (default: all cores)")
    made.add_argument("--work", type=Path, default=None, help="folder for checkpoints; a run there goes on")
    made.add_argument("--out", type=Path, default=None, help="write PATH.json and PATH.md")
    made.add_argument("--seed", type=int, default=0)
    return made


def checkpoint(args: argparse.Namespace, name: str) -> Path | None:
    """The file of one run in --work."""
    if args.work is None:
        return None
    args.work.mkdir(parents=True, exist_ok=True)
    path: Path = args.work / f"{name}.safetensors"
    return path


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    model = platform.processor()
    if os.path.exists("/proc/cpuinfo"):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "thalweg": f"{thalweg.__version__}, level {cpu.level}, {cpu.compiler}",
        "numpy": np.__version__,
        "date": time.strftime("%Y-%m-%d"),
        "command": "python " + shlex.join(sys.argv),
    }


def report(out: Path | None, title: str, notes: str, lines: list[list[str]], facts: dict[str, Any]) -> None:
    """Prints the table, its first line the header; with `out` writes Markdown and JSON."""
    table = "\n".join(
        "| " + " | ".join(cells) + " |" for cells in (lines[0], ["---"] * len(lines[0]), *lines[1:])
    )
    print(f"\n{title}\n\n{notes}\n\n{table}\n", flush=True)
    if out is None:
        return
    here = machine()
    out.parent.mkdir(parents=True, exist_ok=True)
    out.with_suffix(".json").write_text(json.dumps({"machine": here, **facts}, indent=1) + "\n")
    out.with_suffix(".md").write_text(
        f"# {title}\n\n{here['date']}; {here['processor']}, {here['cores']} cores; "
        f"thalweg {here['thalweg']}; NumPy {here['numpy']}.\n\n    {here['command']}\n\n{notes}\n\n{table}\n"
    )

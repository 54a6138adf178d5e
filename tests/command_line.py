"""What the tests of the command line share: small photographs, and the one line that a fault ends in."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from thalweg import _native
from thalweg.cli import main
from thalweg.persistence import load_model


def photograph(seed: int, shape: tuple[int, ...] = (40, 56, 3)) -> Image.Image:
    """Smooth blobs with edges."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    total = np.zeros(shape)
    for _ in range(12):
        angle, offset = rng.uniform(0, np.pi), rng.uniform(-20, 60)
        side = np.cos(angle) * x + np.sin(angle) * y > offset
        total += side.reshape(shape[:2] + (1,) * (len(shape) - 2)) * rng.normal(size=shape[2:])
    total = (total - total.min()) / np.ptp(total)
    return Image.fromarray((255 * total).astype(np.uint8))


def complaint(capsys: pytest.CaptureFixture[str], arguments: list[object]) -> str:
    """The one line that a command ends with, in exit code 2."""
    capsys.readouterr()
    assert main([str(a) for a in arguments]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("thalweg: ")
    return lines[0]


def hide_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes this an installation without the CUDA backend."""
    monkeypatch.setitem(sys.modules, "thalweg._cuda", None)


def devices_of_kernels(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The devices whose kernels are taken from now on."""
    taken: set[str] = set()
    kernels = _native.kernels

    def noted(device: str) -> object:
        taken.add(device)
        return kernels(device)

    monkeypatch.setattr(_native, "kernels", noted)
    return taken


def metrics_of(out: Path) -> dict:
    return json.loads((out / "metrics.json").read_text())


def state(out: Path) -> dict[str, np.ndarray]:
    return load_model(out / "model.safetensors")._get_state()[0]


def assert_same_state(first: Path, second: Path) -> None:
    """That two runs have learnt the same, bit for bit."""
    unbroken, resumed = state(first), state(second)
    assert unbroken.keys() == resumed.keys()
    for name, tensor in unbroken.items():
        assert np.array_equal(tensor, resumed[name], equal_nan=True), name


def errors_of_sigint(arguments: list[str], out: Path) -> str:
    """What a command that learns says when Ctrl-C comes after its first checkpoint; its results are whole."""
    process = subprocess.Popen(
        [sys.executable, "-m", "thalweg", *arguments, "--checkpoint-every", "0.05"],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 60
        while not (out / "model.safetensors").exists() and time.monotonic() < deadline:
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert "--resume" in errors
    metrics = metrics_of(out)
    assert metrics["finished"] is False
    assert metrics["n_steps"] == load_model(out / "model.safetensors").n_steps_
    assert not [p for p in out.iterdir() if p.name.startswith(".")]
    return errors

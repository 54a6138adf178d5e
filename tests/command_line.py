"""What the tests of the command line share: small photographs, and the one line that a fault ends in."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from thalweg.cli import main


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

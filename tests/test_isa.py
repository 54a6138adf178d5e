"""The choice of the compiled module, and what is said where it cannot be made."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import thalweg
from thalweg import _native

on_x86 = pytest.mark.skipif("base" in _native.available_levels(), reason="built with one module")


def test_a_wrong_level_is_refused_at_import() -> None:
    root = Path(thalweg.__file__).resolve().parents[1]
    environment = {**os.environ, "THALWEG_ISA": "v9", "PYTHONPATH": str(root)}
    done = subprocess.run(
        [sys.executable, "-c", "import thalweg.ops"], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 1
    built = ", ".join(_native.available_levels())
    assert done.stderr.splitlines()[-1] == (
        f"ImportError: THALWEG_ISA='v9': this installation was built for {built}"
    )


@on_x86
def test_a_level_beyond_the_processor_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = _native.available_levels()[-1]
    monkeypatch.setenv("THALWEG_ISA", wanted)
    monkeypatch.setattr(_native._isa, "best_level", lambda: "v1")
    with pytest.raises(ImportError, match=f"{wanted}'.* cannot run it, its best level is 'v1'"):
        _native._choose_level()


@on_x86
def test_the_best_level_is_chosen_and_none_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("THALWEG_ISA", raising=False)
    lowest, *_, highest = _native.available_levels()
    for best in (lowest, highest):
        monkeypatch.setattr(_native._isa, "best_level", lambda best=best: best)
        assert _native._choose_level() == best
    monkeypatch.setattr(_native._isa, "best_level", lambda: "v1")
    with pytest.raises(ImportError, match="no compiled module of thalweg runs on this processor"):
        _native._choose_level()

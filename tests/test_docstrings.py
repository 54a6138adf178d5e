"""The examples of the docstrings and of the README run, and every public name has one."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import thalweg

README = Path(__file__).resolve().parents[1] / "README.md"
MODULES = sorted(
    m.name
    for m in pkgutil.walk_packages(thalweg.__path__, "thalweg.")
    if not m.name.endswith("__main__") and "._cpu_" not in m.name and not m.name.endswith("._isa")
)


def public_objects() -> dict[str, object]:
    """What `thalweg` exports, and what the modules that it exports do."""
    found: dict[str, object] = {}
    for name in thalweg.__all__:
        member = getattr(thalweg, name)
        if not inspect.ismodule(member):
            found[name] = member
            continue
        for inner in member.__all__:
            found[f"{name}.{inner}"] = getattr(member, inner)
    return {name: o for name, o in found.items() if inspect.isclass(o) or inspect.isroutine(o)}


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name: str) -> None:
    module = importlib.import_module(name)
    failed, _ = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    assert failed == 0, "the report is in the captured output"


@pytest.mark.parametrize("name", sorted(public_objects()))
def test_public_names_have_an_example(name: str) -> None:
    assert ">>>" in (inspect.getdoc(public_objects()[name]) or "")


def test_the_import_brings_the_public_modules() -> None:
    code = "import thalweg; print(thalweg.ops.softplus(0.0), thalweg.persistence.load_model.__name__)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["0.6931471805599453", "load_model"]


def test_the_readme_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}  # the examples are read one after the other
    for example in re.findall(r"```python\n(.*?)```", README.read_text(), re.S):
        exec(compile(example, "README.md", "exec"), names)
    assert (tmp_path / "atoms.png").stat().st_size > 10_000
    assert names["digits"].shape == (16, 64)

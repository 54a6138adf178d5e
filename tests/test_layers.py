"""The rooms of the house, and who may enter: parses Python imports and C++ includes."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "python" / "thalweg"
CPP = ROOT / "cpp"

# Python: what each module or subpackage of thalweg may import of thalweg.
_LEAVES = {"_base", "_check"}
_KERNEL_USERS = {"_native", "_device", "_rng", "_blas", "_factors", *_LEAVES}
_PARTS = {"ops", "energies", "inference", "losses", "optim", "preprocessing"}
MAY_IMPORT: dict[str, set[str]] = {
    "_base": set(),
    "_check": set(),
    "_factors": _LEAVES,
    "_blas": set(),
    "_native": {"_isa"},
    "_device": {"_native", *_LEAVES},
    "_rng": {"_native"},
    "ops": _KERNEL_USERS,
    "energies": {"ops", *_KERNEL_USERS},
    "inference": {"ops", *_KERNEL_USERS},
    "losses": {"ops", *_KERNEL_USERS},
    "optim": {"ops", *_KERNEL_USERS},
    "preprocessing": {"ops", *_KERNEL_USERS},
    "datasets": _LEAVES,
    "persistence": {"models", *_LEAVES},
    "plots": _LEAVES,
    "models": {*_PARTS, *_KERNEL_USERS},
    "restoration": {"models", *_PARTS, *_KERNEL_USERS},
    "cli": {"models", "restoration", "datasets", "persistence", "plots", *_PARTS, *_KERNEL_USERS},
    "__main__": {"cli"},
    "__init__": {"models", "restoration", "datasets", "persistence", "plots", *_PARTS},
}

# C++: what the files of each folder may include of the project.
MAY_INCLUDE: dict[str, set[str]] = {
    "core": {"core"},
    "kernels": {"core", "kernels"},
    "cpu": {"core", "kernels", "cpu"},
    "cuda": {"core", "kernels", "cuda"},
    "bindings": {"core", "kernels", "cpu", "cuda", "bindings"},
}


def room_of(path: Path, top: Path = PACKAGE) -> str:
    parts = path.relative_to(top).with_suffix("").parts
    return parts[0]


def imports(source: str, module: str, is_package: bool = False) -> set[str]:
    """Dotted names that a module imports, wherever in the file; `from a import b` gives a.b."""
    package = module if is_package else module.rpartition(".")[0]
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")
                base = ".".join([*parents[: len(parents) - node.level + 1], *([base] if base else [])])
            found |= {f"{base}.{alias.name}" for alias in node.names}
    return found


def imports_of(path: Path) -> set[str]:
    module = ".".join(("thalweg", *path.relative_to(PACKAGE).with_suffix("").parts))
    is_package = path.name == "__init__.py"
    return imports(path.read_text(), module.removesuffix(".__init__"), is_package)


def imported_at_load(source: str) -> set[str]:
    """Top packages that loading the module imports: those of its functions and of TYPE_CHECKING are not."""
    found = set()
    pending: list[ast.stmt] = list(ast.parse(source).body)
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add((node.module or "").partition(".")[0])
        elif isinstance(node, ast.If):
            guarded = "TYPE_CHECKING" in ast.unparse(node.test)
            pending += node.orelse if guarded else [*node.body, *node.orelse]
        elif isinstance(node, ast.Try):
            pending += [
                *node.body,
                *(s for h in node.handlers for s in h.body),
                *node.orelse,
                *node.finalbody,
            ]
        elif isinstance(node, ast.ClassDef | ast.With):
            pending += node.body
    return found


def includes(source: str) -> tuple[set[str], set[str]]:
    """Headers included by a C++ source: those in quotes, and those in angle brackets."""
    quoted = set(re.findall(r'^\s*#\s*include\s*"([^"]+)"', source, re.M))
    system = set(re.findall(r"^\s*#\s*include\s*<([^>]+)>", source, re.M))
    return quoted, system


MODULES = sorted(PACKAGE.rglob("*.py"))
CPP_FILES = sorted(p for ending in ("hpp", "cpp", "cu", "cuh") for p in CPP.rglob(f"*.{ending}"))
FAMILIES = sorted(p.stem for p in (CPP / "kernels").glob("*.hpp"))


def names(paths: list[Path]) -> list[str]:
    return [str(p.relative_to(ROOT)) for p in paths]


def test_the_parsers_see_what_they_should() -> None:
    assert imports("import thalweg.ops as o\ndef f():\n  from ..models import m", "thalweg.losses.cd") == {
        "thalweg.ops",
        "thalweg.models.m",
    }
    assert imports("from . import _check", "thalweg.ops") == {"thalweg._check"}
    assert imports("from .cd import f", "thalweg.losses", is_package=True) == {"thalweg.losses.cd.f"}
    assert imported_at_load("import a.b\nif TYPE_CHECKING:\n  import c\ndef f():\n  import d") == {"a"}
    assert imported_at_load("try:\n  import a\nexcept ImportError:\n  from b import c") == {"a", "b"}
    assert includes('#include "core/view.hpp"\n # include <vector>') == ({"core/view.hpp"}, {"vector"})
    assert PACKAGE / "_native.py" in MODULES
    assert CPP / "core" / "view.hpp" in CPP_FILES


@pytest.mark.parametrize("path", MODULES, ids=names(MODULES))
def test_python_rooms(path: Path) -> None:
    room = room_of(path)
    assert room in MAY_IMPORT, f"{room}: give the new room its line in MAY_IMPORT"
    for name in imports_of(path):
        package, _, rest = name.partition(".")
        if package != "thalweg":
            continue
        other = rest.partition(".")[0]
        if other == room or other == "__version__":
            continue
        assert other in MAY_IMPORT[room], f"{room} may not import thalweg.{other}"


@pytest.mark.parametrize("path", MODULES, ids=names(MODULES))
def test_matplotlib_is_imported_lazily(path: Path) -> None:
    assert "matplotlib" not in imported_at_load(path.read_text())


@pytest.mark.parametrize("path", [p for p in MODULES if p.stem in _LEAVES], ids=lambda p: p.stem)
def test_leaves_need_numpy_only(path: Path) -> None:
    foreign = {name.partition(".")[0] for name in imports_of(path)} - set(sys.stdlib_module_names)
    assert foreign <= {"numpy"}


def test_one_module_imports_compiled_code() -> None:
    users = [p.name for p in MODULES if re.search(r"\b_isa\b|\b_cpu_|thalweg\._cuda\b", p.read_text())]
    assert users == ["_native.py"]


REFERENCES = sorted((ROOT / "tests" / "reference").glob("*.py"))


@pytest.mark.parametrize("path", REFERENCES, ids=names(REFERENCES))
def test_references_do_not_import_thalweg(path: Path) -> None:
    assert not [name for name in imports(path.read_text(), f"reference.{path.stem}") if "thalweg" in name]


@pytest.mark.parametrize("path", CPP_FILES, ids=names(CPP_FILES))
def test_cpp_rooms(path: Path) -> None:
    room = room_of(path, CPP)
    assert room in MAY_INCLUDE, f"cpp/{room}: give the new folder its line in MAY_INCLUDE"
    quoted, system = includes(path.read_text())
    for header in quoted:
        other = header.partition("/")[0]
        assert (CPP / header).is_file(), f"{header}: include project headers by their path below cpp/"
        assert other in MAY_INCLUDE[room], f"cpp/{room} may not include {header}"
    if room in ("core", "kernels", "cpu"):
        assert not [h for h in system if h.startswith(("cuda", "cublas"))], f"cpp/{room} knows no CUDA"
    if room == "bindings":
        other = "cpu" if "cuda" in path.relative_to(CPP).parts else "cuda"
        assert not [h for h in quoted if f"/{other}/" in f"/{h}"], f"{path.name} binds one backend"
    else:
        assert not [h for h in system if h.startswith(("pybind11/", "Python.h", "numpy/"))]


TWINS = sorted({p.stem for p in (CPP / "cuda").glob("*.cu")} & set(FAMILIES))


@pytest.mark.parametrize("family", TWINS)
def test_a_twin_has_its_contract_and_its_binding(family: str) -> None:
    assert "namespace cuda {" in (CPP / "kernels" / f"{family}.hpp").read_text()
    assert (CPP / "bindings" / "cuda" / f"bind_{family}.cpp").is_file()
    tests = (ROOT / "tests" / "kernels" / f"test_{family}.py").read_text()
    assert re.search(r"\b(backend|kernels|cuda)\b", tests), "its tests take the fixture of the backend"


@pytest.mark.parametrize("family", FAMILIES)
def test_one_stem_from_contract_to_bench(family: str) -> None:
    stem = (
        f"cpp/cpu/{family}.cpp",
        f"cpp/bindings/bind_{family}.cpp",
        f"tests/reference/{family}.py",
        f"tests/kernels/test_{family}.py",
        f"bench/kernels/{family}.cpp",
    )
    assert not [f for f in stem if not (ROOT / f).is_file()]

"""bench/gpu.sh in a tree of stubs: every step is run, and whatever happens to one, the result says so."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parents[1] / "bench"
BENCHES = ("elementwise", "gibbs", "lasso", "csc", "conv", "langevin")
IMPORTED = (
    *("pybind11", "numpy", "scipy", "sklearn", "joblib", "hypothesis", "mpmath", "threadpoolctl", "PIL"),
    *("safetensors", "matplotlib", "tqdm", "_hypothesis_pytestplugin"),
)
TORCH = """
class cuda:
    get_device_name = staticmethod(lambda: "Fake GPU (9000)")
    get_device_capability = staticmethod(lambda: (9, 0))
"""
NATIVE = """
class _Module:
    is_emulated = False
    device_properties = staticmethod(dict)
cuda = _Module
"""
# As pytest -v prints, of a file that passes, fails, or hangs in its second test.
PYTEST = r"""
import os, sys, time
if __name__ == "__main__":
    name = sys.argv[-1]
    print(f"{name}::test_one[cuda] PASSED [ 50%]")
    print(f"{name}::test two[cuda] ", end="", flush=True)
    if name == os.environ.get("HANGS"):
        try:
            time.sleep(60)
        except KeyboardInterrupt:
            sys.exit("\n!!!!! KeyboardInterrupt !!!!!")
    if name == os.environ.get("CRASHES"):
        sys.exit("Fatal Python error: Segmentation fault")
    failed = name == os.environ.get("FAILS")
    print("FAILED" if failed else "PASSED", "[100%]")
    sys.exit(failed)
"""
# Writes a row at once, as a benchmark does, and then another.
BENCHMARK = """
import argparse, json, os, pathlib, sys, time
parser = argparse.ArgumentParser()
parser.add_argument("--out", type=pathlib.Path)
parser.add_argument("--seconds", type=float)
out = parser.parse_args().out.with_suffix(".json")
out.write_text(json.dumps({"is_over": False, "rows": [1]}))
if out.stem == os.environ.get("HANGS"):
    time.sleep(60)
if out.stem == os.environ.get("FAILS"):
    sys.exit("no such luck")
out.write_text(json.dumps({"is_over": True, "rows": [1, 2]}))
"""
SHORT = """
import sys
assert "torch" not in sys.modules
print("elementwise: 0.10 s")
print("left out: lasso")
"""
SANITIZER = """
[ "$2" != "$HANGS" ] || { echo "elementwise: 0.10 s"; sleep 60; }
"${@:5}" || exit
[ "$2" != "$FAILS" ] || { echo "========= ERROR SUMMARY: 7 errors"; exit 9; }
case "$2" in
  memcheck) echo "========= ERROR SUMMARY: 0 errors" ;;
  racecheck) echo "========= RACECHECK SUMMARY: 0 hazards displayed (0 errors, 0 warnings)" ;;
esac
"""
CMAKE = """
[ "$HANGS" != build ] || sleep 60
[ "$FAILS" != build ] || { echo "no Eigen"; exit 1; }
"""


class Tree:
    """A copy of the script among stubs of all that it calls."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("gpu.sh", "gpu_report.py"):
            self.write(f"bench/{name}", (BENCH / name).read_text())
        for name in BENCHES:
            self.write(f"bench/peers/gpu_{name}.py", BENCHMARK)
        for name in IMPORTED:
            self.write(f"tests/{name}.py", "")
        for name in ("test_first", "kernels/test_cuda", "models/test_cuda", "properties/test_cuda"):
            self.write(f"tests/{name}.py", "device")
        self.write("tests/test_device.py", "device")
        self.write("tests/torch.py", TORCH)
        self.write("tests/pytest.py", PYTEST)
        self.write("tests/short_cuda_run.py", SHORT)
        self.write("python/thalweg/__init__.py", "")
        self.write("python/thalweg/_native.py", NATIVE)
        for name, text in {"cmake": CMAKE, "ninja": "", "nvcc": "", "compute-sanitizer": SANITIZER}.items():
            self.write(f"bin/{name}", f"#!/usr/bin/env bash\n{text}").chmod(0o755)

    def write(self, name: str, text: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def run(self, *steps: str, seconds: int = 300, **environment: str) -> subprocess.CompletedProcess[str]:
        given = {k: v for k, v in os.environ.items() if not k.startswith(("THALWEG", "PYTHON"))}
        given |= {"PYTHON": sys.executable, "THALWEG_GPU_SECONDS": str(seconds), "HANGS": "", "FAILS": ""}
        given |= {"PATH": f"{self.root / 'bin'}{os.pathsep}{given['PATH']}", **environment}
        command = ["bash", str(self.root / "bench" / "gpu.sh"), *steps]
        return subprocess.run(command, env=given, capture_output=True, text=True, timeout=400)

    def result(self, steps: str = "") -> dict:
        found = json.loads((self.root / "bench" / "results" / f"fake_gpu_9000{steps}.json").read_text())
        assert found["gpu"] == "Fake GPU (9000)"
        return found

    def outcomes(self, steps: str = "") -> dict[str, str]:
        return {name: step["outcome"] for name, step in self.result(steps)["steps"].items()}


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    if sys.platform != "linux" or shutil.which("timeout") is None:
        pytest.skip("bench/gpu.sh is for Linux")
    return Tree(tmp_path)


def test_every_step_is_run_and_reported(tree: Tree) -> None:
    done = tree.run()
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    well = ["look", "build", "device", "tests", "short", *(f"bench-{name}" for name in BENCHES)]
    clean = dict.fromkeys(("memcheck", "racecheck"), "clean, left out: lasso")
    assert tree.outcomes() == {**dict.fromkeys(well, "ended well"), **clean}
    found = tree.result()
    assert found["tests"]["counts"] == {"passed": 10}
    assert found["benches"] == {name: {"is_over": True, "rows": [1, 2]} for name in BENCHES}
    assert found["missing"] == {}
    assert found["steps"]["racecheck"]["ran"] == ["elementwise"]


def test_what_fails_is_said_and_the_others_are_run(tree: Tree) -> None:
    tree.write("tests/mpmath.py", "raise ImportError('not here')")
    done = tree.run("tests", "lasso", FAILS="lasso")
    assert done.returncode == 1
    found = tree.result("_tests_lasso")
    assert tree.outcomes("_tests_lasso")["bench-lasso"] == "failed"
    assert found["steps"]["bench-lasso"]["log"] == ["no such luck"]
    assert found["benches"]["lasso"]["rows"] == [1]
    assert found["steps"]["tests"]["outcome"] == "ended well"
    assert list(found["missing"]) == ["mpmath"]
    assert "mpmath" in done.stdout

    assert tree.run("tests", FAILS="tests/models/test_cuda.py").returncode == 1
    found = tree.result("_tests")["tests"]
    assert found["failures"] == ["tests/models/test_cuda.py::test two[cuda]"]
    assert found["files_failed"] == ["tests/models/test_cuda.py"]
    assert found["counts"] == {"passed": 9, "failed": 1}

    assert tree.run("tests", CRASHES="tests/test_first.py").returncode == 1
    found = tree.result("_tests")["tests"]
    assert found["failures"] == ["tests/test_first.py::test two[cuda] (did not return)"]

    assert tree.run("memcheck", "racecheck", "conv", FAILS="memcheck").returncode == 1
    found = tree.outcomes("_memcheck_racecheck_conv")
    assert found["memcheck"] == "found faults: ERROR SUMMARY: 7 errors"
    assert found["racecheck"] == "clean, left out: lasso"
    assert found["bench-conv"] == "ended well"


def test_what_does_not_end_is_no_success(tree: Tree) -> None:
    slow = "tests/kernels/test_cuda.py"
    calls = {
        "racecheck": (("racecheck", "conv"), 26),
        "gibbs": (("gibbs", "lasso"), 26),
        slow: (("tests",), 26),
        "build": ((), 15),
    }
    trees = {what: Tree(tree.root / str(i)) for i, what in enumerate(calls)}
    with ThreadPoolExecutor() as pool:  # each waits for what hangs
        runs = [
            pool.submit(trees[what].run, *steps, seconds=seconds, HANGS=what, THALWEG_GPU_JOBS="2")
            for what, (steps, seconds) in calls.items()
        ]
    assert [run.result().returncode for run in runs] == [1] * len(calls)

    found = trees["racecheck"].outcomes("_racecheck_conv")
    assert found["racecheck"] == "did not end"
    assert found["bench-conv"] == "ended well"

    found = trees["gibbs"].outcomes("_gibbs_lasso")
    assert found["bench-gibbs"] == "did not end"
    assert found["bench-lasso"] == "ended well"
    assert trees["gibbs"].result("_gibbs_lasso")["benches"]["gibbs"] == {"is_over": False, "rows": [1]}

    tests = trees[slow].result("_tests")["tests"]
    assert tests["files_not_ended"] == {slow: "did not end"}
    assert tests["counts"] == {"passed": 9}
    assert tests["failures"] == [f"{slow}::test two[cuda] (did not return)"]

    assert trees["build"].outcomes() == {"look": "ended well", "build": "did not end"}


def test_without_a_build_there_is_still_a_result(tree: Tree) -> None:
    done = tree.run(FAILS="build")
    assert done.returncode == 1
    assert "the build failed" in done.stderr
    assert tree.outcomes() == {"look": "ended well", "build": "failed"}
    assert tree.result()["steps"]["build"]["log"] == ["no Eigen"]


def test_without_a_sanitizer_or_time_nothing_is_called_clean(tree: Tree) -> None:
    (tree.root / "bin" / "compute-sanitizer").unlink()
    if shutil.which("compute-sanitizer") is None:
        assert tree.run("memcheck", "langevin").returncode == 1
        found = tree.outcomes("_memcheck_langevin")
        assert found["memcheck"] == "missing"
        assert found["bench-langevin"] == "ended well"
    assert tree.run("conv", seconds=2).returncode == 1
    notes = tree.root / "build" / "gpu" / "notes" / "result.json"
    assert json.loads(notes.read_text())["steps"]["look"]["outcome"] == "not begun: no time was left"


def test_words_and_machines_that_will_not_do_are_refused(tree: Tree) -> None:
    done = tree.run("lassoo")
    assert done.returncode == 2
    assert "lassoo is no step: expected some of tests short" in done.stderr
    tree.write("tests/torch.py", "raise ImportError('built for another CUDA')")
    tree.write("bin/nvidia-smi", "#!/bin/sh\nexit 1").chmod(0o755)
    done = tree.run("lasso")
    assert done.returncode == 1
    assert "built for another CUDA" in done.stdout
    assert "neither PyTorch nor nvidia-smi finds a GPU" in done.stdout
    tree.write("bin/nvidia-smi", "#!/bin/sh\necho 'Fake GPU (9000), 9.0'").chmod(0o755)
    assert tree.run("short").returncode == 0
    assert "torch" in tree.result("_short")["missing"]

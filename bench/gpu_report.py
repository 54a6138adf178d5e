"""What bench/gpu.sh asks of Python: what is there, what the tests said, and its result as JSON.

    python bench/gpu_report.py look NOTES               what can be imported, and the GPU's name
    python bench/gpu_report.py device NOTES             the backend finds its device
    python bench/gpu_report.py tests NOTES              counts what the tests' logs say; fails if a file did
    python bench/gpu_report.py collect NOTES OUT ARGS   writes NOTES/result.json, and OUT/<gpu>.json
    python bench/gpu_report.py show NOTES               a line a step; fails where one did

NOTES is the folder that gpu.sh keeps its logs in. Only the standard library is needed, but for `device`.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

# What is asked for, and by whom.
NEEDED_BY = {
    "the build": ("pybind11",),
    "thalweg": ("numpy", "scipy", "sklearn", "joblib"),
    "the tests": (
        "pytest",
        "hypothesis",
        "mpmath",
        "threadpoolctl",
        "PIL",
        "safetensors",
        "matplotlib",
        "tqdm",
    ),
    "the benchmarks": ("torch",),
}
PROGRAMS = {
    "cmake": "the build",
    "ninja": "the build",
    "nvcc": "the build",
    "compute-sanitizer": "memory checks",
}

OUTCOMES = {
    0: "ended well",
    124: "did not end",
    125: "not begun: no time was left",
    127: "missing",
    137: "was killed",
}
SANITIZERS = ("memcheck", "racecheck")
TAIL = 40  # lines of a log that a failed step leaves in the result

_OUTCOME_OF_TEST = re.compile(r"^(tests/\S+?::.*?) (PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS)\b", re.M)
_BEGUN = re.compile(r"^(tests/\S+?::.*?) *(?:Fatal Python error.*)?$", re.M)
_SUMMARY = re.compile(r"^=+ (?:ERROR|RACECHECK) SUMMARY: (\d+) (?:error|hazard)s?.*$", re.M)


# --- what is there


def missing_parts() -> dict[str, str]:
    """Names of packages and programs that cannot be used, and why."""
    found = {}
    for user, name in ((user, name) for user, names in NEEDED_BY.items() for name in names):
        try:
            importlib.import_module(name)
        except Exception as error:  # a broken package may raise anything
            found[name] = f"{type(error).__name__}: {error} (needed by {user})"
    for name, user in PROGRAMS.items():
        if shutil.which(name) is None:
            found[name] = f"not on the PATH (needed by {user})"
    return found


def gpu_by_torch() -> tuple[str, str] | None:
    """Name and compute capability, as in ("NVIDIA H200", "90"), of the device that PyTorch would use."""
    try:
        import torch

        return torch.cuda.get_device_name(), "{}{}".format(*torch.cuda.get_device_capability())
    except Exception:
        return None


def gpu_by_driver() -> tuple[str, str] | None:
    """The same of the first device that the driver names."""
    command = ["nvidia-smi", "--query-gpu=name,compute_cap", "--format=csv,noheader"]
    try:
        lines = subprocess.run(
            command, check=True, capture_output=True, text=True, timeout=30
        ).stdout.splitlines()
        name, capability = lines[0].rsplit(",", 1)
        return name.strip(), capability.strip().replace(".", "")
    except (OSError, subprocess.SubprocessError, IndexError, ValueError):
        return None


def look(notes: Path) -> int:
    missing = missing_parts()
    gpu = ("emulated", "0") if os.environ.get("THALWEG_GPU_REHEARSAL") else gpu_by_torch() or gpu_by_driver()
    (notes / "machine.json").write_text(json.dumps({"gpu": gpu and gpu[0], "missing": missing}))
    for name, why in missing.items():
        print(f"missing: {name}: {why}")
    if gpu is None:
        print("neither PyTorch nor nvidia-smi finds a GPU: THALWEG_GPU_REHEARSAL=1 does without one")
        return 1
    (notes / "capability").write_text(gpu[1])
    print(f"{gpu[0]}, compute capability {gpu[1]}")
    return 0


def device(notes: Path) -> int:
    from thalweg import _native

    cuda = _native.cuda()
    print(cuda.device_properties())
    if cuda.is_emulated and not os.environ.get("THALWEG_GPU_REHEARSAL"):
        print("the CUDA backend that was built is the emulated one")
        return 1
    return 0


# --- what the logs say


def tests_of(notes: Path) -> dict[str, Any]:
    """How many tests passed, which did not, and which files of tests did not end."""
    counts: dict[str, int] = {}
    found: dict[str, Any] = {"counts": counts, "failures": [], "files_not_ended": {}, "files_failed": []}
    files = notes / "tests" / "files"
    for line in files.read_text().splitlines() if files.exists() else ():
        name, status, _ = line.split()
        if int(status) in (124, 125, 137):
            found["files_not_ended"][name] = OUTCOMES[int(status)]
        elif int(status) != 0:
            found["files_failed"].append(name)
    for log in sorted((notes / "tests").glob("*.log")):
        text = log.read_text(errors="replace")
        ended = _OUTCOME_OF_TEST.findall(text)
        for test, outcome in ended:
            counts[outcome.lower()] = counts.get(outcome.lower(), 0) + 1
            if outcome in ("FAILED", "ERROR"):
                found["failures"].append(test)
        # A line with a name and no outcome: whatever ended the file did so in that test.
        begun = [line for line in _BEGUN.findall(text) if _OUTCOME_OF_TEST.match(line) is None]
        found["failures"] += [f"{test} (did not return)" for test in begun if test not in dict(ended)]
    return found


def report_tests(notes: Path) -> int:
    found = tests_of(notes)
    print(", ".join(f"{n} {outcome}" for outcome, n in sorted(found["counts"].items())) or "no test ran")
    for name, why in found["files_not_ended"].items():
        print(f"{name}: {why}")
    for name in found["files_failed"]:
        print(f"failed: {name}")
    for name in found["failures"][:20]:
        print(f"  {name}")
    return int(bool(found["files_failed"] or found["files_not_ended"] or not found["counts"]))


def outcome_of(name: str, status: int, log: str) -> str:
    """How a step ended, in words. A sanitizer is clean where it says so, and not where it says nothing."""
    if name in SANITIZERS and status in (0, 9):
        summary = _SUMMARY.search(log)
        if summary is None:
            return "ended without a summary"
        left_out = re.search(r"^left out: .*$", log, re.M)
        if int(summary[1]) or status:
            return f"found faults: {summary[0].strip('= ')}"
        return "clean" if left_out is None else f"clean, {left_out[0]}"
    return OUTCOMES.get(status, "failed")


def steps_of(notes: Path) -> dict[str, dict[str, Any]]:
    steps = {}
    path = notes / "steps"
    for line in path.read_text().splitlines() if path.exists() else ():
        name, status, seconds, most = line.split()
        log_path = notes / f"{name}.log"
        log = log_path.read_text(errors="replace") if log_path.exists() else ""
        step: dict[str, Any] = {"outcome": outcome_of(name, int(status), log), "exit": int(status)}
        step |= {"seconds": int(seconds), "limit": int(most)}
        if name in ("short", *SANITIZERS):
            step["ran"] = re.findall(r"^(\w+): [\d.]+ s$", log, re.M)
        if not is_well(step):
            step["log"] = log.splitlines()[-TAIL:]
        steps[name] = step
    return steps


def is_well(step: dict[str, Any]) -> bool:
    return step["outcome"] == OUTCOMES[0] or step["outcome"].startswith("clean")


def bench_of(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        return {"unreadable": str(error)}


# --- the result

OWN = ("machine", "result")  # files of the notes that are no benchmark's


def result_of(notes: Path, arguments: str) -> dict[str, Any]:
    machine = notes / "machine.json"
    found = json.loads(machine.read_text()) if machine.exists() else {"gpu": None, "missing": {}}
    return {
        "gpu": found["gpu"],
        "command": f"bench/gpu.sh {arguments}".strip(),
        "is_rehearsal": bool(os.environ.get("THALWEG_GPU_REHEARSAL")),
        "date": time.strftime("%Y-%m-%d"),
        "missing": found["missing"],
        "steps": steps_of(notes),
        "tests": tests_of(notes),
        "benches": {p.stem: bench_of(p) for p in sorted(notes.glob("*.json")) if p.stem not in OWN},
    }


def collect(notes: Path, out: Path, arguments: str) -> int:
    found = result_of(notes, arguments)
    text = json.dumps(found, indent=1) + "\n"
    paths = [notes / "result.json"]
    if found["gpu"]:
        name = re.sub(r"[^a-z0-9]+", "_", f"{found['gpu']} {arguments}".lower()).strip("_")
        paths.append(out / f"{name}.json")
    for path in paths:
        partial = path.with_suffix(".part")
        partial.write_text(text)
        partial.replace(path)
    return 0


def show(notes: Path) -> int:
    steps = steps_of(notes)
    for name, step in steps.items():
        print(f"{name:20} {step['seconds']:4d} s  {step['outcome']}")
    return int(not all(is_well(step) for step in steps.values()))


def main() -> int:
    what, notes, *others = sys.argv[1:]
    if what == "collect":
        return collect(Path(notes), Path(others[0]), others[1])
    return {"look": look, "device": device, "tests": report_tests, "show": show}[what](Path(notes))


if __name__ == "__main__":
    sys.exit(main())

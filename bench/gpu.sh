#!/usr/bin/env bash
# All that a machine with an NVIDIA GPU is asked for, in one call of under ten minutes: build, tests of backend cuda,
# compute-sanitizer's memcheck and racecheck on a short run, then the benchmarks. Writes bench/results/<gpu>.json.
#
#     bench/gpu.sh                 # or: THALWEG_GPU_SECONDS=570 PYTHON=python3 bench/gpu.sh [benchmarks' names]
#
# Needs nvcc, cuBLAS (a toolkit's or the wheel's), and in the Python that runs it the packages of the developer's
# build, of the tests, and PyTorch. Nothing is installed or downloaded, and the source tree stays as it is: the modules
# go into build/gpu.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

python=${PYTHON:-python3}
limit=${THALWEG_GPU_SECONDS:-570}
build=$PWD/build/gpu
package=$build/python/thalweg
notes=$build/notes
benches=("$@")
[ ${#benches[@]} -gt 0 ] || benches=(elementwise lasso gibbs csc conv langevin)
mkdir -p "$notes" "$package"
rm -rf "${notes:?}"/*

left() { echo $((limit - SECONDS)); }

# step NAME MOST COMMAND...: runs it for at most MOST seconds of what is left, and notes how it ended.
step() {
  local name=$1 most=$2 status start=$SECONDS
  shift 2
  [ "$most" -le "$(left)" ] || most=$(left)
  printf '\n=== %s (%d s, at most %d s more)\n' "$name" "$SECONDS" "$most"
  if [ "$most" -le 5 ]; then
    status=124
  else
    timeout "$most" "$@" >"$notes/$name.log" 2>&1
    status=$?
  fi
  tail -n 15 "$notes/$name.log" 2>/dev/null
  printf '%s %d %d\n' "$name" "$status" $((SECONDS - start)) >>"$notes/steps"
  return "$status"
}

# The best level that this processor runs, and no other.
level() {
  case "$(uname -m)" in
    x86_64) grep -qw avx512vl /proc/cpuinfo && echo v4 || { grep -qw avx2 /proc/cpuinfo && echo v3 || echo v2; } ;;
    *) echo base ;;
  esac
}

compile() {
  local capability
  capability=$("$python" -c 'import torch; print("%d%d" % torch.cuda.get_device_capability())') &&
    cmake -S . -B "$build" -G Ninja -DTHALWEG_CUDA=ON -DTHALWEG_LEVELS="$(level)" -DTHALWEG_MODULE_DIR="$package" \
      -DCMAKE_CUDA_ARCHITECTURES="$capability-real" -DPython_EXECUTABLE="$(command -v "$python")" &&
    cmake --build "$build" &&
    (cd python && find thalweg -name '*.py' -exec cp --parents {} "$build/python" \;)
}

export PYTHONPATH=$build/python:$PWD/tests:$PWD/bench/peers
step build 300 compile || { echo "the build failed: see $notes/build.log" >&2; exit 1; }
step device 60 "$python" -c "from thalweg import _native; c = _native.cuda(); print(c.device_properties()); assert not c.is_emulated" ||
  exit 1

failed=0
step tests 150 "$python" -m pytest -q -p no:cacheprovider -k "cuda or device" tests || failed=1
step short 60 "$python" tests/short_cuda_run.py || failed=1
if command -v compute-sanitizer >/dev/null; then
  for tool in memcheck racecheck; do
    step "$tool" 60 compute-sanitizer --tool "$tool" --error-exitcode 9 "$python" tests/short_cuda_run.py || failed=1
  done
else
  echo "compute-sanitizer is missing: no memory check"
  printf 'memcheck 127 0\nracecheck 127 0\n' >>"$notes/steps"
  failed=1
fi
n_left=0
for bench in "${benches[@]}"; do [ -f "bench/peers/gpu_$bench.py" ] && n_left=$((n_left + 1)); done
for bench in "${benches[@]}"; do
  [ -f "bench/peers/gpu_$bench.py" ] || continue
  share=$(($(left) / n_left))
  n_left=$((n_left - 1))
  step "bench-$bench" "$share" "$python" "bench/peers/gpu_$bench.py" --out "$notes/$bench" --seconds "$((share - 10))" ||
    failed=1
done

"$python" - "$notes" <<'END' || failed=1
import json, re, sys
from pathlib import Path

from thalweg import _native

notes = Path(sys.argv[1])
steps = {}
for line in (notes / "steps").read_text().splitlines():
    name, status, seconds = line.split()
    steps[name] = {"exit": int(status), "seconds": int(seconds)}
summary = [line for line in (notes / "tests.log").read_text().splitlines() if re.search(r"\d+ passed", line)]
name = _native.cuda().device_properties()["name"]
found = {
    "gpu": name,
    "command": "bench/gpu.sh",
    "steps": steps,
    "tests": summary[-1] if summary else "no summary",
    "benches": {p.stem: json.loads(p.read_text()) for p in sorted(notes.glob("*.json"))},
}
out = Path("bench/results") / (re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") + ".json")
out.write_text(json.dumps(found, indent=1) + "\n")
print(f"wrote {out}")
END
printf '\n=== done in %d s\n' "$SECONDS"
cat "$notes/steps"
exit "$failed"

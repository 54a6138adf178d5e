#!/usr/bin/env bash
# All that a machine with an NVIDIA GPU is asked for, in one call of under ten minutes: build, tests of backend cuda,
# compute-sanitizer's memcheck and racecheck on a short run, then the benchmarks. Writes bench/results/<gpu>.json after
# every step, so that whatever ends the call early leaves what was found until then.
#
#     bench/gpu.sh                                      # everything
#     bench/gpu.sh tests racecheck csc                  # the build, then these; writes <gpu>_tests_racecheck_csc.json
#     THALWEG_GPU_SECONDS=1700 bench/gpu.sh lasso       # one benchmark in full, which takes longer
#     THALWEG_GPU_REHEARSAL=1 bench/gpu.sh              # without a GPU: the same steps over the emulated device
#
# Steps: tests short memcheck racecheck, and the benchmarks elementwise gibbs lasso csc conv langevin.
# Environment:
#     PYTHON                 the interpreter (python3)
#     THALWEG_GPU_SECONDS    for the whole call (570)
#     THALWEG_GPU_RESULTS    the folder of the result (bench/results; a rehearsal's is build/rehearsal/results)
#     THALWEG_GPU_JOBS       files of tests that run at a time (a third of the processors, 5 at most)
#     THALWEG_GPU_REHEARSAL  1: builds over the emulated device, runs a few of the tests, and benchmarks with --small.
#                            Its figures mean nothing; that every step runs and is reported is what it shows
#
# Needs nvcc, cuBLAS (a toolkit's or the wheel's), and in the Python that runs it the packages of the developer's
# build, of the tests, and PyTorch. Nothing is installed or downloaded, and the source tree stays as it is: the modules
# go into build/gpu, or build/rehearsal. The exit status is 0 where every step succeeded.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 2

python=${PYTHON:-python3}
limit=${THALWEG_GPU_SECONDS:-570}
rehearsal=${THALWEG_GPU_REHEARSAL:-}
build=$PWD/build/gpu
results=${THALWEG_GPU_RESULTS:-$PWD/bench/results}
if [ -n "$rehearsal" ]; then
  build=$PWD/build/rehearsal
  results=${THALWEG_GPU_RESULTS:-$build/results}
fi
package=$build/python/thalweg
notes=$build/notes
all_benches=(elementwise gibbs lasso csc conv langevin)
all_steps=(tests short memcheck racecheck "${all_benches[@]}")
chosen=("$@")
[ ${#chosen[@]} -gt 0 ] || chosen=("${all_steps[@]}")
for name in "${chosen[@]}"; do
  [[ " ${all_steps[*]} " = *" $name "* ]] || { echo "$name is no step: expected some of ${all_steps[*]}" >&2; exit 2; }
done

mkdir -p "$notes/tests" "$package" "$results"
rm -rf "${notes:?}"/*
mkdir -p "$notes/tests"
export PYTHONPATH=$build/python:$PWD/tests:$PWD/bench/peers
export python rehearsal build package notes

is_chosen() { [[ " ${chosen[*]} " = *" $1 "* ]]; }
left() { echo $((limit - SECONDS)); }

# What a benchmark gets of the time that is left, relative to the others.
weight() {
  case "$1" in
    lasso | csc) echo 4 ;;
    *) echo 2 ;;
  esac
}

# Seconds that the benchmarks which are chosen must find when the other steps are over.
reserve() {
  local name total=0
  for name in "${all_benches[@]}"; do
    if is_chosen "$name"; then total=$((total + 12 * $(weight "$name"))); fi
  done
  echo $((total < limit / 3 ? total : limit / 3))
}

report() { "$python" bench/gpu_report.py collect "$notes" "$results" "$*"; }

# step NAME MOST COMMAND...: runs a command, or a function of this script, for at most MOST of the seconds that are
# left, and notes how it ended. 124, 137: it did not end; 125: there was no time to begin it.
step() {
  local name=$1 most=$2 status start=$SECONDS
  shift 2
  [ "$most" -le "$(left)" ] || most=$(left)
  printf '\n=== %s (%d s, at most %d s more)\n' "$name" "$SECONDS" "$most"
  if [ "$most" -le 3 ]; then
    status=125
    echo "no time was left" >"$notes/$name.log"
  elif declare -F "$1" >/dev/null; then # timeout runs programs alone
    timeout -k 5 "$most" bash -c '"$@"' bash "$@" >"$notes/$name.log" 2>&1
    status=$?
  else
    timeout -k 5 "$most" "$@" >"$notes/$name.log" 2>&1
    status=$?
  fi
  tail -n 15 "$notes/$name.log"
  printf '%s %d %d %d\n' "$name" "$status" $((SECONDS - start)) "$most" >>"$notes/steps"
  [ "$status" = 0 ] || echo "--- $name: exit status $status"
  report ${arguments[@]+"${arguments[@]}"}
  return "$status"
}

# At most this many seconds of what the benchmarks do not need.
spare() {
  local spare=$(($(left) - $(reserve)))
  echo $(($1 < spare ? $1 : spare))
}

# The best level that this processor runs, and no other.
level() {
  case "$(uname -m)" in
    x86_64) if grep -qw avx512vl /proc/cpuinfo; then echo v4; elif grep -qw avx2 /proc/cpuinfo; then echo v3; else echo v2; fi ;;
    *) echo base ;;
  esac
}

compile() {
  local options=(-DTHALWEG_CUDA_EMULATION=ON)
  if [ -z "$rehearsal" ]; then
    options=(-DTHALWEG_CUDA=ON "-DCMAKE_CUDA_ARCHITECTURES=$(cat "$notes/capability")-real")
  fi
  cmake -S . -B "$build" -G Ninja -DTHALWEG_LEVELS="$(level)" -DTHALWEG_MODULE_DIR="$package" \
    -DPython_EXECUTABLE="$(command -v "$python")" "${options[@]}" &&
    cmake --build "$build" &&
    (cd python && find thalweg -name '*.py' -exec cp --parents {} "$build/python" \;)
}

# run_test_file END FILE: until END, in seconds since 1970. Interrupted, pytest says what it had found. Ctrl-C's signal,
# which a job in the background ignores, does what it does by default: tests send it to themselves.
run_test_file() {
  local end=$1 file=$2 name status=125 start=$EPOCHSECONDS
  name=${file#tests/}
  name=${name//\//-}
  if [ $((end - EPOCHSECONDS)) -gt 3 ]; then
    timeout -s INT -k 5 $((end - EPOCHSECONDS)) env --default-signal=INT PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 \
      "$python" -m pytest -v -p no:cacheprovider -p _hypothesis_pytestplugin -o faulthandler_timeout=60 \
      -k "cuda or device" "$file" >"$notes/tests/${name%.py}.log" 2>&1
    status=$?
  fi
  [ "$status" != 5 ] || status=0 # no test of that name
  printf '%s %d %d\n' "$file" "$status" $((EPOCHSECONDS - start)) >>"$notes/tests/files"
}

# run_tests MOST: a process a file, so that a fault which ends one, or a package that is missing, leaves the others.
run_tests() {
  local end=$((EPOCHSECONDS + $1 - 7)) jobs processors files
  processors=$(nproc)
  jobs=${THALWEG_GPU_JOBS:-$((processors / 3 < 5 ? processors / 3 : 5))}
  [ "$jobs" -ge 1 ] || jobs=1
  export OMP_NUM_THREADS=$((processors / jobs))
  mapfile -t files < <(grep -liE 'cuda|device|backend|kernels' tests/test_device.py tests/kernels/test_*.py \
    tests/models/test_*.py tests/properties/test_*.py tests/test_*.py | awk '!seen[$0]++')
  if [ -n "$rehearsal" ]; then files=(tests/kernels/test_elementwise.py tests/kernels/test_rng.py); fi
  "$python" -c 'import pytest, hypothesis' || return 127
  printf '%s\0' "${files[@]}" | xargs -0 -n 1 -P "$jobs" bash -c 'run_test_file "$@"' bash "$end"
  "$python" bench/gpu_report.py tests "$notes"
}

# short_run SECONDS [COMMAND...]: tests/short_cuda_run.py, watched by the command.
short_run() {
  local kernels=() seconds=$1
  shift
  if [ -n "$rehearsal" ]; then kernels=(elementwise random_numbers building_blocks); fi # the others take minutes
  "$@" "$python" tests/short_cuda_run.py --seconds "$seconds" ${kernels[@]+"${kernels[@]}"}
}

# sanitize TOOL MOST: the run stops itself before the next kernels where its time is up, so that the tool ends.
sanitize() {
  command -v compute-sanitizer || { echo "compute-sanitizer is missing: no memory check"; return 127; }
  short_run $(($2 * 2 / 3)) compute-sanitizer --tool "$1" --error-exitcode 9
}

arguments=("$@")
export -f compile level run_test_file run_tests short_run sanitize
echo "0" >"$notes/capability"
step look 60 "$python" bench/gpu_report.py look "$notes" || exit 1
step build 300 compile || { echo "the build failed: see $notes/build.log" >&2; exit 1; }
step device 60 "$python" bench/gpu_report.py device "$notes" || exit 1

if is_chosen tests; then most=$(spare 150); step tests "$most" run_tests "$most"; fi
if is_chosen short; then most=$(spare 60); step short "$most" short_run "$most"; fi
for tool in memcheck racecheck; do
  if is_chosen "$tool"; then most=$(spare 75); step "$tool" "$most" sanitize "$tool" "$most"; fi
done

weights=0
for bench in "${all_benches[@]}"; do if is_chosen "$bench"; then weights=$((weights + $(weight "$bench"))); fi; done
for bench in "${all_benches[@]}"; do
  is_chosen "$bench" || continue
  most=$((($(left) - 1) * $(weight "$bench") / weights))
  weights=$((weights - $(weight "$bench")))
  step "bench-$bench" "$most" "$python" "bench/peers/gpu_$bench.py" --out "${notes#"$PWD"/}/$bench" \
    --seconds $((most > 14 ? most - 7 : most / 2)) ${rehearsal:+--small}
done

printf '\n=== done in %d s\n' "$SECONDS"
"$python" bench/gpu_report.py show "$notes"

#!/usr/bin/env bash
# Builds the extension modules, that of the CUDA backend over its emulated device, with the address and
# undefined-behaviour sanitizers in debug mode, beside the source tree, and runs the kernel tests on them. Arguments go
# to pytest. Needs GCC, and the Python packages of the tests and of the developer's build.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

case "$(uname -m)" in
  x86_64) level=${THALWEG_ISA:-v3} ;;
  *) level=base ;;
esac
build=build/sanitize-$level
package=$build/python/thalweg

cmake -S . -B "$build" -G Ninja -DCMAKE_CXX_COMPILER="${CXX:-g++}" -DCMAKE_BUILD_TYPE=Debug -DTHALWEG_SANITIZE=ON \
  -DTHALWEG_CUDA_EMULATION=ON -DTHALWEG_LEVELS="$level" \
  -DTHALWEG_MODULE_DIR="$PWD/$package"
cmake --build "$build"
(cd python && find thalweg -name '*.py' -exec cp --parents {} "../$build/python" \;)

# The interpreter knows nothing of the sanitizers: their runtime is loaded before it, and with it the C++ library,
# whose throw they intercept. The interpreter's own allocations are no leaks of ours.
runtime=$("${CXX:-g++}" -print-file-name=libasan.so)
cxx=$("${CXX:-g++}" -print-file-name=libstdc++.so)
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(tests/kernels)
# Where the compiler hardly optimises, one step of this pursuit takes longer than Ctrl-C may, and sums of the CPU have
# other bits than those of the device.
left_out=(
  --deselect "tests/kernels/test_parallel.py::test_ctrl_c_ends_a_long_call[long_omp_of_one_row]"
  --deselect tests/kernels/test_cuda_rbm.py::test_real_rows_have_the_sums_of_the_cpu
  --deselect tests/kernels/test_cuda_rbm.py::test_statistics_are_those_of_the_cpu
)
LD_PRELOAD="$runtime $cxx" ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1 \
  THALWEG_ISA=$level PYTHONPATH=$build/python python -m pytest -p no:cacheprovider "${left_out[@]}" \
  "${targets[@]}"

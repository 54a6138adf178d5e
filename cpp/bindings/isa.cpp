// Which x86-64 level this processor has. Compiled for the baseline, so that it loads everywhere.
#include <pybind11/pybind11.h>

namespace {

const char* best_level() {
#if defined(__x86_64__) && defined(__GNUC__)
  __builtin_cpu_init();
  const bool v2 =
      __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("ssse3") && __builtin_cpu_supports("popcnt");
  const bool v3 = v2 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                  __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") &&
                  __builtin_cpu_supports("lzcnt") && __builtin_cpu_supports("f16c");
  const bool v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                  __builtin_cpu_supports("avx512vl");
  return v4 ? "v4" : v3 ? "v3" : v2 ? "v2" : "v1";
#else
  return "base";
#endif
}

}  // namespace

PYBIND11_MODULE(_isa, m) {
  m.doc() = "The instruction-set level of this processor.";
  m.def("best_level", &best_level, "'v1' to 'v4' on x86-64, 'base' elsewhere.");
}

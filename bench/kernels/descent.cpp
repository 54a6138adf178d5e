// Steps, of momentum with weight decay and of Adam, on a parameter of 500 x 784, and on one too large for the
// caches.
#include "kernels/descent.hpp"

#include <benchmark/benchmark.h>

#include <cmath>
#include <limits>
#include <vector>

#include "random_data.hpp"

namespace {

using thalweg::Index;
using thalweg::MatrixView;

constexpr int threads = 2;

template <class T>
void momentum_step(benchmark::State& state) {
  const Index rows = state.range(0), cols = 784;
  const auto n = static_cast<std::size_t>(rows * cols);
  const auto gradient = thalweg::bench::normals<T>(rows * cols, 0);
  auto x = thalweg::bench::normals<T>(rows * cols, 1);
  std::vector<T> velocity(n, T(0.5));
  const T rate = T(0.01), momentum = T(0.9), decay = T(0.0001);
  const auto run = [&] {
    const MatrixView<T> parameter(x.data(), rows, cols), v(velocity.data(), rows, cols);
    return thalweg::momentum_step<T>(parameter, v, {gradient.data(), rows, cols}, rate, momentum, decay,
                                     parameter, v, threads);
  };
  const auto before = x;
  if (!run()) return state.SkipWithError("says that a number is not finite");
  for (std::size_t i = 0; i < n; i += 997) {
    const T expected = before[i] + momentum * T(0.5) + rate * (gradient[i] - decay * before[i]);
    if (!(std::abs(x[i] - expected) <= 8 * std::numeric_limits<T>::epsilon() * (1 + std::abs(expected))))
      return state.SkipWithError("differs from the formula");
  }
  for (auto _ : state) {
    bool is_finite = run();
    benchmark::DoNotOptimize(is_finite);
  }
  // Three arrays are read, two written.
  state.SetBytesProcessed(state.iterations() * 5 * rows * cols * static_cast<Index>(sizeof(T)));
}

template <class T>
void adam_step(benchmark::State& state) {
  const Index rows = state.range(0), cols = 784;
  const auto n = static_cast<std::size_t>(rows * cols);
  const auto gradient = thalweg::bench::normals<T>(rows * cols, 0);
  auto x = thalweg::bench::normals<T>(rows * cols, 1);
  std::vector<T> mean(n, T(0)), square(n, T(0));
  const auto run = [&](Index step) {
    const thalweg::AdamArrays<T> arrays{x.data(), mean.data(), square.data(), gradient.data(),
                                        x.data(), mean.data(), square.data(), rows * cols};
    return thalweg::adam_step<T>({&arrays, 1}, {T(0.01), T(0.9), T(0.999), T(1e-8), step}, threads);
  };
  const auto before = x;
  if (!run(1)) return state.SkipWithError("says that a number is not finite");
  for (std::size_t i = 0; i < n; i += 997) {
    const T expected = before[i] - T(0.01) * std::copysign(T(1), gradient[i]);
    if (std::abs(gradient[i]) > T(0.01) && !(std::abs(x[i] - expected) <= T(1e-5) * (1 + std::abs(expected))))
      return state.SkipWithError("differs from the formula of the first step");
  }
  Index step = 1;
  for (auto _ : state) {
    bool is_finite = run(++step);
    benchmark::DoNotOptimize(is_finite);
  }
  // Four arrays are read, three written.
  state.SetBytesProcessed(state.iterations() * 7 * rows * cols * static_cast<Index>(sizeof(T)));
}

BENCHMARK(momentum_step<float>)->Name("descent/momentum_step/float32")->Arg(500)->Arg(20000)->UseRealTime();
BENCHMARK(momentum_step<double>)->Name("descent/momentum_step/float64")->Arg(500)->Arg(20000)->UseRealTime();
BENCHMARK(adam_step<float>)->Name("descent/adam_step/float32")->Arg(64)->Arg(500)->Arg(20000)->UseRealTime();
BENCHMARK(adam_step<double>)->Name("descent/adam_step/float64")->Arg(64)->Arg(500)->Arg(20000)->UseRealTime();

}  // namespace

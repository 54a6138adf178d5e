// Correlation, convolution and the gradient in the filters of images and signals, beside a matrix product of
// the same precision and number of threads: FLOP/s of the useful multiply-adds.
#include "kernels/conv.hpp"

#include <benchmark/benchmark.h>

#include "core/parallel.hpp"
#include "core/simd.hpp"
#include "cpu/matmul.hpp"
#include "random_data.hpp"

namespace {

using thalweg::Boundary;
using thalweg::ConvShape;
using thalweg::Index;

constexpr int n_jobs = 2;

void report(benchmark::State& state, double multiply_adds) {
  state.counters["FLOP/s"] =
      benchmark::Counter(2 * multiply_adds, benchmark::Counter::kIsIterationInvariantRate);
}

enum class Operation { correlate, convolve, filter_gradient };

template <class T, Operation operation>
void conv(benchmark::State& state) {
  const ConvShape shape{state.range(0), state.range(1), state.range(2), state.range(3),
                        state.range(4), state.range(5), state.range(6), Boundary::valid};
  const Index pixels = shape.code_height() * shape.code_width();
  auto images = thalweg::bench::normals<T>(shape.n * shape.channels * shape.height * shape.width, 0);
  auto filters = thalweg::bench::normals<T>(shape.filters * shape.taps(), 1);
  auto codes = thalweg::bench::normals<T>(shape.n * shape.filters * pixels, 2);
  for (auto _ : state) {
    if constexpr (operation == Operation::correlate)
      thalweg::correlate<T>(shape, images.data(), filters.data(), codes.data(), n_jobs);
    else if constexpr (operation == Operation::convolve)
      thalweg::convolve<T>(shape, codes.data(), filters.data(), images.data(), n_jobs);
    else
      thalweg::filter_gradient<T>(shape, codes.data(), images.data(), filters.data(), n_jobs);
  }
  // Products with pixels outside of the image are not counted: every image's pixel meets every tap once.
  report(state, static_cast<double>(shape.n * shape.height * shape.width * shape.filters * shape.taps()));
}

// The rate to compare with: square matrices, blocks of rows shared among the threads.
template <class T>
void product(benchmark::State& state) {
  constexpr Index n = 960;
  constexpr Index rows = 96;
  const auto a = thalweg::bench::normals<T>(n * n, 0);
  const auto b = thalweg::bench::normals<T>(n * n, 1);
  std::vector<T> c(static_cast<std::size_t>(n * n));
  const thalweg::cpu::PackedRight<T> right(
      n, n, [&](Index i, Index j) { return b[static_cast<std::size_t>(i * n + j)]; });
  for (auto _ : state)
    thalweg::parallel_for(n / rows, n_jobs, [&](Index block, int) {
      T* out = c.data() + block * rows * n;
      thalweg::cpu::matmul<T>(
          {a.data() + block * rows * n, rows, n}, right,
          [&](Index i, Index j, thalweg::simd::Vec<T> acc) { thalweg::simd::store(out + i * n + j, acc); });
    });
  report(state, static_cast<double>(n * n * n));
}

void shapes(benchmark::internal::Benchmark* bench) {
  bench->ArgNames({"n", "C", "H", "W", "K", "kh", "kw"})->UseRealTime();
  for (const int side : {256, 512})
    for (const int channels : {1, 3})
      for (const int filters : {32, 64})
        for (const int size : {8, 12}) bench->Args({1, channels, side, side, filters, size, size});
  bench->Args({64, 1, 28, 28, 32, 7, 7});
  bench->Args({8, 1, 1, 1 << 16, 32, 1, 64});
}

template <class T>
void correlate(benchmark::State& state) {
  conv<T, Operation::correlate>(state);
}
template <class T>
void convolve(benchmark::State& state) {
  conv<T, Operation::convolve>(state);
}
template <class T>
void filter_gradient(benchmark::State& state) {
  conv<T, Operation::filter_gradient>(state);
}

BENCHMARK(product<float>)->UseRealTime();
BENCHMARK(product<double>)->UseRealTime();
BENCHMARK(correlate<float>)->Apply(shapes);
BENCHMARK(convolve<float>)->Apply(shapes);
BENCHMARK(filter_gradient<float>)->Apply(shapes);
BENCHMARK(correlate<double>)->Apply(shapes);
BENCHMARK(convolve<double>)->Apply(shapes);
BENCHMARK(filter_gradient<double>)->Apply(shapes);

}  // namespace

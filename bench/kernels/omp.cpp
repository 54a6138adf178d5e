// Orthogonal matching pursuit of random samples to a number of non-zeros.
#include "kernels/omp.hpp"

#include <benchmark/benchmark.h>

#include "random_data.hpp"

namespace {

using thalweg::Index;

template <class T>
void omp(benchmark::State& state) {
  constexpr Index n_samples = 1024;
  const Index n = state.range(0), k = state.range(1);
  const auto atoms = thalweg::bench::unit_rows<T>(k, n, 0);
  const auto samples = thalweg::bench::normals<T>(n_samples * n, 1);
  std::vector<T> codes(static_cast<std::size_t>(n_samples * k));
  std::vector<double> residual(n_samples);
  std::vector<std::int32_t> count(n_samples);
  std::vector<std::int8_t> status(n_samples);
  const thalweg::CodingDictionary<T> dictionary({atoms.data(), k, n}, 0.0, 2);
  for (auto _ : state)
    thalweg::omp_encode<T>(dictionary, {samples.data(), n_samples, n}, {codes.data(), n_samples, k},
                           {residual.data(), count.data(), status.data()}, {state.range(2), -1.0, 2});
  state.SetItemsProcessed(state.iterations() * n_samples);
}

BENCHMARK(omp<float>)->Args({64, 256, 5})->Args({64, 256, 20})->Args({256, 1024, 25})->UseRealTime();
BENCHMARK(omp<double>)->Args({64, 256, 5})->Args({64, 256, 20})->Args({256, 1024, 25})->UseRealTime();

}  // namespace

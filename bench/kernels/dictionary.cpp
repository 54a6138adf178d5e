// Dictionary learning's second half: statistics of a batch of sparse codes, and the atoms' step.
#include "kernels/dictionary.hpp"

#include <benchmark/benchmark.h>

#include "random_data.hpp"

namespace {

using thalweg::Index;

constexpr Index batch = 512;

// A tenth of the codes are not zero.
template <class T>
std::vector<T> sparse_codes(Index k) {
  std::vector<T> codes = thalweg::bench::normals<T>(batch * k, 2);
  for (T& z : codes)
    if (z < T(1.2816)) z = T(0);
  return codes;
}

template <class T>
void statistics(benchmark::State& state) {
  const Index n = state.range(0), k = state.range(1);
  const auto codes = sparse_codes<T>(k);
  const auto samples = thalweg::bench::normals<T>(batch * n, 1);
  std::vector<double> a(static_cast<std::size_t>(k * k)), b(static_cast<std::size_t>(k * n));
  for (auto _ : state)
    thalweg::accumulate_statistics<T>({codes.data(), batch, k}, {samples.data(), batch, n}, 0.9,
                                      {a.data(), k, k}, {b.data(), k, n}, 2);
  state.SetItemsProcessed(state.iterations() * batch);
}

template <class T>
void step(benchmark::State& state) {
  const Index n = state.range(0), k = state.range(1);
  const auto codes = sparse_codes<T>(k);
  const auto samples = thalweg::bench::normals<T>(batch * n, 1);
  std::vector<double> a(static_cast<std::size_t>(k * k)), b(static_cast<std::size_t>(k * n));
  thalweg::accumulate_statistics<T>({codes.data(), batch, k}, {samples.data(), batch, n}, 0.0,
                                    {a.data(), k, k}, {b.data(), k, n}, 2);
  auto atoms = thalweg::bench::unit_rows<T>(k, n, 0);
  std::vector<std::uint8_t> dead(static_cast<std::size_t>(k));
  thalweg::DictionaryOptions options;
  options.n_jobs = 2;
  for (auto _ : state)
    thalweg::update_dictionary<T>({a.data(), k, k}, {b.data(), k, n}, {atoms.data(), k, n}, dead.data(),
                                  options);
  const double multiply_adds = static_cast<double>(k) * static_cast<double>(k) * static_cast<double>(n);
  state.counters["GFLOP/s"] = benchmark::Counter(
      2e-9 * multiply_adds * static_cast<double>(state.iterations()), benchmark::Counter::kIsRate);
}

BENCHMARK(statistics<float>)->Args({144, 256})->Args({256, 1024})->UseRealTime();
BENCHMARK(statistics<double>)->Args({144, 256})->Args({256, 1024})->UseRealTime();
BENCHMARK(step<float>)->Args({144, 256})->Args({256, 1024})->UseRealTime();
BENCHMARK(step<double>)->Args({144, 256})->Args({256, 1024})->UseRealTime();

}  // namespace

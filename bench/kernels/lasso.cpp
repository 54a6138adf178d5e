// Lasso codes of synthetic samples: to a duality gap, and FISTA for a fixed number of iterations.
#include "kernels/lasso.hpp"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

namespace {

using thalweg::Index;
using thalweg::LassoMethod;
using thalweg::MatrixView;

constexpr Index n_samples = 2048;
constexpr int fista_iterations = 100;

// Random unit atoms, and samples that mix a tenth of n_features of them, with noise.
template <class T>
struct Problem {
  Index n_features, n_components;
  std::vector<T> atoms, samples, codes;
  std::vector<double> gap;
  std::vector<std::int32_t> n_iter;
  std::vector<std::int8_t> status;
  T alpha = T(0.2);

  Problem(Index n, Index k)
      : n_features(n),
        n_components(k),
        atoms(static_cast<std::size_t>(k * n)),
        samples(static_cast<std::size_t>(n_samples * n)),
        codes(static_cast<std::size_t>(n_samples * k)),
        gap(n_samples),
        n_iter(n_samples),
        status(n_samples) {
    std::mt19937 engine(0);
    std::normal_distribution<T> normal;
    for (T& a : atoms) a = normal(engine);
    for (Index j = 0; j < k; ++j) {
      T* atom = atoms.data() + j * n;
      T norm = 0;
      for (Index i = 0; i < n; ++i) norm += atom[i] * atom[i];
      for (Index i = 0; i < n; ++i) atom[i] /= std::sqrt(norm);
    }
    std::uniform_int_distribution<Index> any_atom(0, k - 1);
    for (Index row = 0; row < n_samples; ++row) {
      T* x = samples.data() + row * n;
      for (Index i = 0; i < n; ++i) x[i] = T(0.05) * normal(engine);
      for (Index used = 0; used < n / 10 + 1; ++used) {
        const T* atom = atoms.data() + any_atom(engine) * n;
        const T weight = normal(engine);
        for (Index i = 0; i < n; ++i) x[i] += weight * atom[i];
      }
    }
  }

  // Encodes everything, the preparation of the dictionary included; the worst gap.
  double encode(const thalweg::LassoOptions& options) {
    const thalweg::CodingDictionary<T> dictionary({atoms.data(), n_components, n_features}, 0.0,
                                                  options.n_jobs);
    dictionary.encode({samples.data(), n_samples, n_features}, {&alpha, 0, 0},
                      {codes.data(), n_samples, n_components}, {gap.data(), n_iter.data(), status.data()},
                      options);
    return *std::max_element(gap.begin(), gap.end());
  }
};

template <class T, LassoMethod method>
void to_gap(benchmark::State& state) {
  Problem<T> problem(state.range(0), state.range(1));
  thalweg::LassoOptions options;
  options.method = method;
  options.tol = 1e-4;
  options.max_iter = 20000;
  double worst = problem.encode(options);
  if (!(worst <= options.tol)) state.SkipWithError("a row's gap is above the tolerance");
  for (auto _ : state) {
    worst = problem.encode(options);
    benchmark::DoNotOptimize(worst);
  }
  state.SetItemsProcessed(state.iterations() * n_samples);
}

template <class T>
void fista(benchmark::State& state) {
  Problem<T> problem(state.range(0), state.range(1));
  thalweg::LassoOptions options;
  options.method = LassoMethod::fista;
  options.adaptive_restart = false;
  options.tol = 0;
  options.max_iter = fista_iterations;
  for (auto _ : state) {
    double worst = problem.encode(options);
    benchmark::DoNotOptimize(worst);
  }
  // The products alone: one with the Gram matrix or two with D, whichever is less.
  const auto n = static_cast<double>(problem.n_features), k = static_cast<double>(problem.n_components);
  const double flop = fista_iterations * std::min(2 * k * k, 4 * k * n) * n_samples;
  state.counters["FLOP/s"] = benchmark::Counter(flop, benchmark::Counter::kIsIterationInvariantRate);
  state.SetItemsProcessed(state.iterations() * n_samples);
}

void sizes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"features", "atoms"})->Args({64, 256})->Args({144, 512})->Args({256, 1024});
  b->UseRealTime()->Unit(benchmark::kMillisecond);
}

BENCHMARK_TEMPLATE(to_gap, float, LassoMethod::active_set)->Apply(sizes);
BENCHMARK_TEMPLATE(to_gap, double, LassoMethod::active_set)->Apply(sizes);
BENCHMARK_TEMPLATE(to_gap, float, LassoMethod::coordinate_descent)->Apply(sizes);
BENCHMARK_TEMPLATE(to_gap, double, LassoMethod::coordinate_descent)->Apply(sizes);
BENCHMARK_TEMPLATE(fista, float)->Apply(sizes);
BENCHMARK_TEMPLATE(fista, double)->Apply(sizes);

}  // namespace

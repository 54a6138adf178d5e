// Score matching of 784 features, 64 hidden units and 64 on top, batches of 100. Counted are the products of
// a plain implementation, K H^2 a row twice over and four with the weights.
#include "kernels/score_matching.hpp"

#include <benchmark/benchmark.h>

#include <cmath>
#include <string>
#include <vector>

#include "density_data.hpp"

namespace {

using thalweg::Index;
using thalweg::MatrixView;
using thalweg::bench::Density;
using thalweg::bench::DensitySums;

constexpr int threads = 2;
constexpr Index n_features = 784, n_units = 64;

// Whether the derivative in a bias is the slope of the objective.
template <class T>
bool agrees(Density<T> data, MatrixView<const T> X) {
  DensitySums<T> sums(data);
  std::vector<double> objective(static_cast<std::size_t>(X.rows));
  thalweg::density_score_matching<T>(data.view(), X, objective.data(), sums.gradient, 1);
  const double expected = static_cast<double>(sums.bias[3]);
  const T step = sizeof(T) == 4 ? T(1e-1) : T(1e-4);
  double ends[2] = {0, 0};
  const T kept = data.bias[3];
  for (int end = 0; end < 2; ++end) {
    data.bias[3] = kept + (end == 0 ? -step : step);
    thalweg::density_score_matching<T>(data.view(), X, objective.data(), sums.gradient, 1);
    for (const double o : objective) ends[end] += o;
  }
  return std::abs((ends[1] - ends[0]) / (2 * static_cast<double>(step)) - expected) <
         2e-2 * std::abs(expected) + 1e-2;
}

template <class T>
void batch(benchmark::State& state) {
  const Index rows = state.range(0);
  const Density<T> data(n_features, n_units, n_units);
  DensitySums<T> sums(data);
  const auto x = thalweg::bench::normals<T>(rows * n_features, 9);
  const MatrixView<const T> X(x.data(), rows, n_features);
  if (!agrees<T>(data, X)) return state.SkipWithError("the gradient is not the objective's slope");
  std::vector<double> objective(static_cast<std::size_t>(rows));
  for (auto _ : state)
    benchmark::DoNotOptimize(
        thalweg::density_score_matching<T>(data.view(), X, objective.data(), sums.gradient, threads));
  const double products = static_cast<double>(rows * n_units * (2 * n_units * n_units + 4 * n_features));
  state.counters["FLOP/s"] = benchmark::Counter(2 * products, benchmark::Counter::kIsIterationInvariantRate);
  state.SetItemsProcessed(state.iterations() * rows);
}

template <class T>
void add(const std::string& dtype) {
  benchmark::RegisterBenchmark(("score_matching/batch/" + dtype).c_str(), batch<T>)
      ->UseRealTime()
      ->Unit(benchmark::kMicrosecond)
      ->ArgName("rows")
      ->Arg(100)
      ->Arg(1000);
}

const bool added = (add<float>("float32"), add<double>("float64"), true);

}  // namespace

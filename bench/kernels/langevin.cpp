// Deep densities of 784 features, 64 hidden units and 64 on top: energies with their gradient, and chains.
// Products alone are counted.
#include "kernels/langevin.hpp"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "density_data.hpp"

namespace {

using thalweg::Index;
using thalweg::MatrixView;
using thalweg::bench::Density;

constexpr int threads = 2;
constexpr Index n_features = 784, n_units = 64;

void count_products(benchmark::State& state, Index rows, Index passes) {
  const double flop = 2 * static_cast<double>(passes * rows * n_units * (n_features + n_units));
  state.counters["FLOP/s"] = benchmark::Counter(flop, benchmark::Counter::kIsIterationInvariantRate);
  state.SetItemsProcessed(state.iterations() * rows);
}

// Whether the score is minus the slope of the energy, along its own direction.
template <class T>
bool agrees(const thalweg::DeepDensity<T>& density, MatrixView<const T> X) {
  std::vector<T> score(static_cast<std::size_t>(X.cols)), moved(X.data, X.data + X.cols);
  density.score(X.middle_rows(0, 1), 1.0, {score.data(), 1, X.cols}, 1);
  double slope = 0, ends[2];
  const T step = sizeof(T) == 4 ? T(1e-2) : T(1e-5);
  for (int end = 0; end < 2; ++end) {
    for (Index j = 0; j < X.cols; ++j) moved[static_cast<std::size_t>(j)] = X(0, j);
    for (std::size_t j = 0; j < moved.size(); ++j) moved[j] += (end == 0 ? step : -step) * score[j];
    density.energy({moved.data(), 1, X.cols}, 1.0, &ends[end], 1);
  }
  for (const T s : score) slope += static_cast<double>(s) * static_cast<double>(s);
  return std::abs((ends[1] - ends[0]) / (2 * static_cast<double>(step)) - slope) < 1e-3 * slope;
}

// A step of learning from energies: packing, values, gradient.
template <class T>
void learn(benchmark::State& state) {
  const Index rows = state.range(0);
  const Density<T> data(n_features, n_units, n_units);
  thalweg::bench::DensitySums<T> sums(data);
  const auto x = thalweg::bench::normals<T>(rows * n_features, 9);
  const MatrixView<const T> X(x.data(), rows, n_features);
  std::vector<double> energy(static_cast<std::size_t>(rows)), weight(energy.size(), 0.5);
  if (!agrees<T>(thalweg::DeepDensity<T>(data.view()), X))
    return state.SkipWithError("score and energy differ");
  for (auto _ : state) {
    const thalweg::DeepDensity<T> density(data.view());
    const auto tape = density.value(X, energy.data(), threads);
    benchmark::DoNotOptimize(density.pull(*tape, X, weight.data(), sums.gradient, threads));
  }
  count_products(state, rows, 2);
}

template <class T>
void trajectories(benchmark::State& state) {
  const Index chains = state.range(0);
  const Density<T> data(n_features, n_units, n_units);
  const thalweg::DeepDensity<T> density(data.view());
  auto x = thalweg::bench::normals<T>(chains * n_features, 9);
  if (!agrees<T>(density, {x.data(), chains, n_features}))
    return state.SkipWithError("score and energy differ");
  thalweg::DensityMoves moves;
  moves.n_leapfrog = 10;
  moves.stream = 30;
  for (auto _ : state) {
    density.move({x.data(), chains, n_features}, moves, {}, threads);
    ++moves.step;
  }
  count_products(state, chains, 2 * (1 + moves.n_leapfrog));
}

template <class T>
void normals(benchmark::State& state) {
  std::vector<T> out(100 * n_features);
  for (auto _ : state) thalweg::normal_rows<T>({out.data(), 100, n_features}, 1, 30, 0, 0, threads);
  state.SetItemsProcessed(state.iterations() * 100 * n_features);
}

template <class T>
void add(const std::string& dtype) {
  const auto named = [&](const std::string& name, auto body) {
    return benchmark::RegisterBenchmark(("langevin/" + name + "/" + dtype).c_str(), body)
        ->UseRealTime()
        ->Unit(benchmark::kMicrosecond);
  };
  named("learn", learn<T>)->ArgName("rows")->Arg(200);
  named("hmc", trajectories<T>)->ArgName("chains")->Arg(100)->Arg(1000);
  named("normals", normals<T>);
}

const bool added = (add<float>("float32"), add<double>("float64"), true);

}  // namespace

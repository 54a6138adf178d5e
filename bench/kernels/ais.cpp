// Annealing of 100 runs of a machine of MNIST's size, 784 visible and 500 hidden units: the time of one
// temperature, both products counted as if they were dense.
#include "kernels/ais.hpp"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "rbm_data.hpp"

namespace {

using thalweg::Index;
using thalweg::bench::Machine;
using thalweg::bench::States;

constexpr int threads = 2;
constexpr Index n_visible = 784, n_hidden = 500, runs = 100;
constexpr Index temperatures = 100;  // of one call

// log f_1 - log f_0 of one row, term by term, from a base model without biases.
template <class T>
double log_ratio(const Machine<T>& machine, const States& states, Index row) {
  double sum = -std::log(2.0) * n_hidden;
  for (Index k = 0; k < n_hidden; ++k) {
    double logit = static_cast<double>(machine.hidden_bias[static_cast<std::size_t>(k)]);
    for (Index j = 0; j < n_visible; ++j)
      if (states.is_one(row, j)) logit += static_cast<double>(machine.weight(j, k));
    sum += std::max(logit, 0.0) + std::log1p(std::exp(-std::abs(logit)));
  }
  return sum;
}

template <class T>
void anneal(benchmark::State& state) {
  const Machine<T> machine(n_visible, n_hidden);
  States visible(runs, n_visible, 0.5);
  std::vector<double> log_weights(runs);
  thalweg::RbmWorkspace<T> workspace;
  thalweg::Draw draw;
  draw.stream = 1;
  const auto run = [&](const std::vector<double>& t) {
    thalweg::anneal<T>(machine.view(), {}, t, visible.mutable_bits(), {}, draw, log_weights.data(), workspace,
                       threads);
  };
  run({0, 1});
  for (Index r = 0; r < 3; ++r)
    if (!(std::abs(log_weights[static_cast<std::size_t>(r)] - log_ratio(machine, visible, r)) < 1e-2))
      return state.SkipWithError("differs from the densities' ratio");
  std::vector<double> t;
  for (Index i = 0; i <= temperatures; ++i) t.push_back(static_cast<double>(i) / temperatures);
  for (auto _ : state) run(t);
  const double flop = 4.0 * runs * n_visible * n_hidden * temperatures;
  state.counters["FLOP/s"] = benchmark::Counter(flop, benchmark::Counter::kIsIterationInvariantRate);
  state.counters["s/temperature"] =
      benchmark::Counter(static_cast<double>(temperatures),
                         benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
  state.SetItemsProcessed(state.iterations() * runs * temperatures);
}

BENCHMARK(anneal<float>)->Name("ais/anneal/float32")->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK(anneal<double>)->Name("ais/anneal/float64")->UseRealTime()->Unit(benchmark::kMillisecond);

}  // namespace

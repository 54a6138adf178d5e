// Forward and backward sums, and Viterbi's algorithm: positions a second.
#include "kernels/chains.hpp"

#include <benchmark/benchmark.h>

#include <vector>

#include "random_data.hpp"

namespace {

using thalweg::Index;

constexpr int n_jobs = 2;
constexpr Index length = 50;

template <class T>
struct Problem {
  Problem(Index n_sequences, Index k)
      : unary(thalweg::bench::normals<T>(n_sequences * length * k, 0)),
        pairwise(thalweg::bench::normals<T>(k * k, 1)),
        starts(static_cast<std::size_t>(n_sequences + 1)),
        states(static_cast<std::size_t>(n_sequences * length)),
        energy(static_cast<std::size_t>(n_sequences)) {
    for (std::size_t s = 0; s < starts.size(); ++s) starts[s] = static_cast<std::int64_t>(s) * length;
    chains = {{unary.data(), n_sequences * length, k}, pairwise.data(), starts.data(), n_sequences};
  }
  std::vector<T> unary, pairwise;
  std::vector<std::int64_t> starts, states;
  std::vector<double> energy;
  thalweg::Chains<T> chains;
};

void report(benchmark::State& state, Index positions) {
  state.counters["positions/s"] =
      benchmark::Counter(static_cast<double>(positions), benchmark::Counter::kIsIterationInvariantRate);
}

template <class T>
void marginals(benchmark::State& state) {
  Problem<T> p(state.range(0), state.range(1));
  const Index k = state.range(1);
  std::vector<T> out(p.unary.size());
  std::vector<double> pairs(static_cast<std::size_t>(k * k)), weights(p.energy.size(), 1.0);
  for (auto _ : state)
    thalweg::chain_marginals<T>(p.chains, 1.0, weights.data(), {out.data(), p.chains.unary.rows, k},
                                pairs.data(), p.energy.data(), n_jobs);
  report(state, p.chains.unary.rows);
}

template <class T>
void best(benchmark::State& state) {
  Problem<T> p(state.range(0), state.range(1));
  for (auto _ : state) thalweg::chain_best<T>(p.chains, p.states.data(), p.energy.data(), n_jobs);
  report(state, p.chains.unary.rows);
}

void sizes(benchmark::internal::Benchmark* bench) {
  bench->ArgNames({"sequences", "labels"})
      ->UseRealTime()
      ->Args({1000, 10})
      ->Args({1000, 26})
      ->Args({200, 100});
}

BENCHMARK(marginals<float>)->Apply(sizes);
BENCHMARK(marginals<double>)->Apply(sizes);
BENCHMARK(best<float>)->Apply(sizes);
BENCHMARK(best<double>)->Apply(sizes);

}  // namespace

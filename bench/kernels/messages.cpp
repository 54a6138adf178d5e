// Flooding sweeps of an Ising model of 200 x 200 spins, and of 16 labels on a grid of 256 x 256, with
// truncated linear and truncated quadratic energies, one table for all, and a table for every factor; and two
// passes of chains of words. Messages are counted in both directions.
#include "kernels/messages.hpp"

#include <benchmark/benchmark.h>

#include <cmath>
#include <limits>
#include <memory>
#include <vector>

#include "random_data.hpp"

namespace {

using thalweg::FactorKind;
using thalweg::Index;

constexpr int threads = 2;
constexpr double infinity = std::numeric_limits<double>::infinity();

// Neighbours on a grid, all of one kind; a chain has height 1.
std::shared_ptr<thalweg::MessageGraph> grid(Index height, Index width, Index states, FactorKind kind) {
  const std::vector<std::int64_t> cardinalities(static_cast<std::size_t>(height * width), states);
  std::vector<std::int64_t> scope, starts{0};
  const auto connect = [&](Index a, Index b) {
    scope.insert(scope.end(), {a, b});
    starts.push_back(static_cast<std::int64_t>(scope.size()));
  };
  for (Index r = 0; r < height; ++r)
    for (Index c = 0; c + 1 < width; ++c) connect(r * width + c, r * width + c + 1);
  for (Index r = 0; r + 1 < height; ++r)
    for (Index c = 0; c < width; ++c) connect(r * width + c, (r + 1) * width + c);
  const std::vector<std::int64_t> kinds(starts.size() - 1, static_cast<std::int64_t>(kind));
  thalweg::FactorStructureView view;
  view.cardinalities = cardinalities.data();
  view.n_variables = height * width;
  view.kinds = kinds.data();
  view.n_factors = static_cast<Index>(kinds.size());
  view.scope_starts = starts.data();
  view.scope_variables = scope.data();
  view.n_scope_variables = static_cast<Index>(scope.size());
  return std::make_shared<thalweg::MessageGraph>(view);
}

template <class T>
struct Problem {
  Problem(std::shared_ptr<thalweg::MessageGraph> graph_, Index n_graphs_)
      : graph(std::move(graph_)),
        n_graphs(n_graphs_),
        unary(thalweg::bench::normals<T>(n_graphs * graph->n_states(), 0)),
        energies(thalweg::bench::normals<T>(graph->n_energies(), 1)) {}

  [[nodiscard]] thalweg::MessagePasser<T> passer() const {
    return {graph, {energies.data(), 1, graph->n_energies()}, {unary.data(), n_graphs, graph->n_states()}};
  }
  // The first factor's numbers for all.
  void share() {
    const auto n = energies.size() / static_cast<std::size_t>(graph->n_factors());
    for (std::size_t i = n; i < energies.size(); ++i) energies[i] = energies[i - n];
  }

  std::shared_ptr<thalweg::MessageGraph> graph;
  Index n_graphs;
  std::vector<T> unary;
  std::vector<T> energies;
};

void count(benchmark::State& state, Index messages, double bytes) {
  state.SetItemsProcessed(state.iterations() * messages);
  state.SetBytesProcessed(static_cast<std::int64_t>(static_cast<double>(state.iterations()) * bytes));
}

// One sweep at a time; a message is read twice and written once, an energy of a factor read once.
template <class T>
void flood(benchmark::State& state, const Problem<T>& problem, double beta, bool reads_energies) {
  auto passer = problem.passer();
  std::int64_t steps = 0;
  double residual = 0;
  const auto sweep = [&] { passer.flood({beta, 0.1, 1, 0.0, threads}, {&steps, &residual}); };
  sweep();
  if (!std::isfinite(residual)) return state.SkipWithError("the residual is not finite");
  for (auto _ : state) sweep();
  const Index n_factors = problem.graph->n_factors();
  const Index states = problem.graph->n_states() / problem.graph->n_variables();
  const double numbers = 6.0 * static_cast<double>(n_factors * states) +
                         2.0 * static_cast<double>(problem.unary.size()) +
                         (reads_energies ? static_cast<double>(problem.energies.size()) : 0.0);
  count(state, 2 * n_factors, numbers * sizeof(T));
}

template <class T, FactorKind kind>
void ising(benchmark::State& state, double beta) {
  flood(state, Problem<T>(grid(200, 200, 2, kind), 1), beta, true);
}

template <class T, FactorKind kind>
void labels(benchmark::State& state, double beta, bool is_shared) {
  Problem<T> problem(grid(256, 256, 16, kind), 1);
  if (kind != FactorKind::table)  // slope, cap
    for (std::size_t i = 0; i < problem.energies.size(); i += 2) {
      problem.energies[i] = T(0.3);
      problem.energies[i + 1] = T(1.5) + T(0.1) * std::abs(problem.energies[i + 1]);
    }
  if (is_shared) problem.share();
  flood(state, problem, beta, kind == FactorKind::table && !is_shared);
}

template <class T>
void words(benchmark::State& state, double beta) {
  const Problem<T> problem(grid(1, 8, 26, FactorKind::table), 4096);
  auto passer = problem.passer();
  for (auto _ : state) passer.two_pass(beta, threads);
  count(state, problem.n_graphs * 2 * problem.graph->n_factors(), 0);
}

constexpr auto ising_tables = ising<float, FactorKind::table>;
constexpr auto ising_potts = ising<float, FactorKind::potts>;
constexpr auto ising_tables_float64 = ising<double, FactorKind::table>;
constexpr auto labels_linear = labels<float, FactorKind::truncated_linear>;
constexpr auto labels_quadratic = labels<float, FactorKind::truncated_quadratic>;
constexpr auto labels_tables = labels<float, FactorKind::table>;
constexpr auto chains_of_words = words<float>;

#define THALWEG_BENCH(name, function, ...)           \
  BENCHMARK_CAPTURE(function, messages, __VA_ARGS__) \
      ->Name("messages/" name)                       \
      ->Unit(benchmark::kMicrosecond)                \
      ->UseRealTime()

THALWEG_BENCH("ising/min_sum/float32", ising_tables, infinity);
THALWEG_BENCH("ising/sum_product/float32", ising_tables, 1.0);
THALWEG_BENCH("ising_potts/min_sum/float32", ising_potts, infinity);
THALWEG_BENCH("ising_potts/sum_product/float32", ising_potts, 1.0);
THALWEG_BENCH("ising/min_sum/float64", ising_tables_float64, infinity);
THALWEG_BENCH("ising/sum_product/float64", ising_tables_float64, 1.0);
THALWEG_BENCH("labels_linear/min_sum/float32", labels_linear, infinity, false);
THALWEG_BENCH("labels_linear/sum_product/float32", labels_linear, 1.0, false);
THALWEG_BENCH("labels_quadratic/min_sum/float32", labels_quadratic, infinity, false);
THALWEG_BENCH("labels_one_table/min_sum/float32", labels_tables, infinity, true);
THALWEG_BENCH("labels_one_table/sum_product/float32", labels_tables, 1.0, true);
THALWEG_BENCH("labels_tables/min_sum/float32", labels_tables, infinity, false);
THALWEG_BENCH("labels_tables/sum_product/float32", labels_tables, 1.0, false);
THALWEG_BENCH("words/viterbi/float32", chains_of_words, infinity);
THALWEG_BENCH("words/forward_backward/float32", chains_of_words, 1.0);

}  // namespace

// Boltzmann machines of MNIST's size, 784 visible and 500 hidden units: sweeps of chains, one side given the
// other, and the gradient's statistics of a batch. Products are counted as if they were dense.
#include "kernels/gibbs.hpp"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "rbm_data.hpp"

namespace {

using thalweg::Index;
using thalweg::Phase;
using thalweg::bench::Machine;
using thalweg::bench::States;

constexpr int threads = 2;
constexpr Index n_visible = 784, n_hidden = 500;
constexpr Index batch = 100;

void count_products(benchmark::State& state, double products, Index rows) {
  const double flop = products * 2 * static_cast<double>(rows * n_visible * n_hidden);
  state.counters["FLOP/s"] = benchmark::Counter(flop, benchmark::Counter::kIsIterationInvariantRate);
  state.SetItemsProcessed(state.iterations() * rows);
}

// Whether the logits of the first rows are the sums, one by one.
template <class T>
bool agrees(const Machine<T>& machine, const States& states, thalweg::RbmWorkspace<T>& workspace) {
  std::vector<T> logits(static_cast<std::size_t>(states.rows * n_hidden));
  thalweg::Activation<T> out;
  out.logits = {logits.data(), states.rows, n_hidden};
  thalweg::hidden_given_visible<T>(machine.view(), {states.bits(), {}}, {}, {}, out, workspace, threads);
  for (Index r = 0; r < std::min<Index>(states.rows, 3); ++r)
    for (Index k = 0; k < n_hidden; ++k) {
      double sum = static_cast<double>(machine.hidden_bias[static_cast<std::size_t>(k)]);
      for (Index j = 0; j < n_visible; ++j)
        if (states.is_one(r, j)) sum += static_cast<double>(machine.weight(j, k));
      if (!(std::abs(static_cast<double>(out.logits(r, k)) - sum) < 1e-4)) return false;
    }
  return true;
}

template <class T>
void sweeps(benchmark::State& state) {
  const Index chains = state.range(0);
  const Machine<T> machine(n_visible, n_hidden);
  States hidden(chains, n_hidden, 0.5), visible(chains, n_visible, 0.5);
  thalweg::RbmWorkspace<T> workspace;
  if (!agrees(machine, visible, workspace)) return state.SkipWithError("differs from the sums one by one");
  thalweg::Draw draw;
  draw.stream = 1;
  for (auto _ : state) {
    thalweg::gibbs_sweeps<T>(machine.view(), hidden.mutable_bits(), visible.mutable_bits(), {}, {}, {}, draw,
                             1, workspace, threads);
    ++draw.step;
  }
  count_products(state, 2, chains);
}

// Probabilities and states of the hidden units, of visible units of this density in percent.
template <class T>
void hidden_units(benchmark::State& state) {
  const Machine<T> machine(n_visible, n_hidden);
  const States visible(batch, n_visible, 0.01 * static_cast<double>(state.range(0)));
  States hidden(batch, n_hidden, 0.5);
  std::vector<T> mean(static_cast<std::size_t>(batch * n_hidden));
  thalweg::RbmWorkspace<T> workspace;
  if (!agrees(machine, visible, workspace)) return state.SkipWithError("differs from the sums one by one");
  thalweg::Activation<T> out;
  out.mean = {mean.data(), batch, n_hidden};
  out.bits = hidden.mutable_bits();
  for (auto _ : state)
    thalweg::hidden_given_visible<T>(machine.view(), {visible.bits(), {}}, {}, {}, out, workspace, threads);
  count_products(state, 1, batch);
}

// The two phases of contrastive divergence: data of this density in percent against chains.
template <class T>
void statistics(benchmark::State& state) {
  const Machine<T> machine(n_visible, n_hidden);
  const double density = 0.01 * static_cast<double>(state.range(0));
  const States data(batch, n_visible, density, 2), chains(batch, n_visible, density, 3);
  const auto hidden = thalweg::bench::normals<T>(batch * n_hidden, 4);
  const std::vector<T> plus(batch, T(1) / batch), minus(batch, T(-1) / batch);
  const thalweg::MatrixView<const T> h(hidden.data(), batch, n_hidden);
  const std::vector<Phase<T>> phases{{{data.bits(), {}}, h, plus.data()},
                                     {{chains.bits(), {}}, h, minus.data()}};
  std::vector<T> up(machine.up.size()), visible_sums(n_visible), hidden_sums(n_hidden);
  thalweg::RbmWorkspace<T> workspace;
  const auto run = [&] {
    thalweg::phase_statistics<T>(phases, 0, n_visible, n_hidden, nullptr, up.data(), machine.up_stride,
                                 visible_sums.data(), hidden_sums.data(), workspace, threads);
  };
  run();
  for (Index j = 0; j < n_visible; j += 97) {
    double sum = 0;
    for (Index r = 0; r < batch; ++r)
      sum += static_cast<double>(h(r, 7)) * (data.is_one(r, j) - chains.is_one(r, j)) / batch;
    if (!(std::abs(static_cast<double>(up[static_cast<std::size_t>(j * machine.up_stride + 7)]) - sum) <
          1e-5))
      return state.SkipWithError("differs from the sums one by one");
  }
  for (auto _ : state) run();
  count_products(state, 2, batch);
}

template <class T>
void add(const std::string& dtype) {
  const auto named = [&](const std::string& name, auto body) {
    return benchmark::RegisterBenchmark(("gibbs/" + name + "/" + dtype).c_str(), body)
        ->UseRealTime()
        ->Unit(benchmark::kMicrosecond);
  };
  named("sweep", sweeps<T>)->ArgName("chains")->Arg(512)->Arg(100);
  named("hidden", hidden_units<T>)->ArgName("percent")->Arg(13)->Arg(50);
  named("statistics", statistics<T>)->ArgName("percent")->Arg(13)->Arg(50);
}

const bool added = (add<float>("float32"), add<double>("float64"), true);

}  // namespace

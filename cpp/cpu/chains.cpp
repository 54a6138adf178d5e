// Chains on the CPU: groups of sequences over threads, one thread a group.
#include "kernels/chains.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <vector>

#include "core/error.hpp"
#include "core/parallel.hpp"
#include "cpu/chains_paths.hpp"
#include "cpu/chains_sums.hpp"

namespace thalweg {
namespace {

constexpr Index most_groups = 64;  // each has its own sums of pairs, added up in order

Index group_count(Index n_sequences) { return std::min(n_sequences, most_groups); }

template <class T>
void check(const Chains<T>& chains) {
  require(chains.unary.cols >= 1, "unary: expected at least one label, got ", chains.unary.cols);
  require(chains.starts[0] == 0, "starts: expected 0 first, got ", chains.starts[0]);
  for (Index s = 0; s < chains.n_sequences; ++s)
    require(chains.starts[s] < chains.starts[s + 1], "starts: sequence ", s, " has no position");
  require(chains.starts[chains.n_sequences] == chains.unary.rows, "starts: expected ", chains.unary.rows,
          " last, as there are positions, got ", chains.starts[chains.n_sequences]);
}

template <class T>
MatrixView<const T> positions(const Chains<T>& chains, Index s) {
  return chains.unary.middle_rows(chains.starts[s], chains.starts[s + 1] - chains.starts[s]);
}

// Calls body(group, sequence, worker) for every sequence, a group's in order on one thread.
template <class Body>
void for_sequences(Index n_sequences, Index operations, int n_jobs, const Body& body) {
  const Index n_groups = group_count(n_sequences);
  parallel_for(n_groups, jobs_for(operations, n_jobs), [&](Index group, int) {
    body(group, n_sequences * group / n_groups, n_sequences * (group + 1) / n_groups);
  });
}

Index first_infinite(const double* energy, Index n) {
  return std::find(energy, energy + n, cpu::chain_infinity) - energy;
}

void require_allowed(const double* energy, Index n) {
  const Index bad = first_infinite(energy, n);
  require(bad == n, "sequence ", bad, ": all paths are forbidden");
}

}  // namespace

template <class T>
void chain_marginals(const Chains<T>& chains, double beta, const double* weights, MatrixView<T> marginals,
                     double* pairs, double* free, int n_jobs) {
  check(chains);
  require(std::isfinite(beta) && beta > 0, "beta: expected a number > 0, got ", beta);
  const Index k = chains.unary.cols;
  const cpu::TransitionWeights transitions(chains.pairwise, k, beta);
  const Index n_groups = group_count(chains.n_sequences);
  std::vector<double> sums(static_cast<std::size_t>(n_groups * k * k), 0.0);
  for_sequences(
      chains.n_sequences, 3 * chains.unary.rows * k * k, n_jobs, [&](Index group, Index first, Index last) {
        cpu::ChainSums sequence(transitions, beta);
        for (Index s = first; s < last; ++s) {
          poll_interrupt();
          const auto unary = positions(chains, s);
          free[s] = sequence.run(unary, weights[s], marginals.middle_rows(chains.starts[s], unary.rows),
                                 sums.data() + group * k * k);
        }
      });
  require_allowed(free, chains.n_sequences);
  std::fill_n(pairs, k * k, 0.0);
  for (Index group = 0; group < n_groups; ++group)
    for (Index i = 0; i < k * k; ++i) pairs[i] += sums[static_cast<std::size_t>(group * k * k + i)];
}

template <class T>
void chain_best(const Chains<T>& chains, std::int64_t* states, double* energy, int n_jobs) {
  check(chains);
  const Index k = chains.unary.cols;
  for_sequences(chains.n_sequences, chains.unary.rows * k * k, n_jobs, [&](Index, Index first, Index last) {
    cpu::ChainPaths<T> sequence(chains.pairwise, k);
    for (Index s = first; s < last; ++s) {
      poll_interrupt();
      energy[s] = sequence.best(positions(chains, s), states + chains.starts[s]);
    }
  });
  require_allowed(energy, chains.n_sequences);
}

template <class T>
void chain_offending(const Chains<T>& chains, const std::int64_t* right, std::int64_t* states, double* energy,
                     int n_jobs) {
  check(chains);
  const Index k = chains.unary.cols;
  for (Index t = 0; t < chains.unary.rows; ++t)
    require(right[t] >= 0 && right[t] < k, "right: expected labels in [0, ", k, "), got ", right[t]);
  for_sequences(chains.n_sequences, chains.unary.rows * k * k, n_jobs, [&](Index, Index first, Index last) {
    cpu::ChainPaths<T> sequence(chains.pairwise, k);
    for (Index s = first; s < last; ++s) {
      poll_interrupt();
      const Index start = chains.starts[s];
      energy[s] = sequence.offending(positions(chains, s), right + start, states + start);
    }
  });
}

template void chain_marginals<float>(const Chains<float>&, double, const double*, MatrixView<float>, double*,
                                     double*, int);
template void chain_marginals<double>(const Chains<double>&, double, const double*, MatrixView<double>,
                                      double*, double*, int);
template void chain_best<float>(const Chains<float>&, std::int64_t*, double*, int);
template void chain_best<double>(const Chains<double>&, std::int64_t*, double*, int);
template void chain_offending<float>(const Chains<float>&, const std::int64_t*, std::int64_t*, double*, int);
template void chain_offending<double>(const Chains<double>&, const std::int64_t*, std::int64_t*, double*,
                                      int);

}  // namespace thalweg

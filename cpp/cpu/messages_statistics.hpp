// Expectations of what every energy is the coefficient of, in the factors' beliefs.
#pragma once

#include "cpu/messages_readout.hpp"

namespace thalweg::cpu {

// dE/d(number j) at a configuration: for truncated energies slope * growth beyond the cap belongs to the cap.
template <class P>
class Features {
  using T = typename P::Real;
  using V = typename P::V;

 public:
  explicit Features(const FactorView<P>& factor) : factor_(factor), group_(factor.group) {}

  // out[j] = sum of p over the configurations of two variables, each times its feature j; not of tables.
  void expect(const V* p, V* out) const {
    for (Index j = 0; j < group_.n_numbers; ++j) out[j] = V{};
    for (Index x = 0; x < group_.cardinalities[0]; ++x)
      for (Index y = 0; y < group_.cardinalities[1]; ++y) add(x, y, *p++, out);
  }

  void add(Index x, Index y, V p, V* out) const {
    switch (group_.kind) {
      case FactorKind::potts:
        if (x != y) out[0] += p;
        break;
      case FactorKind::product:
        out[0] += p * (static_cast<T>(x) * static_cast<T>(y));
        break;
      default:
        add_truncated(static_cast<T>(x < y ? y - x : x - y), p, out);
    }
  }

 private:
  void add_truncated(T distance, V p, V* out) const {
    const T growth = group_.kind == FactorKind::truncated_linear ? distance : distance * distance;
    const auto is_below = factor_.slope() * growth <= factor_.cap();
    out[0] += is_below ? p * growth : V{};
    out[1] += is_below ? V{} : p;
  }

  const FactorView<P>& factor_;
  const FactorGroup& group_;
};

template <class T>
class Statistics {
  using P = Packed<T>;
  using V = typename P::V;

 public:
  Statistics(Panel<T>& panel, const Workers<T>& workers, Index first_worker, int n_jobs)
      : panel_(panel),
        structure_(panel.structure),
        workers_(workers),
        first_worker_(first_worker),
        n_jobs_(n_jobs) {}

  // Of the factors that send messages, at a finite beta.
  void expect(const Temperature<T>& t, MatrixView<T> out) const {
    panel_.update_beliefs(n_jobs_);
    for_each_chunk(panel_.plan.factor_chunks(), workers_, first_worker_, n_jobs_,
                   [&](const Chunk& chunk, Worker<T>& worker) {
                     if (structure_.factor_groups[chunk.group].is_logical()) return;
                     for (Index block = chunk.first; block < chunk.last; ++block)
                       expect_block(chunk.group, block, t, worker.packed, out);
                   });
  }

  // Of tables of one variable: its marginals, the beliefs (n_graphs, n_states) of all graphs.
  void copy_unary(MatrixView<const T> beliefs, MatrixView<T> out) const {
    for (Index g = panel_.first_graph; g < panel_.first_graph + panel_.n_graphs; ++g)
      for (const Index f : structure_.unary_factors) {
        const Index i = structure_.variable(f, 0);
        std::copy_n(beliefs.row(g) + structure_.state_starts[i], structure_.cardinalities[i],
                    out.row(g) + structure_.energy_starts[f]);
      }
  }

  // Of all factors, at given states of one graph of the panel.
  void at_states(Index graph, const std::int64_t* states, T* out) const {
    std::fill_n(out, structure_.n_energies(), T(0));
    for (Index f = 0; f < structure_.n_factors(); ++f) {
      T* numbers = out + structure_.energy_starts[f];
      if (structure_.kinds[f] == FactorKind::table)
        numbers[structure_.configuration(f, states)] = T(1);
      else if (!structure_.group_of(f).is_logical())
        add_pair(f, graph, states, numbers);
    }
  }

 private:
  void expect_block(Index group, Index block, const Temperature<T>& t, Scratch<P>& scratch,
                    MatrixView<T> out) const {
    panel_.receive(group, block, scratch);
    const auto factor = panel_.energies->group(group).template view<P>(block);
    const FactorGroup& g = factor.group;
    V* p = scratch.at_least_rest(g.n_configurations + 2);
    add_inputs(g, scratch.q(), p);
    add_energies(factor, p);
    normalise<P>(p, g.n_configurations, t);
    const V* numbers = p;
    if (g.kind != FactorKind::table) {
      V* expected = p + g.n_configurations;
      Features<P>(factor).expect(p, expected);
      numbers = expected;
    }
    scatter(panel_, g.factors, block, numbers, g.n_numbers,
            [&](Index graph, Index f) { return out.row(graph) + structure_.energy_starts[f]; });
  }

  // sums[configuration] of what comes in; a prefix of the variables at a time, from the back so that it fits.
  static void add_inputs(const FactorGroup& group, const V* q, V* sums) {
    sums[0] = V{};
    Index size = 1;
    for (Index s = 0; s < group.arity(); ++s) {
      const Index k = group.cardinalities[s];
      for (Index c = size; c-- > 0;)
        for (Index x = k; x-- > 0;) sums[c * k + x] = sums[c] + q[group.first_row[s] + x];
      size *= k;
      poll_interrupt();
    }
  }

  static void add_energies(const FactorView<P>& factor, V* sums) {
    const FactorGroup& g = factor.group;
    if (g.arity() != 2) {
      for (Index c = 0; c < g.n_configurations; ++c) sums[c] += factor.row(c);
      return;
    }
    for (Index x = 0; x < g.cardinalities[0]; ++x)
      for (Index y = 0; y < g.cardinalities[1]; ++y) *sums++ += factor.row(pair_row(g, x, y));
  }

  void add_pair(Index f, Index graph, const std::int64_t* states, T* numbers) const {
    const Member member = structure_.factors[f];
    const auto factor = panel_.energies->group(member.group)
                            .template view<Single<T>>(panel_.plan.block_of(member.place),
                                                      panel_.plan.lane_of(member.place, graph));
    Features<Single<T>>(factor).add(states[structure_.variable(f, 0)], states[structure_.variable(f, 1)],
                                    T(1), numbers);
  }

  Panel<T>& panel_;
  const MessageGraph::Structure& structure_;
  const Workers<T>& workers_;
  Index first_worker_;
  int n_jobs_;
};

}  // namespace thalweg::cpu

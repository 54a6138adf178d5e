// What the messages of a panel tell of its variables: normalised beliefs, and the log partition.
#pragma once

#include "cpu/messages_panel.hpp"

namespace thalweg::cpu {

// Calls body(chunk, worker) for all chunks.
template <class T, class Body>
void for_each_chunk(const List<Chunk>& chunks, const Workers<T>& workers, Index first_worker, int n_jobs,
                    Body&& body) {
  parallel_for(chunks.count(), n_jobs, [&](Index c, int w) { body(chunks[c], *workers[first_worker + w]); });
}

// Rows of one block, by member: copies the lane of every graph to to(graph, member)[row].
template <class T, class To>
void scatter(const Panel<T>& panel, const List<Index>& members, Index block, const simd::Vec<T>* rows,
             Index n_rows, To&& to) {
  constexpr Index lanes = Packed<T>::lanes;
  const unsigned used = panel.used_lanes(members.count(), block, panel.all_graphs());
  for (Index lane = 0; lane < lanes; ++lane) {
    if ((used >> lane & 1u) == 0) continue;
    T* out = to(panel.first_graph + panel.graph_of(lane), members[panel.plan.place_of(block, lane)]);
    for (Index j = 0; j < n_rows; ++j) out[j] = rows[j][lane];
  }
}

// exp(-beta b) / sum, or b less its minimum; n rows in place.
template <class P>
void normalise(typename P::V* rows, Index n, const Temperature<typename P::Real>& t) {
  using V = typename P::V;
  const V low = lowest<P>(rows, n);
  if (!t.is_finite) {
    for (Index x = 0; x < n; ++x) rows[x] -= low;
    return;
  }
  const V base = low < infinity<typename P::Real> ? low : V{};
  V sum = V{};
  for (Index x = 0; x < n; ++x) {
    rows[x] = weight_of<P>(rows[x], base, t);
    sum += rows[x];
  }
  const V scale = sum > 0 ? typename P::Real(1) / sum : V{};  // 0 where nothing is left
  for (Index x = 0; x < n; ++x) rows[x] *= scale;
}

template <class T>
class Readout {
  using P = Packed<T>;
  using V = typename P::V;

 public:
  Readout(Panel<T>& panel, const Workers<T>& workers, Index first_worker, int n_jobs)
      : panel_(panel),
        structure_(panel.structure),
        workers_(workers),
        first_worker_(first_worker),
        n_jobs_(n_jobs) {}

  void beliefs(const Temperature<T>& t, MatrixView<T> out) {
    panel_.update_beliefs(n_jobs_);
    for_each_chunk(panel_.plan.variable_chunks(), workers_, first_worker_, n_jobs_,
                   [&](const Chunk& chunk, Worker<T>& worker) {
                     const VariableGroup& group = structure_.variable_groups[chunk.group];
                     V* rows = worker.packed.states();
                     for (Index block = chunk.first; block < chunk.last; ++block) {
                       load_beliefs(chunk.group, block, rows);
                       normalise<P>(rows, group.cardinality, t);
                       scatter(panel_, group.variables, block, rows, group.cardinality,
                               [&](Index g, Index i) { return out.row(g) + structure_.state_starts[i]; });
                     }
                   });
  }

  // sum_f log Z_f + sum_i (1 - d_i) log Z_i of every graph.
  void log_partition(const Temperature<T>& t, double* out) {
    panel_.update_beliefs(n_jobs_);
    Buffer<double> terms(term_count());
    for_each_chunk(panel_.plan.factor_chunks(), workers_, first_worker_, n_jobs_,
                   [&](const Chunk& chunk, Worker<T>& worker) {
                     for (Index block = chunk.first; block < chunk.last; ++block)
                       keep(factor_energy(chunk.group, block, t, worker.packed), t,
                            terms.data() + factor_term(chunk.group, block));
                   });
    for_each_chunk(panel_.plan.variable_chunks(), workers_, first_worker_, n_jobs_,
                   [&](const Chunk& chunk, Worker<T>& worker) {
                     for (Index block = chunk.first; block < chunk.last; ++block)
                       keep(variable_energy(chunk.group, block, t, worker.packed), t,
                            terms.data() + variable_term(chunk.group, block));
                   });
    add_up(terms, out);
  }

 private:
  void load_beliefs(Index group, Index block, V* rows) const {
    const VariableBlocks& b = panel_.plan.variables(group);
    const T* belief = panel_.beliefs.data() + b.first + block * b.rows * P::lanes;
    for (Index x = 0; x < b.rows; ++x) rows[x] = P::load(belief + x * P::lanes);
  }

  // -1/beta log Z_f.
  V factor_energy(Index group, Index block, const Temperature<T>& t, Scratch<P>& scratch) const {
    panel_.receive(group, block, scratch);
    const auto factor = panel_.energies->group(group).template view<P>(block);
    send<P>(factor, t, Wanted{0, true}, scratch);
    const V *m = scratch.m(), *q = scratch.q();
    return soft_minimum<P>(factor.group.cardinalities[0], t, [&](Index x) { return m[x] + q[x]; });
  }

  V variable_energy(Index group, Index block, const Temperature<T>& t, Scratch<P>& scratch) const {
    V* rows = scratch.states();
    load_beliefs(group, block, rows);
    return soft_minimum<P>(structure_.variable_groups[group].cardinality, t,
                           [&](Index x) { return rows[x]; });
  }

  static void keep(V energy, const Temperature<T>& t, double* terms) {
    for (int l = 0; l < P::lanes; ++l)
      terms[l] = -static_cast<double>(t.beta) * static_cast<double>(energy[l]);
  }

  // One term a lane, factors' blocks first: those of a group one after the other.
  [[nodiscard]] Index factor_term(Index group, Index block) const {
    for (Index g = 0; g < group; ++g) block += panel_.plan.factors(g).n_blocks;
    return block * P::lanes;
  }
  [[nodiscard]] Index variable_term(Index group, Index block) const {
    for (Index g = 0; g < group; ++g) block += panel_.plan.variables(g).n_blocks;
    return factor_term(structure_.factor_groups.count(), 0) + block * P::lanes;
  }
  [[nodiscard]] Index term_count() const { return variable_term(structure_.variable_groups.count(), 0); }

  void add_up(const Buffer<double>& terms, double* out) const {
    std::fill_n(out + panel_.first_graph, panel_.n_graphs, 0.0);
    for (Index g = 0; g < structure_.factor_groups.count(); ++g)
      add_members(
          structure_.factor_groups[g].factors, terms.data() + factor_term(g, 0), [](Index) { return 1.0; },
          out);
    for (Index g = 0; g < structure_.variable_groups.count(); ++g)
      add_members(
          structure_.variable_groups[g].variables, terms.data() + variable_term(g, 0),
          [this](Index i) { return 1.0 - static_cast<double>(structure_.degree(i)); }, out);
  }

  template <class Times>
  void add_members(const List<Index>& members, const double* terms, Times&& times, double* out) const {
    for (Index p = 0; p < members.count(); ++p) {
      const double n = times(members[p]);
      if (n == 0) continue;
      const double* block = terms + panel_.plan.block_of(p) * P::lanes;
      for (Index g = 0; g < panel_.n_graphs; ++g)
        out[panel_.first_graph + g] += n * block[panel_.plan.lane_of(p, g)];
    }
  }

  Panel<T>& panel_;
  const MessageGraph::Structure& structure_;
  const Workers<T>& workers_;
  Index first_worker_;
  int n_jobs_;
};

}  // namespace thalweg::cpu

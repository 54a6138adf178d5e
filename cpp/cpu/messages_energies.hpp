// The energies of factors, laid out for the kernels: blocks of rows, one element a lane, or one element for
// all lanes where the graphs, or the factors of a group, have the same.
//
// Rows of a group: a table's or a product's configurations; Potts: equal, different; truncated: the energy at
// every distance, then slope and cap. All but the last two also exist as weights, exp(-beta (E - least)).
#pragma once

#include <algorithm>

#include "core/buffer.hpp"
#include "core/parallel.hpp"
#include "cpu/messages_lanes.hpp"
#include "cpu/messages_plan.hpp"

namespace thalweg::cpu {

// The numbers of the graphs: graph g's begin at data + g * stride.
template <class T>
struct Numbers {
  const T* data = nullptr;
  Index stride = 0;

  [[nodiscard]] const T* of(Index graph) const { return data + graph * stride; }
};

// One block of factors, or one factor, as the kernels see it.
template <class P>
struct FactorView {
  using T = typename P::Real;

  const FactorGroup& group;
  const T* energy;
  const T* weight;
  const T* least;
  Index step;  // from one row to the next
  bool is_broadcast;
  Index reach;

  [[nodiscard]] typename P::V row(Index j) const { return value(energy + j * step); }
  [[nodiscard]] typename P::V least_energy() const { return value(least); }
  [[nodiscard]] typename P::V slope() const { return row(largest_cardinality()); }
  [[nodiscard]] typename P::V cap() const { return row(largest_cardinality() + 1); }
  [[nodiscard]] Index largest_cardinality() const {
    return std::max(group.cardinalities[0], group.cardinalities[1]);
  }

 private:
  [[nodiscard]] typename P::V value(const T* p) const {
    return P::is_single || !is_broadcast ? P::load(p) : P::broadcast(*p);
  }
};

// The row of a configuration of two variables.
[[nodiscard]] inline Index pair_row(const FactorGroup& group, Index x, Index y) {
  if (group.kind == FactorKind::potts) return x != y;
  if (group.is_truncated()) return x < y ? y - x : x - y;
  return x * group.cardinalities[1] + y;
}

template <class T>
class GroupEnergies {
 public:
  GroupEnergies(const MessageGraph::Structure& structure, const Plan& plan, Index group)
      : structure_(structure), plan_(plan), group_(structure.factor_groups[group]) {
    const auto& k = group_.cardinalities;
    n_weights_ = group_.kind == FactorKind::potts ? 2
                 : group_.is_truncated()          ? std::max(k[0], k[1])
                                                  : group_.n_configurations;
    n_rows_ = n_weights_ + (group_.is_truncated() ? 2 : 0);
  }

  // For `n_graphs` graphs from `first_graph` on, at most the plan's width.
  void set(Numbers<T> numbers, Index first_graph, Index n_graphs, int n_jobs) {
    is_uniform_ = plan_.width() == 1 && all_are_the_first(numbers.of(first_graph));
    is_broadcast_ = is_uniform_ || (plan_.width() > 1 && numbers.stride == 0);
    const Index n_blocks = stored_blocks();
    at_least(energy_, n_blocks * n_rows_ * unit());
    const Index per_job = std::max<Index>(1, 4096 / std::max<Index>(1, n_rows_));
    parallel_for(block_count(n_blocks, per_job), jobs_for(8 * n_blocks * n_rows_ * unit(), n_jobs),
                 [&](Index job, int) {
                   for (Index b = job * per_job; b < std::min(n_blocks, (job + 1) * per_job); ++b)
                     set_block(b, numbers, first_graph, n_graphs);
                 });
    set_reach(numbers, first_graph, n_graphs);
  }

  void set_weights(const Temperature<T>& t, int n_jobs) {
    const Index n_blocks = stored_blocks();
    at_least(weight_, n_blocks * n_weights_ * unit());
    at_least(least_, n_blocks * unit());
    const Index per_job = std::max<Index>(1, 4096 / std::max<Index>(1, n_weights_));
    parallel_for(block_count(n_blocks, per_job), jobs_for(32 * n_blocks * n_weights_ * unit(), n_jobs),
                 [&](Index job, int) {
                   for (Index b = job * per_job; b < std::min(n_blocks, (job + 1) * per_job); ++b)
                     set_block_weights(b, t);
                 });
  }

  template <class P>
  [[nodiscard]] FactorView<P> view(Index block, Index lane = 0) const {
    const Index b = is_uniform_ ? 0 : block;
    const Index l = is_broadcast_ ? 0 : lane;
    return {group_,
            at(energy_, b * n_rows_ * unit() + l),
            at(weight_, b * n_weights_ * unit() + l),
            at(least_, b * unit() + l),
            unit(),
            is_broadcast_,
            reach_};
  }

 private:
  // Null where there are none.
  [[nodiscard]] static const T* at(const Buffer<T>& buffer, Index i) {
    return buffer.size() > 0 ? buffer.data() + i : nullptr;
  }
  [[nodiscard]] Index unit() const { return is_broadcast_ ? 1 : plan_.lanes(); }
  [[nodiscard]] Index stored_blocks() const {
    return is_uniform_ ? 1 : plan_.block_count_of(group_.factors.count());
  }
  [[nodiscard]] const T* numbers_of(Index place, const T* numbers) const {
    return numbers + structure_.energy_starts[group_.factors[place]];
  }

  [[nodiscard]] bool all_are_the_first(const T* numbers) const {
    const T* first = numbers_of(0, numbers);
    for (Index p = 1; p < group_.factors.count(); ++p)
      if (!std::equal(first, first + group_.n_numbers, numbers_of(p, numbers))) return false;
    return true;
  }

  void set_block(Index block, Numbers<T> numbers, Index first_graph, Index n_graphs) {
    T* rows = energy_.data() + block * n_rows_ * unit();
    if (is_broadcast_) return set_rows(numbers_of(block, numbers.of(first_graph)), rows, 1);
    const bool is_one_graph = plan_.width() == 1;
    for (Index lane = 0; lane < plan_.lanes(); ++lane) {
      const Index place = plan_.place_of(block, lane);
      const bool is_used = is_one_graph ? place < group_.factors.count() : lane < n_graphs;
      if (is_used)
        set_rows(numbers_of(place, numbers.of(first_graph + (is_one_graph ? 0 : lane))), rows + lane,
                 plan_.lanes());
      else
        for (Index j = 0; j < n_rows_; ++j) rows[j * plan_.lanes() + lane] = T(0);
    }
  }

  void set_rows(const T* numbers, T* rows, Index step) const {
    switch (group_.kind) {
      case FactorKind::table:
        for (Index j = 0; j < n_rows_; ++j) rows[j * step] = numbers[j];
        break;
      case FactorKind::potts:
        rows[0] = T(0);
        rows[step] = numbers[0];
        break;
      case FactorKind::truncated_linear:
      case FactorKind::truncated_quadratic:
        for (Index d = 0; d < n_weights_; ++d) rows[d * step] = std::min(numbers[0] * growth(d), numbers[1]);
        rows[n_weights_ * step] = numbers[0];
        rows[(n_weights_ + 1) * step] = numbers[1];
        break;
      case FactorKind::product:
        for (Index x = 0, j = 0; x < group_.cardinalities[0]; ++x)
          for (Index y = 0; y < group_.cardinalities[1]; ++y, ++j)
            rows[j * step] = numbers[0] * static_cast<T>(x) * static_cast<T>(y);
        break;
      case FactorKind::logical_or:
      case FactorKind::logical_and:
        break;
    }
  }

  [[nodiscard]] T growth(Index distance) const {
    const T d = static_cast<T>(distance);
    return group_.kind == FactorKind::truncated_linear ? d : d * d;
  }

  // The largest distance at which some factor is below its cap.
  void set_reach(Numbers<T> numbers, Index first_graph, Index n_graphs) {
    reach_ = 0;
    if (!group_.is_truncated()) return;
    for (Index g = first_graph; g < first_graph + (numbers.stride == 0 ? 1 : n_graphs); ++g)
      for (Index p = 0; p < group_.factors.count(); ++p) {
        const T* n = numbers_of(p, numbers.of(g));
        Index d = n_weights_ - 1;
        while (d > reach_ && !(n[0] * growth(d) < n[1])) --d;
        reach_ = std::max(reach_, d);
      }
  }

  void set_block_weights(Index block, const Temperature<T>& t) {
    const Index n = unit();
    const T* energy = energy_.data() + block * n_rows_ * n;
    T* weight = weight_.data() + block * n_weights_ * n;
    T* least = least_.data() + block * n;
    std::fill_n(least, n, infinity<T>);
    for (Index j = 0; j < n_weights_; ++j)
      for (Index l = 0; l < n; ++l) least[l] = std::min(least[l], energy[j * n + l]);
    for (Index l = 0; l < n; ++l)
      if (!(least[l] < infinity<T>)) least[l] = T(0);
    if (n == Packed<T>::lanes)
      for (Index j = 0; j < n_weights_; ++j)
        simd::store<T>(weight + j * n,
                       weight_of<Packed<T>>(simd::load(energy + j * n), simd::load(least), t));
    else
      for (Index j = 0; j < n_weights_; ++j) weight[j] = single_weight(energy[j], least[0], t);
  }

  // With the bits that a lane of a vector would have.
  [[nodiscard]] static T single_weight(T energy, T least, const Temperature<T>& t) {
    return weight_of<Packed<T>>(simd::broadcast(energy), simd::broadcast(least), t)[0];
  }

  const MessageGraph::Structure& structure_;
  const Plan& plan_;
  const FactorGroup& group_;
  Index n_rows_ = 0;
  Index n_weights_ = 0;
  Index reach_ = 0;
  bool is_broadcast_ = false;
  bool is_uniform_ = false;  // one block stands for all
  Buffer<T> energy_;
  Buffer<T> weight_;
  Buffer<T> least_;
};

// The energies of one panel of graphs, or of all panels where they share them.
template <class T>
class Energies {
 public:
  Energies(const MessageGraph::Structure& structure, const Plan& plan) {
    for (Index g = 0; g < structure.factor_groups.count(); ++g) groups_.emplace_back(structure, plan, g);
  }

  void set(Numbers<T> numbers, Index first_graph, Index n_graphs, int n_jobs) {
    weights_beta_ = 0;
    for (auto& group : groups_) group.set(numbers, first_graph, n_graphs, n_jobs);
  }

  // Weights for this beta, where they are not there yet.
  void prepare(const Temperature<T>& t, int n_jobs) {
    if (!t.is_finite || weights_beta_ == t.beta) return;
    for (auto& group : groups_) group.set_weights(t, n_jobs);
    weights_beta_ = t.beta;
  }

  [[nodiscard]] const GroupEnergies<T>& group(Index g) const { return groups_[g]; }

 private:
  List<GroupEnergies<T>> groups_;
  T weights_beta_ = 0;
};

}  // namespace thalweg::cpu

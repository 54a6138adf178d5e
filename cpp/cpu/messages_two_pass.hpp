// Exact messages of a forest: from the leaves to the roots, and back.
#pragma once

#include "cpu/messages_panel.hpp"

namespace thalweg::cpu {

// P: Single for one graph, Packed for the graphs in the lanes of a panel.
template <class T, class P>
class TwoPass {
  using V = typename P::V;

 public:
  TwoPass(Panel<T>& panel, const Temperature<T>& t, Scratch<P>& scratch)
      : panel_(panel), structure_(panel.structure), t_(t), scratch_(scratch) {}

  void run() {
    panel_.reset();
    std::copy_n(panel_.unary.data(), panel_.unary.size(), panel_.beliefs.data());
    for (Index i = 0; i < structure_.n_variables(); ++i) check(i);
    const List<TreeStep>& tree = structure_.tree;
    for (Index n = tree.count(); n-- > 0;) pass(tree[n], true);
    for (Index n = 0; n < tree.count(); ++n) pass(tree[n], false);
    panel_.is_traceable = !t_.is_finite;
  }

 private:
  void pass(const TreeStep& step, bool upwards) {
    poll_interrupt();
    panel_.template receive_directly<P>(step.factor, 0, scratch_);
    const Member member = structure_.factors[step.factor];
    const auto factor = panel_.energies->group(member.group)
                            .template view<P>(panel_.plan.block_of(member.place), lane_of(member));
    const Wanted wanted{step.parent, upwards};
    send<P>(factor, t_, wanted, scratch_);
    for (Index s = 0; s < factor.group.arity(); ++s)
      if (wanted.has(s)) deliver(step.factor, s, factor.group);
  }

  [[nodiscard]] Index lane_of(Member member) const { return panel_.plan.lane_of(member.place, 0); }

  void deliver(Index factor, Index slot, const FactorGroup& group) {
    const Index i = structure_.variable(factor, slot);
    const V* sent = scratch_.m() + group.first_row[slot];
    T* message = panel_.messages.data() + panel_.plan.message_at(structure_.factors[factor], 0) +
                 group.first_row[slot] * Packed<T>::lanes;
    T* belief = panel_.beliefs.data() + panel_.plan.belief_at(structure_.variables[i], 0);
    const V low = lowest<P>(sent, group.cardinalities[slot]);
    stop_at(low, i);
    for (Index x = 0; x < group.cardinalities[slot]; ++x) {
      const V m = sent[x] - low;
      P::store(message + x * Packed<T>::lanes, m);
      P::store(belief + x * Packed<T>::lanes, P::load(belief + x * Packed<T>::lanes) + m);
    }
    check(i);
  }

  void check(Index variable) {
    const T* belief = panel_.beliefs.data() + panel_.plan.belief_at(structure_.variables[variable], 0);
    V low = P::load(belief);
    for (Index x = 1; x < structure_.cardinalities[variable]; ++x)
      low = minimum(low, P::load(belief + x * Packed<T>::lanes));
    stop_at(low, variable);
  }

  void stop_at(V low, Index variable) {
    unsigned empty = 0;
    if constexpr (P::is_single)
      empty = low == infinity<T> ? 1 : 0;
    else
      empty = simd::lane_bits<T>(low == infinity<T>) & panel_.all_graphs();
    if (empty == 0) return;
    Forbidden forbidden(Packed<T>::lanes);
    panel_.note_forbidden(empty, forbidden, [&](Index) { return variable; });
    panel_.fail(forbidden);
  }

  Panel<T>& panel_;
  const MessageGraph::Structure& structure_;
  const Temperature<T>& t_;
  Scratch<P>& scratch_;
};

}  // namespace thalweg::cpu

// The states that the beliefs of one graph prefer.
#pragma once

#include "cpu/messages_panel.hpp"

namespace thalweg::cpu {

template <class T>
class Decoder {
  using P = Single<T>;
  static constexpr Index lanes = Packed<T>::lanes;

 public:
  // Beliefs are those of the messages.
  Decoder(const Panel<T>& panel, Index graph, Scratch<P>& scratch)
      : panel_(panel), structure_(panel.structure), graph_(graph), scratch_(scratch) {}

  // The first of the smallest of every belief.
  void each_alone(std::int64_t* states) const {
    for (Index i = 0; i < structure_.n_variables(); ++i) states[i] = smallest(i);
  }

  // On a forest after two passes: below a decoded variable, what goes with it.
  void trace(std::int64_t* states) {
    std::fill_n(states, structure_.n_variables(), std::int64_t{-1});
    for (const TreeStep& step : structure_.tree) {
      const Index above = structure_.variable(step.factor, step.parent);
      if (states[above] < 0) states[above] = smallest(above);  // a root
      choose(step, states);
    }
    for (Index i = 0; i < structure_.n_variables(); ++i)
      if (states[i] < 0) states[i] = smallest(i);
  }

  // E at given states.
  [[nodiscard]] double energy(const std::int64_t* states) const {
    double sum = 0;
    for (Index i = 0; i < structure_.n_variables(); ++i) {
      const Index at = panel_.plan.belief_at(structure_.variables[i], graph_);
      sum += static_cast<double>(panel_.unary[at + states[i] * lanes]);
    }
    for (Index f = 0; f < structure_.n_factors(); ++f)
      if (structure_.factors[f].group >= 0) sum += factor_energy(f, states);
    return sum;
  }

 private:
  [[nodiscard]] FactorView<P> view(Index factor) const {
    const Member member = structure_.factors[factor];
    return panel_.energies->group(member.group)
        .template view<P>(panel_.plan.block_of(member.place), panel_.plan.lane_of(member.place, graph_));
  }

  [[nodiscard]] double factor_energy(Index factor, const std::int64_t* states) const {
    const FactorGroup& group = structure_.group_of(factor);
    if (group.is_logical()) return structure_.is_satisfied(factor, states) ? 0.0 : infinity<double>;
    const auto state = [&](Index s) { return states[structure_.variable(factor, s)]; };
    if (group.arity() == 2) return static_cast<double>(view(factor).row(pair_row(group, state(0), state(1))));
    return static_cast<double>(view(factor).row(structure_.configuration(factor, states)));
  }

  [[nodiscard]] Index smallest(Index variable) const {
    const T* b = panel_.beliefs.data() + panel_.plan.belief_at(structure_.variables[variable], graph_);
    Index best = 0;
    for (Index x = 1; x < structure_.cardinalities[variable]; ++x)
      if (b[x * lanes] < b[best * lanes]) best = x;
    return best;
  }

  void choose(const TreeStep& step, std::int64_t* states) {
    poll_interrupt();
    panel_.template receive_directly<P>(step.factor, graph_, scratch_);
    const FactorGroup& group = structure_.group_of(step.factor);
    chosen_ = List<Index>(group.arity(), 0);
    chosen_[step.parent] = states[structure_.variable(step.factor, step.parent)];
    if (group.is_logical())
      choose_logical(step, group.kind == FactorKind::logical_and ? 1 : 0);
    else
      choose_configuration(step, group);
    for (Index s = 0; s < group.arity(); ++s) states[structure_.variable(step.factor, s)] = chosen_[s];
  }

  // The first of the smallest configurations with the parent's state.
  void choose_configuration(const TreeStep& step, const FactorGroup& group) {
    const auto factor = view(step.factor);
    const T* q = scratch_.q();
    T low = infinity<T>;
    List<Index> at = chosen_;
    do {
      const Index row = group.arity() == 2 ? pair_row(group, at[0], at[1]) : flat(group, at);
      T energy = factor.row(row);
      for (Index s = 0; s < group.arity(); ++s)
        if (s != step.parent) energy += q[group.first_row[s] + at[s]];
      if (energy < low) {
        low = energy;
        chosen_ = at;
      }
    } while (next(group, step.parent, at));
  }

  static Index flat(const FactorGroup& group, const List<Index>& at) {
    Index row = 0;
    for (Index s = 0; s < group.arity(); ++s) row = row * group.cardinalities[s] + at[s];
    return row;
  }

  // The next configuration in row-major order, the parent's state fixed; false behind the last.
  static bool next(const FactorGroup& group, Index parent, List<Index>& at) {
    for (Index s = group.arity(); s-- > 0;) {
      if (s == parent) continue;
      if (++at[s] < group.cardinalities[s]) return true;
      at[s] = 0;
    }
    return false;
  }

  // As for the or; the and is the or with 0 and 1 exchanged.
  void choose_logical(const TreeStep& step, Index flip) {
    const Index output = chosen_.count() - 1;
    const T* q = scratch_.q();
    const auto energy = [&](Index s, Index state) { return q[2 * s + (state ^ flip)]; };
    const Index given = chosen_[step.parent] ^ flip;
    T none = energy(output, 0), some = energy(output, 1);
    T cheapest = infinity<T>;  // to make one input 1 that would be 0
    Index turned = -1;
    bool has_one = false;
    for (Index s = 0; s < output; ++s) {
      if (s == step.parent) continue;
      const T zero = energy(s, 0), one = energy(s, 1);
      chosen_[s] = one < zero ? 1 : 0;
      has_one = has_one || chosen_[s] == 1;
      none += zero;
      some += std::min(zero, one);
      if (chosen_[s] == 0 && (turned < 0 || one - zero < cheapest)) {
        turned = s;
        cheapest = one - zero;
      }
    }
    const bool needs_one = step.parent == output || given == 0;  // no input is 1 yet
    if (step.parent != output) chosen_[step.parent] = given;
    if (needs_one && !has_one) some = turned < 0 ? infinity<T> : some + cheapest;
    Index result = 1;
    if (step.parent == output)
      result = given;
    else if (given == 0)
      result = none <= some ? 0 : 1;
    chosen_[output] = result;
    if (result == 0)
      std::fill_n(chosen_.begin(), output, Index{0});
    else if (needs_one && !has_one && turned >= 0)
      chosen_[turned] = 1;
    for (Index& state : chosen_) state ^= flip;
  }

  const Panel<T>& panel_;
  const MessageGraph::Structure& structure_;
  Index graph_;
  Scratch<P>& scratch_;
  List<Index> chosen_;
};

}  // namespace thalweg::cpu

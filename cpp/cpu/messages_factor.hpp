// The messages of any factor: which kernel serves it, and the memory it works in.
#pragma once

#include "cpu/messages_logical.hpp"
#include "cpu/messages_table.hpp"

namespace thalweg::cpu {

// Rows of one block of factors: what comes in, what goes out, and what a kernel needs besides.
template <class P>
class Scratch {
  using V = typename P::V;

 public:
  explicit Scratch(const MessageGraph::Structure& structure) {
    Index rows = 0, rest = 0, states = 0;
    for (const FactorGroup& group : structure.factor_groups) {
      rows = std::max(rows, group.n_rows());
      rest = std::max(rest, kernel_size(group));
    }
    for (const VariableGroup& group : structure.variable_groups) states = std::max(states, group.cardinality);
    q_ = Buffer<V>(rows);
    m_ = Buffer<V>(rows);
    rest_ = Buffer<V>(rest);
    states_ = Buffer<V>(states);
  }

  [[nodiscard]] V* q() const { return q_.data(); }
  [[nodiscard]] V* m() const { return m_.data(); }
  [[nodiscard]] V* rest() const { return rest_.data(); }
  [[nodiscard]] V* states() const { return states_.data(); }  // of one variable
  [[nodiscard]] V* at_least_rest(Index size) { return at_least(rest_, size); }

 private:
  static Index kernel_size(const FactorGroup& group) {
    if (group.is_logical()) return LogicalKernel<P>::scratch(group);
    return group.arity() == 2 ? group.n_rows() : TableKernel<P>::scratch(group);
  }

  Buffer<V> q_;
  Buffer<V> m_;
  Buffer<V> rest_;
  Buffer<V> states_;
};

// scratch.m: the messages that come of scratch.q, neither normalised nor damped; where all are wanted, each
// may be off by a constant.
template <class P>
void send(const FactorView<P>& factor, const Temperature<typename P::Real>& t, const Wanted& wanted,
          Scratch<P>& scratch) {
  if (factor.group.is_logical())
    LogicalKernel<P>(factor, t, scratch.q(), scratch.m(), scratch.rest()).run(wanted);
  else if (factor.group.arity() == 2)
    PairKernel<P>(factor, t, scratch.q(), scratch.m(), scratch.rest()).run(wanted);
  else
    TableKernel<P>(factor, t, scratch.q(), scratch.m(), scratch.rest()).run(wanted);
}

}  // namespace thalweg::cpu

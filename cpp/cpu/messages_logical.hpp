// Messages of the logical or and and, of any number of variables in linear time.
//
// The or of inputs is known once "none of them is 1" and "some are" are told apart; both are kept for the
// inputs before and behind every input. The and is the or with 0 and 1 exchanged everywhere.
#pragma once

#include "cpu/messages_pair.hpp"

namespace thalweg::cpu {

template <class P>
class LogicalKernel {
  using T = typename P::Real;
  using V = typename P::V;

  // The energy of some inputs: all 0, at least one 1, free.
  struct Inputs {
    V none;
    V some;
    V any;
  };

 public:
  static Index scratch(const FactorGroup& group) { return 3 * group.arity(); }

  LogicalKernel(const FactorView<P>& factor, const Temperature<T>& t, const V* q, V* m, V* scratch)
      : t_(t),
        flip_(factor.group.kind == FactorKind::logical_and ? 1 : 0),
        n_inputs_(factor.group.arity() - 1),
        q_(q),
        m_(m),
        scratch_(scratch) {}

  void run(const Wanted& wanted) {
    Inputs before{V{}, P::broadcast(infinity<T>), V{}};
    for (Index i = 0; i < n_inputs_; ++i) {
      keep(i, before);
      before = with(before, one(i));
    }
    if (wanted.has(n_inputs_)) {
      message(n_inputs_, 0) = before.none;
      message(n_inputs_, 1) = before.some;
    }
    Inputs behind{V{}, P::broadcast(infinity<T>), V{}};
    for (Index i = n_inputs_; i-- > 0;) {
      if (wanted.has(i)) to_input(i, with(kept(i), behind));
      behind = with(one(i), behind);
    }
  }

 private:
  [[nodiscard]] V input(Index slot, Index state) const { return q_[2 * slot + (state ^ flip_)]; }
  [[nodiscard]] V& message(Index slot, Index state) const { return m_[2 * slot + (state ^ flip_)]; }

  [[nodiscard]] Inputs one(Index i) const {
    return {input(i, 0), input(i, 1), soft_minimum<P>(input(i, 0), input(i, 1), t_)};
  }

  [[nodiscard]] Inputs with(const Inputs& a, const Inputs& b) const {
    return {a.none + b.none, soft_minimum<P>(a.some + b.any, a.none + b.some, t_), a.any + b.any};
  }

  void to_input(Index i, const Inputs& others) const {
    const V zero = input(n_inputs_, 0), one = input(n_inputs_, 1);
    message(i, 0) = soft_minimum<P>(zero + others.none, one + others.some, t_);
    message(i, 1) = one + others.any;
  }

  void keep(Index i, const Inputs& inputs) {
    scratch_[3 * i] = inputs.none;
    scratch_[3 * i + 1] = inputs.some;
    scratch_[3 * i + 2] = inputs.any;
  }
  [[nodiscard]] Inputs kept(Index i) const {
    return {scratch_[3 * i], scratch_[3 * i + 1], scratch_[3 * i + 2]};
  }

  const Temperature<T>& t_;
  Index flip_;
  Index n_inputs_;
  const V* q_;
  V* m_;
  V* scratch_;
};

}  // namespace thalweg::cpu

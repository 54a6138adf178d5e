// Messages of tables of three and more variables, in the log domain: the table is summed out variable by
// variable from the right, and for each message what is left from the left.
#pragma once

#include "core/parallel.hpp"
#include "cpu/messages_pair.hpp"

namespace thalweg::cpu {

template <class P>
class TableKernel {
  using T = typename P::Real;
  using V = typename P::V;

 public:
  // V that `run` uses for a group.
  static Index scratch(const FactorGroup& group) {
    return group.reduced_starts[0] + group.n_configurations / group.cardinalities[0];
  }

  TableKernel(const FactorView<P>& factor, const Temperature<T>& t, const V* q, V* m, V* scratch)
      : factor_(factor), group_(factor.group), t_(t), q_(q), m_(m), scratch_(scratch) {}

  void run(const Wanted& wanted) {
    reduce_from_right();
    for (Index s = 0; s < group_.arity(); ++s) {
      V* out = m_ + group_.first_row[s];
      if (wanted.has(s)) reduce_from_left(s, out);
    }
  }

 private:
  // The energies of the variables before s, the others summed out.
  [[nodiscard]] V* reduced(Index s) const { return scratch_ + group_.reduced_starts[s]; }

  void reduce_from_right() {
    const Index n = group_.arity();
    Index size = group_.n_configurations;
    for (Index s = n - 1; s >= 1; --s) {
      const Index k = group_.cardinalities[s];
      size /= k;
      const V* q = q_ + group_.first_row[s];
      if (s == n - 1)
        contract(size, k, 1, [this](Index j) { return factor_.row(j); }, q, reduced(s));
      else
        contract(size, k, 1, [in = reduced(s + 1)](Index j) { return in[j]; }, q, reduced(s));
    }
  }

  void reduce_from_left(Index slot, V* out) {
    const bool is_last = slot + 1 == group_.arity();
    if (slot == 0) {
      std::copy_n(reduced(1), group_.cardinalities[0], out);
      return;
    }
    Index size = 1;
    for (Index s = 0; s <= slot; ++s) size *= group_.cardinalities[s];
    V* const rest = scratch_ + group_.reduced_starts[0];
    for (Index s = 0; s < slot; ++s) {
      const Index k = group_.cardinalities[s];
      size /= k;
      V* to = s + 1 == slot ? out : rest;
      const V* q = q_ + group_.first_row[s];
      if (s > 0)
        contract(1, k, size, [rest](Index j) { return rest[j]; }, q, to);
      else if (is_last)
        contract(1, k, size, [this](Index j) { return factor_.row(j); }, q, to);
      else
        contract(1, k, size, [in = reduced(slot + 1)](Index j) { return in[j]; }, q, to);
    }
  }

  // out[a, b] = soft minimum over j of in(a, j, b) + q[j]; `out` may be where `in` is.
  template <class In>
  void contract(Index n_a, Index k, Index n_b, const In& in, const V* q, V* out) {
    constexpr Index between_polls = 4096;
    for (Index a = 0, done = 0; a < n_a; ++a)
      for (Index b = 0; b < n_b; ++b, done += k) {
        out[a * n_b + b] = soft_minimum<P>(k, t_, [&](Index j) { return in((a * k + j) * n_b + b) + q[j]; });
        if (done >= between_polls) {
          poll_interrupt();
          done = 0;
        }
      }
  }

  const FactorView<P>& factor_;
  const FactorGroup& group_;
  const Temperature<T>& t_;
  const V* q_;
  V* m_;
  V* scratch_;
};

}  // namespace thalweg::cpu

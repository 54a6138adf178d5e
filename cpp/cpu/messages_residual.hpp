// The residual schedule of one graph: the factor whose messages would change most goes first (G. Elidan, I.
// McGraw, D. Koller, UAI 2006).
#pragma once

#include "cpu/messages_panel.hpp"

namespace thalweg::cpu {

// Numbers by which factors are kept in order, the largest first, the lower index first among equals.
template <class T>
class FactorQueue {
 public:
  explicit FactorQueue(Index n) : value_(n, T(0)), where_(n, -1) {}

  [[nodiscard]] bool is_empty() const { return heap_.empty(); }
  [[nodiscard]] Index top() const { return heap_[0]; }
  [[nodiscard]] T value(Index factor) const { return value_[factor]; }

  void set(Index factor, T value) {
    value_[factor] = value;
    if (where_[factor] < 0) {
      where_[factor] = heap_.count();
      heap_.push_back(factor);
    }
    rise(where_[factor]);
    sink(where_[factor]);
  }

 private:
  [[nodiscard]] bool goes_before(Index a, Index b) const {
    return value_[a] > value_[b] || (value_[a] == value_[b] && a < b);
  }
  void place(Index at, Index factor) {
    heap_[at] = factor;
    where_[factor] = at;
  }
  void rise(Index at) {
    const Index factor = heap_[at];
    for (; at > 0 && goes_before(factor, heap_[(at - 1) / 2]); at = (at - 1) / 2)
      place(at, heap_[(at - 1) / 2]);
    place(at, factor);
  }
  void sink(Index at) {
    const Index factor = heap_[at];
    for (Index child = 2 * at + 1; child < heap_.count(); child = 2 * at + 1) {
      if (child + 1 < heap_.count() && goes_before(heap_[child + 1], heap_[child])) ++child;
      if (!goes_before(heap_[child], factor)) break;
      place(at, heap_[child]);
      at = child;
    }
    place(at, factor);
  }

  List<T> value_;
  List<Index> where_;
  List<Index> heap_;
};

template <class T>
class ResidualSchedule {
  using P = Single<T>;
  static constexpr Index lanes = Packed<T>::lanes;

 public:
  // Of graph `graph` of the panel, whose beliefs are those of its messages.
  ResidualSchedule(Panel<T>& panel, Index graph, const ScheduleOptions& options, const Temperature<T>& t,
                   Scratch<P>& scratch)
      : panel_(panel),
        structure_(panel.structure),
        graph_(graph),
        options_(options),
        t_(t),
        damping_(static_cast<T>(options.damping)),
        scratch_(scratch),
        queue_(structure_.n_factors()) {}

  void run(const ScheduleReport& report) {
    for (Index f = 0; f < structure_.n_factors(); ++f)
      if (structure_.factors[f].group >= 0) queue_.set(f, evaluate(f).largest);
    Index steps = 0;
    while (steps < options_.max_steps && !is_done()) {
      update(queue_.top());
      ++steps;
    }
    report.steps[panel_.first_graph + graph_] = steps;
    report.residual[panel_.first_graph + graph_] =
        queue_.is_empty() ? 0.0 : static_cast<double>(queue_.value(queue_.top()));
  }

 private:
  [[nodiscard]] bool is_done() const {
    return queue_.is_empty() || !(static_cast<double>(queue_.value(queue_.top())) > options_.tol);
  }

  // By how much messages would change: all of their numbers, and those that are finite before and after.
  struct Change {
    T largest = 0;
    T finite = 0;
  };

  // scratch.m: the messages that the factor would send.
  Change evaluate(Index factor) {
    if (++n_evaluations_ % 16 == 0) poll_interrupt();
    panel_.template receive_directly<P>(factor, graph_, scratch_);
    const Member member = structure_.factors[factor];
    const auto view =
        panel_.energies->group(member.group)
            .template view<P>(panel_.plan.block_of(member.place), panel_.plan.lane_of(member.place, graph_));
    send<P>(view, t_, Wanted(), scratch_);
    const FactorGroup& group = view.group;
    const T* old = panel_.messages.data() + panel_.plan.message_at(member, graph_);
    Change change;
    for (Index s = 0; s < group.arity(); ++s) {
      T* sent = scratch_.m() + group.first_row[s];
      const T low = lowest<P>(sent, group.cardinalities[s]);
      if (low == infinity<T>) fail(structure_.variable(factor, s));
      for (Index x = 0; x < group.cardinalities[s]; ++x, old += lanes) {
        sent[x] -= low;
        if (sent[x] == *old) continue;
        const T step = std::abs(sent[x] - *old);
        change.largest = std::max(change.largest, step);
        if (sent[x] < infinity<T> && *old < infinity<T>) change.finite = std::max(change.finite, step);
      }
    }
    return change;
  }

  void update(Index factor) {
    const Change change = evaluate(factor);
    store(factor);
    // What is left is known, as the messages do not depend on themselves: what became +inf is so at once,
    // the rest has gone all of its way but the damped part.
    queue_.set(factor, damping_ > T(0) ? damping_ * change.finite : T(0));
    for (Index s = 0; s < structure_.arity(factor); ++s) update_belief(structure_.variable(factor, s));
    for (Index s = 0; s < structure_.arity(factor); ++s) {
      const Index i = structure_.variable(factor, s);
      for (Index e = structure_.edge_starts[i]; e < structure_.edge_starts[i + 1]; ++e) {
        const Index neighbour = structure_.edges[e].factor;
        if (neighbour != factor) queue_.set(neighbour, evaluate(neighbour).largest);
      }
    }
  }

  void store(Index factor) {
    T* message = panel_.messages.data() + panel_.plan.message_at(structure_.factors[factor], graph_);
    const T* sent = scratch_.m();
    for (Index j = 0; j < structure_.group_of(factor).n_rows(); ++j, message += lanes)
      *message = damping_ > T(0) ? (T(1) - damping_) * sent[j] + damping_ * *message : sent[j];
  }

  void update_belief(Index variable) {
    const Index at = panel_.plan.belief_at(structure_.variables[variable], graph_);
    const Index n = structure_.cardinalities[variable];
    T* sum = scratch_.states();
    for (Index x = 0; x < n; ++x) sum[x] = panel_.unary[at + x * lanes];
    for (Index e = structure_.edge_starts[variable]; e < structure_.edge_starts[variable + 1]; ++e) {
      const Edge edge = structure_.edges[e];
      const T* m = panel_.messages.data() + panel_.plan.message_at(structure_.factors[edge.factor], graph_) +
                   structure_.group_of(edge.factor).first_row[edge.slot] * lanes;
      for (Index x = 0; x < n; ++x) sum[x] += m[x * lanes];
    }
    for (Index x = 0; x < n; ++x) panel_.beliefs[at + x * lanes] = sum[x];
    if (lowest<P>(sum, n) == infinity<T>) fail(variable);
  }

  [[noreturn]] void fail(Index variable) const {
    Forbidden forbidden(lanes);
    forbidden.note(variable, graph_);
    panel_.fail(forbidden);
  }

  Panel<T>& panel_;
  const MessageGraph::Structure& structure_;
  Index graph_;
  const ScheduleOptions& options_;
  const Temperature<T>& t_;
  T damping_;
  Scratch<P>& scratch_;
  FactorQueue<T> queue_;
  unsigned n_evaluations_ = 0;
};

}  // namespace thalweg::cpu

// The flooding schedule: all beliefs, then all messages, again and again.
#pragma once

#include "cpu/messages_panel.hpp"

namespace thalweg::cpu {

template <class T>
class Flood {
  using P = Packed<T>;
  using V = typename P::V;

 public:
  // Works with `workers` from `first_worker` on, `n_jobs` of them.
  Flood(Panel<T>& panel, const Workers<T>& workers, Index first_worker, int n_jobs,
        const ScheduleOptions& options, const Temperature<T>& t)
      : panel_(panel),
        workers_(workers),
        first_worker_(first_worker),
        n_jobs_(n_jobs),
        options_(options),
        t_(t),
        damping_(static_cast<T>(options.damping)) {}

  void run(const ScheduleReport& report) {
    std::int64_t* steps = report.steps + panel_.first_graph;
    double* residual = report.residual + panel_.first_graph;
    std::fill_n(steps, panel_.n_graphs, std::int64_t{0});
    std::fill_n(residual, panel_.n_graphs, infinity<double>);
    unsigned going = panel_.graphs_going(options_.is_going);
    for (Index sweep = 0; sweep < options_.max_steps && going != 0; ++sweep) {
      panel_.update_beliefs(n_jobs_);
      update_messages(going);
      const V change = largest_change();
      for (Index g = 0; g < panel_.n_graphs; ++g) {
        if ((going >> g & 1u) == 0) continue;
        ++steps[g];
        residual[g] = static_cast<double>(panel_.plan.width() == 1 ? simd::max_lanes<T>(change) : change[g]);
        if (residual[g] <= options_.tol) going &= ~(1u << g);
      }
    }
  }

 private:
  void update_messages(unsigned graphs) {
    for_each_worker([](Worker<T>& worker) { worker.change = V{}; });
    Forbidden forbidden(P::lanes);
    const List<Chunk>& chunks = panel_.plan.factor_chunks();
    parallel_for(chunks.count(), n_jobs_, [&](Index c, int w) {
      const Chunk& chunk = chunks[c];
      Worker<T>& worker = *workers_[first_worker_ + w];
      for (Index block = chunk.first; block < chunk.last; ++block)
        update_block(chunk.group, block, graphs, worker, forbidden);
    });
    panel_.check(forbidden);
  }

  void update_block(Index group, Index block, unsigned graphs, Worker<T>& worker, Forbidden& forbidden) {
    panel_.receive(group, block, worker.packed);
    const auto factor = panel_.energies->group(group).template view<P>(block);
    send<P>(factor, t_, Wanted(), worker.packed);
    const FactorGroup& g = factor.group;
    const unsigned lanes = panel_.used_lanes(g.factors.count(), block, graphs);
    T* messages = panel_.messages.data() + panel_.plan.factors(group).first + block * g.n_rows() * P::lanes;
    for (Index s = 0; s < g.arity(); ++s) {
      const Index row = g.first_row[s];
      const unsigned empty =
          take(worker.packed.m() + row, g.cardinalities[s], lanes, messages + row * P::lanes, worker.change);
      if (empty != 0) [[unlikely]]
        panel_.note_forbidden(empty, forbidden, [&](Index lane) {
          return panel_.structure.variable(g.factors[panel_.plan.place_of(block, lane)], s);
        });
    }
  }

  // Normalises and damps a message; the lanes in which it has no finite state.
  [[gnu::always_inline]] unsigned take(const V* sent, Index n, unsigned lanes, T* message, V& change) const {
    const V low = lowest<P>(sent, n);
    if (lanes != panel_.plan.all_lanes())
      store<true, true>(sent, n, low, lanes, message, change);
    else if (damping_ > T(0))
      store<true, false>(sent, n, low, lanes, message, change);
    else
      store<false, false>(sent, n, low, lanes, message, change);
    return simd::lane_bits<T>(low == infinity<T>) & lanes;
  }

  template <bool IsDamped, bool IsPartial>
  [[gnu::always_inline]] void store(const V* sent, Index n, V low, unsigned lanes, T* message,
                                    V& change) const {
    const auto used = simd::lane_mask<T>(lanes);
    const T damping = damping_, rest = T(1) - damping;
    V largest = change;
    for (Index x = 0; x < n; ++x) {
      const V old = P::load(message + x * P::lanes);
      const V next = sent[x] - low;
      V step = next == old ? V{} : absolute<T>(next - old);
      V mixed = next;
      if constexpr (IsDamped) mixed = damping > T(0) ? rest * next + damping * old : next;
      if constexpr (IsPartial) {
        step = used ? step : V{};
        mixed = used ? mixed : old;
      }
      largest = maximum(largest, step);
      P::store(message + x * P::lanes, mixed);
    }
    change = largest;
  }

  [[nodiscard]] V largest_change() const {
    V change = {};
    for_each_worker([&](const Worker<T>& worker) { change = maximum(change, worker.change); });
    return change;
  }

  template <class Visit>
  void for_each_worker(Visit&& visit) const {
    const Index last = std::min<Index>(workers_.count(), first_worker_ + thread_count(n_jobs_));
    for (Index w = first_worker_; w < last; ++w) visit(*workers_[w]);
  }

  Panel<T>& panel_;
  const Workers<T>& workers_;
  Index first_worker_;
  int n_jobs_;
  const ScheduleOptions& options_;
  const Temperature<T>& t_;
  T damping_;
};

}  // namespace thalweg::cpu

// The messages and beliefs of a panel: one graph, or as many as a vector has lanes.
#pragma once

#include <atomic>
#include <memory>
#include <stdexcept>
#include <string>

#include "cpu/messages_factor.hpp"

namespace thalweg::cpu {

// What one thread works in.
template <class T>
struct Worker {
  explicit Worker(const MessageGraph::Structure& structure) : packed(structure), single(structure) {}

  Scratch<Packed<T>> packed;
  Scratch<Single<T>> single;
  simd::Vec<T> change = {};  // the largest of a sweep so far, lane by lane
};

template <class T>
using Workers = List<std::unique_ptr<Worker<T>>>;

// The first variable, and of its graphs the first, that has no state left.
class Forbidden {
 public:
  explicit Forbidden(Index n_lanes) : n_lanes_(n_lanes) {}

  void note(Index variable, Index lane) {
    const Index found = variable * n_lanes_ + lane;
    Index seen = first_.load(std::memory_order_relaxed);
    while (found < seen && !first_.compare_exchange_weak(seen, found)) {
    }
  }
  [[nodiscard]] bool is_found() const { return first_.load() != nothing; }
  [[nodiscard]] Index variable() const { return first_.load() / n_lanes_; }
  [[nodiscard]] Index lane() const { return first_.load() % n_lanes_; }

 private:
  static constexpr Index nothing = std::numeric_limits<Index>::max();
  Index n_lanes_;
  std::atomic<Index> first_{nothing};
};

template <class T>
struct Panel {
  using P = Packed<T>;
  using V = typename P::V;
  using Structure = MessageGraph::Structure;

  Panel(const Structure& structure_, const Plan& plan_, Index first_graph_, Index n_graphs_, bool is_alone_)
      : structure(structure_),
        plan(plan_),
        first_graph(first_graph_),
        n_graphs(n_graphs_),
        is_alone(is_alone_),
        messages(plan.n_messages(), T(0)),
        beliefs(plan.n_beliefs(), T(0)),
        unary(plan.n_beliefs(), T(0)) {}

  void reset() {
    std::fill_n(messages.data(), messages.size(), T(0));
    is_traceable = false;
  }

  // Energies of single variables, tables of one variable among them.
  void set_unary(MatrixView<const T> energies, Numbers<T> numbers) {
    for (Index g = 0; g < n_graphs; ++g) {
      const T* row = energies.row(first_graph + g);
      for (Index i = 0; i < structure.n_variables(); ++i) {
        T* u = unary.data() + plan.belief_at(structure.variables[i], g);
        for (Index x = 0; x < structure.cardinalities[i]; ++x)
          u[x * P::lanes] = row[structure.state_starts[i] + x];
      }
      for (const Index f : structure.unary_factors) add_unary(f, g, numbers.of(first_graph + g));
    }
  }

  // The lanes of a block that hold a member of a group of so many, of a graph that is asked for.
  [[nodiscard]] unsigned used_lanes(Index n_members, Index block, unsigned graphs) const {
    return plan.width() == 1 ? plan.used_lanes(n_members, block) : graphs;
  }
  [[nodiscard]] unsigned all_graphs() const {
    return plan.width() == 1 ? plan.all_lanes() : (1u << n_graphs) - 1;
  }

  // Those of its graphs that take part, all where is_going (n_graphs of the batch,) is null.
  [[nodiscard]] unsigned graphs_going(const bool* is_going) const {
    unsigned graphs = 0;
    for (Index g = 0; g < n_graphs; ++g)
      if (is_going == nullptr || is_going[first_graph + g]) graphs |= 1u << g;
    return graphs;
  }

  [[nodiscard]] Index graph_of(Index lane) const { return plan.width() == 1 ? 0 : lane; }

  [[noreturn]] void fail(const Forbidden& forbidden) const {
    const std::string where =
        is_alone ? std::string() : join(", in graph ", first_graph + graph_of(forbidden.lane()));
    throw std::invalid_argument(
        join("all configurations of variable ", forbidden.variable(), " are forbidden", where));
  }
  void check(const Forbidden& forbidden) const {
    if (forbidden.is_found()) fail(forbidden);
  }

  // Notes the variables of these lanes; `place` gives the variable of a lane.
  template <class VariableOf>
  [[gnu::noinline]] void note_forbidden(unsigned lanes, Forbidden& forbidden,
                                        VariableOf&& variable_of) const {
    for (Index lane = 0; lane < P::lanes; ++lane)
      if ((lanes >> lane & 1u) != 0) forbidden.note(variable_of(lane), lane);
  }

  // b = u + sum of m, everywhere.
  void update_beliefs(int n_jobs) {
    Forbidden forbidden(P::lanes);
    const List<Chunk>& chunks = plan.variable_chunks();
    parallel_for(chunks.count(), n_jobs, [&](Index c, int) {
      const Chunk& chunk = chunks[c];
      for (Index block = chunk.first; block < chunk.last; ++block)
        sum_messages(chunk.group, block, forbidden);
    });
    check(forbidden);
  }

  void sum_messages(Index group, Index block, Forbidden& forbidden) {
    const VariableBlocks& b = plan.variables(group);
    const List<Index>& variables = structure.variable_groups[group].variables;
    const Index at = b.first + block * b.rows * P::lanes;
    const Run* first = b.runs.data() + b.starts[block];
    const Run* last = b.runs.data() + b.starts[block + 1];
    V low = P::broadcast(infinity<T>);
    Index x = 0;
    for (; x + 4 <= b.rows; x += 4) low = minimum(low, sum_rows<4>(at + x * P::lanes, x, first, last));
    for (; x + 2 <= b.rows; x += 2) low = minimum(low, sum_rows<2>(at + x * P::lanes, x, first, last));
    if (x < b.rows) low = minimum(low, sum_rows<1>(at + x * P::lanes, x, first, last));
    const unsigned empty =
        simd::lane_bits<T>(low == infinity<T>) & used_lanes(variables.count(), block, all_graphs());
    if (empty != 0) [[unlikely]]
      note_forbidden(empty, forbidden, [&](Index lane) { return variables[plan.place_of(block, lane)]; });
  }

  // scratch.q: what the variables of a block of factors tell it.
  void receive(Index group, Index block, Scratch<P>& scratch) const {
    const FactorBlocks& b = plan.factors(group);
    const FactorGroup& factors = structure.factor_groups[group];
    const T* m = messages.data() + b.first + block * b.rows * P::lanes;
    for (Index s = 0; s < factors.arity(); ++s) {
      const Run* first = b.runs.data() + b.starts[block * factors.arity() + s];
      const Run* last = b.runs.data() + b.starts[block * factors.arity() + s + 1];
      const Index row = factors.first_row[s];
      receive_rows(first, last, m + row * P::lanes, factors.cardinalities[s], scratch.q() + row);
    }
  }

  // The same of one factor in one graph, or in all graphs of a panel.
  template <class Q>
  void receive_directly(Index factor, Index graph, Scratch<Q>& scratch) const {
    const FactorGroup& group = structure.group_of(factor);
    const T* m = messages.data() + plan.message_at(structure.factors[factor], graph);
    typename Q::V* q = scratch.q();
    for (Index s = 0; s < group.arity(); ++s) {
      const T* b = beliefs.data() + plan.belief_at(structure.variables[structure.variable(factor, s)], graph);
      for (Index x = 0; x < group.cardinalities[s]; ++x, m += P::lanes)
        *q++ = without<Q>(Q::load(b + x * P::lanes), Q::load(m));
    }
  }

  // A belief without one of its messages; a forbidden state stays so.
  template <class Q>
  [[gnu::always_inline]] static typename Q::V without(typename Q::V belief, typename Q::V message) {
    return belief < infinity<T> ? belief - message : Q::broadcast(infinity<T>);
  }

  const Structure& structure;
  const Plan& plan;
  Index first_graph;
  Index n_graphs;
  bool is_alone;
  bool is_traceable = false;  // the messages are those of two passes at beta = infinity
  std::shared_ptr<Energies<T>> energies;
  Buffer<T> messages;
  Buffer<T> beliefs;
  Buffer<T> unary;

 private:
  void add_unary(Index factor, Index graph, const T* numbers) {
    const Index i = structure.variable(factor, 0);
    T* u = unary.data() + plan.belief_at(structure.variables[i], graph);
    const T* e = numbers + structure.energy_starts[factor];
    for (Index x = 0; x < structure.cardinalities[i]; ++x) u[x * P::lanes] += e[x];
  }

  template <int N>
  [[gnu::always_inline]] inline V sum_rows(Index at, Index row, const Run* first, const Run* last) {
    V sum[N];
    for (int u = 0; u < N; ++u) sum[u] = P::load(unary.data() + at + u * P::lanes);
    for (const Run* run = first; run < last; ++run) {
      const T* m = messages.data() + run->offset + row * P::lanes;
      if (run->lanes == plan.all_lanes())
        for (int u = 0; u < N; ++u) sum[u] += P::load(m + u * P::lanes);
      else
        for (int u = 0; u < N; ++u) sum[u] += simd::load_lanes<T>(m + u * P::lanes, run->lanes);
    }
    V low = sum[0];
    for (int u = 0; u < N; ++u) {
      P::store(beliefs.data() + at + u * P::lanes, sum[u]);
      low = minimum(low, sum[u]);
    }
    return low;
  }

  void receive_rows(const Run* first, const Run* last, const T* m, Index n, V* q) const {
    const T* b = beliefs.data() + first->offset;
    const unsigned lanes = first->lanes;
    const auto at = [m](Index x) { return P::load(m + x * P::lanes); };
    if (last - first == 1 && lanes == plan.all_lanes()) {
      for (Index x = 0; x < n; ++x) q[x] = without<P>(P::load(b + x * P::lanes), at(x));
    } else if (last - first == 2) {  // neighbours that lie across two blocks
      const T* c = beliefs.data() + first[1].offset;
      const unsigned others = first[1].lanes;
      for (Index x = 0; x < n; ++x)
        q[x] = without<P>(
            simd::load_lanes<T>(b + x * P::lanes, lanes) + simd::load_lanes<T>(c + x * P::lanes, others),
            at(x));
    } else {
      for (Index x = 0; x < n; ++x) {
        V belief = simd::load_lanes<T>(b + x * P::lanes, lanes);
        for (const Run* run = first + 1; run < last; ++run)
          belief += simd::load_lanes<T>(beliefs.data() + run->offset + x * P::lanes, run->lanes);
        q[x] = without<P>(belief, at(x));
      }
    }
  }
};

}  // namespace thalweg::cpu

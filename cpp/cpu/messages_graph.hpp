// What a factor graph is to belief propagation: factors of one kind and the same cardinalities together,
// variables of one cardinality together, who meets whom, and an order from the roots down where it is a
// forest.
#pragma once

#include <vector>

#include "kernels/messages.hpp"

namespace thalweg {
namespace cpu {

// A std::vector that counts as views do.
template <class T>
class List : public std::vector<T> {
 public:
  using std::vector<T>::vector;
  List() = default;
  explicit List(Index n, const T& value = T()) : std::vector<T>(static_cast<std::size_t>(n), value) {}

  [[nodiscard]] Index count() const { return static_cast<Index>(this->size()); }
  T& operator[](Index i) { return std::vector<T>::operator[](static_cast<std::size_t>(i)); }
  const T& operator[](Index i) const { return std::vector<T>::operator[](static_cast<std::size_t>(i)); }
};

struct FactorGroup {
  FactorKind kind = FactorKind::table;
  List<Index> cardinalities;   // of its variables, in the order of the scope
  List<Index> first_row;       // of the messages to each variable; behind the last their number
  List<Index> factors;         // in increasing order
  Index n_numbers = 0;         // energies of one factor
  Index n_configurations = 0;  // 0 for logical factors

  // Of a table of three and more variables: where its energies begin once the variables from s on are summed
  // out, s = 1, 2, ...; the first entry is their size in all.
  List<Index> reduced_starts;

  [[nodiscard]] Index arity() const { return cardinalities.count(); }
  [[nodiscard]] Index n_rows() const { return first_row.back(); }
  [[nodiscard]] bool is_logical() const {
    return kind == FactorKind::logical_or || kind == FactorKind::logical_and;
  }
  [[nodiscard]] bool is_truncated() const {
    return kind == FactorKind::truncated_linear || kind == FactorKind::truncated_quadratic;
  }
};

struct VariableGroup {
  Index cardinality = 0;
  List<Index> variables;  // in increasing order
};

// One of a group, counted from 0.
struct Member {
  Index group = -1;
  Index place = 0;
};

struct Edge {
  Index factor = 0;
  Index slot = 0;  // the variable's place in the scope
};

// A factor on the way down from a root, and the slot of the variable above it.
struct TreeStep {
  Index factor = 0;
  Index parent = 0;
};

}  // namespace cpu

struct MessageGraph::Structure {
  explicit Structure(const FactorStructureView& view);

  [[nodiscard]] Index n_variables() const { return cardinalities.count(); }
  [[nodiscard]] Index n_factors() const { return kinds.count(); }
  [[nodiscard]] Index n_states() const { return state_starts.back(); }
  [[nodiscard]] Index n_energies() const { return energy_starts.back(); }
  [[nodiscard]] Index arity(Index factor) const { return scope_starts[factor + 1] - scope_starts[factor]; }
  [[nodiscard]] Index variable(Index factor, Index slot) const {
    return scope_variables[scope_starts[factor] + slot];
  }
  [[nodiscard]] Index degree(Index variable) const {
    return edge_starts[variable + 1] - edge_starts[variable];
  }
  [[nodiscard]] const cpu::FactorGroup& group_of(Index factor) const {
    return factor_groups[factors[factor].group];
  }

  // The place of a factor's configuration in its table.
  [[nodiscard]] Index configuration(Index factor, const std::int64_t* states) const {
    Index place = 0;
    for (Index s = 0; s < arity(factor); ++s)
      place = place * cardinalities[variable(factor, s)] + states[variable(factor, s)];
    return place;
  }
  // Of a logical factor: whether its last variable is the or, or the and, of the others.
  [[nodiscard]] bool is_satisfied(Index factor, const std::int64_t* states) const {
    const bool is_or = kinds[factor] == FactorKind::logical_or;
    bool result = !is_or;
    for (Index s = 0; s + 1 < arity(factor); ++s) {
      const bool input = states[variable(factor, s)] != 0;
      result = is_or ? result || input : result && input;
    }
    return result == (states[variable(factor, arity(factor) - 1)] != 0);
  }

  cpu::List<Index> cardinalities;
  cpu::List<Index> state_starts;  // (n_variables + 1)
  cpu::List<FactorKind> kinds;
  cpu::List<Index> scope_starts;
  cpu::List<Index> scope_variables;
  cpu::List<Index> energy_starts;  // (n_factors + 1)
  cpu::List<Index> unary_factors;  // tables of one variable

  cpu::List<cpu::FactorGroup> factor_groups;  // of the other factors
  cpu::List<cpu::VariableGroup> variable_groups;
  cpu::List<cpu::Member> factors;  // group -1: unary
  cpu::List<cpu::Member> variables;

  // Edges of a variable, by group, slot and place: the order in which its messages are added.
  cpu::List<Index> edge_starts;
  cpu::List<cpu::Edge> edges;

  bool is_forest = false;
  cpu::List<cpu::TreeStep> tree;  // every factor below the factors above it; complete for a forest

 private:
  void take_variables(const FactorStructureView& view);
  void take_factors(const FactorStructureView& view);
  void check_scope(Index factor, cpu::List<Index>& last_factor_at) const;
  void check_kind(Index factor) const;
  [[nodiscard]] Index number_count(Index factor) const;
  void group_variables();
  void group_factors();
  [[nodiscard]] cpu::FactorGroup new_group(Index factor) const;
  void connect();
  void find_trees();
  bool grow_tree(Index root, cpu::List<char>& seen_variable, cpu::List<char>& seen_factor);
};

}  // namespace thalweg

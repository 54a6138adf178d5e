#include "cpu/messages_graph.hpp"

#include <algorithm>
#include <map>
#include <utility>

#include "core/error.hpp"

namespace thalweg {

using cpu::Edge;
using cpu::FactorGroup;
using cpu::List;
using cpu::TreeStep;
using cpu::VariableGroup;

namespace {

constexpr Index most_numbers = Index{1} << 48;  // more than any memory holds: sums of these cannot overflow

const char* name_of(FactorKind kind) {
  constexpr const char* names[] = {"TABLE", "POTTS", "TRUNCATED_LINEAR", "TRUNCATED_QUADRATIC", "PRODUCT",
                                   "OR",    "AND"};
  return names[static_cast<Index>(kind)];
}

void place_reduced(FactorGroup& group) {
  group.reduced_starts = List<Index>(group.arity(), 0);
  Index size = 1, end = 0;
  for (Index s = 1; s < group.arity(); ++s) {
    size *= group.cardinalities[s - 1];
    group.reduced_starts[s] = end;
    end += size;
  }
  group.reduced_starts[0] = end;
}

}  // namespace

MessageGraph::Structure::Structure(const FactorStructureView& view) {
  take_variables(view);
  take_factors(view);
  group_variables();
  group_factors();
  connect();
  find_trees();
}

void MessageGraph::Structure::take_variables(const FactorStructureView& view) {
  cardinalities.assign(view.cardinalities, view.cardinalities + view.n_variables);
  state_starts.assign(1, 0);
  for (Index i = 0; i < n_variables(); ++i) {
    require(cardinalities[i] >= 1 && cardinalities[i] <= most_numbers, "cardinalities: variable ", i,
            ": expected at least 1 state, got ", cardinalities[i]);
    state_starts.push_back(state_starts.back() + cardinalities[i]);
    require(n_states() <= most_numbers, "cardinalities: expected at most ", most_numbers, " states in all");
  }
}

void MessageGraph::Structure::take_factors(const FactorStructureView& view) {
  constexpr Index n_kinds = 7;
  for (Index f = 0; f < view.n_factors; ++f) {
    require(view.kinds[f] >= 0 && view.kinds[f] < n_kinds, "kinds: factor ", f, ": expected a kind below ",
            n_kinds, ", got ", view.kinds[f]);
    kinds.push_back(static_cast<FactorKind>(view.kinds[f]));
  }
  scope_starts.assign(view.scope_starts, view.scope_starts + view.n_factors + 1);
  require(scope_starts[0] == 0 && scope_starts.back() == view.n_scope_variables,
          "scope_starts: expected to begin with 0 and to end with ", view.n_scope_variables, ", got ",
          scope_starts[0], " and ", scope_starts.back());
  for (Index f = 0; f < view.n_factors; ++f)
    require(arity(f) >= 1, "scope_starts: factor ", f, ": expected at least one variable, got ", arity(f));
  scope_variables.assign(view.scope_variables, view.scope_variables + view.n_scope_variables);
  List<Index> last_factor_at(n_variables(), -1);
  energy_starts.assign(1, 0);
  for (Index f = 0; f < n_factors(); ++f) {
    check_scope(f, last_factor_at);
    check_kind(f);
    energy_starts.push_back(energy_starts.back() + number_count(f));
    require(n_energies() <= most_numbers, "cardinalities: factor ", f, ": expected at most ", most_numbers,
            " energies in all");
  }
}

void MessageGraph::Structure::check_scope(Index factor, List<Index>& last_factor_at) const {
  for (Index s = 0; s < arity(factor); ++s) {
    const Index i = variable(factor, s);
    require(i >= 0 && i < n_variables(), "scope_variables: factor ", factor, ": expected variables below ",
            n_variables(), ", got ", i);
    require(last_factor_at[i] != factor, "scope_variables: factor ", factor, " has variable ", i, " twice");
    last_factor_at[i] = factor;
  }
}

void MessageGraph::Structure::check_kind(Index factor) const {
  const FactorKind kind = kinds[factor];
  if (kind == FactorKind::table) return;
  if (kind != FactorKind::logical_or && kind != FactorKind::logical_and) {
    require(arity(factor) == 2, "scope_starts: factor ", factor, ", ", name_of(kind),
            ": expected 2 variables, got ", arity(factor));
    return;
  }
  require(arity(factor) >= 2, "scope_starts: factor ", factor, ", ", name_of(kind),
          ": expected at least 2 variables, got ", arity(factor));
  for (Index s = 0; s < arity(factor); ++s)
    require(cardinalities[variable(factor, s)] == 2, "cardinalities: factor ", factor, ", ", name_of(kind),
            ": expected variable ", variable(factor, s), " to have 2 states, got ",
            cardinalities[variable(factor, s)]);
}

Index MessageGraph::Structure::number_count(Index factor) const {
  switch (kinds[factor]) {
    case FactorKind::potts:
    case FactorKind::product:
      return 1;
    case FactorKind::truncated_linear:
    case FactorKind::truncated_quadratic:
      return 2;
    case FactorKind::logical_or:
    case FactorKind::logical_and:
      return 0;
    case FactorKind::table:
      break;
  }
  Index count = 1;
  for (Index s = 0; s < arity(factor); ++s) {
    const Index k = cardinalities[variable(factor, s)];
    require(count <= most_numbers / k, "cardinalities: factor ", factor, ": expected a table of at most ",
            most_numbers, " energies");
    count *= k;
  }
  return count;
}

void MessageGraph::Structure::group_variables() {
  std::map<Index, Index> group_of_cardinality;
  for (Index i = 0; i < n_variables(); ++i) {
    const auto [found, is_new] = group_of_cardinality.try_emplace(cardinalities[i], variable_groups.count());
    if (is_new) variable_groups.push_back({cardinalities[i], {}});
    auto& members = variable_groups[found->second].variables;
    variables.push_back({found->second, members.count()});
    members.push_back(i);
  }
}

FactorGroup MessageGraph::Structure::new_group(Index factor) const {
  FactorGroup group;
  group.kind = kinds[factor];
  group.n_numbers = energy_starts[factor + 1] - energy_starts[factor];
  group.n_configurations = group.is_logical() ? 0 : 1;
  group.first_row.push_back(0);
  for (Index s = 0; s < arity(factor); ++s) {
    const Index k = cardinalities[variable(factor, s)];
    group.cardinalities.push_back(k);
    group.first_row.push_back(group.first_row.back() + k);
    require(group.n_configurations <= most_numbers / k, "cardinalities: factor ", factor,
            ": expected at most ", most_numbers, " configurations");
    group.n_configurations *= k;
  }
  if (group.arity() > 2 && !group.is_logical()) place_reduced(group);
  return group;
}

void MessageGraph::Structure::group_factors() {
  std::map<std::pair<FactorKind, std::vector<Index>>, Index> group_of_key;
  std::pair<FactorKind, std::vector<Index>> key;
  for (Index f = 0; f < n_factors(); ++f) {
    if (arity(f) == 1) {
      unary_factors.push_back(f);
      factors.push_back({});
      continue;
    }
    key.first = kinds[f];
    key.second.clear();
    for (Index s = 0; s < arity(f); ++s) key.second.push_back(cardinalities[variable(f, s)]);
    const auto [found, is_new] = group_of_key.try_emplace(key, factor_groups.count());
    if (is_new) factor_groups.push_back(new_group(f));
    auto& members = factor_groups[found->second].factors;
    factors.push_back({found->second, members.count()});
    members.push_back(f);
  }
}

void MessageGraph::Structure::connect() {
  edge_starts = List<Index>(n_variables() + 1, 0);
  const auto for_each_edge = [this](auto&& visit) {
    for (const FactorGroup& group : factor_groups)
      for (Index s = 0; s < group.arity(); ++s)
        for (const Index f : group.factors) visit(variable(f, s), Edge{f, s});
  };
  for_each_edge([this](Index i, Edge) { ++edge_starts[i + 1]; });
  for (Index i = 0; i < n_variables(); ++i) edge_starts[i + 1] += edge_starts[i];
  edges = List<Edge>(edge_starts.back());
  List<Index> next = edge_starts;
  for_each_edge([&](Index i, Edge edge) { edges[next[i]++] = edge; });
}

void MessageGraph::Structure::find_trees() {
  List<char> seen_variable(n_variables(), 0), seen_factor(n_factors(), 0);
  is_forest = true;
  for (Index root = 0; root < n_variables() && is_forest; ++root)
    if (!seen_variable[root]) is_forest = grow_tree(root, seen_variable, seen_factor);
}

// Breadth first; false where it meets a variable again.
bool MessageGraph::Structure::grow_tree(Index root, List<char>& seen_variable, List<char>& seen_factor) {
  List<Index> queue{root};
  seen_variable[root] = 1;
  for (Index next = 0; next < queue.count(); ++next) {
    const Index above = queue[next];
    for (Index e = edge_starts[above]; e < edge_starts[above + 1]; ++e) {
      const Edge edge = edges[e];
      if (seen_factor[edge.factor]) continue;
      seen_factor[edge.factor] = 1;
      tree.push_back(TreeStep{edge.factor, edge.slot});
      for (Index s = 0; s < arity(edge.factor); ++s) {
        if (s == edge.slot) continue;
        const Index below = variable(edge.factor, s);
        if (seen_variable[below]) return false;
        seen_variable[below] = 1;
        queue.push_back(below);
      }
    }
  }
  return true;
}

MessageGraph::MessageGraph(const FactorStructureView& view)
    : structure_(std::make_unique<const Structure>(view)) {}
MessageGraph::~MessageGraph() = default;

Index MessageGraph::n_variables() const { return structure_->n_variables(); }
Index MessageGraph::n_factors() const { return structure_->n_factors(); }
Index MessageGraph::n_states() const { return structure_->n_states(); }
Index MessageGraph::n_energies() const { return structure_->n_energies(); }
bool MessageGraph::is_forest() const { return structure_->is_forest; }

}  // namespace thalweg

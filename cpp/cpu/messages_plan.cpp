#include "cpu/messages_plan.hpp"

#include <algorithm>
#include <cstdint>
#include <tuple>

namespace thalweg::cpu {
namespace {

using Structure = MessageGraph::Structure;

// Vector operations that a chunk takes: tens of microseconds.
constexpr double chunk_operations = 20000;

// Vector operations on a block of factors, roughly.
double cost_of(const FactorGroup& group) {
  return 4.0 * static_cast<double>(group.n_configurations) + 30.0 * static_cast<double>(group.n_rows());
}

// Lanes that lie as far from each other as the lanes they go to share a run.
void add_lane(List<Run>& runs, Index first, Index at, Index lane) {
  const unsigned bit = 1u << lane;
  for (Index r = runs.count(); r-- > first;)
    if (runs[r].offset == at - lane) {
      runs[r].lanes |= bit;
      return;
    }
  runs.push_back({at - lane, bit});
}

void cut_blocks(Index group, Index n_blocks, double cost, List<Chunk>& chunks) {
  const Index size = std::max<Index>(1, static_cast<Index>(chunk_operations / cost));
  for (Index first = 0; first < n_blocks; first += size)
    chunks.push_back({group, first, std::min(n_blocks, first + size)});
}

}  // namespace

Plan::Plan(const Structure& structure, int lanes, int width) : lanes_(lanes), width_(width) {
  place_variables(structure);
  place_factors(structure);
  for (Index g = 0; g < factors_.count(); ++g) find_factor_runs(structure, g);
  for (Index g = 0; g < variables_.count(); ++g) find_variable_runs(structure, g);
  cut();
}

// Before the first and behind the last block there is room for the lanes that a load brings for nothing.
void Plan::place_variables(const Structure& structure) {
  n_beliefs_ = lanes_;
  for (const VariableGroup& group : structure.variable_groups) {
    VariableBlocks blocks;
    blocks.first = n_beliefs_;
    blocks.n_blocks = block_count_of(group.variables.count());
    blocks.rows = group.cardinality;
    n_beliefs_ += blocks.n_blocks * blocks.rows * lanes_;
    variables_.push_back(std::move(blocks));
  }
  n_beliefs_ += lanes_;
}

void Plan::place_factors(const Structure& structure) {
  n_messages_ = lanes_;
  for (const FactorGroup& group : structure.factor_groups) {
    FactorBlocks blocks;
    blocks.first = n_messages_;
    blocks.n_blocks = block_count_of(group.factors.count());
    blocks.rows = group.n_rows();
    n_messages_ += blocks.n_blocks * blocks.rows * lanes_;
    factors_.push_back(std::move(blocks));
    factor_cost_.push_back(cost_of(group));
  }
  n_messages_ += lanes_;
}

void Plan::find_factor_runs(const Structure& structure, Index g) {
  const FactorGroup& group = structure.factor_groups[g];
  FactorBlocks& blocks = factors_[g];
  blocks.starts.push_back(0);
  for (Index block = 0; block < blocks.n_blocks; ++block)
    for (Index slot = 0; slot < group.arity(); ++slot) {
      const Index first = blocks.runs.count();
      for (Index lane = 0; lane < lanes_; ++lane) {
        const Index place = place_of(block, lane);
        if (place >= group.factors.count()) break;
        const Index variable = structure.variable(group.factors[place], slot);
        add_lane(blocks.runs, first, belief_at(structure.variables[variable], lane), lane);
      }
      blocks.starts.push_back(blocks.runs.count());
    }
}

void Plan::find_variable_runs(const Structure& structure, Index g) {
  const List<Index>& variables = structure.variable_groups[g].variables;
  VariableBlocks& blocks = variables_[g];
  blocks.starts.push_back(0);
  for (Index block = 0; block < blocks.n_blocks; ++block) {
    add_runs_of_variables(structure, variables, block, blocks.runs);
    blocks.starts.push_back(blocks.runs.count());
  }
}

// By group, slot and distance: in every lane this is the order of the variable's edges.
void Plan::add_runs_of_variables(const Structure& structure, const List<Index>& variables, Index block,
                                 List<Run>& runs) const {
  std::vector<std::tuple<Index, Index, Index, Index>> incoming;  // group, slot, distance, lane
  for (Index lane = 0; lane < lanes_; ++lane) {
    const Index place = place_of(block, lane);
    if (place >= variables.count()) break;
    const Index i = variables[place];
    for (Index e = structure.edge_starts[i]; e < structure.edge_starts[i + 1]; ++e) {
      const Edge edge = structure.edges[e];
      const Member factor = structure.factors[edge.factor];
      const Index row = structure.factor_groups[factor.group].first_row[edge.slot];
      incoming.emplace_back(factor.group, edge.slot, message_at(factor, lane) + row * lanes_ - lane, lane);
    }
  }
  std::sort(incoming.begin(), incoming.end());
  Index last_group = -1, last_slot = -1;
  for (const auto& [group, slot, offset, lane] : incoming) {
    const bool goes_on = group == last_group && slot == last_slot && runs.back().offset == offset;
    if (!goes_on) runs.push_back({offset, 0});
    runs.back().lanes |= 1u << lane;
    last_group = group;
    last_slot = slot;
  }
}

void Plan::cut() {
  for (Index g = 0; g < factors_.count(); ++g) {
    cut_blocks(g, factors_[g].n_blocks, factor_cost_[g], factor_chunks_);
    operations_ += lanes_ * factor_cost_[g] * static_cast<double>(factors_[g].n_blocks);
  }
  for (Index g = 0; g < variables_.count(); ++g) {
    const VariableBlocks& b = variables_[g];
    if (b.n_blocks == 0) continue;
    const double runs = 1 + static_cast<double>(b.runs.count()) / static_cast<double>(b.n_blocks);
    cut_blocks(g, b.n_blocks, 2 * runs * static_cast<double>(b.rows), variable_chunks_);
  }
}

}  // namespace thalweg::cpu

// Where everything of one or several graphs lies, for vectors of a number of lanes.
//
// Messages and beliefs are blocks of rows, one row a state, one element a lane. Of one graph (width 1) the
// lanes of a block are consecutive factors, or variables, of a group; of several (width = lanes) a block is
// one factor, or variable, and its lanes are the graphs.
//
// What a block needs of others lies there in runs: lanes that are neighbours here are mostly neighbours
// there.
#pragma once

#include "cpu/messages_graph.hpp"

namespace thalweg::cpu {

// The lanes of a block that one load brings: lane l of every bit l in `lanes` from `offset` + l.
struct Run {
  Index offset = 0;
  unsigned lanes = 0;
};

struct FactorBlocks {
  Index first = 0;  // of the messages
  Index n_blocks = 0;
  Index rows = 0;
  List<Index> starts;  // (n_blocks * arity + 1) of a block's and a slot's runs
  List<Run> runs;      // the first row of the variable's beliefs
};

struct VariableBlocks {
  Index first = 0;  // of the beliefs
  Index n_blocks = 0;
  Index rows = 0;
  List<Index> starts;  // (n_blocks + 1)
  List<Run> runs;      // the first row of a message
};

// Blocks of a group that one thread works on at a time.
struct Chunk {
  Index group = 0;
  Index first = 0;
  Index last = 0;
};

class Plan {
 public:
  Plan(const MessageGraph::Structure& structure, int lanes, int width);

  [[nodiscard]] int lanes() const { return lanes_; }
  [[nodiscard]] int width() const { return width_; }
  [[nodiscard]] const FactorBlocks& factors(Index group) const { return factors_[group]; }
  [[nodiscard]] const VariableBlocks& variables(Index group) const { return variables_[group]; }
  [[nodiscard]] const List<Chunk>& factor_chunks() const { return factor_chunks_; }
  [[nodiscard]] const List<Chunk>& variable_chunks() const { return variable_chunks_; }
  [[nodiscard]] Index n_messages() const { return n_messages_; }  // elements, with the margins
  [[nodiscard]] Index n_beliefs() const { return n_beliefs_; }
  [[nodiscard]] double operations() const { return operations_; }  // of a sweep, roughly

  [[nodiscard]] Index block_count_of(Index n_members) const {
    return width_ == 1 ? (n_members + lanes_ - 1) / lanes_ : n_members;
  }
  [[nodiscard]] Index block_of(Index place) const { return width_ == 1 ? place / lanes_ : place; }
  // `graph` counts the graphs of this plan's width.
  [[nodiscard]] Index lane_of(Index place, Index graph) const { return width_ == 1 ? place % lanes_ : graph; }
  // The lanes of a block that hold a member of a group of so many.
  [[nodiscard]] unsigned used_lanes(Index n_members, Index block) const {
    const Index left = width_ == 1 ? n_members - block * lanes_ : lanes_;
    return left >= lanes_ ? all_lanes() : (1u << left) - 1;
  }
  [[nodiscard]] unsigned all_lanes() const { return static_cast<unsigned>((std::uint64_t{1} << lanes_) - 1); }
  // The place of the member in a lane.
  [[nodiscard]] Index place_of(Index block, Index lane) const {
    return width_ == 1 ? block * lanes_ + lane : block;
  }

  // The first row of a factor's messages, of a variable's beliefs, in a graph; rows are `lanes` apart.
  [[nodiscard]] Index message_at(Member factor, Index graph) const {
    const FactorBlocks& b = factors_[factor.group];
    return b.first + block_of(factor.place) * b.rows * lanes_ + lane_of(factor.place, graph);
  }
  [[nodiscard]] Index belief_at(Member variable, Index graph) const {
    const VariableBlocks& b = variables_[variable.group];
    return b.first + block_of(variable.place) * b.rows * lanes_ + lane_of(variable.place, graph);
  }

 private:
  void place_factors(const MessageGraph::Structure& structure);
  void place_variables(const MessageGraph::Structure& structure);
  void find_factor_runs(const MessageGraph::Structure& structure, Index group);
  void find_variable_runs(const MessageGraph::Structure& structure, Index group);
  void add_runs_of_variables(const MessageGraph::Structure& structure, const List<Index>& variables,
                             Index block, List<Run>& runs) const;
  void cut();

  int lanes_;
  int width_;
  List<FactorBlocks> factors_;
  List<VariableBlocks> variables_;
  List<Chunk> factor_chunks_;
  List<Chunk> variable_chunks_;
  List<double> factor_cost_;  // of a block, by group
  Index n_messages_ = 0;
  Index n_beliefs_ = 0;
  double operations_ = 0;
};

}  // namespace thalweg::cpu

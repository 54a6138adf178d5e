// The energy of given states, from the numbers themselves.
#include <algorithm>
#include <limits>

#include "core/buffer.hpp"
#include "core/error.hpp"
#include "core/parallel.hpp"
#include "cpu/messages_graph.hpp"

namespace thalweg {
namespace {

using Structure = MessageGraph::Structure;

constexpr Index per_block = 4096;  // variables or factors

void check_states(const Structure& structure, MatrixView<const std::int64_t> states) {
  for (Index g = 0; g < states.rows; ++g)
    for (Index i = 0; i < states.cols; ++i)
      require(states(g, i) >= 0 && states(g, i) < structure.cardinalities[i], "states: variable ", i,
              ": expected a state below ", structure.cardinalities[i], ", got ", states(g, i), ", in graph ",
              g);
}

template <class T>
double factor_energy(const Structure& structure, Index factor, const T* numbers, const std::int64_t* states) {
  const T* n = numbers + structure.energy_starts[factor];
  const auto number = [n](Index j) { return static_cast<double>(n[j]); };
  const FactorKind kind = structure.kinds[factor];
  if (kind == FactorKind::table) return number(structure.configuration(factor, states));
  if (kind == FactorKind::logical_or || kind == FactorKind::logical_and)
    return structure.is_satisfied(factor, states) ? 0.0 : std::numeric_limits<double>::infinity();
  const auto x = static_cast<double>(states[structure.variable(factor, 0)]);
  const auto y = static_cast<double>(states[structure.variable(factor, 1)]);
  const double distance = x < y ? y - x : x - y;
  if (kind == FactorKind::potts) return distance == 0 ? 0.0 : number(0);
  if (kind == FactorKind::product) return number(0) * x * y;
  const double growth = kind == FactorKind::truncated_linear ? distance : distance * distance;
  return std::min(number(0) * growth, number(1));
}

// Of the variables and factors of one block.
template <class T>
double block_energy(const Structure& structure, Index block, const T* energies, const T* unary,
                    const std::int64_t* states) {
  double sum = 0;
  const Index first = block * per_block;
  for (Index i = first; i < std::min(structure.n_variables(), first + per_block); ++i)
    sum += static_cast<double>(unary[structure.state_starts[i] + states[i]]);
  for (Index f = first; f < std::min(structure.n_factors(), first + per_block); ++f)
    sum += factor_energy(structure, f, energies, states);
  return sum;
}

}  // namespace

template <class T>
void graph_energy(const MessageGraph& graph, MatrixView<const T> energies, MatrixView<const T> unary,
                  MatrixView<const std::int64_t> states, double* out, int n_jobs) {
  const Structure& structure = graph.structure();
  check_states(structure, states);
  const Index members = std::max(structure.n_variables(), structure.n_factors());
  const Index blocks = std::max<Index>(1, block_count(members, per_block));
  Buffer<double> parts(states.rows * blocks);
  parallel_for(states.rows * blocks, jobs_for(20 * states.rows * members, n_jobs), [&](Index part, int) {
    const Index g = part / blocks;
    parts[part] = block_energy(structure, part % blocks, energies.row(energies.rows == 1 ? 0 : g),
                               unary.row(g), states.row(g));
  });
  for (Index g = 0; g < states.rows; ++g) {
    out[g] = 0;
    for (Index b = 0; b < blocks; ++b) out[g] += parts[g * blocks + b];
  }
}

template void graph_energy(const MessageGraph&, MatrixView<const float>, MatrixView<const float>,
                           MatrixView<const std::int64_t>, double*, int);
template void graph_energy(const MessageGraph&, MatrixView<const double>, MatrixView<const double>,
                           MatrixView<const std::int64_t>, double*, int);

}  // namespace thalweg

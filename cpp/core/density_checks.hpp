// What every device asks of a deep density's arguments, those of kernels/langevin.hpp.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>

#include "core/error.hpp"
#include "core/view.hpp"

namespace thalweg {

// `view` is a DensityView.
template <class View>
void check_shapes(const View& view) {
  Index n_in = view.n_features;
  require(n_in >= 1, "visible_bias: expected at least one element");
  for (std::size_t i = 0; i < view.layers.size(); ++i) {
    const auto& w = view.layers[i].weights;
    require(w.cols == n_in && w.rows >= 1, "weights[", i, "]: expected ", n_in,
            " columns and at least one row, got shape (", w.rows, ", ", w.cols, ")");
    n_in = w.rows;
  }
  require(view.top_weights.cols == n_in && view.top_weights.rows >= 1, "top_weights: expected ", n_in,
          " columns and at least one row, got shape (", view.top_weights.rows, ", ", view.top_weights.cols,
          ")");
  require(std::isfinite(view.inverse_variance) && view.inverse_variance > 0,
          "inverse_variance: expected a number > 0, got ", view.inverse_variance);
}

// `moves` are DensityMoves.
template <class Moves>
void check_moves(const Moves& moves) {
  require(std::isfinite(moves.epsilon) && moves.epsilon > 0, "epsilon: expected a number > 0, got ",
          moves.epsilon);
  require(moves.n_leapfrog >= 1, "n_leapfrog: expected at least 1, got ", moves.n_leapfrog);
  require(moves.n_steps >= 0, "n_steps: expected a number >= 0, got ", moves.n_steps);
}

// Draws are numbered by what is below these bounds; the test of a move takes the stream after.
inline void check_draws(std::uint32_t stream, std::uint64_t first_row) {
  require(stream < (1u << 16) - 1, "stream: expected a number below 65535, got ", stream);
  require(first_row < (std::uint64_t{1} << 48), "first_row: expected a number below 2^48, got ", first_row);
}

}  // namespace thalweg

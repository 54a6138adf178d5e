// Random Boltzmann machines and states for the benchmarks.
#pragma once

#include <cstdint>
#include <random>
#include <vector>

#include "kernels/gibbs.hpp"
#include "random_data.hpp"

namespace thalweg::bench {

// Bernoulli units, small weights, no visible bias.
template <class T>
struct Machine {
  Index n_visible, n_hidden, up_stride, down_stride;
  std::vector<T> up, down, visible_bias, hidden_bias;

  Machine(Index n_visible_, Index n_hidden_)
      : n_visible(n_visible_),
        n_hidden(n_hidden_),
        up_stride(weight_stride<T>(n_hidden_)),
        down_stride(weight_stride<T>(n_visible_)),
        up(static_cast<std::size_t>(n_visible_ * up_stride)),
        down(static_cast<std::size_t>(n_hidden_ * down_stride)),
        visible_bias(static_cast<std::size_t>(n_visible_)),
        hidden_bias(normals<T>(n_hidden_, 1)) {
    const auto weights = normals<T>(n_visible * n_hidden, 0);
    for (Index j = 0; j < n_visible; ++j)
      for (Index k = 0; k < n_hidden; ++k) {
        const T w = T(0.05) * weights[static_cast<std::size_t>(j * n_hidden + k)];
        up[static_cast<std::size_t>(j * up_stride + k)] = w;
        down[static_cast<std::size_t>(k * down_stride + j)] = w;
      }
  }

  [[nodiscard]] T weight(Index j, Index k) const { return up[static_cast<std::size_t>(j * up_stride + k)]; }

  [[nodiscard]] RbmView<T> view() const {
    RbmView<T> rbm;
    rbm.n_visible = n_visible;
    rbm.n_hidden = n_hidden;
    rbm.up = up.data();
    rbm.up_stride = up_stride;
    rbm.down = down.data();
    rbm.down_stride = down_stride;
    rbm.visible_bias = visible_bias.data();
    rbm.hidden_bias = hidden_bias.data();
    return rbm;
  }
};

// Rows of bits, each 1 with the same probability.
struct States {
  Index rows, units;
  std::vector<std::uint32_t> words;

  States(Index rows_, Index units_, double density, unsigned seed = 5)
      : rows(rows_), units(units_), words(static_cast<std::size_t>((units_ + 31) / 32 * rows_)) {
    std::mt19937 engine(seed);
    std::bernoulli_distribution coin(density);
    for (Index j = 0; j < units; ++j)
      for (Index r = 0; r < rows; ++r)
        words[static_cast<std::size_t>(j / 32 * rows + r)] |= std::uint32_t{coin(engine)} << (j % 32);
  }

  [[nodiscard]] bool is_one(Index r, Index j) const {
    return ((words[static_cast<std::size_t>(j / 32 * rows + r)] >> (j % 32)) & 1u) != 0;
  }
  [[nodiscard]] ConstBits bits() const { return {words.data(), rows, units, rows}; }
  [[nodiscard]] Bits mutable_bits() { return {words.data(), rows, units, rows}; }
};

}  // namespace thalweg::bench

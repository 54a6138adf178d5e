// Random deep densities of one hidden layer for the benchmarks.
#pragma once

#include <cmath>
#include <vector>

#include "kernels/langevin.hpp"
#include "random_data.hpp"

namespace thalweg::bench {

template <class T>
struct Density {
  Index n_features, n_hidden, n_top;
  std::vector<T> weights, bias, top_weights, top_bias, visible_bias;

  Density(Index n_features_, Index n_hidden_, Index n_top_)
      : n_features(n_features_),
        n_hidden(n_hidden_),
        n_top(n_top_),
        weights(scaled(n_hidden_ * n_features_, n_features_, 0)),
        bias(normals<T>(n_hidden_, 1)),
        top_weights(scaled(n_top_ * n_hidden_, n_hidden_, 2)),
        top_bias(normals<T>(n_top_, 3)),
        visible_bias(normals<T>(n_features_, 4)) {}

  [[nodiscard]] DensityView<T> view() const {
    DensityView<T> view;
    view.layers.push_back({{weights.data(), n_hidden, n_features}, bias.data(), DensityActivation::sigmoid});
    view.top_weights = {top_weights.data(), n_top, n_hidden};
    view.top_bias = top_bias.data();
    view.visible_bias = visible_bias.data();
    view.n_features = n_features;
    return view;
  }

 private:
  static std::vector<T> scaled(Index size, Index fan_in, unsigned seed) {
    auto made = normals<T>(size, seed);
    for (T& w : made) w /= std::sqrt(static_cast<T>(fan_in));
    return made;
  }
};

// Where its gradient goes.
template <class T>
struct DensitySums {
  std::vector<T> weights, bias, top_weights, top_bias, visible_bias;
  DensityGradient<T> gradient;

  explicit DensitySums(const Density<T>& d)
      : weights(d.weights.size()),
        bias(d.bias.size()),
        top_weights(d.top_weights.size()),
        top_bias(d.top_bias.size()),
        visible_bias(d.visible_bias.size()) {
    gradient.layers.push_back({{weights.data(), d.n_hidden, d.n_features}, bias.data()});
    gradient.top_weights = {top_weights.data(), d.n_top, d.n_hidden};
    gradient.top_bias = top_bias.data();
    gradient.visible_bias = visible_bias.data();
  }
};

}  // namespace thalweg::bench

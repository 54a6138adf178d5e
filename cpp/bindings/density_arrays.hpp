// Arrays of a deep density as the kernels take them.
#pragma once

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>
#include <string>
#include <vector>

#include "bindings/array.hpp"
#include "bindings/density_activation.hpp"
#include "kernels/langevin.hpp"

namespace thalweg::bindings {

template <class T>
using MaybeArray = std::optional<Array<T>>;

template <class T>
DensityView<T> density_view(const std::vector<Array<T>>& weights, const std::vector<MaybeArray<T>>& bias,
                            const std::vector<std::string>& activations, const Array<T>& top_weights,
                            const Array<T>& top_bias, const Array<T>& visible_bias, double inverse_variance) {
  require(bias.size() == weights.size() && activations.size() == weights.size(),
          "bias: expected as many as weights, and as activations: ", weights.size(), ", got ", bias.size(),
          " and ", activations.size());
  DensityView<T> view;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    DensityLayer<T> layer;
    layer.weights = matrix(weights[i], "weights");
    if (bias[i]) layer.bias = vector(*bias[i], layer.weights.rows, "bias");
    layer.activation = density_activation(activations[i]);
    view.layers.push_back(layer);
  }
  view.top_weights = matrix(top_weights, "top_weights");
  view.top_bias = vector(top_bias, view.top_weights.rows, "top_bias");
  require_ndim(visible_bias, 1, "visible_bias");
  view.visible_bias = visible_bias.data();
  view.n_features = visible_bias.shape(0);
  view.inverse_variance = inverse_variance;
  return view;
}

template <class T>
MatrixView<const T> density_rows(const Array<T>& X, Index n_features) {
  const auto rows = matrix(X, "X");
  require(rows.cols == n_features, "X: expected ", n_features, " columns, got shape ", shape_text(X));
  return rows;
}

template <class T>
MatrixView<T> matrix_like(Array<T>& out, Index rows, Index cols, const char* name) {
  const auto view = mutable_matrix(out, name);
  require(view.rows == rows && view.cols == cols, name, ": expected shape (", rows, ", ", cols, "), got ",
          shape_text(out));
  return view;
}

// Where the gradient of a density with such layers goes.
template <class T>
DensityGradient<T> density_gradient(const std::vector<std::pair<Index, Index>>& shapes, Index n_features,
                                    std::vector<Array<T>>& weights, std::vector<MaybeArray<T>>& bias,
                                    Array<T>& top_weights, Array<T>& top_bias, Array<T>& visible_bias) {
  const std::size_t n_layers = shapes.size() - 1;
  require(weights.size() == n_layers && bias.size() == n_layers, "weights: expected ", n_layers,
          " array(s), and of bias as many, got ", weights.size(), " and ", bias.size());
  DensityGradient<T> gradient;
  for (std::size_t i = 0; i < n_layers; ++i) {
    typename DensityGradient<T>::Layer layer;
    layer.weights = matrix_like(weights[i], shapes[i].first, shapes[i].second, "weights");
    if (bias[i]) layer.bias = mutable_vector(*bias[i], shapes[i].first, "bias");
    gradient.layers.push_back(layer);
  }
  const auto [n_top, n_hidden] = shapes.back();
  gradient.top_weights = matrix_like(top_weights, n_top, n_hidden, "top_weights");
  gradient.top_bias = mutable_vector(top_bias, n_top, "top_bias");
  gradient.visible_bias = mutable_vector(visible_bias, n_features, "visible_bias");
  return gradient;
}

}  // namespace thalweg::bindings

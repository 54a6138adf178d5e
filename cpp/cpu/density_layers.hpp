// The layers of a deep density, packed for products both ways, and passes of a block of rows through them.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "core/buffer.hpp"
#include "core/density_checks.hpp"
#include "core/error.hpp"
#include "core/parallel.hpp"
#include "cpu/density_activation.hpp"
#include "cpu/density_sums.hpp"
#include "cpu/matmul.hpp"
#include "cpu/philox_panel.hpp"
#include "kernels/gibbs.hpp"
#include "kernels/langevin.hpp"

namespace thalweg::cpu {

template <class T>
[[nodiscard]] constexpr Index panel_padded(Index n) {
  return (n + panel_units<T> - 1) / panel_units<T> * panel_units<T>;
}

// `rows` as they are, with zeros up to a whole number of vectors.
template <class T>
Buffer<T> padded_rows(MatrixView<const T> rows, Index stride) {
  Buffer<T> out(rows.rows * stride);
  for (Index r = 0; r < rows.rows; ++r) {
    std::copy_n(rows.row(r), rows.cols, out.data() + r * stride);
    std::fill(out.data() + r * stride + rows.cols, out.data() + (r + 1) * stride, T(0));
  }
  return out;
}

template <class T>
Buffer<T> padded_vector(const T* values, Index size, Index padded) {
  Buffer<T> out(padded, T(0));
  if (values != nullptr) std::copy_n(values, size, out.data());
  return out;
}

template <class T>
struct PackedDensityLayer {
  Index n_in, n_out;
  Index in_stride, out_stride;
  Buffer<T> down;  // (n_out, in_stride)
  Buffer<T> up;    // (n_in, out_stride), its transpose
  Buffer<T> bias;  // (out_stride,)
  DensityActivation activation;

  explicit PackedDensityLayer(const DensityLayer<T>& layer)
      : n_in(layer.weights.cols),
        n_out(layer.weights.rows),
        in_stride(panel_padded<T>(n_in)),
        out_stride(panel_padded<T>(n_out)),
        down(padded_rows(layer.weights, in_stride)),
        up(n_in * out_stride),
        bias(padded_vector(layer.bias, n_out, out_stride)),
        activation(layer.activation) {
    transpose<T>(layer.weights, nullptr, up.data(), out_stride, 1);
  }

  // sums (rows, out_stride) = X weights' + bias
  void ascend(MatrixView<const T> X, T* sums) const {
    matmul<T>(X, up.data(), out_stride, out_stride, [&](Index r, Index col, simd::Vec<T> acc) {
      simd::store(sums + r * out_stride + col, acc + simd::load(bias.data() + col));
    });
  }
};

// u to s(u) in place; and s'(u) unless `slopes` is null.
template <class T>
void activate_row(DensityActivation activation, T* u, T* slopes, Index width) {
  with_activation(activation, [&](auto tag) {
    constexpr auto s = decltype(tag)::value;
    for (Index j = 0; j < width; j += simd::lanes<T>) {
      simd::Vec<T> d[2];
      derivatives<T, s, 1>(simd::load(u + j), d);
      simd::store(u + j, d[0]);
      if (slopes != nullptr) simd::store(slopes + j, d[1]);
    }
  });
}

}  // namespace thalweg::cpu

namespace thalweg {

template <class T>
struct DeepDensity<T>::Packed {
  Index n_features;
  double inverse_variance;
  std::vector<cpu::PackedDensityLayer<T>> layers;  // the last one is the top
  Buffer<T> visible_bias;                          // padded as the first layer's inputs

  explicit Packed(const DensityView<T>& view)
      : n_features(view.n_features), inverse_variance(view.inverse_variance) {
    check_shapes(view);
    for (const auto& layer : view.layers) layers.emplace_back(layer);
    layers.emplace_back(DensityLayer<T>{view.top_weights, view.top_bias, DensityActivation::softplus});
    visible_bias = cpu::padded_vector(view.visible_bias, n_features, layers[0].in_stride);
  }

  [[nodiscard]] const cpu::PackedDensityLayer<T>& top() const { return layers.back(); }
  [[nodiscard]] Index n_hidden_layers() const { return static_cast<Index>(layers.size()) - 1; }
  [[nodiscard]] Index row_stride() const { return layers[0].in_stride; }

  // ||x||^2 / (2 sigma^2) - b'x
  [[nodiscard]] double visible_energy(const T* x) const {
    const double half = 0.5 * inverse_variance;
    const T* b = visible_bias.data();
    return cpu::wide_sum(
        n_features,
        [&](Index i) {
          const auto v = cpu::widened(x + i);
          return v * (v * half - cpu::widened(b + i));
        },
        [&](Index i) {
          const auto v = static_cast<double>(x[i]);
          return v * (v * half - static_cast<double>(b[i]));
        });
  }
};

}  // namespace thalweg

namespace thalweg::cpu {

// One worker's memory for a block of rows.
template <class T>
class DensityPass {
 public:
  using Packed = typename DeepDensity<T>::Packed;

  DensityPass(const Packed& density, Index max_rows) : density_(density) {
    Index widest = density.row_stride();
    for (const auto& layer : density.layers) {
      outputs_.emplace_back(max_rows * layer.out_stride);
      slopes_.emplace_back(max_rows * layer.out_stride);
      widest = std::max(widest, layer.out_stride);
    }
    for (auto& pull : pulls_) pull = Buffer<T>(max_rows * widest);
  }

  // Leaves the hidden layers' outputs and slopes, and the top's sums z.
  void ascend(MatrixView<const T> X) {
    MatrixView<const T> in = X;
    for (std::size_t i = 0; i < density_.layers.size(); ++i) {
      const auto& layer = density_.layers[i];
      T* out = outputs_[i].data();
      layer.ascend(in, out);
      if (&layer != &density_.top())
        for (Index r = 0; r < X.rows; ++r)
          activate_row(layer.activation, out + r * layer.out_stride, slopes_[i].data() + r * layer.out_stride,
                       layer.out_stride);
      in = {out, X.rows, layer.n_out, layer.out_stride};
    }
  }

  [[nodiscard]] const T* outputs(std::size_t layer) const { return outputs_[layer].data(); }
  [[nodiscard]] const T* slopes(std::size_t layer) const { return slopes_[layer].data(); }

  // sum_k S(z_k) and, over z, t sigmoid(z_k).
  double hidden_sum(Index r, T t) {
    const auto& top = density_.top();
    T* z = outputs_.back().data() + r * top.out_stride;
    T* terms = slopes_.back().data() + r * top.out_stride;
    for (Index j = 0; j < top.out_stride; j += simd::lanes<T>) {
      simd::Vec<T> d[2];
      derivatives<T, DensityActivation::softplus, 1>(simd::load(z + j), d);
      simd::store(terms + j, d[0]);
      simd::store(z + j, d[1] * t);
    }
    return wide_sum(terms, top.n_out);
  }

  // score (rows, row_stride) = b - x / sigma^2 + t the hidden part's, after hidden_sum of all rows.
  // X has rows that may be read as far as row_stride.
  void descend(MatrixView<const T> X, T* score) {
    const T* pull = outputs_.back().data();
    for (std::size_t i = density_.layers.size(); i-- > 0;) {
      const auto& layer = density_.layers[i];
      const MatrixView<const T> left(pull, X.rows, layer.n_out, layer.out_stride);
      if (i == 0) {
        const T* b = density_.visible_bias.data();
        const T inverse_variance = static_cast<T>(density_.inverse_variance);
        matmul<T>(left, layer.down.data(), layer.in_stride, layer.in_stride,
                  [&](Index r, Index col, simd::Vec<T> acc) {
                    const auto plain = simd::load(b + col) - simd::load(X.row(r) + col) * inverse_variance;
                    simd::store(score + r * layer.in_stride + col, acc + plain);
                  });
      } else {
        T* to = pulls_[i % 2].data();
        const T* slope = slopes_[i - 1].data();
        matmul<T>(left, layer.down.data(), layer.in_stride, layer.in_stride,
                  [&](Index r, Index col, simd::Vec<T> acc) {
                    const Index at = r * layer.in_stride + col;
                    simd::store(to + at, acc * simd::load(slope + at));
                  });
        pull = to;
      }
    }
  }

  // Energies, and unless `score` is null scores, of rows that may be read as far as row_stride.
  void evaluate(MatrixView<const T> X, double t, double* energy, T* score) {
    ascend(X);
    for (Index r = 0; r < X.rows; ++r)
      energy[r] = density_.visible_energy(X.row(r)) - t * hidden_sum(r, static_cast<T>(t));
    if (score != nullptr) descend(X, score);
  }

 private:
  const Packed& density_;
  std::vector<Buffer<T>> outputs_, slopes_;
  Buffer<T> pulls_[2];
};

// Rows in work at once.
[[nodiscard]] constexpr Index density_block(Index rows) { return rows >= 192 ? 24 : 12; }

}  // namespace thalweg::cpu

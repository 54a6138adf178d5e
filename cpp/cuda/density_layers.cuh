// The layers of a deep density on the device, and passes of rows through them by matrix products.
#pragma once

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "core/density_checks.hpp"
#include "core/parallel.hpp"
#include "core/scalar.hpp"
#include "cuda/blas.hpp"
#include "cuda/launch.hpp"
#include "cuda/memory.hpp"
#include "cuda/rows.cuh"
#include "kernels/langevin.hpp"

namespace thalweg::cuda {

template <class T>
struct PackedLayer {
  Index n_in = 0, n_out = 0;
  Buffer<T> weights;  // (n_out, n_in)
  Buffer<T> bias;     // (n_out,)
  DensityActivation activation = DensityActivation::softplus;

  PackedLayer(MatrixView<const T> from, const T* from_bias, DensityActivation s, Stream& stream)
      : n_in(from.cols), n_out(from.rows), weights(n_in * n_out, stream), bias(n_out, stream), activation(s) {
    copy_rows<T>(from, {weights.data(), n_out, n_in}, stream);
    if (from_bias != nullptr)
      copy(from_bias, bias.data(), n_out, stream);
    else
      clear(bias.data(), n_out, stream);
  }

  // out (rows, n_out) = X weights'
  void up(MatrixView<const T> X, T* out, Stream& stream) const {
    gemm(stream, X.rows, n_out, n_in, T(1), {X.data, X.stride}, {weights.data(), n_in, Transposed::yes}, T(0),
         {out, n_out});
  }
  // out (rows, n_in) = P weights + beta out
  void down(const T* P, T beta, MatrixView<T> out, Stream& stream) const {
    gemm(stream, out.rows, n_in, n_out, T(1), {P, n_out}, {weights.data(), n_in}, beta,
         {out.data, out.stride});
  }
};

template <class T>
struct DeepDensity<T>::Packed {
  std::shared_ptr<Stream> home;
  Index n_features;
  double inverse_variance;
  std::vector<PackedLayer<T>> layers;  // the last one is the top
  Buffer<T> visible_bias;

  Packed(const DensityView<T>& view, Stream& stream)
      : home(stream.shared_from_this()),
        n_features(view.n_features),
        inverse_variance(view.inverse_variance),
        visible_bias(view.n_features, stream) {
    check_shapes(view);
    layers.reserve(view.layers.size() + 1);
    for (const auto& l : view.layers) layers.emplace_back(l.weights, l.bias, l.activation, stream);
    layers.emplace_back(view.top_weights, view.top_bias, DensityActivation::softplus, stream);
    copy(view.visible_bias, visible_bias.data(), n_features, stream);
  }

  [[nodiscard]] const PackedLayer<T>& top() const { return layers.back(); }
  [[nodiscard]] Index width() const { return layers[0].n_out; }  // of what is seen of a row

  // Units of all layers together.
  [[nodiscard]] Index units() const {
    Index sum = 0;
    for (const auto& layer : layers) sum += layer.n_out;
    return sum;
  }
  // Multiply-adds of one way through the layers above the first.
  [[nodiscard]] double products_above() const {
    double sum = 0;
    for (std::size_t i = 1; i < layers.size(); ++i)
      sum += static_cast<double>(layers[i].n_in) * static_cast<double>(layers[i].n_out);
    return sum;
  }
};

// Rows that are done at once, such that workspaces of so many elements a row stay below half a gigabyte.
[[nodiscard]] inline Index rows_at_once(Index rows, Index elements_of_row) {
  return std::clamp<Index>((Index{1} << 27) / std::max<Index>(elements_of_row, 1), 256,
                           std::max<Index>(rows, 256));
}

// Lets a long run of launches be interrupted: the host never hurries further ahead than some hundredths of a
// second of the device's work.
class Advance {
 public:
  explicit Advance(Stream& stream) : stream_(stream) {}

  // Before work of so many multiply-adds. One launch takes as long as `least` of them at the least.
  void add(double operations) {
    poll_interrupt();
    ahead_ += std::max(operations, least);
    if (ahead_ < most_ahead) return;
    stream_.synchronize();
    ahead_ = 0;
  }

  static constexpr double most_ahead = 2e11;
  static constexpr double least = 2e7;

 private:
  Stream& stream_;
  double ahead_ = 0;
};

// s(u) and s'(u).
template <class T>
__device__ inline void activate(DensityActivation s, T u, T& value, T& slope) {
  switch (s) {
    case DensityActivation::identity:
      value = u;
      slope = T(1);
      return;
    case DensityActivation::sigmoid:
      value = sigmoid(u);
      slope = d_sigmoid(u);
      return;
    case DensityActivation::tanh:
      value = std::tanh(u);
      slope = T(4) * d_sigmoid(T(2) * u);
      return;
    case DensityActivation::softplus:
      value = softplus(u);
      slope = sigmoid(u);
      return;
    case DensityActivation::relu:
      value = u < T(0) ? T(0) : u;
      slope = u > T(0) ? T(1) : T(0);
      return;
  }
}

// values, slopes (rows, n) of sums + bias; `sums` may be `values`.
template <class T>
__global__ void __launch_bounds__(rows::block_size)
    activate_kernel(DensityActivation s, const T* sums, const T* bias, T* values, T* slopes, Index n_rows,
                    Index n) {
  for (Index r = rows::first(); r < n_rows; r += rows::step())
    for (Index j = rows::lane(); j < n; j += 32)
      activate(s, sums[r * n + j] + bias[j], values[r * n + j], slopes[r * n + j]);
}

// Of the top's sums without bias: hidden (rows,) = sum_k S(z_k) in float64 and pull (rows, n) = t sigmoid(z);
// what is null is not wanted. `pull` may be `sums`.
template <class T>
__global__ void __launch_bounds__(rows::block_size)
    top_kernel(const T* sums, const T* bias, T t, double* hidden, T* pull, Index n_rows, Index n) {
  for (Index r = rows::first(); r < n_rows; r += rows::step()) {
    double total = 0;
    for (Index j = rows::lane(); j < n; j += 32) {
      const T z = sums[r * n + j] + bias[j];
      if (hidden != nullptr) total += static_cast<double>(softplus(z));
      if (pull != nullptr) pull[r * n + j] = t * sigmoid(z);
    }
    total = rows::sum(total);
    if (hidden != nullptr && rows::lane() == 0) hidden[r] = total;
  }
}

template <class T>
__global__ void __launch_bounds__(rows::block_size)
    multiply_kernel(T* values, const T* by, Index n_rows, Index n) {
  for (Index r = rows::first(); r < n_rows; r += rows::step())
    for (Index j = rows::lane(); j < n; j += 32) values[r * n + j] *= by[r * n + j];
}

// ||x||^2 / (2 sigma^2) - b'x, in float64, in every lane of the row's warp.
template <class T>
__device__ inline double visible_energy(const T* x, const T* b, Index n, double inverse_variance) {
  const double half = 0.5 * inverse_variance;
  double total = 0;
  for (Index j = rows::lane(); j < n; j += 32) {
    const auto v = static_cast<double>(x[j]);
    total += v * (v * half - static_cast<double>(b[j]));
  }
  return rows::sum(total);
}

// energy = the visible part - t hidden
template <class T>
__global__ void __launch_bounds__(rows::block_size)
    energy_kernel(MatrixView<const T> X, const T* b, double inverse_variance, double t, const double* hidden,
                  double* energy) {
  for (Index r = rows::first(); r < X.rows; r += rows::step()) {
    const double visible = visible_energy(X.row(r), b, X.cols, inverse_variance);
    if (rows::lane() == 0) energy[r] = visible - t * hidden[r];
  }
}

// What the layers make of the first one's sums, by matrix products; memory for a number of rows.
template <class T>
class HiddenPass {
 public:
  using Packed = typename DeepDensity<T>::Packed;

  HiddenPass(const Packed& density, Index most_rows, Stream& stream) : density_(density), stream_(stream) {
    for (std::size_t i = 0; i + 1 < density.layers.size(); ++i) {
      outputs_.emplace_back(most_rows * density.layers[i].n_out, stream);
      slopes_.emplace_back(most_rows * density.layers[i].n_out, stream);
    }
    top_ = Buffer<T>(most_rows * density.top().n_out, stream);
  }

  // Of w (rows, width) = X V': hidden (rows,) = sum_k S(z_k), and pull (rows, width), the derivative of t
  // sum_k S(z_k) in w; what is null is not wanted.
  void evaluate(const T* w, Index n_rows, T t, double* hidden, T* pull) {
    const auto& layers = density_.layers;
    const std::size_t last = layers.size() - 1;
    if (last == 0) {
      finish(w, n_rows, t, hidden, pull);
      return;
    }
    for (std::size_t i = 0; i < last; ++i) {
      const T* sums = i == 0 ? w : outputs_[i].data();
      rows::launch_rows(activate_kernel<T>, n_rows, stream_, layers[i].activation, sums,
                        layers[i].bias.data(), outputs_[i].data(), slopes_[i].data(), n_rows,
                        layers[i].n_out);
      T* above = i + 1 == last ? top_.data() : outputs_[i + 1].data();
      layers[i + 1].up({outputs_[i].data(), n_rows, layers[i].n_out}, above, stream_);
    }
    finish(top_.data(), n_rows, t, hidden, pull == nullptr ? nullptr : top_.data());
    if (pull == nullptr) return;
    const T* from = top_.data();
    for (std::size_t i = last; i > 0; --i) {
      T* to = i == 1 ? pull : outputs_[i - 1].data();
      const Index n = layers[i].n_in;
      layers[i].down(from, T(0), {to, n_rows, n}, stream_);
      rows::launch_rows(multiply_kernel<T>, n_rows, stream_, to, slopes_[i - 1].data(), n_rows, n);
      from = to;
    }
  }

 private:
  void finish(const T* sums, Index n_rows, T t, double* hidden, T* pull) {
    const auto& top = density_.top();
    rows::launch_rows(top_kernel<T>, n_rows, stream_, sums, top.bias.data(), t, hidden, pull, n_rows,
                      top.n_out);
  }

  const Packed& density_;
  Stream& stream_;
  std::vector<Buffer<T>> outputs_, slopes_;  // of the hidden layers
  Buffer<T> top_;                            // the top's sums, then the derivatives in them
};

}  // namespace thalweg::cuda

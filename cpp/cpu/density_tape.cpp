// Energies of deep densities with what their gradients need, and the gradients.
#include <algorithm>
#include <memory>
#include <vector>

#include "core/error.hpp"
#include "core/parallel.hpp"
#include "cpu/density_layers.hpp"
#include "cpu/density_sums.hpp"
#include "kernels/langevin.hpp"

namespace thalweg {
namespace {

constexpr Index rows_per_sum = 512;  // a chain of multiply-adds is no longer

}  // namespace

template <class T>
void DensityTape<T>::top_probabilities(MatrixView<T> out) const {
  require(out.rows == rows, "out: expected ", rows, " row(s), as the tape has, got ", out.rows);
  if (rows == 0) return;
  const Index stride = slopes.back().size() / rows;
  require(out.cols <= stride, "out: expected as many columns as units on top, got ", out.cols);
  for (Index r = 0; r < rows; ++r) std::copy_n(slopes.back().data() + r * stride, out.cols, out.row(r));
}

template <class T>
std::unique_ptr<DensityTape<T>> DeepDensity<T>::value(MatrixView<const T> X, double* energy,
                                                      int n_jobs) const {
  const auto& layers = packed_->layers;
  auto tape = std::make_unique<DensityTape<T>>();
  tape->rows = X.rows;
  tape->squares = Buffer<double>(X.rows);
  Index work = 0;
  for (const auto& layer : layers) {
    tape->outputs.emplace_back(X.rows * layer.out_stride);
    tape->slopes.emplace_back(X.rows * layer.out_stride);
    work += X.rows * layer.n_in * layer.n_out;
  }
  const Index block = cpu::density_block(X.rows);
  parallel_for(block_count(X.rows, block), jobs_for(work, n_jobs), [&](Index b, int) {
    const Index first = b * block;
    const Index rows = std::min(block, X.rows - first);
    MatrixView<const T> in = X.middle_rows(first, rows);
    for (std::size_t i = 0; i < layers.size(); ++i) {
      const auto& layer = layers[i];
      T* out = tape->outputs[i].data() + first * layer.out_stride;
      T* slope = tape->slopes[i].data() + first * layer.out_stride;
      layer.ascend(in, out);
      for (Index r = 0; r < rows; ++r)
        cpu::activate_row(layer.activation, out + r * layer.out_stride, slope + r * layer.out_stride,
                          layer.out_stride);
      in = {out, rows, layer.n_out, layer.out_stride};
    }
    for (Index r = 0; r < rows; ++r) {
      const T* x = X.row(first + r);
      energy[first + r] = packed_->visible_energy(x) - cpu::wide_sum(in.row(r), in.cols);
      tape->squares[first + r] = cpu::wide_dot(x, x, X.cols);
    }
  });
  return tape;
}

namespace {

// Derivatives in the sums of every layer, (rows, stride), the first with room for one column more.
template <class T>
struct Pulls {
  std::vector<Buffer<T>> data;
  std::vector<Index> strides;
};

template <class T>
void pull_rows(const typename DeepDensity<T>::Packed& density, const DensityTape<T>& tape,
               const double* weight, Index first, Index rows, Pulls<T>& pulls) {
  constexpr int lanes = simd::lanes<T>;
  const auto& layers = density.layers;
  const std::size_t last = layers.size() - 1;
  for (Index r = first; r < first + rows; ++r) {
    const T w = static_cast<T>(-weight[r]);
    const T* p = tape.slopes[last].data() + r * layers[last].out_stride;
    T* to = pulls.data[last].data() + r * pulls.strides[last];
    for (Index j = 0; j < layers[last].out_stride; j += lanes) simd::store(to + j, w * simd::load(p + j));
  }
  for (std::size_t i = last; i > 0; --i) {
    const auto& layer = layers[i];
    const MatrixView<const T> left(pulls.data[i].data() + first * pulls.strides[i], rows, layer.n_out,
                                   pulls.strides[i]);
    const T* slope = tape.slopes[i - 1].data() + first * layer.in_stride;
    T* to = pulls.data[i - 1].data() + first * pulls.strides[i - 1];
    cpu::matmul<T>(left, layer.down.data(), layer.in_stride, layer.in_stride,
                   [&](Index r, Index col, simd::Vec<T> acc) {
                     simd::store(to + r * pulls.strides[i - 1] + col,
                                 acc * simd::load(slope + r * layer.in_stride + col));
                   });
  }
  // The column behind the first layer's weighs X in the gradient of the visible bias.
  for (Index r = first; r < first + rows; ++r)
    pulls.data[0].data()[r * pulls.strides[0] + layers[0].n_out] = static_cast<T>(-weight[r]);
}

// Rows that are padded to whole vectors.
template <class T>
void sum_of_rows(MatrixView<const T> rows, T* out) {
  std::fill_n(out, rows.cols, T(0));
  for (Index first = 0; first < rows.rows; first += rows_per_sum)
    for (Index j = 0; j < rows.cols; j += simd::lanes<T>) {
      simd::Vec<T> sum = {};
      for (Index r = first; r < std::min(rows.rows, first + rows_per_sum); ++r)
        sum += simd::load(rows.row(r) + j);
      cpu::put_vector(out + j, sum, rows.cols - j, true);
    }
}

// One panel of columns of a layer's gradient, left' inputs; row n_out, where there is one, goes to `extra`.
template <class T>
void weight_gradient(MatrixView<const T> left, MatrixView<const T> inputs, Index first_col,
                     MatrixView<T> gradient, T* extra, Buffer<T>& scratch) {
  for (Index first = 0; first < inputs.rows; first += rows_per_sum) {
    poll_interrupt();
    const Index rows = std::min(rows_per_sum, inputs.rows - first);
    const auto panel = cpu::columns_from(inputs.middle_rows(first, rows), first_col, scratch);
    cpu::transposed_matmul<T>(left.middle_rows(first, rows), panel.data, panel.stride, panel.padded,
                              [&](Index r, Index col, simd::Vec<T> acc) {
                                T* row = r < gradient.rows ? gradient.row(r) : extra;
                                cpu::put_vector(row + first_col + col, acc, panel.cols - col, first > 0);
                              });
  }
}

}  // namespace

template <class T>
double DeepDensity<T>::pull(const DensityTape<T>& tape, MatrixView<const T> X, const double* weight,
                            const DensityGradient<T>& gradient, int n_jobs) const {
  const auto& layers = packed_->layers;
  require(tape.rows == X.rows && tape.outputs.size() == layers.size(), "tape: expected that of ", X.rows,
          " row(s) from this density, got one of ", tape.rows);
  Pulls<T> pulls;
  Index work = 0;
  for (std::size_t i = 0; i < layers.size(); ++i) {
    pulls.strides.push_back(i == 0 ? simd::padded<T>(layers[i].out_stride + 1) : layers[i].out_stride);
    pulls.data.emplace_back(X.rows * pulls.strides[i]);
    work += X.rows * layers[i].n_in * layers[i].n_out;
  }
  const Index block = cpu::density_block(X.rows);
  parallel_for(block_count(X.rows, block), jobs_for(work, n_jobs), [&](Index b, int) {
    pull_rows<T>(*packed_, tape, weight, b * block, std::min(block, X.rows - b * block), pulls);
  });
  // The panels of all layers, the first layer's first.
  std::vector<Index> starts{0};
  for (const auto& layer : layers)
    starts.push_back(starts.back() + block_count(layer.n_in, cpu::column_panel<T>));
  std::vector<Buffer<T>> scratch(static_cast<std::size_t>(thread_count(n_jobs)));
  parallel_for(starts.back(), jobs_for(work, n_jobs), [&](Index task, int worker) {
    std::size_t i = 0;
    while (task >= starts[i + 1]) ++i;
    const auto& layer = layers[i];
    const bool is_first = i == 0;
    const MatrixView<const T> left(pulls.data[i].data(), X.rows, layer.n_out + (is_first ? 1 : 0),
                                   pulls.strides[i]);
    const auto inputs =
        is_first ? X : MatrixView<const T>(tape.outputs[i - 1].data(), X.rows, layer.n_in, layer.in_stride);
    const auto out = i + 1 == layers.size() ? gradient.top_weights : gradient.layers[i].weights;
    weight_gradient<T>(left, inputs, (task - starts[i]) * cpu::column_panel<T>, out, gradient.visible_bias,
                       scratch[static_cast<std::size_t>(worker)]);
    if (task == starts[i]) {
      T* bias = i + 1 == layers.size() ? gradient.top_bias : gradient.layers[i].bias;
      if (bias != nullptr) sum_of_rows<T>({left.data, X.rows, layer.n_out, left.stride}, bias);
    }
  });
  double of_log_sigma = 0;
  for (Index r = 0; r < X.rows; ++r) of_log_sigma -= weight[r] * tape.squares[r];
  if (X.rows == 0) {
    for (std::size_t i = 0; i < layers.size(); ++i) {
      const auto out = i + 1 == layers.size() ? gradient.top_weights : gradient.layers[i].weights;
      for (Index r = 0; r < out.rows; ++r) std::fill_n(out.row(r), out.cols, T(0));
    }
    std::fill_n(gradient.visible_bias, X.cols, T(0));
  }
  return of_log_sigma * packed_->inverse_variance;
}

#define THALWEG_INSTANTIATE(T)                                                                             \
  template void DensityTape<T>::top_probabilities(MatrixView<T>) const;                                    \
  template std::unique_ptr<DensityTape<T>> DeepDensity<T>::value(MatrixView<const T>, double*, int) const; \
  template double DeepDensity<T>::pull(const DensityTape<T>&, MatrixView<const T>, const double*,          \
                                       const DensityGradient<T>&, int) const;

THALWEG_INSTANTIATE(float)
THALWEG_INSTANTIATE(double)
#undef THALWEG_INSTANTIATE

}  // namespace thalweg

// A machine's two directions, and their products with states of any form.
#pragma once

#include <algorithm>
#include <optional>
#include <type_traits>

#include "cuda/rbm_product.cuh"

namespace thalweg::cuda {

template <class T>
struct PreparedRbm<T>::Memory {
  rbm::DigitMemory up;  // of single precision
  rbm::DigitMemory down;
};

namespace rbm {

// Rows of a launch of well under 0.2 s.
[[nodiscard]] inline Index rows_at_once(Index depth, Index units) {
  constexpr Index operations = Index{1} << 41;
  constexpr Index granule = 256;
  const Index rows = operations / std::max<Index>(1, depth * units) / granule * granule;
  return std::clamp<Index>(rows, granule, Index{1} << 24);
}

template <class T>
struct Layer {
  Weights<T> weights;
  Digits digits;  // of single precision
};

template <class T>
Layer<T> up_layer(const PreparedRbm<T>& rbm) {
  const RbmView<T>& view = rbm.view();
  return {{view.up, view.n_visible, view.n_hidden, view.up_stride}, rbm.memory().up.view()};
}

template <class T>
Layer<T> down_layer(const PreparedRbm<T>& rbm) {
  const RbmView<T>& view = rbm.view();
  return {{view.down, view.n_hidden, view.n_visible, view.down_stride}, rbm.memory().down.view()};
}

template <class T, class Finish>
void multiply_bits_of(const Layer<T>& layer, const ConstBits& bits, const RowFilter& filter,
                      const Finish& finish, Stream& stream) {
  if constexpr (std::is_same_v<T, float>)
    if (fits_tensor_cores(layer.digits.words))
      return multiply_bits(layer.digits, bits, filter, finish, stream);
  multiply_chain<T, true>(layer.weights, {bits, {}}, bits.rows, filter, finish, stream);
}

// Of bits where `given.real` is null, else of real numbers as they are.
template <class T, class Finish>
void multiply(const Layer<T>& layer, const StatesView<T>& given, const Finish& finish, Stream& stream) {
  const Index rows = given.real.data != nullptr ? given.real.rows : given.bits.rows;
  if (rows == 0 || layer.weights.units == 0) return;
  if (given.real.data == nullptr) return multiply_bits_of(layer, given.bits, {}, finish, stream);
  multiply_chain<T, false>(layer.weights, given, rows, {}, finish, stream);
}

template <class T>
BernoulliFinish<T> hidden_finish(const RbmView<T>& rbm, const T* t, const Draws& draws,
                                 const Activation<T>& out) {
  return {rbm.n_hidden, rbm.hidden_bias, nullptr, {t}, draws, out.logits, out.mean, out.bits};
}

template <class T>
BernoulliFinish<T> bernoulli_visible_finish(const RbmView<T>& rbm, const Tempering<T>& tempering,
                                            const Draws& draws, const Activation<T>& out) {
  return {rbm.n_visible, rbm.visible_bias, tempering.base_bias, {tempering.t}, draws, out.logits,
          out.mean,      out.bits};
}

template <class T>
GaussianFinish<T> gaussian_visible_finish(const RbmView<T>& rbm, const Tempering<T>& tempering,
                                          const Draws& draws, const Activation<T>& out) {
  return {
      rbm.n_visible, rbm.visible_bias, rbm.sigma, tempering.base_bias, tempering.base_sigma, {tempering.t},
      draws,         out.mean,         out.real};
}

[[nodiscard]] inline ConstBits as_const(const Bits& bits) {
  return {bits.data, bits.rows, bits.units, bits.stride};
}

}  // namespace rbm
}  // namespace thalweg::cuda

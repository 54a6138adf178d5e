// Activations of deep densities with their derivatives, a vector at a time.
#pragma once

#include "core/simd.hpp"
#include "cpu/elementwise_math.hpp"
#include "kernels/langevin.hpp"

namespace thalweg::cpu {

// tanh(v / 2), given e^-|v|; exact where v is small, as the exponential's scale is then 1.
template <class T>
[[gnu::always_inline]] inline simd::Vec<T> tanh_of_half(simd::Vec<T> v, Exponential<T> e) {
  const simd::Vec<T> rest = (1 - e.scale) - e.tail * e.scale;  // 1 - e^-|v|
  return with_sign_of<T>(rest / (1 + e.value()), v);
}

// out[i] is the i-th derivative of s at u, for i up to Order <= 3.
template <class T, DensityActivation s, int Order>
[[gnu::always_inline]] inline void derivatives(simd::Vec<T> u, simd::Vec<T> (&out)[Order + 1]) {
  using V = simd::Vec<T>;
  using F = FullRange<T>;
  if constexpr (s == DensityActivation::identity) {
    out[0] = u;
    if constexpr (Order >= 1) out[1] = simd::broadcast(T(1));
    for (int i = 2; i <= Order; ++i) out[i] = V{};
  } else if constexpr (s == DensityActivation::relu) {
    out[0] = u < 0 ? V{} : u;
    if constexpr (Order >= 1) out[1] = u > 0 ? simd::broadcast(T(1)) : V{};
    static_assert(Order <= 1, "a rectifier has no second derivative");
  } else {
    constexpr bool is_tanh = s == DensityActivation::tanh;
    const V v = is_tanh ? 2 * u : u;
    const auto e = exp_of_negative<T>(negative_absolute<T>(v));
    if constexpr (is_tanh) {
      out[0] = tanh_of_half<T>(v, e);
      if constexpr (Order >= 1) out[1] = 4 * F::d_sigmoid(v, e);
      if constexpr (Order >= 2) out[2] = -2 * out[0] * out[1];
      if constexpr (Order >= 3) out[3] = out[1] * (4 - 6 * out[1]);
    } else if constexpr (s == DensityActivation::sigmoid) {
      out[0] = F::sigmoid(v, e);
      if constexpr (Order >= 1) out[1] = F::d_sigmoid(v, e);
      if constexpr (Order >= 2) out[2] = -out[1] * tanh_of_half<T>(v, e);
      if constexpr (Order >= 3) out[3] = out[1] * (1 - 6 * out[1]);
    } else {
      out[0] = F::softplus(v, e);
      if constexpr (Order >= 1) out[1] = F::sigmoid(v, e);
      if constexpr (Order >= 2) out[2] = F::d_sigmoid(v, e);
      if constexpr (Order >= 3) out[3] = -out[2] * tanh_of_half<T>(v, e);
    }
  }
}

template <DensityActivation s>
struct ActivationTag {
  static constexpr DensityActivation value = s;
};

// body(tag) with the activation as a constant.
template <class Body>
void with_activation(DensityActivation s, const Body& body) {
  switch (s) {
    case DensityActivation::identity:
      return body(ActivationTag<DensityActivation::identity>{});
    case DensityActivation::sigmoid:
      return body(ActivationTag<DensityActivation::sigmoid>{});
    case DensityActivation::tanh:
      return body(ActivationTag<DensityActivation::tanh>{});
    case DensityActivation::softplus:
      return body(ActivationTag<DensityActivation::softplus>{});
    case DensityActivation::relu:
      return body(ActivationTag<DensityActivation::relu>{});
  }
}

}  // namespace thalweg::cpu

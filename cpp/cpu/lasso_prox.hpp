// The penalties' proximal maps on whole vectors and on numbers.
#pragma once

#include "core/scalar.hpp"
#include "core/simd.hpp"
#include "kernels/lasso.hpp"

namespace thalweg::cpu {

// argmin_u 1/2 (u - v)^2 + threshold p(u), over u >= 0 where `positive`. Adding zero turns -0.0 into 0.0.
template <class T, Penalty P>
inline T prox_number(T v, T threshold, bool positive) {
  if (positive && v < 0) return T(0);
  if constexpr (P == Penalty::l1)
    return shrink(v, threshold) + T(0);
  else if constexpr (P == Penalty::l0)
    return hard_shrink(v, threshold) + T(0);
  else if constexpr (P == Penalty::l_half)
    return prox_half(v, threshold) + T(0);
  else
    return prox_two_thirds(v, threshold) + T(0);
}

template <class T, Penalty P>
[[gnu::always_inline]] inline simd::Vec<T> prox(simd::Vec<T> v, simd::Vec<T> threshold, bool positive) {
  using V = simd::Vec<T>;
  if constexpr (P == Penalty::l1) {
    const V above = v - threshold;
    const V below = v + threshold;
    const V zero = {};
    if (positive) return above > 0 ? above : zero;
    return above > 0 ? above : below < 0 ? below : zero;
  } else {
    V out;
    for (int l = 0; l < simd::lanes<T>; ++l) out[l] = prox_number<T, P>(v[l], threshold[l], positive);
    return out;
  }
}

}  // namespace thalweg::cpu

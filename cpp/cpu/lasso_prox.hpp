// The penalties' proximal maps on whole vectors.
#pragma once

#include "core/lasso_numbers.hpp"
#include "core/simd.hpp"

namespace thalweg::cpu {

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

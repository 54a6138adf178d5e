// The smooth functions of core/scalar.hpp on a device: in single precision with half of the instructions,
// within the errors that kernels/elementwise.hpp promises of a device; in double precision as they stand
// there.
#pragma once

#include <cuda_runtime.h>

#include <cmath>
#include <type_traits>

#include "core/scalar.hpp"

namespace thalweg::cuda {

// 1 / s for s in [1, 2], within a unit in the last place.
__device__ inline float reciprocal_of_sum(float s) {
#ifdef THALWEG_CUDA_EMULATION
  return 1.0F / s;
#else
  float r;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(s));
  return r;
#endif
}

// x / s for x in [0, 1] and s in [1, 2], rounded once but for a few parts in 2^24 of all cases. A division
// without these bounds takes three times the instructions.
__device__ inline float divide_by_sum(float x, float s) {
  const float r = reciprocal_of_sum(s);
  const float q = x * r;
  return __fmaf_rn(__fmaf_rn(-s, q, x), r, q);
}

// log(1 + e) for e in [0, 1], relative error 2^-23: e + e^2 times the polynomial of least relative error.
__device__ inline float log1p_of_unit(float e) {
  float p = -0.003244133200496435F;
  p = __fmaf_rn(p, e, 0.019851915538311005F);
  p = __fmaf_rn(p, e, -0.0569603256881237F);
  p = __fmaf_rn(p, e, 0.10603728890419006F);
  p = __fmaf_rn(p, e, -0.1530563235282898F);
  p = __fmaf_rn(p, e, 0.19675952196121216F);
  p = __fmaf_rn(p, e, -0.24954135715961456F);
  p = __fmaf_rn(p, e, 0.3332996368408203F);
  p = __fmaf_rn(p, e, -0.4999990165233612F);
  return __fmaf_rn(e * e, p, e);
}

template <class T>
__device__ inline T device_softplus(T u) {
  if constexpr (std::is_same_v<T, float>) {
    const float tail = log1p_of_unit(std::exp(-std::abs(u)));
    return u > 0.0F ? u + tail : tail;
  } else {
    return softplus(u);
  }
}

template <class T>
__device__ inline T device_log_sigmoid(T u) {
  return -device_softplus(-u);
}

template <class T>
__device__ inline T device_sigmoid(T u) {
  if constexpr (std::is_same_v<T, float>) {
    const float e = std::exp(-std::abs(u));
    return divide_by_sum(u < 0.0F ? e : 1.0F, 1.0F + e);
  } else {
    return sigmoid(u);
  }
}

template <class T>
__device__ inline T device_d_sigmoid(T u) {
  if constexpr (std::is_same_v<T, float>) {
    const float e = std::exp(-std::abs(u));
    const float s = 1.0F + e;
    return divide_by_sum(divide_by_sum(e, s), s);
  } else {
    return d_sigmoid(u);
  }
}

}  // namespace thalweg::cuda

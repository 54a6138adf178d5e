// Products of 16 x 8 by 8 x 8 matrices on tensor cores that keep the precision of their operands' type.
//
// Both types lay out fragments alike, with g = lane / 4 and t = lane % 4 (mma.cuh, m16n8k8):
//
//   a[0] (g, t)  a[1] (g + 8, t)  a[2] (g, t + 4)  a[3] (g + 8, t + 4)    b[0] (t, g)  b[1] (t + 4, g)
//   d[0] (g, 2t)  d[1] (g, 2t + 1)  d[2] (g + 8, 2t)  d[3] (g + 8, 2t + 1)
//
// A float is taken apart into two numbers of 11 leading bits each, and three of their four products are
// summed: what is left out is below 2^-20 of the whole. Tensor cores cut sums off, always towards zero, which
// over hundreds of steps adds up; so every step of 8 products starts from zero and is added by the float
// units, which round. Doubles go to the units for doubles as they are.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <cstring>

#include "cuda/mma.cuh"

namespace thalweg::cuda {

// n numbers as tensor cores take them.
template <class T, int n>
struct Parts;
template <int n>
struct Parts<float, n> {
  std::uint32_t high[n];
  std::uint32_t low[n];
};
template <int n>
struct Parts<double, n> {
  double value[n];
};

// Cut off rather than rounded, which takes two instructions a number: for what is split in the loop.
template <int n>
__device__ inline Parts<float, n> split(const float (&x)[n]) {
  Parts<float, n> parts;
#pragma unroll
  for (int i = 0; i < n; ++i) {
    parts.high[i] = __float_as_uint(x[i]) & 0xFFFFE000u;
    parts.low[i] = __float_as_uint(x[i] - __uint_as_float(parts.high[i]));
  }
  return parts;
}
template <int n>
__device__ inline Parts<double, n> split(const double (&x)[n]) {
  Parts<double, n> parts;
#pragma unroll
  for (int i = 0; i < n; ++i) parts.value[i] = x[i];
  return parts;
}

// Rounded, so that what products of low parts would add has no sign of its own: for what is split once.
template <int n>
__device__ inline Parts<float, n> split_rounded(const float (&x)[n]) {
  Parts<float, n> parts;
#pragma unroll
  for (int i = 0; i < n; ++i) {
    const Tf32Pair pair = split_tf32(x[i]);
    parts.high[i] = pair.high;
    parts.low[i] = pair.low;
  }
  return parts;
}
template <int n>
__device__ inline Parts<double, n> split_rounded(const double (&x)[n]) {
  return split(x);
}

// d[j] += a b[j] for the n right factors of a row.
template <int n>
__device__ inline void multiply(float (&d)[n][4], const Parts<float, 4>& a, const Parts<float, 2> (&b)[n]) {
  constexpr int together = n % 2 == 0 ? 2 : n;  // more of them would not fit into the registers
#pragma unroll
  for (int first = 0; first < n; first += together) {
    float sums[together][4] = {};
#pragma unroll
    for (int j = 0; j < together; ++j) mma_tf32(sums[j], a.low, b[first + j].high);
#pragma unroll
    for (int j = 0; j < together; ++j) mma_tf32(sums[j], a.high, b[first + j].low);
#pragma unroll
    for (int j = 0; j < together; ++j) mma_tf32(sums[j], a.high, b[first + j].high);
#pragma unroll
    for (int j = 0; j < together; ++j)
#pragma unroll
      for (int i = 0; i < 4; ++i) d[first + j][i] += sums[j][i];
  }
}
template <int n>
__device__ inline void multiply(double (&d)[n][4], const Parts<double, 4>& a,
                                const Parts<double, 2> (&b)[n]) {
#pragma unroll
  for (int j = 0; j < n; ++j) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      double rows[2] = {d[j][2 * half], d[j][2 * half + 1]};
      mma_double(rows, a.value[half], b[j].value[0]);
      mma_double(rows, a.value[half + 2], b[j].value[1]);
      d[j][2 * half] = rows[0];
      d[j][2 * half + 1] = rows[1];
    }
  }
}

// Fragments in memory, 16 bytes at a time: a left factor is 32 lanes' first halves, then their second ones; a
// right factor is 16 bytes of every lane.
template <class T>
__device__ inline Parts<T, 4> load_left(const uint4* of_warp, int lane) {
  const uint4 halves[2] = {of_warp[lane], of_warp[32 + lane]};
  Parts<T, 4> parts;
  static_assert(sizeof parts == sizeof halves);
  std::memcpy(&parts, halves, sizeof parts);
  return parts;
}
template <class T>
__device__ inline void store_left(uint4* of_warp, int lane, const Parts<T, 4>& parts) {
  uint4 halves[2];
  std::memcpy(halves, &parts, sizeof parts);
  of_warp[lane] = halves[0];
  of_warp[32 + lane] = halves[1];
}
template <class T>
__device__ inline Parts<T, 2> load_right(const uint4* of_lane) {
  const uint4 whole = *of_lane;
  Parts<T, 2> parts;
  static_assert(sizeof parts == sizeof whole);
  std::memcpy(&parts, &whole, sizeof parts);
  return parts;
}
template <class T>
__device__ inline void store_right(uint4* of_lane, const Parts<T, 2>& parts) {
  uint4 whole;
  std::memcpy(&whole, &parts, sizeof parts);
  *of_lane = whole;
}

}  // namespace thalweg::cuda

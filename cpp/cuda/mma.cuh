// Products of small matrices on tensor cores, by one warp: D = A B + D. All lanes of a warp call together.
//
// Fragments, with g = lane / 4 and t = lane % 4 (PTX ISA, "Matrix Fragments for mma"):
//
//   m16n8k8, tf32    a[0] (g, t)           a[1] (g + 8, t)        a[2] (g, t + 4)           a[3] (g + 8, t +
//   4)
//                    b[0] (t, g)           b[1] (t + 4, g)
//   m16n8k16, bf16   a[0] (g, 2t..2t+1)    a[1] (g + 8, 2t..)     a[2] (g, 2t + 8..)        a[3] (g + 8, 2t
//   + 8..)
//                    b[0] (2t..2t+1, g)    b[1] (2t + 8.., g)     two numbers a word, the first in its low
//                    half
//   m16n8k32, int8   a[0] (g, 4t..4t+3)    a[1] (g + 8, 4t..)     a[2] (g, 4t + 16..)       a[3] (g + 8, 4t
//   + 16..)
//                    b[0] (4t..4t+3, g)    b[1] (4t + 16.., g)    four numbers a word, the first lowest
//   all of these     d[0] (g, 2t)          d[1] (g, 2t + 1)       d[2] (g + 8, 2t)          d[3] (g + 8, 2t +
//   1)
//   m8n8k4, double   a (g, t)              b (t, g)               d[0] (g, 2t)              d[1] (g, 2t + 1)
//
// Products of tf32 and bf16 numbers are exact; the hardware's sums in float are cut off, not rounded. Sums of
// whole numbers are exact modulo 2^32.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#ifdef THALWEG_CUDA_EMULATION
#include "cuda/mma_emulated.hpp"
#endif

namespace thalweg::cuda {

// The nearest number of 11 leading bits, as an operand; half-way cases go away from zero.
__device__ inline std::uint32_t to_tf32(float x) {
#ifdef THALWEG_CUDA_EMULATION
  return emulated::to_tf32(x);
#else
  std::uint32_t bits;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
  return bits;
#endif
}

// x = high + low + a rest below 2^-22 |x|.
struct Tf32Pair {
  std::uint32_t high, low;
};
__device__ inline Tf32Pair split_tf32(float x) {
  const std::uint32_t high = to_tf32(x);
  return {high, to_tf32(x - __uint_as_float(high))};
}

// Two numbers rounded to the nearest bfloat16 (ties to even); `first` in the low half.
__device__ inline std::uint32_t pack_bf16(float first, float second) {
#ifdef THALWEG_CUDA_EMULATION
  return emulated::pack_bf16(first, second);
#else
  std::uint32_t both;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(second), "f"(first));
  return both;
#endif
}
__device__ inline float first_of_bf16(std::uint32_t both) { return __uint_as_float(both << 16); }
__device__ inline float second_of_bf16(std::uint32_t both) { return __uint_as_float(both & 0xFFFF0000u); }

__device__ inline void mma_tf32(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
#ifdef THALWEG_CUDA_EMULATION
  emulated::mma_tf32(d, a, b);
#else
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

__device__ inline void mma_bf16(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
#ifdef THALWEG_CUDA_EMULATION
  emulated::mma_bf16(d, a, b);
#else
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

// `a` holds numbers from 0 to 255, `b` numbers from -128 to 127.
__device__ inline void mma_int8(int (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
#ifdef THALWEG_CUDA_EMULATION
  emulated::mma_int8(d, a, b);
#else
  asm volatile(
      "mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

__device__ inline void mma_double(double (&d)[2], double a, double b) {
#ifdef THALWEG_CUDA_EMULATION
  emulated::mma_double(d, a, b);
#else
  asm volatile("mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64 {%0,%1}, {%2}, {%3}, {%0,%1};"
               : "+d"(d[0]), "+d"(d[1])
               : "d"(a), "d"(b));
#endif
}

// Four 8 x 8 matrices of 16-bit numbers from shared memory: lane 8 i + r gives the address of row r of matrix
// i (16 bytes, aligned so); r[i] is then the pair (g, 2t..2t+1) of matrix i, or of its transpose.
template <bool is_transposed = false>
__device__ inline void load_matrices(std::uint32_t (&r)[4], const void* row) {
#ifdef THALWEG_CUDA_EMULATION
  emulated::load_matrices(r, row, is_transposed);
#else
  const auto address = static_cast<std::uint32_t>(__cvta_generic_to_shared(row));
  if constexpr (is_transposed) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(address)
                 : "memory");
  } else {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(address)
                 : "memory");
  }
#endif
}

}  // namespace thalweg::cuda

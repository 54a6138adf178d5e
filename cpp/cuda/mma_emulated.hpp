// What mma.cuh's functions do, on the host: every lane brings its fragments, and takes its part of the
// product.
#pragma once

#ifdef THALWEG_CUDA_EMULATION

#include <cuda_runtime.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <stdexcept>

namespace thalweg::cuda::emulated {

inline std::uint32_t to_tf32(float x) {
  const std::uint32_t bits = __float_as_uint(x);
  if (!std::isfinite(x)) return bits;
  return (bits + 0x1000u) & 0xFFFFE000u;
}

inline std::uint32_t to_bf16(float x) {
  const std::uint32_t bits = __float_as_uint(x);
  if (std::isnan(x)) return 0x7FFFu;
  return (bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16;
}

inline std::uint32_t pack_bf16(float first, float second) { return to_bf16(first) | to_bf16(second) << 16; }

// As tensor cores sum: cut off towards zero.
inline float cut(double sum) {
  const auto nearest = static_cast<float>(sum);
  const bool is_beyond = std::abs(static_cast<double>(nearest)) > std::abs(sum);
  return is_beyond ? std::nextafter(nearest, 0.0F) : nearest;
}

struct Fragments {
  std::uint32_t a[4];
  std::uint32_t b[2];
};

// `of_a(fragments, row, k)` and `of_b(fragments, k, col)` read the matrices from the lanes' slots.
template <class OfA, class OfB>
void mma_16_8(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2], int depth,
              const OfA& of_a, const OfB& of_b) {
  Fragments mine{};
  std::memcpy(mine.a, a, sizeof mine.a);
  std::memcpy(mine.b, b, sizeof mine.b);
  const auto* const slots = ::emulation::exchange(~0U, &mine, sizeof mine);
  const auto lane = static_cast<int>(::emulation::lane());
  const auto fragments = [&](int of_lane) { return ::emulation::brought<Fragments>(slots[of_lane]); };
  for (int i = 0; i < 4; ++i) {
    const int row = lane / 4 + 8 * (i / 2);
    const int col = 2 * (lane % 4) + i % 2;
    auto sum = static_cast<double>(d[i]);
    for (int k = 0; k < depth; ++k)
      sum += static_cast<double>(of_a(fragments, row, k)) * static_cast<double>(of_b(fragments, k, col));
    d[i] = cut(sum);
  }
}

inline float read_tf32(std::uint32_t bits) { return __uint_as_float(bits & 0xFFFFE000u); }

inline void mma_tf32(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
  mma_16_8(
      d, a, b, 8,
      [](const auto& of, int row, int k) {
        return read_tf32(of(4 * (row % 8) + k % 4).a[row / 8 + 2 * (k / 4)]);
      },
      [](const auto& of, int k, int col) { return read_tf32(of(4 * col + k % 4).b[k / 4]); });
}

inline float half_of(std::uint32_t word, int which) {
  return __uint_as_float(which == 0 ? word << 16 : word & 0xFFFF0000u);
}

inline void mma_bf16(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
  mma_16_8(
      d, a, b, 16,
      [](const auto& of, int row, int k) {
        return half_of(of(4 * (row % 8) + k % 8 / 2).a[row / 8 + 2 * (k / 8)], k % 2);
      },
      [](const auto& of, int k, int col) { return half_of(of(4 * col + k % 8 / 2).b[k / 8], k % 2); });
}

inline void mma_int8(int (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
  Fragments mine{};
  std::memcpy(mine.a, a, sizeof mine.a);
  std::memcpy(mine.b, b, sizeof mine.b);
  const auto* const slots = ::emulation::exchange(~0U, &mine, sizeof mine);
  const auto lane = static_cast<int>(::emulation::lane());
  for (int i = 0; i < 4; ++i) {
    const int row = lane / 4 + 8 * (i / 2);
    const int col = 2 * (lane % 4) + i % 2;
    auto sum = static_cast<std::uint32_t>(d[i]);
    for (int t = 0; t < 4; ++t) {
      const auto of_a = ::emulation::brought<Fragments>(slots[4 * (row % 8) + t]);
      const auto of_b = ::emulation::brought<Fragments>(slots[4 * col + t]);
      for (int half = 0; half < 2; ++half)
        for (int byte = 0; byte < 4; ++byte) {
          const auto x = static_cast<std::uint8_t>(of_a.a[row / 8 + 2 * half] >> (8 * byte));
          const auto y = static_cast<std::int8_t>(of_b.b[half] >> (8 * byte));
          sum += static_cast<std::uint32_t>(int{x} * int{y});
        }
    }
    d[i] = static_cast<int>(sum);
  }
}

inline void mma_double(double (&d)[2], double a, double b) {
  const double mine[2] = {a, b};
  const auto* const slots = ::emulation::exchange(~0U, mine, sizeof mine);
  const auto lane = static_cast<int>(::emulation::lane());
  const auto brought = [&](int of_lane, int which) {
    double both[2];
    std::memcpy(both, slots[of_lane].bytes, sizeof both);
    return both[which];
  };
  for (int i = 0; i < 2; ++i) {
    const int row = lane / 4;
    const int col = 2 * (lane % 4) + i;
    for (int k = 0; k < 4; ++k) d[i] = std::fma(brought(4 * row + k, 0), brought(4 * col + k, 1), d[i]);
  }
}

inline void load_matrices(std::uint32_t (&r)[4], const void* row, bool is_transposed) {
  if (reinterpret_cast<std::uintptr_t>(row) % 16 != 0)
    throw std::runtime_error("load_matrices: a row's address is no multiple of 16");
  const auto* const slots = ::emulation::exchange(~0U, &row, sizeof row);
  const auto lane = static_cast<int>(::emulation::lane());
  const auto element = [&](int matrix, int i, int j) {
    const auto* const at = ::emulation::brought<const std::uint16_t*>(slots[8 * matrix + i]);
    return std::uint32_t{at[j]};
  };
  for (int m = 0; m < 4; ++m) {
    const int g = lane / 4;
    const int t = 2 * (lane % 4);
    r[m] = is_transposed ? element(m, t, g) | element(m, t + 1, g) << 16
                         : element(m, g, t) | element(m, g, t + 1) << 16;
  }
  __syncwarp();  // nobody overwrites a row before all have read it
}

}  // namespace thalweg::cuda::emulated

#endif

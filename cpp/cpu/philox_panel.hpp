// The draws of one panel of units: 128 bytes of numbers, for which eight blocks of the generator's words
// suffice in either precision. Words and uniforms are those of core/rng.hpp bit for bit, normals within
// rounding.
#pragma once

#include <cstdint>

#include "core/rng.hpp"
#include "core/simd.hpp"
#include "cpu/elementwise_math.hpp"

namespace thalweg::cpu {

inline constexpr Index panel_bytes = 128;
inline constexpr int vectors_per_panel = static_cast<int>(panel_bytes) / simd::bytes;
template <class T>
inline constexpr Index panel_units = panel_bytes / static_cast<Index>(sizeof(T));

inline constexpr std::uint32_t blocks_per_panel = 8;

// The panel's 32 words, two to a lane, the first in the lower half.
struct PanelWords {
  simd::Vec<std::uint64_t> part[vectors_per_panel];
};

namespace detail {

using Wide = simd::Vec<std::uint64_t>;

// Which block each lane works on, such that interleaving leaves the blocks in order.
inline constexpr struct LaneBlocks {
  std::uint64_t block[simd::lanes<std::uint64_t>]{};
  constexpr LaneBlocks() {
    constexpr int n = simd::lanes<std::uint64_t>;
    for (int l = 0; l < n; ++l) block[l] = static_cast<std::uint64_t>(l / 2 + (l % 2) * (n / 2));
  }
} lane_blocks;

}  // namespace detail

// Words of the sequence that belong to panel `panel`.
[[gnu::always_inline]] inline PanelWords panel_words(const rng::Sequence& s, std::uint32_t panel) {
  using detail::Wide;
  constexpr int n = simd::lanes<std::uint64_t>;
  constexpr std::uint64_t low = 0xFFFFFFFFu;
  const Wide factor0 = simd::broadcast<std::uint64_t>(0xD2511F53u);
  const Wide factor1 = simd::broadcast<std::uint64_t>(0xCD9E8D57u);
  PanelWords out;
  for (int half = 0; half < vectors_per_panel / 2; ++half) {
    const std::uint32_t first = panel * blocks_per_panel + static_cast<std::uint32_t>(half * n);
    // The upper halves of the lanes hold what multiplication ignores.
    Wide c0 = simd::load(detail::lane_blocks.block) + first;
    Wide c1 = simd::broadcast<std::uint64_t>(s.row & low);
    Wide c2 = simd::broadcast<std::uint64_t>(s.step);
    Wide c3 = simd::broadcast<std::uint64_t>((s.stream << 16) | ((s.row >> 32) & 0xFFFFu));
    auto key0 = static_cast<std::uint32_t>(s.seed), key1 = static_cast<std::uint32_t>(s.seed >> 32);
    for (int round = 0; round < 10; ++round) {
      const Wide product0 = simd::multiply_low(factor0, c0);
      const Wide product1 = simd::multiply_low(factor1, c2);
      c0 = (product1 >> 32) ^ c1 ^ std::uint64_t{key0};
      c2 = (product0 >> 32) ^ c3 ^ std::uint64_t{key1};
      c1 = product1;
      c3 = product0;
      key0 += 0x9E3779B9u;
      key1 += 0xBB67AE85u;
    }
    const Wide words01 = (c0 & low) | (c1 << 32);
    const Wide words23 = (c2 & low) | (c3 << 32);
    out.part[2 * half] = simd::interleave_even(words01, words23);
    out.part[2 * half + 1] = simd::interleave_odd(words01, words23);
  }
  return out;
}

// A whole number below 2^53 in double, exactly.
[[gnu::always_inline]] inline simd::Vec<double> to_double(detail::Wide x) {
  constexpr std::uint64_t low = 0xFFFFFFFFu;
  const auto upper = reinterpret_cast<simd::Vec<double>>((x >> 32) | 0x4530000000000000u) - 0x1p84;
  const auto lower = reinterpret_cast<simd::Vec<double>>((x & low) | 0x4330000000000000u) - 0x1p52;
  return upper + lower;
}

// Vector v of the panel's uniforms in [0, 1).
template <class T>
[[gnu::always_inline]] inline simd::Vec<T> panel_uniform(const PanelWords& words, int v) {
  if constexpr (std::is_same_v<T, float>) {
    const auto mantissa = reinterpret_cast<simd::Vec<std::uint32_t>>(words.part[v]) >> 8;
    return __builtin_convertvector(reinterpret_cast<simd::Vec<std::int32_t>>(mantissa), simd::Vec<float>) *
           0x1p-24F;
  } else {
    const detail::Wide high_first = (words.part[v] << 32) | (words.part[v] >> 32);
    return to_double(high_first >> 11) * 0x1p-53;
  }
}

// --- standard normals

namespace detail {

// log(u) for normal u in (0, 1]: the exponent is such that the fraction lies about 1, so that nothing cancels
// where u is near 1.
template <class T>
[[gnu::always_inline]] inline simd::Vec<T> log_of_fraction(simd::Vec<T> u) {
  using F = Format<T>;
  const IntVec<T> root_half = bits<T>(simd::broadcast(T(0.70710678118654752440L)));
  const IntVec<T> exponent = (bits<T>(u) - root_half) >> F::mantissa;
  const simd::Vec<T> fraction = from_bits<T>(bits<T>(u) - (exponent << F::mantissa));
  const simd::Vec<T> n = __builtin_convertvector(exponent, simd::Vec<T>);
  return n * F::ln2_high + (log1p_of_fraction<T>(fraction - 1) + n * F::ln2_low);
}

// Taylor coefficients of sin(x) / x and cos(x) in x^2; |x| <= pi / 4.
template <class T>
struct Circle;

template <>
struct Circle<float> {
  static constexpr float sine[] = {1.0F, -1.0F / 6, 1.0F / 120, -1.0F / 5040, 1.0F / 362880};
  static constexpr float cosine[] = {1.0F, -0.5F, 1.0F / 24, -1.0F / 720, 1.0F / 40320};
};

template <>
struct Circle<double> {
  static constexpr double sine[] = {1.0,
                                    -1.0 / 6,
                                    1.0 / 120,
                                    -1.0 / 5040,
                                    1.0 / 362880,
                                    -1.0 / 39916800,
                                    1.0 / 6227020800,
                                    -1.0 / 1307674368000,
                                    1.0 / 355687428096000};
  static constexpr double cosine[] = {1.0,
                                      -0.5,
                                      1.0 / 24,
                                      -1.0 / 720,
                                      1.0 / 40320,
                                      -1.0 / 3628800,
                                      1.0 / 479001600,
                                      -1.0 / 87178291200,
                                      1.0 / 20922789888000};
};

// cos and sin of 2 pi u, u in [0, 1).
template <class T>
[[gnu::always_inline]] inline void circle(simd::Vec<T> u, simd::Vec<T>& cosine, simd::Vec<T>& sine) {
  using V = simd::Vec<T>;
  const IntVec<T> quarter = __builtin_convertvector(u * 4 + T(0.5), IntVec<T>);  // of a turn, the nearest
  const V x = (u - __builtin_convertvector(quarter, V) * T(0.25)) * T(6.283185307179586476925286766559);
  const V square = x * x;
  const V c = polynomial<T>(square, Circle<T>::cosine);
  const V s = x * polynomial<T>(square, Circle<T>::sine);
  const IntVec<T> odd = -(quarter & 1);  // all ones where cosine and sine change places
  const V first = odd ? s : c;
  const V second = odd ? c : s;
  const V minus = simd::broadcast(T(-1));
  const V plus = simd::broadcast(T(1));
  cosine = first * (((quarter + 1) & 2) != 0 ? minus : plus);
  sine = second * ((quarter & 2) != 0 ? minus : plus);
}

template <class T>
[[gnu::always_inline]] inline void box_muller(simd::Vec<T> radius_uniform, simd::Vec<T> angle_uniform,
                                              T* first, T* second) {
  simd::Vec<T> cosine;
  simd::Vec<T> sine;
  circle<T>(angle_uniform, cosine, sine);
  simd::Vec<T> square = -2 * log_of_fraction<T>(radius_uniform);
  square = square > 0 ? square : simd::Vec<T>{};
  T root[simd::lanes<T>];
  simd::store(root, square);
  for (T& r : root) r = std::sqrt(r);
  const simd::Vec<T> radius = simd::load(root);
  simd::store(first, radius * cosine);
  simd::store(second, radius * sine);
}

}  // namespace detail

// The standard normals of the panel, panel_units<T> of them.
inline void panel_normals(const PanelWords& words, float* out) {
  constexpr int lanes = simd::lanes<float>;
  std::uint32_t word[32];
  std::memcpy(word, words.part, sizeof word);
  for (int pair = 0; pair < 16; pair += lanes) {
    float radius[lanes];
    float angle[lanes];
    float first[lanes];
    float second[lanes];
    for (int l = 0; l < lanes; ++l) {
      radius[l] = static_cast<float>(word[2 * (pair + l)]) * 0x1p-32F + 0x1p-33F;
      angle[l] = rng::uniform(word[2 * (pair + l) + 1]);
    }
    detail::box_muller<float>(simd::load(radius), simd::load(angle), first, second);
    for (int l = 0; l < lanes; ++l) {
      out[2 * (pair + l)] = first[l];
      out[2 * (pair + l) + 1] = second[l];
    }
  }
}

inline void panel_normals(const PanelWords& words, double* out) {
  constexpr int lanes = simd::lanes<double>;
  double uniform[16];
  for (int v = 0; v < vectors_per_panel; ++v)
    simd::store(uniform + v * lanes, panel_uniform<double>(words, v));
  for (int pair = 0; pair < 8; pair += lanes) {
    double radius[lanes];
    double angle[lanes];
    double first[lanes];
    double second[lanes];
    for (int l = 0; l < lanes; ++l) {
      radius[l] = 1 - uniform[2 * (pair + l)];
      angle[l] = uniform[2 * (pair + l) + 1];
    }
    detail::box_muller<double>(simd::load(radius), simd::load(angle), first, second);
    for (int l = 0; l < lanes; ++l) {
      out[2 * (pair + l)] = first[l];
      out[2 * (pair + l) + 1] = second[l];
    }
  }
}

}  // namespace thalweg::cpu

// Vectors of the width that the compiled level has, as the compilers' vector extension. Loads and stores are
// unaligned; comparisons give integer masks of the same width (all ones where true); `mask ? a : b` selects.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include "core/view.hpp"

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#if !defined(__GNUC__)
#error "thalweg needs the vector extension of GCC or Clang (on Windows: clang-cl)"
#endif

namespace thalweg::simd {

#if defined(__AVX512F__)
inline constexpr int bytes = 64;
#elif defined(__AVX__)
inline constexpr int bytes = 32;
#else
inline constexpr int bytes = 16;
#endif

template <class T>
inline constexpr int lanes = bytes / static_cast<int>(sizeof(T));

template <class T>
struct VectorOf {
  typedef T type __attribute__((vector_size(bytes)));
};

template <class T>
using Vec = typename VectorOf<T>::type;

template <class T>
[[gnu::always_inline]] inline Vec<T> load(const T* p) {
  Vec<T> v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

template <class T>
[[gnu::always_inline]] inline void store(T* p, Vec<T> v) {
  std::memcpy(p, &v, sizeof v);
}

// Whether a * b + c is one operation with one rounding.
#if defined(__OPTIMIZE__) && (defined(__FMA__) || defined(__ARM_FEATURE_FMA))
inline constexpr bool fuses_products = true;
#else
inline constexpr bool fuses_products = false;
#endif

#if defined(__SSE2__)
inline constexpr bool can_stream = true;
#else
inline constexpr bool can_stream = false;
#endif

// Stores to a multiple of `bytes`, past the caches where the processor can; then a stream_fence() is due
// before another thread reads.
template <class T>
[[gnu::always_inline]] inline void stream(T* p, Vec<T> v) {
#if defined(__AVX512F__)
  _mm512_stream_si512(reinterpret_cast<__m512i*>(p), reinterpret_cast<__m512i>(v));
#elif defined(__AVX__)
  _mm256_stream_si256(reinterpret_cast<__m256i*>(p), reinterpret_cast<__m256i>(v));
#elif defined(__SSE2__)
  _mm_stream_si128(reinterpret_cast<__m128i*>(p), reinterpret_cast<__m128i>(v));
#else
  store(p, v);
#endif
}

inline void stream_fence() {
#if defined(__SSE2__)
  _mm_sfence();
#endif
}

template <class T>
[[gnu::always_inline]] inline Vec<T> broadcast(T x) {
  return Vec<T>{} + x;
}

// The sum of the lanes, by halves.
template <class T>
[[gnu::always_inline]] inline T sum_lanes(Vec<T> v) {
  T a[lanes<T>];
  std::memcpy(a, &v, sizeof v);
  for (int half = lanes<T> / 2; half > 0; half /= 2)
    for (int l = 0; l < half; ++l) a[l] += a[l + half];
  return a[0];
}

template <class T>
[[gnu::always_inline]] inline T max_lanes(Vec<T> v) {
  T a[lanes<T>];
  std::memcpy(a, &v, sizeof v);
  for (int half = lanes<T> / 2; half > 0; half /= 2)
    for (int l = 0; l < half; ++l) a[l] = a[l] > a[l + half] ? a[l] : a[l + half];
  return a[0];
}

// One bit a lane of the mask that a comparison of Vec<T> gave, the first lane lowest.
template <class T, class Mask>
[[gnu::always_inline]] inline unsigned lane_bits(Mask mask) {
  static_assert(sizeof(Mask) == bytes);
#if defined(__AVX512DQ__)
  const auto m = reinterpret_cast<__m512i>(mask);
  return sizeof(T) == 4 ? _mm512_movepi32_mask(m) : _mm512_movepi64_mask(m);
#elif defined(__AVX__)
  if constexpr (sizeof(T) == 4)
    return static_cast<unsigned>(_mm256_movemask_ps(reinterpret_cast<__m256>(mask)));
  else
    return static_cast<unsigned>(_mm256_movemask_pd(reinterpret_cast<__m256d>(mask)));
#elif defined(__SSE2__)
  if constexpr (sizeof(T) == 4)
    return static_cast<unsigned>(_mm_movemask_ps(reinterpret_cast<__m128>(mask)));
  else
    return static_cast<unsigned>(_mm_movemask_pd(reinterpret_cast<__m128d>(mask)));
#else
  unsigned out = 0;
  for (int l = 0; l < lanes<T>; ++l) out |= static_cast<unsigned>(mask[l] & 1) << l;
  return out;
#endif
}

// All bits set in the lanes whose bit is set, the first lane lowest.
template <class T>
[[gnu::always_inline]] inline auto lane_mask(unsigned lane_bits) {
  using I = std::conditional_t<sizeof(T) == 4, std::int32_t, std::int64_t>;
  Vec<I> bit;
  for (int l = 0; l < lanes<T>; ++l) bit[l] = I{1} << l;
  return (broadcast(static_cast<I>(lane_bits)) & bit) == bit;
}

// The lanes whose bit is set, zero in the others; those need not be worth anything, but must be readable.
template <class T>
[[gnu::always_inline]] inline Vec<T> load_lanes(const T* p, unsigned lane_bits) {
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4)
    return reinterpret_cast<Vec<T>>(_mm512_maskz_loadu_ps(static_cast<__mmask16>(lane_bits), p));
  else
    return reinterpret_cast<Vec<T>>(_mm512_maskz_loadu_pd(static_cast<__mmask8>(lane_bits), p));
#else
  const auto mask = lane_mask<T>(lane_bits);
  return reinterpret_cast<Vec<T>>(reinterpret_cast<decltype(mask)>(load(p)) & mask);
#endif
}

// Calls visit(j) for all j in [0, width) whose lane is set in test(first lane's j), the comparison of one
// vector; `width` is a whole number of vectors.
template <class T, class Test, class Visit>
[[gnu::always_inline]] inline void for_each_lane(Index width, Test&& test, Visit&& visit) {
  for (Index j = 0; j < width; j += lanes<T>)
    for (unsigned left = lane_bits<T>(test(j)); left != 0; left &= left - 1)
      visit(j + std::countr_zero(left));
}

// The products of the lower halves of the lanes, whatever the upper halves hold.
[[gnu::always_inline]] inline Vec<std::uint64_t> multiply_low(Vec<std::uint64_t> a, Vec<std::uint64_t> b) {
  using V = Vec<std::uint64_t>;
#if defined(__AVX512F__)
  return reinterpret_cast<V>(_mm512_mul_epu32(reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(b)));
#elif defined(__AVX2__)
  return reinterpret_cast<V>(_mm256_mul_epu32(reinterpret_cast<__m256i>(a), reinterpret_cast<__m256i>(b)));
#elif defined(__SSE2__) && !defined(__AVX__)
  return reinterpret_cast<V>(_mm_mul_epu32(reinterpret_cast<__m128i>(a), reinterpret_cast<__m128i>(b)));
#else
  constexpr std::uint64_t low = 0xFFFFFFFFu;
  return (a & low) * (b & low);
#endif
}

// {a[0], b[0], a[2], b[2], ...}
[[gnu::always_inline]] inline Vec<std::uint64_t> interleave_even(Vec<std::uint64_t> a, Vec<std::uint64_t> b) {
#if defined(__AVX512F__)
  const auto c = _mm512_unpacklo_epi64(reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(b));
  return reinterpret_cast<Vec<std::uint64_t>>(c);
#elif defined(__AVX2__)
  const auto c = _mm256_unpacklo_epi64(reinterpret_cast<__m256i>(a), reinterpret_cast<__m256i>(b));
  return reinterpret_cast<Vec<std::uint64_t>>(c);
#elif defined(__SSE2__) && !defined(__AVX__)
  const auto c = _mm_unpacklo_epi64(reinterpret_cast<__m128i>(a), reinterpret_cast<__m128i>(b));
  return reinterpret_cast<Vec<std::uint64_t>>(c);
#else
  Vec<std::uint64_t> out;
  for (int l = 0; l < lanes<std::uint64_t>; l += 2) {
    out[l] = a[l];
    out[l + 1] = b[l];
  }
  return out;
#endif
}

// {a[1], b[1], a[3], b[3], ...}
[[gnu::always_inline]] inline Vec<std::uint64_t> interleave_odd(Vec<std::uint64_t> a, Vec<std::uint64_t> b) {
#if defined(__AVX512F__)
  const auto c = _mm512_unpackhi_epi64(reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(b));
  return reinterpret_cast<Vec<std::uint64_t>>(c);
#elif defined(__AVX2__)
  const auto c = _mm256_unpackhi_epi64(reinterpret_cast<__m256i>(a), reinterpret_cast<__m256i>(b));
  return reinterpret_cast<Vec<std::uint64_t>>(c);
#elif defined(__SSE2__) && !defined(__AVX__)
  const auto c = _mm_unpackhi_epi64(reinterpret_cast<__m128i>(a), reinterpret_cast<__m128i>(b));
  return reinterpret_cast<Vec<std::uint64_t>>(c);
#else
  Vec<std::uint64_t> out;
  for (int l = 0; l < lanes<std::uint64_t>; l += 2) {
    out[l] = a[l + 1];
    out[l + 1] = b[l + 1];
  }
  return out;
#endif
}

namespace detail {

// Exchanges the elements of a and b whose row and lane differ in the bit `Step`, b being `Step` rows below a.
template <int Step, class T, int... Lane>
[[gnu::always_inline]] inline void exchange(Vec<T>& a, Vec<T>& b, std::integer_sequence<int, Lane...>) {
  constexpr int n = lanes<T>;
  const Vec<T> upper = __builtin_shufflevector(a, b, ((Lane & Step) != 0 ? n + (Lane ^ Step) : Lane)...);
  const Vec<T> lower = __builtin_shufflevector(a, b, ((Lane & Step) != 0 ? n + Lane : (Lane ^ Step))...);
  a = upper;
  b = lower;
}

}  // namespace detail

// Transposes a square of vectors in place.
template <class T, int Step = lanes<T> / 2>
[[gnu::always_inline]] inline void transpose(Vec<T> (&rows)[lanes<T>]) {
  for (int i = 0; i < lanes<T>; ++i)
    if ((i & Step) == 0)
      detail::exchange<Step, T>(rows[i], rows[i | Step], std::make_integer_sequence<int, lanes<T>>{});
  if constexpr (Step > 1) transpose<T, Step / 2>(rows);
}

// `n` rounded up to a whole number of vectors.
template <class T>
[[nodiscard]] constexpr Index padded(Index n) {
  return (n + lanes<T> - 1) / lanes<T> * lanes<T>;
}

}  // namespace thalweg::simd

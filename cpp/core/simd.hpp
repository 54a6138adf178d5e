// Vectors of the width that the compiled level has, as the compilers' vector extension. Loads and stores are
// unaligned; comparisons give integer masks of the same width (all ones where true); `mask ? a : b` selects.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

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

// `n` rounded up to a whole number of vectors.
template <class T>
[[nodiscard]] constexpr Index padded(Index n) {
  return (n + lanes<T> - 1) / lanes<T> * lanes<T>;
}

}  // namespace thalweg::simd

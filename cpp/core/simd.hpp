// Vectors of the width that the compiled level has, as the compilers' vector extension. Loads and stores are
// unaligned; comparisons give integer masks of the same width (all ones where true); `mask ? a : b` selects.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "core/view.hpp"

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

// What the kernels of message passing are written in: numbers that are a whole vector, one factor or graph a
// lane, or a single one.
#pragma once

#include <cmath>
#include <limits>

#include "core/error.hpp"
#include "core/simd.hpp"
#include "cpu/elementwise_math.hpp"

namespace thalweg::cpu {

template <class T>
inline constexpr T infinity = std::numeric_limits<T>::infinity();

// log v of positive normal numbers: v = 2^n m with m from sqrt(1/2) to sqrt(2).
template <class T>
[[gnu::always_inline]] inline simd::Vec<T> log_of_normal(simd::Vec<T> v) {
  using F = Format<T>;
  const simd::Vec<T> lowest = simd::broadcast(T(0.70710678118654752440));
  const IntVec<T> exponent = (bits<T>(v) - bits<T>(lowest)) >> F::mantissa;
  const simd::Vec<T> mantissa = from_bits<T>(bits<T>(v) - (exponent << F::mantissa));
  const simd::Vec<T> n = from_bits<T>(exponent + bits<T>(simd::broadcast(F::to_integer))) - F::to_integer;
  return n * F::ln2_high + (log1p_of_fraction<T>(mantissa - 1) + n * F::ln2_low);
}

template <class T>
struct Packed {
  using Real = T;
  using V = simd::Vec<T>;
  using Mask = IntVec<T>;
  static constexpr int lanes = simd::lanes<T>;
  static constexpr bool is_single = false;

  [[gnu::always_inline]] static V load(const T* p) { return simd::load(p); }
  [[gnu::always_inline]] static void store(T* p, V v) { simd::store<T>(p, v); }
  [[gnu::always_inline]] static V broadcast(T x) { return simd::broadcast(x); }
  [[gnu::always_inline]] static bool any(Mask mask) { return simd::lane_bits<T>(mask) != 0; }
  [[gnu::always_inline]] static V exp_of_negative(V v) { return cpu::exp_of_negative<T>(v).value(); }
  [[gnu::always_inline]] static V log_of_normal(V v) { return cpu::log_of_normal<T>(v); }
  [[gnu::always_inline]] static V log1p_of_fraction(V v) { return cpu::log1p_of_fraction<T>(v); }
};

template <class T>
struct Single {
  using Real = T;
  using V = T;
  using Mask = bool;
  static constexpr int lanes = 1;
  static constexpr bool is_single = true;

  static V load(const T* p) { return *p; }
  static void store(T* p, V v) { *p = v; }
  static V broadcast(T x) { return x; }
  static bool any(Mask mask) { return mask; }
  static V exp_of_negative(V v) { return std::exp(v); }
  static V log_of_normal(V v) { return std::log(v); }
  static V log1p_of_fraction(V v) { return std::log1p(v); }
};

// The inverse temperature, and what the kernels use of it; beyond T it is infinite.
template <class T>
struct Temperature {
  explicit Temperature(double value)
      : beta(value > static_cast<double>(std::numeric_limits<T>::max()) ? infinity<T>
                                                                        : static_cast<T>(value)),
        inverse(T(1) / beta),
        is_finite(beta < infinity<T>) {
    require(value > 0 && inverse < infinity<T>, "beta: expected a positive number, at least ",
            1 / static_cast<double>(std::numeric_limits<T>::max()), ", or infinity, got ", value);
  }

  T beta;
  T inverse;
  bool is_finite;
};

template <class V>
[[gnu::always_inline]] inline V minimum(V a, V b) {
  return a < b ? a : b;
}

template <class V>
[[gnu::always_inline]] inline V maximum(V a, V b) {
  return a < b ? b : a;
}

template <class P>
[[gnu::always_inline]] inline typename P::V lowest(const typename P::V* rows, Index n) {
  typename P::V low = rows[0];
  for (Index j = 1; j < n; ++j) low = minimum(low, rows[j]);
  return low;
}

// exp(-beta (v - low)), 0 where v is +inf; low is finite.
template <class P>
[[gnu::always_inline]] inline typename P::V weight_of(typename P::V v, typename P::V low,
                                                      const Temperature<typename P::Real>& t) {
  return P::exp_of_negative(-t.beta * (v - low));
}

// -1/beta log(exp(-beta a) + exp(-beta b)), the smaller for beta = infinity.
template <class P>
[[gnu::always_inline]] inline typename P::V soft_minimum(typename P::V a, typename P::V b,
                                                         const Temperature<typename P::Real>& t) {
  using V = typename P::V;
  const V low = minimum(a, b);
  if (!t.is_finite) return low;
  const V gap = a == b ? V{} : maximum(a, b) - low;
  return low - t.inverse * P::log1p_of_fraction(P::exp_of_negative(-t.beta * gap));
}

// The same of term(0), ..., term(n - 1).
template <class P, class Term>
[[gnu::always_inline]] inline typename P::V soft_minimum(Index n, const Temperature<typename P::Real>& t,
                                                         Term&& term) {
  using T = typename P::Real;
  using V = typename P::V;
  V low = term(Index{0});
  for (Index j = 1; j < n; ++j) low = minimum(low, term(j));
  if (!t.is_finite) return low;
  const V base = low < infinity<T> ? low : V{};
  V sum = V{};
  for (Index j = 0; j < n; ++j) sum += weight_of<P>(term(j), base, t);
  sum = sum > T(1) ? sum : P::broadcast(T(1));  // less only where all terms are +inf
  return low - t.inverse * P::log_of_normal(sum);
}

}  // namespace thalweg::cpu

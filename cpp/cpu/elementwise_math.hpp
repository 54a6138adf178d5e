// Vector forms of e^v, log(1 + t) and what is made of them, right over the whole line on every instruction
// set.
//
// The polynomials are Chebyshev interpolants, whose errors are below 0.1 ULP of the results; what remains is
// rounding, kept small by adding the largest term last.
#pragma once

#include <cstdint>
#include <type_traits>

#include "core/simd.hpp"

namespace thalweg::cpu {

template <class T>
struct Format;

template <>
struct Format<float> {
  using Int = std::int32_t;
  static constexpr int mantissa = 23;
  static constexpr Int bias = 127;
  static constexpr Int sign = INT32_MIN;
  // Added to a number it leaves, in the low bits, the nearest integer plus `bias`: an exponent, once shifted.
  static constexpr float to_integer = 0x1.8p23F + bias;
  static constexpr float lowest_exponent = -120;  // e^this and all below it round to zero
  static constexpr float lowest_normal = -87;     // e^this is a normal number
  static constexpr float log2_e = 0x1.715476p+0F;
  static constexpr float ln2_high = 0x1.62e4p-1F;  // short enough that its multiples here are exact
  static constexpr float ln2_low = 0x1.7f7d1cp-20F;
  // (e^r - 1 - r) / r^2 for |r| <= ln(2) / 2, lowest power first.
  static constexpr float exp_terms[] = {0x1p-1F, 0x1.5554dcp-3F, 0x1.555518p-5F, 0x1.120d58p-7F,
                                        0x1.6d12f2p-10F};
  // (2 atanh(s) - 2 s) / s^3 as a function of s^2 <= 1/9.
  static constexpr float log_terms[] = {0x1.555556p-1F, 0x1.9998d4p-2F, 0x1.24c926p-2F, 0x1.bc8cf8p-3F,
                                        0x1.dba26p-3F};
};

template <>
struct Format<double> {
  using Int = std::int64_t;
  static constexpr int mantissa = 52;
  static constexpr Int bias = 1023;
  static constexpr Int sign = INT64_MIN;
  static constexpr double to_integer = 0x1.8p52 + bias;
  static constexpr double lowest_exponent = -800;
  static constexpr double lowest_normal = -708;
  static constexpr double log2_e = 0x1.71547652b82fep+0;
  static constexpr double ln2_high = 0x1.62e42fefa38p-1;
  static constexpr double ln2_low = 0x1.ef35793c7673p-45;
  static constexpr double exp_terms[] = {0x1.0000000000001p-1,  0x1.5555555555556p-3,  0x1.5555555553ca6p-5,
                                         0x1.1111111110979p-7,  0x1.6c16c178d5682p-10, 0x1.a01a01a7f15e7p-13,
                                         0x1.a019b7f08264ep-16, 0x1.71de0cff43d6fp-19, 0x1.2892d697f6458p-22,
                                         0x1.af3a489ab7612p-26};
  static constexpr double log_terms[] = {0x1.5555555555555p-1, 0x1.999999999a3ddp-2, 0x1.24924923d44c6p-2,
                                         0x1.c71c727143318p-3, 0x1.745cf0b0e03bdp-3, 0x1.3b18b294bebf9p-3,
                                         0x1.10ac75dc602b1p-3, 0x1.eb905e8575054p-4, 0x1.687a6e7c95176p-4,
                                         0x1.4b0a26c5f2aefp-3};
};

template <class T>
using Int = typename Format<T>::Int;
template <class T>
using IntVec = simd::Vec<Int<T>>;

template <class T>
[[gnu::always_inline]] inline IntVec<T> bits(simd::Vec<T> v) {
  return reinterpret_cast<IntVec<T>>(v);
}

template <class T>
[[gnu::always_inline]] inline simd::Vec<T> from_bits(IntVec<T> v) {
  return reinterpret_cast<simd::Vec<T>>(v);
}

template <class T>
[[gnu::always_inline]] inline simd::Vec<T> absolute(simd::Vec<T> v) {
  return from_bits<T>(bits<T>(v) & ~Format<T>::sign);
}

template <class T>
[[gnu::always_inline]] inline simd::Vec<T> negative_absolute(simd::Vec<T> v) {
  return from_bits<T>(bits<T>(v) | Format<T>::sign);
}

template <class T>
[[gnu::always_inline]] inline simd::Vec<T> with_sign_of(simd::Vec<T> v, simd::Vec<T> sign) {
  return from_bits<T>(bits<T>(v) | (bits<T>(sign) & Format<T>::sign));
}

// sum of terms[i] x^i; a long one in two parts, the even and the odd powers, in half as long a chain of
// dependent operations.
template <class T, std::size_t N>
[[gnu::always_inline]] inline simd::Vec<T> polynomial(simd::Vec<T> x, const T (&terms)[N]) {
  if constexpr (N < 8) {
    simd::Vec<T> sum = simd::broadcast(terms[N - 1]);
    for (std::size_t i = N - 1; i-- > 0;) sum = sum * x + terms[i];
    return sum;
  }
  const simd::Vec<T> square = x * x;
  simd::Vec<T> part[2] = {simd::broadcast(terms[N - 2]), simd::broadcast(terms[N - 1])};
  for (std::size_t i = N - 2; i-- > 0;) {
    simd::Vec<T>& sum = part[(N - i) % 2];  // counted from the top, they take turns
    sum = sum * square + terms[i];
  }
  return part[N % 2] + x * part[1 - N % 2];
}

template <class T>
[[gnu::always_inline]] inline simd::Vec<T> power_of_two(IntVec<T> n) {
  return from_bits<T>((n + Format<T>::bias) << Format<T>::mantissa);
}

// (1 + tail) scale, with scale a power of two.
template <class T>
struct Exponential {
  simd::Vec<T> tail;
  simd::Vec<T> scale;

  [[gnu::always_inline]] simd::Vec<T> value() const { return scale + tail * scale; }
};

// e^v for v <= 0 or NaN.
template <class T>
[[gnu::always_inline]] inline Exponential<T> exp_of_negative(simd::Vec<T> v) {
  using V = simd::Vec<T>;
  using F = Format<T>;
  constexpr unsigned all_lanes = (1u << simd::lanes<T>)-1;
  const bool is_normal = simd::lane_bits<T>(v >= simd::broadcast(F::lowest_normal)) == all_lanes;
  if (!is_normal) [[unlikely]]
    v = v < F::lowest_exponent ? simd::broadcast(F::lowest_exponent) : v;
  const V shifted = v * F::log2_e + F::to_integer;
  const V n = shifted - F::to_integer;
  const V high = v - n * F::ln2_high;
  const V r = high - n * F::ln2_low;
  V tail = r * r * polynomial<T>(r, F::exp_terms);
  // Where products are rounded too, the errors add up so far that the rounding of r matters.
  if constexpr (!simd::fuses_products) tail += (high - r) - n * F::ln2_low;
  tail += r;
  if (is_normal) [[likely]]
    return {tail, from_bits<T>(bits<T>(shifted) << F::mantissa)};
  // A subnormal power is the product of two normal ones.
  const IntVec<T> exponent = bits<T>(shifted) - bits<T>(simd::broadcast(F::to_integer));
  const IntVec<T> half = exponent >> 1;
  return {tail, power_of_two<T>(half) * power_of_two<T>(exponent - half)};
}

// log(1 + t) for 0 <= t <= 1 or NaN: with s = t / (2 + t) it is 2 atanh(s) = 2 s + s R = t - s (t - R).
template <class T>
[[gnu::always_inline]] inline simd::Vec<T> log1p_of_fraction(simd::Vec<T> t) {
  using V = simd::Vec<T>;
  const V s = t / (2 + t);
  const V z = s * s;
  return t - s * (t - z * polynomial<T>(z, Format<T>::log_terms));
}

// The functions of u, given e^-|u|.
template <class T>
struct FullRange {
  using V = simd::Vec<T>;

  [[gnu::always_inline]] static V softplus(V u, Exponential<T> e) {
    return (u > 0 ? u : V{}) + log1p_of_fraction<T>(e.value());
  }
  [[gnu::always_inline]] static V log_sigmoid(V u, Exponential<T> e) {
    return (u < 0 ? u : simd::broadcast(T(-0.0))) - log1p_of_fraction<T>(e.value());
  }
  // e / (1 + e), where the numerator makes up for the rounding of 1 + e before it is rounded itself.
  [[gnu::always_inline]] static V sigmoid(V u, Exponential<T> e) {
    const V sum = 1 + e.value();
    const V tail = e.tail - (1 + e.tail) * lost(sum, e.value());
    const V numerator = Exponential<T>{tail, e.scale}.value();
    return (u < 0 ? numerator : simd::broadcast(T(1))) / sum;
  }
  [[gnu::always_inline]] static V d_sigmoid(V, Exponential<T> e) {
    const V value = e.value();
    const V sum = 1 + value;
    return (value - 2 * value * lost(sum, value)) / (sum * sum);
  }

 private:
  // What rounding took from sum = 1 + e, roughly relative to it.
  [[gnu::always_inline]] static V lost(V sum, V e) { return (e - (sum - 1)) * (T(1.5) - T(0.5) * sum); }
};

}  // namespace thalweg::cpu

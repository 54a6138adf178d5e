// The lasso's arithmetic on single numbers, the same on the host and on a device: units, proximal maps, and
// the duality gap.
//
// Inside, everything is in units in which the largest atom norm lies in [1, 2), and so does the largest alpha
// where the samples' magnitude allows. The factors are powers of two, so that scaling rounds nothing, and
// data of any magnitude stay clear of overflow in float32.
#pragma once

#include <cmath>
#include <limits>

#include "core/scalar.hpp"

namespace thalweg {

// Of |z|^q: q = 0, 1/2, 2/3, 1.
enum class Penalty { l0, l_half, l_two_thirds, l1 };

// --- units

// The power of two that brings a positive x into [1, 2); 1 for what has no finite magnitude.
THALWEG_HOST_DEVICE inline double unit_scale(double x) {
  if (!(x > 0) || !std::isfinite(x)) return 1.0;
  int exponent = 0;
  std::frexp(x, &exponent);
  return std::ldexp(1.0, 1 - exponent);
}

// q of the penalty |z|^q.
THALWEG_HOST_DEVICE inline double exponent(Penalty penalty) {
  switch (penalty) {
    case Penalty::l0:
      return 0.0;
    case Penalty::l_half:
      return 0.5;
    case Penalty::l_two_thirds:
      return 2.0 / 3.0;
    default:
      return 1.0;
  }
}

// The factor of the samples that brings the largest weight into [1, 2), where the atoms have been multiplied
// by `dictionary_scale`.
THALWEG_HOST_DEVICE inline double scale_for_weight(double largest, double dictionary_scale, Penalty penalty) {
  const double q = exponent(penalty);
  return unit_scale(std::pow(largest * std::pow(dictionary_scale, q), 1.0 / (2.0 - q)));
}

// The same, kept to what brings a sample of this largest magnitude so near to 1 that its squares and its
// codes neither overflow nor vanish.
template <class T>
THALWEG_HOST_DEVICE inline double scale_for_sample(double scale, double largest) {
  if (largest == 0) return scale;
  const double reach = std::ldexp(1.0, sizeof(T) == 4 ? 60 : 300);
  const double limit = std::ldexp(1.0, 500);  // whose square is finite
  const double unit = unit_scale(largest);
  const auto within = [](double x, double low, double high) { return x < low ? low : high < x ? high : x; };
  return within(within(scale, unit / reach, unit * reach), 1.0 / limit, limit);
}

// The factor of the weights in these units.
THALWEG_HOST_DEVICE inline double weight_factor(double x_scale, double dictionary_scale, Penalty penalty) {
  return x_scale * x_scale * std::pow(dictionary_scale / x_scale, exponent(penalty));
}

// --- proximal maps

// argmin_u 1/2 (u - v)^2 + threshold p(u), over u >= 0 where `positive`. Adding zero turns -0.0 into 0.0.
template <class T, Penalty P>
THALWEG_HOST_DEVICE inline T prox_number(T v, T threshold, bool positive) {
  if (positive && v < 0) return T(0);
  if constexpr (P == Penalty::l1)
    return shrink(v, threshold) + T(0);
  else if constexpr (P == Penalty::l0)
    return hard_shrink(v, threshold) + T(0);
  else if constexpr (P == Penalty::l_half)
    return prox_half(v, threshold) + T(0);
  else
    return prox_two_thirds(v, threshold) + T(0);
}

template <class T>
THALWEG_HOST_DEVICE inline T prox_any(T v, T threshold, Penalty penalty, bool positive) {
  switch (penalty) {
    case Penalty::l0:
      return prox_number<T, Penalty::l0>(v, threshold, positive);
    case Penalty::l_half:
      return prox_number<T, Penalty::l_half>(v, threshold, positive);
    case Penalty::l_two_thirds:
      return prox_number<T, Penalty::l_two_thirds>(v, threshold, positive);
    default:
      return prox_number<T, Penalty::l1>(v, threshold, positive);
  }
}

// --- FISTA's momentum t

THALWEG_HOST_DEVICE inline double next_momentum(double t) {
  return 0.5 * (1.0 + std::sqrt(1.0 + 4.0 * t * t));
}

// --- certificates

// P - Q for residual r scaled to the best feasible dual point. max_ratio = max_j |c_j| / alpha_j.
THALWEG_HOST_DEVICE inline double duality_gap(double residual_squared, double x_residual, double l1,
                                              double max_ratio) {
  const double bound = max_ratio > 0 ? 1.0 / max_ratio : std::numeric_limits<double>::infinity();
  const double best = residual_squared > 0 ? x_residual / residual_squared : 0.0;
  const double scale = best < 0 ? 0.0 : bound < best ? bound : best;
  return 0.5 * residual_squared + l1 - scale * x_residual + 0.5 * scale * scale * residual_squared;
}

// The maximum, NaN if any is.
THALWEG_HOST_DEVICE inline void raise(double& largest, double value) {
  if (value > largest || std::isnan(value)) largest = value;
}

}  // namespace thalweg

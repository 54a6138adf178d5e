// Scalar forms of the proximal maps argmin_u 1/2 (u - v)^2 + threshold |u|^q.
#pragma once

#include <algorithm>
#include <cmath>

namespace thalweg {

// q = 1.
template <class T>
inline T shrink(T v, T threshold) {
  return v > threshold ? v - threshold : v < -threshold ? v + threshold : T(0);
}

// q = 0.
template <class T>
inline T hard_shrink(T v, T threshold) {
  return std::abs(v) > std::sqrt(T(2) * threshold) ? v : T(0);
}

// q = 1/2: Z. Xu et al., L1/2 regularization: a thresholding representation theory, IEEE Trans. Neural Netw.
// 23, 2012.
template <class T>
inline T prox_half(T v, T threshold) {
  const T size = std::abs(v);
  if (!(size > T(1.5) * std::cbrt(threshold * threshold))) return T(0);
  const T third = size / T(3);
  const T angle = std::acos(std::min(T(1), threshold / (T(4) * third * std::sqrt(third))));
  constexpr T pi = T(3.141592653589793238462643383279502884L);
  return T(2) * third * std::copysign(T(1) + std::cos(T(2) / T(3) * (pi - angle)), v);
}

// q = 2/3: W. Cao, J. Sun, Z. Xu, Fast image deconvolution using closed-form thresholding formulas of Lq
// regularization, J. Vis. Commun. Image R. 24, 2013.
template <class T>
inline T prox_two_thirds(T v, T threshold) {
  if (threshold == 0) return v;
  const T size = std::abs(v);
  const T lambda = T(2) * threshold;
  if (!(size > T(2) / T(3) * std::pow(T(3) * lambda * lambda * lambda, T(0.25)))) return T(0);
  const T angle = std::acosh(std::max(T(1), T(27) * v * v / (T(16) * lambda * std::sqrt(lambda))));
  const T a = T(2) / std::sqrt(T(3)) * std::sqrt(std::sqrt(lambda) * std::cosh(angle / T(3)));
  const T root = (a + std::sqrt(T(2) * size / a - a * a)) / T(2);
  return std::copysign(root * root * root, v);
}

}  // namespace thalweg

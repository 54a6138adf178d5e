// Scalar forms of the elementwise functions, for loops on the host and on a device.
//
// The proximal maps are prox(v) = argmin_x 1/2 (x - v)^2 + threshold |x|^q with threshold >= 0. Each is odd,
// bit for bit: a value that is set to zero keeps its sign, -0.0 stays -0.0, and at the jump, where two
// minimisers tie, zero is taken. NaN in `v` comes out again.
#pragma once

#include <cmath>
#include <type_traits>

#if defined(__CUDACC__)
#define THALWEG_HOST_DEVICE __host__ __device__
#else
#define THALWEG_HOST_DEVICE
#endif

namespace thalweg {

// --- softplus and its kin, in the form that neither overflows nor cancels

// log(1 + e^u)
template <class T>
THALWEG_HOST_DEVICE inline T softplus(T u) {
  const T tail = std::log1p(std::exp(-std::abs(u)));
  return u > T(0) ? u + tail : tail;
}

// 1 / (1 + e^-u)
template <class T>
THALWEG_HOST_DEVICE inline T sigmoid(T u) {
  const T e = std::exp(-std::abs(u));
  return (u < T(0) ? e : T(1)) / (T(1) + e);
}

// log(1 / (1 + e^-u))
template <class T>
THALWEG_HOST_DEVICE inline T log_sigmoid(T u) {
  return -softplus(-u);
}

// sigmoid(u) (1 - sigmoid(u))
template <class T>
THALWEG_HOST_DEVICE inline T d_sigmoid(T u) {
  const T e = std::exp(-std::abs(u));
  const T s = T(1) + e;
  return e / s / s;
}

template <class T>
THALWEG_HOST_DEVICE inline T d_log_sigmoid(T u) {
  return sigmoid(-u);
}

// --- proximal maps

// q = 1: sign(v) max(|v| - threshold, 0).
template <class T>
THALWEG_HOST_DEVICE inline T shrink(T v, T threshold) {
  const T rest = std::abs(v) - threshold;
  return std::copysign(rest <= T(0) ? T(0) : rest, v);
}

// q = 1 over x >= 0: max(v - threshold, 0), never -0.0.
template <class T>
THALWEG_HOST_DEVICE inline T shrink_nonneg(T v, T threshold) {
  const T rest = v - threshold;
  return rest <= T(0) ? T(0) : rest;
}

// The size up to which q = 0 gives zero: sqrt(2 threshold), also where 2 threshold overflows.
template <class T>
THALWEG_HOST_DEVICE inline T hard_shrink_edge(T threshold) {
  return threshold < T(1) ? std::sqrt(T(2) * threshold) : T(2) * std::sqrt(threshold / T(2));
}

// q = 0.
template <class T>
THALWEG_HOST_DEVICE inline T hard_shrink(T v, T threshold) {
  return std::abs(v) <= hard_shrink_edge(threshold) ? std::copysign(T(0), v) : v;
}

namespace detail {

// The largest root of w^3 - w + c, that is 2 / sqrt(3) cos(1/3 acos(-3 sqrt(3) / 2 c)), for c from 0 to where
// w^2 = 2/3: a polynomial within 4e-6, then Newton's steps, which square the error.
template <class T>
THALWEG_HOST_DEVICE inline T half_root(T c) {
  T w = T(-49.99418027);
  w = w * c + T(25.59115056);
  w = w * c - T(7.10294167);
  w = w * c + T(0.18993017);
  w = w * c - T(0.409605);
  w = w * c - T(0.49936514);
  w = w * c + T(0.99999813);
  constexpr int steps = std::is_same_v<T, float> ? 1 : 2;
  for (int i = 0; i < steps; ++i) w -= (w * (w * w - T(1)) + c) / (T(3) * w * w - T(1));
  return w;
}

// The largest root of w^4 - w + c for c from 0 to where w^3 = 1/2, in the same way.
template <class T>
THALWEG_HOST_DEVICE inline T two_thirds_root(T c) {
  T w = T(-450.720094);
  w = w * c + T(586.964219);
  w = w * c - T(320.785534);
  w = w * c + T(90.9433351);
  w = w * c - T(14.8648111);
  w = w * c + T(1.00756555);
  w = w * c - T(0.275273292);
  w = w * c - T(0.33248315);
  w = w * c + T(0.999997783);
  constexpr int steps = std::is_same_v<T, float> ? 1 : 2;
  for (int i = 0; i < steps; ++i) {
    const T cube = w * w * w;
    w -= (w * (cube - T(1)) + c) / (T(4) * cube - T(1));
  }
  return w;
}

}  // namespace detail

// q = 1/2; jumps at |v| = 3/2 threshold^(2/3) from 0 to 2/3 |v|. With x = |v| w^2 a stationary point is a
// root of w^3 - w + c, c = threshold / (2 |v|^(3/2)), and x = |v| - threshold / (2 sqrt(|v|) w). Z. Xu et
// al., L1/2 regularization: a thresholding representation theory and a fast solver, IEEE Trans. Neural Netw.
// Learn. Syst. 23, 2012.
template <class T>
THALWEG_HOST_DEVICE inline T prox_half(T v, T threshold) {
  const T size = std::abs(v);
  if (!(size > T(0))) return v;
  const T pull = threshold / (T(2) * std::sqrt(size));
  const T c = pull / size;
  if (!(c < T(0.27216552697590867757747600830065L))) return std::copysign(T(0), v);
  return std::copysign(size - pull / detail::half_root(c), v);
}

// q = 2/3; jumps at |v| = 2 (2/3 threshold)^(3/4) from 0 to |v| / 2. With x = |v| w^3 a stationary point is a
// root of w^4 - w + c, c = 2/3 threshold / |v|^(4/3), and x = |v| - 2/3 threshold / (cbrt(|v|) w). W. Cao, J.
// Sun, Z. Xu, Fast image deconvolution using closed-form thresholding formulas of Lq (q = 1/2, 2/3)
// regularization, J. Vis. Commun. Image R. 24, 2013.
template <class T>
THALWEG_HOST_DEVICE inline T prox_two_thirds(T v, T threshold) {
  const T size = std::abs(v);
  if (!(size > T(0))) return v;
  const T pull = threshold / (T(1.5) * std::cbrt(size));
  const T c = pull / size;
  if (!(c < T(0.3968502629920498686879264098180770650979L))) return std::copysign(T(0), v);
  return std::copysign(size - pull / detail::two_thirds_root(c), v);
}

// Any q in (0, 1), for many numbers. With x = |v| u a stationary point is a root of h(u) = u - 1 + c u^(q-1),
// c = threshold q |v|^(q-2); the minimiser is the larger root as long as that is at least 2 (1 - q) / (2 -
// q), and zero otherwise. h is convex there, so Newton's method from u = 1 descends to the root. G.
// Marjanovic, V. Solo, On Lq optimization and matrix completion, IEEE Trans. Signal Process. 60, 2012.
template <class T>
class LqProx {
 public:
  // Near q = 1 the root is a small difference of |v| and the penalty's pull: the last step is taken in a
  // wider type where there is one.
#if defined(__CUDA_ARCH__) || defined(THALWEG_CUDA_EMULATION)
  using Wide = double;
#else
  using Wide = std::conditional_t<std::is_same_v<T, float>, double, long double>;
#endif

  THALWEG_HOST_DEVICE explicit LqProx(double q)
      : q_(q), lowest_(2 * (1 - q_) / (2 - q_)), largest_c_((1 - lowest_) * std::pow(lowest_, 1 - q_)) {}

  THALWEG_HOST_DEVICE T operator()(T v, T threshold) const {
    const double size = std::abs(static_cast<double>(v));
    if (!(size > 0) || std::isinf(v) || threshold == T(0)) return v;
    // c may leave the range of double in either direction only where the answer is zero or v itself.
    const double c = threshold / size * q_ * std::pow(size, q_ - 1);
    if (!(c < largest_c_)) return std::copysign(T(0), v);
    return std::copysign(polish(static_cast<Wide>(size), static_cast<Wide>(threshold), size * newton(c)), v);
  }

 private:
  THALWEG_HOST_DEVICE double newton(double c) const {
    constexpr int most_steps = 64;  // far more than quadratic convergence takes
    double u = 1;
    for (int i = 0; i < most_steps; ++i) {
      const double pull = c * std::pow(u, q_ - 1);
      const double next = u - (u - 1 + pull) / (1 - (1 - q_) * pull / u);
      // Below `lowest_` only by rounding; not descending any more: converged.
      if (!(next > lowest_)) return lowest_;
      if (!(next < u)) return u;
      const bool is_close = u - next < 1e-9 * u;
      u = next;
      if (is_close) break;
    }
    return u;
  }

  // One Newton step on x - size + threshold q x^(q-1).
  THALWEG_HOST_DEVICE T polish(Wide size, Wide threshold, double x0) const {
    const Wide x = static_cast<Wide>(x0);
    const Wide q = static_cast<Wide>(q_);
    const Wide pull = threshold * q * std::pow(x, q - 1);
    return static_cast<T>(x - (x - size + pull) / (1 - (1 - q) * pull / x));
  }

  double q_;
  double lowest_;
  double largest_c_;
};

// Any q in [0, 1].
template <class T>
THALWEG_HOST_DEVICE inline T prox_lq(T v, T threshold, double q) {
  if (q == 0) return hard_shrink(v, threshold);
  if (q == 0.5) return prox_half(v, threshold);
  if (q == 2.0 / 3.0) return prox_two_thirds(v, threshold);
  if (q == 1) return shrink(v, threshold);
  return LqProx<T>(q)(v, threshold);
}

}  // namespace thalweg

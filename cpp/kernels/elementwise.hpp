// Elementwise functions and proximal maps.
//
//   softplus(u)      log(1 + e^u), for u <= 0 as it stands and for u > 0 as u + log(1 + e^-u)
//   sigmoid(u)       1 / (1 + e^-u), for u <= 0 as e^u / (1 + e^u); the derivative of softplus
//   log_sigmoid(u)   -softplus(-u)
//   d_sigmoid(u)     sigmoid(u) sigmoid(-u)
//   d_log_sigmoid(u) sigmoid(-u)
//
//   prox(z)          argmin_x 1/2 (x - z)^2 + alpha |x|^q for 0 <= q <= 1, alpha >= 0: soft (q = 1) and hard
//                    (q = 0, threshold sqrt(2 alpha)) thresholding and what lies between; for q = 1 also over
//                    x >= 0. core/scalar.hpp gives the forms, their jumps and their sources.
//
// Accuracy, in units in the last place of the result, subnormal results included: softplus, sigmoid,
// log_sigmoid 2; derivatives 4; q = 0 and q = 1: 1; 0 < q < 1: 8 away from the jump. The limits are reached
// at the infinities, NaN gives NaN, and the maps are odd, so that -0.0 stays -0.0 (the non-negative form
// gives +0.0). An element's result does not depend on its neighbours, on strides or on the number of threads.
#pragma once

#include "core/view.hpp"

namespace thalweg {

enum class Smooth { softplus, sigmoid, log_sigmoid, d_sigmoid, d_log_sigmoid };

enum class Prox { shrink, shrink_nonneg, lq };

// One array among several of a common shape, of `ndim` axes: its strides in elements, any sign, 0 to repeat.
template <class T>
struct StridedView {
  T* data = nullptr;
  const Index* strides = nullptr;
};

// out[i] = f(x[i]) for every index i of `shape`. `out` is either `x` itself, stride for stride, or shares no
// memory with it, and has no zero strides along axes longer than 1.
template <class T>
void apply_smooth(Smooth f, Index ndim, const Index* shape, StridedView<const T> x, StridedView<T> out,
                  int n_jobs);

// out[i] = prox of alpha[i] |.|^q at z[i]; `q` counts for Prox::lq only. alpha is finite and >= 0; the same
// holds for its memory as for z's. Throws std::invalid_argument for q outside [0, 1].
template <class T>
void apply_prox(Prox f, double q, Index ndim, const Index* shape, StridedView<const T> z,
                StridedView<const T> alpha, StridedView<T> out, int n_jobs);

namespace cuda {

class Stream;

// The same on a device, with a unit or two more: softplus, sigmoid, log_sigmoid 4, derivatives 6. For 0 < q <
// 1 in double precision, wider than which a device has nothing, 8 becomes 8 / (1 - q).
template <class T>
void apply_smooth(Smooth f, Index ndim, const Index* shape, StridedView<const T> x, StridedView<T> out,
                  Stream& stream);
template <class T>
void apply_prox(Prox f, double q, Index ndim, const Index* shape, StridedView<const T> z,
                StridedView<const T> alpha, StridedView<T> out, Stream& stream);

}  // namespace cuda
}  // namespace thalweg

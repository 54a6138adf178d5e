// Convolutional sparse coding: sparse code maps of an image, and what learning filters needs of them.
//
// For one image y the solvers minimise
//
//     E(z) = 1/2 sum_{c, q} w[c, q] (y[c, q] - sum_k (f_k * z_k)[c, q])^2 + sum_k alpha_k ||z_k||_1
//
// over maps z, or over z >= 0. The convolution and its boundaries are those of kernels/conv.hpp.
//
// Parameters, in NumPy's terms, C-contiguous, float32 or float64
//   image    (C, H, W)     y; not read where w is 0
//   weights  (C, H, W)     w >= 0, or none: 1 everywhere
//   filters  (K, C, kh, kw)  f
//   alpha    (K,)          > 0
//   maps     (K, Hc, Wc)   z, as a dense array, or sparse: `index` into the flattened maps, strictly
//                          increasing, and `value`
//
// Both solvers end when the relative duality gap is at most tol, or after max_iter iterations. The gap is
// computed in float64 from the maps as returned, with the scaled residual as the dual point:
//
//     gap = (E(z) - sup_t D(t)) / (1/2 sum w y^2),  D(t) = t <w r, y> - t^2 / 2 <w r, r>,
//     t >= 0,  t |<w r, f_k at p>| <= alpha_k for all k and p (without the modulus where z >= 0),
//     r = y - f * z
//
// It is 0 where image and maps are 0, and infinity where else sum w y^2 is no normal number.
//
//   csc_encode  keeps the non-zeros alone. Each iteration correlates the residual with all filters once,
//               which gives the gap and the positions that violate optimality; admits the worst of every cell
//               of 2 x 2 positions; makes sweeps of coordinate descent over tiles of the image, tiles that
//               share no pixel at the same time; then a step of conjugate gradients on the support, cut off
//               where a sign would change.
//   csc_fista   dense maps: FISTA with adaptive restart and step 1 / lipschitz, an upper bound of the largest
//               eigenvalue of the convolution times its adjoint, weighted; the gradient, the threshold and
//               the momentum are one pass. The gap is computed every tenth iteration.
//
// No result depends on the number of threads.
//
// Errors: std::invalid_argument where a size is not positive, a filter does not fit, or an index is out of
// range or order.
//
// csc_statistics adds to the sums that make the smooth part of E, up to a constant, a quadratic form of the
// filters, for atoms that lie inside the image; the pixels are what the other atoms, as they are, leave:
//
//     A[k, l, t] += sum_p z_k[p] z_l[p + t],  |t| < filter size       (K, K, 2 kh - 1, 2 kw - 1) float64
//     B[k, c, i] += sum_p z_k[p] y'[c, p + i]                         (K, C, kh, kw) float64
//
// Sources: T. Moreau, L. Oudre, N. Vayatis, DICOD: distributed convolutional coordinate descent, ICML 2018,
// and T. Moreau, A. Gramfort, DiCoDiLe, arXiv:1901.09235 (locally greedy coordinate descent); H. Lee et al.,
// Efficient sparse coding algorithms, NIPS 2006, and G. Andrew, J. Gao, Scalable training of L1-regularized
// log-linear models, ICML 2007 (steps on the support, cut off at changes of sign); A. Beck, M. Teboulle, SIAM
// J. Imaging Sci. 2, 2009 (FISTA); J. Mairal et al., JMLR 11, 2010, and J. Liu et al., First- and
// second-order methods for online convolutional dictionary learning, SIAM J. Imaging Sci. 11, 2018 (the
// statistics).
#pragma once

#include <cstdint>
#include <vector>

#include "core/view.hpp"
#include "kernels/conv.hpp"

namespace thalweg {

template <class T>
struct SparseMaps {
  std::vector<std::int64_t> index;
  std::vector<T> value;
};

template <class T>
struct SparseMapsView {
  const std::int64_t* index = nullptr;
  const T* value = nullptr;
  Index count = 0;

  SparseMapsView() = default;
  SparseMapsView(const std::int64_t* index_, const T* value_, Index count_)
      : index(index_), value(value_), count(count_) {}
  SparseMapsView(const SparseMaps<T>& maps)
      : SparseMapsView(maps.index.data(), maps.value.data(), static_cast<Index>(maps.index.size())) {}
};

template <class T>
struct CscProblem {
  ConvShape shape;  // n = 1
  const T* image = nullptr;
  const T* weights = nullptr;  // or null
  const T* filters = nullptr;
  const T* alpha = nullptr;
  bool positive = false;
};

struct CscOptions {
  double tol = 1e-3;
  Index max_iter = 100;
  int n_jobs = 0;
};

struct CscReport {
  double objective = 0;
  double gap = 0;
  Index n_iter = 0;
};

template <class T>
SparseMaps<T> csc_encode(const CscProblem<T>& problem, SparseMapsView<T> start, const CscOptions& options,
                         CscReport& report);

// Objective and gap of given maps; n_iter stays as it is.
template <class T>
void csc_certify(const CscProblem<T>& problem, SparseMapsView<T> maps, int n_jobs, CscReport& report);

// `codes` (K, Hc, Wc): in, the start; out, the maps.
template <class T>
void csc_fista(const CscProblem<T>& problem, double lipschitz, T* codes, const CscOptions& options,
               CscReport& report);

// image = f * z.
template <class T>
void csc_synthesize(const ConvShape& shape, const T* filters, SparseMapsView<T> maps, T* image, int n_jobs);

// The smooth part of E at the maps, 1/2 <w r, r>, returned, and its gradient in the filters, (K, C, kh, kw).
template <class T>
double csc_filter_gradient(const CscProblem<T>& problem, SparseMapsView<T> maps, double* gradient,
                           int n_jobs);

// Of an image without weights.
template <class T>
void csc_statistics(const CscProblem<T>& problem, SparseMapsView<T> maps, double* a, double* b, int n_jobs);

// The twins on the device: pointers are the device's, and so are the maps'; `csc_encode` has none, for
// coordinate descent is no work for it.
namespace cuda {

class Stream;

template <class T>
void csc_certify(const CscProblem<T>& problem, SparseMapsView<T> maps, Stream& stream, CscReport& report);

template <class T>
void csc_fista(const CscProblem<T>& problem, double lipschitz, T* codes, const CscOptions& options,
               Stream& stream, CscReport& report);

// csc_fista from sparse maps to sparse maps, which are on the host; dense ones do not leave the device.
template <class T>
SparseMaps<T> csc_fista_maps(const CscProblem<T>& problem, double lipschitz, SparseMapsView<T> start,
                             const CscOptions& options, Stream& stream, CscReport& report);

// Dense codes (K, Hc, Wc) of sparse maps.
template <class T>
void csc_expand(const ConvShape& shape, SparseMapsView<T> maps, T* codes, Stream& stream);

template <class T>
void csc_synthesize(const ConvShape& shape, const T* filters, SparseMapsView<T> maps, T* image,
                    Stream& stream);

template <class T>
double csc_filter_gradient(const CscProblem<T>& problem, SparseMapsView<T> maps, double* gradient,
                           Stream& stream);

template <class T>
void csc_statistics(const CscProblem<T>& problem, SparseMapsView<T> maps, double* a, double* b,
                    Stream& stream);

// Codes that an encoder predicts, for a batch of images (n, C, H, W): for every image y the maps that
// minimise
//
//     E(z) = 1/2 ||y - sum_k f_k * z_k||^2 + alpha ||z||_1 + beta/2 ||z - p||^2,  alpha >= 0, beta > 0
//
// The host has no kernels of its own for it: inference/proximal_gradient.py does the same by those of conv
// and elementwise. Errors: std::invalid_argument where a size is not positive or a filter does not fit.
//
// Sources: K. Kavukcuoglu, M. Ranzato, Y. LeCun, Fast inference in sparse coding algorithms with applications
// to object recognition, 2008; Y. Nesterov, Lectures on convex optimization, 2018, section 2.2 (momentum).

// p_k = g_k s((W * y)_k + b_k), a correlation; s is tanh, or shrinkage by theta_k where there are thresholds.
template <class T>
struct CscEncoder {
  const T* filters = nullptr;    // W (K, C, kh, kw)
  const T* intercept = nullptr;  // b (K,)
  const T* gain = nullptr;       // g (K,)
  const T* threshold = nullptr;  // theta (K,) >= 0, or null
};

template <class T>
struct CscPredicted {
  ConvShape shape;
  const T* images = nullptr;      // y (n, C, H, W)
  const T* filters = nullptr;     // f (K, C, kh, kw)
  const T* prediction = nullptr;  // p (n, K, Hc, Wc)
  double alpha = 0;
  double weight = 1;  // beta
};

struct CscPredictedOptions {
  const double* tolerance = nullptr;  // (n,) on the host, or null: max_iter iterations, and no certificate
  Index max_iter = 100;
};

// `prediction` (n, K, Hc, Wc).
template <class T>
void csc_predict(const ConvShape& shape, const T* images, const CscEncoder<T>& encoder, T* prediction,
                 Stream& stream);

// E(0) of every image, (n,) on the host, in float64.
template <class T>
void csc_predicted_at_zero(const CscPredicted<T>& problem, double* energies, Stream& stream);

// FISTA with step 1 / lipschitz from `start` (n, K, Hc, Wc), whose momentum grows until it is the best for
// the modulus beta. Ends once every image's certificate ||g||^2 / (2 beta), of the shortest subgradient g at
// the codes as returned, is at most its tolerance; it is looked at in every fifth iteration. Writes `codes`
// (n, K, Hc, Wc), apart from all that is read, and `gap` (n,) on the host; returns the number of iterations.
template <class T>
Index csc_predicted_fista(const CscPredicted<T>& problem, double lipschitz, const T* start,
                          const CscPredictedOptions& options, T* codes, double* gap, Stream& stream);

}  // namespace cuda

}  // namespace thalweg

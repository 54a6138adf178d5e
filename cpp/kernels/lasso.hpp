// Sparse codes of many samples over one dictionary: ISTA, FISTA, coordinate descent, and an active-set Newton
// method.
//
// For every row x of X the kernels minimise
//
//     E(z) = 1/2 ||x - z D||^2 + sum_j alpha_j p(z_j) + l2/2 ||z||^2,     p(z) = |z|^q, q in {1, 2/3, 1/2, 0}
//
// over z in R^K, or over z >= 0.
//
// Parameters, in NumPy's terms
//   D      (K, n)   float32 or float64, rows are atoms, any norms, zero atoms allowed
//   X      (N, n)   the dtype of D
//   alpha  broadcast to (N, K), >= 0
//   Z      (N, K)   in: the starting point where `warm_start`; out: the codes
//   gap    (N,)     float64, the row's certificate, computed in float64 from the codes as returned:
//                   q = 1, alpha > 0: duality gap / (1/2 ||x||^2), with the scaled residual as the dual point
//                   q = 1, some alpha = 0: max_j dist(c_j, alpha_j d|z_j|) / max_j |<x, d_j>|
//                   q < 1: max_j |z_j - z'_j| / max_j max(|z_j|, |z'_j|), z'_j = prox(z_j + c_j / L)
//                   where c = D (x - z D) - l2 z; 0 for a zero row. infinity where ||x||^2 is no normal
//                   number
//   n_iter (N,)     int32, iterations that the row took
//   status (N,)     int8, see Status
//
// The criterion must fit: the duality gap needs every alpha > 0, as only the caller can cheaply know.
//
// Errors: std::invalid_argument where an argument is out of range; the certificate tells the rest.
//
// Sources: A. Beck, M. Teboulle, A fast iterative shrinkage-thresholding algorithm, SIAM J. Imaging Sci. 2,
// 2009 (ISTA, FISTA); B. O'Donoghue, E. Candes, Adaptive restart for accelerated gradient schemes, Found.
// Comput. Math. 15, 2015; J. Friedman et al., Pathwise coordinate optimization, Ann. Appl. Stat. 1, 2007; H.
// Lee et al., Efficient sparse coding algorithms, NIPS 2006 (feature-sign search, of which the active-set
// method is a relative); E. Ndiaye et al., Gap safe screening rules, JMLR 18, 2017 (the dual point).
#pragma once

#include <cstdint>
#include <memory>

#include "core/lasso_numbers.hpp"
#include "core/view.hpp"

namespace thalweg {

enum class LassoMethod { ista, fista, coordinate_descent, active_set };
enum class Criterion { duality_gap, optimality_residual, fixed_point_residual };
enum class Status : std::int8_t { converged = 0, not_converged = 1, fixed_iterations = 2 };

struct LassoOptions {
  LassoMethod method = LassoMethod::active_set;
  Penalty penalty = Penalty::l1;
  Criterion criterion = Criterion::duality_gap;
  bool positive = false;
  bool adaptive_restart = true;  // FISTA
  bool warm_start = false;
  double tol = 1e-4;  // on the certificate; 0 asks for exactly max_iter iterations and no tests on the way
  Index max_iter = 1000;
  int n_jobs = 0;
};

struct LassoReport {
  double* gap = nullptr;
  std::int32_t* n_iter = nullptr;
  std::int8_t* status = nullptr;
};

// One dictionary, prepared: packed operands, Gram matrix, step size, each made when first needed.
template <class T>
class CodingDictionary {
 public:
  CodingDictionary(MatrixView<const T> atoms, double l2, int n_jobs);
  ~CodingDictionary();

  [[nodiscard]] Index n_components() const;
  [[nodiscard]] Index n_features() const;
  // L: an upper bound of the largest eigenvalue of D D^T + l2 I.
  [[nodiscard]] double lipschitz() const;

  void encode(MatrixView<const T> x, BroadcastView<T> alpha, MatrixView<T> codes, const LassoReport& report,
              const LassoOptions& options) const;

  struct Prepared;
  [[nodiscard]] const Prepared& prepared() const { return *prepared_; }

 private:
  std::unique_ptr<Prepared> prepared_;
};

namespace cuda {

class Stream;

// The same on a device: ISTA and FISTA. The dictionary's memory belongs to the stream that it was made on;
// work on other streams is for the caller to order. Errors: std::invalid_argument for the other methods too.
template <class T>
class CodingDictionary {
 public:
  CodingDictionary(MatrixView<const T> atoms, double l2, Stream& stream);
  ~CodingDictionary();

  [[nodiscard]] Index n_components() const;
  [[nodiscard]] Index n_features() const;
  [[nodiscard]] double lipschitz() const;
  [[nodiscard]] Stream& home() const;

  void encode(MatrixView<const T> x, BroadcastView<T> alpha, MatrixView<T> codes, const LassoReport& report,
              const LassoOptions& options, Stream& stream) const;

  struct Prepared;

 private:
  std::unique_ptr<Prepared> prepared_;
};

// The positive parts of codes (N, K), and beside them the negative parts, into out (N, 2 K).
template <class T>
void split_signs(MatrixView<const T> codes, MatrixView<T> out, Stream& stream);

// out (N, n) = codes (N, K) D, or of codes that split_signs() has split (N, 2 K).
template <class T>
void reconstruct(MatrixView<const T> codes, MatrixView<const T> atoms, MatrixView<T> out, Stream& stream);

}  // namespace cuda

}  // namespace thalweg

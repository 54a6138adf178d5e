// Orthogonal matching pursuit of many samples over one dictionary, on the Gram matrix.
//
// For every row x, beginning with z = 0 and S empty: the atom whose correlation |<d_j, x - z D>| is largest
// joins S, and z becomes the least-squares code on S; until S has `n_nonzero` atoms, or ||x - z D||^2 <= tol.
//
// Parameters, in NumPy's terms
//   D (K, n)  in a CodingDictionary made with l2 = 0; rows are atoms, of any norm
//   X (N, n)  the dtype of D
//   Z (N, K)  out: the codes
//   residual_squared (N,)  float64, out: ||x - z D||^2, computed in float64 from the codes as returned
//   n_nonzero (N,)         int32, out: size of S
//   status (N,)            int8, out, see PursuitStatus
//
// Errors: std::invalid_argument where a number is out of range.
//
// The inverse of the Gram matrix on S is kept and bordered, in the dtype of D; the final coefficients are
// corrected from residuals in float64. A float32 row that rounding has spoilt (its atoms are nearly
// dependent) is done again in float64.
//
// Sources: Y. Pati, R. Rezaiifar, P. Krishnaprasad, Orthogonal matching pursuit, Asilomar 1993; R.
// Rubinstein, M. Zibulevsky, M. Elad, Efficient implementation of the K-SVD algorithm using batch orthogonal
// matching pursuit, CS Technion, 2008.
#pragma once

#include <cstdint>

#include "core/view.hpp"
#include "kernels/lasso.hpp"

namespace thalweg {

enum class PursuitStatus : std::int8_t {
  reached = 0,    // the number of non-zeros, or the residual
  dependent = 1,  // the best atom depends on those in S: stopped early
  exhausted = 2   // nothing left to explain, or no atom left: stopped early
};

struct PursuitOptions {
  Index n_nonzero = 0;  // at most this many non-zeros
  double tol = -1.0;    // squared residual at which to stop; negative: none
  int n_jobs = 0;
};

struct PursuitReport {
  double* residual_squared = nullptr;
  std::int32_t* n_nonzero = nullptr;
  std::int8_t* status = nullptr;
};

template <class T>
void omp_encode(const CodingDictionary<T>& dictionary, MatrixView<const T> x, MatrixView<T> codes,
                const PursuitReport& report, const PursuitOptions& options);

}  // namespace thalweg

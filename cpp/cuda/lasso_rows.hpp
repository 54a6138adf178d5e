// The unfinished rows of one chunk of samples, and what is done with them between stretches of iterations:
// their start, their certificates, and their way out.
//
// A stretch starts from an anchor: the codes z0 at which the certificate has just been computed, and with it
// the correlations c0 = D (x - z0 D) - l2 z0 in double. In single precision the iterations then need products
// with the way since, y - z0, only:
//
//     c(y) = c0 - (y - z0) (D D^T + l2 I)
//
// Their error is relative to that way, which shrinks as the codes converge, so one product of bfloat16
// numbers suffices on the way to any gap; the certificate, in double, never sees it.
#pragma once

#include <cstdint>

#include "cuda/lasso_dictionary.hpp"

namespace thalweg::cuda {

// What is known of a row, in the scaled units.
struct LassoRow {
  Index row;                // its number among the samples
  double x_scale;           // scaled samples = samples * this
  double alpha_factor;      // scaled weights = weights * this
  double threshold_factor;  // of the shared thresholds
  double x_squared;         // ||x||^2; zero for a zero row alone
  double x_correlation;     // max_j |<x, d_j>|
  double momentum;          // FISTA's t
  double lowest_energy;
  Index idle;  // iterations since the last certificate that was better
  // At the codes z, by measure_rows().
  double penalty;  // sum_j alpha_j p(z_j)
  double code_squared;
  Index n_nonzero;
};

// The arrays of `count` rows, in places 0, 1, ...; rows of codes are `stride` elements apart.
template <class T>
struct LassoRows {
  LassoRow* row = nullptr;
  T* codes = nullptr;
  // From an anchor:
  Bfloat16* way = nullptr;  // y - z0
  T* anchor = nullptr;      // z0, where it is kept apart from the codes
  // With products in the working type:
  T* point = nullptr;  // y
  // z0 + c0 / L, or with products in the working type <x, d_j>
  T* start = nullptr;
  // alpha / L, of all rows or, where `threshold_stride` is not 0, of each
  T* threshold = nullptr;
  Index threshold_stride = 0;
};

// The problem as the caller gave it, and where its results go.
template <class T>
struct LassoProblem {
  MatrixView<const T> x;
  BroadcastView<T> alpha;
  MatrixView<T> codes;
  LassoReport report;
  Penalty penalty;
  Criterion criterion;
  bool positive;
  bool warm_start;
  double tol;
  Index max_iter;
  // of the dictionary
  Index n_components;
  Index stride;
  double scale;
  double l2;
  double lipschitz;
};

// Scratch of the certificates.
struct LassoScratch {
  double* wide_codes = nullptr;     // (count, stride)
  double* residual = nullptr;       // (count, n_features)
  double* correlation = nullptr;    // (count, stride)
  std::int32_t* is_kept = nullptr;  // (count,)
  Index* place = nullptr;           // (count,) where the kept rows go
  Index* n_kept = nullptr;          // (1,)
};

// The rows [first, first + count) of the samples into places 0, 1, ...: codes, points, thresholds, units.
template <class T>
void load_rows(const LassoProblem<T>& problem, LassoRows<T> rows, Index first, Index count, Stream& stream);

// The certificates' ingredients at the rows' codes: wide_codes, and residual = x for the two products below.
// Brings the codes to what they will be when returned: in the caller's units they may be subnormal, and lose
// bits.
template <class T>
void measure_rows(const LassoProblem<T>& problem, LassoRows<T> rows, const LassoScratch& scratch, Index count,
                  Stream& stream);
// residual -= wide_codes D
template <class T>
void subtract_codes(const typename CodingDictionary<T>::Prepared& dictionary, const LassoScratch& scratch,
                    Index count, Stream& stream);
// correlation = residual D^T
template <class T>
void correlate(const typename CodingDictionary<T>::Prepared& dictionary, const LassoScratch& scratch,
               Index count, Stream& stream);

// `start` and x_correlation, where they are wanted, from the correlations of the samples themselves.
template <class T>
void start_rows(const LassoProblem<T>& problem, LassoRows<T> rows, const LassoScratch& scratch, Index count,
                Stream& stream);

// Certificates of rows that have made n_iter iterations. Finished rows are written out, and is_kept says
// which are not. At the start only rows that have converged are finished, and none where may_finish is not
// set.
struct Judgement {
  Index n_iter;
  Index since_last;  // iterations since the last certificate
  bool is_start;
  bool may_finish;
};
template <class T>
void judge_rows(const LassoProblem<T>& problem, LassoRows<T> rows, const LassoScratch& scratch,
                const Judgement& judgement, Index count, Stream& stream);

// place and n_kept from is_kept.
void place_rows(const LassoScratch& scratch, Index count, Stream& stream);

// Moves the kept rows to their places in `to`; those that start from an anchor are anchored where they are.
template <class T>
void move_rows(const LassoProblem<T>& problem, LassoRows<T> from, LassoRows<T> to,
               const LassoScratch& scratch, Index count, Stream& stream);

}  // namespace thalweg::cuda

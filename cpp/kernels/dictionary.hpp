// The dictionary's step of dictionary learning, from sufficient statistics.
//
// accumulate_statistics:  A <- decay A + Z^T Z,  B <- decay B + Z^T X
// update_dictionary:      for each atom j in turn, the minimiser over the unit ball of
//                         1/2 tr(D^T A D) - tr(D^T B) with the other atoms held:
//                             u = d_j + (B_j - A_j D) / A_jj,   d_j = u / max(1, ||u||)
//
// Parameters, in NumPy's terms
//   Z (N, K)  codes, float32 or float64, zeros are skipped
//   X (N, n)  samples, the dtype of Z
//   A (K, K)  float64, symmetric;  B (K, n) float64
//   D (K, n)  float32 or float64, rows are atoms, updated in place; the work is done in float64
//   dead (K,) uint8, out: 1 where the atom is not used (A_jj <= 1e-10 max A) or has become zero; such an
//             atom is left as it was
//
// Options: `unit_norm` puts every atom on the sphere instead of into the ball; `positive` projects u onto u
// >= 0 first; `sweeps` passes over all atoms.
//
// The objective never rises (with `unit_norm` it may: the sphere is not convex). Results are the same bits
// for any number of threads.
//
// Source: J. Mairal, F. Bach, J. Ponce, G. Sapiro, Online learning for matrix factorization and sparse
// coding, JMLR 11, 2010, algorithm 2.
#pragma once

#include <cstdint>

#include "core/view.hpp"

namespace thalweg {

struct DictionaryOptions {
  bool positive = false;
  bool unit_norm = false;
  Index sweeps = 1;
  int n_jobs = 0;
};

template <class T>
void accumulate_statistics(MatrixView<const T> z, MatrixView<const T> x, double decay, MatrixView<double> a,
                           MatrixView<double> b, int n_jobs);

template <class T>
void update_dictionary(MatrixView<const double> a, MatrixView<const double> b, MatrixView<T> d,
                       std::uint8_t* dead, const DictionaryOptions& options);

}  // namespace thalweg

// Chains: sums and minima over all paths of labels through many sequences, in one call.
//
// The energy of a path y_0 .. y_{L-1} through a sequence of L positions is
//
//   E(y) = sum_t U[t, y_t] + sum_t T[y_t, y_{t+1}]
//
// and P(y) = exp(-beta (E(y) - F)) with F = -1/beta log sum_y exp(-beta E(y)).
//
// Parameters, in NumPy's terms
//   unary (n_positions, k)      U, the positions of all sequences one after another; +inf forbids
//   pairwise (k, k)             T; +inf forbids
//   starts (n_sequences + 1,)   int64: sequence s has the positions starts[s] .. starts[s + 1] - 1, at least
//   one
//
//   chain_marginals             forward and backward sums
//     weights (n_sequences,)    float64, of the sequences in `pairs`
//     marginals (n_positions, k)  out: P(y_t)
//     pairs (k, k)              float64, out: sum over sequences of weight times the expected number of times
//                               that label j follows label i
//     free (n_sequences,)       float64, out: F
//   chain_best                  Viterbi's algorithm
//     states (n_positions,)     int64, out: the path of least energy; among equal ones that of the first
//     labels
//                               at the last position, and so on backwards
//     energy (n_sequences,)     float64, out: its energy
//   chain_offending             likewise, of all paths but one
//     right (n_positions,)      int64: the path left out; k >= 2
//
// Errors: std::invalid_argument where a number is out of range, or all paths of a sequence are forbidden,
// which is named. chain_offending then gives an energy of +inf and the right path.
//
// Sums are taken in float64, of weights exp(-beta E) scaled at every position; a sequence whose weights would
// underflow is done again with their logarithms. The same bits for any number of threads.
//
// Sources: L. Rabiner, A tutorial on hidden Markov models and selected applications in speech recognition,
// Proc. IEEE 77, 1989; J. Lafferty, A. McCallum, F. Pereira, Conditional random fields, ICML 2001.
#pragma once

#include <cstdint>

#include "core/view.hpp"

namespace thalweg {

template <class T>
struct Chains {
  MatrixView<const T> unary;
  const T* pairwise = nullptr;
  const std::int64_t* starts = nullptr;
  Index n_sequences = 0;
};

template <class T>
void chain_marginals(const Chains<T>& chains, double beta, const double* weights, MatrixView<T> marginals,
                     double* pairs, double* free, int n_jobs);

template <class T>
void chain_best(const Chains<T>& chains, std::int64_t* states, double* energy, int n_jobs);

template <class T>
void chain_offending(const Chains<T>& chains, const std::int64_t* right, std::int64_t* states, double* energy,
                     int n_jobs);

}  // namespace thalweg

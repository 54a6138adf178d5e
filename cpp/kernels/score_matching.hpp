// Score matching of deep densities with one hidden layer, in closed form.
//
// With g = s(V x + d), psi = -dE/dx the score of the energy in kernels/langevin.hpp,
//
//   objective_n = 1/2 ||psi(x_n)||^2 + div psi(x_n)
//   psi = b - x / sigma^2 + V'(s'(u) o W'p),   u = V x + d,   p = sigmoid(W s(u) + c)
//   div psi = -D / sigma^2 + sum_k p_k (1 - p_k) a_k' G a_k + sum_h (W'p)_h s''(u_h) G_hh
//
// where a_k = s'(u) o w_k and G = V V'. Up to a constant of the data, the mean of the objective is half the
// mean squared distance between the scores of model and data. Psi itself, of the length of a row, is never
// formed: with r = b - x / sigma^2 and t = s'(u) o W'p,
//
//   ||psi||^2 = ||r||^2 + 2 t'(V r) + t'G t,    V r = V b - (u - d) / sigma^2.
//
// Where ||psi|| is far below ||r|| that loses the difference's share of the digits.
//
// A row costs O(K H^2) and two products with V.
//
// Parameters as in kernels/langevin.hpp; the layer may be any but relu, whose second derivative is none.
//   objective (n,)   float64, out
//   gradient         out: of the sum of the objective, in the shapes of the parameters
//
// Returns the derivative of the sum in log sigma.
//
// Errors: std::invalid_argument where there is not one hidden layer, or it is a rectifier.
//
// The same bits for any number of threads.
//
// Sources: A. Hyvarinen, Estimation of non-normalized statistical models by score matching, JMLR 6, 2005;
// U. Koster, A. Hyvarinen, A two-layer model of natural stimuli estimated with score matching, Neural
// Comput. 22, 2010.
#pragma once

#include "core/view.hpp"
#include "kernels/langevin.hpp"

namespace thalweg {

template <class T>
double density_score_matching(const DensityView<T>& view, MatrixView<const T> X, double* objective,
                              const DensityGradient<T>& gradient, int n_jobs);

}  // namespace thalweg

// Annealed importance sampling of restricted Boltzmann machines.
//
// The path is that of kernels/gibbs.hpp, from the base model at t = 0 to the machine at t = 1, with
// unnormalised visible densities
//
//   Bernoulli   log f_t(v) = ((1 - t) a0 + t a)' v + sum_k softplus(t (W v + b)_k)
//   Gaussian    log f_t(v) = -(1 - t) sum_j (v_j - a0_j)^2 / (2 sigma0_j^2) - t sum_j (v_j - a_j)^2 / (2
//               sigma_j^2) + sum_k softplus(t (W (v / sigma^2) + b)_k)
//
// A run visits t_0, t_1, ..., t_n, upwards from draws of the base model, or downwards from draws of the
// machine:
//
//   log w += log f_{t_i}(v) - log f_{t_{i-1}}(v), then h ~ p_{t_i}(h | v), v ~ p_{t_i}(v | h)
//
// for i = 1 to n, without the draw after the last. Upwards E[w] = Z(machine) / Z(base), downwards its
// inverse.
//
// Sources: R. Neal, Annealed importance sampling, Stat. Comput. 11, 2001; R. Salakhutdinov, I. Murray, On the
// quantitative analysis of deep belief networks, ICML 2008; downwards, Y. Burda, R. Grosse, R. Salakhutdinov,
// Accurate and conservative estimates of MRF log-likelihood using reverse annealing, AISTATS 2015.
#pragma once

#include <span>

#include "kernels/gibbs.hpp"

namespace thalweg {

// `visible` (Bernoulli units) or `visible_real` (Gaussian ones) holds the runs' first states and takes their
// last; `log_weights` (one a run) is added to. Step i draws hidden units with (stream + 1, step + i) and
// visible ones with (stream, step + i). `base.t` is not looked at.
template <class T>
void anneal(const RbmView<T>& rbm, const Tempering<T>& base, std::span<const double> t, Bits visible,
            MatrixView<T> visible_real, const Draw& draw, double* log_weights, RbmWorkspace<T>& workspace,
            int n_jobs);

// `t` is in the host's memory, everything else on the device.
namespace cuda {
template <class T>
void anneal(const PreparedRbm<T>& rbm, const Tempering<T>& base, std::span<const double> t, Bits visible,
            MatrixView<T> visible_real, const Draw& draw, double* log_weights, Stream& stream);
}  // namespace cuda

}  // namespace thalweg

// Free energies of Boltzmann machines: the product that a Gibbs sweep begins with, and sums over its rows by
// a warp each. The sums read the logits and states once, a small part of what the product takes.
#include <algorithm>

#include "cuda/math.cuh"
#include "cuda/memory.hpp"
#include "cuda/rows.cuh"
#include "kernels/gibbs.hpp"

namespace thalweg::cuda {
namespace {

constexpr Index rows_at_once = 1 << 14;  // whose logits the second level cache holds

template <class T>
__device__ double state(const StatesView<T>& states, Index r, Index j) {
  if (states.real.data != nullptr) return static_cast<double>(states.real(r, j));
  return static_cast<double>(states.bits(j / 32, r) >> (j % 32) & 1u);
}

// The part of the energy of a visible unit in state v alone.
template <class T>
__device__ double visible_energy(const RbmView<T>& rbm, Index j, double v) {
  const auto bias = static_cast<double>(rbm.visible_bias[j]);
  if (rbm.sigma == nullptr) return -bias * v;
  const double deviation = (v - bias) / static_cast<double>(rbm.sigma[j]);
  return 0.5 * deviation * deviation;
}

template <class T>
__global__ void __launch_bounds__(rows::block_size)
    energy_kernel(const __grid_constant__ RbmView<T> rbm, const __grid_constant__ StatesView<T> visible,
                  MatrixView<const T> logits, double* energy) {
  for (Index r = rows::first(); r < logits.rows; r += rows::step()) {
    double sum = 0;
    for (Index j = rows::lane(); j < rbm.n_visible; j += 32)
      sum += visible_energy(rbm, j, state(visible, r, j));
    for (Index k = rows::lane(); k < rbm.n_hidden; k += 32)
      sum -= static_cast<double>(device_softplus(logits(r, k)));
    sum = rows::sum(sum);
    if (rows::lane() == 0) energy[r] = sum;
  }
}

template <class T>
StatesView<T> middle_rows(const StatesView<T>& states, Index first, Index count) {
  if (states.real.data != nullptr) return {{}, states.real.middle_rows(first, count)};
  return {states.bits.middle_rows(first, count), {}};
}

}  // namespace

template <class T>
void free_energies(const PreparedRbm<T>& rbm, const StatesView<T>& visible, Index n_rows, double* energy,
                   Stream& stream) {
  const RbmView<T>& view = rbm.view();
  const Index most = std::min(n_rows, rows_at_once);
  const Buffer<T> logits(most * view.n_hidden, stream);
  for (Index first = 0; first < n_rows; first += most) {
    const Index count = std::min(most, n_rows - first);
    const auto part = middle_rows(visible, first, count);
    Activation<T> out;
    out.logits = {logits.data(), count, view.n_hidden};
    hidden_given_visible(rbm, part, {}, {}, out, stream);
    rows::launch_rows(energy_kernel<T>, count, stream, view, part,
                      MatrixView<const T>(logits.data(), count, view.n_hidden), energy + first);
  }
}

#define THALWEG_INSTANTIATE(T) \
  template void free_energies(const PreparedRbm<T>&, const StatesView<T>&, Index, double*, Stream&);

THALWEG_INSTANTIATE(float)
THALWEG_INSTANTIATE(double)
#undef THALWEG_INSTANTIATE

}  // namespace thalweg::cuda

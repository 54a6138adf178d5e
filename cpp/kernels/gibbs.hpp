// Restricted Boltzmann machines: one side given the other, alternating sweeps, and the gradient's statistics.
//
// Machines, with weights W (n_hidden, n_visible), visible bias a, hidden bias b, E(v, h) and F(v):
//
//   Bernoulli   p(h_k = 1 | v) = sigmoid((W v + b)_k)             p(v_j = 1 | h) = sigmoid((W' h + a)_j)
//   Gaussian    p(h_k = 1 | v) = sigmoid((W (v / sigma^2) + b)_k) p(v | h) = N(a + W' h, diag(sigma^2))
//
// Tempered at inverse temperature t in [0, 1], between a base model without hidden units (t = 0) and the
// machine (t = 1): densities proportional to base^(1 - t) machine^t.
//
//   hidden logits    t (W v + b)
//   Bernoulli        visible logits t (W' h + a) + (1 - t) a0
//   Gaussian         precision p = t / sigma^2 + (1 - t) / sigma0^2, mean (t (a + W' h) / sigma^2 + (1 - t)
//                    a0 / sigma0^2) / p
//
// States of 0 and 1 are bits, 32 units to a word, all rows' first words first. A product with bits is, for
// each output, the sum over groups of four units of the group's own sum; a product with real numbers is one
// chain of multiply-adds in increasing order, in which zeros may be left out, for they change nothing. A row
// of real numbers that are all 0 or 1 is treated as bits. So a row's result depends on the row alone.
//
// Draws: element e of row r is drawn by the words (seed, stream, first_row + r, step, e) of core/rng.hpp, as
// u < p for a Bernoulli unit, and as mean + deviation * normal for a Gaussian one.
//
// Sources: P. Smolensky, Information processing in dynamical systems, in Parallel Distributed Processing 1,
// 1986; G. Hinton, Training products of experts by minimizing contrastive divergence, Neural Comput. 14,
// 2002; for the Gaussian machine as it is parametrised here J. Melchior, N. Wang, L. Wiskott, Gaussian-binary
// restricted Boltzmann machines for modeling natural image statistics, PLoS ONE 12, 2017.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "core/view.hpp"

namespace thalweg {

// Rows of states: word w of row r is data[w * stride + r], unit j is bit j % 32 of word j / 32. Bits beyond
// `units` are zero.
template <class Word>
struct BitsView {
  Word* data = nullptr;
  Index rows = 0;
  Index units = 0;
  Index stride = 0;

  // constexpr: kernels on a device call them too
  [[nodiscard]] constexpr Index words() const { return (units + 31) / 32; }
  [[nodiscard]] constexpr Word* word(Index w) const { return data + w * stride; }
  [[nodiscard]] constexpr Word& operator()(Index w, Index r) const { return data[w * stride + r]; }
  [[nodiscard]] BitsView middle_rows(Index first, Index count) const {
    return {data + first, count, units, stride};
  }
};

using ConstBits = BitsView<const std::uint32_t>;
using Bits = BitsView<std::uint32_t>;

// Columns of weights are padded with zeros to a whole number of these: 128 bytes.
template <class T>
[[nodiscard]] constexpr Index padded_units(Index units) {
  constexpr Index width = 128 / static_cast<Index>(sizeof(T));
  return (units + width - 1) / width * width;
}

// A row stride of weights: an odd number of 128 bytes, so that one panel of all rows spreads over the caches'
// sets.
template <class T>
[[nodiscard]] constexpr Index weight_stride(Index units) {
  constexpr Index width = 128 / static_cast<Index>(sizeof(T));
  return (padded_units<T>(units) / width | 1) * width;
}

template <class T>
struct RbmView {
  Index n_visible = 0;
  Index n_hidden = 0;
  const T* up = nullptr;    // (n_visible, up_stride): W', for Gaussian visibles its rows divided by sigma^2
  Index up_stride = 0;      // at least padded_units(n_hidden)
  const T* down = nullptr;  // (n_hidden, down_stride): W
  Index down_stride = 0;    // at least padded_units(n_visible)
  const T* visible_bias = nullptr;
  const T* hidden_bias = nullptr;
  const T* sigma = nullptr;  // (n_visible,), null for Bernoulli visibles
};

// t is one number a row, null for 1 everywhere; the base model's parameters are null for zeros and, in the
// Gaussian case, ones.
template <class T>
struct Tempering {
  const T* t = nullptr;
  const T* base_bias = nullptr;
  const T* base_sigma = nullptr;
};

struct Draw {
  std::uint64_t seed = 0;
  std::uint32_t stream = 0;
  std::uint64_t first_row = 0;
  std::uint32_t step = 0;
};

// One side's states: bits, or real numbers.
template <class T>
struct StatesView {
  ConstBits bits;            // looked at where `real` is null
  MatrixView<const T> real;  // of any numbers
};

// What is asked for; null data: not asked for.
template <class T>
struct Activation {
  MatrixView<T> logits;  // before the sigmoid
  MatrixView<T> mean;    // probabilities, or the means of Gaussian units
  Bits bits;             // drawn states of Bernoulli units
  MatrixView<T> real;    // drawn states of Gaussian units
};

// Memory that the functions below keep from one call to the next; calls that share one take turns.
template <class T>
class RbmWorkspace {
 public:
  struct Memory;

  RbmWorkspace();
  ~RbmWorkspace();
  RbmWorkspace(const RbmWorkspace&) = delete;
  RbmWorkspace& operator=(const RbmWorkspace&) = delete;
  Memory& memory() const { return *memory_; }

 private:
  std::unique_ptr<Memory> memory_;
};

template <class T>
void hidden_given_visible(const RbmView<T>& rbm, const StatesView<T>& visible, const Tempering<T>& tempering,
                          const Draw& draw, const Activation<T>& out, RbmWorkspace<T>& workspace, int n_jobs);

template <class T>
void visible_given_hidden(const RbmView<T>& rbm, const StatesView<T>& hidden, const Tempering<T>& tempering,
                          const Draw& draw, const Activation<T>& out, RbmWorkspace<T>& workspace, int n_jobs);

// `n_sweeps` times v ~ p(v | h), h ~ p(h | v). `hidden` is where the chains are and where they end; of the
// visible states (`visible` for Bernoulli, `visible_real` for Gaussian units) and of the hidden probabilities
// (`hidden_mean`, may be null) only the last are kept. Sweep i draws visible units with (visible_stream, step
// + i) and hidden ones with (visible_stream + 1, step + i).
template <class T>
void gibbs_sweeps(const RbmView<T>& rbm, Bits hidden, Bits visible, MatrixView<T> visible_real,
                  MatrixView<T> hidden_mean, const Tempering<T>& tempering, const Draw& draw, Index n_sweeps,
                  RbmWorkspace<T>& workspace, int n_jobs);

// Rows of states on both sides, with a weight each.
template <class T>
struct Phase {
  StatesView<T> visible;
  MatrixView<const T> hidden;  // (n, n_hidden)
  const T* weight = nullptr;   // (n,)
};

// Sums over the rows n of all phases, one after the other, of weight_n times
//
//   up (n_visible, up_stride)                v_nj h_nk scale_j     (scale may be null for ones)
//   visible (n_visible,), hidden (n_hidden,) v_nj, h_nk
//
// in one chain of multiply-adds each. The last `n_extra` phases count in `up` alone: terms of rank one.
// Columns of `up` beyond n_hidden become zero.
template <class T>
void phase_statistics(std::span<const Phase<T>> phases, Index n_extra, Index n_visible, Index n_hidden,
                      const T* scale, T* up, Index up_stride, T* visible, T* hidden,
                      RbmWorkspace<T>& workspace, int n_jobs);

// to (cols, to_stride) = from' * row scale of `to` (null: ones), with zeros from column from.rows on.
template <class T>
void transpose(MatrixView<const T> from, const T* scale, T* to, Index to_stride, int n_jobs);

// Rows of numbers to bits (1 where the number is 1, 0 where it is 0) and back. pack_states returns whether
// all numbers were 0 or 1.
template <class T>
bool pack_states(MatrixView<const T> real, Bits bits, int n_jobs);
template <class T>
void unpack_states(ConstBits bits, MatrixView<T> real, int n_jobs);

// The twins on a device, where all pointers then point. Products with real numbers, and products with bits in
// double precision, have the order of those above; products with bits in single precision are sums of whole
// multiples of a unit's own step, which is at most 2^-27 of the sum of the absolute weights that reach the
// unit, 2^-29 where one of them makes up a large part of it: exact, in whatever order.
namespace cuda {

class Stream;

// A machine as the kernels take it: its arrays, which must live as long, and the weights once more in the
// form of the tensor cores.
template <class T>
class PreparedRbm {
 public:
  struct Memory;

  PreparedRbm(const RbmView<T>& rbm, Stream& stream);
  ~PreparedRbm();
  PreparedRbm(const PreparedRbm&) = delete;
  PreparedRbm& operator=(const PreparedRbm&) = delete;
  [[nodiscard]] const RbmView<T>& view() const { return view_; }
  [[nodiscard]] const Memory& memory() const { return *memory_; }

 private:
  RbmView<T> view_;
  std::unique_ptr<Memory> memory_;
};

template <class T>
void hidden_given_visible(const PreparedRbm<T>& rbm, const StatesView<T>& visible,
                          const Tempering<T>& tempering, const Draw& draw, const Activation<T>& out,
                          Stream& stream);
template <class T>
void visible_given_hidden(const PreparedRbm<T>& rbm, const StatesView<T>& hidden,
                          const Tempering<T>& tempering, const Draw& draw, const Activation<T>& out,
                          Stream& stream);
template <class T>
void gibbs_sweeps(const PreparedRbm<T>& rbm, Bits hidden, Bits visible, MatrixView<T> visible_real,
                  MatrixView<T> hidden_mean, const Tempering<T>& tempering, const Draw& draw, Index n_sweeps,
                  Stream& stream);
template <class T>
void phase_statistics(std::span<const Phase<T>> phases, Index n_extra, Index n_visible, Index n_hidden,
                      const T* scale, T* up, Index up_stride, T* visible, T* hidden, Stream& stream);
template <class T>
void transpose(MatrixView<const T> from, const T* scale, T* to, Index to_stride, Stream& stream);
template <class T>
bool pack_states(MatrixView<const T> real, Bits bits, Stream& stream);
template <class T>
void unpack_states(ConstBits bits, MatrixView<T> real, Stream& stream);

// energy (n,) = F(v) = -log sum_h exp(-E(v, h)) of n rows of states; on the host NumPy adds it up.
template <class T>
void free_energies(const PreparedRbm<T>& rbm, const StatesView<T>& visible, Index n_rows, double* energy,
                   Stream& stream);

// The first row with bits beyond its units, or -1.
[[nodiscard]] Index row_with_more_bits(ConstBits bits, Stream& stream);

}  // namespace cuda
}  // namespace thalweg

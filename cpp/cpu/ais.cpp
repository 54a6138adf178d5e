#include "kernels/ais.hpp"

#include <algorithm>
#include <bit>
#include <vector>

#include "core/buffer.hpp"
#include "core/parallel.hpp"
#include "cpu/rbm_layers.hpp"
#include "cpu/rbm_workspace.hpp"

namespace thalweg {
namespace {

using simd::Vec;

// The sum over a panel of softplus(t x) - softplus(s x), given p = sigmoid(t x). With d = (t - s) x it is
// -log(1 + p (e^-d - 1)), of which small d leave polynomials without cancellation.
template <class T>
T softplus_differences(const T* x, const T* p, T t, T s) {
  constexpr int lanes = simd::lanes<T>;
  constexpr T small = T(0.125);
  Vec<T> sum{};
  for (int v = 0; v < cpu::vectors_per_panel; ++v) {
    const Vec<T> logit = simd::load(x + v * lanes);
    const Vec<T> d = logit * (t - s);
    const bool is_small =
        simd::lane_bits<T>(cpu::absolute<T>(d) <= simd::broadcast(small)) == (1u << lanes) - 1;
    if (is_small) [[likely]] {
      static constexpr T exponential[] = {
          T(-1),        T(1.0 / 2),     T(-1.0 / 6),    T(1.0 / 24),      T(-1.0 / 120),
          T(1.0 / 720), T(-1.0 / 5040), T(1.0 / 40320), T(-1.0 / 362880), T(1.0 / 3628800)};
      static constexpr T logarithm[] = {T(1),        T(-1.0 / 2),  T(1.0 / 3),  T(-1.0 / 4),  T(1.0 / 5),
                                        T(-1.0 / 6), T(1.0 / 7),   T(-1.0 / 8), T(1.0 / 9),   T(-1.0 / 10),
                                        T(1.0 / 11), T(-1.0 / 12), T(1.0 / 13), T(-1.0 / 14), T(1.0 / 15)};
      const Vec<T> y = simd::load(p + v * lanes) * d * cpu::polynomial<T>(d, exponential);
      sum -= y * cpu::polynomial<T>(y, logarithm);
    } else {
      sum += cpu::softplus<T>(logit * t) - cpu::softplus<T>(logit * s);
    }
  }
  return simd::sum_lanes<T>(sum);
}

// What a visible state's own terms add to log f_t for each unit of t.
template <class T>
class VisibleTerms {
 public:
  VisibleTerms(const RbmView<T>& rbm, const Tempering<T>& base)
      : n_(rbm.n_visible),
        is_gaussian_(rbm.sigma != nullptr),
        bias_(cpu::padded_copy(rbm.visible_bias, n_, T(0))),
        base_(cpu::padded_copy(base.base_bias, n_, T(0))),
        sigma_(cpu::padded_copy(rbm.sigma, n_, T(1))),
        base_sigma_(cpu::padded_copy(base.base_sigma, n_, T(1))) {}

  // Of one panel of the row.
  [[nodiscard]] double of_panel(Bits bits, MatrixView<T> real, Index row, Index first) const {
    const Index n = std::min(cpu::panel_units<T>, n_ - first);
    double sum = 0;
    if (is_gaussian_) {
      const T* v = real.row(row) + first;
      for (Index u = 0; u < n; ++u) {
        const T from_base = (v[u] - base_[first + u]) / base_sigma_[first + u];
        const T from_own = (v[u] - bias_[first + u]) / sigma_[first + u];
        sum += 0.5 * static_cast<double>((from_base - from_own) * (from_base + from_own));
      }
      return sum;
    }
    std::uint32_t word = bits(first / cpu::word_units, row) >> (first % cpu::word_units);
    if (n < cpu::word_units) word &= (std::uint32_t{1} << n) - 1;
    for (; word != 0; word &= word - 1) {
      const Index j = first + std::countr_zero(word);
      sum += static_cast<double>(bias_[j]) - static_cast<double>(base_[j]);
    }
    return sum;
  }

  [[nodiscard]] Index panels() const { return padded_units<T>(n_) / cpu::panel_units<T>; }

 private:
  Index n_;
  bool is_gaussian_;
  Buffer<T> bias_;
  Buffer<T> base_;
  Buffer<T> sigma_;
  Buffer<T> base_sigma_;
};

template <class T>
class Annealer {
 public:
  Annealer(const RbmView<T>& rbm, const Tempering<T>& base, Bits visible, MatrixView<T> visible_real,
           typename RbmWorkspace<T>::Memory& memory, int n_jobs)
      : rbm_(rbm),
        base_(base),
        rows_(rbm.sigma == nullptr ? visible.rows : visible_real.rows),
        visible_(visible),
        visible_real_(visible_real),
        terms_(rbm, base),
        t_(rows_),
        hidden_words_(rows_ * block_count(rbm.n_hidden, cpu::word_units)),
        hidden_{hidden_words_.data(), rows_, rbm.n_hidden, rows_},
        of_hidden_(rows_ * cpu::up_layer(rbm).panels()),
        of_visible_(rows_ * terms_.panels()),
        memory_(memory),
        n_jobs_(n_jobs) {
    memory.reserve_workers(n_jobs);
    for (Index p = 0; p < terms_.panels(); ++p)
      for (Index r = 0; r < rows_; ++r)
        of_visible_[p * rows_ + r] = terms_.of_panel(visible_, visible_real_, r, p * cpu::panel_units<T>);
  }

  void run(std::span<const double> t, Draw draw, double* log_weights) {
    const std::uint32_t first_step = draw.step;
    for (std::size_t i = 1; i < t.size(); ++i) {
      draw.step = first_step + static_cast<std::uint32_t>(i);
      std::fill_n(t_.data(), rows_, static_cast<T>(t[i]));
      up(static_cast<T>(t[i]), static_cast<T>(t[i - 1]), draw);
      // The rounded temperatures are those that the densities were taken at.
      const double step =
          static_cast<double>(static_cast<T>(t[i])) - static_cast<double>(static_cast<T>(t[i - 1]));
      for (Index r = 0; r < rows_; ++r) {
        double own = 0;
        for (Index p = 0; p < terms_.panels(); ++p) own += of_visible_[p * rows_ + r];
        log_weights[r] += step * own;
        for (Index p = 0; p < cpu::up_layer(rbm_).panels(); ++p) log_weights[r] += of_hidden_[p * rows_ + r];
      }
      if (i + 1 < t.size()) down(draw);
    }
  }

 private:
  // Hidden units at temperature t, and what they add to the weights.
  void up(T t, T before, const Draw& draw) {
    Draw now = draw;
    ++now.stream;
    const auto units = cpu::hidden_units(rbm_, Tempering<T>{});
    const auto finish = [&](Index row, Index first, T* sums) {
      units.add_bias(row, first, sums);
      T mean[cpu::panel_units<T>];
      for (int v = 0; v < cpu::vectors_per_panel; ++v)
        simd::store(mean + v * simd::lanes<T>, cpu::sigmoid<T>(simd::load(sums + v * simd::lanes<T>) * t));
      of_hidden_[first / cpu::panel_units<T> * rows_ + row] =
          static_cast<double>(softplus_differences(sums, mean, t, before));
      cpu::put_bits<T>(hidden_, row, first,
                       cpu::draw_bits<T>(mean, cpu::sequence(now, row), first, rbm_.n_hidden - first));
    };
    if (rbm_.sigma == nullptr) {
      const ConstBits given{visible_.data, rows_, visible_.units, visible_.stride};
      cpu::propagate<T>(cpu::up_layer(rbm_), given, rows_, memory_.propagation, n_jobs_, finish);
    } else {
      memory_.prepared.prepare(visible_real_, false, n_jobs_);
      cpu::propagate<T>(cpu::up_layer(rbm_), memory_.prepared, rows_, memory_.propagation, n_jobs_, finish);
    }
  }

  void down(const Draw& draw) {
    const Tempering<T> tempering{t_.data(), base_.base_bias, base_.base_sigma};
    if (rbm_.sigma == nullptr) {
      down(cpu::bernoulli_visible_units(rbm_, tempering), draw);
    } else {
      down(cpu::gaussian_visible_units(rbm_, tempering), draw);
    }
  }

  template <class Units>
  void down(const Units& units, const Draw& draw) {
    Activation<T> out;
    out.bits = rbm_.sigma == nullptr ? visible_ : Bits{};
    out.real = rbm_.sigma == nullptr ? MatrixView<T>{} : visible_real_;
    const ConstBits given{hidden_.data, rows_, hidden_.units, hidden_.stride};
    cpu::propagate<T>(cpu::down_layer(rbm_), given, rows_, memory_.propagation, n_jobs_,
                      [&](Index row, Index first, T* sums) {
                        units.finish(row, first, sums, draw, out);
                        of_visible_[first / cpu::panel_units<T> * rows_ + row] =
                            terms_.of_panel(visible_, visible_real_, row, first);
                      });
  }

  RbmView<T> rbm_;
  Tempering<T> base_;
  Index rows_;
  Bits visible_;
  MatrixView<T> visible_real_;
  VisibleTerms<T> terms_;
  Buffer<T> t_;
  Buffer<std::uint32_t> hidden_words_;
  Bits hidden_;
  Buffer<double> of_hidden_;   // (hidden panels, runs)
  Buffer<double> of_visible_;  // (visible panels, runs)
  typename RbmWorkspace<T>::Memory& memory_;
  int n_jobs_;
};

}  // namespace

template <class T>
void anneal(const RbmView<T>& rbm, const Tempering<T>& base, std::span<const double> t, Bits visible,
            MatrixView<T> visible_real, const Draw& draw, double* log_weights, RbmWorkspace<T>& workspace,
            int n_jobs) {
  const std::lock_guard lock(workspace.memory().mutex);
  Annealer<T>(rbm, base, visible, visible_real, workspace.memory(), n_jobs).run(t, draw, log_weights);
}

template void anneal(const RbmView<float>&, const Tempering<float>&, std::span<const double>, Bits,
                     MatrixView<float>, const Draw&, double*, RbmWorkspace<float>&, int);
template void anneal(const RbmView<double>&, const Tempering<double>&, std::span<const double>, Bits,
                     MatrixView<double>, const Draw&, double*, RbmWorkspace<double>&, int);

}  // namespace thalweg

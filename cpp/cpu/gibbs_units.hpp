// What becomes of the sums that reach a unit: logits, probabilities or means, and draws.
#pragma once

#include <algorithm>
#include <cstring>

#include "cpu/elementwise_math.hpp"
#include "cpu/propagation.hpp"

namespace thalweg::cpu {

// `count` numbers, padded with `fill` to whole panels; null gives `fill` throughout.
template <class T>
Buffer<T> padded_copy(const T* values, Index count, T fill) {
  Buffer<T> out(padded_units<T>(count), fill);
  if (values != nullptr) std::copy(values, values + count, out.data());
  return out;
}

template <class T>
[[gnu::always_inline]] inline simd::Vec<T> sigmoid(simd::Vec<T> u) {
  return FullRange<T>::sigmoid(u, exp_of_negative<T>(negative_absolute<T>(u)));
}

template <class T>
[[gnu::always_inline]] inline simd::Vec<T> softplus(simd::Vec<T> u) {
  return FullRange<T>::softplus(u, exp_of_negative<T>(negative_absolute<T>(u)));
}

// The panel's numbers to `out`, where a row of it ends within the panel at `units`.
template <class T>
void put_panel(MatrixView<T> out, Index row, Index first, const T* panel) {
  if (out.data == nullptr) return;
  T* to = out.row(row) + first;
  if (first + panel_units<T> <= out.cols) {
    std::memcpy(to, panel, panel_bytes);
  } else {
    std::copy(panel, panel + (out.cols - first), to);
  }
}

[[nodiscard]] inline rng::Sequence sequence(const Draw& draw, Index row) {
  return {draw.seed, draw.stream, draw.first_row + static_cast<std::uint64_t>(row), draw.step};
}

// The bits of the panel's units that are drawn to be 1 with probability `mean`, below `count`.
template <class T>
[[gnu::always_inline]] inline std::uint32_t draw_bits(const T* mean, const rng::Sequence& s, Index first,
                                                      Index count) {
  constexpr int lanes = simd::lanes<T>;
  const PanelWords words = panel_words(s, static_cast<std::uint32_t>(first / panel_units<T>));
  std::uint32_t bits = 0;
  for (int v = 0; v < vectors_per_panel; ++v) {
    const auto below = panel_uniform<T>(words, v) < simd::load(mean + v * lanes);
    bits |= static_cast<std::uint32_t>(simd::lane_bits<T>(below)) << (v * lanes);
  }
  return count >= word_units ? bits : bits & ((std::uint32_t{1} << count) - 1);
}

// Puts the bits of the panel that begins at unit `first`; panels of half a word share one.
template <class T>
[[gnu::always_inline]] inline void put_bits(Bits out, Index row, Index first, std::uint32_t bits) {
  std::uint32_t& word = out(first / word_units, row);
  const Index shift = first % word_units;
  word = shift == 0 ? bits : word | (bits << shift);
}

// --- Bernoulli units

template <class T>
class BernoulliUnits {
 public:
  BernoulliUnits(Index units, const T* bias, const Tempering<T>& tempering, bool has_base)
      : units_(units),
        bias_(padded_copy(bias, units, T(0))),
        base_(padded_copy(has_base ? tempering.base_bias : nullptr, units, T(0))),
        t_(tempering.t) {}

  // Sums to logits, in place.
  [[gnu::always_inline]] void add_bias(Index row, Index first, T* sums) const {
    constexpr int lanes = simd::lanes<T>;
    for (int v = 0; v < vectors_per_panel; ++v) {
      const Index j = first + v * lanes;
      simd::Vec<T> logit = simd::load(sums + v * lanes) + simd::load(bias_.data() + j);
      if (t_ != nullptr) logit = logit * t_[row] + simd::load(base_.data() + j) * (1 - t_[row]);
      simd::store(sums + v * lanes, logit);
    }
  }

  void finish(Index row, Index first, T* sums, const Draw& draw, const Activation<T>& out) const {
    constexpr int lanes = simd::lanes<T>;
    add_bias(row, first, sums);
    put_panel(out.logits, row, first, sums);
    if (out.mean.data == nullptr && out.bits.data == nullptr) return;
    for (int v = 0; v < vectors_per_panel; ++v)
      simd::store(sums + v * lanes, sigmoid<T>(simd::load(sums + v * lanes)));
    put_panel(out.mean, row, first, sums);
    if (out.bits.data != nullptr)
      put_bits<T>(out.bits, row, first, draw_bits<T>(sums, sequence(draw, row), first, units_ - first));
  }

 private:
  Index units_;
  Buffer<T> bias_;
  Buffer<T> base_;
  const T* t_;
};

// --- Gaussian units

template <class T>
class GaussianUnits {
 public:
  GaussianUnits(Index units, const T* bias, const T* sigma, const Tempering<T>& tempering)
      : bias_(padded_copy(bias, units, T(0))),
        sigma_(padded_copy(sigma, units, T(1))),
        base_(padded_copy(tempering.base_bias, units, T(0))),
        base_sigma_(padded_copy(tempering.base_sigma, units, T(1))),
        t_(tempering.t) {}

  void finish(Index row, Index first, T* sums, const Draw& draw, const Activation<T>& out) const {
    alignas(simd::bytes) T deviation[panel_units<T>];
    for (Index u = 0; u < panel_units<T>; ++u) {
      const Index j = first + u;
      sums[u] += bias_[j];
      deviation[u] = sigma_[j];
      if (t_ != nullptr) temper(t_[row], j, sums[u], deviation[u]);
    }
    put_panel(out.mean, row, first, sums);
    if (out.real.data == nullptr) return;
    alignas(simd::bytes) T normal[panel_units<T>];
    panel_normals(panel_words(sequence(draw, row), static_cast<std::uint32_t>(first / panel_units<T>)),
                  normal);
    for (Index u = 0; u < panel_units<T>; ++u) sums[u] += deviation[u] * normal[u];
    put_panel(out.real, row, first, sums);
  }

 private:
  void temper(T t, Index j, T& mean, T& deviation) const {
    const T own = t / (sigma_[j] * sigma_[j]);
    const T base = (1 - t) / (base_sigma_[j] * base_sigma_[j]);
    mean = (mean * own + base_[j] * base) / (own + base);
    deviation = 1 / std::sqrt(own + base);
  }

  Buffer<T> bias_;
  Buffer<T> sigma_;
  Buffer<T> base_;
  Buffer<T> base_sigma_;
  const T* t_;
};

}  // namespace thalweg::cpu

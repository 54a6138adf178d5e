// Filters with padded rows, and the two products with a single atom: its correlation with a patch, and a
// multiple of it added to a patch.
#pragma once

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "core/buffer.hpp"
#include "core/simd.hpp"
#include "core/view.hpp"
#include "kernels/conv.hpp"

namespace thalweg::cpu {

// A vector of any power of two of lanes.
template <class T, int Lanes>
struct Pack {
  typedef T type __attribute__((vector_size(Lanes * sizeof(T))));
};

template <class T, int Lanes>
[[gnu::always_inline]] inline T sum_pack(typename Pack<T, Lanes>::type v) {
  if constexpr (Lanes == 1) {
    return v[0];
  } else {
    typename Pack<T, Lanes / 2>::type half[2];
    std::memcpy(half, &v, sizeof v);
    return sum_pack<T, Lanes / 2>(half[0] + half[1]);
  }
}

// Calls call(std::integral_constant<int, Lanes>) with the lanes that suit filters of this width.
template <class T, class Call>
auto with_lanes(Index filter_width, Call&& call) {
  constexpr int full = simd::lanes<T>;
  constexpr int half = simd::bytes > 16 ? full / 2 : full;
  if constexpr (half < full)
    if (filter_width <= half) return call(std::integral_constant<int, half>{});
  return call(std::integral_constant<int, full>{});
}

// The width of a filter's rows in its bank.
template <class T>
Index pad_filter_cols(Index width) {
  return with_lanes<T>(width, [&]<int Lanes>(std::integral_constant<int, Lanes>) {
    return (width + Lanes - 1) / Lanes * Lanes;
  });
}

// Rows are padded with zeros to whole packs of `Lanes`.
template <class T, int Lanes>
class FilterBank {
 public:
  using Vec = typename Pack<T, Lanes>::type;

  FilterBank(const ConvShape& shape, const T* filters)
      : channels_(shape.channels),
        height_(shape.filter_height),
        packs_((shape.filter_width + Lanes - 1) / Lanes),
        data_(shape.filters * size(), T(0)) {
    const Index rows = shape.filters * channels_ * height_;
    for (Index r = 0; r < rows; ++r)
      std::copy_n(filters + r * shape.filter_width, shape.filter_width, data_.data() + r * padded_cols());
  }

  [[nodiscard]] Index padded_cols() const { return packs_ * Lanes; }
  [[nodiscard]] Index size() const { return channels_ * height_ * padded_cols(); }
  [[nodiscard]] const T* filter(Index k) const { return data_.data() + k * size(); }

  // <filter k, patch>
  [[nodiscard]] T dot(Index k, const T* patch, Index stride, Index plane) const {
    const T* f = filter(k);
    Vec even{};
    Vec odd{};
    for (Index c = 0; c < channels_; ++c, patch += plane) {
      const T* p = patch;
      Index i = 0;
      if (packs_ == 1) {
        for (; i + 2 <= height_; i += 2, f += 2 * Lanes, p += 2 * stride) {
          even += load(f) * load(p);
          odd += load(f + Lanes) * load(p + stride);
        }
      }
      for (; i < height_; ++i, p += stride)
        for (Index v = 0; v < packs_; ++v, f += Lanes) even += load(f) * load(p + v * Lanes);
    }
    return sum_pack<T, Lanes>(even + odd);
  }

  // <filter k squared, patch>
  [[nodiscard]] T dot_squares(Index k, const T* patch, Index stride, Index plane) const {
    Vec sum{};
    for_rows(k, patch, stride, plane, [&](Vec f, const T* p) { sum += f * f * load(p); });
    return sum_pack<T, Lanes>(sum);
  }

  // patch += value * filter k
  void add(Index k, T value, T* patch, Index stride, Index plane) const {
    const Vec a = Vec{} + value;
    for_rows(k, patch, stride, plane, [&](Vec f, T* p) { store(p, load(p) + a * f); });
  }

  // sums (laid out as a filter) += value * patch
  void accumulate(T value, const T* patch, Index stride, Index plane, T* sums) const {
    const Vec a = Vec{} + value;
    for (Index c = 0; c < channels_; ++c, patch += plane) {
      const T* p = patch;
      for (Index i = 0; i < height_; ++i, p += stride)
        for (Index v = 0; v < packs_; ++v, sums += Lanes) store(sums, load(sums) + a * load(p + v * Lanes));
    }
  }

  // patch += value * filter k * weights
  void add_weighted(Index k, T value, T* patch, const T* weights, Index stride, Index plane) const {
    const Vec a = Vec{} + value;
    for_rows(k, patch, stride, plane,
             [&](Vec f, T* p) { store(p, load(p) + a * f * load(weights + (p - patch))); });
  }

 private:
  template <class P, class Visit>
  [[gnu::always_inline]] void for_rows(Index k, P* patch, Index stride, Index plane, Visit&& visit) const {
    const T* f = filter(k);
    for (Index c = 0; c < channels_; ++c) {
      P* p = patch + c * plane;
      for (Index i = 0; i < height_; ++i, p += stride)
        for (Index v = 0; v < packs_; ++v, f += Lanes) visit(load(f), p + v * Lanes);
    }
  }

  [[gnu::always_inline]] static Vec load(const T* p) {
    Vec v;
    std::memcpy(&v, p, sizeof v);
    return v;
  }
  [[gnu::always_inline]] static void store(T* p, Vec v) { std::memcpy(p, &v, sizeof v); }

  Index channels_, height_, packs_;
  Buffer<T> data_;
};

}  // namespace thalweg::cpu

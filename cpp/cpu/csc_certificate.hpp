// Objective and duality gap of code maps.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "core/duality.hpp"
#include "cpu/correlation.hpp"
#include "cpu/csc_atoms.hpp"
#include "cpu/csc_weights.hpp"

namespace thalweg::cpu {

// |v|, or v where codes are positive.
template <class T>
[[gnu::always_inline]] inline simd::Vec<T> excess(simd::Vec<T> v, bool positive) {
  return positive ? v : (v < T(0) ? -v : v);
}

// Lanes from `count` on become zero.
template <class T>
[[gnu::always_inline]] inline simd::Vec<T> first_lanes(simd::Vec<T> v, Index count) {
  if (count < simd::lanes<T>) [[unlikely]]
    for (Index l = std::max<Index>(count, 0); l < simd::lanes<T>; ++l) v[l] = T(0);
  return v;
}

template <class T>
double half_square_of_data(const CscProblem<T>& p, const PixelWeights<T>& weights, int n_jobs) {
  const auto& s = p.shape;
  return 0.5 * weights.over_image(n_jobs, [&](Index c, Index i, const T* w) {
    const T* y = p.image + (c * s.height + i) * s.width;
    double sum = 0;
    for (Index x = 0; x < s.width; ++x)
      if (w == nullptr || w[x] > T(0)) sum += (w == nullptr ? 1.0 : double(w[x])) * y[x] * y[x];
    return sum;
  });
}

// Fills half_square and product from the weighted residual on a canvas of whatever precision.
template <class T, class U>
void measure_residual(const CscProblem<T>& p, const PixelWeights<T>& weights, const Canvas<U>& residual,
                      int n_jobs, DualityParts& parts) {
  const auto& s = p.shape;
  const auto over = [&](auto&& of_pixel) {
    return weights.over_image(n_jobs, [&](Index c, Index i, const T* w) {
      const T* y = p.image + (c * s.height + i) * s.width;
      const U* r = residual.image_row(c, i);
      double sum = 0;
      for (Index x = 0; x < s.width; ++x)
        if (w == nullptr || w[x] > T(0))
          sum += of_pixel(double(r[x]), double(y[x]), w == nullptr ? 1.0 : double(w[x]));
      return sum;
    });
  };
  parts.half_square = 0.5 * over([](double wr, double, double w) { return wr * wr / w; });
  parts.product = over([](double wr, double y, double) { return wr * y; });
}

// w * (y - what the maps give), in the precision R, extended.
template <class R, class T>
class WeightedResidual {
 public:
  WeightedResidual(const CscProblem<T>& problem, SparseMapsView<T> maps, int n_jobs)
      : filters(problem.filters, problem.filters + problem.shape.filters * problem.shape.taps()),
        layout(problem.shape, pad_filter_cols<R>(problem.shape.filter_width)),
        tiling(layout),
        atoms(atoms_by_tile<R>(problem.shape, tiling, maps)),
        canvas(layout) {
    with_lanes<R>(problem.shape.filter_width, [&]<int Lanes>(std::integral_constant<int, Lanes>) {
      const FilterBank<R, Lanes> bank(problem.shape, filters.data());
      add_atoms(bank, tiling, atoms, canvas, n_jobs, [&](Index t, Index i) {
        return -atoms[static_cast<std::size_t>(t)][static_cast<std::size_t>(i)].value;
      });
    });
    parallel_for(layout.rows, n_jobs, [&](Index row, int) {
      for (Index c = 0; c < problem.shape.channels; ++c) add_image(problem, c, row);
    });
    canvas.extend();
  }

  std::vector<R> filters;
  CanvasLayout<R> layout;
  Tiling tiling;
  TileAtoms<R> atoms;
  Canvas<R> canvas;

 private:
  void add_image(const CscProblem<T>& problem, Index c, Index row) const {
    const auto& s = problem.shape;
    const Index i = row - layout.top;
    R* r = canvas.row(c, row);
    if (i < 0 || i >= s.height) {
      std::fill_n(r, layout.cols, R(0));
      return;
    }
    std::fill_n(r, layout.left, R(0));
    std::fill(r + layout.left + s.width, r + layout.cols, R(0));
    const T* y = problem.image + (c * s.height + i) * s.width;
    const T* w = problem.weights == nullptr ? nullptr : problem.weights + (c * s.height + i) * s.width;
    for (Index x = 0; x < s.width; ++x) {
      R& pixel = r[layout.left + x];
      if (w == nullptr)
        pixel += R(y[x]);
      else
        pixel = w[x] > T(0) ? R(w[x]) * (R(y[x]) + pixel) : R(0);
    }
  }
};

// The largest |<w r, f at p>| / alpha, in float64: all correlations in T, then those that rounding may have
// kept from being the largest again in float64.
template <class T>
double largest_ratio(const CscProblem<T>& p, const PackedFilters<T>& filters, const Tiling& tiling,
                     const Canvas<T>& residual, const Canvas<double>& exact, int n_jobs) {
  struct Suspect {
    T ratio;
    std::int32_t filter, y, x;
  };
  const auto& s = p.shape;
  const auto& layout = residual.layout();
  const auto n_tiles = static_cast<std::size_t>(tiling.count());
  std::vector<std::vector<Suspect>> suspects(n_tiles);
  std::vector<T> inverse(static_cast<std::size_t>(s.filters));
  double steepest = 0;  // the largest norm of a filter / alpha
  for (Index k = 0; k < s.filters; ++k) {
    double square = 0;
    for (Index t = 0; t < s.taps(); ++t)
      square += double(p.filters[k * s.taps() + t]) * p.filters[k * s.taps() + t];
    inverse[static_cast<std::size_t>(k)] = T(1) / p.alpha[k];
    steepest = std::max(steepest, std::sqrt(square) / p.alpha[k]);
  }
  double highest = 0;
  for (Index i = 0; i < s.channels * layout.plane; ++i)
    highest = std::max(highest, std::abs(double(residual.data()[i])));
  const auto n = static_cast<double>(s.taps());
  const double error = 2 * (n + 4) * std::numeric_limits<T>::epsilon() * steepest * highest * std::sqrt(n);
  tiling.for_each(n_jobs, [&](Index t, int) {
    const Tile& tile = tiling[t];
    auto& found = suspects[static_cast<std::size_t>(t)];
    T best = 0;
    T bar = 0;
    correlate_block<T>(
        filters, residual.data() + layout.at(tile.y, tile.x), layout.stride, layout.plane, tile.rows,
        tile.cols, [&](Index k, Index y, Index x, simd::Vec<T> c) {
          const auto ratio =
              first_lanes<T>(excess<T>(c, p.positive) * simd::broadcast(inverse[static_cast<std::size_t>(k)]),
                             tile.cols - x);
          for (unsigned left = simd::lane_bits<T>(ratio > simd::broadcast(bar)); left != 0;
               left &= left - 1) {
            const Index l = std::countr_zero(left);
            found.push_back({ratio[l], static_cast<std::int32_t>(k), static_cast<std::int32_t>(tile.y + y),
                             static_cast<std::int32_t>(tile.x + x + l)});
            best = std::max(best, ratio[l]);
          }
          bar = std::max(T(0), best - static_cast<T>(error));
        });
  });
  T best = 0;
  for (const auto& found : suspects)
    for (const auto& each : found) best = std::max(best, each.ratio);
  double largest = 0;
  for (const auto& found : suspects)
    for (const auto& each : found) {
      if (each.ratio < best - error) continue;
      double c = 0;
      const T* f = p.filters + each.filter * s.taps();
      for (Index ch = 0; ch < s.channels; ++ch)
        for (Index i = 0; i < s.filter_height; ++i) {
          const double* r = exact.row(ch, each.y + i) + each.x;
          for (Index j = 0; j < s.filter_width; ++j) c += double(*f++) * r[j];
        }
      largest = std::max(largest, (p.positive ? c : std::abs(c)) / p.alpha[each.filter]);
    }
  return largest;
}

}  // namespace thalweg::cpu

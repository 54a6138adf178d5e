// Dense code maps by FISTA: the gradient, the threshold and the momentum in one pass over the maps.
#include <algorithm>
#include <cmath>
#include <vector>

#include "cpu/correlation.hpp"
#include "cpu/csc_canvas.hpp"
#include "cpu/csc_certificate.hpp"
#include "cpu/csc_weights.hpp"
#include "kernels/csc.hpp"

namespace thalweg {
namespace {

using namespace cpu;

constexpr Index check_every = 10;

template <class T>
SparseMaps<T> non_zeros(const T* codes, Index size) {
  SparseMaps<T> maps;
  for (Index i = 0; i < size; ++i) {
    if (i % poll_every == 0) poll_interrupt();
    if (codes[i] == T(0)) continue;
    maps.index.push_back(i);
    maps.value.push_back(codes[i]);
  }
  return maps;
}

template <class T>
class Fista {
 public:
  Fista(const CscProblem<T>& problem, double lipschitz, T* codes, const CscOptions& options)
      : problem_(problem),
        options_(options),
        size_(problem.shape.filters * problem.shape.code_height() * problem.shape.code_width()),
        packed_(problem.filters, problem.shape.filters, problem.shape.channels, problem.shape.filter_height,
                problem.shape.filter_width),
        layout_(problem.shape, pad_filter_cols<T>(problem.shape.filter_width)),
        tiling_(layout_),
        weights_(layout_, tiling_, problem.weights, options.n_jobs),
        residual_(layout_),
        synthesis_(problem.shape.channels * problem.shape.height * problem.shape.width),
        codes_(codes),
        point_(size_),
        step_(static_cast<T>(1 / lipschitz)),
        turns_(static_cast<std::size_t>(layout_.code_rows)) {
    for (Index k = 0; k < problem.shape.filters; ++k) thresholds_.push_back(step_ * problem.alpha[k]);
    begin_at_codes();
  }

  void solve(CscReport& report) {
    double momentum = 1;
    for (Index it = 0;; ++it) {
      if (it % check_every == 0 || it == options_.max_iter) {
        csc_certify<T>(problem_, non_zeros(codes_, size_), options_.n_jobs, report);
        report.n_iter = it;
        if (report.gap <= options_.tol || it == options_.max_iter) return;
      }
      take_residual();
      const double next = 0.5 * (1 + std::sqrt(1 + 4 * momentum * momentum));
      const bool turned = advance(static_cast<T>((momentum - 1) / next));
      momentum = next;
      if (turned) {
        begin_at_codes();
        momentum = 1;
      }
    }
  }

 private:
  void begin_at_codes() {
    parallel_for(block_count(size_, poll_every), options_.n_jobs, [&](Index block, int) {
      const Index first = block * poll_every;
      std::copy_n(codes_ + first, std::min(poll_every, size_ - first), point_.data() + first);
    });
  }

  // residual_ = w (y - f * point), extended.
  void take_residual() {
    const auto& s = problem_.shape;
    convolve(s, point_.data(), problem_.filters, synthesis_.data(), options_.n_jobs);
    parallel_for(s.channels * s.height, options_.n_jobs, [&](Index row, int) {
      const Index first = row * s.width;
      T* r = residual_.image_row(row / s.height, row % s.height);
      for (Index x = 0; x < s.width; ++x) r[x] = problem_.image[first + x] - synthesis_[first + x];
      if (problem_.weights == nullptr) return;
      for (Index x = 0; x < s.width; ++x)  // an unobserved pixel may hold anything
        r[x] = problem_.weights[first + x] > T(0) ? problem_.weights[first + x] * r[x] : T(0);
    });
    residual_.extend();
  }

  // One step; whether the step and the momentum point against each other.
  bool advance(T inertia) {
    parallel_for(layout_.code_rows, options_.n_jobs, [&](Index y, int) {
      double turn = 0;
      correlate_block<T>(packed_, residual_.data() + layout_.at(y, 0), layout_.stride, layout_.plane, 1,
                         layout_.code_cols, [&](Index k, Index, Index x, simd::Vec<T> c) {
                           turn += update(k, (k * layout_.code_rows + y) * layout_.code_cols + x,
                                          std::min<Index>(simd::lanes<T>, layout_.code_cols - x), c, inertia);
                         });
      turns_[static_cast<std::size_t>(y)] = turn;
    });
    double total = 0;
    for (const double turn : turns_) total += turn;
    return total > 0;
  }

  // Of `count` neighbouring codes: the new codes and the next point; their part of <point - new, new - old>.
  double update(Index k, Index first, Index count, simd::Vec<T> c, T inertia) {
    using Vec = simd::Vec<T>;
    T* codes = codes_ + first;
    T* point = point_.data() + first;
    if (count < simd::lanes<T>) return update_last(k, first, count, c, inertia);
    const Vec old = simd::load(codes);
    const Vec from = simd::load(point);
    const Vec moved = from + step_ * c;
    const Vec rest = excess<T>(moved, problem_.positive) - thresholds_[static_cast<std::size_t>(k)];
    const Vec fresh = rest > T(0) ? (moved < T(0) ? -rest : rest) : Vec{};
    simd::store(codes, fresh);
    simd::store(point, fresh + inertia * (fresh - old));
    return simd::sum_lanes<T>((from - fresh) * (fresh - old));
  }

  // The same at the end of a row, one by one.
  double update_last(Index k, Index first, Index count, simd::Vec<T> c, T inertia) {
    T turn = 0;
    for (Index l = 0; l < count; ++l) {
      T& code = codes_[first + l];
      T& point = point_[first + l];
      const T moved = point + step_ * c[l];
      const T rest = (problem_.positive ? moved : std::abs(moved)) - thresholds_[static_cast<std::size_t>(k)];
      const T fresh = rest > T(0) ? std::copysign(rest, moved) : T(0);
      turn += (point - fresh) * (fresh - code);
      point = fresh + inertia * (fresh - code);
      code = fresh;
    }
    return turn;
  }

  const CscProblem<T>& problem_;
  const CscOptions& options_;
  Index size_;
  PackedFilters<T> packed_;
  CanvasLayout<T> layout_;
  Tiling tiling_;
  PixelWeights<T> weights_;
  Canvas<T> residual_;
  Buffer<T> synthesis_;
  T* codes_;
  Buffer<T> point_;
  T step_;
  std::vector<double> turns_;
  std::vector<T> thresholds_;
};

}  // namespace

template <class T>
void csc_fista(const CscProblem<T>& problem, double lipschitz, T* codes, const CscOptions& options,
               CscReport& report) {
  Fista<T>(problem, lipschitz, codes, options).solve(report);
}

template void csc_fista(const CscProblem<float>&, double, float*, const CscOptions&, CscReport&);
template void csc_fista(const CscProblem<double>&, double, double*, const CscOptions&, CscReport&);

}  // namespace thalweg

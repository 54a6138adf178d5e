#include "kernels/csc.hpp"

#include <algorithm>
#include <memory>
#include <vector>

#include "cpu/csc_atoms.hpp"
#include "cpu/csc_certificate.hpp"
#include "cpu/csc_descent.hpp"
#include "cpu/csc_screen.hpp"
#include "cpu/csc_support.hpp"

namespace thalweg {
namespace {

using namespace cpu;

constexpr int descent_sweeps = 5;
constexpr int support_iterations = 5;

template <class T>
std::vector<T> squared_norms(const ConvShape& shape, const T* filters) {
  std::vector<T> norms(static_cast<std::size_t>(shape.filters));
  for (Index k = 0; k < shape.filters; ++k) {
    double sum = 0;
    for (Index t = 0; t < shape.taps(); ++t)
      sum += double(filters[k * shape.taps() + t]) * filters[k * shape.taps() + t];
    norms[static_cast<std::size_t>(k)] = static_cast<T>(sum);
  }
  return norms;
}

template <class T, int Lanes>
class Encoder {
 public:
  Encoder(const CscProblem<T>& problem, SparseMapsView<T> start, const CscOptions& options)
      : problem_(problem),
        options_(options),
        bank_(problem.shape, problem.filters),
        packed_(problem.filters, problem.shape.filters, problem.shape.channels, problem.shape.filter_height,
                problem.shape.filter_width),
        layout_(problem.shape, bank_.padded_cols()),
        tiling_(layout_),
        weights_(layout_, tiling_, problem.weights, options.n_jobs),
        norms_(squared_norms(problem.shape, problem.filters)),
        residual_(layout_),
        atoms_(atoms_by_tile<T>(problem.shape, tiling_, start)),
        candidates_(static_cast<std::size_t>(tiling_.count())),
        dense_jobs_(
            jobs_for(problem.shape.filters * problem.shape.taps() * layout_.code_rows * layout_.code_cols,
                     options.n_jobs)),
        support_(layout_, tiling_, bank_, weights_, problem.alpha, dense_jobs_) {
    for (Index k = 0; k < problem.shape.filters; ++k) inverse_alpha_.push_back(T(1) / problem.alpha[k]);
    for (int w = 0; w < thread_count(options.n_jobs); ++w) {
      screens_.emplace_back(tiling_);
      descents_.emplace_back(layout_, tiling_);
    }
    parts_.half_data = half_square_of_data(problem, weights_, options.n_jobs);
  }

  SparseMaps<T> solve(CscReport& report) {
    SparseMaps<T> maps = maps_from(problem_.shape, atoms_);
    take_residual(WeightedResidual<double, T>(problem_, maps, dense_jobs_));
    Index it = 0;
    for (;; ++it) {
      screen();
      if (parts_.gap() <= options_.tol || it == options_.max_iter) {
        maps = maps_from(problem_.shape, atoms_);
        certify(maps);
        if (parts_.gap() <= options_.tol || it == options_.max_iter) break;
      }
      descend();
      residual_.extend();
      support_(atoms_, residual_, support_iterations);
    }
    report = {parts_.objective(), parts_.gap(), it};
    return maps;
  }

 private:
  // The gap as the residual in T has it, and candidates.
  void screen() {
    residual_.extend();
    std::vector<T> ratios(static_cast<std::size_t>(tiling_.count()));
    tiling_.for_each(dense_jobs_, [&](Index t, int worker) {
      ratios[static_cast<std::size_t>(t)] = screens_[static_cast<std::size_t>(worker)](
          packed_, inverse_alpha_.data(), problem_.positive, residual_, tiling_[t],
          candidates_[static_cast<std::size_t>(t)]);
    });
    parts_.largest_ratio = *std::max_element(ratios.begin(), ratios.end());
    measure_residual(problem_, weights_, residual_, dense_jobs_, parts_);
    parts_.penalty = penalty();
  }

  void descend() {
    const T accuracy = static_cast<T>(std::min(1e-3, 0.1 * options_.tol));
    tiling_.for_each_apart(dense_jobs_, [&](Index t, int worker) {
      descents_[static_cast<std::size_t>(worker)](bank_, weights_, norms_.data(), problem_.alpha,
                                                  problem_.positive, descent_sweeps, accuracy, residual_,
                                                  tiling_[t], t, candidates_[static_cast<std::size_t>(t)],
                                                  atoms_[static_cast<std::size_t>(t)]);
    });
  }

  [[nodiscard]] double penalty() const {
    double sum = 0;
    for (const auto& of_tile : atoms_)
      for (const auto& a : of_tile) sum += double(problem_.alpha[a.filter]) * std::abs(a.value);
    return sum;
  }

  // The gap in float64; the residual becomes exact again.
  void certify(const SparseMaps<T>& maps) {
    const WeightedResidual<double, T> exact(problem_, maps, dense_jobs_);
    take_residual(exact);
    measure_residual(problem_, weights_, exact.canvas, dense_jobs_, parts_);
    parts_.penalty = penalty();
    parts_.largest_ratio = largest_ratio(problem_, packed_, tiling_, residual_, exact.canvas, dense_jobs_);
  }

  void take_residual(const WeightedResidual<double, T>& exact) {
    parallel_for(layout_.rows, dense_jobs_, [&](Index y, int) {
      for (Index c = 0; c < problem_.shape.channels; ++c)
        std::copy_n(exact.canvas.row(c, y), layout_.cols, residual_.row(c, y));
    });
  }

  const CscProblem<T>& problem_;
  const CscOptions& options_;
  FilterBank<T, Lanes> bank_;
  PackedFilters<T> packed_;
  CanvasLayout<T> layout_;
  Tiling tiling_;
  PixelWeights<T> weights_;
  std::vector<T> norms_;
  std::vector<T> inverse_alpha_;
  Canvas<T> residual_;
  TileAtoms<T> atoms_;
  std::vector<std::vector<Candidate>> candidates_;
  int dense_jobs_;
  SupportStep<T, Lanes> support_;
  std::vector<Screen<T>> screens_;
  std::vector<TileDescent<T, Lanes>> descents_;
  DualityParts parts_;
};

// Tiles whose gradients are summed in one chain: the number of chains does not depend on the threads.
constexpr Index gradient_chains = 16;

template <class T, int Lanes>
double filter_gradient_of(const CscProblem<T>& problem, SparseMapsView<T> maps, double* gradient,
                          int n_jobs) {
  const auto& s = problem.shape;
  const WeightedResidual<T, T> residual(problem, maps, n_jobs);
  const FilterBank<T, Lanes> bank(s, problem.filters);
  const Tiling& tiling = residual.tiling;
  const Index length = s.filters * bank.size();
  std::vector<std::vector<double>> chains(gradient_chains);
  const Index tiles_of_chain = block_count(tiling.count(), gradient_chains);
  parallel_for(gradient_chains, n_jobs, [&](Index chain, int) {
    auto& sums = chains[static_cast<std::size_t>(chain)];
    sums.assign(static_cast<std::size_t>(length), 0.0);
    std::vector<T> of_tile(static_cast<std::size_t>(length));
    const Index end = std::min(tiling.count(), (chain + 1) * tiles_of_chain);
    for (Index t = chain * tiles_of_chain; t < end; ++t) {
      std::fill(of_tile.begin(), of_tile.end(), T(0));
      for (const auto& a : residual.atoms[static_cast<std::size_t>(t)])
        bank.accumulate(-a.value, residual.canvas.data() + residual.layout.at(a.y, a.x),
                        residual.layout.stride, residual.layout.plane,
                        of_tile.data() + a.filter * bank.size());
      for (std::size_t i = 0; i < sums.size(); ++i) sums[i] += of_tile[i];
    }
  });
  const Index rows = s.filters * s.channels * s.filter_height;
  for (Index r = 0; r < rows; ++r)
    for (Index x = 0; x < s.filter_width; ++x) {
      double sum = 0;
      for (const auto& chain : chains) sum += chain[static_cast<std::size_t>(r * bank.padded_cols() + x)];
      gradient[r * s.filter_width + x] = sum;
    }
  DualityParts parts;
  const PixelWeights<T> weights(residual.layout, tiling, problem.weights, n_jobs);
  measure_residual(problem, weights, residual.canvas, n_jobs, parts);
  return parts.half_square;
}

}  // namespace

template <class T>
SparseMaps<T> csc_encode(const CscProblem<T>& problem, SparseMapsView<T> start, const CscOptions& options,
                         CscReport& report) {
  return with_lanes<T>(problem.shape.filter_width, [&]<int Lanes>(std::integral_constant<int, Lanes>) {
    return Encoder<T, Lanes>(problem, start, options).solve(report);
  });
}

template <class T>
void csc_certify(const CscProblem<T>& problem, SparseMapsView<T> maps, int n_jobs, CscReport& report) {
  const WeightedResidual<double, T> exact(problem, maps, n_jobs);
  const WeightedResidual<T, T> rounded(problem, maps, n_jobs);
  const auto& s = problem.shape;
  const PixelWeights<T> weights(rounded.layout, rounded.tiling, problem.weights, n_jobs);
  const PackedFilters<T> packed(problem.filters, s.filters, s.channels, s.filter_height, s.filter_width);
  DualityParts parts;
  parts.half_data = half_square_of_data(problem, weights, n_jobs);
  measure_residual(problem, weights, exact.canvas, n_jobs, parts);
  for_each_element(s, maps, [&](std::int32_t k, std::int32_t, std::int32_t, T value) {
    parts.penalty += double(problem.alpha[k]) * std::abs(value);
  });
  parts.largest_ratio = largest_ratio(problem, packed, rounded.tiling, rounded.canvas, exact.canvas, n_jobs);
  report.objective = parts.objective();
  report.gap = parts.gap();
}

template <class T>
void csc_synthesize(const ConvShape& shape, const T* filters, SparseMapsView<T> maps, T* image, int n_jobs) {
  const CanvasLayout<T> layout(shape, pad_filter_cols<T>(shape.filter_width));
  const Tiling tiling(layout);
  const auto atoms = atoms_by_tile<T>(shape, tiling, maps);
  const Canvas<T> canvas(layout);
  with_lanes<T>(shape.filter_width, [&]<int Lanes>(std::integral_constant<int, Lanes>) {
    const FilterBank<T, Lanes> bank(shape, filters);
    add_atoms(bank, tiling, atoms, canvas, n_jobs, [&](Index t, Index i) {
      return atoms[static_cast<std::size_t>(t)][static_cast<std::size_t>(i)].value;
    });
  });
  for (Index c = 0; c < shape.channels; ++c)
    for (Index y = 0; y < shape.height; ++y)
      std::copy_n(canvas.image_row(c, y), shape.width, image + (c * shape.height + y) * shape.width);
}

template <class T>
double csc_filter_gradient(const CscProblem<T>& problem, SparseMapsView<T> maps, double* gradient,
                           int n_jobs) {
  return with_lanes<T>(problem.shape.filter_width, [&]<int Lanes>(std::integral_constant<int, Lanes>) {
    return filter_gradient_of<T, Lanes>(problem, maps, gradient, n_jobs);
  });
}

#define THALWEG_CSC(T)                                                                                       \
  template SparseMaps<T> csc_encode(const CscProblem<T>&, SparseMapsView<T>, const CscOptions&, CscReport&); \
  template void csc_certify(const CscProblem<T>&, SparseMapsView<T>, int, CscReport&);                       \
  template void csc_synthesize(const ConvShape&, const T*, SparseMapsView<T>, T*, int);                      \
  template double csc_filter_gradient(const CscProblem<T>&, SparseMapsView<T>, double*, int);

THALWEG_CSC(float)
THALWEG_CSC(double)

}  // namespace thalweg

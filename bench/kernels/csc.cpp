// Convolutional sparse coding of a synthetic image: codes to a duality gap, iterations of FISTA, and the
// gradient in the filters.
#include "kernels/csc.hpp"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "random_data.hpp"

namespace {

using thalweg::Boundary;
using thalweg::ConvShape;
using thalweg::CscOptions;
using thalweg::CscProblem;
using thalweg::CscReport;
using thalweg::Index;
using thalweg::SparseMaps;

constexpr int n_jobs = 2;
constexpr double share_of_atoms = 0.1;  // of the code positions of a filter
constexpr Index fista_iterations = 20;

// Random unit filters, and an image of a few of their atoms with noise.
template <class T>
struct Synthetic {
  ConvShape shape;
  std::vector<T> filters, image, alpha;
  CscProblem<T> problem;

  explicit Synthetic(const benchmark::State& state)
      : shape{1,
              state.range(0),
              state.range(1),
              state.range(2),
              state.range(3),
              state.range(4),
              state.range(5),
              Boundary::valid},
        filters(thalweg::bench::unit_rows<T>(shape.filters, shape.taps(), 0)),
        image(static_cast<std::size_t>(shape.channels * shape.height * shape.width)),
        alpha(static_cast<std::size_t>(shape.filters), T(0.5)) {
    thalweg::csc_synthesize<T>(shape, filters.data(), planted(), image.data(), n_jobs);
    const auto noise = thalweg::bench::normals<T>(static_cast<Index>(image.size()), 2);
    for (std::size_t i = 0; i < image.size(); ++i) image[i] += T(0.05) * noise[i];
    problem.shape = shape;
    problem.image = image.data();
    problem.filters = filters.data();
    problem.alpha = alpha.data();
  }

  [[nodiscard]] Index positions() const { return shape.code_height() * shape.code_width(); }
  [[nodiscard]] Index codes() const { return shape.filters * positions(); }
  // Multiply-adds of one correlation of the image with all filters.
  [[nodiscard]] double multiply_adds() const {
    return static_cast<double>(shape.height * shape.width * shape.filters * shape.taps());
  }

  // An upper bound of the largest eigenvalue of the convolution times its adjoint.
  [[nodiscard]] double lipschitz() const {
    double bound = 0;
    for (Index r = 0; r < shape.filters * shape.channels; ++r) {
      double sum = 0;
      for (Index i = 0; i < shape.filter_height * shape.filter_width; ++i)
        sum += std::abs(filters[static_cast<std::size_t>(r * shape.filter_height * shape.filter_width + i)]);
      bound += sum * sum;
    }
    return bound;
  }

 private:
  [[nodiscard]] SparseMaps<T> planted() const {
    std::mt19937 engine(1);
    std::normal_distribution<T> normal;
    const auto every = static_cast<Index>(static_cast<double>(shape.filters) / share_of_atoms);
    std::uniform_int_distribution<Index> step(1, 2 * every - 1);
    SparseMaps<T> maps;
    for (Index i = step(engine); i < codes(); i += step(engine)) {
      maps.index.push_back(i);
      maps.value.push_back(2 * normal(engine));
    }
    return maps;
  }
};

CscOptions to_tolerance(double tol) {
  CscOptions options;
  options.tol = tol;
  options.max_iter = 500;
  options.n_jobs = n_jobs;
  return options;
}

template <class T>
void csc_encode(benchmark::State& state) {
  const Synthetic<T> data(state);
  const auto options = to_tolerance(1e-3);
  CscReport report;
  auto maps = thalweg::csc_encode<T>(data.problem, {}, options, report);
  CscReport certified;
  thalweg::csc_certify<T>(data.problem, maps, n_jobs, certified);
  if (!(certified.gap <= options.tol * 1.001)) state.SkipWithError("the gap is above the tolerance");
  for (auto _ : state) {
    maps = thalweg::csc_encode<T>(data.problem, {}, options, report);
    benchmark::DoNotOptimize(maps.value.data());
  }
  state.counters["non-zeros"] = static_cast<double>(maps.index.size());
  state.counters["solver iterations"] = static_cast<double>(report.n_iter);
  state.SetItemsProcessed(state.iterations() * data.shape.height * data.shape.width);
}

template <class T>
void csc_fista(benchmark::State& state) {
  const Synthetic<T> data(state);
  auto options = to_tolerance(0);
  options.max_iter = fista_iterations;
  const double lipschitz = data.lipschitz();
  std::vector<T> codes(static_cast<std::size_t>(data.codes()));
  CscReport start;
  CscReport report;
  thalweg::csc_certify<T>(data.problem, {}, n_jobs, start);
  thalweg::csc_fista<T>(data.problem, lipschitz, codes.data(), options, report);
  if (!(report.objective < start.objective)) state.SkipWithError("the objective did not fall");
  for (auto _ : state) {
    std::fill(codes.begin(), codes.end(), T(0));
    thalweg::csc_fista<T>(data.problem, lipschitz, codes.data(), options, report);
  }
  // A correlation and a convolution an iteration; the gaps in between are not counted.
  const double flop = fista_iterations * 4 * data.multiply_adds();
  state.counters["FLOP/s"] = benchmark::Counter(flop, benchmark::Counter::kIsIterationInvariantRate);
}

template <class T>
void csc_filter_gradient(benchmark::State& state) {
  const Synthetic<T> data(state);
  CscReport report;
  const auto maps = thalweg::csc_encode<T>(data.problem, {}, to_tolerance(1e-2), report);
  std::vector<double> gradient(data.filters.size());
  const double value = thalweg::csc_filter_gradient<T>(data.problem, maps, gradient.data(), n_jobs);
  // The error is a quadratic form of the filters: a step along the gradient, shrunk until it is small, lowers
  // it as its slope says.
  double square = 0;
  for (const double g : gradient) square += g * g;
  auto moved = data.filters;
  const double length = 1e-3 * value / square;
  for (std::size_t i = 0; i < moved.size(); ++i) moved[i] -= static_cast<T>(length * gradient[i]);
  auto problem = data.problem;
  problem.filters = moved.data();
  std::vector<double> unused(gradient.size());
  const double fall = value - thalweg::csc_filter_gradient<T>(problem, maps, unused.data(), n_jobs);
  if (std::abs(fall - length * square) > 0.1 * length * square)
    state.SkipWithError("the gradient is no slope of the error");
  for (auto _ : state) {
    double found = thalweg::csc_filter_gradient<T>(data.problem, maps, gradient.data(), n_jobs);
    benchmark::DoNotOptimize(found);
  }
  state.counters["non-zeros"] = static_cast<double>(maps.index.size());
  // Every non-zero meets its taps once in the residual and once in the gradient.
  const auto flop = static_cast<double>(4 * static_cast<Index>(maps.index.size()) * data.shape.taps());
  state.counters["FLOP/s"] = benchmark::Counter(flop, benchmark::Counter::kIsIterationInvariantRate);
}

void shapes(benchmark::internal::Benchmark* bench) {
  bench->ArgNames({"C", "H", "W", "K", "kh", "kw"})->UseRealTime()->Unit(benchmark::kMillisecond);
  bench->Args({1, 256, 256, 32, 8, 8})->Args({1, 256, 256, 64, 12, 12})->Args({3, 256, 256, 32, 8, 8});
  bench->Args({1, 1, 1 << 16, 32, 1, 64});
}

BENCHMARK(csc_encode<float>)->Apply(shapes);
BENCHMARK(csc_encode<double>)->Apply(shapes);
BENCHMARK(csc_fista<float>)->Apply(shapes);
BENCHMARK(csc_fista<double>)->Apply(shapes);
BENCHMARK(csc_filter_gradient<float>)->Apply(shapes);
BENCHMARK(csc_filter_gradient<double>)->Apply(shapes);

}  // namespace

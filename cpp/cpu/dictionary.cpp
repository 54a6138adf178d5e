#include "kernels/dictionary.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/buffer.hpp"
#include "core/error.hpp"
#include "core/parallel.hpp"
#include "core/simd.hpp"
#include "cpu/matmul.hpp"
#include "cpu/row_sums.hpp"

namespace thalweg {
namespace {

// The non-zeros of the codes, row by row.
template <class T>
struct SparseRows {
  std::vector<Index> start;
  std::vector<std::int32_t> atom;
  std::vector<T> value;

  explicit SparseRows(MatrixView<const T> z) {
    start.reserve(static_cast<std::size_t>(z.rows) + 1);
    start.push_back(0);
    for (Index i = 0; i < z.rows; ++i) {
      for (Index j = 0; j < z.cols; ++j)
        if (z(i, j) != 0) {
          atom.push_back(static_cast<std::int32_t>(j));
          value.push_back(z(i, j));
        }
      start.push_back(static_cast<Index>(atom.size()));
    }
  }
};

template <class T>
void add_scaled(double weight, const T* x, Index n, double* out) {
  for (Index k = 0; k < n; ++k) out[k] += weight * static_cast<double>(x[k]);
}

constexpr Index atoms_per_block = 32;
constexpr double dead_share = 1e-10;

// Sweeps over the atoms of one dictionary, held in float64.
class Sweeper {
 public:
  Sweeper(MatrixView<const double> a, MatrixView<const double> b, const DictionaryOptions& options,
          std::uint8_t* dead)
      : a_(a),
        b_(b),
        options_(options),
        dead_(dead),
        stride_(simd::padded<double>(b.cols)),
        atoms_(a.rows * stride_, 0.0),
        gradient_(atoms_per_block * stride_, 0.0),
        candidate_(stride_, 0.0) {
    double largest = 0.0;
    for (Index j = 0; j < a.rows; ++j) largest = std::max(largest, a(j, j));
    for (Index j = 0; j < a.rows; ++j) dead_[j] = !(a(j, j) > dead_share * largest);
  }

  [[nodiscard]] double* atom(Index j) const { return atoms_.data() + j * stride_; }

  void sweep() {
    for (Index first = 0; first < a_.rows; first += atoms_per_block) {
      const Index count = std::min(atoms_per_block, a_.rows - first);
      block_gradient(first, count);
      for (Index j = first; j < first + count; ++j) {
        poll_interrupt();
        if (!dead_[j]) update(j, first, count);
      }
    }
  }

 private:
  static constexpr Index columns_per_task = 64;

  // B_J - A_J D for the atoms J of one block; each task does some of the columns.
  void block_gradient(Index first, Index count) {
    const double work =
        static_cast<double>(count) * static_cast<double>(a_.rows) * static_cast<double>(stride_);
    const int n_jobs = work > 2e5 ? options_.n_jobs : 1;
    parallel_for(block_count(stride_, columns_per_task), n_jobs, [&](Index task, int) {
      const Index col = task * columns_per_task;
      const Index width = std::min(columns_per_task, stride_ - col);
      for (Index j = 0; j < count; ++j)
        for (Index k = col; k < std::min(col + width, b_.cols); ++k) gradient(j)[k] = b_(first + j, k);
      cpu::matmul<double>({a_.row(first), count, a_.cols, a_.stride}, atoms_.data() + col, stride_, width,
                          [&](Index j, Index k, simd::Vec<double> acc) {
                            double* at = gradient(j) + col + k;
                            simd::store(at, simd::load(at) - acc);
                          });
    });
  }

  [[nodiscard]] double* gradient(Index j) const { return gradient_.data() + j * stride_; }

  void update(Index j, Index first, Index count) {
    double* u = candidate_.data();
    double* d = atom(j);
    const double* g = gradient(j - first);
    const double curvature = a_(j, j);
    for (Index k = 0; k < b_.cols; ++k) {
      u[k] = d[k] + g[k] / curvature;
      if (options_.positive) u[k] = std::max(u[k], 0.0);
    }
    const double norm = std::sqrt(cpu::dot(u, u, stride_));
    if (!(norm > 0)) {
      dead_[j] = 1;
      return;
    }
    const double scale = options_.unit_norm || norm > 1.0 ? 1.0 / norm : 1.0;
    for (Index k = 0; k < b_.cols; ++k) {
      const double next = u[k] * scale;
      u[k] = next - d[k];
      d[k] = next;
    }
    for (Index i = j + 1; i < first + count; ++i) {
      const double weight = a_(i, j);
      if (weight != 0) add_scaled(-weight, u, b_.cols, gradient(i - first));
    }
  }

  MatrixView<const double> a_;
  MatrixView<const double> b_;
  const DictionaryOptions& options_;
  std::uint8_t* dead_;
  Index stride_;
  Buffer<double> atoms_;
  Buffer<double> gradient_;
  Buffer<double> candidate_;
};

}  // namespace

template <class T>
void accumulate_statistics(MatrixView<const T> z, MatrixView<const T> x, double decay, MatrixView<double> a,
                           MatrixView<double> b, int n_jobs) {
  require(x.rows == z.rows, "X: expected ", z.rows, " rows, as the codes have, got ", x.rows);
  require(a.rows == z.cols && a.cols == z.cols, "A: expected shape (", z.cols, ", ", z.cols, "), got (",
          a.rows, ", ", a.cols, ")");
  require(b.rows == z.cols && b.cols == x.cols, "B: expected shape (", z.cols, ", ", x.cols, "), got (",
          b.rows, ", ", b.cols, ")");
  require(decay >= 0 && std::isfinite(decay), "decay: expected a finite number >= 0, got ", decay);
  const SparseRows<T> codes(z);
  // A task owns some atoms, the rows of A and B that belong to them, and goes through all samples in order.
  parallel_for(block_count(z.cols, atoms_per_block), n_jobs, [&](Index task, int) {
    const auto first = static_cast<std::int32_t>(task * atoms_per_block);
    const auto last = static_cast<std::int32_t>(std::min<Index>(first + atoms_per_block, z.cols));
    for (Index j = first; j < last; ++j) {
      for (Index i = 0; i < a.cols; ++i) a(j, i) *= decay;
      for (Index k = 0; k < b.cols; ++k) b(j, k) *= decay;
    }
    for (Index i = 0; i < z.rows; ++i) {
      if (i % 256 == 0) poll_interrupt();
      const auto begin = static_cast<std::size_t>(codes.start[static_cast<std::size_t>(i)]);
      const auto end = static_cast<std::size_t>(codes.start[static_cast<std::size_t>(i) + 1]);
      const auto from = std::lower_bound(codes.atom.begin() + static_cast<Index>(begin),
                                         codes.atom.begin() + static_cast<Index>(end), first);
      for (auto p = static_cast<std::size_t>(from - codes.atom.begin()); p < end && codes.atom[p] < last;
           ++p) {
        const auto weight = static_cast<double>(codes.value[p]);
        double* row = a.row(codes.atom[p]);
        for (std::size_t q = begin; q < end; ++q)
          row[codes.atom[q]] += weight * static_cast<double>(codes.value[q]);
        add_scaled(weight, x.row(i), x.cols, b.row(codes.atom[p]));
      }
    }
  });
}

template <class T>
void update_dictionary(MatrixView<const double> a, MatrixView<const double> b, MatrixView<T> d,
                       std::uint8_t* dead, const DictionaryOptions& options) {
  require(a.rows == d.rows && a.cols == d.rows, "A: expected shape (", d.rows, ", ", d.rows, "), got (",
          a.rows, ", ", a.cols, ")");
  require(b.rows == d.rows && b.cols == d.cols, "B: expected shape (", d.rows, ", ", d.cols, "), got (",
          b.rows, ", ", b.cols, ")");
  Sweeper sweeper(a, b, options, dead);
  for (Index j = 0; j < d.rows; ++j) std::copy_n(d.row(j), d.cols, sweeper.atom(j));
  for (Index s = 0; s < options.sweeps; ++s) sweeper.sweep();
  for (Index j = 0; j < d.rows; ++j)
    for (Index k = 0; k < d.cols; ++k) d(j, k) = static_cast<T>(sweeper.atom(j)[k]);
}

#define THALWEG_INSTANTIATE(T)                                                                              \
  template void accumulate_statistics(MatrixView<const T>, MatrixView<const T>, double, MatrixView<double>, \
                                      MatrixView<double>, int);                                             \
  template void update_dictionary(MatrixView<const double>, MatrixView<const double>, MatrixView<T>,        \
                                  std::uint8_t*, const DictionaryOptions&);
THALWEG_INSTANTIATE(float)
THALWEG_INSTANTIATE(double)
#undef THALWEG_INSTANTIATE

}  // namespace thalweg

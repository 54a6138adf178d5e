// The sums over sparse code maps that online learning of filters keeps.
#include <algorithm>
#include <vector>

#include "core/parallel.hpp"
#include "cpu/csc_certificate.hpp"
#include "kernels/csc.hpp"

namespace thalweg {
namespace {

using namespace cpu;

// Atoms that lie inside the image, in rows of positions.
template <class T>
class InnerAtoms {
 public:
  InnerAtoms(const CanvasLayout<T>& layout, const TileAtoms<T>& atoms)
      : rows_(static_cast<std::size_t>(layout.code_rows)),
        filters_(static_cast<std::size_t>(layout.shape.filters)) {
    const auto& s = layout.shape;
    for (const auto& of_tile : atoms)
      for (const auto& a : of_tile) {
        const bool inside = a.y >= layout.top && a.y + s.filter_height <= layout.top + s.height &&
                            a.x >= layout.left && a.x + s.filter_width <= layout.left + s.width;
        if (inside) rows_[static_cast<std::size_t>(a.y)].push_back(a);
      }
    for (auto& row : rows_) {
      std::sort(row.begin(), row.end(), [](const auto& a, const auto& b) { return a.place() < b.place(); });
      for (const auto& a : row) filters_[static_cast<std::size_t>(a.filter)].push_back(a);
    }
  }

  // From the top, and in a row from the left.
  [[nodiscard]] const std::vector<Atom<T>>& of_filter(Index k) const {
    return filters_[static_cast<std::size_t>(k)];
  }

  [[nodiscard]] const std::vector<std::vector<Atom<T>>>& rows() const { return rows_; }

  // Calls visit(b) for the atoms of row y with |x difference| < width.
  template <class Visit>
  void for_each_near(Index y, std::int32_t x, Index width, Visit&& visit) const {
    if (y >= static_cast<Index>(rows_.size())) return;
    const auto& row = rows_[static_cast<std::size_t>(y)];
    auto b = std::lower_bound(row.begin(), row.end(), x - width + 1,
                              [](const Atom<T>& a, Index least) { return a.x < least; });
    for (; b != row.end() && b->x < x + width; ++b) visit(*b);
  }

 private:
  std::vector<std::vector<Atom<T>>> rows_;
  std::vector<std::vector<Atom<T>>> filters_;
};

// Atom pairs whose second lies in the same row or below, every pair of filters by one thread.
template <class T>
void add_pairs(const ConvShape& s, const InnerAtoms<T>& inner, double* a, int n_jobs) {
  const Index down = 2 * s.filter_height - 1;
  const Index across = 2 * s.filter_width - 1;
  const auto at = [&](Index k, Index l, Index dy, Index dx) -> double& {
    return a[((k * s.filters + l) * down + dy + s.filter_height - 1) * across + dx + s.filter_width - 1];
  };
  parallel_for(s.filters, n_jobs, [&](Index k, int) {
    Index visited = 0;
    for (const auto& p : inner.of_filter(k)) {
      if (++visited % 256 == 0) poll_interrupt();
      for (Index dy = -s.filter_height + 1; dy < s.filter_height; ++dy)
        if (p.y + dy >= 0)
          inner.for_each_near(p.y + dy, p.x, s.filter_width, [&](const Atom<T>& q) {
            at(k, q.filter, dy, q.x - p.x) += double(p.value) * q.value;
          });
    }
  });
}

}  // namespace

template <class T>
void csc_statistics(const CscProblem<T>& problem, SparseMapsView<T> maps, double* a, double* b, int n_jobs) {
  const auto& s = problem.shape;
  const WeightedResidual<T, T> residual(problem, maps, n_jobs);
  const auto& layout = residual.layout;
  const InnerAtoms<T> inner(layout, residual.atoms);
  add_pairs(s, inner, a, n_jobs);
  with_lanes<T>(s.filter_width, [&]<int Lanes>(std::integral_constant<int, Lanes>) {
    const FilterBank<T, Lanes> bank(s, problem.filters);
    for (const auto& row : inner.rows())
      for (const auto& p : row)
        bank.add(p.filter, p.value, residual.canvas.data() + layout.at(p.y, p.x), layout.stride,
                 layout.plane);
  });
  parallel_for(s.filters, n_jobs, [&](Index k, int) {
    double* of_filter = b + k * s.taps();
    for (const auto& p : inner.of_filter(k)) {
      double* sum = of_filter;
      for (Index c = 0; c < s.channels; ++c)
        for (Index i = 0; i < s.filter_height; ++i) {
          const T* pixels = residual.canvas.row(c, p.y + i) + p.x;
          for (Index j = 0; j < s.filter_width; ++j) *sum++ += double(p.value) * pixels[j];
        }
    }
  });
}

template void csc_statistics(const CscProblem<float>&, SparseMapsView<float>, double*, double*, int);
template void csc_statistics(const CscProblem<double>&, SparseMapsView<double>, double*, double*, int);

}  // namespace thalweg

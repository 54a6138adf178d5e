// All patches of a photograph's size, and the image back from them.
#include "kernels/patches.hpp"

#include <benchmark/benchmark.h>

#include <numeric>

#include "random_data.hpp"

namespace {

using thalweg::Index;

constexpr thalweg::ImageShape image_shape{512, 768};

struct Grid {
  std::vector<std::int64_t> rows, columns, positions;

  explicit Grid(Index side)
      : rows(static_cast<std::size_t>(image_shape.height - side + 1)),
        columns(static_cast<std::size_t>(image_shape.width - side + 1)) {
    std::iota(rows.begin(), rows.end(), 0);
    std::iota(columns.begin(), columns.end(), 0);
    for (const auto y : rows)
      for (const auto x : columns) positions.insert(positions.end(), {y, x});
  }

  [[nodiscard]] Index count() const { return static_cast<Index>(rows.size() * columns.size()); }
};

template <class T>
void patches(benchmark::State& state) {
  const Index side = state.range(0);
  const thalweg::PatchShape shape{side, side, 1};
  const Grid grid(side);
  auto image = thalweg::bench::normals<T>(image_shape.height * image_shape.width, 0);
  std::vector<T> rows(static_cast<std::size_t>(grid.count() * shape.size()));
  for (auto _ : state) {
    if (state.range(1) == 0)
      thalweg::extract_patches<T>(image.data(), image_shape, shape, {grid.positions.data(), grid.count(), 2},
                                  {rows.data(), grid.count(), shape.size()}, 2);
    else
      thalweg::average_patches<T>({rows.data(), grid.count(), shape.size()}, shape, grid.rows.data(),
                                  static_cast<Index>(grid.rows.size()), grid.columns.data(),
                                  static_cast<Index>(grid.columns.size()), image.data(), image_shape, 2);
  }
  state.SetLabel(state.range(1) == 0 ? "extract" : "average");
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(rows.size() * sizeof(T)));
}

BENCHMARK(patches<float>)->Args({8, 0})->Args({8, 1})->Args({12, 0})->Args({12, 1})->UseRealTime();
BENCHMARK(patches<double>)->Args({8, 0})->Args({8, 1})->UseRealTime();

}  // namespace

// The non-zeros of code maps, tile by tile, and images from them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <tuple>
#include <vector>

#include "core/error.hpp"
#include "cpu/csc_canvas.hpp"
#include "cpu/filter_bank.hpp"
#include "kernels/csc.hpp"

namespace thalweg::cpu {

template <class T>
struct Atom {
  std::int32_t filter = 0;
  std::int32_t y = 0;  // code position
  std::int32_t x = 0;
  T value = 0;
  T curvature = 0;  // sum of w f^2 over the pixels that it covers

  [[nodiscard]] auto place() const { return std::tie(y, x, filter); }
};

// What one multiply-add with an atom costs, in those of a dense product.
inline constexpr Index atom_operations = 8;

template <class T>
using TileAtoms = std::vector<std::vector<Atom<T>>>;

// Elements of serial loops between two looks for Ctrl-C.
inline constexpr Index poll_every = 1 << 16;

// Calls visit(filter, y, x, value) for every element of sparse maps.
template <class T, class Visit>
void for_each_element(const ConvShape& shape, SparseMapsView<T> maps, Visit&& visit) {
  const Index cols = shape.code_width();
  const Index positions = shape.code_height() * cols;
  std::int64_t before = -1;
  for (Index i = 0; i < maps.count; ++i) {
    if (i % poll_every == 0) poll_interrupt();
    const std::int64_t index = maps.index[i];
    require(index > before && index < shape.filters * positions, "codes: expected increasing indices below ",
            shape.filters * positions, ", got ", index, " after ", before);
    before = index;
    const Index place = index % positions;
    visit(static_cast<std::int32_t>(index / positions), static_cast<std::int32_t>(place / cols),
          static_cast<std::int32_t>(place % cols), maps.value[i]);
  }
}

// Curvatures are left at 0.
template <class T, class U>
TileAtoms<T> atoms_by_tile(const ConvShape& shape, const Tiling& tiling, SparseMapsView<U> maps) {
  TileAtoms<T> atoms(static_cast<std::size_t>(tiling.count()));
  for_each_element(shape, maps, [&](std::int32_t k, std::int32_t y, std::int32_t x, U value) {
    atoms[static_cast<std::size_t>(tiling.tile_of(y, x))].push_back({k, y, x, static_cast<T>(value), T(0)});
  });
  return atoms;
}

// Sorted by counting: tiles come from left to right, and so do the atoms of a row in a tile.
template <class T>
SparseMaps<T> maps_from(const ConvShape& shape, const TileAtoms<T>& atoms) {
  const Index rows = shape.code_height();
  const Index cols = shape.code_width();
  const auto for_each = [&](auto&& visit) {
    for (const auto& of_tile : atoms) {
      poll_interrupt();
      for (const auto& a : of_tile)
        if (a.value != T(0)) visit(a, static_cast<std::size_t>(a.filter * rows + a.y));
    }
  };
  std::vector<std::size_t> next(static_cast<std::size_t>(shape.filters * rows) + 1, 0);
  for_each([&](const Atom<T>&, std::size_t row) { ++next[row + 1]; });
  std::partial_sum(next.begin(), next.end(), next.begin());
  SparseMaps<T> maps;
  maps.index.resize(next.back());
  maps.value.resize(next.back());
  for_each([&](const Atom<T>& a, std::size_t row) {
    const std::size_t at = next[row]++;
    maps.index[at] = static_cast<std::int64_t>(row) * cols + a.x;
    maps.value[at] = a.value;
  });
  return maps;
}

// Adds value(tile, number of the atom in it) * filter for every atom to the canvas, and folds it.
template <class T, int Lanes, class Value>
void add_atoms(const FilterBank<T, Lanes>& bank, const Tiling& tiling, const TileAtoms<T>& atoms,
               const Canvas<T>& canvas, int n_jobs, Value&& value) {
  const auto& layout = canvas.layout();
  tiling.for_each_apart(n_jobs, [&](Index t, int) {
    const auto& of_tile = atoms[static_cast<std::size_t>(t)];
    for (std::size_t i = 0; i < of_tile.size(); ++i)
      bank.add(of_tile[i].filter, value(t, static_cast<Index>(i)),
               canvas.data() + layout.at(of_tile[i].y, of_tile[i].x), layout.stride, layout.plane);
  });
  canvas.fold();
}

}  // namespace thalweg::cpu

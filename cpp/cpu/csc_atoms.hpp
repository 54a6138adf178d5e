// The non-zeros of code maps, tile by tile, and images from them.
#pragma once

#include <algorithm>
#include <cstdint>
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

// Calls visit(filter, y, x, value) for every element of sparse maps.
template <class T, class Visit>
void for_each_element(const ConvShape& shape, SparseMapsView<T> maps, Visit&& visit) {
  const Index cols = shape.code_width();
  const Index positions = shape.code_height() * cols;
  std::int64_t before = -1;
  for (Index i = 0; i < maps.count; ++i) {
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

template <class T>
SparseMaps<T> maps_from(const ConvShape& shape, const TileAtoms<T>& atoms) {
  const Index cols = shape.code_width();
  const Index positions = shape.code_height() * cols;
  std::vector<std::pair<std::int64_t, T>> elements;
  for (const auto& of_tile : atoms)
    for (const auto& a : of_tile)
      if (a.value != T(0)) elements.emplace_back(a.filter * positions + a.y * cols + a.x, a.value);
  std::sort(elements.begin(), elements.end());
  SparseMaps<T> maps;
  maps.index.reserve(elements.size());
  maps.value.reserve(elements.size());
  for (const auto& [index, value] : elements) {
    maps.index.push_back(index);
    maps.value.push_back(value);
  }
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

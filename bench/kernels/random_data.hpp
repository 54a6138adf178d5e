// Reproducible random matrices for the benchmarks.
#pragma once

#include <cmath>
#include <cstddef>
#include <random>
#include <vector>

#include "core/view.hpp"

namespace thalweg::bench {

template <class T>
std::vector<T> normals(Index size, unsigned seed) {
  std::mt19937 engine(seed);
  std::normal_distribution<T> normal;
  std::vector<T> out(static_cast<std::size_t>(size));
  for (T& x : out) x = normal(engine);
  return out;
}

// Rows of norm 1.
template <class T>
std::vector<T> unit_rows(Index rows, Index cols, unsigned seed) {
  std::vector<T> out = normals<T>(rows * cols, seed);
  for (Index i = 0; i < rows; ++i) {
    T* row = out.data() + i * cols;
    T squared = 0;
    for (Index k = 0; k < cols; ++k) squared += row[k] * row[k];
    for (Index k = 0; k < cols; ++k) row[k] /= std::sqrt(squared);
  }
  return out;
}

}  // namespace thalweg::bench

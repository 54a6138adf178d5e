// Stretches of ISTA or FISTA on the rows of a chunk, two ways: `iterate_tiles` keeps a tile of rows on chip
// through the whole stretch, for dictionaries of few atoms in single precision; `iterate_products` takes a
// product and a kernel for each iteration.
#pragma once

#include "cuda/lasso_rows.hpp"

namespace thalweg::cuda {

struct LassoStretch {
  Index count;       // rows
  Index iterations;  // 1 or more
  bool is_accelerated;
  bool has_restarts;
};

// Whether a dictionary of so many atoms (padded) is for iterate_tiles on this device.
[[nodiscard]] bool fits_tiles(Index stride);

// Of rows with an anchor (rows.way).
void iterate_tiles(const LassoProblem<float>& problem, const CodingDictionary<float>::Prepared& dictionary,
                   LassoRows<float> rows, const LassoStretch& stretch, Stream& stream);

// `product` (count, stride) and `between` (count, n_features) are scratch; the second where the dictionary
// has two products.
template <class T>
void iterate_products(const LassoProblem<T>& problem,
                      const typename CodingDictionary<T>::Prepared& dictionary, LassoRows<T> rows,
                      const LassoStretch& stretch, T* product, T* between, Stream& stream);

}  // namespace thalweg::cuda

// A dictionary on the device, prepared for the lasso, in the units of core/lasso_numbers.hpp.
#pragma once

#include <memory>

#include "cuda/blas.hpp"
#include "cuda/memory.hpp"
#include "kernels/lasso.hpp"

namespace thalweg::cuda {

// Rows of codes, and of matrices that they are multiplied by, are padded with zeros to whole multiples of
// this.
inline constexpr Index code_alignment = 32;

template <class T>
struct CodingDictionary<T>::Prepared {
  std::shared_ptr<Stream> home;
  Index n_components;
  Index n_features;
  Index stride;            // n_components, padded
  double scale = 1.0;      // the atoms below are the caller's times this
  double l2;               // in the scaled units
  double lipschitz = 1.0;  // of D D^T + l2 I, in the scaled units
  // Whether z (D D^T) is taken as (z D) D^T, which is less work where atoms are many.
  bool has_two_products;
  Buffer<double> atoms;          // (stride, n_features)
  Buffer<T> working_atoms;       // the same, where there are two products
  Buffer<Bfloat16> rough_atoms;  // the same
  Buffer<T> gram;                // (stride, stride) D D^T + l2 I, where there is one
  Buffer<Bfloat16> rough_gram;   // the same

  Prepared(MatrixView<const T> d, double l2, Stream& stream);
};

}  // namespace thalweg::cuda

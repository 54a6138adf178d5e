// What the gradient of energies needs of their rows.
#pragma once

#include <vector>

#include "core/buffer.hpp"
#include "kernels/langevin.hpp"

namespace thalweg {

template <class T>
class DensityTape {
 public:
  DensityTape();
  ~DensityTape();

  Index rows = 0;
  std::vector<Buffer<T>> outputs, slopes;  // of every layer and the top, (rows, padded units)
  Buffer<double> squares;                  // ||x||^2
};

}  // namespace thalweg

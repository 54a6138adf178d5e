// Activations of deep densities by their names.
#pragma once

#include <string>

#include "core/error.hpp"
#include "kernels/langevin.hpp"

namespace thalweg::bindings {

inline DensityActivation density_activation(const std::string& name) {
  if (name == "identity") return DensityActivation::identity;
  if (name == "sigmoid") return DensityActivation::sigmoid;
  if (name == "tanh") return DensityActivation::tanh;
  if (name == "softplus") return DensityActivation::softplus;
  require(name == "relu", "activations: expected identity, sigmoid, tanh, softplus or relu, got ", name);
  return DensityActivation::relu;
}

}  // namespace thalweg::bindings

// Steps of first-order optimisers on all elements of a parameter.
#pragma once

#include "core/view.hpp"

namespace thalweg {

// Gradient ascent with momentum and weight decay, element by element:
//
//   velocity' = momentum velocity + rate (gradient - decay parameter)
//   parameter' = parameter + velocity'
//
// over (rows, cols) views, the results in `next` and `next_velocity`, which may be the very arrays that are
// read. Without velocities (null data in both) momentum counts as 0. Returns whether every new number is
// finite.
//
// Source: B. Polyak, Some methods of speeding up the convergence of iteration methods, USSR Comput. Math.
// Math. Phys. 4, 1964.
template <class T>
bool momentum_step(MatrixView<const T> parameter, MatrixView<const T> velocity, MatrixView<const T> gradient,
                   T rate, T momentum, T decay, MatrixView<T> next, MatrixView<T> next_velocity, int n_jobs);

}  // namespace thalweg

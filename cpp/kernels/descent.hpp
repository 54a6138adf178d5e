// Steps of first-order optimisers on all elements of a parameter.
#pragma once

#include <span>

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

// Rates of `adam_step`. `step` counts from 1; decays of the averages lie in [0, 1).
template <class T>
struct AdamRates {
  T rate;
  T first_decay;
  T second_decay;
  T epsilon;
  Index step;
};

// One parameter and what is remembered of it; the results in the `next` ones, which may be the very arrays
// that are read.
template <class T>
struct AdamArrays {
  const T* parameter;
  const T* mean;
  const T* square;
  const T* gradient;
  T* next;
  T* next_mean;
  T* next_square;
  Index size;
};

// Gradient descent whose length is scaled element by element:
//
//   mean' = b1 mean + (1 - b1) gradient,  square' = b2 square + (1 - b2) gradient^2
//   parameter' = parameter - rate (mean' / (1 - b1^step)) / (sqrt(square' / (1 - b2^step)) + epsilon)
//
// of all parameters of a model at once. Returns whether every new number is finite.
//
// Source: D. P. Kingma, J. Ba, Adam: a method for stochastic optimization, ICLR 2015.
template <class T>
bool adam_step(std::span<const AdamArrays<T>> parameters, const AdamRates<T>& rates, int n_jobs);

}  // namespace thalweg

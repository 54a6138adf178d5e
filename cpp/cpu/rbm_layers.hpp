// A machine's two directions and its units, as the propagation takes them.
#pragma once

#include "cpu/gibbs_units.hpp"
#include "cpu/propagation.hpp"

namespace thalweg::cpu {

template <class T>
Layer<T> up_layer(const RbmView<T>& rbm) {
  return {rbm.up, rbm.n_visible, rbm.n_hidden, rbm.up_stride};
}

template <class T>
Layer<T> down_layer(const RbmView<T>& rbm) {
  return {rbm.down, rbm.n_hidden, rbm.n_visible, rbm.down_stride};
}

template <class T>
BernoulliUnits<T> hidden_units(const RbmView<T>& rbm, const Tempering<T>& tempering) {
  return {rbm.n_hidden, rbm.hidden_bias, tempering, false};
}

template <class T>
BernoulliUnits<T> bernoulli_visible_units(const RbmView<T>& rbm, const Tempering<T>& tempering) {
  return {rbm.n_visible, rbm.visible_bias, tempering, true};
}

template <class T>
GaussianUnits<T> gaussian_visible_units(const RbmView<T>& rbm, const Tempering<T>& tempering) {
  return {rbm.n_visible, rbm.visible_bias, rbm.sigma, tempering};
}

}  // namespace thalweg::cpu

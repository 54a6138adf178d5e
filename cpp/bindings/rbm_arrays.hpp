// Machines and their states as NumPy arrays.
#pragma once

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <memory>
#include <optional>

#include "bindings/array.hpp"
#include "kernels/gibbs.hpp"

namespace thalweg::bindings {

template <class T>
using Maybe = std::optional<Array<T>>;

using WordArray = Array<std::uint32_t>;

// Bits beyond the units would select weights that are not there.
inline void require_no_more_bits(const ConstBits& bits, const char* name) {
  if (bits.units % 32 == 0) return;
  for (Index r = 0; r < bits.rows; ++r)
    require(bits(bits.words() - 1, r) >> (bits.units % 32) == 0, name, ": expected no bits beyond ",
            bits.units, " units, got some in row ", r);
}

inline Bits bits_view(WordArray& a, Index rows, Index units, const char* name) {
  const auto words = mutable_matrix(a, name);
  require(words.rows == (units + 31) / 32 && (rows < 0 || words.cols == rows), name, ": expected shape (",
          (units + 31) / 32, ", ", rows < 0 ? "n_rows" : std::to_string(rows), "), got ", shape_text(a));
  return {words.data, words.cols, units, words.stride};
}

inline ConstBits const_bits_view(const WordArray& a, Index units, const char* name) {
  const auto words = matrix(a, name);
  require(words.rows == (units + 31) / 32, name, ": expected ", (units + 31) / 32, " words a row, got shape ",
          shape_text(a));
  const ConstBits bits{words.data, words.cols, units, words.stride};
  require_no_more_bits(bits, name);
  return bits;
}

template <class T>
MatrixView<T> output_view(Maybe<T>& a, Index rows, Index cols, const char* name) {
  if (!a) return {};
  const auto view = mutable_matrix(*a, name);
  require(view.rows == rows && view.cols == cols, name, ": expected shape (", rows, ", ", cols, "), got ",
          shape_text(*a));
  return view;
}

template <class T>
StatesView<T> states_view(const Maybe<T>& real, const std::optional<WordArray>& bits, Index units,
                          const char* name) {
  require(real.has_value() != bits.has_value(), name, ": expected real numbers or bits, and one of them");
  StatesView<T> view;
  if (real) {
    view.real = matrix(*real, name);
    require(view.real.cols == units, name, ": expected ", units, " columns, got shape ", shape_text(*real));
  } else {
    view.bits = const_bits_view(*bits, units, name);
  }
  return view;
}

template <class T>
Index rows_of(const StatesView<T>& states) {
  return states.real.data != nullptr ? states.real.rows : states.bits.rows;
}

// A machine that keeps its arrays, and the memory that its kernels reuse.
template <class T>
struct BoundRbm {
  Array<T> up;
  Array<T> down;
  Array<T> visible_bias;
  Array<T> hidden_bias;
  Maybe<T> sigma;
  std::shared_ptr<RbmWorkspace<T>> workspace;

  [[nodiscard]] RbmView<T> view() const {
    RbmView<T> rbm;
    rbm.n_visible = visible_bias.size();
    rbm.n_hidden = hidden_bias.size();
    rbm.up = up.data();
    rbm.up_stride = up.shape(1);
    rbm.down = down.data();
    rbm.down_stride = down.shape(1);
    rbm.visible_bias = visible_bias.data();
    rbm.hidden_bias = hidden_bias.data();
    rbm.sigma = sigma ? sigma->data() : nullptr;
    return rbm;
  }

  void check() const {
    require_ndim(visible_bias, 1, "visible_bias");
    require_ndim(hidden_bias, 1, "hidden_bias");
    require_ndim(up, 2, "up");
    require_ndim(down, 2, "down");
    const auto rbm = view();
    require(up.shape(0) == rbm.n_visible && rbm.up_stride >= padded_units<T>(rbm.n_hidden),
            "up: expected shape (", rbm.n_visible, ", at least ", padded_units<T>(rbm.n_hidden), "), got ",
            shape_text(up));
    require(down.shape(0) == rbm.n_hidden && rbm.down_stride >= padded_units<T>(rbm.n_visible),
            "down: expected shape (", rbm.n_hidden, ", at least ", padded_units<T>(rbm.n_visible), "), got ",
            shape_text(down));
    if (sigma) vector(*sigma, rbm.n_visible, "sigma");
    require(workspace != nullptr, "workspace: expected one, got None");
  }
};

template <class T>
Tempering<T> tempering_view(const Maybe<T>& t, const Maybe<T>& base_bias, const Maybe<T>& base_sigma,
                            Index rows, Index n_visible) {
  Tempering<T> view;
  if (t) view.t = vector(*t, rows, "t");
  if (base_bias) view.base_bias = vector(*base_bias, n_visible, "base_bias");
  if (base_sigma) view.base_sigma = vector(*base_sigma, n_visible, "base_sigma");
  return view;
}

inline Draw make_draw(std::uint64_t seed, std::uint32_t stream, std::uint64_t first_row, std::uint32_t step) {
  require(stream < (1u << 16) - 1, "stream: expected a number below 65535, got ", stream);
  require(first_row < (std::uint64_t{1} << 48), "first_row: expected a number below 2^48, got ", first_row);
  return {seed, stream, first_row, step};
}

}  // namespace thalweg::bindings

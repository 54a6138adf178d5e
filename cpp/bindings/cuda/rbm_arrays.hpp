// Machines and their states as arrays of either side.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "bindings/cuda/array.hpp"
#include "kernels/gibbs.hpp"

namespace thalweg::cuda::bindings {

using WordArray = Array<std::uint32_t>;

// Bits beyond the units would select weights that are not there.
inline void require_no_more_bits(const ConstBits& bits, const char* name, Stream& stream) {
  const Index row = row_with_more_bits(bits, stream);
  require(row < 0, name, ": expected no bits beyond ", bits.units, " units, got some in row ", row);
}

inline void require_words(const WordArray& a, Index rows, Index units, const char* name) {
  require_ndim(a, 2, name);
  require(a.shape(0) == (units + 31) / 32 && (rows < 0 || a.shape(1) == rows), name, ": expected shape (",
          (units + 31) / 32, ", ", rows < 0 ? "n_rows" : std::to_string(rows), "), got ", shape_text(a));
}

template <class T>
MatrixView<T> output_view(Call& call, Maybe<T>& a, Index rows, Index cols, const char* name) {
  if (!a) return {};
  require_ndim(*a, 2, name);
  require(a->shape(0) == rows && a->shape(1) == cols, name, ": expected shape (", rows, ", ", cols, "), got ",
          shape_text(*a));
  return call.result_matrix(*a, name);
}

inline Bits output_bits(Call& call, std::optional<WordArray>& a, Index rows, Index units, const char* name) {
  if (!a) return {};
  require_words(*a, rows, units, name);
  return {call.result_data(*a, name), rows, units, rows};
}

template <class T>
StatesView<T> states_view(Call& call, const Maybe<T>& real, const std::optional<WordArray>& bits, Index units,
                          const char* name) {
  require(real.has_value() != bits.has_value(), name, ": expected real numbers or bits, and one of them");
  StatesView<T> view;
  if (real) {
    view.real = call.matrix(*real, name);
    require(view.real.cols == units, name, ": expected ", units, " columns, got shape ", shape_text(*real));
  } else {
    require_ndim(*bits, 2, name);
    require(bits->shape(0) == (units + 31) / 32, name, ": expected ", (units + 31) / 32,
            " words a row, got shape ", shape_text(*bits));
    view.bits = {call.data(*bits), bits->shape(1), units, bits->shape(1)};
  }
  return view;
}

template <class T>
Index rows_of(const Maybe<T>& real, const std::optional<WordArray>& bits) {
  return real ? real->shape(0) : bits->shape(1);
}

// Once the call runs.
template <class T>
void check_bits(const StatesView<T>& states, const char* name, Stream& stream) {
  if (states.bits.data != nullptr) require_no_more_bits(states.bits, name, stream);
}

// A machine with its arrays on the device, in the order of the stream that it was made on.
template <class T>
class BoundRbm {
 public:
  BoundRbm(const Array<T>& up, const Array<T>& down, const Array<T>& visible_bias,
           const Array<T>& hidden_bias, const Maybe<T>& sigma);

  // To be asked once a call: `call` then keeps the machine in order.
  [[nodiscard]] const PreparedRbm<T>& in(Call& call) const {
    call.use(*home_);
    return *prepared_;
  }
  [[nodiscard]] Index n_visible() const { return view_.n_visible; }
  [[nodiscard]] Index n_hidden() const { return view_.n_hidden; }
  [[nodiscard]] bool is_gaussian() const { return view_.sigma != nullptr; }

 private:
  const T* keep(Call& call, const Array<T>& a);

  std::shared_ptr<Stream> home_;
  std::vector<Buffer<T>> memory_;
  RbmView<T> view_;
  std::unique_ptr<PreparedRbm<T>> prepared_;
};

template <class T>
Tempering<T> tempering_view(Call& call, const Maybe<T>& t, const Maybe<T>& base_bias,
                            const Maybe<T>& base_sigma, Index rows, Index n_visible) {
  Tempering<T> view;
  if (t) view.t = call.vector(*t, rows, "t");
  if (base_bias) view.base_bias = call.vector(*base_bias, n_visible, "base_bias");
  if (base_sigma) view.base_sigma = call.vector(*base_sigma, n_visible, "base_sigma");
  return view;
}

inline Draw make_draw(std::uint64_t seed, std::uint32_t stream, std::uint64_t first_row, std::uint32_t step) {
  require(stream < (1u << 16) - 1, "stream: expected a number below 65535, got ", stream);
  require(first_row < (std::uint64_t{1} << 48), "first_row: expected a number below 2^48, got ", first_row);
  return {seed, stream, first_row, step};
}

}  // namespace thalweg::cuda::bindings

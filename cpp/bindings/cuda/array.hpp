// Arguments of the twins: NumPy arrays, which travel to the device and back, or arrays that are there. What
// is checked here is what memory safety needs, as in bindings/array.hpp.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bindings/cuda/device_array.hpp"
#include "core/error.hpp"
#include "core/view.hpp"
#include "cuda/memory.hpp"

namespace thalweg::cuda::bindings {

namespace py = pybind11;

// An array of exactly this dtype. Those of NumPy are C-contiguous unless `any_strides`.
template <class T, bool any_strides = false>
class Array {
 public:
  using Host = py::array_t<T, any_strides ? 0 : py::array::c_style>;

  Array() = default;
  // Whether `given` is such an array.
  bool take(py::handle given) {
    if (py::isinstance<DeviceArray>(given)) {
      device_ = given.cast<std::shared_ptr<DeviceArray>>();
      return device_->kind == kind_of<T>();
    }
    if (!py::isinstance<Host>(given)) return false;
    host_ = py::reinterpret_borrow<py::array>(given);
    return true;
  }

  [[nodiscard]] const DeviceArray* device() const { return device_.get(); }
  [[nodiscard]] const py::array& host() const { return *host_; }
  [[nodiscard]] py::array& host() { return *host_; }
  [[nodiscard]] std::vector<Index> shape() const {
    if (device_) return device_->shape;
    return std::vector<Index>(host_->shape(), host_->shape() + host_->ndim());
  }
  [[nodiscard]] Index shape(Index axis) const { return shape()[static_cast<std::size_t>(axis)]; }
  [[nodiscard]] Index ndim() const { return device_ ? device_->ndim() : host_->ndim(); }
  [[nodiscard]] Index size() const { return device_ ? device_->size() : host_->size(); }
  [[nodiscard]] bool is_writeable() const {
    return device_ ? !device_->memory->is_read_only : host_->writeable();
  }

 private:
  std::shared_ptr<DeviceArray> device_;
  std::optional<py::array> host_;
};

template <class T>
using AnyStrides = Array<T, true>;

template <class T>
using Maybe = std::optional<Array<T>>;

template <class T, bool any_strides>
std::string shape_text(const Array<T, any_strides>& a) {
  return shape_text(a.shape());
}

template <class T, bool any_strides>
void require_ndim(const Array<T, any_strides>& a, Index ndim, const char* name) {
  require(a.ndim() == ndim, name, ": expected ", ndim, " dimension(s), got shape ", shape_text(a));
}

// One call of a kernel: where its arguments are on the device, and their way there and back.
//
//   Call call;
//   const auto x = call.matrix(samples, "X");
//   const auto out = call.result_matrix(codes, "codes");
//   call.run([&](Stream& stream) { encode(x, out, stream); });
//
// Pointers are valid once run() has begun. `mutable_` arguments are read and written, `result_` ones are
// written only, and all of them. When run() returns, NumPy arrays and other libraries' memory hold the
// results; what is in device arrays of ours follows in the order of streams. run() releases the GIL.
class Call {
 public:
  Call() : stream_(Stream::of_this_thread()) {}
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  [[nodiscard]] Stream& stream() { return stream_; }

  // --- any shape, C order

  template <class T>
  const T* data(const Array<T>& a) {
    return static_cast<const T*>(place(a, Way::in));
  }
  template <class T>
  T* mutable_data(Array<T>& a, const char* name) {
    require_writeable(a, name);
    return static_cast<T*>(place(a, Way::in_and_out));
  }
  template <class T>
  T* result_data(Array<T>& a, const char* name) {
    require_writeable(a, name);
    return static_cast<T*>(place(a, Way::out));
  }

  // --- matrices and vectors

  template <class T>
  MatrixView<const T> matrix(const Array<T>& a, const char* name) {
    require_ndim(a, 2, name);
    return {data(a), a.shape(0), a.shape(1)};
  }
  template <class T>
  MatrixView<T> mutable_matrix(Array<T>& a, const char* name) {
    require_ndim(a, 2, name);
    return {mutable_data(a, name), a.shape(0), a.shape(1)};
  }
  template <class T>
  MatrixView<T> result_matrix(Array<T>& a, const char* name) {
    require_ndim(a, 2, name);
    return {result_data(a, name), a.shape(0), a.shape(1)};
  }
  template <class T>
  const T* vector(const Array<T>& a, Index size, const char* name) {
    require_vector(a, size, name);
    return data(a);
  }
  template <class T>
  T* mutable_vector(Array<T>& a, Index size, const char* name) {
    require_vector(a, size, name);
    return mutable_data(a, name);
  }
  template <class T>
  T* result_vector(Array<T>& a, Index size, const char* name) {
    require_vector(a, size, name);
    return result_data(a, name);
  }

  // --- any strides on the host; on the device all is C order

  template <class T>
  const T* data(const AnyStrides<T>& a) {
    if (a.device() != nullptr) return static_cast<const T*>(resident(*a.device()));
    py::array contiguous = py::array::ensure(a.host(), py::array::c_style);
    if (!contiguous) throw py::error_already_set();
    kept_.push_back(contiguous);
    return static_cast<const T*>(travelling(contiguous.data(), nullptr, bytes<T>(a.size())));
  }
  template <class T>
  T* result_data(AnyStrides<T>& a, const char* name) {
    require_writeable(a, name);
    if (a.device() != nullptr) {
      writes_foreign_ = writes_foreign_ || a.device()->memory->is_foreign;
      return static_cast<T*>(resident(*a.device()));
    }
    const bool is_contiguous = (a.host().flags() & py::array::c_style) != 0;
    py::array target = a.host();
    if (!is_contiguous) {
      target = py::array(a.host().dtype(), a.shape());
      scattered_.push_back({target, a.host()});
    }
    kept_.push_back(target);
    return static_cast<T*>(travelling(nullptr, target.mutable_data(), bytes<T>(a.size())));
  }

  // Keeps an object of a twin, whose memory belongs to `home`, in order.
  void use(Stream& home) {
    if (&home != &stream_) turns_.push_back(std::make_unique<Turn>(home, stream_));
  }

  template <class Body>
  void run(const Body& body) {
    {
      const py::gil_scoped_release release;
      for (const Travel& t : travels_)
        if (t.from != nullptr)
          upload(static_cast<const char*>(t.from), static_cast<char*>(t.device), t.bytes, stream_);
      body(stream_);
      bring_back();
    }
    for (const auto& [from, to] : scattered_) py::module_::import("numpy").attr("copyto")(to, from);
  }

 private:
  enum class Way { in, out, in_and_out };

  struct Travel {
    const void* from;  // on the host, or null
    void* to;          // on the host, or null
    void* device;
    Index bytes;
  };

  template <class T>
  static Index bytes(Index size) {
    return size * static_cast<Index>(sizeof(T));
  }

  template <class T, bool any_strides>
  static void require_writeable(const Array<T, any_strides>& a, const char* name) {
    require(a.is_writeable(), name, ": expected a writeable array, got a read-only one");
  }

  template <class T>
  static void require_vector(const Array<T>& a, Index size, const char* name) {
    require_ndim(a, 1, name);
    require(a.shape(0) == size, name, ": expected ", size, " element(s), got shape ", shape_text(a));
  }

  template <class T>
  void* place(const Array<T>& a, Way way) {
    if (a.device() != nullptr) {
      writes_foreign_ = writes_foreign_ || (way != Way::in && a.device()->memory->is_foreign);
      return resident(*a.device());
    }
    kept_.push_back(a.host());
    py::array host = a.host();
    const void* const from = way == Way::out ? nullptr : host.data();
    void* const to = way == Way::in ? nullptr : host.mutable_data();
    return travelling(from, to, bytes<T>(a.size()));
  }

  void* resident(const DeviceArray& a);
  void* travelling(const void* from, void* to, Index bytes);
  void bring_back();

  DeviceGuard guard_;
  Stream& stream_;
  std::vector<py::array> kept_;
  std::vector<std::pair<py::array, py::array>> scattered_;
  std::vector<Travel> travels_;
  std::vector<Buffer<unsigned char>> buffers_;
  std::vector<std::shared_ptr<Memory>> in_use_;
  std::vector<std::unique_ptr<Turn>> turns_;
  bool writes_foreign_ = false;
};

// Strides in elements, axis by axis of `like`, of a C-contiguous array that broadcasts to that shape.
[[nodiscard]] std::vector<Index> broadcast_strides(const std::vector<Index>& shape,
                                                   const std::vector<Index>& like, const char* name);

}  // namespace thalweg::cuda::bindings

namespace pybind11::detail {

template <class T, bool any_strides>
struct type_caster<thalweg::cuda::bindings::Array<T, any_strides>> {
  using Type = thalweg::cuda::bindings::Array<T, any_strides>;
  PYBIND11_TYPE_CASTER(Type, const_name("array[") + npy_format_descriptor<T>::name + const_name("]"));
  bool load(handle given, bool) { return value.take(given); }
};

}  // namespace pybind11::detail

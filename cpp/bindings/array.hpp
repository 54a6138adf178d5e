// The only place where NumPy arrays become views. The Python layer has converted and checked; what is checked
// here again is what memory safety needs: dtype (by the overload), dimensions, contiguity, writability.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <string>
#include <vector>

#include "core/error.hpp"
#include "core/view.hpp"

namespace thalweg::bindings {

namespace py = pybind11;

// A C-contiguous array of exactly this dtype; bind with py::arg("x").noconvert().
template <class T>
using Array = py::array_t<T, py::array::c_style>;

// An array of exactly this dtype and any strides; bind likewise.
template <class T>
using AnyStrides = py::array_t<T, 0>;

inline std::string shape_text(const py::array& a) {
  std::string text = "(";
  for (py::ssize_t i = 0; i < a.ndim(); ++i) text += (i ? ", " : "") + std::to_string(a.shape(i));
  return text + (a.ndim() == 1 ? ",)" : ")");
}

inline void require_ndim(const py::array& a, py::ssize_t ndim, const char* name) {
  require(a.ndim() == ndim, name, ": expected ", ndim, " dimension(s), got shape ", shape_text(a));
}

template <class T>
MatrixView<const T> matrix(const Array<T>& a, const char* name) {
  require_ndim(a, 2, name);
  return {a.data(), a.shape(0), a.shape(1)};
}

template <class T>
MatrixView<T> mutable_matrix(Array<T>& a, const char* name) {
  require_ndim(a, 2, name);
  require(a.writeable(), name, ": expected a writeable array, got a read-only one");
  return {a.mutable_data(), a.shape(0), a.shape(1)};
}

template <class T>
const T* vector(const Array<T>& a, Index size, const char* name) {
  require_ndim(a, 1, name);
  require(a.shape(0) == size, name, ": expected ", size, " element(s), got shape ", shape_text(a));
  return a.data();
}

template <class T>
T* mutable_vector(Array<T>& a, Index size, const char* name) {
  vector(a, size, name);
  require(a.writeable(), name, ": expected a writeable array, got a read-only one");
  return a.mutable_data();
}

// Strides in elements, axis by axis of `like`, of an array that broadcasts to its shape.
inline std::vector<Index> broadcast_strides(const py::array& a, const py::array& like, const char* name) {
  const py::ssize_t extra = like.ndim() - a.ndim();
  bool fits = extra >= 0;
  for (py::ssize_t i = 0; fits && i < a.ndim(); ++i)
    fits = a.shape(i) == 1 || a.shape(i) == like.shape(i + extra);
  require(fits, name, ": expected a shape that broadcasts to ", shape_text(like), ", got ", shape_text(a));
  const bool is_aligned = (a.flags() & py::detail::npy_api::NPY_ARRAY_ALIGNED_) != 0;
  require(is_aligned, name, ": expected an aligned array");
  std::vector<Index> strides(static_cast<std::size_t>(like.ndim()), 0);
  for (py::ssize_t i = 0; i < a.ndim(); ++i) {
    require(a.shape(i) == 1 || a.strides(i) % a.itemsize() == 0, name,
            ": expected strides of whole elements, got ", a.strides(i), " bytes");
    if (a.shape(i) != 1) strides[static_cast<std::size_t>(i + extra)] = a.strides(i) / a.itemsize();
  }
  return strides;
}

}  // namespace thalweg::bindings

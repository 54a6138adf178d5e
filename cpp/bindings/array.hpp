// The only place where NumPy arrays become views. The Python layer has converted and checked; what is checked
// here again is what memory safety needs: dtype (by the overload), dimensions, contiguity, writability.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <string>

#include "core/error.hpp"
#include "core/view.hpp"

namespace thalweg::bindings {

namespace py = pybind11;

// A C-contiguous array of exactly this dtype; bind with py::arg("x").noconvert().
template <class T>
using Array = py::array_t<T, py::array::c_style>;

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

}  // namespace thalweg::bindings

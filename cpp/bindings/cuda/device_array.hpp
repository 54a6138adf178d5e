// Arrays in device memory, as Python sees them.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstdint>
#include <memory>
#include <string>
#include <type_traits>
#include <vector>

#include "core/view.hpp"
#include "cuda/convert.hpp"
#include "cuda/memory.hpp"

namespace thalweg::cuda::bindings {

namespace py = pybind11;

// What keeps memory alive. Its uses are ordered by `home`, in whose order it is freed.
struct Memory {
  std::shared_ptr<Stream> home;
  bool is_foreign = false;  // another library's
  bool is_read_only = false;

  Memory() = default;
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  virtual ~Memory() = default;
};

// C-contiguous.
struct DeviceArray {
  Kind kind = Kind::float64;
  std::vector<Index> shape;
  void* data = nullptr;
  std::shared_ptr<Memory> memory;

  [[nodiscard]] Index ndim() const { return static_cast<Index>(shape.size()); }
  [[nodiscard]] Index size() const;
  [[nodiscard]] Index bytes() const { return size() * static_cast<Index>(size_of(kind)); }
};

// Uninitialised.
[[nodiscard]] DeviceArray make_array(Kind kind, std::vector<Index> shape, Stream& stream);

template <class T>
constexpr Kind kind_of() {
  if constexpr (std::is_same_v<T, float>) return Kind::float32;
  if constexpr (std::is_same_v<T, double>) return Kind::float64;
  if constexpr (std::is_same_v<T, bool>) return Kind::boolean;
  if constexpr (std::is_same_v<T, std::int8_t>) return Kind::int8;
  if constexpr (std::is_same_v<T, std::int32_t>) return Kind::int32;
  if constexpr (std::is_same_v<T, std::int64_t>) return Kind::int64;
  if constexpr (std::is_same_v<T, std::uint8_t>) return Kind::uint8;
  if constexpr (std::is_same_v<T, std::uint32_t>) return Kind::uint32;
  if constexpr (std::is_same_v<T, std::uint64_t>) return Kind::uint64;
}

[[nodiscard]] std::string shape_text(const std::vector<Index>& shape);

void bind_device_array(py::module_& m);

}  // namespace thalweg::cuda::bindings

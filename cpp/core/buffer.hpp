// Workspace memory, aligned for the widest vectors and allocated once, in constructors.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <new>

#include "core/view.hpp"

namespace thalweg {

inline constexpr std::size_t buffer_alignment = 64;

// An uninitialised array of trivially copyable T.
template <class T>
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(Index size)
      : data_(static_cast<T*>(::operator new(static_cast<std::size_t>(std::max<Index>(size, 1)) * sizeof(T),
                                             std::align_val_t{buffer_alignment}))),
        size_(size) {}
  Buffer(Index size, T value) : Buffer(size) { std::fill_n(data(), size, value); }

  [[nodiscard]] T* data() const { return data_.get(); }
  [[nodiscard]] Index size() const { return size_; }
  [[nodiscard]] T& operator[](Index i) const { return data_.get()[i]; }

 private:
  struct Free {
    void operator()(T* p) const { ::operator delete(p, std::align_val_t{buffer_alignment}); }
  };
  std::unique_ptr<T[], Free> data_;
  Index size_ = 0;
};

// Memory that is kept from one use to the next: `buffer` holds at least `size` elements afterwards, of any
// value.
template <class T>
T* at_least(Buffer<T>& buffer, Index size) {
  if (buffer.size() < size) buffer = Buffer<T>(size);
  return buffer.data();
}

}  // namespace thalweg

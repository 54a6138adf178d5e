// Device memory. It comes from a pool of the driver's that keeps what is freed for the next use, up to a
// quarter of the device's memory, in the order of streams: allocation and freeing cost microseconds and never
// wait for the device. Allocate in constructors all the same, and never while a graph is captured.
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <utility>

#include "core/view.hpp"
#include "cuda/device.hpp"

namespace thalweg::cuda {

// Throws OutOfMemory, after giving back what the pool kept did not help.
[[nodiscard]] void* allocate(std::size_t bytes, Stream& stream);
void deallocate(void* memory, Stream& stream) noexcept;
// Gives memory that is not in use back to the driver.
void trim_memory();

// An uninitialised array of trivially copyable T on the device, freed in the order of the stream it was made
// on.
template <class T>
class Buffer {
 public:
  Buffer() = default;
  Buffer(Index size, Stream& stream)
      : data_(
            static_cast<T*>(allocate(static_cast<std::size_t>(std::max<Index>(size, 1)) * sizeof(T), stream)),
            Free{stream.shared_from_this()}),
        size_(size) {}

  [[nodiscard]] T* data() const { return data_.get(); }
  [[nodiscard]] Index size() const { return size_; }

 private:
  struct Free {
    std::shared_ptr<Stream> stream;
    void operator()(T* p) const { deallocate(p, *stream); }
  };
  std::unique_ptr<T, Free> data_;
  Index size_ = 0;
};

// Memory that is kept from one use to the next: `buffer` holds at least `size` elements afterwards, of any
// value.
template <class T>
T* at_least(Buffer<T>& buffer, Index size, Stream& stream) {
  if (buffer.size() < size) buffer = Buffer<T>(size, stream);
  return buffer.data();
}

template <class T>
void copy(const T* from, T* to, Index size, Stream& stream) {
  check(cudaMemcpyAsync(to, from, static_cast<std::size_t>(size) * sizeof(T), cudaMemcpyDeviceToDevice,
                        stream.get()));
}

// Rows apart by the views' strides.
template <class T>
void copy_rows(MatrixView<const T> from, MatrixView<T> to, Stream& stream) {
  check(cudaMemcpy2DAsync(to.data, static_cast<std::size_t>(to.stride) * sizeof(T), from.data,
                          static_cast<std::size_t>(from.stride) * sizeof(T),
                          static_cast<std::size_t>(from.cols) * sizeof(T),
                          static_cast<std::size_t>(from.rows), cudaMemcpyDeviceToDevice, stream.get()));
}

// Every byte zero.
template <class T>
void clear(T* data, Index size, Stream& stream) {
  check(cudaMemsetAsync(data, 0, static_cast<std::size_t>(size) * sizeof(T), stream.get()));
}

// The host's memory may be reused as soon as this returns.
void upload_bytes(const void* from, void* to, std::size_t bytes, Stream& stream);
template <class T>
void upload(const T* from, T* to, Index size, Stream& stream) {
  upload_bytes(from, to, static_cast<std::size_t>(size) * sizeof(T), stream);
}

// Waits for the stream, Ctrl-C included, and then for the copy.
template <class T>
void download(const T* from, T* to, Index size, Stream& stream) {
  stream.synchronize();
  check(cudaMemcpyAsync(to, from, static_cast<std::size_t>(size) * sizeof(T), cudaMemcpyDeviceToHost,
                        stream.get()));
  check(cudaStreamSynchronize(stream.get()));
}

template <class T>
[[nodiscard]] T download_one(const T* from, Stream& stream) {
  T value;
  download(from, &value, 1, stream);
  return value;
}

}  // namespace thalweg::cuda

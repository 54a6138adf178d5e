// The device, its streams and events. Work is given to streams of the library's own, one a thread, which do
// not wait for the default stream nor let it wait.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <memory>
#include <mutex>
#include <new>
#include <source_location>
#include <stdexcept>
#include <string>

#include "core/view.hpp"

namespace thalweg::cuda {

// A call to CUDA that failed: its own words, and the place.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// The device's memory does not suffice.
class OutOfMemory : public std::bad_alloc {
 public:
  explicit OutOfMemory(std::string message) : message_(std::move(message)) {}
  [[nodiscard]] const char* what() const noexcept override { return message_.c_str(); }

 private:
  std::string message_;
};

// Throws Error unless `status` is cudaSuccess.
void check(cudaError_t status, std::source_location where = std::source_location::current());

// Why no device can be used, in a sentence; empty where one can.
[[nodiscard]] std::string device_fault();

// Whether this is the emulation on the host, which is for tests.
#ifdef THALWEG_CUDA_EMULATION
inline constexpr bool is_emulated = true;
#else
inline constexpr bool is_emulated = false;
#endif

// The one device that the library uses: number 0 of those that CUDA shows.
inline constexpr int device_number = 0;

struct Device {
  std::string name;
  int major = 0;  // compute capability
  int minor = 0;
  int multiprocessors = 0;
  std::size_t memory = 0;            // bytes
  std::size_t cache = 0;             // bytes of L2
  std::size_t shared_per_block = 0;  // bytes that a block may ask for
  std::size_t shared_per_multiprocessor = 0;
  bool reads_pageable_memory = false;  // the host's, without a copy of the driver's in between
};

[[nodiscard]] const Device& device();

// Makes `device_number` current while it lives, and what was so before afterwards.
class DeviceGuard {
 public:
  DeviceGuard();
  ~DeviceGuard();
  DeviceGuard(const DeviceGuard&) = delete;
  DeviceGuard& operator=(const DeviceGuard&) = delete;

 private:
  int before_ = device_number;
};

// A point in a stream's work.
class Event {
 public:
  explicit Event(bool has_time = false);
  ~Event();
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  void record(cudaStream_t stream);
  [[nodiscard]] cudaEvent_t get() const { return event_; }

 private:
  cudaEvent_t event_ = nullptr;
};

// Seconds between two events that were recorded with a time and have happened.
[[nodiscard]] double seconds_between(const Event& start, const Event& end);

class Products;  // of blas.hpp

class Stream : public std::enable_shared_from_this<Stream> {
 public:
  // The calling thread's.
  static Stream& of_this_thread();

  Stream();
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  [[nodiscard]] cudaStream_t get() const { return stream_; }
  [[nodiscard]] Products& products();

  // Waits on the host until all work given so far is done; Ctrl-C ends the waiting.
  void synchronize();
  // What is given from now on begins after what `other` was given until now.
  void wait_for(cudaStream_t other);
  void wait_for(Stream& other);
  // And the other way round: `other` waits for this stream.
  void let_wait(cudaStream_t other);
  // Held by who records a graph, and by who gives work to a stream that may be another thread's: what came
  // from there would become part of the graph, or break it.
  [[nodiscard]] std::unique_lock<std::recursive_mutex> alone() { return std::unique_lock(recorded_); }

 private:
  std::recursive_mutex recorded_;
  cudaStream_t stream_ = nullptr;
  std::unique_ptr<Event> done_;
  std::unique_ptr<Products> products_;
};

// The use of an object that belongs to the stream `home`, and whose memory is freed in its order, by work on
// `stream`: it begins after what `home` was given before, and `home` goes on after it.
class Turn {
 public:
  Turn(Stream& home, Stream& stream) : home_(home), stream_(stream) { stream_.wait_for(home_); }
  ~Turn();
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;

 private:
  Stream& home_;
  Stream& stream_;
};

}  // namespace thalweg::cuda

#include "cuda/device.hpp"

#include <chrono>
#include <string_view>
#include <thread>

#include "core/error.hpp"
#include "core/parallel.hpp"
#include "cuda/blas.hpp"

#if defined(__unix__)
#include <unistd.h>
#endif

namespace thalweg::cuda {
namespace {

// CUDA does not survive a fork: a child must not even ask.
void require_same_process() {
#if defined(__unix__)
  static const pid_t first = getpid();
  if (getpid() != first)
    throw Error("CUDA cannot be used in a process forked after its first use: start processes by 'spawn'");
#endif
}

// A source's path from the project's cpp folder on.
std::string_view inside_project(std::string_view path) {
  const auto at = path.rfind("cpp/");
  return at == std::string_view::npos ? path : path.substr(at);
}

// Why the device is none that kernels were compiled for; empty where it is.
std::string fault_of_kind() {
  constexpr int least_major = 8;
  try {
    const Device& d = device();
    if (d.major >= least_major) return "";
    return join(d.name, " has compute capability ", d.major, '.', d.minor, ", expected ", least_major,
                ".0 or later");
  } catch (const Error& error) {
    return join("the GPU cannot be used (", error.what(), ")");
  }
}

std::string version_text(int version) { return join(version / 1000, '.', version % 1000 / 10); }

}  // namespace

void check(cudaError_t status, std::source_location where) {
  if (status == cudaSuccess) return;
  (void)cudaGetLastError();  // an error that does not stick is not met again
  throw Error(join("CUDA: ", cudaGetErrorString(status), " (", cudaGetErrorName(status), " at ",
                   inside_project(where.file_name()), ':', where.line(), ")"));
}

std::string device_fault() {
  try {
    require_same_process();
  } catch (const Error& error) {
    return error.what();
  }
  int driver = 0;
  int runtime = 0;
  (void)cudaDriverGetVersion(&driver);
  (void)cudaRuntimeGetVersion(&runtime);
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status == cudaSuccess && count > 0) return fault_of_kind();
  (void)cudaGetLastError();
  const std::string words = join(" (", cudaGetErrorString(status), ")");
  if (driver == 0) return "no NVIDIA driver is installed" + words;
  if (status == cudaErrorInsufficientDriver)
    return join("the NVIDIA driver is for CUDA ", version_text(driver), ", this build needs ",
                version_text(runtime), words);
  if (status == cudaSuccess || status == cudaErrorNoDevice) return "no NVIDIA GPU is visible" + words;
  return join("the GPU cannot be used", words);
}

const Device& device() {
  static const Device found = [] {
    cudaDeviceProp properties{};
    check(cudaGetDeviceProperties(&properties, device_number));
    Device d;
    d.name = properties.name;
    d.major = properties.major;
    d.minor = properties.minor;
    d.multiprocessors = properties.multiProcessorCount;
    d.memory = properties.totalGlobalMem;
    d.cache = static_cast<std::size_t>(properties.l2CacheSize);
    d.shared_per_block = properties.sharedMemPerBlockOptin;
    d.shared_per_multiprocessor = properties.sharedMemPerMultiprocessor;
    d.reads_pageable_memory = properties.pageableMemoryAccess != 0;
    return d;
  }();
  return found;
}

DeviceGuard::DeviceGuard() {
  require_same_process();
  check(cudaGetDevice(&before_));
  if (before_ != device_number) check(cudaSetDevice(device_number));
}

DeviceGuard::~DeviceGuard() {
  if (before_ != device_number) (void)cudaSetDevice(before_);
}

Event::Event(bool has_time) {
  check(cudaEventCreateWithFlags(&event_, has_time ? cudaEventDefault : cudaEventDisableTiming));
}

Event::~Event() { (void)cudaEventDestroy(event_); }

void Event::record(cudaStream_t stream) { check(cudaEventRecord(event_, stream)); }

double seconds_between(const Event& start, const Event& end) {
  float milliseconds = 0;
  check(cudaEventElapsedTime(&milliseconds, start.get(), end.get()));
  return 1e-3 * static_cast<double>(milliseconds);
}

Stream& Stream::of_this_thread() {
  require_same_process();
  static thread_local const std::shared_ptr<Stream> mine = std::make_shared<Stream>();
  return *mine;
}

Stream::Stream() {
  check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
  done_ = std::make_unique<Event>();
}

// Work that is still under way ends first: CUDA sees to that.
Stream::~Stream() {
  products_.reset();
  (void)cudaStreamDestroy(stream_);
}

Products& Stream::products() {
  if (!products_) products_ = std::make_unique<Products>(*this);
  return *products_;
}

void Stream::synchronize() {
  using Clock = std::chrono::steady_clock;
  const auto end_of_spinning = Clock::now() + std::chrono::microseconds(200);
  done_->record(stream_);
  for (;;) {
    const cudaError_t status = cudaEventQuery(done_->get());
    if (status == cudaSuccess) break;
    if (status != cudaErrorNotReady) check(status);
    poll_interrupt();
    if (Clock::now() > end_of_spinning) std::this_thread::sleep_for(std::chrono::microseconds(20));
  }
  check(cudaStreamSynchronize(stream_));  // reports faults of what was launched
}

void Stream::wait_for(cudaStream_t other) {
  Event reached;
  reached.record(other);
  const auto lock = alone();
  check(cudaStreamWaitEvent(stream_, reached.get(), cudaEventWaitDefault));
}

void Stream::wait_for(Stream& other) {
  if (&other == this) return;
  Event reached;
  {
    const auto lock = other.alone();
    reached.record(other.get());
  }
  const auto lock = alone();  // never both at a time
  check(cudaStreamWaitEvent(stream_, reached.get(), cudaEventWaitDefault));
}

void Stream::let_wait(cudaStream_t other) {
  Event reached;
  {
    const auto lock = alone();
    reached.record(stream_);
  }
  check(cudaStreamWaitEvent(other, reached.get(), cudaEventWaitDefault));
}

Turn::~Turn() {
  try {
    home_.wait_for(stream_);
  } catch (const Error&) {  // the device is lost, and with it the memory that was to be kept in order
  }
}

}  // namespace thalweg::cuda

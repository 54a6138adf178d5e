// Work that is given to the device again and again, at the price of one launch.
#pragma once

#include <cuda_runtime.h>

#include <mutex>
#include <shared_mutex>
#include <utility>

#include "cuda/device.hpp"

namespace thalweg::cuda {

// Held by whoever records a graph, and shared by what waits for the whole device, which would break it.
inline std::shared_mutex& graphs_begun() {
  static std::shared_mutex mutex;
  return mutex;
}

class Graph {
 public:
  Graph() = default;
  // Records what `work` gives to `stream`; none of it is done now. `work` allocates nothing and waits for
  // nothing.
  template <class Work>
  Graph(Stream& stream, const Work& work) {
    const std::unique_lock recording(graphs_begun());
    const auto lock = stream.alone();
    check(cudaStreamBeginCapture(stream.get(), cudaStreamCaptureModeThreadLocal));
    cudaGraph_t graph = nullptr;
    try {
      work();
    } catch (...) {
      if (cudaStreamEndCapture(stream.get(), &graph) == cudaSuccess) (void)cudaGraphDestroy(graph);
      throw;
    }
    check(cudaStreamEndCapture(stream.get(), &graph));
    const cudaError_t status = cudaGraphInstantiate(&executable_, graph, 0);
    (void)cudaGraphDestroy(graph);
    check(status);
  }
  Graph(Graph&& other) noexcept : executable_(std::exchange(other.executable_, nullptr)) {}
  Graph& operator=(Graph&& other) noexcept {
    std::swap(executable_, other.executable_);
    return *this;
  }
  ~Graph() {
    if (executable_ != nullptr) (void)cudaGraphExecDestroy(executable_);
  }

  [[nodiscard]] explicit operator bool() const { return executable_ != nullptr; }
  void launch(Stream& stream) const { check(cudaGraphLaunch(executable_, stream.get())); }

 private:
  cudaGraphExec_t executable_ = nullptr;
};

}  // namespace thalweg::cuda

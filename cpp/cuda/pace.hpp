// Loops of many launches: the host stays only a little ahead of the device, so that Ctrl-C ends them soon.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "core/parallel.hpp"
#include "cuda/device.hpp"

namespace thalweg::cuda {

class Pace {
 public:
  // For rounds of so many multiply-adds each.
  Pace(double operations, Stream& stream)
      : stream_(stream),
        rounds_(std::clamp<Index>(static_cast<Index>(operations_at_once / std::max(operations, 1.0)), 1,
                                  most_rounds)) {}

  // To be called after `count` rounds were given to the stream.
  void after(Index count) {
    poll_interrupt();
    given_ += count;
    if (given_ < rounds_) return;
    given_ = 0;
    // What was given in the last round but one is done before more is given.
    if (has_recorded_[turn_]) wait(events_[turn_]);
    events_[turn_].record(stream_.get());
    has_recorded_[turn_] = true;
    turn_ = 1 - turn_;
  }

 private:
  static constexpr double operations_at_once = 5e11;  // some 20 ms of plain arithmetic
  static constexpr Index most_rounds = 128;

  static void wait(const Event& event) {
    for (;;) {
      const cudaError_t status = cudaEventQuery(event.get());
      if (status == cudaSuccess) return;
      if (status != cudaErrorNotReady) check(status);
      poll_interrupt();
      std::this_thread::sleep_for(std::chrono::microseconds(20));
    }
  }

  Stream& stream_;
  Index rounds_;
  Index given_ = 0;
  Event events_[2];
  bool has_recorded_[2] = {false, false};
  int turn_ = 0;
};

}  // namespace thalweg::cuda

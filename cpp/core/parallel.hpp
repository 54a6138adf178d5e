// Threads and interrupts.
//
// Work is cut into blocks whose size does not depend on the number of threads, and each block is done by one
// thread: results are the same bits for any number of threads. The calling thread polls for Ctrl-C between
// its blocks and wherever a body calls poll_interrupt().
#pragma once

#include <functional>

#include "core/view.hpp"

namespace thalweg {

// Asks the host (the Python interpreter) whether the user has interrupted; called on the calling thread only.
using InterruptPoll = bool (*)();
void set_interrupt_poll(InterruptPoll poll) noexcept;

// Throws Interrupted when the user has interrupted. Cheap enough for every few thousand operations: the host
// is asked at most every 20 ms, other threads read a flag.
void poll_interrupt();

// Threads that a kernel would use for `n_jobs`: a positive number is taken as it is, 0 means the OpenMP
// default (OMP_NUM_THREADS, threadpoolctl). One where OpenMP is missing, and in a child after fork.
[[nodiscard]] int thread_count(int n_jobs) noexcept;

// Calls body(block, worker) for every block in [0, n_blocks); worker in [0, thread_count(n_jobs)). Blocks are
// handed out in increasing order. A body's first exception is rethrown here once all threads have stopped.
void parallel_for(Index n_blocks, int n_jobs, const std::function<void(Index block, int worker)>& body);

// `n_jobs` for work of so many multiply-adds, or one thread where waking another would cost more than it
// saves.
[[nodiscard]] constexpr int jobs_for(Index operations, int n_jobs) {
  return operations < (Index{1} << 21) ? 1 : n_jobs;
}

// Number of blocks of `size` that cover `n`.
[[nodiscard]] constexpr Index block_count(Index n, Index size) { return (n + size - 1) / size; }

}  // namespace thalweg

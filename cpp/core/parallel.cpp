#include "core/parallel.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <exception>
#include <thread>

#include "core/error.hpp"

#ifdef _OPENMP
#include <omp.h>
#endif
#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

namespace thalweg {
namespace {

using Clock = std::chrono::steady_clock;
constexpr auto poll_interval = std::chrono::milliseconds(20);

std::atomic<InterruptPoll> host_poll{nullptr};
std::atomic<bool> threads_were_started{false};
std::atomic<bool> is_forked_child{false};  // OpenMP's worker threads do not survive a fork

// What the threads of one parallel_for share.
struct Region {
  std::atomic<Index> next{0};
  std::atomic<int> running{0};
  std::atomic<bool> stop{false};
  std::exception_ptr error;
  std::atomic_flag has_error = ATOMIC_FLAG_INIT;

  void fail(std::exception_ptr e) {
    if (!has_error.test_and_set()) error = std::move(e);
    stop.store(true);
  }
};

thread_local Region* current_region = nullptr;
thread_local bool is_caller = true;
thread_local Clock::time_point last_poll{};

void watch_fork() {
#if defined(__unix__) || defined(__APPLE__)
  static const int registered = pthread_atfork(nullptr, nullptr, [] {
    if (threads_were_started.load()) is_forked_child.store(true);
  });
  (void)registered;
#endif
}

bool host_interrupted() {
  const InterruptPoll poll = host_poll.load(std::memory_order_relaxed);
  if (poll == nullptr) return false;
  const auto now = Clock::now();
  if (now - last_poll < poll_interval) return false;
  last_poll = now;
  return poll();
}

void run_blocks(Region& region, Index n_blocks, int worker, const std::function<void(Index, int)>& body) {
  try {
    while (!region.stop.load(std::memory_order_relaxed)) {
      const Index block = region.next.fetch_add(1);
      if (block >= n_blocks) break;
      body(block, worker);
      poll_interrupt();
    }
  } catch (...) {
    region.fail(std::current_exception());
  }
}

// The caller has no block left but others still work: keep listening for Ctrl-C.
void wait_listening(Region& region) {
  for (int spins = 0; region.running.load() > 0; ++spins) {
    if (spins < 2000) {
      std::this_thread::yield();
      continue;
    }
    std::this_thread::sleep_for(std::chrono::microseconds(50));
    if (!region.stop.load() && host_interrupted()) region.fail(std::make_exception_ptr(Interrupted()));
  }
}

}  // namespace

void set_interrupt_poll(InterruptPoll poll) noexcept { host_poll.store(poll); }

void poll_interrupt() {
  if (current_region != nullptr && current_region->stop.load(std::memory_order_relaxed)) throw Interrupted();
  if (is_caller && host_interrupted()) throw Interrupted();
}

int thread_count(int n_jobs) noexcept {
#ifdef _OPENMP
  if (is_forked_child.load()) return 1;
  if (n_jobs <= 0) return std::max(1, omp_get_max_threads());
  return std::min(n_jobs, 4 * omp_get_num_procs());  // OpenMP ends the process where it can start no more
#else
  (void)n_jobs;
  return 1;
#endif
}

void parallel_for(Index n_blocks, int n_jobs, const std::function<void(Index, int)>& body) {
  if (n_blocks <= 0) return;
  poll_interrupt();  // on a busy machine others may take all blocks of many short regions
  const int n_threads = static_cast<int>(std::min<Index>(thread_count(n_jobs), n_blocks));
  Region region;
  Region* const outer_region = current_region;
  const bool outer_caller = is_caller;
  if (n_threads == 1) {
    current_region = &region;
    run_blocks(region, n_blocks, 0, body);
  } else {
#ifdef _OPENMP
    watch_fork();
    threads_were_started.store(true);
    region.running.store(n_threads);
#pragma omp parallel num_threads(n_threads)
    {
      // A smaller team than asked for is possible (OMP_THREAD_LIMIT): the blocks are shared all the same.
      const int worker = omp_get_thread_num();
      if (worker == 0) region.running.fetch_sub(n_threads - omp_get_num_threads());
      current_region = &region;
      is_caller = worker == 0 && outer_caller;
      run_blocks(region, n_blocks, worker, body);
      region.running.fetch_sub(1);
      if (is_caller) wait_listening(region);
      current_region = nullptr;
      is_caller = true;
    }
#endif
  }
  current_region = outer_region;
  is_caller = outer_caller;
  if (region.error) std::rethrow_exception(region.error);
}

}  // namespace thalweg

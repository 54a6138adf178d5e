#include "core/parallel.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <exception>
#include <thread>

#include "core/crew.hpp"
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
std::atomic<bool> is_forked_child{false};  // threads do not survive a fork

class Region;
thread_local Region* current_region = nullptr;
thread_local bool is_caller = true;
thread_local Clock::time_point last_poll{};

bool host_interrupted() {
  const InterruptPoll poll = host_poll.load(std::memory_order_relaxed);
  if (poll == nullptr) return false;
  const auto now = Clock::now();
  if (now - last_poll < poll_interval) return false;
  last_poll = now;
  return poll();
}

// What the threads of one parallel_for share.
class Region final : public OpenWork {
 public:
  Region(Index n_blocks, int n_helpers, const std::function<void(Index, int)>& body)
      : OpenWork(n_helpers), n_blocks_(n_blocks), body_(body) {}

  [[nodiscard]] bool is_stopped() const { return stop_.load(std::memory_order_relaxed); }

  void run(int worker) noexcept {
    Region* const outer = current_region;
    current_region = this;
    try {
      while (!is_stopped()) {
        const Index block = next_.fetch_add(1);
        if (block >= n_blocks_) break;
        body_(block, worker);
        poll_interrupt();
      }
    } catch (...) {
      fail(std::current_exception());
    }
    current_region = outer;
  }

  void help(int number) noexcept override {
    is_caller = false;
    run(number);
  }

  // The caller has no block left but others still work: keep listening for Ctrl-C.
  void wait_listening() {
    for (int spins = 0; inside() > 0; ++spins) {
      if (spins < 2000) {
        std::this_thread::yield();
        continue;
      }
      std::this_thread::sleep_for(std::chrono::microseconds(50));
      if (is_caller && !is_stopped() && host_interrupted()) fail(std::make_exception_ptr(Interrupted()));
    }
  }

  void rethrow() const {
    if (error_) std::rethrow_exception(error_);
  }

 private:
  void fail(std::exception_ptr e) noexcept {
    if (!has_error_.test_and_set()) error_ = std::move(e);
    stop_.store(true);
  }

  Index n_blocks_;
  const std::function<void(Index, int)>& body_;
  std::atomic<Index> next_{0};
  std::atomic<bool> stop_{false};
  std::exception_ptr error_;
  std::atomic_flag has_error_ = ATOMIC_FLAG_INIT;
};

void watch_fork() {
#if defined(__unix__) || defined(__APPLE__)
  static const int registered = pthread_atfork(nullptr, nullptr, [] {
    if (threads_were_started.load()) is_forked_child.store(true);
  });
  (void)registered;
#endif
}

}  // namespace

void set_interrupt_poll(InterruptPoll poll) noexcept { host_poll.store(poll); }

void poll_interrupt() {
  if (current_region != nullptr && current_region->is_stopped()) throw Interrupted();
  if (is_caller && host_interrupted()) throw Interrupted();
}

int thread_count(int n_jobs) noexcept {
#ifdef _OPENMP
  if (is_forked_child.load()) return 1;
  if (n_jobs <= 0) return std::max(1, omp_get_max_threads());
  return std::min({n_jobs, 4 * omp_get_num_procs(), std::max(1, omp_get_thread_limit())});
#else
  (void)n_jobs;
  return 1;
#endif
}

void parallel_for(Index n_blocks, int n_jobs, const std::function<void(Index, int)>& body) {
  if (n_blocks <= 0) return;
  poll_interrupt();  // on a busy machine others may take all blocks of many short regions
  const bool is_inside = current_region != nullptr;  // one level of threads is enough
  const auto n_threads = is_inside ? 1 : static_cast<int>(std::min<Index>(thread_count(n_jobs), n_blocks));
  Region region(n_blocks, n_threads - 1, body);
  if (n_threads == 1) {
    region.run(0);
  } else {
    watch_fork();
    threads_were_started.store(true);
    Crew::instance().open(region);
    region.run(0);
    Crew::instance().close(region);
    region.wait_listening();
  }
  region.rethrow();
}

}  // namespace thalweg

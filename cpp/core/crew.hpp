// Threads that help with whatever work is open.
//
// The caller of a region does its blocks itself and never waits for a thread that has not begun: on a busy
// machine, where a helper may get no processor for milliseconds, a region takes no longer than on one thread.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace thalweg {

// Work that others may join until it is closed.
class OpenWork {
 public:
  explicit OpenWork(int n_helpers) : seats_(n_helpers) {}
  OpenWork(const OpenWork&) = delete;
  OpenWork& operator=(const OpenWork&) = delete;

  // Does the work of one helper, whose number is in [1, n_helpers].
  virtual void help(int number) noexcept = 0;

  // Helpers that have begun and not ended.
  [[nodiscard]] int inside() const { return inside_.load(std::memory_order_acquire); }

 protected:
  ~OpenWork() = default;

 private:
  friend class Crew;
  int seats_;
  int begun_ = 0;
  std::atomic<int> inside_{0};
};

class Crew {
 public:
  // Never destroyed: its threads may outlive everything else.
  static Crew& instance() {
    static Crew* const crew = new Crew;
    return *crew;
  }

  // Lets helpers in, until close().
  void open(OpenWork& work) {
    bool someone_sleeps = false;
    {
      const std::lock_guard lock(mutex_);
      hire(work.seats_);
      open_.push_back(&work);
      calls_.fetch_add(1, std::memory_order_release);
      someone_sleeps = n_asleep_ > 0;
    }
    if (someone_sleeps) wake_.notify_all();
  }

  // No helper begins afterwards.
  void close(OpenWork& work) {
    const std::lock_guard lock(mutex_);
    std::erase(open_, &work);
  }

 private:
  static constexpr auto patience =
      std::chrono::microseconds(100);  // awake for the next of many short regions

  Crew() = default;

  void hire(int n_wanted) {
    try {
      for (; n_threads_ < n_wanted; ++n_threads_) std::thread([this] { serve(); }).detach();
    } catch (const std::system_error&) {  // the system has no more threads: fewer help
    }
  }

  void serve() {
    for (;;) {
      const auto seen = calls_.load(std::memory_order_acquire);
      while (help_someone()) {
      }
      if (!called_soon(seen)) sleep(seen);
    }
  }

  bool help_someone() {
    OpenWork* work = nullptr;
    int number = 0;
    {
      const std::lock_guard lock(mutex_);
      const auto found =
          std::find_if(open_.begin(), open_.end(), [](const OpenWork* w) { return w->seats_ > 0; });
      if (found == open_.end()) return false;
      work = *found;
      --work->seats_;
      number = ++work->begun_;
      work->inside_.fetch_add(1, std::memory_order_relaxed);
    }
    work->help(number);
    work->inside_.fetch_sub(1, std::memory_order_release);
    return true;
  }

  // Whether a call came while it was worth staying awake.
  [[nodiscard]] bool called_soon(unsigned seen) const {
    const auto end = std::chrono::steady_clock::now() + patience;
    do {
      for (int i = 0; i < 32; ++i) {
        if (calls_.load(std::memory_order_acquire) != seen) return true;
#if defined(__SSE2__)
        _mm_pause();
#endif
      }
    } while (std::chrono::steady_clock::now() < end);
    return false;
  }

  void sleep(unsigned seen) {
    std::unique_lock lock(mutex_);
    ++n_asleep_;
    wake_.wait(lock, [&] { return calls_.load(std::memory_order_relaxed) != seen; });
    --n_asleep_;
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<OpenWork*> open_;
  std::atomic<unsigned> calls_{0};
  int n_threads_ = 0;
  int n_asleep_ = 0;
};

}  // namespace thalweg

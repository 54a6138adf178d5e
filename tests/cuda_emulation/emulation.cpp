#include "emulation.hpp"

#include <setjmp.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <pthread.h>
#include <sanitizer/common_interface_defs.h>
#endif

#include "guards.hpp"

namespace emulation {
namespace {

constexpr unsigned warp_size = 32;
constexpr std::size_t stack_bytes = std::size_t{1} << 18;

struct Copy {
  void* to;
  const void* from;
  std::size_t size, valid_bytes;
};

struct Fiber;

struct Thread {
  enum class State { unstarted, running, at_barrier, in_warp, done };
  State state = State::unstarted;
  Fiber* fiber = nullptr;
  unsigned number = 0;
  unsigned waits_for = 0;  // the generation whose end it waits for
  std::vector<Copy> open_copies;
  std::vector<std::vector<Copy>> groups;
};

struct Warp {
  unsigned arrived = 0;  // lanes
  unsigned generation = 0;
  std::size_t size = 0;
  Slot slots[2][warp_size];
};

// Where execution goes on: the scheduler's own stack or a fiber's.
struct Context {
  jmp_buf at;
#if defined(__SANITIZE_ADDRESS__)
  void* fake_stack = nullptr;
  const void* bottom = nullptr;
  std::size_t size = 0;
#endif
};

struct Fiber {
  Context context;
  ucontext_t start{};
  char* stack = nullptr;
  bool is_fresh = true;

  Fiber() {
    void* const memory =
        mmap(nullptr, stack_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    stack = static_cast<char*>(memory);
    mprotect(stack, 4096, PROT_NONE);  // a stack that is too small faults at once
#if defined(__SANITIZE_ADDRESS__)
    context.bottom = stack;
    context.size = stack_bytes;
#endif
  }
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;
  ~Fiber() { munmap(stack, stack_bytes); }
};

void switch_to(Context& from, Context& to, ucontext_t* first_time) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&from.fake_stack, to.bottom, to.size);
#endif
  if (_setjmp(from.at) == 0) {
    if (first_time != nullptr) {
      setcontext(first_time);
    } else {
      _longjmp(to.at, 1);
    }
  }
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(from.fake_stack, nullptr, nullptr);
#endif
}

// One block at a time; everything below is used under this lock.
std::recursive_mutex device_lock;

struct Block {
  std::vector<Thread> threads;
  std::vector<Warp> warps;
  std::vector<std::unique_ptr<Fiber>> fibers;
  std::vector<Fiber*> idle;
  Context scheduler;
  Thread* current = nullptr;
  const std::function<void()>* body = nullptr;
  unsigned size = 0, live = 0, next = 0;
  unsigned arrived = 0, generation = 0;
  int votes = 0;
  Votes counted[2];
  std::string fault;
  bool is_reversed = false;
  std::vector<unsigned char> shared;
  std::size_t shared_bytes = 0;

  Thread& in_order(unsigned i) { return threads[is_reversed ? size - 1 - i : i]; }

  void enter(Thread& thread) {
    current = &thread;
    threadIdx = {thread.number % blockDim.x, thread.number / blockDim.x % blockDim.y,
                 thread.number / (blockDim.x * blockDim.y)};
  }

  void release_barrier() {
    counted[generation % 2] = {votes, static_cast<int>(arrived)};
    votes = 0;
    arrived = 0;
    ++generation;
  }

  void leave(Thread& thread) {
    thread.state = Thread::State::done;
    --live;
    if (arrived > 0 && arrived == live) release_barrier();
  }

  // Lets others run until this thread may go on.
  void wait() {
    Thread* const mine = current;
    switch_to(mine->fiber->context, scheduler, nullptr);
    enter(*mine);
  }

  [[nodiscard]] bool may_go_on(const Thread& thread) const {
    if (thread.state == Thread::State::at_barrier) return generation != thread.waits_for;
    if (thread.state == Thread::State::in_warp)
      return warps[thread.number / warp_size].generation != thread.waits_for;
    return false;
  }

  void resume(Fiber& fiber) {
    ucontext_t* const first_time = fiber.is_fresh ? &fiber.start : nullptr;
    fiber.is_fresh = false;
    switch_to(scheduler, fiber.context, first_time);
  }

  Fiber& free_fiber();
  void run();
  void abandon();
};

Block& block() {
  static Block only;
  return only;
}

// A fiber's whole life: threads that have not begun, one after the other.
void serve() {
  Block& b = block();
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, &b.scheduler.bottom, &b.scheduler.size);
#endif
  Fiber* const mine = b.idle.back();
  for (;;) {
    b.idle.pop_back();
    while (b.next < b.size && b.fault.empty()) {
      Thread& thread = b.in_order(b.next++);
      thread.fiber = mine;
      thread.state = Thread::State::running;
      b.enter(thread);
      try {
        (*b.body)();
      } catch (const std::exception& error) {
        b.fault = error.what();
      }
      b.leave(thread);
    }
    b.idle.push_back(mine);
    switch_to(mine->context, b.scheduler, nullptr);
  }
}

Fiber& Block::free_fiber() {
  if (idle.empty()) {
    auto fiber = std::make_unique<Fiber>();
    getcontext(&fiber->start);
    fiber->start.uc_stack.ss_sp = fiber->stack;
    fiber->start.uc_stack.ss_size = stack_bytes;
    fiber->start.uc_link = nullptr;
    makecontext(&fiber->start, &serve, 0);
    idle.push_back(fiber.get());
    fibers.push_back(std::move(fiber));
  }
  return *idle.back();
}

// Forgets the threads that are in the midst of something.
void Block::abandon() {
  idle.clear();
  fibers.clear();
}

std::string where(const Thread& thread) {
  return "block (" + std::to_string(blockIdx.x) + ", " + std::to_string(blockIdx.y) + ", " +
         std::to_string(blockIdx.z) + "), thread " + std::to_string(thread.number);
}

void Block::run() {
  size = blockDim.x * blockDim.y * blockDim.z;
  live = size;
  next = arrived = 0;
  votes = 0;
  fault.clear();
  threads.resize(size);
  warps.resize((size + warp_size - 1) / warp_size);
  for (Warp& warp : warps) warp.arrived = 0;
  for (unsigned i = 0; i < size; ++i) {
    Thread& thread = threads[i];
    thread.state = Thread::State::unstarted;
    thread.number = i;
    thread.open_copies.clear();
    thread.groups.clear();
  }
  shared.resize(shared_bytes + guard_bytes + 256);
  std::fill(shared.begin(), shared.end(), poison);
  bool moved = true;
  while (live > 0 && moved && fault.empty()) {
    moved = false;
    for (unsigned i = 0; i < size && fault.empty(); ++i) {
      Thread& thread = in_order(i);
      if (thread.state == Thread::State::unstarted) {
        resume(free_fiber());
        moved = true;
      } else if (may_go_on(thread)) {
        thread.state = Thread::State::running;
        resume(*thread.fiber);
        moved = true;
      }
    }
  }
  if (fault.empty() && live > 0) {
    for (const Thread& thread : threads)
      if (thread.state != Thread::State::done && fault.empty())
        fault = where(thread) + " waits in vain at a " +
                (thread.state == Thread::State::at_barrier ? "barrier" : "warp collective") +
                ": other threads left or wait elsewhere";
  }
  if (fault.empty()) {
    const auto* const end = static_cast<const unsigned char*>(dynamic_shared()) + shared_bytes;
    if (!is_untouched(end, guard_bytes))
      fault = where(threads[0]) + ": the block wrote beyond its shared memory";
  }
  if (!fault.empty()) {
    abandon();
    throw std::runtime_error("emulated kernel: " + fault);
  }
}

}  // namespace

void* dynamic_shared() {
  Block& b = block();
  const auto start = reinterpret_cast<std::uintptr_t>(b.shared.data());
  return b.shared.data() + ((start + 127) / 128 * 128 - start);
}

void run_grid(dim3 grid, dim3 size, std::size_t shared_bytes, const std::function<void()>& body) {
  const std::lock_guard lock(device_lock);
  Block& b = block();
  if (b.current != nullptr) throw std::logic_error("emulated kernel: a kernel starts another");
  const char* const order = std::getenv("THALWEG_EMULATION_ORDER");
  b.is_reversed = order != nullptr && std::string_view(order) == "reverse";
  b.body = &body;
  b.shared_bytes = shared_bytes;
  gridDim = grid;
  blockDim = size;
  const std::uint64_t count = std::uint64_t{grid.x} * grid.y * grid.z;
  const auto clear = [&b](void*) { b.current = nullptr; };
  const std::unique_ptr<Block, decltype(clear)> at_end(&b, clear);
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::uint64_t n = b.is_reversed ? count - 1 - i : i;
    blockIdx = {static_cast<unsigned>(n % grid.x), static_cast<unsigned>(n / grid.x % grid.y),
                static_cast<unsigned>(n / grid.x / grid.y)};
    b.run();
  }
  check_guards("an emulated kernel");
}

Votes barrier(int value) {
  Block& b = block();
  Thread& mine = *b.current;
  const unsigned generation = b.generation;
  b.votes += value;
  ++b.arrived;
  if (b.arrived == b.live) {
    b.release_barrier();
  } else {
    mine.state = Thread::State::at_barrier;
    mine.waits_for = generation;
    b.wait();
  }
  return b.counted[generation % 2];
}

unsigned lane() { return block().current->number % warp_size; }

const Slot* exchange(unsigned mask, const void* given, std::size_t size) {
  Block& b = block();
  Thread& mine = *b.current;
  const unsigned number = mine.number / warp_size;
  Warp& warp = b.warps[number];
  if (mask != ~0U) throw std::runtime_error(where(mine) + ": a warp collective without a full mask");
  if ((number + 1) * warp_size > b.size)
    throw std::runtime_error(where(mine) + ": a warp collective in a warp of fewer than 32 threads");
  for (unsigned l = 0; l < warp_size; ++l)
    if (b.threads[number * warp_size + l].state == Thread::State::done)
      throw std::runtime_error(where(mine) + ": a warp collective after lane " + std::to_string(l) +
                               " has left");
  if (warp.arrived != 0 && warp.size != size)
    throw std::runtime_error(where(mine) + ": lanes meet in different warp collectives");
  const unsigned generation = warp.generation;
  warp.size = size;
  std::memcpy(warp.slots[generation % 2][mine.number % warp_size].bytes, given, size);
  warp.arrived |= 1U << (mine.number % warp_size);
  if (warp.arrived == ~0U) {
    warp.arrived = 0;
    ++warp.generation;
  } else {
    mine.state = Thread::State::in_warp;
    mine.waits_for = generation;
    b.wait();
  }
  return warp.slots[generation % 2];
}

void async_copy(void* to, const void* from, std::size_t size, std::size_t valid_bytes) {
  if (reinterpret_cast<std::uintptr_t>(to) % size != 0 ||
      (valid_bytes > 0 && reinterpret_cast<std::uintptr_t>(from) % size != 0))
    throw std::runtime_error("cp.async: addresses are not multiples of " + std::to_string(size));
  block().current->open_copies.push_back({to, from, size, valid_bytes});
}

void async_commit() {
  Thread& mine = *block().current;
  mine.groups.push_back(std::move(mine.open_copies));
  mine.open_copies.clear();
}

void async_wait(std::size_t groups_left) {
  auto& groups = block().current->groups;
  const std::size_t n_done = groups.size() - std::min(groups.size(), groups_left);
  for (std::size_t g = 0; g < n_done; ++g) {
    for (const Copy& copy : groups[g]) {
      if (copy.valid_bytes > 0) std::memcpy(copy.to, copy.from, copy.valid_bytes);
      std::memset(static_cast<char*>(copy.to) + copy.valid_bytes, 0, copy.size - copy.valid_bytes);
    }
  }
  groups.erase(groups.begin(), groups.begin() + static_cast<std::ptrdiff_t>(n_done));
}

}  // namespace emulation

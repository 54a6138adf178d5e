// A device on the host, for tests: blocks run one after the other, the threads of a block as fibers that
// switch at barriers and warp collectives. Every fault of a kernel that a device would leave undefined is an
// exception.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

struct uint3 {
  unsigned x = 0, y = 0, z = 0;
};

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

// Of the running thread, as on a device.
inline uint3 threadIdx;
inline uint3 blockIdx;
inline dim3 blockDim;
inline dim3 gridDim;

namespace emulation {

// Runs `body` once for every thread of the grid. Throws std::runtime_error where threads wait for each other
// in vain or write beyond their memory.
void run_grid(dim3 grid, dim3 block, std::size_t shared_bytes, const std::function<void()>& body);

// Poisoned with NaN at the start of every block.
void* dynamic_shared();

// Waits for the block's other threads; what the values of all sum up to and how many they are.
struct Votes {
  int sum = 0;
  int threads = 0;
};
Votes barrier(int value);

// What a lane brings to a collective: up to 32 bytes.
struct alignas(16) Slot {
  unsigned char bytes[32];
};
// Waits for the warp's other lanes; what each of the 32 brought. `mask` must name all of them.
const Slot* exchange(unsigned mask, const void* mine, std::size_t size);
unsigned lane();

// Copies that happen at the wait for their group, so that a missing wait shows.
void async_copy(void* to, const void* from, std::size_t size, std::size_t valid_bytes);
void async_commit();
void async_wait(std::size_t groups_left);

}  // namespace emulation

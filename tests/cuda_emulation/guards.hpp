// Memory that shows what should not have been done to it: every byte of it, and of the guards at its ends,
// begins as 0xFF, which is NaN in either precision.
#pragma once

#include <cstddef>

namespace emulation {

inline constexpr unsigned char poison = 0xFF;
inline constexpr std::size_t guard_bytes = 1024;
inline constexpr std::size_t device_memory_bytes = std::size_t{1} << 30;

// Null where the emulated device is full.
void* guarded_allocate(std::size_t size);
// Whether `p` was allocated and not yet freed.
bool guarded_free(void* p);
[[nodiscard]] std::size_t allocated_bytes();
// Whether `p` lies in allocated memory.
[[nodiscard]] bool is_device_memory(const void* p);

[[nodiscard]] bool is_untouched(const unsigned char* from, std::size_t size);
// Throws std::runtime_error where a guard of any allocation, or of one freed since, was written to.
void check_guards(const char* by);

}  // namespace emulation

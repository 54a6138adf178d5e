#include "guards.hpp"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <new>
#include <stdexcept>
#include <string>

namespace emulation {
namespace {

std::mutex lock;
std::map<const unsigned char*, std::size_t> allocations;
std::size_t in_use = 0;
bool was_overrun = false;

bool has_whole_guards(const unsigned char* p, std::size_t size) {
  return is_untouched(p - guard_bytes, guard_bytes) && is_untouched(p + size, guard_bytes);
}

}  // namespace

bool is_untouched(const unsigned char* from, std::size_t size) {
  return size == 0 || (from[0] == poison && std::memcmp(from, from + 1, size - 1) == 0);
}

void* guarded_allocate(std::size_t size) {
  const std::lock_guard hold(lock);
  if (size > device_memory_bytes - in_use) return nullptr;
  auto* const memory = static_cast<unsigned char*>(
      ::operator new(size + 2 * guard_bytes, std::align_val_t{256}, std::nothrow));
  if (memory == nullptr) return nullptr;
  std::memset(memory, poison, size + 2 * guard_bytes);
  allocations[memory + guard_bytes] = size;
  in_use += size;
  return memory + guard_bytes;
}

bool guarded_free(void* p) {
  const std::lock_guard hold(lock);
  const auto found = allocations.find(static_cast<const unsigned char*>(p));
  if (found == allocations.end()) return false;
  was_overrun |= !has_whole_guards(found->first, found->second);
  in_use -= found->second;
  std::memset(p, poison, found->second);  // what is read after this shows too
  ::operator delete(static_cast<unsigned char*>(p) - guard_bytes, std::align_val_t{256});
  allocations.erase(found);
  return true;
}

std::size_t allocated_bytes() {
  const std::lock_guard hold(lock);
  return in_use;
}

bool is_device_memory(const void* p) {
  const std::lock_guard hold(lock);
  const auto* const byte = static_cast<const unsigned char*>(p);
  auto after = allocations.upper_bound(byte);
  if (after == allocations.begin()) return false;
  --after;
  return byte < after->first + std::max<std::size_t>(after->second, 1);
}

void check_guards(const char* by) {
  const std::lock_guard hold(lock);
  bool is_whole = !was_overrun;
  for (const auto& [p, size] : allocations) {
    if (has_whole_guards(p, size)) continue;
    is_whole = false;
    auto* const start = const_cast<unsigned char*>(p);
    std::memset(start - guard_bytes, poison, guard_bytes);  // what is reported is not met again
    std::memset(start + size, poison, guard_bytes);
  }
  was_overrun = false;
  if (!is_whole) throw std::runtime_error(std::string(by) + " wrote beyond its device memory");
}

}  // namespace emulation

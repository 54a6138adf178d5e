// Counter-based random numbers: Philox 4x32-10. A draw is a function of what it is for, (seed, stream, row,
// step, element), so that it does not depend on batches, threads or the device that makes it.
//
// Source: J. Salmon, M. Moraes, R. Dror, D. Shaw, Parallel random numbers: as easy as 1, 2, 3, SC 2011.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>

#ifdef __CUDACC__
#define THALWEG_HOST_DEVICE __host__ __device__
#else
#define THALWEG_HOST_DEVICE
#endif

namespace thalweg::rng {

struct Block {
  std::uint32_t word[4];
};

// The bijection itself: ten rounds.
THALWEG_HOST_DEVICE inline Block philox(Block counter, std::uint32_t key0, std::uint32_t key1) {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t product0 = std::uint64_t{0xD2511F53u} * counter.word[0];
    const std::uint64_t product1 = std::uint64_t{0xCD9E8D57u} * counter.word[2];
    const auto high0 = static_cast<std::uint32_t>(product0 >> 32),
               low0 = static_cast<std::uint32_t>(product0);
    const auto high1 = static_cast<std::uint32_t>(product1 >> 32),
               low1 = static_cast<std::uint32_t>(product1);
    counter = {{high1 ^ counter.word[1] ^ key0, low1, high0 ^ counter.word[3] ^ key1, low0}};
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  return counter;
}

// What a sequence of draws is for: rows below 2^48, streams below 2^16.
struct Sequence {
  std::uint64_t seed = 0;
  std::uint32_t stream = 0;
  std::uint64_t row = 0;
  std::uint32_t step = 0;

  // Words 4 b to 4 b + 3 of the sequence.
  THALWEG_HOST_DEVICE [[nodiscard]] Block block(std::uint32_t b) const {
    const Block counter{{b, static_cast<std::uint32_t>(row), step,
                         (stream << 16) | static_cast<std::uint32_t>((row >> 32) & 0xFFFFu)}};
    return philox(counter, static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32));
  }
};

// In [0, 1): a multiple of 2^-53.
THALWEG_HOST_DEVICE inline double uniform(std::uint32_t high, std::uint32_t low) {
  return static_cast<double>(((std::uint64_t{high} << 32) | low) >> 11) * 0x1p-53;
}

// In [0, 1): a multiple of 2^-24.
THALWEG_HOST_DEVICE inline float uniform(std::uint32_t word) {
  return static_cast<float>(word >> 8) * 0x1p-24f;
}

// Two independent standard normals from the four words of a block (Box and Muller).
THALWEG_HOST_DEVICE inline std::array<double, 2> normals(const Block& block) {
  constexpr double two_pi = 6.283185307179586476925286766559;
  const double radius = std::sqrt(-2.0 * std::log1p(-uniform(block.word[0], block.word[1])));
  const double angle = two_pi * uniform(block.word[2], block.word[3]);
  return {radius * std::cos(angle), radius * std::sin(angle)};
}

// Four of single precision, a pair from two words each. The radius comes from all 32 bits of its word, in
// (0, 1], so that its tail ends at 6.8.
THALWEG_HOST_DEVICE inline std::array<float, 4> normals_of_float(const Block& block) {
  constexpr float two_pi = 6.283185307179586476925286766559F;
  std::array<float, 4> out{};
  for (int pair = 0; pair < 2; ++pair) {
    const float u = static_cast<float>(block.word[2 * pair]) * 0x1p-32F + 0x1p-33F;
    const float radius = std::sqrt(-2.0F * std::log(u));
    const float angle = two_pi * uniform(block.word[2 * pair + 1]);
    out[static_cast<std::size_t>(2 * pair)] = radius * std::cos(angle);
    out[static_cast<std::size_t>(2 * pair) + 1] = radius * std::sin(angle);
  }
  return out;
}

}  // namespace thalweg::rng

// Weights as whole numbers, for products with bits on tensor cores.
//
// Unit u has a step s_u, a power of two, and its weight from unit k is w_ku = s_u m_ku with a whole number
// m_ku of four digits to the base 256, each from -128 to 127. The step is such that sums of all |m_ku| stay
// below 2^31: products with states of 0 and 1 are then exact in 32 bits, whatever their order, and so are the
// partial ones digit by digit, the upper first: sum = ((S_3 256 + S_2) 256 + S_1) 256 + S_0. With the sum A_u
// of absolute weights |w - s m| <= s / 2 <= A_u 2^-30, or A_u 2^-28 where that lets three digits suffice,
// which is a few roundings of A_u in single precision at most.
//
// In memory: for every 32 units (a tile), digit by digit from the upper, word of states by word of states, a
// slab of 1 KB in the order of the fragments of mma_int8, that is of 16 bytes a lane, twice. States come as
// bits of a word; shifted right by t and by t + 4 and masked to the lowest bit of each byte they are the
// operand's bytes, so byte b of half h at lane t belongs to unit t + 4 h + 8 b of the word. The columns of
// fragments 2 i and 2 i + 1 are dealt such that lane t has four neighbours, 16 i + 4 t to 16 i + 4 t + 3: one
// block of random words.
#pragma once

#include <cstdint>

#include "cuda/memory.hpp"

namespace thalweg::cuda::rbm {

inline constexpr int tile_units = 32;
inline constexpr int n_digits = 4;
inline constexpr int slab_words = 256;

struct Digits {
  const std::uint32_t* slabs = nullptr;     // (tiles, n_digits, words, slab_words)
  const float* step = nullptr;              // (tiles * tile_units,)
  const std::uint8_t* n_skipped = nullptr;  // (tiles,): upper digits that are zero throughout, 0 or 1
  int words = 0;
  int tiles = 0;
};

// The memory of one direction's weights (depth, units).
class DigitMemory {
 public:
  DigitMemory() = default;
  DigitMemory(const float* weights, Index stride, Index depth, Index units, Stream& stream);

  [[nodiscard]] Digits view() const {
    return {slabs_.data(), step_.data(), n_skipped_.data(), static_cast<int>(words_),
            static_cast<int>(tiles_)};
  }

 private:
  Index words_ = 0;
  Index tiles_ = 0;
  Buffer<std::uint32_t> slabs_;
  Buffer<float> step_;
  Buffer<std::uint8_t> n_skipped_;
};

}  // namespace thalweg::cuda::rbm

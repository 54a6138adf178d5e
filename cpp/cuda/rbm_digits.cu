// One block a tile of 32 units: its columns' sizes, their steps, and then all digits. The weights are read
// twice, 12 bytes each are moved, and the second time they come from the caches.
#include "cuda/rbm_digits.cuh"

#include <cmath>

#include "cuda/launch.hpp"

namespace thalweg::cuda::rbm {
namespace {

// Three digits hold numbers up to this size.
constexpr double most_of_three = 127.0 * 65536 + 127.0 * 256 + 127.0;

struct Step {
  int exponent;
  bool needs_four;
};

__device__ Step choose_step(double sum, double largest) {
  constexpr int least = -126;  // of normal numbers
  int exponent = 0;
  (void)std::frexp(sum, &exponent);  // sum < 2^exponent
  const int finest = exponent - 30 < least ? least : exponent - 30;
  for (int more = 0; more <= 2; ++more)
    if (std::rint(std::ldexp(largest, -(finest + more))) <= most_of_three) return {finest + more, false};
  return {finest, true};
}

// The unit of column c in fragment j of a tile.
__device__ int unit_of_column(int j, int c) { return 16 * (j / 2) + 4 * (c / 2) + 2 * (j % 2) + c % 2; }

constexpr int digit_threads = 1024;

// One block a tile. `weights` (depth, units).
__global__ void __launch_bounds__(digit_threads)
    digits_kernel(const float* weights, Index stride, Index depth, Index units, int n_words,
                  std::uint32_t* slabs, float* step, std::uint8_t* n_skipped) {
  constexpr int parts = digit_threads / tile_units;
  __shared__ double sums[parts][tile_units];
  __shared__ float largest[parts][tile_units];
  __shared__ int exponents[tile_units];
  __shared__ int four[tile_units];
  const auto column = static_cast<int>(threadIdx.x % tile_units);
  const auto part = static_cast<int>(threadIdx.x / tile_units);
  const Index first = Index{blockIdx.x} * tile_units;
  const bool is_inside = first + column < units;
  double sum = 0;
  float most = 0;
  if (is_inside)
    for (Index k = part; k < depth; k += parts) {
      const float size = std::abs(weights[k * stride + first + column]);
      sum += static_cast<double>(size);
      most = size > most ? size : most;
    }
  sums[part][column] = sum;
  largest[part][column] = most;
  __syncthreads();
  if (part == 0) {
    for (int p = 1; p < parts; ++p) {
      sum += sums[p][column];
      most = largest[p][column] > most ? largest[p][column] : most;
    }
    const bool is_finite = std::isfinite(sum);
    const Step chosen = is_finite ? choose_step(sum, static_cast<double>(most)) : Step{0, false};
    exponents[column] = is_finite ? chosen.exponent : 10000;  // every weight counts as zero
    four[column] = chosen.needs_four ? 1 : 0;
    // Weights that are not finite make every sum NaN.
    step[first + column] = is_finite ? static_cast<float>(std::ldexp(1.0, chosen.exponent)) : std::nanf("");
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    int any = 0;
    for (int c = 0; c < tile_units; ++c) any |= four[c];
    n_skipped[blockIdx.x] = any == 0 ? 1 : 0;
  }
  std::uint32_t* const out = slabs + Index{blockIdx.x} * n_digits * n_words * slab_words;
  for (int i = static_cast<int>(threadIdx.x); i < n_words * slab_words; i += digit_threads) {
    const int word = i / slab_words;
    const int at = i % slab_words;  // (which two fragments, lane, fragment, half)
    const int lane = at / 4 % 32;
    const int fragment = 2 * (at / 128) + at / 2 % 2;
    const int half = at % 2;
    const int unit = unit_of_column(fragment, lane / 4);
    std::uint32_t digits[n_digits] = {};
    for (int b = 0; b < 4; ++b) {
      const Index k = Index{word} * 32 + lane % 4 + 4 * half + 8 * b;
      if (k >= depth || first + unit >= units || exponents[unit] == 10000) continue;
      const auto w = static_cast<double>(weights[k * stride + first + unit]);
      auto number = static_cast<int>(std::rint(std::ldexp(w, -exponents[unit])));
      for (int d = 0; d < n_digits; ++d) {
        const int low = static_cast<std::int8_t>(number & 0xFF);
        digits[d] |= static_cast<std::uint32_t>(low & 0xFF) << (8 * b);
        number = (number - low) >> 8;
      }
    }
    for (int d = 0; d < n_digits; ++d)
      out[(Index{n_digits - 1 - d} * n_words + word) * slab_words + at] = digits[d];
  }
}

}  // namespace

DigitMemory::DigitMemory(const float* weights, Index stride, Index depth, Index units, Stream& stream)
    : words_(ceil_div(depth, 32)),
      tiles_(ceil_div(units, tile_units)),
      slabs_(tiles_ * n_digits * words_ * slab_words, stream),
      step_(tiles_ * tile_units, stream),
      n_skipped_(tiles_, stream) {
  if (tiles_ == 0) return;
  launch(digits_kernel, static_cast<unsigned>(tiles_), digit_threads, 0, stream, weights, stride, depth,
         units, static_cast<int>(words_), slabs_.data(), step_.data(), n_skipped_.data());
}

}  // namespace thalweg::cuda::rbm

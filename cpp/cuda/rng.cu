// One thread draws one block of four words, and writes what comes of it.
#include "cuda/rng.hpp"

#include <type_traits>

#include "cuda/launch.hpp"

namespace thalweg::cuda {
namespace {

constexpr unsigned block_size = 256;

struct Words {
  static constexpr int size = 4;
  __device__ static void of(const rng::Block& block, std::uint32_t (&out)[size]) {
    for (int i = 0; i < size; ++i) out[i] = block.word[i];
  }
};

template <class T>
struct Normals {
  static constexpr int size = std::is_same_v<T, float> ? 4 : 2;
  __device__ static void of(const rng::Block& block, T (&out)[size]) {
    if constexpr (std::is_same_v<T, float>) {
      const auto drawn = rng::normals_of_float(block);
      for (int i = 0; i < size; ++i) out[i] = drawn[static_cast<std::size_t>(i)];
    } else {
      const auto drawn = rng::normals(block);
      for (int i = 0; i < size; ++i) out[i] = drawn[static_cast<std::size_t>(i)];
    }
  }
};

template <class Draw, class T>
__global__ void __launch_bounds__(block_size) draw_kernel(T* out, Index n, rng::Sequence sequence) {
  const Index n_blocks = (n + Draw::size - 1) / Draw::size;
  const Index step = Index{gridDim.x} * block_size;
  for (Index b = Index{blockIdx.x} * block_size + threadIdx.x; b < n_blocks; b += step) {
    T drawn[Draw::size];
    Draw::of(sequence.block(static_cast<std::uint32_t>(b)), drawn);
    for (int i = 0; i < Draw::size; ++i)
      if (b * Draw::size + i < n) out[b * Draw::size + i] = drawn[i];
  }
}

template <class Draw, class T>
void draw(T* out, Index n, const rng::Sequence& sequence, Stream& stream) {
  if (n == 0) return;
  const auto kernel = draw_kernel<Draw, T>;
  const Index blocks = ceil_div(ceil_div(n, Draw::size), block_size);
  launch(kernel, grid_for(kernel, blocks, block_size, 0, 4), block_size, 0, stream, out, n, sequence);
}

}  // namespace

void philox_words(std::uint32_t* words, Index size, const rng::Sequence& sequence, Stream& stream) {
  draw<Words>(words, size, sequence, stream);
}

template <class T>
void standard_normals(T* values, Index size, const rng::Sequence& sequence, Stream& stream) {
  draw<Normals<T>>(values, size, sequence, stream);
}

template void standard_normals(float*, Index, const rng::Sequence&, Stream&);
template void standard_normals(double*, Index, const rng::Sequence&, Stream&);

}  // namespace thalweg::cuda

#include "cuda/probes.hpp"

#include "core/error.hpp"
#include "core/parallel.hpp"
#include "cuda/async.cuh"
#include "cuda/graph.hpp"
#include "cuda/launch.hpp"
#include "cuda/mma.cuh"
#include "cuda/reduce.cuh"

namespace thalweg::cuda {
namespace {

constexpr int rows = 16;
constexpr int cols = 8;

// --- tensor cores: fragments straight from row-major memory

__device__ void store_fragment(float* c, const float (&d)[4], int g, int t) {
  c[g * cols + 2 * t] = d[0];
  c[g * cols + 2 * t + 1] = d[1];
  c[(g + 8) * cols + 2 * t] = d[2];
  c[(g + 8) * cols + 2 * t + 1] = d[3];
}

template <bool is_split>
__global__ void tf32_kernel(const float* a, const float* b, float* c, Index k) {
  const int g = static_cast<int>(threadIdx.x) / 4;
  const int t = static_cast<int>(threadIdx.x) % 4;
  float d[4] = {};
  for (Index l = 0; l < k; l += 8) {
    const float a_values[4] = {a[g * k + l + t], a[(g + 8) * k + l + t], a[g * k + l + t + 4],
                               a[(g + 8) * k + l + t + 4]};
    const float b_values[2] = {b[(l + t) * cols + g], b[(l + t + 4) * cols + g]};
    std::uint32_t a_high[4], a_low[4], b_high[2], b_low[2];
    for (int i = 0; i < 4; ++i) {
      const Tf32Pair pair = split_tf32(a_values[i]);
      a_high[i] = pair.high;
      a_low[i] = pair.low;
    }
    for (int i = 0; i < 2; ++i) {
      const Tf32Pair pair = split_tf32(b_values[i]);
      b_high[i] = pair.high;
      b_low[i] = pair.low;
    }
    if constexpr (is_split) {  // the small ones first
      mma_tf32(d, a_low, b_high);
      mma_tf32(d, a_high, b_low);
    }
    mma_tf32(d, a_high, b_high);
  }
  store_fragment(c, d, g, t);
}

__global__ void bf16_kernel(const float* a, const float* b, float* c, Index k) {
  __shared__ __align__(16) std::uint32_t tile[rows][8];  // 16 x 16 numbers
  const int lane = static_cast<int>(threadIdx.x);
  const int g = lane / 4;
  const int t = lane % 4;
  float d[4] = {};
  for (Index l = 0; l < k; l += 16) {
    for (int i = lane; i < rows * 8; i += 32) {
      const Index at = i / 8 * k + l + i % 8 * 2;
      tile[i / 8][i % 8] = pack_bf16(a[at], a[at + 1]);
    }
    __syncwarp();
    std::uint32_t a_words[4];
    // Matrices 0 and 1 are the upper and lower rows of the left half, 2 and 3 those of the right one.
    load_matrices(a_words, &tile[lane % 16][lane / 16 * 4]);
    const Index first = l + 2 * t;
    const std::uint32_t b_words[2] = {pack_bf16(b[first * cols + g], b[(first + 1) * cols + g]),
                                      pack_bf16(b[(first + 8) * cols + g], b[(first + 9) * cols + g])};
    mma_bf16(d, a_words, b_words);
    __syncwarp();
  }
  store_fragment(c, d, g, t);
}

__global__ void double_kernel(const double* a, const double* b, double* c, Index k) {
  const int g = static_cast<int>(threadIdx.x) / 4;
  const int t = static_cast<int>(threadIdx.x) % 4;
  for (int half = 0; half < 2; ++half) {
    const int row = 8 * half + g;
    double d[2] = {};
    for (Index l = 0; l < k; l += 4) mma_double(d, a[row * k + l + t], b[(l + t) * cols + g]);
    c[row * cols + 2 * t] = d[0];
    c[row * cols + 2 * t + 1] = d[1];
  }
}

// --- asynchronous copies

constexpr int tile_size = 1024;
constexpr unsigned tile_threads = tile_size / 4;

__device__ void fetch(const float* in, Index n, Index tile, float* to) {
  const Index at = tile * tile_size + Index{threadIdx.x} * 4;
  const bool is_whole = at + 4 <= n;
  if (is_whole || at >= n) {
    copy_async<16>(to + threadIdx.x * 4, in + (is_whole ? at : 0), is_whole);
  } else {
    for (int i = 0; i < 4; ++i)
      copy_async<4>(to + threadIdx.x * 4 + i, in + (at + i < n ? at + i : 0), at + i < n);
  }
}

__global__ void async_kernel(const float* in, float* out, Index n, Index n_tiles) {
  auto* const shared = shared_memory<float>();
  fetch(in, n, blockIdx.x, shared);
  commit_copies();
  int current = 0;
  for (Index tile = blockIdx.x; tile < n_tiles; tile += gridDim.x) {
    const Index next = tile + gridDim.x;
    if (next < n_tiles) fetch(in, n, next, shared + (1 - current) * tile_size);
    commit_copies();
    wait_for_copies<1>();
    __syncthreads();
    for (int i = static_cast<int>(threadIdx.x); i < tile_size; i += static_cast<int>(tile_threads))
      out[tile * tile_size + i] = shared[current * tile_size + tile_size - 1 - i];
    __syncthreads();
    current = 1 - current;
  }
}

// --- sums and graphs

template <class T>
__global__ void row_sums_kernel(const T* in, T* out, Index cols_in) {
  __shared__ T scratch[4];
  T sum = 0;
  for (Index j = threadIdx.x; j < cols_in; j += 128) sum += in[Index{blockIdx.x} * cols_in + j];
  sum = block_sum<128>(sum, scratch);
  if (threadIdx.x == 0) out[blockIdx.x] = sum;
}

__global__ void increment_kernel(float* x, Index n) {
  const Index i = Index{blockIdx.x} * 256 + threadIdx.x;
  if (i < n) x[i] += 1.0F;
}

}  // namespace

template <>
void probe_mma(MmaKind kind, const float* a, const float* b, float* c, Index k, Stream& stream) {
  require(kind != MmaKind::real64, "kind: expected one of single precision");
  const auto kernel = kind == MmaKind::tf32         ? tf32_kernel<false>
                      : kind == MmaKind::tf32_split ? tf32_kernel<true>
                                                    : bf16_kernel;
  launch(kernel, 1, 32, 0, stream, a, b, c, k);
}

template <>
void probe_mma(MmaKind kind, const double* a, const double* b, double* c, Index k, Stream& stream) {
  require(kind == MmaKind::real64, "kind: expected the one of double precision");
  launch(double_kernel, 1, 32, 0, stream, a, b, c, k);
}

void probe_async(const float* in, float* out, Index n, Stream& stream) {
  const Index n_tiles = ceil_div(n, tile_size);
  if (n_tiles == 0) return;
  constexpr std::size_t shared_bytes = 2 * tile_size * sizeof(float);
  launch(async_kernel, grid_for(async_kernel, n_tiles, tile_threads, shared_bytes), tile_threads,
         shared_bytes, stream, in, out, n, n_tiles);
}

template <class T>
void probe_row_sums(const T* in, T* out, Index n_rows, Index n_cols, Stream& stream) {
  if (n_rows > 0) launch(row_sums_kernel<T>, static_cast<unsigned>(n_rows), 128, 0, stream, in, out, n_cols);
}

template void probe_row_sums(const float*, float*, Index, Index, Stream&);
template void probe_row_sums(const double*, double*, Index, Index, Stream&);

void probe_graph(float* x, Index n, Index times, Stream& stream) {
  const Graph graph(stream, [&] {
    for (int i = 0; i < 3; ++i)
      launch(increment_kernel, static_cast<unsigned>(ceil_div(n, 256)), 256, 0, stream, x, n);
  });
  for (Index i = 0; i < times; ++i) {
    graph.launch(stream);
    poll_interrupt();
  }
}

}  // namespace thalweg::cuda

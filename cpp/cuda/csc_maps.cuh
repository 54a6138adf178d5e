// Sparse code maps as dense ones on the device, and back.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <limits>
#include <numeric>
#include <vector>

#include "core/error.hpp"
#include "cuda/conv_geometry.hpp"
#include "cuda/launch.hpp"
#include "cuda/memory.hpp"
#include "kernels/csc.hpp"

namespace thalweg::cuda {

namespace csc_maps {

constexpr int block_size = 256;
constexpr int rounds = 16;
constexpr Index segment = Index{block_size} * rounds;  // codes of a block

// The first place where the indices do not increase, or leave [0, size).
template <class Place>
__global__ void __launch_bounds__(block_size)
    check_kernel(const Place* index, Index count, Index size, unsigned long long* first_bad) {
  for (Index i = Index{blockIdx.x} * block_size + threadIdx.x; i < count;
       i += Index{gridDim.x} * block_size) {
    const std::int64_t before = i == 0 ? -1 : index[i - 1];
    if (index[i] <= before || index[i] >= size || index[i] < 0)
      atomicMin(first_bad, static_cast<unsigned long long>(i));
  }
}

// Whether the atom at code (y, x) lies inside the image.
[[nodiscard]] __device__ inline bool is_inner(const ConvSizes& s, int y, int x) {
  return y >= s.top && y + s.filter_height <= s.top + s.height && x >= s.left &&
         x + s.filter_width <= s.left + s.width;
}

enum class Which { all, inner, outer };

template <class T>
__global__ void __launch_bounds__(block_size)
    scatter_kernel(const __grid_constant__ ConvSizes s, const std::int64_t* index, const T* value,
                   Index count, Which which, T* codes) {
  for (Index i = Index{blockIdx.x} * block_size + threadIdx.x; i < count;
       i += Index{gridDim.x} * block_size) {
    const auto place = static_cast<int>(index[i] % (Index{s.code_height} * s.code_width) / s.code_width);
    const bool inner = is_inner(s, place, static_cast<int>(index[i] % s.code_width));
    if (which == Which::all || inner == (which == Which::inner)) codes[index[i]] = value[i];
  }
}

// How many of a block's codes are not zero.
template <class T>
__global__ void __launch_bounds__(block_size) count_kernel(const T* codes, Index size, std::int64_t* counts) {
  __shared__ int of_warp[block_size / 32];
  const Index first = Index{blockIdx.x} * segment;
  int count = 0;
  for (int r = 0; r < rounds; ++r) {
    const Index i = first + r * Index{block_size} + threadIdx.x;
    count += __popc(__ballot_sync(~0U, i < size && codes[i] != T(0)));
  }
  if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = count;
  __syncthreads();
  if (threadIdx.x != 0) return;
  std::int64_t total = 0;
  for (const int n : of_warp) total += n;
  counts[blockIdx.x] = total;
}

// Those codes, from place `starts` of their block on.
template <class T>
__global__ void __launch_bounds__(block_size)
    gather_kernel(const T* codes, Index size, const std::int64_t* starts, std::int64_t* index, T* value) {
  __shared__ int of_warp[block_size / 32];
  const Index first = Index{blockIdx.x} * segment;
  const unsigned lane = threadIdx.x % 32;
  std::int64_t start = starts[blockIdx.x];
  for (int r = 0; r < rounds; ++r) {
    const Index i = first + r * Index{block_size} + threadIdx.x;
    const T code = i < size ? codes[i] : T(0);
    const unsigned ballot = __ballot_sync(~0U, code != T(0));
    __syncthreads();  // the last round's counts have been read
    if (lane == 0) of_warp[threadIdx.x / 32] = __popc(ballot);
    __syncthreads();
    std::int64_t at = start + __popc(ballot & ((1U << lane) - 1U));
    for (unsigned w = 0; w < block_size / 32; ++w) {
      if (w < threadIdx.x / 32) at += of_warp[w];
      start += of_warp[w];
    }
    if (code != T(0)) {
      index[at] = i;
      value[at] = code;
    }
  }
}

}  // namespace csc_maps

// Throws std::invalid_argument unless indices increase and are those of codes. Waits for the stream.
template <class T>
void check_maps(const ConvSizes& s, SparseMapsView<T> maps, Stream& stream) {
  using namespace csc_maps;
  if (maps.count == 0) return;
  const Index size = s.code_size();
  constexpr auto none = std::numeric_limits<unsigned long long>::max();
  const Buffer<unsigned long long> first_bad(1, stream);
  upload(&none, first_bad.data(), 1, stream);
  const auto kernel = check_kernel<std::int64_t>;
  launch(kernel, grid_for(kernel, ceil_div(maps.count, Index{block_size}), block_size, 0), block_size, 0,
         stream, maps.index, maps.count, size, first_bad.data());
  const unsigned long long bad = download_one(first_bad.data(), stream);
  if (bad == none) return;
  const auto at = static_cast<Index>(bad);
  const std::int64_t before = at == 0 ? -1 : download_one(maps.index + at - 1, stream);
  require(false, "codes: expected increasing indices below ", size, ", got ",
          download_one(maps.index + at, stream), " after ", before);
}

// Dense codes of checked maps, or of the atoms that lie inside the image, or of the others.
template <class T>
void expand(const ConvSizes& s, SparseMapsView<T> maps, T* codes, Stream& stream,
            csc_maps::Which which = csc_maps::Which::all) {
  using namespace csc_maps;
  clear(codes, s.code_size(), stream);
  if (maps.count == 0) return;
  const auto kernel = scatter_kernel<T>;
  launch(kernel, grid_for(kernel, ceil_div(maps.count, Index{block_size}), block_size, 0), block_size, 0,
         stream, s, maps.index, maps.value, maps.count, which, codes);
}

// The non-zeros of dense codes, on the host.
template <class T>
SparseMaps<T> non_zeros(const T* codes, Index size, Stream& stream) {
  using namespace csc_maps;
  const Index blocks = ceil_div(size, segment);
  const Buffer<std::int64_t> places(blocks, stream);
  launch(count_kernel<T>, static_cast<unsigned>(blocks), block_size, 0, stream, codes, size, places.data());
  std::vector<std::int64_t> starts(static_cast<std::size_t>(blocks));
  download(places.data(), starts.data(), blocks, stream);
  const std::int64_t last = starts.back();
  std::exclusive_scan(starts.begin(), starts.end(), starts.begin(), std::int64_t{0});
  const Index count = starts.back() + last;
  SparseMaps<T> maps;
  maps.index.resize(static_cast<std::size_t>(count));
  maps.value.resize(static_cast<std::size_t>(count));
  if (count == 0) return maps;
  upload(starts.data(), places.data(), blocks, stream);
  const Buffer<std::int64_t> index(count, stream);
  const Buffer<T> value(count, stream);
  launch(gather_kernel<T>, static_cast<unsigned>(blocks), block_size, 0, stream, codes, size, places.data(),
         index.data(), value.data());
  download(index.data(), maps.index.data(), count, stream);
  download(value.data(), maps.value.data(), count, stream);
  return maps;
}

}  // namespace thalweg::cuda

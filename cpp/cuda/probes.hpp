// The building blocks of kernels, one at a time, so that tests can see them at work on a device.
#pragma once

#include <cstdint>

#include "core/view.hpp"
#include "kernels/conv.hpp"

namespace thalweg::cuda {

class Stream;

enum class MmaKind { tf32, tf32_split, bf16, real64 };

// c (16, 8) = a (16, k) b (k, 8) by one warp on tensor cores, k a multiple of 16: operands rounded to tf32,
// split into two tf32 numbers each, rounded to bfloat16 (a through shared memory), or float64.
template <class T>
void probe_mma(MmaKind kind, const T* a, const T* b, T* c, Index k, Stream& stream);

// out = in reversed within tiles of 1024 numbers, which travel through shared memory by asynchronous copies,
// two tiles under way; beyond n there are zeros.
void probe_async(const float* in, float* out, Index n, Stream& stream);

// out[row] = the sum of row, in a fixed order, by a warp a row.
template <class T>
void probe_row_sums(const T* in, T* out, Index rows, Index cols, Stream& stream);

// x += 1, `times` launches of a graph that does it three times.
void probe_graph(float* x, Index n, Index times, Stream& stream);

// Tiles that a block of the filters' gradient has in use or under way.
[[nodiscard]] int filter_gradient_buffers(const ConvShape& shape, bool is_double);

}  // namespace thalweg::cuda

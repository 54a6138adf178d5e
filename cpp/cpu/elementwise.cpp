#include "kernels/elementwise.hpp"

#include <algorithm>
#include <array>
#include <cstdint>

#include "core/error.hpp"
#include "core/parallel.hpp"
#include "core/scalar.hpp"
#include "core/simd.hpp"
#include "core/walk.hpp"
#include "cpu/elementwise_math.hpp"

namespace thalweg {
namespace {

using cpu::Exponential;
using cpu::FullRange;
using simd::Vec;

// --- what is done to a vector: u with e^-|u|, z with alpha

template <class T>
struct Softplus {
  static Vec<T> of(Vec<T> u, Exponential<T> e) { return FullRange<T>::softplus(u, e); }
};

template <class T>
struct LogSigmoid {
  static Vec<T> of(Vec<T> u, Exponential<T> e) { return FullRange<T>::log_sigmoid(u, e); }
};

template <class T>
struct Sigmoid {
  static Vec<T> of(Vec<T> u, Exponential<T> e) { return FullRange<T>::sigmoid(u, e); }
};

template <class T>
struct DLogSigmoid {
  static Vec<T> of(Vec<T> u, Exponential<T> e) { return FullRange<T>::sigmoid(-u, e); }
};

template <class T>
struct DSigmoid {
  static Vec<T> of(Vec<T> u, Exponential<T> e) { return FullRange<T>::d_sigmoid(u, e); }
};

template <class T>
struct Shrink {
  static Vec<T> of(Vec<T> z, Vec<T> alpha) {
    const Vec<T> rest = cpu::absolute<T>(z) - alpha;
    return cpu::with_sign_of<T>(rest <= 0 ? Vec<T>{} : rest, z);
  }
};

template <class T>
struct ShrinkNonneg {
  static Vec<T> of(Vec<T> z, Vec<T> alpha) {
    const Vec<T> rest = z - alpha;
    return rest <= 0 ? Vec<T>{} : rest;
  }
};

// --- spans: contiguous numbers

// out[i] = f(x[i], alpha[i * alpha_step]); `stream`: out is aligned and bypasses the caches.
template <class T>
using Span = void (*)(const T* x, const T* alpha, Index alpha_step, double q, T* out, Index n, bool stream);

template <class T, class Op, bool Streams>
[[gnu::always_inline]] inline Index whole_vectors(const T* x, const T* alpha, Index alpha_step, T* out,
                                                  Index n) {
  constexpr Index lanes = simd::lanes<T>;
  const Vec<T> fixed = simd::broadcast(*alpha);
  Index i = 0;
  if (alpha_step == 0) {
    for (; i + lanes <= n; i += lanes) {
      const Vec<T> v = Op::of(simd::load(x + i), fixed);
      Streams ? simd::stream(out + i, v) : simd::store(out + i, v);
    }
  } else {
    for (; i + lanes <= n; i += lanes) {
      const Vec<T> v = Op::of(simd::load(x + i), simd::load(alpha + i));
      Streams ? simd::stream(out + i, v) : simd::store(out + i, v);
    }
  }
  return i;
}

template <class T, class Op>
void vector_span(const T* x, const T* alpha, Index alpha_step, double, T* out, Index n, bool stream) {
  constexpr Index lanes = simd::lanes<T>;
  const Index done = stream ? whole_vectors<T, Op, true>(x, alpha, alpha_step, out, n)
                            : whole_vectors<T, Op, false>(x, alpha, alpha_step, out, n);
  if (stream) simd::stream_fence();
  if (done == n) return;
  // The rest goes through a padded vector, and so through the same operations.
  T padded_x[lanes] = {};
  T padded_alpha[lanes] = {};
  T padded_out[lanes];
  std::copy(x + done, x + n, padded_x);
  for (Index i = done; i < n; ++i) padded_alpha[i - done] = alpha[i * alpha_step];
  simd::store(padded_out, Op::of(simd::load(padded_x), simd::load(padded_alpha)));
  std::copy(padded_out, padded_out + (n - done), out + done);
}

// A smooth function in two stages over a batch that stays in the first-level cache: the exponential and what
// follows are long chains of dependent operations each, and the processor overlaps more of the shorter ones.
template <class T, class Op, bool Streams>
void smooth_batches(const T* x, T* out, Index n) {
  constexpr Index lanes = simd::lanes<T>;
  constexpr Index batch = 64 * lanes;
  alignas(simd::bytes) T tail[batch];
  alignas(simd::bytes) T scale[batch];
  for (Index first = 0; first < n; first += batch) {
    const Index count = std::min(batch, n - first);
    for (Index i = 0; i < count; i += lanes) {
      const Exponential<T> e = cpu::exp_of_negative<T>(cpu::negative_absolute<T>(simd::load(x + first + i)));
      simd::store(tail + i, e.tail);
      simd::store(scale + i, e.scale);
    }
    for (Index i = 0; i < count; i += lanes) {
      const Vec<T> v = Op::of(simd::load(x + first + i), {simd::load(tail + i), simd::load(scale + i)});
      Streams ? simd::stream(out + first + i, v) : simd::store(out + first + i, v);
    }
  }
}

template <class T, class Op>
void smooth_span(const T* x, const T*, Index, double, T* out, Index n, bool stream) {
  constexpr Index lanes = simd::lanes<T>;
  const Index whole = n / lanes * lanes;
  if (stream) {
    smooth_batches<T, Op, true>(x, out, whole);
    simd::stream_fence();
  } else {
    smooth_batches<T, Op, false>(x, out, whole);
  }
  if (whole == n) return;
  // The rest goes through a padded vector, and so through the same operations.
  T padded[lanes] = {};
  std::copy(x + whole, x + n, padded);
  smooth_batches<T, Op, false>(padded, padded, lanes);
  std::copy(padded, padded + (n - whole), out + whole);
}

template <class T, class Map>
[[gnu::always_inline]] inline void number_span(const Map& map, const T* z, const T* alpha, Index alpha_step,
                                               T* out, Index n) {
  if (alpha_step == 0) {
    const T fixed = *alpha;
    for (Index i = 0; i < n; ++i) out[i] = map(z[i], fixed);
  } else {
    for (Index i = 0; i < n; ++i) out[i] = map(z[i], alpha[i]);
  }
}

template <class T>
void lq_span(const T* z, const T* alpha, Index alpha_step, double q, T* out, Index n, bool) {
  if (q == 0) {
    number_span([](T v, T a) { return hard_shrink(v, a); }, z, alpha, alpha_step, out, n);
  } else if (q == 0.5) {
    number_span([](T v, T a) { return prox_half(v, a); }, z, alpha, alpha_step, out, n);
  } else if (q == 2.0 / 3.0) {
    number_span([](T v, T a) { return prox_two_thirds(v, a); }, z, alpha, alpha_step, out, n);
  } else {
    number_span(LqProx<T>(q), z, alpha, alpha_step, out, n);
  }
}

// --- arrays

constexpr Index block_size = 32768;  // elements per block of a parallel loop
constexpr Index buffer_size = 1024;  // elements gathered at a time from strided arrays
// Bytes of x and out together from which on the result bypasses the caches: it would not be found there
// again.
constexpr Index streaming_bytes = Index{32} << 20;

template <class T>
void gather(const T* from, Index stride, T* to, Index n) {
  if (stride == 1) {
    std::copy(from, from + n, to);
  } else {
    for (Index i = 0; i < n; ++i) to[i] = from[i * stride];
  }
}

template <class T>
void scatter(const T* from, T* to, Index stride, Index n) {
  if (stride == 1) {
    std::copy(from, from + n, to);
  } else {
    for (Index i = 0; i < n; ++i) to[i * stride] = from[i];
  }
}

template <class T>
void run_contiguous(Span<T> span, double q, const T* x, const T* alpha, Index alpha_step, T* out, Index n,
                    int n_jobs) {
  const bool stream = simd::can_stream && 2 * n * static_cast<Index>(sizeof(T)) >= streaming_bytes;
  Index head = 0;
  if (stream) {
    const auto past = reinterpret_cast<std::uintptr_t>(out) % simd::bytes;
    head = past == 0 ? 0 : static_cast<Index>((simd::bytes - past) / sizeof(T));
    span(x, alpha, alpha_step, q, out, head, false);
  }
  const auto block = [&](Index b, int) {
    const Index first = head + b * block_size;
    span(x + first, alpha + first * alpha_step, alpha_step, q, out + first, std::min(block_size, n - first),
         stream);
  };
  parallel_for(block_count(n - head, block_size), n_jobs, block);
}

template <class T>
void run_strided(Span<T> span, double q, const Walk& walk, const T* x, const T* alpha, T* out, int n_jobs) {
  const auto chunk = [&](Index first, Index count) {
    T in[buffer_size];
    T weights[buffer_size];
    T result[buffer_size];
    const Index stride_x = walk.strides[0].back();
    const Index stride_alpha = walk.strides[1].back();
    const Index stride_out = walk.strides[2].back();
    walk.runs(first, count, [&](const std::array<Index, 3>& at, Index done, Index length) {
      gather(x + at[0], stride_x, in + done, length);
      if (alpha != nullptr) gather(alpha + at[1], stride_alpha, weights + done, length);
    });
    span(in, alpha == nullptr ? nullptr : weights, alpha == nullptr ? 0 : 1, q, result, count, false);
    walk.runs(first, count, [&](const std::array<Index, 3>& at, Index done, Index length) {
      scatter(result + done, out + at[2], stride_out, length);
    });
  };
  parallel_for(block_count(walk.size, block_size), n_jobs, [&](Index b, int) {
    const Index end = std::min(walk.size, (b + 1) * block_size);
    for (Index first = b * block_size; first < end; first += buffer_size)
      chunk(first, std::min(buffer_size, end - first));
  });
}

template <class T>
void run(Span<T> span, double q, Index ndim, const Index* shape, StridedView<const T> x,
         StridedView<const T> alpha, StridedView<T> out, int n_jobs) {
  const Walk walk(ndim, shape, x.strides, alpha.strides, out.strides);
  if (walk.size == 0) return;
  if (walk.is_contiguous()) {
    run_contiguous(span, q, x.data, alpha.data, walk.strides[1][0], out.data, walk.size, n_jobs);
  } else {
    run_strided(span, q, walk, x.data, alpha.data, out.data, n_jobs);
  }
}

template <class T>
Span<T> span_of(Smooth f) {
  switch (f) {
    case Smooth::softplus:
      return &smooth_span<T, Softplus<T>>;
    case Smooth::sigmoid:
      return &smooth_span<T, Sigmoid<T>>;
    case Smooth::log_sigmoid:
      return &smooth_span<T, LogSigmoid<T>>;
    case Smooth::d_sigmoid:
      return &smooth_span<T, DSigmoid<T>>;
    case Smooth::d_log_sigmoid:
      return &smooth_span<T, DLogSigmoid<T>>;
  }
  throw std::invalid_argument("f: no such function");
}

template <class T>
Span<T> span_of(Prox f, double q) {
  if (f == Prox::shrink || (f == Prox::lq && q == 1)) return &vector_span<T, Shrink<T>>;
  if (f == Prox::shrink_nonneg) return &vector_span<T, ShrinkNonneg<T>>;
  require(q >= 0 && q <= 1, "q: expected a number in [0, 1], got ", q);
  return &lq_span<T>;
}

}  // namespace

template <class T>
void apply_smooth(Smooth f, Index ndim, const Index* shape, StridedView<const T> x, StridedView<T> out,
                  int n_jobs) {
  run<T>(span_of<T>(f), 0, ndim, shape, x, {}, out, n_jobs);
}

template <class T>
void apply_prox(Prox f, double q, Index ndim, const Index* shape, StridedView<const T> z,
                StridedView<const T> alpha, StridedView<T> out, int n_jobs) {
  run<T>(span_of<T>(f, q), q, ndim, shape, z, alpha, out, n_jobs);
}

template void apply_smooth(Smooth, Index, const Index*, StridedView<const float>, StridedView<float>, int);
template void apply_smooth(Smooth, Index, const Index*, StridedView<const double>, StridedView<double>, int);
template void apply_prox(Prox, double, Index, const Index*, StridedView<const float>,
                         StridedView<const float>, StridedView<float>, int);
template void apply_prox(Prox, double, Index, const Index*, StridedView<const double>,
                         StridedView<const double>, StridedView<double>, int);

}  // namespace thalweg

// Convolutional codes that an encoder predicts, on the device: the prediction, and FISTA down from it.
//
// An iteration is two implicit matrix products. The first makes the image of the codes, and what it misses of
// the image is correlated with the filters; the epilogue of that is all the rest: gradient, anchor, momentum,
// threshold, and in every fifth iteration the sums of the certificate. So an iteration reads the codes twice,
// prediction and point before once each, and writes two arrays: six times the codes, with 64 filters 1.5 kB a
// pixel or some 0.4 ns on an H200. Momentum is known beforehand, and the host waits for the device only where
// it looks at certificates.
#include "kernels/csc.hpp"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "core/scalar.hpp"
#include "cuda/correlation.cuh"
#include "cuda/pace.hpp"
#include "cuda/reduce.cuh"
#include "cuda/synthesis.cuh"

namespace thalweg::cuda {
namespace {

constexpr int block_size = 256;
constexpr Index check_every = 5;

// --- the encoder

template <class T>
struct Encode {
  struct Operands {
    T intercept, gain, threshold;
  };
  CscEncoder<T> encoder;
  T* prediction;

  __device__ void begin() const {}
  __device__ Operands load(Index, int filter) const {
    return {encoder.intercept[filter], encoder.gain[filter],
            encoder.threshold == nullptr ? T(0) : encoder.threshold[filter]};
  }
  __device__ void finish(Index place, const Operands& o, T c) const {
    const T response = c + o.intercept;
    const T activity = encoder.threshold == nullptr ? std::tanh(response) : shrink(response, o.threshold);
    prediction[place] = activity * o.gain;
  }
  __device__ void end() const {}
  __device__ void close(double*) const {}
};

// --- sums for every image

// One number for each strip of codes that a warp of the correlation finishes at a time, an image's one after
// the other: so its sum does not depend on the grid, nor on the other images.
template <class T>
struct Strips {
  static constexpr int filters = 16;
  static constexpr int cols = correlation::pixels_of_warp<T>;
  int maps, rows, width;  // of the codes of an image
  int down, across;

  explicit Strips(const ConvSizes& s)
      : maps(s.filters),
        rows(s.code_height),
        width(s.code_width),
        down(ceil_div(s.filters, filters)),
        across(ceil_div(s.code_width, cols)) {}

  [[nodiscard]] Index of_image() const { return Index{down} * rows * across; }
  // The strip of the code at `place`.
  [[nodiscard]] __device__ Index at(Index place) const {
    const Index row = place / width;
    const Index map = row / rows;
    const auto strip = static_cast<int>(map % maps) / filters;
    return ((map / maps * down + strip) * rows + row % rows) * across +
           static_cast<int>(place % width) / cols;
  }
};

// factor times the sum of each row of `parts` (n, count).
__global__ void __launch_bounds__(block_size)
    sums_kernel(Index n, Index count, double factor, const double* parts, double* sums) {
  __shared__ double shared[block_size / 32];
  for (Index row = blockIdx.x; row < n; row += gridDim.x) {
    double sum = 0;
    for (Index i = threadIdx.x; i < count; i += block_size) sum += parts[row * count + i];
    sum = block_sum<block_size>(sum, shared);
    if (threadIdx.x == 0) sums[row] = factor * sum;
  }
}

constexpr Index chunk_size = 1 << 14;

// Squared norms of the chunks of each row of `x` (n, size): parts (n, chunks).
template <class T>
__global__ void __launch_bounds__(block_size)
    squares_kernel(Index n, Index size, Index chunks, const T* x, double* parts) {
  __shared__ double shared[block_size / 32];
  for (Index part = blockIdx.x; part < n * chunks; part += gridDim.x) {
    const Index first = part % chunks * chunk_size;
    const Index end = min(first + chunk_size, size);
    const T* const row = x + part / chunks * size;
    double sum = 0;
    for (Index i = first + threadIdx.x; i < end; i += block_size) {
      const auto value = static_cast<double>(row[i]);
      sum += value * value;
    }
    sum = block_sum<block_size>(sum, shared);
    if (threadIdx.x == 0) parts[part] = sum;
  }
}

// Numbers (n, count) on the device that are added up row by row.
class Parts {
 public:
  Parts(Index n, Index count, Stream& stream)
      : n_(n), count_(count), parts_(n * count, stream), sums_(n, stream) {}

  [[nodiscard]] double* data() const { return parts_.data(); }
  // `sums` (n,) on the host; waits for the stream.
  void add_up(double factor, double* sums, Stream& stream) const {
    launch(sums_kernel, grid_for(sums_kernel, n_, block_size, 0), block_size, 0, stream, n_, count_, factor,
           parts_.data(), sums_.data());
    download(sums_.data(), sums, n_, stream);
  }

 private:
  Index n_, count_;
  Buffer<double> parts_;
  Buffer<double> sums_;
};

// factor times the squared norm of each of n samples.
template <class T>
std::vector<double> squared_norms(Index n, Index size, double factor, const T* x, Stream& stream) {
  const Index chunks = ceil_div(size, chunk_size);
  const Parts parts(n, chunks, stream);
  const auto kernel = squares_kernel<T>;
  launch(kernel, grid_for(kernel, n * chunks, block_size, 0), block_size, 0, stream, n, size, chunks, x,
         parts.data());
  std::vector<double> norms(static_cast<std::size_t>(n));
  parts.add_up(factor, norms.data(), stream);
  return norms;
}

// --- FISTA

template <class T>
__global__ void __launch_bounds__(block_size) subtract_kernel(Index size, const T* images, T* residual) {
  for (Index i = Index{blockIdx.x} * block_size + threadIdx.x; i < size; i += Index{gridDim.x} * block_size)
    residual[i] -= images[i];
}

// What is done with the correlation c of f * z - y: the point z - grad / L, in the place of the one before,
// and the following codes, which go to `next` where the certificate may say that those of now are the last,
// and otherwise in their place. Of a quadratic, momentum extrapolates such points as it does codes.
template <class T, bool is_certified>
struct Step {
  struct Operands {
    T now, before, prediction;
  };
  Strips<T> strips;
  T* now;
  T* next;
  T* before;
  const T* prediction;
  T weight, rate, momentum, alpha, threshold;
  double* parts;
  double total = 0;
  Index last = 0;

  __device__ void begin() { total = 0; }
  __device__ Operands load(Index place, int) const { return {now[place], before[place], prediction[place]}; }
  __device__ void finish(Index place, const Operands& o, T c) {
    const T gradient = c + weight * (o.now - o.prediction);
    const T moved = o.now - rate * gradient;
    const T point = moved + momentum * (moved - o.before);
    before[place] = moved;
    (is_certified ? next : now)[place] = shrink(point, threshold);
    if constexpr (is_certified) {
      const T shortest = o.now == T(0) ? shrink(gradient, alpha) : gradient + std::copysign(alpha, o.now);
      total += static_cast<double>(shortest) * static_cast<double>(shortest);
      last = place;
    }
  }
  __device__ void end() {
    if constexpr (is_certified) {
      const double sum = warp_sum(total);
      if (threadIdx.x % 32 == 0) parts[strips.at(last)] = sum;  // the first lane always has a code
    }
  }
  __device__ void close(double*) const {}
};

template <class T>
class PredictedFista {
 public:
  // From what is in `codes`.
  PredictedFista(const CscPredicted<T>& problem, const ConvSizes& s, double lipschitz, T* codes,
                 bool is_certified, Stream& stream)
      : problem_(problem),
        s_(s),
        stream_(stream),
        synthesis_(s, problem.filters, stream),
        correlation_(s, problem.filters, stream),
        strips_(s),
        now_(codes),
        other_(is_certified ? s.code_size() : 0, stream),
        next_(other_.data()),
        before_(s.code_size(), stream),
        residual_(s.image_size(), stream),
        parts_(is_certified ? s.n : 0, strips_.of_image(), stream),
        rate_(1 / lipschitz),
        most_momentum_((1 - std::sqrt(problem.weight * rate_)) / (1 + std::sqrt(problem.weight * rate_))),
        pace_(2.0 * static_cast<double>(s.code_size()) * s.channels * s.filter_height * s.filter_width,
              stream) {
    clear(before_.data(), before_.size(), stream);  // read, and then multiplied by no momentum
  }

  Index solve(const CscPredictedOptions& options, T* codes, double* gap) {
    Index it = 0;
    for (; it < options.max_iter || options.tolerance != nullptr; ++it) {
      const bool is_last = it == options.max_iter;
      if (options.tolerance != nullptr && (is_last || it % check_every == 0)) {
        step<true>();
        parts_.add_up(1 / (2 * problem_.weight), gap, stream_);
        if (is_last || are_within(gap, options.tolerance)) break;
        std::swap(now_, next_);
      } else {
        step<false>();
      }
      pace_.after(1);
    }
    if (now_ != codes) copy(static_cast<const T*>(now_), codes, s_.code_size(), stream_);
    return it;
  }

 private:
  template <bool is_certified>
  void step() {
    synthesis_(now_, residual_.data(), stream_);
    const auto subtract = subtract_kernel<T>;
    launch(subtract, grid_for(subtract, ceil_div(s_.image_size(), Index{block_size}), block_size, 0, 2),
           block_size, 0, stream_, s_.image_size(), problem_.images, residual_.data());
    const double following = 0.5 * (1 + std::sqrt(1 + 4 * age_ * age_));
    const double momentum = std::min((age_ - 1) / following, most_momentum_);
    age_ = following;
    correlation_(residual_.data(),
                 Step<T, is_certified>{strips_, now_, next_, before_.data(), problem_.prediction,
                                       static_cast<T>(problem_.weight), static_cast<T>(rate_),
                                       static_cast<T>(momentum), static_cast<T>(problem_.alpha),
                                       static_cast<T>(problem_.alpha * rate_), parts_.data()},
                 stream_);
  }

  [[nodiscard]] bool are_within(const double* gap, const double* tolerance) const {
    return std::equal(gap, gap + s_.n, tolerance, [](double found, double most) { return found <= most; });
  }

  const CscPredicted<T>& problem_;
  ConvSizes s_;
  Stream& stream_;
  Synthesis<T> synthesis_;
  Correlation<T> correlation_;
  Strips<T> strips_;
  T* now_;
  Buffer<T> other_;
  T* next_;
  Buffer<T> before_;
  Buffer<T> residual_;
  Parts parts_;
  double rate_;
  double most_momentum_;
  double age_ = 1;  // t of FISTA
  Pace pace_;
};

}  // namespace

template <class T>
void csc_predict(const ConvShape& shape, const T* images, const CscEncoder<T>& encoder, T* prediction,
                 Stream& stream) {
  const Correlation<T> correlation(sizes_of(shape), encoder.filters, stream);
  correlation(images, Encode<T>{encoder, prediction}, stream);
}

template <class T>
void csc_predicted_at_zero(const CscPredicted<T>& problem, double* energies, Stream& stream) {
  const ConvSizes s = sizes_of(problem.shape);
  if (s.n == 0) return;
  const auto of_images = squared_norms(s.n, s.image_size() / s.n, 0.5, problem.images, stream);
  const auto of_codes =
      squared_norms(s.n, s.code_size() / s.n, 0.5 * problem.weight, problem.prediction, stream);
  std::transform(of_images.begin(), of_images.end(), of_codes.begin(), energies,
                 [](double a, double b) { return a + b; });
}

template <class T>
Index csc_predicted_fista(const CscPredicted<T>& problem, double lipschitz, const T* start,
                          const CscPredictedOptions& options, T* codes, double* gap, Stream& stream) {
  const ConvSizes s = sizes_of(problem.shape);
  const bool is_certified = options.tolerance != nullptr;
  if (s.n == 0) return 0;
  copy(start, codes, s.code_size(), stream);
  if (options.max_iter == 0 && !is_certified) return 0;
  return PredictedFista<T>(problem, s, lipschitz, codes, is_certified, stream).solve(options, codes, gap);
}

#define THALWEG_CSC_PREDICTED(T)                                                                           \
  template void csc_predict(const ConvShape&, const T*, const CscEncoder<T>&, T*, Stream&);                \
  template void csc_predicted_at_zero(const CscPredicted<T>&, double*, Stream&);                           \
  template Index csc_predicted_fista(const CscPredicted<T>&, double, const T*, const CscPredictedOptions&, \
                                     T*, double*, Stream&);

THALWEG_CSC_PREDICTED(float)
THALWEG_CSC_PREDICTED(double)

}  // namespace thalweg::cuda

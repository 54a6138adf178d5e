// What is made once for a dictionary: its units, the Gram matrix, and the step size.
#include "cuda/lasso_dictionary.hpp"

#include <cmath>
#include <vector>

#include "core/error.hpp"
#include "core/lasso_numbers.hpp"
#include "core/rng.hpp"
#include "cuda/launch.hpp"
#include "cuda/mma.cuh"

namespace thalweg::cuda {
namespace {

constexpr unsigned block_size = 256;
constexpr unsigned warp_size = 32;

// norm[j] = ||d_j||, whatever its magnitude. One warp an atom.
template <class T>
__global__ void __launch_bounds__(block_size)
    norms_kernel(const T* atoms, Index n_components, Index n_features, double* norm) {
  const Index j = Index{blockIdx.x} * (block_size / warp_size) + threadIdx.x / warp_size;
  const unsigned lane = threadIdx.x % warp_size;
  if (j >= n_components) return;
  const T* const d = atoms + j * n_features;
  double largest = 0;
  for (Index k = lane; k < n_features; k += warp_size) {
    const double size = std::abs(static_cast<double>(d[k]));
    largest = size > largest ? size : largest;
  }
  for (int way = 16; way > 0; way /= 2) {
    const double other = __shfl_xor_sync(~0U, largest, way);
    largest = other > largest ? other : largest;
  }
  const double unit = unit_scale(largest);
  double sum = 0;
  for (Index k = lane; k < n_features; k += warp_size) {
    const double scaled = static_cast<double>(d[k]) * unit;
    sum += scaled * scaled;
  }
  for (int way = 16; way > 0; way /= 2) sum += __shfl_xor_sync(~0U, sum, way);
  if (lane == 0) norm[j] = std::sqrt(sum) / unit;
}

// scaled[i] = atoms[i] scale below n, and zero up to `padded`.
template <class T>
__global__ void __launch_bounds__(block_size)
    scale_kernel(const T* atoms, Index n, Index padded, double scale, double* scaled) {
  for (Index i = Index{blockIdx.x} * block_size + threadIdx.x; i < padded; i += Index{gridDim.x} * block_size)
    scaled[i] = i < n ? static_cast<double>(atoms[i]) * scale : 0.0;
}

// `exact` with `shift` added on the diagonal of the first n_shifted rows (of `width` columns), in the working
// type and in bfloat16. An odd last element has no partner: widths are even.
template <class T>
__global__ void __launch_bounds__(block_size)
    round_kernel(const double* exact, Index size, Index width, Index n_shifted, double shift, T* working,
                 Bfloat16* rough) {
  for (Index i = Index{blockIdx.x} * block_size + threadIdx.x; i < size; i += Index{gridDim.x} * block_size) {
    const Index row = i / width;
    const bool is_shifted = row == i - row * width && row < n_shifted;
    const T value = static_cast<T>(exact[i] + (is_shifted ? shift : 0.0));
    working[i] = value;
    const auto single = static_cast<float>(value);
    rough[i] = Bfloat16{static_cast<std::uint16_t>(pack_bf16(single, single) & 0xFFFFU)};
  }
}

// --- the largest eigenvalue

// The largest eigenvalue of a symmetric tridiagonal matrix: bisection by the signs of Sturm's sequence.
double largest_of_tridiagonal(const std::vector<double>& diagonal, const std::vector<double>& beside) {
  const std::size_t n = diagonal.size();
  double low = diagonal[0];
  double high = diagonal[0];
  for (std::size_t i = 0; i < n; ++i) {
    const double reach = (i > 0 ? std::abs(beside[i - 1]) : 0.0) + (i + 1 < n ? std::abs(beside[i]) : 0.0);
    low = std::max(low, diagonal[i]);  // a Rayleigh quotient
    high = std::max(high, diagonal[i] + reach);
  }
  const auto is_above_all = [&](double x) {
    double pivot = x - diagonal[0];
    for (std::size_t i = 1; pivot > 0 && i < n; ++i)
      pivot = x - diagonal[i] - beside[i - 1] * beside[i - 1] / pivot;
    return pivot > 0;
  };
  for (int i = 0; i < 200; ++i) {
    const double middle = low + 0.5 * (high - low);
    if (middle <= low || middle >= high) break;
    (is_above_all(middle) ? high : low) = middle;
  }
  return high;
}

// The last component of the unit eigenvector that belongs to the largest eigenvalue of a tridiagonal matrix:
// all components have one sign, and the recurrence from the first on is stable.
double last_component(const std::vector<double>& diagonal, const std::vector<double>& beside, double value) {
  double pivot = value - diagonal[0];
  double component = 1.0;
  double squared = 1.0;
  for (std::size_t i = 0; i + 1 < diagonal.size(); ++i) {
    component *= pivot / beside[i];
    squared += component * component;
    pivot = value - diagonal[i + 1] - beside[i] * beside[i] / pivot;
    if (!std::isfinite(squared) || !(pivot > 0)) return 1.0;  // rounding: no bound from here
  }
  return component / std::sqrt(squared);
}

// v D' D or v D D', whichever is smaller, by two products on the device; v is on the host.
class Square {
 public:
  Square(const double* atoms, Index n_components, Index n_features, Stream& stream)
      : atoms_(atoms),
        rows_(n_components),
        cols_(n_features),
        is_of_features_(n_features <= n_components),
        small_(size(), stream),
        large_(std::max(n_components, n_features), stream),
        stream_(stream) {}

  [[nodiscard]] Index size() const { return is_of_features_ ? cols_ : rows_; }

  void apply(const double* v, double* out) {
    upload(v, small_.data(), size(), stream_);
    const Operand<const double> d{atoms_, cols_};
    const Operand<const double> d_transposed{atoms_, cols_, Transposed::yes};
    const Operand<const double> from{small_.data(), size()};
    const Operand<const double> between{large_.data(), large_.size()};
    const Operand<double> to_large{large_.data(), large_.size()};
    const Operand<double> to_small{small_.data(), size()};
    if (is_of_features_) {
      gemm(stream_, 1, rows_, cols_, 1.0, from, d_transposed, 0.0, to_large);
      gemm(stream_, 1, cols_, rows_, 1.0, between, d, 0.0, to_small);
    } else {
      gemm(stream_, 1, cols_, rows_, 1.0, from, d, 0.0, to_large);
      gemm(stream_, 1, rows_, cols_, 1.0, between, d_transposed, 0.0, to_small);
    }
    download(small_.data(), out, size(), stream_);
  }

 private:
  const double* atoms_;
  Index rows_;
  Index cols_;
  bool is_of_features_;
  Buffer<double> small_;
  Buffer<double> large_;
  Stream& stream_;
};

double dot(const double* a, const double* b, Index n) {
  double sum = 0;
  for (Index i = 0; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

// An upper bound, by Lanczos' method with all vectors kept orthogonal. It ends where the residual of the
// largest estimate is below 1e-9 of it: so near lies an eigenvalue, and from a random start that is the
// largest. Where `most_steps` do not bring that about, the estimate falls short by more than its share e with
// probability at most 1.648 sqrt(n) exp(-sqrt(e) (2 m - 1)) after m steps (J. Kuczynski, H. Wozniakowski,
// SIAM J. Matrix Anal. Appl. 13, 1992, theorem 4.2): e is chosen to make this 1e-15.
double bound_largest_eigenvalue(Square& square) {
  constexpr Index most_steps = 200;
  const Index n = square.size();
  std::vector<double> basis(static_cast<std::size_t>(n));
  for (Index k = 0; k < n; k += 2) {
    const auto pair = rng::normals(rng::Sequence{}.block(static_cast<std::uint32_t>(k / 2)));
    basis[static_cast<std::size_t>(k)] = pair[0];
    if (k + 1 < n) basis[static_cast<std::size_t>(k + 1)] = pair[1];
  }
  const double length = std::sqrt(dot(basis.data(), basis.data(), n));
  for (double& v : basis) v /= length;
  std::vector<double> diagonal;
  std::vector<double> beside;
  std::vector<double> next(static_cast<std::size_t>(n));
  double largest = 0;
  while (static_cast<Index>(diagonal.size()) < std::min(n, most_steps)) {
    const auto made = static_cast<Index>(diagonal.size());
    const double* const last = basis.data() + made * n;
    square.apply(last, next.data());
    diagonal.push_back(dot(next.data(), last, n));
    for (int pass = 0; pass < 2; ++pass) {
      for (Index i = 0; i <= made; ++i) {
        const double* const known = basis.data() + i * n;
        const double along = dot(next.data(), known, n);
        for (Index k = 0; k < n; ++k) next[static_cast<std::size_t>(k)] -= along * known[k];
      }
    }
    const double rest = std::sqrt(dot(next.data(), next.data(), n));
    largest = largest_of_tridiagonal(diagonal, beside);
    if (!(rest > 1e-14 * largest) || made + 1 == n) return largest * (1.0 + 1e-10);  // exact
    const double residual = rest * last_component(diagonal, beside, largest);
    if (residual <= 1e-9 * largest) return largest + residual + 1e-10 * largest;
    beside.push_back(rest);
    for (const double v : next) basis.push_back(v / rest);
  }
  const double root =
      std::log(1.648 * std::sqrt(static_cast<double>(n)) * 1e15) / static_cast<double>(2 * most_steps - 1);
  return largest / (1.0 - root * root);
}

// Beyond this ratio of atoms to features two products take less time than one with the Gram matrix: the
// second is at half the rate of the first.
constexpr Index crossover = 4;

}  // namespace

template <class T>
CodingDictionary<T>::Prepared::Prepared(MatrixView<const T> d, double l2_, Stream& stream)
    : home(stream.shared_from_this()),
      n_components(d.rows),
      n_features(d.cols),
      stride(ceil_div(d.rows, code_alignment) * code_alignment),
      has_two_products(d.rows >= crossover * d.cols) {
  require(d.rows > 0 && d.cols > 0, "dictionary: expected at least one atom and one feature, got shape (",
          d.rows, ", ", d.cols, ")");
  require(l2_ >= 0 && std::isfinite(l2_), "l2: expected a finite number >= 0, got ", l2_);
  const auto grid = [](Index n) {
    return static_cast<unsigned>(std::clamp<Index>(ceil_div(n, block_size), 1, 4096));
  };
  Buffer<double> norm(d.rows, stream);
  launch(norms_kernel<T>, static_cast<unsigned>(ceil_div(d.rows, block_size / warp_size)), block_size, 0,
         stream, d.data, d.rows, d.cols, norm.data());
  std::vector<double> norms(static_cast<std::size_t>(d.rows));
  download(norm.data(), norms.data(), d.rows, stream);
  scale = unit_scale(*std::max_element(norms.begin(), norms.end()));
  l2 = l2_ * scale * scale;

  const Index size = stride * n_features;
  atoms = Buffer<double>(size, stream);
  launch(scale_kernel<T>, grid(size), block_size, 0, stream, d.data, d.rows * d.cols, size, scale,
         atoms.data());
  if (has_two_products) {
    working_atoms = Buffer<T>(size, stream);
    rough_atoms = Buffer<Bfloat16>(size, stream);
    launch(round_kernel<T>, grid(size), block_size, 0, stream, atoms.data(), size, n_features, 0, 0.0,
           working_atoms.data(), rough_atoms.data());
  } else {
    const Index square = stride * stride;
    Buffer<double> exact(square, stream);
    gemm(stream, stride, stride, n_features, 1.0, Operand<const double>{atoms.data(), n_features},
         Operand<const double>{atoms.data(), n_features, Transposed::yes}, 0.0,
         Operand<double>{exact.data(), stride});
    gram = Buffer<T>(square, stream);
    rough_gram = Buffer<Bfloat16>(square, stream);
    launch(round_kernel<T>, grid(square), block_size, 0, stream, exact.data(), square, stride, n_components,
           l2, gram.data(), rough_gram.data());
  }
  Square operation(atoms.data(), n_components, n_features, stream);
  const double largest = bound_largest_eigenvalue(operation);
  lipschitz = largest + l2 > 0 ? largest + l2 : 1.0;  // zeros still need a step
}

template <class T>
CodingDictionary<T>::CodingDictionary(MatrixView<const T> atoms, double l2, Stream& stream)
    : prepared_(std::make_unique<Prepared>(atoms, l2, stream)) {}

template <class T>
CodingDictionary<T>::~CodingDictionary() = default;

template <class T>
Index CodingDictionary<T>::n_components() const {
  return prepared_->n_components;
}

template <class T>
Index CodingDictionary<T>::n_features() const {
  return prepared_->n_features;
}

template <class T>
double CodingDictionary<T>::lipschitz() const {
  return prepared_->lipschitz / (prepared_->scale * prepared_->scale);
}

template <class T>
Stream& CodingDictionary<T>::home() const {
  return *prepared_->home;
}

// encode() is defined, and instantiated, in lasso.cu.
template class CodingDictionary<float>;
template class CodingDictionary<double>;

}  // namespace thalweg::cuda

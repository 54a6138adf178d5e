// Annealed importance sampling on the device: two launches a step, those of a sweep (rbm_product.cuh), which
// also add to the weights. Each tile of 32 units keeps a running sum of its own for every run, in double
// precision, and only the end adds up the tiles, in their order: 16 bytes a tile, run and step, a tenth of
// what the products take on a machine of 784 x 500.
#include "kernels/ais.hpp"

#include <vector>

#include "cuda/graph.hpp"
#include "cuda/pace.hpp"
#include "cuda/rbm_layers.cuh"

namespace thalweg::cuda {
namespace {

using rbm::tile_units;

constexpr unsigned block_size = 256;

// The inverse temperatures, and the step that a launch makes: from t[step - 1] to t[step].
template <class T>
struct Path {
  const T* t = nullptr;
  Index step = 0;
  const std::uint32_t* more_steps = nullptr;

  __device__ const T* now() const { return t + step + (more_steps == nullptr ? 0u : *more_steps); }
};

// Running sums (tiles, runs).
struct Weights {
  double* sums = nullptr;
  Index runs = 0;
  __device__ double& operator()(Index tile, Index run) const { return sums[tile * runs + run]; }
};

// softplus(t x) - softplus(s x), given p = sigmoid(t x). With d = (t - s) x it is -log(1 + p (e^-d - 1)),
// which nothing cancels in.
template <class T>
__device__ T softplus_difference(T x, T p, T t, T s) {
  const T d = x * (t - s);
  if (std::abs(d) <= T(1)) return -std::log1p(p * std::expm1(-d));
  return softplus(x * t) - softplus(x * s);
}

// Hidden units at the path's temperature, and what they add to the weights.
template <class T>
struct HiddenStep {
  static constexpr bool has_sums = true;
  Index units;
  const T* bias;
  Path<T> path;
  rbm::Draws draws;
  Bits bits;
  Weights weights;

  struct Values {
    T bias[4];
  };
  __device__ Values load(Index unit) const {
    Values v;
    rbm::get_four(bias, unit, units, T(0), v.bias);
    return v;
  }
  __device__ std::uint32_t finish(Index row, Index unit, const Values& v, T (&x)[4], double& sum) const {
    const T* const now = path.now();
    const T t = now[0];
    const T s = now[-1];
    T u[4];
    rbm::four_uniforms(draws.of_row(row), unit, u);
    std::uint32_t drawn = 0;
    for (int i = 0; i < 4; ++i)
      if (unit + i < units) {
        const T logit = x[i] + v.bias[i];
        const T p = rbm::probability(logit * t);
        sum += static_cast<double>(softplus_difference(logit, p, t, s));
        drawn |= static_cast<std::uint32_t>(u[i] < p) << i;
      }
    return drawn;
  }
  __device__ void put(Index row, Index tile, std::uint32_t word, double sum) const {
    bits(tile, row) = word;
    weights(tile, row) += sum;
  }
};

// What a visible state's own terms add to log f_t for each unit of t.
template <class T>
struct OwnTerms {
  bool is_gaussian;
  const T* bias;
  const T* sigma;
  const T* base_bias;
  const T* base_sigma;

  __device__ double of(Index unit, T v) const {
    const T base = base_bias == nullptr ? T(0) : base_bias[unit];
    if (!is_gaussian) return v == T(0) ? 0.0 : static_cast<double>(bias[unit]) - static_cast<double>(base);
    const T from_base = (v - base) / (base_sigma == nullptr ? T(1) : base_sigma[unit]);
    const T from_own = (v - bias[unit]) / sigma[unit];
    return 0.5 * static_cast<double>((from_base - from_own) * (from_base + from_own));
  }
};

// How far the path's next step goes, `next` being its end.
template <class T>
__device__ double stride(const T* next) {
  return static_cast<double>(next[0]) - static_cast<double>(next[-1]);
}

// Visible units at the path's temperature, and what they add to the weights at its next step.
template <class T>
struct BernoulliStep {
  static constexpr bool has_sums = true;
  Index units;
  const T* bias;
  const T* base_bias;
  Path<T> path;
  rbm::Draws draws;
  Bits bits;
  Weights weights;

  struct Values {
    T bias[4];
    T base[4];
  };
  __device__ Values load(Index unit) const {
    Values v;
    rbm::get_four(bias, unit, units, T(0), v.bias);
    rbm::get_four(base_bias, unit, units, T(0), v.base);
    return v;
  }
  __device__ std::uint32_t finish(Index row, Index unit, const Values& v, T (&x)[4], double& sum) const {
    const T t = *path.now();
    T u[4];
    rbm::four_uniforms(draws.of_row(row), unit, u);
    std::uint32_t drawn = 0;
    for (int i = 0; i < 4; ++i)
      if (unit + i < units) {
        const T p = rbm::probability((x[i] + v.bias[i]) * t + v.base[i] * (T(1) - t));
        const bool is_one = u[i] < p;
        drawn |= static_cast<std::uint32_t>(is_one) << i;
        if (is_one) sum += static_cast<double>(v.bias[i]) - static_cast<double>(v.base[i]);
      }
    return drawn;
  }
  __device__ void put(Index row, Index tile, std::uint32_t word, double sum) const {
    bits(tile, row) = word;
    weights(tile, row) += stride(path.now() + 1) * sum;
  }
};

template <class T>
struct GaussianStep {
  static constexpr bool has_sums = true;
  rbm::GaussianFinish<T> units;  // its temperature is not looked at
  OwnTerms<T> own;
  Path<T> path;
  Weights weights;

  using Values = typename rbm::GaussianFinish<T>::Values;
  __device__ Values load(Index unit) const { return units.load(unit); }
  __device__ std::uint32_t finish(Index row, Index unit, const Values& v, T (&x)[4], double& sum) const {
    units.draw_at(*path.now(), row, unit, v, x);
    for (int i = 0; i < 4; ++i)
      if (unit + i < units.units) sum += own.of(unit + i, x[i]);
    return 0;
  }
  __device__ void put(Index row, Index tile, std::uint32_t, double sum) const {
    weights(tile, row) += stride(path.now() + 1) * sum;
  }
};

// The first states' own terms at the path's first step; one thread a tile and run.
template <class T>
__global__ void __launch_bounds__(block_size)
    begin_kernel(const __grid_constant__ OwnTerms<T> own, const __grid_constant__ ConstBits bits,
                 const __grid_constant__ MatrixView<const T> real, Index units, const T* t,
                 const __grid_constant__ Weights weights, Index tiles) {
  const Index n = tiles * weights.runs;
  const Index step = Index{gridDim.x} * block_size;
  for (Index i = Index{blockIdx.x} * block_size + threadIdx.x; i < n; i += step) {
    const Index tile = i / weights.runs;
    const Index run = i % weights.runs;
    double sum = 0;
    for (Index j = tile * tile_units; j < min(units, (tile + 1) * tile_units); ++j)
      sum += own.of(
          j, real.data != nullptr ? real(run, j) : static_cast<T>(bits(tile, run) >> (j % tile_units) & 1u));
    weights(tile, run) = stride(t + 1) * sum;
  }
}

__global__ void __launch_bounds__(block_size)
    end_kernel(const __grid_constant__ Weights weights, Index tiles, double* log_weights) {
  const Index run = Index{blockIdx.x} * block_size + threadIdx.x;
  if (run >= weights.runs) return;
  double sum = 0;
  for (Index tile = 0; tile < tiles; ++tile) sum += weights(tile, run);
  log_weights[run] += sum;
}

__global__ void advance_kernel(std::uint32_t* step, std::uint32_t by) { *step += by; }

template <class T>
class Annealer {
 public:
  Annealer(const PreparedRbm<T>& rbm, const Tempering<T>& base, std::span<const double> t, Bits visible,
           MatrixView<T> visible_real, const Draw& draw, Stream& stream)
      : rbm_(rbm),
        base_(base),
        visible_(visible),
        visible_real_(visible_real),
        draw_(draw),
        stream_(stream),
        rows_(rbm.view().sigma == nullptr ? visible.rows : visible_real.rows),
        last_(static_cast<Index>(t.size()) - 1),
        visible_tiles_(ceil_div(rbm.view().n_visible, tile_units)),
        hidden_tiles_(ceil_div(rbm.view().n_hidden, tile_units)),
        t_(static_cast<Index>(t.size()), stream),
        hidden_words_(rows_ * hidden_tiles_, stream),
        sums_((visible_tiles_ + hidden_tiles_) * rows_, stream) {
    const std::vector<T> rounded(t.begin(), t.end());
    upload(rounded.data(), t_.data(), t_.size(), stream);
    clear(sums_.data(), sums_.size(), stream);
    const auto kernel = begin_kernel<T>;
    const Index blocks = ceil_div(visible_tiles_ * rows_, block_size);
    launch(kernel, grid_for(kernel, blocks, block_size, 0, 4), block_size, 0, stream, own_terms(),
           rbm::as_const(visible), visible_real, rbm.view().n_visible, t_.data(), of_visible(),
           visible_tiles_);
  }

  // The launches of step `i`, and of those that a graph has made before as `more_steps` says.
  void step(Index i, const std::uint32_t* more_steps) {
    const RbmView<T>& view = rbm_.view();
    const Path<T> path{t_.data(), i, more_steps};
    const Bits hidden{hidden_words_.data(), rows_, view.n_hidden, rows_};
    const rbm::Draws of_hidden_units = rbm::make_draws(draw_, 1, i, more_steps);
    const rbm::Draws of_visible_units = rbm::make_draws(draw_, 0, i, more_steps);
    StatesView<T> given;
    if (view.sigma == nullptr) {
      given.bits = rbm::as_const(visible_);
    } else {
      given.real = visible_real_;
    }
    rbm::multiply<T>(
        rbm::up_layer(rbm_), given,
        HiddenStep<T>{view.n_hidden, view.hidden_bias, path, of_hidden_units, hidden, of_hidden()}, stream_);
    if (i == last_) return;
    const StatesView<T> drawn{rbm::as_const(hidden), {}};
    if (view.sigma == nullptr) {
      rbm::multiply<T>(rbm::down_layer(rbm_), drawn,
                       BernoulliStep<T>{view.n_visible, view.visible_bias, base_.base_bias, path,
                                        of_visible_units, visible_, of_visible()},
                       stream_);
    } else {
      Activation<T> out;
      out.real = visible_real_;
      rbm::multiply<T>(rbm::down_layer(rbm_), drawn,
                       GaussianStep<T>{rbm::gaussian_visible_finish(view, base_, of_visible_units, out),
                                       own_terms(), path, of_visible()},
                       stream_);
    }
  }

  // Small batches are done before the next launch could be given: those steps are launched many at a time.
  void run() {
    constexpr Index at_once = 16;
    constexpr Index worth_a_graph = 4 * at_once;
    constexpr double small = 4e9;  // multiply-adds
    const double operations = 2.0 * static_cast<double>(rows_) * static_cast<double>(rbm_.view().n_visible) *
                              static_cast<double>(rbm_.view().n_hidden);
    Pace pace(operations, stream_);
    Index next = 1;
    const auto plain = [&](Index until) {
      for (; next < until; ++next) {
        step(next, nullptr);
        pace.after(1);
      }
    };
    if (operations < small && last_ >= worth_a_graph) {
      plain(2);  // all kernels are loaded then
      const Buffer<std::uint32_t> made(1, stream_);
      clear(made.data(), 1, stream_);
      const Index first = next;
      const Graph graph(stream_, [&] {
        for (Index i = 0; i < at_once; ++i) step(first + i, made.data());
        launch(advance_kernel, 1, 1, 0, stream_, made.data(), static_cast<std::uint32_t>(at_once));
      });
      for (; next + at_once <= last_; next += at_once) {
        graph.launch(stream_);
        pace.after(at_once);
      }
      plain(last_ + 1);
      stream_.synchronize();  // the graph may go
    } else {
      plain(last_ + 1);
    }
  }

  void add_to(double* log_weights) {
    launch(end_kernel, static_cast<unsigned>(ceil_div(rows_, block_size)), block_size, 0, stream_,
           of_visible(), visible_tiles_ + hidden_tiles_, log_weights);
  }

 private:
  [[nodiscard]] OwnTerms<T> own_terms() const {
    const RbmView<T>& view = rbm_.view();
    return {view.sigma != nullptr, view.visible_bias, view.sigma, base_.base_bias, base_.base_sigma};
  }
  [[nodiscard]] Weights of_visible() const { return {sums_.data(), rows_}; }
  [[nodiscard]] Weights of_hidden() const { return {sums_.data() + visible_tiles_ * rows_, rows_}; }

  const PreparedRbm<T>& rbm_;
  Tempering<T> base_;
  Bits visible_;
  MatrixView<T> visible_real_;
  Draw draw_;
  Stream& stream_;
  Index rows_;
  Index last_;  // step
  Index visible_tiles_;
  Index hidden_tiles_;
  Buffer<T> t_;
  Buffer<std::uint32_t> hidden_words_;
  Buffer<double> sums_;  // (visible tiles and hidden ones, runs)
};

}  // namespace

template <class T>
void anneal(const PreparedRbm<T>& rbm, const Tempering<T>& base, std::span<const double> t, Bits visible,
            MatrixView<T> visible_real, const Draw& draw, double* log_weights, Stream& stream) {
  const Index rows = rbm.view().sigma == nullptr ? visible.rows : visible_real.rows;
  if (rows == 0 || t.size() < 2) return;
  Annealer<T> annealer(rbm, base, t, visible, visible_real, draw, stream);
  annealer.run();
  annealer.add_to(log_weights);
}

template void anneal(const PreparedRbm<float>&, const Tempering<float>&, std::span<const double>, Bits,
                     MatrixView<float>, const Draw&, double*, Stream&);
template void anneal(const PreparedRbm<double>&, const Tempering<double>&, std::span<const double>, Bits,
                     MatrixView<double>, const Draw&, double*, Stream&);

}  // namespace thalweg::cuda

// Deep densities on the device: energies, scores, and chains.
//
// A trajectory of L leapfrog steps needs rows of all features at its ends only (density_leapfrog.cuh says
// why): with H units in the first layer and D features a chain takes
//
//   V p_0, V' y_x, V x_L and V' y_p, 4 D H multiply-adds by cuBLAS, and L - 1 steps among the units.
//
// For 784-64-64 and L = 10 these are 0.2 + 0.11 million multiply-adds, where leapfrog steps of rows take 1.1
// million. Some 13 rows of 3 kB are read and written: 40 kB, 10 ns a chain at 4 TB/s, against 10 ns at 60
// TFLOP/s. The energies and scores that decide are those of the end itself, computed anew from its features;
// what is followed by the units is only where the trajectory ends.
//
// Few chains are bound by launches, eight a trajectory for any L: they are recorded once in a graph. The
// number of the trajectory is therefore kept on the device.
#include "kernels/langevin.hpp"

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>
#include <type_traits>

#include "core/rng.hpp"
#include "cuda/density_layers.cuh"
#include "cuda/density_leapfrog.cuh"
#include "cuda/graph.hpp"

namespace thalweg::cuda {
namespace {

// --- draws

// Sixteen bytes of numbers: the normals that one block of words gives, in either precision.
template <class T>
constexpr int pack_size = 16 / static_cast<int>(sizeof(T));
template <class T>
struct alignas(16) Pack {
  T value[pack_size<T>];
};

// Whether every row begins at a multiple of 16 bytes.
template <class T>
bool has_packs(MatrixView<T> rows) {
  return reinterpret_cast<std::uintptr_t>(rows.data) % sizeof(Pack<T>) == 0 &&
         rows.stride % pack_size<T> == 0;
}

// Pack `block` of a row of `cols`; as one where the row is aligned and the pack whole. What lies beyond the
// row's end is not touched, and comes as zero.
template <class T>
__device__ inline Pack<T> get_pack(const T* row, Index block, Index cols, bool is_aligned) {
  const T* const from = row + block * pack_size<T>;
  if (is_aligned && (block + 1) * pack_size<T> <= cols) return *reinterpret_cast<const Pack<T>*>(from);
  Pack<T> pack;
#pragma unroll
  for (int i = 0; i < pack_size<T>; ++i) pack.value[i] = block * pack_size<T> + i < cols ? from[i] : T(0);
  return pack;
}
template <class T>
__device__ inline void put_pack(T* row, Index block, Index cols, bool is_aligned, const Pack<T>& pack) {
  T* const to = row + block * pack_size<T>;
  if (is_aligned && (block + 1) * pack_size<T> <= cols) {
    *reinterpret_cast<Pack<T>*>(to) = pack;
    return;
  }
#pragma unroll
  for (int i = 0; i < pack_size<T>; ++i)
    if (block * pack_size<T> + i < cols) to[i] = pack.value[i];
}

template <class T>
__device__ inline Pack<T> draw(const rng::Sequence& sequence, Index block) {
  const rng::Block words = sequence.block(static_cast<std::uint32_t>(block));
  Pack<T> made;
  if constexpr (std::is_same_v<T, float>) {
    const auto drawn = rng::normals_of_float(words);
#pragma unroll
    for (int i = 0; i < 4; ++i) made.value[i] = drawn[static_cast<std::size_t>(i)];
  } else {
    const auto drawn = rng::normals(words);
#pragma unroll
    for (int i = 0; i < 2; ++i) made.value[i] = drawn[static_cast<std::size_t>(i)];
  }
  return made;
}

template <class T>
__global__ void __launch_bounds__(rows::block_size)
    normal_rows_kernel(MatrixView<T> out, bool is_aligned, rng::Sequence of) {
  for (Index r = rows::first(); r < out.rows; r += rows::step()) {
    rng::Sequence sequence = of;
    sequence.row += static_cast<std::uint64_t>(r);
    for (Index block = rows::lane(); block * pack_size<T> < out.cols; block += 32)
      put_pack(out.row(r), block, out.cols, is_aligned, draw<T>(sequence, block));
  }
}

__device__ inline double first_uniform(const rng::Sequence& sequence) {
  const rng::Block words = sequence.block(0);
  return rng::uniform(words.word[0], words.word[1]);
}

__global__ void __launch_bounds__(rows::block_size) uniform_kernel(double* out, Index n, rng::Sequence of) {
  const Index step = Index{gridDim.x} * rows::block_size;
  for (Index r = Index{blockIdx.x} * rows::block_size + threadIdx.x; r < n; r += step) {
    rng::Sequence sequence = of;
    sequence.row += static_cast<std::uint64_t>(r);
    out[r] = first_uniform(sequence);
  }
}

template <class T>
__global__ void __launch_bounds__(rows::block_size)
    squares_kernel(MatrixView<const T> X, const T* mean, const T* scale, double* out) {
  for (Index r = rows::first(); r < X.rows; r += rows::step()) {
    double total = 0;
    for (Index j = rows::lane(); j < X.cols; j += 32) {
      auto v = static_cast<double>(X(r, j));
      if (mean != nullptr) v = (v - static_cast<double>(mean[j])) * static_cast<double>(scale[j]);
      total += v * v;
    }
    total = rows::sum(total);
    if (rows::lane() == 0) out[r] = total;
  }
}

// score = b - x / sigma^2
template <class T>
__global__ void __launch_bounds__(rows::block_size)
    visible_score_kernel(MatrixView<const T> X, const T* b, T inverse_variance, MatrixView<T> score) {
  for (Index r = rows::first(); r < X.rows; r += rows::step())
    for (Index j = rows::lane(); j < X.cols; j += 32) score(r, j) = b[j] - X(r, j) * inverse_variance;
}

// --- trajectories

// Multiples of x_0, p_0 and b.
struct Coefficients {
  double x, p, b;
};

template <class T>
struct Multiples {
  T x, p, b;
  explicit Multiples(const Coefficients& c)
      : x(static_cast<T>(c.x)), p(static_cast<T>(c.p)), b(static_cast<T>(c.b)) {}
  __device__ T of(T x_0, T p_0, T bias) const { return x * x_0 + (p * p_0 + b * bias); }
};

// Of the end of a trajectory; what the layers add to it is left out.
struct End {
  Coefficients position{1, 0, 0};
  Coefficients momentum{0, 1, 0};

  End(double epsilon, double beta, Index n_leapfrog) {
    kick(0.5 * epsilon, beta);
    for (Index l = 0; l < n_leapfrog; ++l) {
      if (l % 65536 == 0) poll_interrupt();
      position.x += epsilon * momentum.x;
      position.p += epsilon * momentum.p;
      position.b += epsilon * momentum.b;
      kick(l + 1 == n_leapfrog ? 0.5 * epsilon : epsilon, beta);
    }
  }

 private:
  void kick(double h, double beta) {
    momentum.x -= h * beta * position.x;
    momentum.p -= h * beta * position.p;
    momentum.b += h * (1 - beta * position.b);
  }
};

// How many trajectories there have been: one kernel reads `drawn` and sets `decided`, a later one reads that
// and sets `drawn` to the next, so that no kernel writes what others of its threads still read.
struct Count {
  std::uint32_t drawn, decided;
};

// What the chains draw by: `of.row` is the first chain's, `of.step` the first trajectory's.
struct Draws {
  rng::Sequence of;
  __device__ rng::Sequence at(Index r, std::uint32_t number) const {
    rng::Sequence sequence = of;
    sequence.row += static_cast<std::uint64_t>(r);
    sequence.step += number;
    return sequence;
  }
};

// Momenta and their energies, and the ends of trajectories without what the layers add.
template <class T>
__global__ void __launch_bounds__(rows::block_size)
    begin_kernel(MatrixView<const T> X, bool is_aligned, const T* b, Draws draws, Count* count,
                 Multiples<T> position, T* P, T* X_end, double* kinetic) {
  const Index d = X.cols;
  const std::uint32_t number = count->drawn;
  for (Index r = rows::first(); r < X.rows; r += rows::step()) {
    const rng::Sequence sequence = draws.at(r, number);
    double total = 0;
    for (Index block = rows::lane(); block * pack_size<T> < d; block += 32) {
      const Pack<T> p = draw<T>(sequence, block);
      const Pack<T> x = get_pack(X.row(r), block, d, is_aligned);
      const Pack<T> bias = get_pack(b, block, d, is_aligned);
      Pack<T> end;
#pragma unroll
      for (int i = 0; i < pack_size<T>; ++i) {
        end.value[i] = position.of(x.value[i], p.value[i], bias.value[i]);
        const auto wide = static_cast<double>(p.value[i]);
        if (block * pack_size<T> + i < d) total += wide * wide;
      }
      put_pack(P + r * d, block, d, is_aligned, p);
      put_pack(X_end + r * d, block, d, is_aligned, end);
    }
    total = rows::sum(total);
    if (rows::lane() == 0) kinetic[r] = 0.5 * total;
  }
  if (blockIdx.x == 0 && threadIdx.x == 0) count->decided = number;
}

// The units' state between the steps, where they are done by matrix products.
template <class T>
__global__ void __launch_bounds__(rows::block_size, 4)
    leap_step_kernel(leapfrog::LeapState<T> s, const T* w_0, const T* q, const T* gram_q, const T* visible,
                     T beta, T h, T epsilon, bool is_first, bool goes_on, Index n_rows, Index n) {
  for (Index r = rows::first(); r < n_rows; r += rows::step())
    for (Index u = rows::lane(); u < n; u += 32) {
      const Index i = r * n + u;
      if (goes_on) {
        const T w = is_first ? w_0[i] : s.w[i];
        const T v = s.v[i] + h * (visible[u] - beta * w + gram_q[i]);
        s.v[i] = v;
        s.w[i] = w + epsilon * v;
      }
      const T y_x = is_first ? T(0) : s.y_x[i];
      const T y_p = (is_first ? T(0) : s.y_p[i]) + h * (q[i] - beta * y_x);
      s.y_p[i] = y_p;
      s.y_x[i] = y_x + epsilon * y_p;
    }
}

// y_p += h (q - beta y_x)
template <class T>
__global__ void __launch_bounds__(rows::block_size)
    last_kick_kernel(const T* q, const T* y_x, T* y_p, T beta, T h, Index n_rows, Index n) {
  for (Index r = rows::first(); r < n_rows; r += rows::step())
    for (Index u = rows::lane(); u < n; u += 32) y_p[r * n + u] += h * (q[r * n + u] - beta * y_x[r * n + u]);
}

// A trajectory's two ends, and what is known of them: rows of all features, and of the first layer's units.
template <class T>
struct Ends {
  MatrixView<T> X;
  T *w, *q;
  double* energy;
  const T *X_end, *w_end, *q_end;
  const double* hidden_end;
  const T* P;
  const T* P_layers;  // what the layers add to the end's momentum, without a test to its score
  const double* kinetic;
};

// Whether each trajectory's end is taken, and if so, the taking. A warp a chain.
template <class T>
__global__ void __launch_bounds__(rows::block_size, 3)
    decide_kernel(Ends<T> ends, bool is_tested, const T* b, Index n_units, double inverse_variance, double t,
                  Multiples<T> momentum, Draws tests, Count* count, DensityMoveReport report) {
  const Index d = ends.X.cols;
  const std::uint32_t number = count->decided;
  for (Index r = rows::first(); r < ends.X.rows; r += rows::step()) {
    T* const x = ends.X.row(r);
    const T* const x_end = ends.X_end + r * d;
    const double after = visible_energy(x_end, b, d, inverse_variance) - t * ends.hidden_end[r];
    double total = 0;  // of squares: of the end's momentum, or without a test of its score
    for (Index j = rows::lane(); j < d; j += 32) {
      const T visible = is_tested ? momentum.of(x[j], ends.P[r * d + j], b[j])
                                  : b[j] - static_cast<T>(inverse_variance) * x_end[j];
      const auto sum = static_cast<double>(visible + ends.P_layers[r * d + j]);
      total += sum * sum;
    }
    total = rows::sum(total);
    const double rise = after - ends.energy[r] + (is_tested ? 0.5 * total - ends.kinetic[r] : 0.0);
    const bool is_lost =
        !std::isfinite(total) || !std::isfinite(rise) || rise > 1000.0 + static_cast<double>(d);
    const double probability = is_lost ? 0.0 : is_tested ? std::exp(rise > 0 ? -rise : 0.0) : 1.0;
    bool is_taken = !is_lost;
    if (is_taken && is_tested) is_taken = first_uniform(tests.at(r, number)) < probability;
    if (rows::lane() == 0) {
      if (report.acceptance != nullptr) report.acceptance[r] += probability;
      if (report.accepted != nullptr && is_taken) report.accepted[r] += 1;
      if (report.diverged != nullptr && is_lost) report.diverged[r] += 1;
    }
    if (!is_taken) continue;
    for (Index j = rows::lane(); j < d; j += 32) x[j] = x_end[j];
    for (Index u = rows::lane(); u < n_units; u += 32) {
      ends.w[r * n_units + u] = ends.w_end[r * n_units + u];
      ends.q[r * n_units + u] = ends.q_end[r * n_units + u];
    }
    __syncwarp();  // every lane has read the energy before
    if (rows::lane() == 0) ends.energy[r] = after;
  }
  if (blockIdx.x == 0 && threadIdx.x == 0) count->drawn = number + 1;
}

__global__ void __launch_bounds__(rows::block_size) mean_kernel(double* values, Index n, double divisor) {
  const Index step = Index{gridDim.x} * rows::block_size;
  for (Index r = Index{blockIdx.x} * rows::block_size + threadIdx.x; r < n; r += step) values[r] /= divisor;
}

// Moves up to `most_rows` chains at once.
template <class T>
class ChainMoves {
 public:
  using Packed = typename DeepDensity<T>::Packed;

  ChainMoves(const Packed& density, const DensityMoves& moves, Index most_rows, Stream& stream)
      : density_(density),
        moves_(moves),
        stream_(stream),
        beta_(static_cast<T>(density.inverse_variance)),
        epsilon_(static_cast<T>(moves.epsilon)),
        t_(static_cast<T>(moves.hidden_weight)),
        end_(moves.epsilon, density.inverse_variance, moves.n_leapfrog),
        position_(end_.position),
        momentum_(end_.momentum),
        P_(most_rows * density.n_features, stream),
        X_end_(most_rows * density.n_features, stream),
        P_layers_(most_rows * density.n_features, stream),
        energy_(most_rows, stream),
        hidden_(most_rows, stream),
        kinetic_(most_rows, stream),
        count_(1, stream),
        advance_(stream) {
    const Index size = most_rows * density.width();
    for (auto* buffer : {&w_, &q_, &w_end_, &q_end_, &w_leap_, &v_, &y_x_, &y_p_})
      *buffer = Buffer<T>(size, stream);
    const bool is_small = SmallPass<T>::fits(density);
    if (is_small || moves.n_leapfrog > 1) make_gram();
    if (is_small) {
      small_.emplace(density, gram_.data(), visible_.data(), stream);
    } else {
      large_.emplace(density, most_rows, stream);
      gram_q_ = Buffer<T>(size, stream);
    }
  }

  // The chains X, the first of which is number `first`.
  void run(MatrixView<T> X, Index first, const DensityMoveReport& report) {
    if (X.rows == 0) return;
    clear(count_.data(), 1, stream_);
    const auto [through, above] = operations(X.rows);
    advance_.add(2 * above + through);
    density_.layers[0].up(X, w_.data(), stream_);
    hidden(w_.data(), X.rows, q_.data());
    rows::launch_rows(energy_kernel<T>, X.rows, stream_, MatrixView<const T>(X), density_.visible_bias.data(),
                      density_.inverse_variance, moves_.hidden_weight, hidden_.data(), energy_.data());
    if (moves_.n_steps >= fewest_for_graph && has_short_trajectories(X.rows))
      run_by_graph(X, first, report);
    else
      for (Index i = 0; i < moves_.n_steps; ++i) trajectory(X, first, report, &advance_);
    if (report.acceptance != nullptr && moves_.n_steps > 0)
      launch(mean_kernel, grid_for(mean_kernel, ceil_div(X.rows, rows::block_size), rows::block_size, 0),
             rows::block_size, 0, stream_, report.acceptance, X.rows, static_cast<double>(moves_.n_steps));
  }

 private:
  static constexpr Index fewest_for_graph = 4;
  static constexpr double most_steps_of_launch = 2048;
  static constexpr double least_of_step = 5e7;  // its barriers take as long as so many multiply-adds

  struct Operations {
    double through, above;  // the first layer; both ways above it, and G
  };
  [[nodiscard]] Operations operations(Index n_rows) const {
    const auto rows = static_cast<double>(n_rows);
    const auto width = static_cast<double>(density_.width());
    const double above = rows * (2 * density_.products_above() + (has_gram() ? width * width : 0));
    return {rows * width * static_cast<double>(density_.n_features), std::max(above, least_of_step)};
  }
  [[nodiscard]] double of_trajectory(Index n_rows) const {
    const auto [through, above] = operations(n_rows);
    return 4 * through + static_cast<double>(moves_.n_leapfrog) * above;
  }
  [[nodiscard]] bool has_short_trajectories(Index n_rows) const {
    return of_trajectory(n_rows) < Advance::most_ahead / 20;
  }
  [[nodiscard]] bool has_gram() const { return gram_.size() > 0; }

  // G is a detour where units are many and features few.
  void make_gram() {
    const auto& first = density_.layers[0];
    const Index n = first.n_out, d = first.n_in;
    visible_ = Buffer<T>(n, stream_);
    first.up({density_.visible_bias.data(), 1, d}, visible_.data(), stream_);
    if (n > 2 * d && !SmallPass<T>::fits(density_)) return;
    gram_ = Buffer<T>(n * n, stream_);
    first.up({first.weights.data(), n, d}, gram_.data(), stream_);
  }

  void run_by_graph(MatrixView<T> X, Index first, const DensityMoveReport& report) {
    trajectory(X, first, report, nullptr);  // what cuBLAS makes on first use is no part of the graph
    const Graph graph(stream_, [&] { trajectory(X, first, report, nullptr); });
    const double work = of_trajectory(X.rows);
    for (Index i = 1; i < moves_.n_steps; ++i) {
      advance_.add(work + 8 * Advance::least);
      graph.launch(stream_);
    }
    stream_.synchronize();  // the graph goes
  }

  // Waits for nothing where `advance` is null.
  void trajectory(MatrixView<T> X, Index first, const DensityMoveReport& report, Advance* advance) {
    const Index n = X.rows, d = X.cols, units = density_.width();
    const auto work = operations(n);
    const auto& bottom = density_.layers[0];
    const MatrixView<T> X_end(X_end_.data(), n, d);
    const auto charge = [&](double of) {
      if (advance != nullptr) advance->add(of);
    };
    charge(4 * work.through);
    rows::launch_rows(begin_kernel<T>, n, stream_, MatrixView<const T>(X), has_packs(X) && has_packs(X_end),
                      density_.visible_bias.data(), Draws{sequence(first, 0)}, count_.data(), position_,
                      P_.data(), X_end.data, kinetic_.data());
    if (moves_.n_leapfrog > 1) bottom.up({P_.data(), n, d}, v_.data(), stream_);
    leap(n, advance);
    bottom.down(y_x_.data(), T(1), X_end, stream_);
    bottom.up(X_end, w_end_.data(), stream_);
    charge(work.above);
    const bool is_tested = moves_.is_tested;
    hidden(w_end_.data(), n, q_end_.data(), is_tested ? y_p_.data() : nullptr);
    bottom.down(is_tested ? y_p_.data() : q_end_.data(), T(0), {P_layers_.data(), n, d}, stream_);
    const Ends<T> ends{X,          w_.data(),        q_.data(),      energy_.data(),
                       X_end.data, w_end_.data(),    q_end_.data(),  hidden_.data(),
                       P_.data(),  P_layers_.data(), kinetic_.data()};
    rows::launch_rows(decide_kernel<T>, n, stream_, ends, is_tested, density_.visible_bias.data(), units,
                      density_.inverse_variance, moves_.hidden_weight, momentum_, Draws{sequence(first, 1)},
                      count_.data(), report);
  }

  [[nodiscard]] rng::Sequence sequence(Index first, std::uint32_t extra_stream) const {
    return {moves_.seed, moves_.stream + extra_stream, moves_.first_row + static_cast<std::uint64_t>(first),
            moves_.step};
  }

  // hidden_ and q of w; and the last half kick of y_p, unless that is null.
  void hidden(const T* w, Index n, T* q, T* y_p = nullptr) {
    const T h = epsilon_ / 2;
    if (small_) {
      small_->hidden(w, n, t_, hidden_.data(), q, y_x_.data(), y_p, beta_, h);
      return;
    }
    large_->evaluate(w, n, t_, hidden_.data(), q);
    if (y_p != nullptr)
      rows::launch_rows(last_kick_kernel<T>, n, stream_, static_cast<const T*>(q),
                        static_cast<const T*>(y_x_.data()), y_p, beta_, h, n, density_.width());
  }

  // All leapfrog steps among the units: y_x, and y_p but for the last half kick.
  void leap(Index n, Advance* advance) {
    const leapfrog::LeapState<T> state{w_leap_.data(), v_.data(), q_end_.data(), y_x_.data(), y_p_.data()};
    const double step = operations(n).above;
    if (!small_) {
      leap_by_products(state, n, step, advance);
      return;
    }
    const auto at_once =
        static_cast<Index>(std::clamp(Advance::most_ahead / step, 1.0, most_steps_of_launch));
    for (Index l = 0; l < moves_.n_leapfrog; l += at_once) {
      const Index count = std::min(at_once, moves_.n_leapfrog - l);
      if (advance != nullptr) advance->add(static_cast<double>(count) * step);
      small_->leap(w_.data(), q_.data(), state, n, t_, beta_, epsilon_, static_cast<int>(count), l == 0,
                   l + count == moves_.n_leapfrog);
    }
  }

  void leap_by_products(const leapfrog::LeapState<T>& state, Index n, double step, Advance* advance) {
    const Index units = density_.width();
    T h = epsilon_ / 2;
    for (Index l = 0; l < moves_.n_leapfrog; ++l) {
      if (advance != nullptr) advance->add(step);
      const bool goes_on = l + 1 < moves_.n_leapfrog;
      const T* q = l == 0 ? q_.data() : state.q;
      if (goes_on) times_gram(q, n);
      rows::launch_rows(leap_step_kernel<T>, n, stream_, state, static_cast<const T*>(w_.data()), q,
                        static_cast<const T*>(gram_q_.data()), static_cast<const T*>(visible_.data()), beta_,
                        h, epsilon_, l == 0, goes_on, n, units);
      if (goes_on) large_->evaluate(state.w, n, t_, nullptr, state.q);
      h = epsilon_;
    }
  }

  // gram_q = q G
  void times_gram(const T* q, Index n) {
    const auto& bottom = density_.layers[0];
    const Index units = bottom.n_out, d = bottom.n_in;
    if (has_gram()) {
      gemm(stream_, n, units, units, T(1), {q, units}, {gram_.data(), units}, T(0), {gram_q_.data(), units});
      return;
    }
    const MatrixView<T> rows(w_end_.data(), n, d);  // units > 2 d
    bottom.down(q, T(0), rows, stream_);
    bottom.up(rows, gram_q_.data(), stream_);
  }

  const Packed& density_;
  const DensityMoves& moves_;
  Stream& stream_;
  T beta_, epsilon_, t_;
  End end_;
  Multiples<T> position_, momentum_;
  Buffer<T> P_, X_end_, P_layers_;
  Buffer<T> w_, q_;  // of where the chains are: V x, and the derivatives of t sum_k S(z_k) in it
  Buffer<T> w_end_, q_end_;
  Buffer<T> w_leap_, v_, y_x_, y_p_, gram_q_;
  Buffer<T> gram_, visible_;
  Buffer<double> energy_, hidden_, kinetic_;
  Buffer<Count> count_;
  std::optional<SmallPass<T>> small_;
  std::optional<HiddenPass<T>> large_;
  Advance advance_;
};

}  // namespace

template <class T>
DeepDensity<T>::DeepDensity(const DensityView<T>& view, Stream& stream)
    : packed_(std::make_unique<Packed>(view, stream)) {}

template <class T>
DeepDensity<T>::~DeepDensity() = default;

template <class T>
Index DeepDensity<T>::n_features() const {
  return packed_->n_features;
}

template <class T>
Stream& DeepDensity<T>::home() const {
  return *packed_->home;
}

template <class T>
void DeepDensity<T>::energy(MatrixView<const T> X, double hidden_weight, double* energy,
                            Stream& stream) const {
  const auto& first = packed_->layers[0];
  const Index most = rows_at_once(X.rows, 3 * packed_->units());
  HiddenPass<T> pass(*packed_, std::min(most, X.rows), stream);
  Buffer<T> w(std::min(most, X.rows) * first.n_out, stream);
  Buffer<double> hidden(std::min(most, X.rows), stream);
  for (Index r = 0; r < X.rows; r += most) {
    poll_interrupt();
    const auto part = X.middle_rows(r, std::min(most, X.rows - r));
    first.up(part, w.data(), stream);
    pass.evaluate(w.data(), part.rows, T(1), hidden.data(), nullptr);
    rows::launch_rows(energy_kernel<T>, part.rows, stream, part, packed_->visible_bias.data(),
                      packed_->inverse_variance, hidden_weight, hidden.data(), energy + r);
  }
}

template <class T>
void DeepDensity<T>::score(MatrixView<const T> X, double hidden_weight, MatrixView<T> score,
                           Stream& stream) const {
  const auto& first = packed_->layers[0];
  const Index most = rows_at_once(X.rows, 3 * packed_->units());
  HiddenPass<T> pass(*packed_, std::min(most, X.rows), stream);
  Buffer<T> w(std::min(most, X.rows) * first.n_out, stream);
  Buffer<T> q(std::min(most, X.rows) * first.n_out, stream);
  for (Index r = 0; r < X.rows; r += most) {
    poll_interrupt();
    const auto part = X.middle_rows(r, std::min(most, X.rows - r));
    const auto out = score.middle_rows(r, part.rows);
    first.up(part, w.data(), stream);
    pass.evaluate(w.data(), part.rows, static_cast<T>(hidden_weight), nullptr, q.data());
    rows::launch_rows(visible_score_kernel<T>, part.rows, stream, part, packed_->visible_bias.data(),
                      static_cast<T>(packed_->inverse_variance), out);
    first.down(q.data(), T(1), out, stream);
  }
}

template <class T>
void DeepDensity<T>::move(MatrixView<T> X, const DensityMoves& moves, const DensityMoveReport& report,
                          Stream& stream) const {
  check_moves(moves);
  const auto all = [&](auto* values) {
    if (values != nullptr) clear(values, X.rows, stream);
  };
  all(report.acceptance);
  all(report.accepted);
  all(report.diverged);
  if (X.rows == 0 || moves.n_steps == 0) return;
  const Index most =
      rows_at_once(X.rows, 3 * packed_->n_features + 9 * packed_->width() + 2 * packed_->units());
  ChainMoves<T> chains(*packed_, moves, std::min(most, X.rows), stream);
  for (Index r = 0; r < X.rows; r += most) {
    const DensityMoveReport part{report.acceptance == nullptr ? nullptr : report.acceptance + r,
                                 report.accepted == nullptr ? nullptr : report.accepted + r,
                                 report.diverged == nullptr ? nullptr : report.diverged + r};
    chains.run(X.middle_rows(r, std::min(most, X.rows - r)), r, part);
  }
}

template <class T>
void normal_rows(MatrixView<T> out, std::uint64_t seed, std::uint32_t stream, std::uint64_t first_row,
                 std::uint32_t step, Stream& device_stream) {
  rows::launch_rows(normal_rows_kernel<T>, out.rows, device_stream, out, has_packs(out),
                    rng::Sequence{seed, stream, first_row, step});
}

template <class T>
void row_squares(MatrixView<const T> X, const T* mean, const T* scale, double* out, Stream& stream) {
  rows::launch_rows(squares_kernel<T>, X.rows, stream, X, mean, scale, out);
}

void uniform_rows(double* out, Index n, std::uint64_t seed, std::uint32_t stream, std::uint64_t first_row,
                  std::uint32_t step, Stream& device_stream) {
  if (n == 0) return;
  launch(uniform_kernel, grid_for(uniform_kernel, ceil_div(n, rows::block_size), rows::block_size, 0),
         rows::block_size, 0, device_stream, out, n, rng::Sequence{seed, stream, first_row, step});
}

#define THALWEG_INSTANTIATE(T)                                                                         \
  template class DeepDensity<T>;                                                                       \
  template void normal_rows(MatrixView<T>, std::uint64_t, std::uint32_t, std::uint64_t, std::uint32_t, \
                            Stream&);                                                                  \
  template void row_squares(MatrixView<const T>, const T*, const T*, double*, Stream&);

THALWEG_INSTANTIATE(float)
THALWEG_INSTANTIATE(double)
#undef THALWEG_INSTANTIATE

}  // namespace thalweg::cuda

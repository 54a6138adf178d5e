// Deep densities on the CPU: blocks of rows over threads; a block's chains are moved by one thread
// throughout.
#include "kernels/langevin.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <vector>

#include "core/parallel.hpp"
#include "core/rng.hpp"
#include "cpu/density_layers.hpp"
#include "cpu/philox_panel.hpp"

namespace thalweg {
namespace {

using cpu::density_block;
using cpu::DensityPass;

template <class T>
using Packed = typename DeepDensity<T>::Packed;

template <class T>
Index multiply_adds(const Packed<T>& density, Index rows) {
  Index sum = 0;
  for (const auto& layer : density.layers) sum += layer.n_in * layer.n_out;
  return rows * sum;
}

// One of these for each worker, made when it has work.
template <class Own>
class PerWorker {
 public:
  explicit PerWorker(int n_jobs) : own_(static_cast<std::size_t>(thread_count(n_jobs))) {}

  template <class Make>
  Own& get(int worker, const Make& make) {
    auto& own = own_[static_cast<std::size_t>(worker)];
    if (!own) own = make();
    return *own;
  }

 private:
  std::vector<std::unique_ptr<Own>> own_;
};

// body(pass, first row, rows) for blocks of rows.
template <class T, class Body>
void for_blocks(const Packed<T>& density, Index rows, int n_jobs, const Body& body) {
  const Index block = density_block(rows);
  const int jobs = jobs_for(multiply_adds<T>(density, rows), n_jobs);
  PerWorker<DensityPass<T>> passes(jobs);
  parallel_for(block_count(rows, block), jobs, [&](Index b, int worker) {
    auto& pass = passes.get(worker, [&] { return std::make_unique<DensityPass<T>>(density, block); });
    body(pass, b * block, std::min(block, rows - b * block));
  });
}

// Rows with room for whole panels behind them.
template <class T>
struct PaddedRows {
  Buffer<T> data;
  Index stride;

  PaddedRows(Index rows, Index stride_) : data(rows * stride_, T(0)), stride(stride_) {}

  [[nodiscard]] T* row(Index r) const { return data.data() + r * stride; }
  [[nodiscard]] MatrixView<const T> view(Index rows, Index cols) const {
    return {data.data(), rows, cols, stride};
  }
  void take(MatrixView<const T> from) {
    for (Index r = 0; r < from.rows; ++r) std::copy_n(from.row(r), from.cols, row(r));
  }
};

template <class T>
void normal_row(const rng::Sequence& sequence, T* out, Index n) {
  for (Index first = 0; first < n; first += cpu::panel_units<T>) {
    const auto words = cpu::panel_words(sequence, static_cast<std::uint32_t>(first / cpu::panel_units<T>));
    if (first + cpu::panel_units<T> <= n) {
      cpu::panel_normals(words, out + first);
    } else {
      T panel[cpu::panel_units<T>];
      cpu::panel_normals(words, panel);
      std::copy_n(panel, n - first, out + first);
    }
  }
}

// --- chains

// A block of chains, which one worker moves.
template <class T>
class ChainBlock {
 public:
  ChainBlock(const Packed<T>& density, Index max_rows, const DensityMoves& moves)
      : density_(density),
        moves_(moves),
        pass_(density, max_rows),
        now_(max_rows, density.row_stride()),
        end_(max_rows, density.row_stride()),
        momentum_(max_rows, density.row_stride()),
        kinetic_(static_cast<std::size_t>(max_rows)) {}

  // The chains X, the first of which is number `first`.
  void run(MatrixView<T> X, Index first, const DensityMoveReport& report) {
    now_.x.take(X);
    evaluate(now_, X.rows);
    for (Index r = 0; r < X.rows; ++r) begin(report, first + r);
    for (Index i = 0; i < moves_.n_steps; ++i) {
      draw_momentum(X.rows, first, i);
      trajectory(X.rows);
      for (Index r = 0; r < X.rows; ++r) decide(r, first + r, i, report);
    }
    for (Index r = 0; r < X.rows; ++r) {
      std::copy_n(now_.x.row(r), X.cols, X.row(r));
      if (report.acceptance != nullptr && moves_.n_steps > 0)
        report.acceptance[first + r] /= static_cast<double>(moves_.n_steps);
    }
  }

 private:
  struct State {
    PaddedRows<T> x, score;
    std::vector<double> energy;
    State(Index rows, Index stride)
        : x(rows, stride), score(rows, stride), energy(static_cast<std::size_t>(rows)) {}
  };

  static void begin(const DensityMoveReport& report, Index chain) {
    if (report.acceptance != nullptr) report.acceptance[chain] = 0;
    if (report.accepted != nullptr) report.accepted[chain] = 0;
    if (report.diverged != nullptr) report.diverged[chain] = 0;
  }

  void evaluate(State& state, Index rows) {
    poll_interrupt();
    pass_.evaluate(state.x.view(rows, density_.n_features), moves_.hidden_weight, state.energy.data(),
                   state.score.row(0));
  }

  [[nodiscard]] rng::Sequence sequence(Index chain, Index i, std::uint32_t extra_stream) const {
    return {moves_.seed, moves_.stream + extra_stream, moves_.first_row + static_cast<std::uint64_t>(chain),
            moves_.step + static_cast<std::uint32_t>(i)};
  }

  void draw_momentum(Index rows, Index first, Index i) {
    for (Index r = 0; r < rows; ++r) {
      normal_row(sequence(first + r, i, 0), momentum_.row(r), density_.n_features);
      kinetic_[static_cast<std::size_t>(r)] = kinetic(r);
    }
  }

  [[nodiscard]] double kinetic(Index r) const {
    return 0.5 * cpu::wide_dot(momentum_.row(r), momentum_.row(r), density_.n_features);
  }

  // momentum += epsilon score
  void kick(Index rows, const PaddedRows<T>& score, double epsilon) {
    const T factor = static_cast<T>(epsilon);
    const Index n = rows * momentum_.stride;
    T* p = momentum_.data.data();
    const T* g = score.data.data();
    for (Index j = 0; j < n; j += simd::lanes<T>)
      simd::store(p + j, simd::load(p + j) + factor * simd::load(g + j));
  }

  void drift(Index rows, const PaddedRows<T>& from, PaddedRows<T>& to) {
    const T factor = static_cast<T>(moves_.epsilon);
    const Index n = rows * momentum_.stride;
    const T* p = momentum_.data.data();
    const T* x = from.data.data();
    T* out = to.data.data();
    for (Index j = 0; j < n; j += simd::lanes<T>)
      simd::store(out + j, simd::load(x + j) + factor * simd::load(p + j));
  }

  void trajectory(Index rows) {
    kick(rows, now_.score, 0.5 * moves_.epsilon);
    for (Index l = 0; l < moves_.n_leapfrog; ++l) {
      drift(rows, l == 0 ? now_.x : end_.x, end_.x);
      evaluate(end_, rows);
      kick(rows, end_.score, l + 1 == moves_.n_leapfrog ? 0.5 * moves_.epsilon : moves_.epsilon);
    }
  }

  void decide(Index r, Index chain, Index i, const DensityMoveReport& report) {
    const auto at = static_cast<std::size_t>(r);
    const double before = now_.energy[at];
    const double after = end_.energy[at];
    const double end_kinetic = kinetic(r);
    const double rise = after - before + (moves_.is_tested ? end_kinetic - kinetic_[at] : 0.0);
    // The last momentum is the sum of all scores on the way: what is not finite in one of them is seen in it.
    const bool is_lost = !std::isfinite(end_kinetic) || !std::isfinite(rise) ||
                         rise > 1000.0 + static_cast<double>(density_.n_features);
    if (is_lost && report.diverged != nullptr) ++report.diverged[chain];
    double probability = is_lost ? 0.0 : 1.0;
    if (!is_lost && moves_.is_tested) probability = std::exp(std::min(0.0, -rise));
    if (report.acceptance != nullptr) report.acceptance[chain] += probability;
    if (is_lost) return;
    if (moves_.is_tested) {
      const rng::Block words = sequence(chain, i, 1).block(0);
      if (!(rng::uniform(words.word[0], words.word[1]) < probability)) return;
    }
    if (report.accepted != nullptr) ++report.accepted[chain];
    const auto bytes = static_cast<std::size_t>(momentum_.stride) * sizeof(T);
    std::memcpy(now_.x.row(r), end_.x.row(r), bytes);
    std::memcpy(now_.score.row(r), end_.score.row(r), bytes);
    now_.energy[at] = after;
  }

  const Packed<T>& density_;
  const DensityMoves& moves_;
  DensityPass<T> pass_;
  State now_, end_;
  PaddedRows<T> momentum_;
  std::vector<double> kinetic_;
};

}  // namespace

template <class T>
DeepDensity<T>::DeepDensity(const DensityView<T>& view) : packed_(std::make_unique<Packed>(view)) {}

template <class T>
DeepDensity<T>::~DeepDensity() = default;

template <class T>
Index DeepDensity<T>::n_features() const {
  return packed_->n_features;
}

template <class T>
void DeepDensity<T>::energy(MatrixView<const T> X, double hidden_weight, double* energy, int n_jobs) const {
  for_blocks<T>(*packed_, X.rows, n_jobs, [&](DensityPass<T>& pass, Index first, Index rows) {
    pass.evaluate(X.middle_rows(first, rows), hidden_weight, energy + first, nullptr);
  });
}

template <class T>
void DeepDensity<T>::score(MatrixView<const T> X, double hidden_weight, MatrixView<T> score,
                           int n_jobs) const {
  const Index stride = packed_->row_stride();
  const Index block = density_block(X.rows);
  struct Own {
    DensityPass<T> pass;
    PaddedRows<T> x, score;
    std::vector<double> energy;
  };
  const int jobs = jobs_for(2 * multiply_adds<T>(*packed_, X.rows), n_jobs);
  PerWorker<Own> owns(jobs);
  parallel_for(block_count(X.rows, block), jobs, [&](Index b, int worker) {
    Own& own = owns.get(worker, [&] {
      return std::unique_ptr<Own>(new Own{DensityPass<T>(*packed_, block), PaddedRows<T>(block, stride),
                                          PaddedRows<T>(block, stride),
                                          std::vector<double>(static_cast<std::size_t>(block))});
    });
    const Index first = b * block;
    const auto rows = X.middle_rows(first, std::min(block, X.rows - first));
    own.x.take(rows);
    own.pass.evaluate(own.x.view(rows.rows, rows.cols), hidden_weight, own.energy.data(), own.score.row(0));
    for (Index r = 0; r < rows.rows; ++r) std::copy_n(own.score.row(r), X.cols, score.row(first + r));
  });
}

template <class T>
void DeepDensity<T>::move(MatrixView<T> X, const DensityMoves& moves, const DensityMoveReport& report,
                          int n_jobs) const {
  check_moves(moves);
  const Index block = density_block(X.rows);
  const Index evaluations = 1 + moves.n_steps * moves.n_leapfrog;
  const int jobs = jobs_for(2 * evaluations * multiply_adds<T>(*packed_, X.rows), n_jobs);
  PerWorker<ChainBlock<T>> blocks(jobs);
  parallel_for(block_count(X.rows, block), jobs, [&](Index b, int worker) {
    auto& own = blocks.get(worker, [&] { return std::make_unique<ChainBlock<T>>(*packed_, block, moves); });
    own.run(X.middle_rows(b * block, std::min(block, X.rows - b * block)), b * block, report);
  });
}

template <class T>
void normal_rows(MatrixView<T> out, std::uint64_t seed, std::uint32_t stream, std::uint64_t first_row,
                 std::uint32_t step, int n_jobs) {
  constexpr Index block = 8;
  parallel_for(block_count(out.rows, block), jobs_for(16 * out.rows * out.cols, n_jobs), [&](Index b, int) {
    for (Index r = b * block; r < std::min(out.rows, (b + 1) * block); ++r)
      normal_row<T>({seed, stream, first_row + static_cast<std::uint64_t>(r), step}, out.row(r), out.cols);
  });
}

template <class T>
void row_squares(MatrixView<const T> X, const T* mean, const T* scale, double* out, int n_jobs) {
  constexpr Index block = 16;
  const auto squares = [&](const T* x, const auto& moved) {
    return cpu::wide_sum(
        X.cols,
        [&](Index i) {
          const auto v = moved(cpu::widened(x + i), i, [](const T* p) { return cpu::widened(p); });
          return v * v;
        },
        [&](Index i) {
          const double v =
              moved(static_cast<double>(x[i]), i, [](const T* p) { return static_cast<double>(*p); });
          return v * v;
        });
  };
  parallel_for(block_count(X.rows, block), jobs_for(4 * X.rows * X.cols, n_jobs), [&](Index b, int) {
    for (Index r = b * block; r < std::min(X.rows, (b + 1) * block); ++r)
      out[r] = mean == nullptr ? squares(X.row(r), [](auto x, Index, auto) { return x; })
                               : squares(X.row(r), [&](auto x, Index i, auto wide) {
                                   return (x - wide(mean + i)) * wide(scale + i);
                                 });
  });
}

void uniform_rows(double* out, Index n, std::uint64_t seed, std::uint32_t stream, std::uint64_t first_row,
                  std::uint32_t step) {
  for (Index r = 0; r < n; ++r) {
    const rng::Block words =
        rng::Sequence{seed, stream, first_row + static_cast<std::uint64_t>(r), step}.block(0);
    out[r] = rng::uniform(words.word[0], words.word[1]);
  }
}

template void row_squares(MatrixView<const float>, const float*, const float*, double*, int);
template void row_squares(MatrixView<const double>, const double*, const double*, double*, int);
template class DeepDensity<float>;
template class DeepDensity<double>;
template void normal_rows(MatrixView<float>, std::uint64_t, std::uint32_t, std::uint64_t, std::uint32_t, int);
template void normal_rows(MatrixView<double>, std::uint64_t, std::uint32_t, std::uint64_t, std::uint32_t,
                          int);

}  // namespace thalweg

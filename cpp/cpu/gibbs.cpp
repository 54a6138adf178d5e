#include "kernels/gibbs.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <vector>

#include "core/buffer.hpp"
#include "core/error.hpp"
#include "core/parallel.hpp"
#include "cpu/rbm_layers.hpp"
#include "cpu/rbm_workspace.hpp"

namespace thalweg {
namespace {

using cpu::bernoulli_visible_units;
using cpu::down_layer;
using cpu::gaussian_visible_units;
using cpu::hidden_units;
using cpu::Layer;
using cpu::UnitLists;
using cpu::up_layer;

// Rows that are in work at once, which bounds the memory of prepared real rows.
constexpr Index chunk_rows = 1024;

template <class T>
using Memory = typename RbmWorkspace<T>::Memory;

template <class T>
MatrixView<T> middle(MatrixView<T> m, Index first, Index count) {
  return m.data == nullptr ? m : m.middle_rows(first, count);
}

Bits middle(Bits b, Index first, Index count) { return b.data == nullptr ? b : b.middle_rows(first, count); }

template <class T>
Activation<T> middle(const Activation<T>& out, Index first, Index count) {
  return {middle(out.logits, first, count), middle(out.mean, first, count), middle(out.bits, first, count),
          middle(out.real, first, count)};
}

// One side given the other, in chunks of rows; units is a function of the tempering, which moves with the
// rows.
template <class T, class MakeUnits>
void activate(const Layer<T>& layer, const StatesView<T>& given, bool may_be_bits,
              const Tempering<T>& tempering, const Draw& draw, const Activation<T>& out,
              RbmWorkspace<T>& workspace, int n_jobs, MakeUnits&& make_units) {
  Memory<T>& memory = workspace.memory();
  const std::lock_guard lock(memory.mutex);
  memory.reserve_workers(n_jobs);
  const Index rows = given.real.data != nullptr ? given.real.rows : given.bits.rows;
  for (Index first = 0; first < rows; first += chunk_rows) {
    const Index count = std::min(chunk_rows, rows - first);
    Tempering<T> part = tempering;
    if (part.t != nullptr) part.t += first;
    Draw part_draw = draw;
    part_draw.first_row += static_cast<std::uint64_t>(first);
    const Activation<T> part_out = middle(out, first, count);
    const auto units = make_units(part);
    const auto finish = [&](Index row, Index unit, T* sums) {
      units.finish(row, unit, sums, part_draw, part_out);
    };
    if (given.real.data != nullptr) {
      memory.prepared.prepare(given.real.middle_rows(first, count), may_be_bits, n_jobs);
      cpu::propagate<T>(layer, memory.prepared, count, memory.propagation, n_jobs, finish);
    } else {
      cpu::propagate<T>(layer, given.bits.middle_rows(first, count), count, memory.propagation, n_jobs,
                        finish);
    }
  }
}

}  // namespace

template <class T>
RbmWorkspace<T>::RbmWorkspace() : memory_(std::make_unique<Memory>()) {}

template <class T>
RbmWorkspace<T>::~RbmWorkspace() = default;

template <class T>
void hidden_given_visible(const RbmView<T>& rbm, const StatesView<T>& visible, const Tempering<T>& tempering,
                          const Draw& draw, const Activation<T>& out, RbmWorkspace<T>& workspace,
                          int n_jobs) {
  activate<T>(up_layer(rbm), visible, rbm.sigma == nullptr, tempering, draw, out, workspace, n_jobs,
              [&](const Tempering<T>& part) { return hidden_units(rbm, part); });
}

template <class T>
void visible_given_hidden(const RbmView<T>& rbm, const StatesView<T>& hidden, const Tempering<T>& tempering,
                          const Draw& draw, const Activation<T>& out, RbmWorkspace<T>& workspace,
                          int n_jobs) {
  if (rbm.sigma == nullptr) {
    activate<T>(down_layer(rbm), hidden, true, tempering, draw, out, workspace, n_jobs,
                [&](const Tempering<T>& part) { return bernoulli_visible_units(rbm, part); });
  } else {
    activate<T>(down_layer(rbm), hidden, true, tempering, draw, out, workspace, n_jobs,
                [&](const Tempering<T>& part) { return gaussian_visible_units(rbm, part); });
  }
}

namespace {

// The two halves of a sweep, with their memory.
template <class T, class VisibleUnits>
class Sweeper {
 public:
  Sweeper(const RbmView<T>& rbm, VisibleUnits visible_units, const Tempering<T>& tempering,
          RbmWorkspace<T>& workspace, int n_jobs)
      : rbm_(rbm),
        visible_units_(std::move(visible_units)),
        hidden_units_(hidden_units(rbm, tempering)),
        memory_(workspace.memory()),
        lock_(memory_.mutex),
        n_jobs_(n_jobs) {
    memory_.reserve_workers(n_jobs);
  }

  void down(ConstBits hidden, const Draw& draw, const Activation<T>& out) {
    cpu::propagate<T>(
        down_layer(rbm_), hidden, hidden.rows, memory_.propagation, n_jobs_,
        [&](Index row, Index unit, T* sums) { visible_units_.finish(row, unit, sums, draw, out); });
  }

  void up(const Activation<T>& visible, const Draw& draw, const Activation<T>& out) {
    const auto finish = [&](Index row, Index unit, T* sums) {
      hidden_units_.finish(row, unit, sums, draw, out);
    };
    if (visible.bits.data != nullptr) {
      const Bits v = visible.bits;
      cpu::propagate<T>(up_layer(rbm_), ConstBits{v.data, v.rows, v.units, v.stride}, v.rows,
                        memory_.propagation, n_jobs_, finish);
    } else {
      memory_.prepared.prepare(visible.real, false, n_jobs_);
      cpu::propagate<T>(up_layer(rbm_), memory_.prepared, visible.real.rows, memory_.propagation, n_jobs_,
                        finish);
    }
  }

 private:
  RbmView<T> rbm_;
  VisibleUnits visible_units_;
  cpu::BernoulliUnits<T> hidden_units_;
  Memory<T>& memory_;
  std::lock_guard<std::mutex> lock_;
  int n_jobs_;
};

template <class T, class VisibleUnits>
void run_sweeps(Sweeper<T, VisibleUnits>& sweeper, Bits hidden, const Activation<T>& visible,
                MatrixView<T> hidden_mean, const Draw& draw, Index n_sweeps) {
  for (Index i = 0; i < n_sweeps; ++i) {
    Draw now = draw;
    now.step += static_cast<std::uint32_t>(i);
    sweeper.down({hidden.data, hidden.rows, hidden.units, hidden.stride}, now, visible);
    ++now.stream;
    Activation<T> out;
    out.bits = hidden;
    if (i + 1 == n_sweeps) out.mean = hidden_mean;
    sweeper.up(visible, now, out);
  }
}

}  // namespace

template <class T>
void gibbs_sweeps(const RbmView<T>& rbm, Bits hidden, Bits visible, MatrixView<T> visible_real,
                  MatrixView<T> hidden_mean, const Tempering<T>& tempering, const Draw& draw, Index n_sweeps,
                  RbmWorkspace<T>& workspace, int n_jobs) {
  Activation<T> out;
  if (rbm.sigma == nullptr) {
    out.bits = visible;
    Sweeper<T, cpu::BernoulliUnits<T>> sweeper(rbm, bernoulli_visible_units(rbm, tempering), tempering,
                                               workspace, n_jobs);
    run_sweeps(sweeper, hidden, out, hidden_mean, draw, n_sweeps);
  } else {
    out.real = visible_real;
    Sweeper<T, cpu::GaussianUnits<T>> sweeper(rbm, gaussian_visible_units(rbm, tempering), tempering,
                                              workspace, n_jobs);
    run_sweeps(sweeper, hidden, out, hidden_mean, draw, n_sweeps);
  }
}

// --- statistics

namespace {

template <class T>
void list_phase(const Phase<T>& phase, Index first_unit, Index n_units, Index first_row,
                UnitLists<T>& lists) {
  const bool is_real = phase.visible.real.data != nullptr;
  for (Index r = 0; r < phase.hidden.rows; ++r) {
    std::uint32_t word = 0;
    const T* x = is_real ? phase.visible.real.row(r) + first_unit : nullptr;
    if (is_real) {
      if (n_units == cpu::word_units) {
        word = cpu::nonzero_bits(x);
      } else {
        for (Index j = 0; j < n_units; ++j) word |= std::uint32_t{x[j] != T(0)} << j;
      }
    } else {
      word = phase.visible.bits(first_unit / cpu::word_units, r);
    }
    for (; word != 0; word &= word - 1) {
      const Index j = std::countr_zero(word);
      lists.add(j, first_row + r, is_real ? x[j] : T(1));
    }
  }
}

// weight_n h_n of all phases in panels, the rows of a panel one after the other: one panel of all rows stays
// in the caches nearest to the processor while the visible units take turns.
template <class T>
class WeighedHidden {
 public:
  static constexpr Index width = 2 * cpu::panel_units<T>;

  WeighedHidden(std::span<const Phase<T>> phases, Index rows, Index n_hidden, Memory<T>& memory, int n_jobs)
      : rows_(rows),
        n_hidden_(n_hidden),
        panels_(at_least(memory.hidden_panels, block_count(n_hidden, width) * width * rows)),
        weights_(at_least(memory.row_weights, rows)) {
    Index n = 0;
    for (const Phase<T>& phase : phases)
      for (Index r = 0; r < phase.hidden.rows; ++r) weights_[n++] = phase.weight[r];
    parallel_for(panel_count(), jobs_for(rows * n_hidden, n_jobs), [&](Index p, int) { fill(phases, p); });
  }

  [[nodiscard]] Index panel_count() const { return block_count(n_hidden_, width); }
  [[nodiscard]] const T* panel(Index p) const { return panels_ + p * width * rows_; }
  [[nodiscard]] T weight(Index row) const { return weights_[row]; }

  // Sums of the first rows of one panel.
  void sum_rows(Index p, Index rows, T* out) const {
    const Index n = std::min(width, n_hidden_ - p * width);
    std::fill_n(out, n, T(0));
    for (Index r = 0; r < rows; ++r)
      for (Index k = 0; k < n; ++k) out[k] += panel(p)[r * width + k];
  }

 private:
  void fill(std::span<const Phase<T>> phases, Index p) {
    const Index first = p * width;
    const Index n = std::min(width, n_hidden_ - first);
    T* out = panels_ + p * width * rows_;
    for (const Phase<T>& phase : phases)
      for (Index r = 0; r < phase.hidden.rows; ++r, out += width) {
        const T* h = phase.hidden.row(r) + first;
        for (Index k = 0; k < n; ++k) out[k] = phase.weight[r] * h[k];
        std::fill(out + n, out + width, T(0));
      }
  }

  Index rows_;
  Index n_hidden_;
  T* panels_;
  T* weights_;
};

template <class T>
void listed_statistics(const UnitLists<T>& lists, Index n_units, const T* panel, Index n_panels, T* up,
                       Index up_stride) {
  for (Index j = 0; j < n_units; ++j)
    cpu::detail::sum_listed<T>(panel, WeighedHidden<T>::width, lists.indices(j), lists.values(j),
                               lists.count(j), n_panels, up + j * up_stride);
}

template <class T>
void make_dense(const UnitLists<T>& lists, Index n_units, T* dense) {
  std::fill_n(dense, n_units * lists.rows(), T(0));
  for (Index j = 0; j < n_units; ++j)
    for (Index i = 0; i < lists.count(j); ++i)
      dense[j * lists.rows() + lists.indices(j)[i]] = lists.values(j)[i];
}

}  // namespace

template <class T>
void phase_statistics(std::span<const Phase<T>> phases, Index n_extra, Index n_visible, Index n_hidden,
                      const T* scale, T* up, Index up_stride, T* visible, T* hidden,
                      RbmWorkspace<T>& workspace, int n_jobs) {
  Memory<T>& memory = workspace.memory();
  const std::lock_guard lock(memory.mutex);
  memory.reserve_workers(n_jobs);
  Index rows = 0;
  for (const Phase<T>& phase : phases) rows += phase.hidden.rows;
  Index counted = rows;  // in the sums of either side
  for (const Phase<T>& phase : phases.last(static_cast<std::size_t>(n_extra))) counted -= phase.hidden.rows;
  const WeighedHidden<T> weighed(phases, rows, n_hidden, memory, n_jobs);
  constexpr Index width = WeighedHidden<T>::width;
  for (Index p = 0; p < weighed.panel_count(); ++p) weighed.sum_rows(p, counted, hidden + p * width);
  parallel_for(
      block_count(n_visible, cpu::word_units), jobs_for(rows * n_visible * n_hidden, n_jobs),
      [&](Index block, int worker) {
        auto& own = memory.statistics[static_cast<std::size_t>(worker)];
        const UnitLists<T>& lists = own.lists;
        const Index first_unit = block * cpu::word_units;
        const Index n_units = std::min(cpu::word_units, n_visible - first_unit);
        own.lists.reset(rows);
        Index first_row = 0;
        for (const Phase<T>& phase : phases) {
          list_phase(phase, first_unit, n_units, first_row, own.lists);
          first_row += phase.hidden.rows;
        }
        Index entries = 0;
        for (Index j = 0; j < n_units; ++j) entries += lists.count(j);
        const bool is_dense = 5 * entries > 2 * n_units * rows;  // above 40 % a tiled product is faster
        if (is_dense) make_dense(lists, n_units, at_least(own.dense, cpu::word_units * rows));
        for (Index p = 0; p < weighed.panel_count(); ++p) {
          const Index n_panels = std::min(width, padded_units<T>(n_hidden) - p * width) / cpu::panel_units<T>;
          T* out = up + first_unit * up_stride + p * width;
          if (is_dense) {
            cpu::matmul<T>(MatrixView<const T>(own.dense.data(), n_units, rows), weighed.panel(p), width,
                           n_panels * cpu::panel_units<T>, [&](Index j, Index col, simd::Vec<T> sum) {
                             simd::store(out + j * up_stride + col, sum);
                           });
          } else {
            listed_statistics(lists, n_units, weighed.panel(p), n_panels, out, up_stride);
          }
        }
        for (Index j = 0; j < n_units; ++j) {
          T sum = 0;
          for (Index i = 0; i < lists.count(j) && lists.indices(j)[i] < counted; ++i)
            sum += weighed.weight(lists.indices(j)[i]) * lists.values(j)[i];
          visible[first_unit + j] = sum;
          T* row = up + (first_unit + j) * up_stride;
          std::fill(row + padded_units<T>(n_hidden), row + up_stride, T(0));
          if (scale != nullptr)
            for (Index k = 0; k < n_hidden; ++k) row[k] *= scale[first_unit + j];
        }
      });
}

// --- layouts

namespace {

// One square of numbers, as wide as a vector; what lies beyond `rows` counts as zero.
template <class T>
void transpose_square(const T* from, Index from_stride, Index rows, const T* scale, T* to, Index to_stride) {
  constexpr int lanes = simd::lanes<T>;
  simd::Vec<T> square[lanes];
  for (int r = 0; r < lanes; ++r) square[r] = r < rows ? simd::load(from + r * from_stride) : simd::Vec<T>{};
  simd::transpose<T>(square);
  for (int c = 0; c < lanes; ++c)
    simd::store(to + c * to_stride, scale == nullptr ? square[c] : square[c] * scale[c]);
}

}  // namespace

template <class T>
void transpose(MatrixView<const T> from, const T* scale, T* to, Index to_stride, int n_jobs) {
  constexpr Index lanes = simd::lanes<T>;
  parallel_for(block_count(from.cols, lanes), jobs_for(8 * from.rows * from.cols, n_jobs),
               [&](Index block, int) {
                 const Index first = block * lanes;
                 const Index n = std::min(lanes, from.cols - first);
                 const T* scales = scale == nullptr ? nullptr : scale + first;
                 // Whole squares, as far as a vector may be read from every row and written to every row.
                 const Index whole = n == lanes ? std::min(from.rows, to_stride / lanes * lanes) : 0;
                 Index i = 0;
                 for (; i < whole && i + lanes <= to_stride; i += lanes)
                   transpose_square(from.row(i) + first, from.stride, from.rows - i, scales,
                                    to + first * to_stride + i, to_stride);
                 for (Index c = 0; c < n; ++c) {
                   T* out = to + (first + c) * to_stride;
                   for (Index r = i; r < from.rows; ++r)
                     out[r] = scale == nullptr ? from(r, first + c) : from(r, first + c) * scales[c];
                   std::fill(out + std::max(i, from.rows), out + to_stride, T(0));
                 }
               });
}

template <class T>
bool pack_states(MatrixView<const T> real, Bits bits, int n_jobs) {
  constexpr Index block = 64;
  std::vector<std::uint8_t> is_binary(static_cast<std::size_t>(block_count(real.rows, block)), 1);
  parallel_for(block_count(real.rows, block), jobs_for(real.rows * real.cols, n_jobs), [&](Index b, int) {
    bool all = true;
    for (Index r = b * block; r < std::min(real.rows, (b + 1) * block); ++r)
      for (Index w = 0; w < bits.words(); ++w) {
        std::uint32_t word = 0;
        const T* x = real.row(r) + w * cpu::word_units;
        for (Index j = 0; j < std::min(cpu::word_units, real.cols - w * cpu::word_units); ++j) {
          word |= std::uint32_t{x[j] == T(1)} << j;
          all &= x[j] == T(1) || x[j] == T(0);
        }
        bits(w, r) = word;
      }
    is_binary[static_cast<std::size_t>(b)] = all ? 1 : 0;
  });
  return std::all_of(is_binary.begin(), is_binary.end(), [](std::uint8_t ok) { return ok != 0; });
}

template <class T>
void unpack_states(ConstBits bits, MatrixView<T> real, int n_jobs) {
  constexpr Index block = 64;
  parallel_for(block_count(real.rows, block), jobs_for(real.rows * real.cols, n_jobs), [&](Index b, int) {
    for (Index r = b * block; r < std::min(real.rows, (b + 1) * block); ++r)
      for (Index j = 0; j < real.cols; ++j)
        real(r, j) = static_cast<T>((bits(j / cpu::word_units, r) >> (j % cpu::word_units)) & 1u);
  });
}

#define THALWEG_INSTANTIATE(T)                                                                            \
  template class RbmWorkspace<T>;                                                                         \
  template void hidden_given_visible(const RbmView<T>&, const StatesView<T>&, const Tempering<T>&,        \
                                     const Draw&, const Activation<T>&, RbmWorkspace<T>&, int);           \
  template void visible_given_hidden(const RbmView<T>&, const StatesView<T>&, const Tempering<T>&,        \
                                     const Draw&, const Activation<T>&, RbmWorkspace<T>&, int);           \
  template void gibbs_sweeps(const RbmView<T>&, Bits, Bits, MatrixView<T>, MatrixView<T>,                 \
                             const Tempering<T>&, const Draw&, Index, RbmWorkspace<T>&, int);             \
  template void phase_statistics(std::span<const Phase<T>>, Index, Index, Index, const T*, T*, Index, T*, \
                                 T*, RbmWorkspace<T>&, int);                                              \
  template void transpose(MatrixView<const T>, const T*, T*, Index, int);                                 \
  template bool pack_states(MatrixView<const T>, Bits, int);                                              \
  template void unpack_states(ConstBits, MatrixView<T>, int);

THALWEG_INSTANTIATE(float)
THALWEG_INSTANTIATE(double)
#undef THALWEG_INSTANTIATE

}  // namespace thalweg

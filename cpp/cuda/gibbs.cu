// Boltzmann machines on the device: one side given the other, sweeps, statistics and layouts. Products with
// states, and their roof, are in rbm_product.cuh.
#include "kernels/gibbs.hpp"

#include "cuda/graph.hpp"
#include "cuda/pace.hpp"
#include "cuda/rbm_layers.cuh"

namespace thalweg::cuda {

using rbm::as_const;

namespace {

using rbm::down_layer;
using rbm::Layer;
using rbm::RowFilter;
using rbm::up_layer;

constexpr unsigned block_size = 256;
constexpr int warps_per_block = block_size / 32;
constexpr std::uint32_t all_lanes = ~0u;

// --- rows of numbers as bits

// One warp a row: its words, and where `is_real` is not null whether it has other numbers than 0 and 1. Any
// such number in any row makes `other_number` 1.
template <class T>
__global__ void __launch_bounds__(block_size)
    pack_kernel(const __grid_constant__ MatrixView<const T> real, const __grid_constant__ Bits bits,
                std::uint8_t* is_real, int* other_number) {
  const auto lane = static_cast<Index>(threadIdx.x % 32);
  const Index step = Index{gridDim.x} * warps_per_block;
  for (Index r = Index{blockIdx.x} * warps_per_block + threadIdx.x / 32; r < real.rows; r += step) {
    unsigned others = 0;
    for (Index w = 0; w < bits.words(); ++w) {
      const Index j = 32 * w + lane;
      const T x = j < real.cols ? real(r, j) : T(0);
      const unsigned word = __ballot_sync(all_lanes, x == T(1));
      others |= __ballot_sync(all_lanes, x != T(1) && x != T(0));
      if (lane == 0) bits(w, r) = word;
    }
    if (lane == 0 && is_real != nullptr) is_real[r] = others != 0 ? 1 : 0;
    if (lane == 0 && others != 0 && other_number != nullptr) atomicOr(other_number, 1);
  }
}

template <class T>
void launch_pack(MatrixView<const T> real, Bits bits, std::uint8_t* is_real, int* other_number,
                 Stream& stream) {
  if (real.rows == 0) return;
  const auto kernel = pack_kernel<T>;
  const unsigned grid = grid_for(kernel, ceil_div(real.rows, warps_per_block), block_size, 0, 4);
  launch(kernel, grid, block_size, 0, stream, real, bits, is_real, other_number);
}

// --- one side given the other

template <class T>
MatrixView<T> middle(MatrixView<T> m, Index first, Index count) {
  return m.data == nullptr ? m : m.middle_rows(first, count);
}

template <class Word>
BitsView<Word> middle(BitsView<Word> b, Index first, Index count) {
  return b.data == nullptr ? b : b.middle_rows(first, count);
}

template <class T>
Activation<T> middle(const Activation<T>& out, Index first, Index count) {
  return {middle(out.logits, first, count), middle(out.mean, first, count), middle(out.bits, first, count),
          middle(out.real, first, count)};
}

// Real rows of 0 and 1 are products with bits, the others chains.
template <class T>
class MixedRows {
 public:
  MixedRows(Index rows, Index units, Stream& stream)
      : words_(rows * ceil_div(units, 32), stream), is_real_(rows, stream) {}

  template <class Finish>
  void multiply(const Layer<T>& layer, MatrixView<const T> real, const Finish& finish, Stream& stream) {
    const Bits bits{words_.data(), real.rows, real.cols, real.rows};
    launch_pack<T>(real, bits, is_real_.data(), nullptr, stream);
    rbm::multiply_bits_of(layer, as_const(bits), RowFilter{is_real_.data(), false}, finish, stream);
    rbm::multiply_chain<T, false>(layer.weights, {{}, real}, real.rows, RowFilter{is_real_.data(), true},
                                  finish, stream);
  }

 private:
  Buffer<std::uint32_t> words_;
  Buffer<std::uint8_t> is_real_;
};

// In launches of well under 0.2 s; `make_finish` is a function of the tempering, the first row and the
// results, which move with the rows.
template <class T, class MakeFinish>
void activate(const Layer<T>& layer, const StatesView<T>& given, bool may_be_bits,
              const Tempering<T>& tempering, const Activation<T>& out, Stream& stream,
              const MakeFinish& make_finish) {
  const bool is_real = given.real.data != nullptr;
  const Index rows = is_real ? given.real.rows : given.bits.rows;
  if (rows == 0 || layer.weights.units == 0) return;
  const Index chunk = rbm::rows_at_once(layer.weights.depth, layer.weights.units);
  std::optional<MixedRows<T>> mixed;
  if (is_real && may_be_bits) mixed.emplace(std::min(rows, chunk), layer.weights.depth, stream);
  for (Index first = 0; first < rows; first += chunk) {
    poll_interrupt();
    const Index count = std::min(chunk, rows - first);
    Tempering<T> part = tempering;
    if (part.t != nullptr) part.t += first;
    const auto finish = make_finish(part, first, middle(out, first, count));
    if (mixed) {
      mixed->multiply(layer, given.real.middle_rows(first, count), finish, stream);
    } else {
      rbm::multiply<T>(layer, {middle(given.bits, first, count), middle(given.real, first, count)}, finish,
                       stream);
    }
  }
}

rbm::Draws draws_from(const Draw& draw, Index first_row) {
  rbm::Draws draws = rbm::make_draws(draw, 0, 0, nullptr);
  draws.first_row += static_cast<std::uint64_t>(first_row);
  return draws;
}

}  // namespace

template <class T>
PreparedRbm<T>::PreparedRbm(const RbmView<T>& rbm, Stream& stream)
    : view_(rbm), memory_(std::make_unique<Memory>()) {
  if constexpr (std::is_same_v<T, float>) {
    memory_->up = rbm::DigitMemory(rbm.up, rbm.up_stride, rbm.n_visible, rbm.n_hidden, stream);
    memory_->down = rbm::DigitMemory(rbm.down, rbm.down_stride, rbm.n_hidden, rbm.n_visible, stream);
  }
}

template <class T>
PreparedRbm<T>::~PreparedRbm() = default;

template <class T>
void hidden_given_visible(const PreparedRbm<T>& rbm, const StatesView<T>& visible,
                          const Tempering<T>& tempering, const Draw& draw, const Activation<T>& out,
                          Stream& stream) {
  activate<T>(up_layer(rbm), visible, rbm.view().sigma == nullptr, tempering, out, stream,
              [&](const Tempering<T>& part, Index first, const Activation<T>& part_out) {
                return rbm::hidden_finish(rbm.view(), part.t, draws_from(draw, first), part_out);
              });
}

template <class T>
void visible_given_hidden(const PreparedRbm<T>& rbm, const StatesView<T>& hidden,
                          const Tempering<T>& tempering, const Draw& draw, const Activation<T>& out,
                          Stream& stream) {
  const auto run = [&](const auto& make_finish) {
    activate<T>(down_layer(rbm), hidden, true, tempering, out, stream,
                [&](const Tempering<T>& part, Index first, const Activation<T>& part_out) {
                  return make_finish(rbm.view(), part, draws_from(draw, first), part_out);
                });
  };
  if (rbm.view().sigma == nullptr) {
    run([](const auto&... a) { return rbm::bernoulli_visible_finish<T>(a...); });
  } else {
    run([](const auto&... a) { return rbm::gaussian_visible_finish<T>(a...); });
  }
}

// --- sweeps

namespace {

__global__ void advance_kernel(std::uint32_t* step, std::uint32_t by) { *step += by; }

template <class T>
struct Chains {
  Bits hidden;
  Bits visible;                // Bernoulli units
  MatrixView<T> visible_real;  // Gaussian units
};

// One sweep, that of number `number`, and of those that a graph has made before as `more_steps` says.
template <class T>
void sweep(const PreparedRbm<T>& rbm, const Chains<T>& chains, MatrixView<T> hidden_mean,
           const Tempering<T>& tempering, const Draw& draw, Index number, const std::uint32_t* more_steps,
           Stream& stream) {
  const RbmView<T>& view = rbm.view();
  const rbm::Draws of_visible = rbm::make_draws(draw, 0, number, more_steps);
  const rbm::Draws of_hidden = rbm::make_draws(draw, 1, number, more_steps);
  Activation<T> visible;
  Activation<T> hidden;
  hidden.bits = chains.hidden;
  hidden.mean = hidden_mean;
  StatesView<T> given;
  if (view.sigma == nullptr) {
    visible.bits = chains.visible;
    given.bits = as_const(chains.visible);
    rbm::multiply<T>(down_layer(rbm), {as_const(chains.hidden), {}},
                     rbm::bernoulli_visible_finish(view, tempering, of_visible, visible), stream);
  } else {
    visible.real = chains.visible_real;
    given.real = chains.visible_real;
    rbm::multiply<T>(down_layer(rbm), {as_const(chains.hidden), {}},
                     rbm::gaussian_visible_finish(view, tempering, of_visible, visible), stream);
  }
  rbm::multiply<T>(up_layer(rbm), given, rbm::hidden_finish(view, tempering.t, of_hidden, hidden), stream);
}

}  // namespace

// Small batches are done before the next launch could be given: those sweeps are launched many at a time.
template <class T>
void gibbs_sweeps(const PreparedRbm<T>& rbm, Bits hidden, Bits visible, MatrixView<T> visible_real,
                  MatrixView<T> hidden_mean, const Tempering<T>& tempering, const Draw& draw, Index n_sweeps,
                  Stream& stream) {
  constexpr Index at_once = 16;
  constexpr Index worth_a_graph = 4 * at_once;
  constexpr double small = 4e9;  // multiply-adds
  const Index rows = hidden.rows;
  if (rows == 0 || n_sweeps == 0) return;
  const double operations = 2.0 * static_cast<double>(rows) * static_cast<double>(rbm.view().n_visible) *
                            static_cast<double>(rbm.view().n_hidden);
  const Chains<T> chains{hidden, visible, visible_real};
  Pace pace(operations, stream);
  Index done = 0;
  const auto plain = [&](Index until) {
    for (; done < until; ++done) {
      const bool is_last = done + 1 == n_sweeps;
      sweep(rbm, chains, is_last ? hidden_mean : MatrixView<T>{}, tempering, draw, done, nullptr, stream);
      pace.after(1);
    }
  };
  if (operations < small && n_sweeps >= worth_a_graph) {
    plain(1);  // all kernels are loaded then
    Buffer<std::uint32_t> step(1, stream);
    clear(step.data(), 1, stream);
    const Index first = done;
    const Graph graph(stream, [&] {
      for (Index i = 0; i < at_once; ++i)
        sweep(rbm, chains, {}, tempering, draw, first + i, step.data(), stream);
      launch(advance_kernel, 1, 1, 0, stream, step.data(), static_cast<std::uint32_t>(at_once));
    });
    for (; done + at_once < n_sweeps; done += at_once) {
      graph.launch(stream);
      pace.after(at_once);
    }
    plain(n_sweeps);
    stream.synchronize();  // the graph may go
  } else {
    plain(n_sweeps);
  }
}

// --- statistics

namespace {

// All phases' rows one after the other: V and weight times H, each with a column more, 1 or the weight in the
// rows that count there, which makes the sums of the other side. So all sums are one product.
template <class T>
__global__ void __launch_bounds__(block_size)
    gather_kernel(const __grid_constant__ Phase<T> phase, Index first_row, bool counts, Index n_visible,
                  Index n_hidden, T* visible, T* hidden) {
  const Index width = n_visible + n_hidden + 2;
  const Index n = phase.hidden.rows * width;
  const Index step = Index{gridDim.x} * block_size;
  for (Index i = Index{blockIdx.x} * block_size + threadIdx.x; i < n; i += step) {
    const Index r = i / width;
    const Index c = i % width;
    if (c < n_visible) {
      const T x = phase.visible.real.data != nullptr
                      ? phase.visible.real(r, c)
                      : static_cast<T>(phase.visible.bits(c / 32, r) >> (c % 32) & 1u);
      visible[(first_row + r) * (n_visible + 1) + c] = x;
    } else if (c == n_visible) {
      visible[(first_row + r) * (n_visible + 1) + c] = counts ? T(1) : T(0);
    } else {
      const Index k = c - n_visible - 1;
      const T weight = phase.weight[r];
      const T ones = counts ? weight : T(0);
      hidden[(first_row + r) * (n_hidden + 1) + k] = k < n_hidden ? weight * phase.hidden(r, k) : ones;
    }
  }
}

template <class T>
struct Sums {
  const T* scale;
  T* up;
  Index up_stride;
  T* visible;
  T* hidden;
};

// visible' hidden, of (rows, n_visible + 1) and (rows, n_hidden + 1): one chain of multiply-adds a sum.
template <class T>
__global__ void __launch_bounds__(rbm::detail::chain_threads)
    statistics_kernel(const T* visible, const T* hidden, Index rows, Index n_visible, Index n_hidden,
                      const __grid_constant__ Sums<T> sums) {
  using namespace rbm::detail;
  __shared__ ChainTile<T> tile;
  const auto thread = static_cast<int>(threadIdx.x);
  const Index first_v = Index{blockIdx.y} * chain_tile;
  const Index first_h = Index{blockIdx.x} * chain_tile;
  T x[chain_loads];
  T w[chain_loads];
  const auto load = [&](Index k0) {
#pragma unroll
    for (int i = 0; i < chain_loads; ++i) {
      const int place = i * chain_threads + thread;
      const Index k = k0 + place / chain_tile;
      const Index v = first_v + place % chain_tile;
      const Index h = first_h + place % chain_tile;
      x[i] = k < rows && v <= n_visible ? visible[k * (n_visible + 1) + v] : T(0);
      w[i] = k < rows && h <= n_hidden ? hidden[k * (n_hidden + 1) + h] : T(0);
    }
  };
  const int h = thread % 16 * 4;
  const int v = thread / 16 * chain_rows;
  T sum[chain_rows][4] = {};
  load(0);
  for (Index k = 0; k < rows; k += chain_depth) {
    __syncthreads();
#pragma unroll
    for (int i = 0; i < chain_loads; ++i) {
      const int place = i * chain_threads + thread;
      tile.x[place / chain_tile][place % chain_tile] = x[i];
      tile.w[place / chain_tile][place % chain_tile] = w[i];
    }
    __syncthreads();
    if (k + chain_depth < rows) load(k + chain_depth);
    add_chain<T, false>(tile, v, h, sum);
  }
#pragma unroll
  for (int r = 0; r < chain_rows; ++r)
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const Index j = first_v + v + r;
      const Index k = first_h + h + i;
      if (j < n_visible && k < n_hidden)
        sums.up[j * sums.up_stride + k] = sums.scale == nullptr ? sum[r][i] : sum[r][i] * sums.scale[j];
      if (j < n_visible && k == n_hidden) sums.visible[j] = sum[r][i];
      if (j == n_visible && k < n_hidden) sums.hidden[k] = sum[r][i];
    }
}

}  // namespace

template <class T>
void phase_statistics(std::span<const Phase<T>> phases, Index n_extra, Index n_visible, Index n_hidden,
                      const T* scale, T* up, Index up_stride, T* visible, T* hidden, Stream& stream) {
  Index rows = 0;
  for (const Phase<T>& phase : phases) rows += phase.hidden.rows;
  const Buffer<T> all_visible(rows * (n_visible + 1), stream);
  const Buffer<T> all_hidden(rows * (n_hidden + 1), stream);
  Index first = 0;
  const std::size_t n_counted = phases.size() - static_cast<std::size_t>(n_extra);
  for (std::size_t p = 0; p < phases.size(); ++p) {
    const Index count = phases[p].hidden.rows;
    if (count == 0) continue;
    const auto kernel = gather_kernel<T>;
    const Index blocks = ceil_div(count * (n_visible + n_hidden + 2), block_size);
    launch(kernel, grid_for(kernel, blocks, block_size, 0, 4), block_size, 0, stream, phases[p], first,
           p < n_counted, n_visible, n_hidden, all_visible.data(), all_hidden.data());
    first += count;
  }
  clear(up, n_visible * up_stride, stream);
  poll_interrupt();
  const dim3 grid(static_cast<unsigned>(ceil_div(n_hidden + 1, rbm::detail::chain_tile)),
                  static_cast<unsigned>(ceil_div(n_visible + 1, rbm::detail::chain_tile)));
  launch(statistics_kernel<T>, grid, rbm::detail::chain_threads, 0, stream, all_visible.data(),
         all_hidden.data(), rows, n_visible, n_hidden, Sums<T>{scale, up, up_stride, visible, hidden});
}

// --- layouts

namespace {

constexpr int square = 32;
constexpr int square_rows = 8;

template <class T>
__global__ void __launch_bounds__(square* square_rows)
    transpose_kernel(const __grid_constant__ MatrixView<const T> from, const T* scale, T* to, Index to_stride,
                     Index n_columns) {
  __shared__ T tile[square][square + 1];
  const auto x = static_cast<Index>(threadIdx.x % square);
  const auto y = static_cast<Index>(threadIdx.x / square);
  const Index first = Index{blockIdx.x} / n_columns * square;  // row of `to`
  const Index second = Index{blockIdx.x} % n_columns * square;
  for (Index r = y; r < square; r += square_rows) {
    const bool is_inside = second + r < from.rows && first + x < from.cols;
    tile[r][x] = is_inside ? from(second + r, first + x) : T(0);
  }
  __syncthreads();
  for (Index r = y; r < square; r += square_rows)
    if (first + r < from.cols && second + x < to_stride) {
      const T value = tile[x][r];
      to[(first + r) * to_stride + second + x] = scale == nullptr ? value : value * scale[first + r];
    }
}

template <class T>
__global__ void __launch_bounds__(block_size)
    unpack_kernel(const __grid_constant__ ConstBits bits, const __grid_constant__ MatrixView<T> real) {
  const Index n = real.rows * real.cols;
  const Index step = Index{gridDim.x} * block_size;
  for (Index i = Index{blockIdx.x} * block_size + threadIdx.x; i < n; i += step) {
    const Index r = i / real.cols;
    const Index j = i % real.cols;
    real(r, j) = static_cast<T>(bits(j / 32, r) >> (j % 32) & 1u);
  }
}

__global__ void __launch_bounds__(block_size)
    more_bits_kernel(const __grid_constant__ ConstBits bits, int* first_row) {
  const Index step = Index{gridDim.x} * block_size;
  for (Index r = Index{blockIdx.x} * block_size + threadIdx.x; r < bits.rows; r += step)
    if (bits(bits.words() - 1, r) >> (bits.units % 32) != 0) atomicMin(first_row, static_cast<int>(r));
}

}  // namespace

template <class T>
void transpose(MatrixView<const T> from, const T* scale, T* to, Index to_stride, Stream& stream) {
  if (from.cols == 0 || to_stride == 0) return;
  const Index n_columns = ceil_div(to_stride, square);
  launch(transpose_kernel<T>, static_cast<unsigned>(n_columns * ceil_div(from.cols, square)),
         square * square_rows, 0, stream, from, scale, to, to_stride, n_columns);
}

template <class T>
bool pack_states(MatrixView<const T> real, Bits bits, Stream& stream) {
  const Buffer<int> other_number(1, stream);
  clear(other_number.data(), 1, stream);
  launch_pack<T>(real, bits, nullptr, other_number.data(), stream);
  return download_one(other_number.data(), stream) == 0;
}

template <class T>
void unpack_states(ConstBits bits, MatrixView<T> real, Stream& stream) {
  if (real.rows == 0 || real.cols == 0) return;
  const auto kernel = unpack_kernel<T>;
  const Index blocks = ceil_div(real.rows * real.cols, block_size);
  launch(kernel, grid_for(kernel, blocks, block_size, 0, 4), block_size, 0, stream, bits, real);
}

Index row_with_more_bits(ConstBits bits, Stream& stream) {
  if (bits.units % 32 == 0 || bits.rows == 0) return -1;
  constexpr int none = 0x7F7F7F7F;
  const Buffer<int> first(1, stream);
  check(cudaMemsetAsync(first.data(), 0x7F, sizeof(int), stream.get()));
  launch(more_bits_kernel, grid_for(more_bits_kernel, ceil_div(bits.rows, block_size), block_size, 0, 4),
         block_size, 0, stream, bits, first.data());
  const int found = download_one(first.data(), stream);
  return found == none ? -1 : found;
}

#define THALWEG_INSTANTIATE(T)                                                                            \
  template class PreparedRbm<T>;                                                                          \
  template void hidden_given_visible(const PreparedRbm<T>&, const StatesView<T>&, const Tempering<T>&,    \
                                     const Draw&, const Activation<T>&, Stream&);                         \
  template void visible_given_hidden(const PreparedRbm<T>&, const StatesView<T>&, const Tempering<T>&,    \
                                     const Draw&, const Activation<T>&, Stream&);                         \
  template void gibbs_sweeps(const PreparedRbm<T>&, Bits, Bits, MatrixView<T>, MatrixView<T>,             \
                             const Tempering<T>&, const Draw&, Index, Stream&);                           \
  template void phase_statistics(std::span<const Phase<T>>, Index, Index, Index, const T*, T*, Index, T*, \
                                 T*, Stream&);                                                            \
  template void transpose(MatrixView<const T>, const T*, T*, Index, Stream&);                             \
  template bool pack_states(MatrixView<const T>, Bits, Stream&);                                          \
  template void unpack_states(ConstBits, MatrixView<T>, Stream&);

THALWEG_INSTANTIATE(float)
THALWEG_INSTANTIATE(double)
#undef THALWEG_INSTANTIATE

}  // namespace thalweg::cuda

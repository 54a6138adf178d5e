// Leapfrog steps seen through the first layer, for networks whose layers lie in a block's shared memory.
//
// With V the first layer's weights, w = V x and v = V p, and beta = 1 / sigma^2, a step needs of the rows
// nothing but w and v:
//
//   v += h (V b - beta w + G q),  w += epsilon v,  G = V V',  q = t d/dw sum_k S(z_k)
//
// and what the rows become is V'-multiples of sums of the q, with coefficients that all chains share:
//
//   x = a x_0 + c p_0 + e b + V' y_x,   y_p += h (q - beta y_x),  y_x += epsilon y_p.
//
// A block keeps a tile of chains through all steps: a thread has 4 units of 4 chains (double: 2) of the first
// layer in registers, the tile's units and all matrices are in shared memory, and nothing else is read. Of
// 64-64 units a step takes 3 x 4,096 multiply-adds and 128 activations a chain, whatever the number of
// features; the floating-point units are the roof, as for each 16-byte pair of loads from shared memory there
// are 16 multiply-adds. The direct form takes 2 x 64 x 784 more and reads and writes x, p and the score, 20
// kB a chain and step.
#pragma once

#include <array>
#include <vector>

#include "cuda/density_layers.cuh"

namespace thalweg::cuda {

constexpr int most_small_layers = 4;  // the top counted

// Where a small network's parts are: in `packed`, as it is on the device and is copied to shared memory, and
// behind it there.
template <class T>
struct SmallNetwork {
  const T* packed = nullptr;
  int packed_size = 0;
  int shared_size = 0;  // elements of all that is in shared memory
  int leap_size = 0;    // without the last part, the top's terms
  int n_layers = 0;     // the top counted
  int width[most_small_layers];
  DensityActivation activation[most_small_layers];
  int up[most_small_layers];    // (n_in, padded n_out), of layers above the first
  int down[most_small_layers];  // (n_out, padded n_in)
  int bias[most_small_layers];
  int gram = 0;                    // G (width, padded width)
  int visible = 0;                 // V b
  int outputs[most_small_layers];  // (padded units, rows of a tile)
  int slopes[most_small_layers];
};

namespace leapfrog {

constexpr int row_groups = 8;
constexpr int units_each = 4;
constexpr unsigned block_size = 128;
constexpr int units_of_block = units_each * static_cast<int>(block_size) / row_groups;

template <class T>
constexpr int rows_each = 16 / static_cast<int>(sizeof(T));
template <class T>
constexpr int tile_rows = row_groups * rows_each<T>;

[[nodiscard]] constexpr int padded(Index units) {
  return static_cast<int>((units + units_each - 1) / units_each * units_each);
}

template <class T>
struct alignas(16) RowPack {
  T row[rows_each<T>];
};
template <class T>
struct alignas(16) UnitPack {
  T unit[units_each];
};

// One thread's part of a product: [row][unit].
template <class T>
using Tile = T[rows_each<T>][units_each];

// Task `task` of so many units: its first row and its first unit.
template <class T>
__device__ inline int first_row(int task) {
  return task % row_groups * rows_each<T>;
}
__device__ inline int first_unit(int task) { return task / row_groups * units_each; }

// sums = in' matrix for the task; in (depth, rows of a tile), matrix (depth, n).
template <class T>
__device__ inline void multiply(const T* in, const T* matrix, int depth, int n, int task, Tile<T>& sums) {
  const T* a = in + first_row<T>(task);
  const T* b = matrix + first_unit(task);
#pragma unroll
  for (int r = 0; r < rows_each<T>; ++r)
#pragma unroll
    for (int u = 0; u < units_each; ++u) sums[r][u] = T(0);
#pragma unroll 4
  for (int k = 0; k < depth; ++k) {
    const auto left = *reinterpret_cast<const RowPack<T>*>(a + k * tile_rows<T>);
    const auto right = *reinterpret_cast<const UnitPack<T>*>(b + k * n);
#pragma unroll
    for (int r = 0; r < rows_each<T>; ++r)
#pragma unroll
      for (int u = 0; u < units_each; ++u) sums[r][u] += left.row[r] * right.unit[u];
  }
}

template <class T>
__device__ inline void put(T* to, int task, int unit, const RowPack<T>& pack) {
  *reinterpret_cast<RowPack<T>*>(to + (first_unit(task) + unit) * tile_rows<T> + first_row<T>(task)) = pack;
}
template <class T>
__device__ inline RowPack<T> get(const T* from, int task, int unit) {
  return *reinterpret_cast<const RowPack<T>*>(from + (first_unit(task) + unit) * tile_rows<T> +
                                              first_row<T>(task));
}

template <class T>
__device__ inline void put_tile(T* to, int task, const Tile<T>& tile) {
#pragma unroll
  for (int u = 0; u < units_each; ++u) {
    RowPack<T> pack;
#pragma unroll
    for (int r = 0; r < rows_each<T>; ++r) pack.row[r] = tile[r][u];
    put(to, task, u, pack);
  }
}
template <class T>
__device__ inline void get_tile(const T* from, int task, Tile<T>& tile) {
#pragma unroll
  for (int u = 0; u < units_each; ++u) {
    const RowPack<T> pack = get(from, task, u);
#pragma unroll
    for (int r = 0; r < rows_each<T>; ++r) tile[r][u] = pack.row[r];
  }
}

// The tile's activations of layer `i` from sums with bias. Of the top: t sigmoid(z), and where it is wanted
// S(z) in place of the slopes.
template <bool wants_terms, class T>
__device__ inline void put_activations(const SmallNetwork<T>& net, T* shared, int i, T t, int task,
                                       const Tile<T>& sums) {
  const bool is_top = i + 1 == net.n_layers;
#pragma unroll
  for (int u = 0; u < units_each; ++u) {
    RowPack<T> value, slope;
#pragma unroll
    for (int r = 0; r < rows_each<T>; ++r) {
      if (!is_top) {
        activate(net.activation[i], sums[r][u], value.row[r], slope.row[r]);
      } else {
        value.row[r] = t * sigmoid(sums[r][u]);
        if constexpr (wants_terms) slope.row[r] = softplus(sums[r][u]);
      }
    }
    put(shared + net.outputs[i], task, u, value);
    if (wants_terms || !is_top) put(shared + net.slopes[i], task, u, slope);
  }
}

// From put_activations of layer 0 by all threads to q in the place of its outputs; begins and ends with a
// barrier.
template <bool wants_terms, class T>
__device__ inline void evaluate_tile(const SmallNetwork<T>& net, T* shared, T t) {
  Tile<T> sums;
  __syncthreads();
  for (int i = 1; i < net.n_layers; ++i) {
    const int n = padded(net.width[i]);
    const T* bias = shared + net.bias[i];
    for (int task = static_cast<int>(threadIdx.x); task < row_groups * n / units_each;
         task += static_cast<int>(blockDim.x)) {
      multiply(shared + net.outputs[i - 1], shared + net.up[i], net.width[i - 1], n, task, sums);
#pragma unroll
      for (int r = 0; r < rows_each<T>; ++r)
#pragma unroll
        for (int u = 0; u < units_each; ++u) sums[r][u] += bias[first_unit(task) + u];
      put_activations<wants_terms>(net, shared, i, t, task, sums);
    }
    __syncthreads();
  }
  for (int i = net.n_layers - 1; i > 0; --i) {
    const int n = padded(net.width[i - 1]);
    for (int task = static_cast<int>(threadIdx.x); task < row_groups * n / units_each;
         task += static_cast<int>(blockDim.x)) {
      multiply(shared + net.outputs[i], shared + net.down[i], net.width[i], n, task, sums);
#pragma unroll
      for (int u = 0; u < units_each; ++u) {
        RowPack<T> pull = get(shared + net.slopes[i - 1], task, u);
#pragma unroll
        for (int r = 0; r < rows_each<T>; ++r) pull.row[r] *= sums[r][u];
        put(shared + net.outputs[i - 1], task, u, pull);
      }
    }
    __syncthreads();
  }
}

// Of a (rows, width) array, the task's numbers; zeros beyond its ends.
template <class T>
__device__ inline void load_tile(const T* from, Index first, Index n_rows, int width, int task,
                                 Tile<T>& tile) {
#pragma unroll
  for (int r = 0; r < rows_each<T>; ++r)
#pragma unroll
    for (int u = 0; u < units_each; ++u) {
      const Index row = first + first_row<T>(task) + r;
      const int unit = first_unit(task) + u;
      tile[r][u] = row < n_rows && unit < width ? from[row * width + unit] : T(0);
    }
}
template <class T>
__device__ inline void store_tile(T* to, Index first, Index n_rows, int width, int task,
                                  const Tile<T>& tile) {
#pragma unroll
  for (int r = 0; r < rows_each<T>; ++r)
#pragma unroll
    for (int u = 0; u < units_each; ++u) {
      const Index row = first + first_row<T>(task) + r;
      const int unit = first_unit(task) + u;
      if (row < n_rows && unit < width) to[row * width + unit] = tile[r][u];
    }
}

template <class T>
__device__ inline void take_network(const SmallNetwork<T>& net, T* shared) {
  for (int i = static_cast<int>(threadIdx.x); i < net.packed_size; i += static_cast<int>(blockDim.x))
    shared[i] = net.packed[i];
  __syncthreads();
}

// With layer 0's bias, to shared memory.
template <bool wants_terms, class T>
__device__ inline void put_first_layer(const SmallNetwork<T>& net, T* shared, T t, int task,
                                       const Tile<T>& w) {
  const T* bias = shared + net.bias[0] + first_unit(task);
  Tile<T> sums;
#pragma unroll
  for (int r = 0; r < rows_each<T>; ++r)
#pragma unroll
    for (int u = 0; u < units_each; ++u) sums[r][u] = w[r][u] + bias[u];
  put_activations<wants_terms>(net, shared, 0, t, task, sums);
}

// The state of leapfrog steps between launches, (rows, width) each.
template <class T>
struct LeapState {
  T *w, *v;  // V x and V p
  T* q;
  T *y_x, *y_p;
};

// `count` leapfrog steps but for the last half kick. The first steps of a trajectory begin with half a kick
// from `start`'s w and q, the v given, and y = 0. w, v and q are left only where steps follow, then with the
// kick still to come; `is_last` says that none do, and of the last step w is not wanted.
template <class T, unsigned Threads>
__global__ void __launch_bounds__(Threads, Threads == block_size && sizeof(T) == 4 ? 3 : 1)
    leap_kernel(const __grid_constant__ SmallNetwork<T> net, const T* start_w, const T* start_q,
                LeapState<T> state, Index n_rows, T t, T beta, T epsilon, int count, bool is_first,
                bool is_last) {
  T* const shared = shared_memory<T>();
  take_network(net, shared);
  const int width = net.width[0];
  const int n = padded(width);
  const int task = static_cast<int>(threadIdx.x);  // the only one of this thread in the first layer
  const bool has_task = task < row_groups * n / units_each;
  const T* const gram = shared + net.gram;
  const T* const visible = shared + net.visible + first_unit(task);
  T* const pulls = shared + net.outputs[0];
  for (Index first = Index{blockIdx.x} * tile_rows<T>; first < n_rows;
       first += Index{gridDim.x} * tile_rows<T>) {
    Tile<T> w, v, y_x, y_p;
    if (has_task) {
      load_tile(is_first ? start_q : state.q, first, n_rows, width, task, v);
      put_tile(pulls, task, v);
      load_tile(is_first ? start_w : state.w, first, n_rows, width, task, w);
      const bool is_whole = is_first && is_last && count == 1;  // then v is not wanted
      load_tile(state.v, first, is_whole ? 0 : n_rows, width, task, v);
      load_tile(state.y_x, first, is_first ? 0 : n_rows, width, task, y_x);
      load_tile(state.y_p, first, is_first ? 0 : n_rows, width, task, y_p);
    }
    __syncthreads();
    T h = is_first ? epsilon / 2 : epsilon;
    for (int l = 0; l < count; ++l) {
      const bool goes_on = !is_last || l + 1 < count;
      if (has_task && goes_on) {
        Tile<T> kick;
        multiply(pulls, gram, width, n, task, kick);
#pragma unroll
        for (int r = 0; r < rows_each<T>; ++r)
#pragma unroll
          for (int u = 0; u < units_each; ++u) {
            v[r][u] += h * (visible[u] - beta * w[r][u] + kick[r][u]);
            w[r][u] += epsilon * v[r][u];
          }
      }
      if (has_task) {
#pragma unroll
        for (int u = 0; u < units_each; ++u) {
          const RowPack<T> q = get(pulls, task, u);
#pragma unroll
          for (int r = 0; r < rows_each<T>; ++r) {
            y_p[r][u] += h * (q.row[r] - beta * y_x[r][u]);
            y_x[r][u] += epsilon * y_p[r][u];
          }
        }
      }
      h = epsilon;
      if (!goes_on) break;
      __syncthreads();  // q has been read
      if (has_task) put_first_layer<false>(net, shared, t, task, w);
      evaluate_tile<false>(net, shared, t);
    }
    if (has_task) {
      store_tile(state.y_x, first, n_rows, width, task, y_x);
      store_tile(state.y_p, first, n_rows, width, task, y_p);
      if (!is_last) {
        store_tile(state.w, first, n_rows, width, task, w);
        store_tile(state.v, first, n_rows, width, task, v);
        get_tile(pulls, task, v);
        store_tile(state.q, first, n_rows, width, task, v);
      }
    }
    __syncthreads();  // before the next tile's q
  }
}

// Of w (rows, width): hidden (rows,) = sum_k S(z_k), q, and unless y_p is null the last half kick of it.
template <class T>
__global__ void __launch_bounds__(block_size)
    small_hidden_kernel(const __grid_constant__ SmallNetwork<T> net, const T* w, Index n_rows, T t,
                        double* hidden, T* q, const T* y_x, T* y_p, T beta, T h) {
  constexpr int parts = static_cast<int>(block_size) / tile_rows<T>;
  __shared__ double sums[parts][tile_rows<T>];
  T* const shared = shared_memory<T>();
  take_network(net, shared);
  const int width = net.width[0];
  const int n_tasks = row_groups * padded(width) / units_each;
  const int top = net.n_layers - 1;
  const int row = static_cast<int>(threadIdx.x) % tile_rows<T>;
  const int part = static_cast<int>(threadIdx.x) / tile_rows<T>;
  Tile<T> tile;
  for (Index first = Index{blockIdx.x} * tile_rows<T>; first < n_rows;
       first += Index{gridDim.x} * tile_rows<T>) {
    for (int task = static_cast<int>(threadIdx.x); task < n_tasks; task += block_size) {
      load_tile(w, first, n_rows, width, task, tile);
      put_first_layer<true>(net, shared, t, task, tile);
    }
    evaluate_tile<true>(net, shared, t);
    double sum = 0;
    for (int k = part; k < net.width[top]; k += parts)
      sum += static_cast<double>(shared[net.slopes[top] + k * tile_rows<T> + row]);
    sums[part][row] = sum;
    for (int task = static_cast<int>(threadIdx.x); task < n_tasks; task += block_size) {
      get_tile(shared + net.outputs[0], task, tile);
      store_tile(q, first, n_rows, width, task, tile);
      if (y_p == nullptr) continue;
      Tile<T> at, momentum;
      load_tile(y_x, first, n_rows, width, task, at);
      load_tile(static_cast<const T*>(y_p), first, n_rows, width, task, momentum);
#pragma unroll
      for (int r = 0; r < rows_each<T>; ++r)
#pragma unroll
        for (int u = 0; u < units_each; ++u) momentum[r][u] += h * (tile[r][u] - beta * at[r][u]);
      store_tile(y_p, first, n_rows, width, task, momentum);
    }
    __syncthreads();
    if (part == 0 && first + row < n_rows) {
      double total = 0;
      for (int p = 0; p < parts; ++p) total += sums[p][row];
      hidden[first + row] = total;
    }
    __syncthreads();
  }
}

// --- packing

// A (rows, cols) matrix at strides, to (rows, padded cols) with zeros beyond.
template <class T>
struct Piece {
  const T* from;
  int rows, cols, padded;
  int row_stride, col_stride;
  int to;
};
constexpr int most_pieces = 3 * most_small_layers;
template <class T>
struct Pieces {
  int count = 0;
  Piece<T> piece[most_pieces];
};

// A block for every piece.
template <class T>
__global__ void __launch_bounds__(rows::block_size)
    pack_kernel(const __grid_constant__ Pieces<T> pieces, T* packed) {
  const Piece<T>& p = pieces.piece[blockIdx.x];
  for (int i = static_cast<int>(threadIdx.x); i < p.rows * p.padded; i += rows::block_size) {
    const int r = i / p.padded;
    const int c = i % p.padded;
    packed[p.to + i] =
        c < p.cols ? p.from[static_cast<Index>(r) * p.row_stride + static_cast<Index>(c) * p.col_stride]
                   : T(0);
  }
}

}  // namespace leapfrog

// A small network's layout, packed anew for a run of moves; `fits` says whether there can be one.
template <class T>
class SmallPass {
 public:
  using Packed = typename DeepDensity<T>::Packed;

  [[nodiscard]] static bool fits(const Packed& density) {
    if (density.layers.size() > most_small_layers) return false;
    if (density.width() > 2 * leapfrog::units_of_block) return false;
    for (const auto& layer : density.layers)
      if (layer.n_out > 4096) return false;  // lest the layout's numbers overflow
    return bytes(layout(density).shared_size) + leapfrog_static <= device().shared_per_block;
  }

  // gram (width, width) and visible (width,) = V b
  SmallPass(const Packed& density, const T* gram, const T* visible, Stream& stream)
      : stream_(stream), net_(layout(density)), packed_(net_.packed_size, stream) {
    net_.packed = packed_.data();
    leapfrog::Pieces<T> pieces;
    const auto add = [&](const T* from, Index rows, Index cols, Index row_stride, Index col_stride, int to) {
      pieces.piece[pieces.count++] = {from,
                                      static_cast<int>(rows),
                                      static_cast<int>(cols),
                                      leapfrog::padded(cols),
                                      static_cast<int>(row_stride),
                                      static_cast<int>(col_stride),
                                      to};
    };
    const Index width = density.width();
    add(gram, width, width, width, 1, net_.gram);
    add(visible, 1, width, 0, 1, net_.visible);
    for (std::size_t i = 0; i < density.layers.size(); ++i) {
      const auto& layer = density.layers[i];
      add(layer.bias.data(), 1, layer.n_out, 0, 1, net_.bias[i]);
      if (i == 0) continue;
      add(layer.weights.data(), layer.n_in, layer.n_out, 1, layer.n_in, net_.up[i]);
      add(layer.weights.data(), layer.n_out, layer.n_in, layer.n_in, 1, net_.down[i]);
    }
    clear(packed_.data(), net_.packed_size, stream);
    launch(leapfrog::pack_kernel<T>, static_cast<unsigned>(pieces.count), rows::block_size, 0, stream, pieces,
           packed_.data());
  }

  void hidden(const T* w, Index n_rows, T t, double* hidden, T* q, const T* y_x, T* y_p, T beta, T h) {
    if (n_rows == 0) return;
    const auto kernel = leapfrog::small_hidden_kernel<T>;
    constexpr unsigned threads = leapfrog::block_size;
    const int size = net_.shared_size;
    launch(kernel, grid(kernel, n_rows, threads, size), threads, bytes(size), stream_, net_, w, n_rows, t,
           hidden, q, y_x, y_p, beta, h);
  }

  void leap(const T* start_w, const T* start_q, const leapfrog::LeapState<T>& state, Index n_rows, T t,
            T beta, T epsilon, int count, bool is_first, bool is_last) {
    if (n_rows == 0) return;
    const auto start = [&](auto kernel, unsigned threads) {
      const int size = net_.leap_size;
      launch(kernel, grid(kernel, n_rows, threads, size), threads, bytes(size), stream_, net_, start_w,
             start_q, state, n_rows, t, beta, epsilon, count, is_first, is_last);
    };
    constexpr unsigned threads = leapfrog::block_size;
    if (net_.width[0] <= leapfrog::units_of_block)
      start(leapfrog::leap_kernel<T, threads>, threads);
    else
      start(leapfrog::leap_kernel<T, 2 * threads>, 2 * threads);
  }

 private:
  // What the kernels have beside in static shared memory, and the driver keeps.
  static constexpr std::size_t leapfrog_static = 4096;

  template <class Kernel>
  static unsigned grid(Kernel kernel, Index n_rows, unsigned threads, int shared_size) {
    return grid_for(kernel, ceil_div(n_rows, leapfrog::tile_rows<T>), threads, bytes(shared_size), 1);
  }

  [[nodiscard]] static std::size_t bytes(int elements) {
    return static_cast<std::size_t>(elements) * sizeof(T);
  }

  static SmallNetwork<T> layout(const Packed& density) {
    SmallNetwork<T> net;
    net.n_layers = static_cast<int>(density.layers.size());
    int size = 0;
    const auto take = [&](int elements) {
      const int at = size;
      size += (elements + units_multiple - 1) / units_multiple * units_multiple;
      return at;
    };
    const int first = static_cast<int>(density.width());
    net.gram = take(first * leapfrog::padded(first));
    net.visible = take(leapfrog::padded(first));
    for (std::size_t i = 0; i < density.layers.size(); ++i) {
      const auto& layer = density.layers[i];
      const int n_in = static_cast<int>(layer.n_in);
      net.width[i] = static_cast<int>(layer.n_out);
      net.activation[i] = layer.activation;
      net.bias[i] = take(leapfrog::padded(layer.n_out));
      net.up[i] = i == 0 ? 0 : take(n_in * leapfrog::padded(layer.n_out));
      net.down[i] = i == 0 ? 0 : take(net.width[i] * leapfrog::padded(n_in));
    }
    net.packed_size = size;
    for (std::size_t i = 0; i < density.layers.size(); ++i) {
      net.outputs[i] = take(leapfrog::padded(net.width[i]) * leapfrog::tile_rows<T>);
      net.leap_size = size;
      net.slopes[i] = take(leapfrog::padded(net.width[i]) * leapfrog::tile_rows<T>);
    }
    net.shared_size = size;
    return net;
  }

  static constexpr int units_multiple = 32;  // every part begins on a line of memory

  Stream& stream_;
  SmallNetwork<T> net_;
  Buffer<T> packed_;
};

}  // namespace thalweg::cuda

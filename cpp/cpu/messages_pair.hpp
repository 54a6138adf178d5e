// Messages of factors of two variables.
//
// Min-sum: a table is one pass over its energies for both directions; Potts takes the two smallest inputs, a
// truncated linear energy two recurrences (P. Felzenszwalb, D. Huttenlocher, 2006), a truncated quadratic one
// looks no further than its cap reaches. Sum-product: the same passes in products of weights, exp(-beta E),
// and a sum too small for that is taken again in the log domain.
#pragma once

#include "cpu/messages_energies.hpp"

namespace thalweg::cpu {

struct TableRow {
  Index n_columns;
  Index operator()(Index x, Index y) const { return x * n_columns + y; }
};

struct DistanceRow {
  Index operator()(Index x, Index y) const { return x < y ? y - x : x - y; }
};

// What meets along an edge, and how alternatives are put together.
template <class P>
struct MinSum {
  using V = typename P::V;
  static V none() { return P::broadcast(infinity<typename P::Real>); }
  [[gnu::always_inline]] static V with(V sum, V energy, V input) { return minimum(sum, energy + input); }
};

template <class P>
struct SumProduct {
  using V = typename P::V;
  static V none() { return V{}; }
  [[gnu::always_inline]] static V with(V sum, V weight, V input) { return sum + weight * input; }
};

// Rows of a table in memory, `step` apart, each one element a lane or one for all.
template <class P, bool IsBroadcast>
struct TableRows {
  const typename P::Real* data;
  Index step;

  [[gnu::always_inline]] typename P::V operator[](Index j) const {
    if constexpr (IsBroadcast)
      return P::broadcast(data[j]);
    else if constexpr (P::is_single)
      return data[j * step];
    else
      return P::load(data + j * P::lanes);
  }
};

// Both directions of the states x, ..., x + N - 1 of the first variable.
template <class P, template <class> class Ring, int N, class Rows, class RowOf>
[[gnu::always_inline]] inline void pair_states(const Rows& rows, RowOf row_of, Index x, Index k1,
                                               const typename P::V* in0, const typename P::V* in1,
                                               typename P::V* out0, typename P::V* out1) {
  using V = typename P::V;
  V sum[N], input[N];
  for (int u = 0; u < N; ++u) {
    sum[u] = Ring<P>::none();
    input[u] = in0[x + u];
  }
  for (Index y = 0; y < k1; ++y) {
    const V other = in1[y];
    V back = out1[y];
    for (int u = 0; u < N; ++u) {
      const V e = rows[row_of(x + u, y)];
      sum[u] = Ring<P>::with(sum[u], e, other);
      back = Ring<P>::with(back, e, input[u]);
    }
    out1[y] = back;
  }
  for (int u = 0; u < N; ++u) out0[x + u] = sum[u];
}

template <class P, template <class> class Ring, class Rows, class RowOf>
[[gnu::always_inline]] inline void pair_both(const Rows& rows, RowOf row_of, Index k0, Index k1,
                                             const typename P::V* in0, const typename P::V* in1,
                                             typename P::V* out0, typename P::V* out1) {
  for (Index y = 0; y < k1; ++y) out1[y] = Ring<P>::none();
  Index x = 0;
  for (; x + 4 <= k0; x += 4) pair_states<P, Ring, 4>(rows, row_of, x, k1, in0, in1, out0, out1);
  for (; x + 2 <= k0; x += 2) pair_states<P, Ring, 2>(rows, row_of, x, k1, in0, in1, out0, out1);
  if (x < k0) pair_states<P, Ring, 1>(rows, row_of, x, k1, in0, in1, out0, out1);
}

// out[i], ..., out[i + N - 1] over the states j of the other variable.
template <class P, template <class> class Ring, int N, class Rows, class RowOf>
[[gnu::always_inline]] inline void one_states(const Rows& rows, RowOf row_of, Index i, Index n_in,
                                              const typename P::V* in, typename P::V* out) {
  typename P::V sum[N];
  for (int u = 0; u < N; ++u) sum[u] = Ring<P>::none();
  for (Index j = 0; j < n_in; ++j)
    for (int u = 0; u < N; ++u) sum[u] = Ring<P>::with(sum[u], rows[row_of(i + u, j)], in[j]);
  for (int u = 0; u < N; ++u) out[i + u] = sum[u];
}

template <class P, template <class> class Ring, class Rows, class RowOf>
[[gnu::always_inline]] inline void pair_one(const Rows& rows, RowOf row_of, Index n_out, Index n_in,
                                            const typename P::V* in, typename P::V* out) {
  Index i = 0;
  for (; i + 4 <= n_out; i += 4) one_states<P, Ring, 4>(rows, row_of, i, n_in, in, out);
  for (; i < n_out; ++i) one_states<P, Ring, 1>(rows, row_of, i, n_in, in, out);
}

// The messages that are asked for: all, all but one, or one alone.
struct Wanted {
  Index slot = -1;
  bool only = false;

  [[nodiscard]] bool has(Index s) const { return slot < 0 || (s == slot) == only; }
};

template <class P>
class PairKernel {
  using T = typename P::Real;
  using V = typename P::V;

  // Products of weights below the normal numbers have no part in sums above this.
  static constexpr T tiny = std::is_same_v<T, float> ? T(1e-30F) : T(1e-290);

 public:
  // q and m: rows of the first variable, then of the second; `weights` is as long.
  PairKernel(const FactorView<P>& factor, const Temperature<T>& t, const V* q, V* m, V* weights)
      : factor_(factor),
        t_(t),
        k_{factor.group.cardinalities[0], factor.group.cardinalities[1]},
        q_{q, q + k_[0]},
        m_{m, m + k_[0]},
        a_{weights, weights + k_[0]} {}

  void run(const Wanted& wanted) {
    if (t_.is_finite)
      sum_product(wanted);
    else
      min_sum(wanted);
  }

 private:
  void min_sum(const Wanted& wanted) {
    const FactorKind kind = factor_.group.kind;
    if (kind == FactorKind::table || kind == FactorKind::product)
      return table<MinSum>(factor_.energy, q_, wanted);
    for (int s = 0; s < 2; ++s) {
      if (!wanted.has(s)) continue;
      const V* in = q_[1 - s];
      const V low = lowest<P>(in, k_[1 - s]);
      if (kind == FactorKind::potts)
        potts_minima(in, k_[1 - s], m_[s], k_[s]);
      else if (kind == FactorKind::truncated_linear)
        linear_minima(in, k_[1 - s], factor_.cap() + low, m_[s], k_[s]);
      else
        reachable_minima(in, k_[1 - s], factor_.cap() + low, m_[s], k_[s]);
    }
  }

  void sum_product(const Wanted& wanted) {
    if (k_[0] == 2 && k_[1] == 2 && wanted.slot < 0) return binary_sums();
    const FactorKind kind = factor_.group.kind;
    V low[2];
    for (int s = 0; s < 2; ++s) {
      if (!wanted.has(1 - s)) continue;
      low[s] = lowest<P>(q_[s], k_[s]);
      for (Index x = 0; x < k_[s]; ++x) a_[s][x] = weight_of<P>(q_[s][x], low[s], t_);
    }
    if (kind == FactorKind::table || kind == FactorKind::product) {
      table<SumProduct>(factor_.weight, a_, wanted);
    } else if (kind == FactorKind::potts) {
      for (int s = 0; s < 2; ++s)
        if (wanted.has(s)) potts_sums(a_[1 - s], k_[1 - s], m_[s], k_[s]);
    } else {
      by_layout(factor_.weight, [&](const auto& rows) {
        both_or_one<SumProduct>(rows, DistanceRow(), DistanceRow(), a_, wanted);
      });
    }
    for (int s = 0; s < 2; ++s)
      if (wanted.has(s)) to_energies(s, low[1 - s] + factor_.least_energy());
  }

  template <template <class> class Ring, class Inputs>
  void table(const T* data, const Inputs& in, const Wanted& wanted) {
    by_layout(data, [&](const auto& rows) {
      if (k_[0] == 2 && k_[1] == 2 && wanted.slot < 0) {  // constants: the loops vanish
        pair_both<P, Ring>(rows, TableRow{2}, 2, 2, in[0], in[1], m_[0], m_[1]);
        return;
      }
      const Index n = k_[1];
      both_or_one<Ring>(rows, TableRow{n}, [n](Index y, Index x) { return x * n + y; }, in, wanted);
    });
  }

  template <class Body>
  void by_layout(const T* data, Body&& body) {
    if constexpr (!P::is_single) {
      if (factor_.is_broadcast) return body(TableRows<P, true>{data, 1});
    }
    body(TableRows<P, false>{data, factor_.step});
  }

  template <template <class> class Ring, class Rows, class RowOf, class Transposed, class Inputs>
  void both_or_one(const Rows& rows, RowOf row_of, Transposed transposed, const Inputs& in,
                   const Wanted& wanted) {
    if (wanted.slot < 0)
      pair_both<P, Ring>(rows, row_of, k_[0], k_[1], in[0], in[1], m_[0], m_[1]);
    else if (wanted.has(0))
      pair_one<P, Ring>(rows, row_of, k_[0], k_[1], in[1], m_[0]);
    else
      pair_one<P, Ring>(rows, transposed, k_[1], k_[0], in[0], m_[1]);
  }

  // min(in[x], w + the smallest of the others).
  void potts_minima(const V* in, Index n_in, V* out, Index n_out) const {
    V first = P::broadcast(infinity<T>), second = first;
    for (Index y = 0; y < n_in; ++y) {
      second = minimum(second, maximum(first, in[y]));
      first = minimum(first, in[y]);
    }
    const V w = factor_.row(1);
    for (Index x = 0; x < std::min(n_in, n_out); ++x)
      out[x] = minimum(in[x], w + (in[x] == first ? second : first));
    for (Index x = n_in; x < n_out; ++x) out[x] = w + first;
  }

  // The smallest of in[y] + slope |x - y|, upwards for y <= x, downwards for y >= x.
  void linear_minima(const V* in, Index n_in, V capped, V* out, Index n_out) const {
    const V slope = factor_.slope();
    const Index shared = std::min(n_in, n_out);
    V near = P::broadcast(infinity<T>);
    for (Index x = 0; x < shared; ++x) {
      near = minimum(near + slope, in[x]);
      out[x] = minimum(near, capped);
    }
    for (Index x = shared; x < n_out; ++x) {
      near += slope;
      out[x] = minimum(near, capped);
    }
    near = P::broadcast(infinity<T>);
    for (Index x = n_in; x-- > shared;) near = minimum(near + slope, in[x]);
    for (Index x = shared; x-- > 0;) {
      near = minimum(near + slope, in[x]);
      out[x] = minimum(near, out[x]);
    }
  }

  void reachable_minima(const V* in, Index n_in, V capped, V* out, Index n_out) const {
    for (Index x = 0; x < n_out; ++x) {
      V low = capped;
      for (Index y = std::max<Index>(0, x - factor_.reach); y < std::min(n_in, x + factor_.reach + 1); ++y)
        low = minimum(low, factor_.row(x < y ? y - x : x - y) + in[y]);
      out[x] = low;
    }
  }

  // The others are summed from both ends: a difference from the total would cancel.
  void potts_sums(const V* a, Index n_in, V* out, Index n_out) const {
    const V equal = weight(0), different = weight(1);
    V before = V{};
    for (Index x = 0; x < n_out; ++x) {
      out[x] = before;
      if (x < n_in) before += a[x];
    }
    for (Index x = n_in; x < n_out; ++x) out[x] = different * out[x];
    V after = V{};
    for (Index x = n_in; x-- > 0;) {
      if (x < n_out) out[x] = equal * a[x] + different * (out[x] + after);
      after += a[x];
    }
  }

  // Two binary variables, both directions: of a message only the difference of its two states counts.
  void binary_sums() {
    V w[2][2], sum[2][2];
    for (int x = 0; x < 2; ++x)
      for (int y = 0; y < 2; ++y) w[x][y] = weight(pair_row(factor_.group, x, y));
    for (int s = 0; s < 2; ++s) {
      const V gap = q_[s][1] - q_[s][0];
      const V less = P::exp_of_negative(-t_.beta * (gap < T(0) ? -gap : gap));
      const V one = P::broadcast(T(1));
      const V zero_state = gap < T(0) ? less : one, one_state = gap < T(0) ? one : less;
      for (int x = 0; x < 2; ++x)
        sum[1 - s][x] = (s == 0 ? w[0][x] : w[x][0]) * zero_state + (s == 0 ? w[1][x] : w[x][1]) * one_state;
    }
    for (int s = 0; s < 2; ++s) {
      const V difference = t_.inverse * P::log_of_normal(sum[s][0] / sum[s][1]);
      m_[s][0] = difference < T(0) ? -difference : V{};
      m_[s][1] = difference < T(0) ? V{} : difference;
      const auto is_tiny = minimum(sum[s][0], sum[s][1]) < tiny;
      if (P::any(is_tiny)) [[unlikely]]
        for (int x = 0; x < 2; ++x) m_[s][x] = is_tiny ? in_log_domain(s, x) : m_[s][x];
    }
  }

  [[nodiscard]] V weight(Index row) const {
    const T* w = factor_.weight + row * factor_.step;
    return P::is_single || !factor_.is_broadcast ? P::load(w) : P::broadcast(*w);
  }

  // Sums of weights become energies above `base`.
  void to_energies(int s, V base) {
    for (Index x = 0; x < k_[s]; ++x) {
      const V sum = m_[s][x];
      V energy = base - t_.inverse * P::log_of_normal(sum);
      if (P::any(sum < tiny)) [[unlikely]]
        energy = sum < tiny ? in_log_domain(s, x) : energy;
      m_[s][x] = energy;
    }
  }

  [[gnu::noinline]] V in_log_domain(int s, Index x) const {
    return soft_minimum<P>(k_[1 - s], t_, [&](Index y) {
      const Index row = s == 0 ? pair_row(factor_.group, x, y) : pair_row(factor_.group, y, x);
      return factor_.row(row) + q_[1 - s][y];
    });
  }

  const FactorView<P>& factor_;
  const Temperature<T>& t_;
  Index k_[2];
  const V* q_[2];
  V* m_[2];
  V* a_[2];
};

}  // namespace thalweg::cpu

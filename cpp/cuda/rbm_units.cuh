// What becomes of the sums that reach a unit: logits, probabilities or means, and draws. A thread finishes
// four neighbouring units of a row at a time.
#pragma once

#include <cmath>
#include <cstdint>
#include <type_traits>

#include "core/rng.hpp"
#include "core/scalar.hpp"
#include "kernels/gibbs.hpp"

namespace thalweg::cuda::rbm {

// sigmoid(u), within two units in the last place.
__device__ inline float probability(float u) {
  const float e = std::exp(-std::abs(u));
  return __fdividef(u < 0.0F ? e : 1.0F, 1.0F + e);
}
__device__ inline double probability(double u) { return sigmoid(u); }

// The draws of a launch. `step_offset`, where it is given, is added to the step: what a graph does again is
// drawn anew.
struct Draws {
  std::uint64_t seed = 0;
  std::uint32_t stream = 0;
  std::uint64_t first_row = 0;
  std::uint32_t step = 0;
  const std::uint32_t* step_offset = nullptr;

  __device__ rng::Sequence of_row(Index row) const {
    return {seed, stream, first_row + static_cast<std::uint64_t>(row),
            step + (step_offset == nullptr ? 0u : *step_offset)};
  }
};

inline Draws make_draws(const Draw& draw, std::uint32_t stream_offset, Index step_offset,
                        const std::uint32_t* more_steps) {
  return {draw.seed, draw.stream + stream_offset, draw.first_row,
          draw.step + static_cast<std::uint32_t>(step_offset), more_steps};
}

// Of units `unit` to `unit` + 3; `unit` is a multiple of four.
template <class T>
__device__ void four_uniforms(const rng::Sequence& s, Index unit, T (&u)[4]) {
  const auto number = static_cast<std::uint32_t>(unit);
  if constexpr (std::is_same_v<T, float>) {
    const rng::Block block = s.block(number / 4);
    for (int i = 0; i < 4; ++i) u[i] = rng::uniform(block.word[i]);
  } else {
    for (std::uint32_t half = 0; half < 2; ++half) {
      const rng::Block block = s.block(number / 2 + half);
      u[2 * half] = rng::uniform(block.word[0], block.word[1]);
      u[2 * half + 1] = rng::uniform(block.word[2], block.word[3]);
    }
  }
}

template <class T>
__device__ void four_normals(const rng::Sequence& s, Index unit, T (&x)[4]) {
  const auto number = static_cast<std::uint32_t>(unit);
  if constexpr (std::is_same_v<T, float>) {
    const auto drawn = rng::normals_of_float(s.block(number / 4));
    for (int i = 0; i < 4; ++i) x[i] = drawn[static_cast<std::size_t>(i)];
  } else {
    for (std::uint32_t half = 0; half < 2; ++half) {
      const auto drawn = rng::normals(s.block(number / 2 + half));
      x[2 * half] = drawn[0];
      x[2 * half + 1] = drawn[1];
    }
  }
}

template <class T>
__device__ void put_four(const MatrixView<T>& out, Index row, Index unit, const T (&x)[4]) {
  if (out.data == nullptr) return;
  T* const to = out.row(row) + unit;
  for (int i = 0; i < 4; ++i)
    if (unit + i < out.cols) to[i] = x[i];
}

// Of four units: `absent` where there is no array or no such unit.
template <class T>
__device__ void get_four(const T* from, Index unit, Index units, T absent, T (&x)[4]) {
  for (int i = 0; i < 4; ++i) x[i] = from != nullptr && unit + i < units ? from[unit + i] : absent;
}

// t of one row: a number a row, or of a step of a path.
template <class T>
struct Temperature {
  const T* of_row = nullptr;
  __device__ bool has() const { return of_row != nullptr; }
  __device__ T at(Index row) const { return of_row[row]; }
};

// --- finishing: `load` reads what belongs to four units, `finish` makes their draws (bit i: unit i is 1) and
// adds to `sum` what they add to the row; `put` takes the word of a tile of 32 units and the tile's sum.

template <class T>
struct BernoulliFinish {
  Index units;
  const T* bias;
  const T* base_bias;  // null: zeros
  Temperature<T> t;
  Draws draws;
  MatrixView<T> logits;
  MatrixView<T> mean;
  Bits bits;

  static constexpr bool has_sums = false;
  struct Values {
    T bias[4];
    T base[4];
  };
  __device__ Values load(Index unit) const {
    Values v;
    get_four(bias, unit, units, T(0), v.bias);
    get_four(base_bias, unit, units, T(0), v.base);
    return v;
  }
  __device__ std::uint32_t finish(Index row, Index unit, const Values& v, T (&x)[4], double&) const {
    for (int i = 0; i < 4; ++i) x[i] += v.bias[i];
    if (t.has()) {
      const T own = t.at(row);
      for (int i = 0; i < 4; ++i) x[i] = x[i] * own + v.base[i] * (T(1) - own);
    }
    put_four(logits, row, unit, x);
    for (int i = 0; i < 4; ++i) x[i] = probability(x[i]);
    put_four(mean, row, unit, x);
    if (bits.data == nullptr) return 0;
    T u[4];
    four_uniforms(draws.of_row(row), unit, u);
    std::uint32_t drawn = 0;
    for (int i = 0; i < 4; ++i) drawn |= static_cast<std::uint32_t>(u[i] < x[i] && unit + i < units) << i;
    return drawn;
  }
  __device__ void put(Index row, Index tile, std::uint32_t word, double) const {
    if (bits.data != nullptr) bits(tile, row) = word;
  }
};

template <class T>
struct GaussianFinish {
  Index units;
  const T* bias;
  const T* sigma;
  const T* base_bias;   // null: zeros
  const T* base_sigma;  // null: ones
  Temperature<T> t;
  Draws draws;
  MatrixView<T> mean;
  MatrixView<T> real;

  static constexpr bool has_sums = false;
  struct Values {
    T bias[4];
    T sigma[4];
    T base[4];
    T base_sigma[4];
  };
  __device__ Values load(Index unit) const {
    Values v;
    get_four(bias, unit, units, T(0), v.bias);
    get_four(sigma, unit, units, T(1), v.sigma);
    get_four(base_bias, unit, units, T(0), v.base);
    get_four(base_sigma, unit, units, T(1), v.base_sigma);
    return v;
  }
  __device__ void draw(Index row, Index unit, const Values& v, T (&x)[4]) const {
    T deviation[4];
    for (int i = 0; i < 4; ++i) {
      x[i] += v.bias[i];
      deviation[i] = v.sigma[i];
    }
    put_drawn(row, unit, deviation, x);
  }
  __device__ void draw_at(T t_now, Index row, Index unit, const Values& v, T (&x)[4]) const {
    T deviation[4];
    for (int i = 0; i < 4; ++i) {
      const T own = t_now / (v.sigma[i] * v.sigma[i]);
      const T base = (T(1) - t_now) / (v.base_sigma[i] * v.base_sigma[i]);
      x[i] = ((x[i] + v.bias[i]) * own + v.base[i] * base) / (own + base);
      deviation[i] = T(1) / std::sqrt(own + base);
    }
    put_drawn(row, unit, deviation, x);
  }
  // Means to states, in place, where states are asked for.
  __device__ void put_drawn(Index row, Index unit, const T (&deviation)[4], T (&x)[4]) const {
    put_four(mean, row, unit, x);
    if (real.data == nullptr) return;
    T normal[4];
    four_normals(draws.of_row(row), unit, normal);
    for (int i = 0; i < 4; ++i) x[i] += deviation[i] * normal[i];
    put_four(real, row, unit, x);
  }
  __device__ std::uint32_t finish(Index row, Index unit, const Values& v, T (&x)[4], double&) const {
    if (t.has()) {
      draw_at(t.at(row), row, unit, v, x);
    } else {
      draw(row, unit, v, x);
    }
    return 0;
  }
  __device__ void put(Index, Index, std::uint32_t, double) const {}
};

}  // namespace thalweg::cuda::rbm

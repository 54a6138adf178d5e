// Elementwise functions on numbers drawn from N(0, 3), small enough for the caches and too large for them,
// beside a copy. Each is checked against its scalar form before it is timed.
#include "kernels/elementwise.hpp"

#include <benchmark/benchmark.h>

#include <cmath>
#include <string>
#include <vector>

#include "core/scalar.hpp"
#include "random_data.hpp"

namespace {

using thalweg::Index;
using thalweg::Prox;
using thalweg::Smooth;

constexpr int threads = 2;
constexpr Index stride = 1;

template <class T>
std::vector<T> numbers(Index n) {
  std::vector<T> made = thalweg::bench::normals<T>(n, 0);
  for (T& x : made) x *= T(3);
  return made;
}

template <class T>
bool agree(T got, T expected) {
  return std::abs(got - expected) <= T(16) * std::numeric_limits<T>::epsilon() * std::abs(expected);
}

// Bytes read and written, as a copy counts them.
template <class T>
void finish(benchmark::State& state, Index n) {
  state.SetBytesProcessed(state.iterations() * 2 * n * static_cast<Index>(sizeof(T)));
}

template <class T>
void copy(benchmark::State& state) {
  const Index n = state.range(0);
  const auto x = numbers<T>(n);
  std::vector<T> out(x.size());
  for (auto _ : state) {
    std::copy(x.begin(), x.end(), out.begin());
    benchmark::ClobberMemory();
  }
  finish<T>(state, n);
}

template <class T>
T scalar(Smooth f, T u) {
  switch (f) {
    case Smooth::softplus:
      return thalweg::softplus(u);
    case Smooth::sigmoid:
      return thalweg::sigmoid(u);
    case Smooth::log_sigmoid:
      return thalweg::log_sigmoid(u);
    case Smooth::d_sigmoid:
      return thalweg::d_sigmoid(u);
    case Smooth::d_log_sigmoid:
      return thalweg::d_log_sigmoid(u);
  }
  return u;
}

template <class T>
void smooth(benchmark::State& state, Smooth f) {
  const Index n = state.range(0);
  const auto x = numbers<T>(n);
  std::vector<T> out(x.size());
  const auto run = [&] {
    thalweg::apply_smooth<T>(f, 1, &n, {x.data(), &stride}, {out.data(), &stride}, threads);
  };
  run();
  for (std::size_t i = 0; i < std::min<std::size_t>(x.size(), 1000); ++i)
    if (!agree(out[i], scalar(f, x[i]))) return state.SkipWithError("differs from the scalar form");
  for (auto _ : state) run();
  finish<T>(state, n);
}

template <class T>
void proximal(benchmark::State& state, Prox f, double q) {
  const Index n = state.range(0), repeat = 0;
  const auto x = numbers<T>(n);
  const T alpha = T(0.5);
  std::vector<T> out(x.size());
  const auto run = [&] {
    thalweg::apply_prox<T>(f, q, 1, &n, {x.data(), &stride}, {&alpha, &repeat}, {out.data(), &stride},
                           threads);
  };
  run();
  for (std::size_t i = 0; i < std::min<std::size_t>(x.size(), 1000); ++i) {
    const T expected =
        f == Prox::shrink_nonneg ? thalweg::shrink_nonneg(x[i], alpha) : thalweg::prox_lq(x[i], alpha, q);
    if (!agree(out[i], expected)) return state.SkipWithError("differs from the scalar form");
  }
  for (auto _ : state) run();
  finish<T>(state, n);
}

template <class T>
void add(const std::string& dtype) {
  const auto sized = [&](const std::string& name, auto body) {
    benchmark::RegisterBenchmark((name + "/" + dtype).c_str(), body)
        ->Arg(8192)
        ->Arg(10'000'000)
        ->UseRealTime();
  };
  sized("elementwise/copy", copy<T>);
  for (const auto& [name, f] : {std::pair{"softplus", Smooth::softplus},
                                {"sigmoid", Smooth::sigmoid},
                                {"log_sigmoid", Smooth::log_sigmoid},
                                {"d_sigmoid", Smooth::d_sigmoid}})
    sized(std::string("elementwise/") + name, [f = f](benchmark::State& s) { smooth<T>(s, f); });
  sized("elementwise/shrink", [](benchmark::State& s) { proximal<T>(s, Prox::shrink, 1); });
  sized("elementwise/shrink_nonneg", [](benchmark::State& s) { proximal<T>(s, Prox::shrink_nonneg, 1); });
  sized("elementwise/hard_shrink", [](benchmark::State& s) { proximal<T>(s, Prox::lq, 0); });
  const auto small = [&](const std::string& name, double q) {
    const auto body = [q](benchmark::State& s) { proximal<T>(s, Prox::lq, q); };
    benchmark::RegisterBenchmark((name + "/" + dtype).c_str(), body)->Arg(8192)->UseRealTime();
  };
  small("elementwise/prox_half", 0.5);
  small("elementwise/prox_two_thirds", 2.0 / 3.0);
  small("elementwise/prox_0.3", 0.3);
}

const bool added = (add<float>("float32"), add<double>("float64"), true);

}  // namespace

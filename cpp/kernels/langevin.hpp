// Deep densities exp(-E): energies, scores, gradients in the parameters, and chains that sample them.
//
// The energy of a row x is
//
//   E(x) = ||x||^2 / (2 sigma^2) - b'x - t sum_k S(w_k' g(x) + c_k),    S(z) = log(1 + e^z)
//
// with g the composition of the layers h -> s(V h + d), or the identity where there are none. The weight t of
// the hidden part is 1 but on the way from the Gaussian N(sigma^2 b, sigma^2 I), t = 0, to the density.
//
// Parameters, in NumPy's terms
//   layers[i].weights (n_out, n_in)   V of a layer; layers[i].bias (n_out,) d, or null for zeros
//   top_weights (n_top, n_hidden)     W, rows w_k; top_bias (n_top,) c
//   visible_bias (n_features,)        b
//   inverse_variance                  1 / sigma^2 > 0
//   X (n, n_features)                 rows
//
// Products are in the precision of the parameters; a row's energy is summed in float64. A row's result does
// not depend on its neighbours, and is the same bits for any number of threads; on a GPU the number of rows
// may change its rounding.
//
// Chains move by trajectories of leapfrog steps of length epsilon, each from a momentum p ~ N(0, I):
//
//   p -= epsilon / 2 grad E(x),  x += epsilon p,  p -= epsilon / 2 grad E(x)
//
// and, where `is_tested`, the end is taken with probability min(1, exp(H(start) - H(end))), H = E + ||p||^2
// / 2. One leapfrog step without the test is Langevin's move of step epsilon^2, with the test the
// Metropolis-adjusted one. Element e of chain r's momentum is drawn by (seed, stream, first_row + r, step,
// e), the test by stream + 1; `step` grows by one from trajectory to trajectory.
//
// A trajectory diverges where E or ||p||^2 / 2 is not finite at its end, as happens once any number on the
// way was not, or where H, without the test E, rises by more than 1000 + n_features, which says that the
// leapfrog steps are unstable: its chain stays where it is.
//
// On a GPU a trajectory is followed by what the layers see of it, see cuda/langevin.cu: the same numbers but
// for rounding.
//
// Errors: std::invalid_argument where shapes do not fit.
//
// Sources: G. O. Roberts, R. L. Tweedie, Exponential convergence of Langevin distributions, Bernoulli 2,
// 1996; R. M. Neal, MCMC using Hamiltonian dynamics, Handbook of Markov Chain Monte Carlo, 2011. The 1000
// are those of B. Carpenter et al., Stan: A probabilistic programming language, J. Stat. Softw. 76, 2017.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "core/buffer.hpp"
#include "core/view.hpp"

namespace thalweg {

enum class DensityActivation { identity, sigmoid, tanh, softplus, relu };

template <class T>
struct DensityLayer {
  MatrixView<const T> weights;
  const T* bias = nullptr;
  DensityActivation activation = DensityActivation::sigmoid;
};

template <class T>
struct DensityView {
  std::vector<DensityLayer<T>> layers;
  MatrixView<const T> top_weights;
  const T* top_bias = nullptr;
  const T* visible_bias = nullptr;
  Index n_features = 0;
  double inverse_variance = 1;
};

// Where gradients go: shapes of the parameters; a layer's bias may be null.
template <class T>
struct DensityGradient {
  struct Layer {
    MatrixView<T> weights;
    T* bias = nullptr;
  };
  std::vector<Layer> layers;
  MatrixView<T> top_weights;
  T* top_bias = nullptr;
  T* visible_bias = nullptr;
};

struct DensityMoves {
  double epsilon = 0.1;
  Index n_leapfrog = 1;
  bool is_tested = true;
  double hidden_weight = 1;  // t
  Index n_steps = 1;         // trajectories
  std::uint64_t seed = 0;
  std::uint32_t stream = 0;
  std::uint64_t first_row = 0;
  std::uint32_t step = 0;  // of the first trajectory
};

// What became of chains, of shape (n,) each; what is null is not wanted.
struct DensityMoveReport {
  double* acceptance = nullptr;  // mean probability of taking a trajectory's end, 1 without the test
  std::int64_t* accepted = nullptr;
  std::int64_t* diverged = nullptr;  // trajectories
};

// What a gradient needs of the rows whose energies were taken.
template <class T>
struct DensityTape {
  Index rows = 0;
  std::vector<Buffer<T>> outputs, slopes;  // of every layer and the top, (rows, padded units)
  Buffer<double> squares;                  // ||x||^2

  // out (rows, n_top): S'(w_k' g(x) + c_k), the probability that a unit on top is on.
  void top_probabilities(MatrixView<T> out) const;
};

// The parameters, packed for products; nothing of the view is kept.
template <class T>
class DeepDensity {
 public:
  explicit DeepDensity(const DensityView<T>& view);
  ~DeepDensity();
  DeepDensity(const DeepDensity&) = delete;
  DeepDensity& operator=(const DeepDensity&) = delete;

  [[nodiscard]] Index n_features() const;

  // energy (n,): E(x).
  void energy(MatrixView<const T> X, double hidden_weight, double* energy, int n_jobs) const;
  // score (n, n_features): -dE/dx.
  void score(MatrixView<const T> X, double hidden_weight, MatrixView<T> score, int n_jobs) const;
  // energy (n,): E(x) at t = 1.
  [[nodiscard]] std::unique_ptr<DensityTape<T>> value(MatrixView<const T> X, double* energy,
                                                      int n_jobs) const;
  // The gradient of sum_n weight_n E(x_n) in the parameters; that in log sigma is returned. X is as it was.
  double pull(const DensityTape<T>& tape, MatrixView<const T> X, const double* weight,
              const DensityGradient<T>& gradient, int n_jobs) const;
  // Moves the chains X in place.
  void move(MatrixView<T> X, const DensityMoves& moves, const DensityMoveReport& report, int n_jobs) const;

  struct Packed;

 private:
  std::unique_ptr<Packed> packed_;
};

// out (n, d): standard normals; element e of row r is drawn by (seed, stream, first_row + r, step, e).
template <class T>
void normal_rows(MatrixView<T> out, std::uint64_t seed, std::uint32_t stream, std::uint64_t first_row,
                 std::uint32_t step, int n_jobs);

// out (n,): sum_e ((x_e - mean_e) scale_e)^2 of every row, in float64. Both null: of the row itself.
template <class T>
void row_squares(MatrixView<const T> X, const T* mean, const T* scale, double* out, int n_jobs);

// out (n,): uniform in [0, 1), from the first words of (seed, stream, first_row + r, step).
void uniform_rows(double* out, Index n, std::uint64_t seed, std::uint32_t stream, std::uint64_t first_row,
                  std::uint32_t step);

namespace cuda {

class Stream;

// On the device, as all pointers here and in the views are. What they hold belongs to the stream that made
// them, their home.
template <class T>
class DensityTape {
 public:
  struct Parts;
  explicit DensityTape(std::unique_ptr<Parts> parts);
  ~DensityTape();
  DensityTape(const DensityTape&) = delete;
  DensityTape& operator=(const DensityTape&) = delete;

  [[nodiscard]] Index rows() const;
  [[nodiscard]] Stream& home() const;
  [[nodiscard]] const Parts& parts() const { return *parts_; }
  void top_probabilities(MatrixView<T> out, Stream& stream) const;

 private:
  std::unique_ptr<Parts> parts_;
};

template <class T>
class DeepDensity {
 public:
  DeepDensity(const DensityView<T>& view, Stream& stream);
  ~DeepDensity();
  DeepDensity(const DeepDensity&) = delete;
  DeepDensity& operator=(const DeepDensity&) = delete;

  [[nodiscard]] Index n_features() const;
  [[nodiscard]] Stream& home() const;

  void energy(MatrixView<const T> X, double hidden_weight, double* energy, Stream& stream) const;
  void score(MatrixView<const T> X, double hidden_weight, MatrixView<T> score, Stream& stream) const;
  [[nodiscard]] std::unique_ptr<DensityTape<T>> value(MatrixView<const T> X, double* energy,
                                                      Stream& stream) const;
  double pull(const DensityTape<T>& tape, MatrixView<const T> X, const double* weight,
              const DensityGradient<T>& gradient, Stream& stream) const;
  void move(MatrixView<T> X, const DensityMoves& moves, const DensityMoveReport& report,
            Stream& stream) const;

  struct Packed;

 private:
  std::unique_ptr<Packed> packed_;
};

template <class T>
void normal_rows(MatrixView<T> out, std::uint64_t seed, std::uint32_t stream, std::uint64_t first_row,
                 std::uint32_t step, Stream& device_stream);
template <class T>
void row_squares(MatrixView<const T> X, const T* mean, const T* scale, double* out, Stream& stream);
void uniform_rows(double* out, Index n, std::uint64_t seed, std::uint32_t stream, std::uint64_t first_row,
                  std::uint32_t step, Stream& device_stream);

}  // namespace cuda

}  // namespace thalweg

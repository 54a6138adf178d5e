// Belief propagation on factor graphs: min-sum, sum-product, and what they tell of an energy.
//
// Variables x_i of k_i states have the energy
//
//     E(x) = sum_i u_i(x_i) + sum_f E_f(x_f),     p(x) = exp(-beta E(x)) / Z(beta)
//
// Messages are energies, one number for each state of the variable, with minimum 0 unless damped:
//
//     b_i(x)      = u_i(x) + sum_f m_fi(x)                             the belief of a variable
//     q_if(x)     = b_i(x) - m_fi(x)                                   a variable to a factor
//     m_fi(x_i)   = -1/beta log sum_{x_f without x_i} exp(-beta (E_f(x_f) + sum_{j != i} q_jf(x_j)))
//
// and, for beta = infinity, the minimum in place of -1/beta log sum exp(-beta ...). States whose belief is
// +inf are forbidden and stay so: q is +inf there.
//
// Kinds of factors and their numbers, in one flat array, factor after factor:
//
//   table                any arity >= 1; one number a configuration, row-major in the order of its scope;
//                        +inf forbids
//   potts                w            w [x != y]
//   truncated_linear     slope, cap   min(slope |x - y|, cap)
//   truncated_quadratic  slope, cap   min(slope (x - y)^2, cap)
//   product              w            w x y, of states 0, 1, ...
//   logical_or           none         0 where the last variable is the or of the others, else +inf; all
//   binary logical_and          none         likewise the and
//
// All but tables and the logical factors take two variables; a cap may be +inf. Factors of one variable count
// as unary energies and send no messages.
//
// Parameters, in NumPy's terms
//   cardinalities (n_variables,), kinds (n_factors,), scope_starts (n_factors + 1,), scope_variables: int64;
//     factor f has the variables scope_variables[scope_starts[f] : scope_starts[f + 1]], all different
//   energies (1, n_energies) of all graphs, or (n_graphs, n_energies), each its own
//   unary    (n_graphs, n_states): states of variable 0, then of variable 1, ...
//
// Schedules, all going on from the messages that are there (zeros at first):
//   flood     every factor at once from the beliefs before; m <- (1 - damping) new + damping m. A graph
//             ends when the largest |new - m| of a sweep is at most tol.
//   residual  the factor whose messages would change most, then its neighbours' changes anew. A graph ends
//             when no message would change by more than tol.
//   two_pass  forests only, from zero messages: leaves to roots and back; exact.
//
// What is read from the messages
//   beliefs        exp(-beta b_i) / sum; for beta = infinity b_i less its minimum
//   statistics     the expectation of dE/d(number) for every energy, in the factor's belief,
//                  exp(-beta (E_f + sum q)) / sum: a table's marginals, P(x != y), E[x y],
//                  E[|x - y|; slope |x - y| <= cap] and P(slope |x - y| > cap), ...; for beta = infinity at
//                  the decoded states
//   log_partition  float64: log Z_Bethe = sum_f log Z_f + sum_i (1 - d_i) log Z_i, where
//                  Z_f = sum exp(-beta (E_f + sum q)), Z_i = sum exp(-beta b_i) and d_i counts the factors
//                  at i; exact on forests after two_pass. For beta = infinity minus the energy of the
//                  decoded states.
//   decode         argmin of every belief, the first on ties. After two_pass at beta = infinity by
//                  back-tracking from the roots, so that the states are a minimum also where there are
//                  several.
//
// Errors: std::invalid_argument where a structure is none (naming the factor and the variable), a number is
// NaN or -inf, or "all configurations of variable i are forbidden": a message or a belief has become +inf
// everywhere. The messages are zeros afterwards.
//
// Many graphs are worked on side by side, a few of them in the lanes of a vector; of a large graph it is
// factors of one kind. No result depends on the number of threads.
//
// Sources: J. Pearl, Probabilistic Reasoning in Intelligent Systems, 1988; J. Yedidia, W. Freeman, Y. Weiss,
// Constructing free-energy approximations and generalized belief propagation algorithms, IEEE Trans. Inf.
// Theory 51, 2005; G. Elidan, I. McGraw, D. Koller, Residual belief propagation, UAI 2006; P. Felzenszwalb,
// D. Huttenlocher, Efficient belief propagation for early vision, Int. J. Comput. Vis. 70, 2006.
#pragma once

#include <cstdint>
#include <memory>

#include "core/view.hpp"

namespace thalweg {

enum class FactorKind : std::int64_t {
  table = 0,
  potts = 1,
  truncated_linear = 2,
  truncated_quadratic = 3,
  product = 4,
  logical_or = 5,
  logical_and = 6
};

struct FactorStructureView {
  const std::int64_t* cardinalities = nullptr;
  Index n_variables = 0;
  const std::int64_t* kinds = nullptr;
  Index n_factors = 0;
  const std::int64_t* scope_starts = nullptr;
  const std::int64_t* scope_variables = nullptr;
  Index n_scope_variables = 0;
};

// The structure, checked; never changes.
class MessageGraph {
 public:
  struct Structure;

  explicit MessageGraph(const FactorStructureView& view);
  ~MessageGraph();
  MessageGraph(const MessageGraph&) = delete;
  MessageGraph& operator=(const MessageGraph&) = delete;

  [[nodiscard]] const Structure& structure() const { return *structure_; }
  [[nodiscard]] Index n_variables() const;
  [[nodiscard]] Index n_factors() const;
  [[nodiscard]] Index n_states() const;    // the sum of the cardinalities
  [[nodiscard]] Index n_energies() const;  // the length of the flat array
  [[nodiscard]] bool is_forest() const;

 private:
  std::unique_ptr<const Structure> structure_;
};

struct ScheduleOptions {
  double beta = 1;      // > 0, infinity for min-sum
  double damping = 0;   // in [0, 1)
  Index max_steps = 0;  // sweeps, or updates of factors
  double tol = 0;
  int n_jobs = 0;
  const bool* is_going = nullptr;  // (n_graphs,) which graphs take part, null for all; of the others nothing
                                   // changes
};

struct ScheduleReport {
  std::int64_t* steps = nullptr;  // (n_graphs,) sweeps, or updates of factors
  double* residual =
      nullptr;  // (n_graphs,) the largest change of a message, undamped; infinity where there was none
};

// The messages of a batch of graphs. Calls take turns.
template <class T>
class MessagePasser {
 public:
  MessagePasser(std::shared_ptr<const MessageGraph> graph, MatrixView<const T> energies,
                MatrixView<const T> unary);
  ~MessagePasser();
  MessagePasser(const MessagePasser&) = delete;
  MessagePasser& operator=(const MessagePasser&) = delete;

  [[nodiscard]] const MessageGraph& graph() const;
  [[nodiscard]] Index n_graphs() const;

  void set_energies(MatrixView<const T> energies, MatrixView<const T> unary);  // keeps the messages
  void reset();                                                                // messages of zeros

  void flood(const ScheduleOptions& options, const ScheduleReport& report);
  void residual(const ScheduleOptions& options, const ScheduleReport& report);
  void two_pass(double beta, int n_jobs);

  void beliefs(double beta, MatrixView<T> out, int n_jobs);            // (n_graphs, n_states)
  void statistics(double beta, MatrixView<T> out, int n_jobs);         // (n_graphs, n_energies)
  void log_partition(double beta, double* out, int n_jobs);            // (n_graphs,)
  void decode(double beta, MatrixView<std::int64_t> out, int n_jobs);  // (n_graphs, n_variables)

 private:
  struct Memory;
  std::unique_ptr<Memory> memory_;
};

// E(x) of every graph in float64, +inf where forbidden; `states` (n_graphs, n_variables) in range.
template <class T>
void graph_energy(const MessageGraph& graph, MatrixView<const T> energies, MatrixView<const T> unary,
                  MatrixView<const std::int64_t> states, double* out, int n_jobs);

}  // namespace thalweg

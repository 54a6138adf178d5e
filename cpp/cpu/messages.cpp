#include "kernels/messages.hpp"

#include <algorithm>
#include <exception>
#include <mutex>

#include "cpu/messages_decode.hpp"
#include "cpu/messages_flood.hpp"
#include "cpu/messages_residual.hpp"
#include "cpu/messages_statistics.hpp"
#include "cpu/messages_two_pass.hpp"

namespace thalweg {

using cpu::Energies;
using cpu::infinity;
using cpu::List;
using cpu::Numbers;
using cpu::Panel;
using cpu::Plan;
using cpu::Temperature;

namespace {

using Structure = MessageGraph::Structure;

// Graphs share vectors where that leaves few lanes idle. On a forest, whose factors take turns, lanes would
// be idle anyhow.
template <class T>
int width_for(const Structure& structure, Index n_graphs) {
  constexpr int lanes = cpu::Packed<T>::lanes;
  return (structure.is_forest ? 4 : 1) * n_graphs * 4 >= 3 * lanes && n_graphs > 1 ? lanes : 1;
}

template <class T>
void check_shapes(const Structure& structure, Index n_graphs, MatrixView<const T> energies,
                  MatrixView<const T> unary) {
  require(unary.rows == n_graphs && unary.cols == structure.n_states(), "unary: expected shape (", n_graphs,
          ", ", structure.n_states(), "), got (", unary.rows, ", ", unary.cols, ")");
  require((energies.rows == 1 || energies.rows == n_graphs) && energies.cols == structure.n_energies(),
          "energies: expected shape (", structure.n_energies(), ",) or (", n_graphs, ", ",
          structure.n_energies(), "), got (", energies.rows, ", ", energies.cols, ")");
}

// The first number that is NaN or -inf, or -1.
template <class T>
Index first_unusable(MatrixView<const T> a) {
  bool is_fine = true;
  for (Index j = 0; j < a.rows * a.cols; ++j) is_fine &= a.data[j] > -infinity<T>;
  for (Index j = 0; !is_fine && j < a.rows * a.cols; ++j)
    if (!(a.data[j] > -infinity<T>)) return j % a.cols;
  return -1;
}

template <class T>
void check_numbers(const Structure& structure, MatrixView<const T> energies, MatrixView<const T> unary) {
  const auto owner = [](const List<Index>& starts, Index at) {
    return std::upper_bound(starts.begin(), starts.end(), at) - starts.begin() - 1;
  };
  if (const Index at = first_unusable(unary); at >= 0)
    throw std::invalid_argument(join("unary: variable ", owner(structure.state_starts, at),
                                     ": expected numbers or +inf, got NaN or -inf"));
  if (const Index at = first_unusable(energies); at >= 0)
    throw std::invalid_argument(join("energies: factor ", owner(structure.energy_starts, at),
                                     ": expected numbers or +inf, got NaN or -inf"));
  for (Index f = 0; f < structure.n_factors(); ++f) {
    if (structure.kinds[f] == FactorKind::table || structure.group_of(f).is_logical()) continue;
    for (Index r = 0; r < energies.rows; ++r)
      require(energies(r, structure.energy_starts[f]) < infinity<T>, "energies: factor ", f,
              ": expected a finite number, got +inf");
  }
}

void check_options(const ScheduleOptions& options, const char* steps) {
  require(options.damping >= 0 && options.damping < 1, "damping: expected a number in [0, 1), got ",
          options.damping);
  require(options.tol >= 0, "tol: expected at least 0, got ", options.tol);
  require(options.max_steps >= 0, steps, ": expected at least 0, got ", options.max_steps);
}

}  // namespace

template <class T>
struct MessagePasser<T>::Memory {
  Memory(std::shared_ptr<const MessageGraph> graph_, Index n_graphs_)
      : graph(std::move(graph_)),
        structure(graph->structure()),
        n_graphs(n_graphs_),
        plan(structure, cpu::Packed<T>::lanes, width_for<T>(structure, n_graphs)) {
    for (Index g = 0; g < n_graphs; g += plan.width())
      panels.push_back(std::make_unique<Panel<T>>(
          structure, plan, g, std::min<Index>(plan.width(), n_graphs - g), n_graphs == 1));
  }

  void set_energies(MatrixView<const T> energies, MatrixView<const T> unary) {
    check_shapes(structure, n_graphs, energies, unary);
    check_numbers(structure, energies, unary);
    const bool is_shared = energies.rows == 1;
    const Numbers<T> numbers{energies.data, is_shared ? 0 : energies.stride};
    std::shared_ptr<Energies<T>> shared;
    if (is_shared && n_graphs > 0) {
      shared = std::make_shared<Energies<T>>(structure, plan);
      shared->set(numbers, 0, 1, 0);
    }
    for_each_panel(0, 1, [&](Panel<T>& panel, Index, int n_jobs) {
      panel.is_traceable = false;
      panel.set_unary(unary, numbers);
      if (is_shared) {
        panel.energies = shared;
        return;
      }
      if (panel.energies == nullptr || are_shared)
        panel.energies = std::make_shared<Energies<T>>(structure, plan);
      panel.energies->set(numbers, panel.first_graph, panel.n_graphs, n_jobs);
    });
    are_shared = is_shared;
  }

  // Weights for this beta in all panels, and workers.
  void prepare(const Temperature<T>& t, int n_jobs) {
    for (Index n = thread_count(n_jobs); workers.count() < n;)
      workers.push_back(std::make_unique<cpu::Worker<T>>(structure));
    if (are_shared && n_graphs > 0) return panels[0]->energies->prepare(t, n_jobs);
    for_each_panel(n_jobs, 1, [&](Panel<T>& panel, Index, int jobs) { panel.energies->prepare(t, jobs); });
  }

  // Calls body(panel, first worker, threads): panels side by side, or one after the other with all threads on
  // each where there are few and large ones. `sweeps` is how often a panel is worked through.
  template <class Body>
  void for_each_panel(int n_jobs, Index sweeps, Body&& body) {
    const double operations = plan.operations() * static_cast<double>(std::min<Index>(sweeps, 100));
    const auto jobs = [n_jobs](double work) {
      return jobs_for(static_cast<Index>(std::min(work, 1e15)), n_jobs);
    };
    const bool are_large = plan.operations() > 1e7 && panels.count() < 4 * thread_count(n_jobs);
    List<std::exception_ptr> errors(panels.count());
    const auto run = [&](Index p, Index worker, int inner_jobs) {
      try {
        body(*panels[p], worker, inner_jobs);
      } catch (const std::invalid_argument&) {
        errors[p] = std::current_exception();
      }
    };
    if (panels.count() == 1 || are_large)
      for (Index p = 0; p < panels.count(); ++p) run(p, 0, jobs(plan.operations()));
    else
      parallel_for(panels.count(), jobs(operations * static_cast<double>(panels.count())),
                   [&](Index p, int w) { run(p, w, 1); });
    for (const auto& error : errors)
      if (error) {
        reset();
        std::rethrow_exception(error);
      }
  }

  void reset() {
    for (auto& panel : panels) panel->reset();
  }

  // Calls visit(panel, graph of the panel, its decoder, its decoded states) for all graphs.
  template <class Visit>
  void for_each_decoded(double beta, int n_jobs, Visit&& visit) {
    const Temperature<T> t(beta);
    prepare(t, n_jobs);
    for_each_panel(n_jobs, 1, [&](Panel<T>& panel, Index worker, int jobs) {
      panel.update_beliefs(jobs);
      List<std::int64_t> states(structure.n_variables());
      for (Index g = 0; g < panel.n_graphs; ++g) {
        cpu::Decoder<T> decoder(panel, g, workers[worker]->single);
        if (!t.is_finite && panel.is_traceable)
          decoder.trace(states.data());
        else
          decoder.each_alone(states.data());
        visit(panel, g, decoder, states.data());
      }
    });
  }

  void expect(const Temperature<T>& t, MatrixView<T> out, int n_jobs) {
    prepare(t, n_jobs);
    Buffer<T> beliefs(structure.unary_factors.empty() ? 0 : n_graphs * structure.n_states());
    const MatrixView<T> marginals(beliefs.data(), n_graphs, structure.n_states());
    for_each_panel(n_jobs, 1, [&](Panel<T>& panel, Index worker, int jobs) {
      const cpu::Statistics<T> statistics(panel, workers, worker, jobs);
      statistics.expect(t, out);
      if (structure.unary_factors.empty()) return;
      cpu::Readout<T>(panel, workers, worker, jobs).beliefs(t, marginals);
      statistics.copy_unary(marginals, out);
    });
  }

  std::shared_ptr<const MessageGraph> graph;
  const Structure& structure;
  Index n_graphs;
  Plan plan;
  bool are_shared = false;  // the panels' energies
  List<std::unique_ptr<Panel<T>>> panels;
  cpu::Workers<T> workers;
  std::mutex mutex;
};

template <class T>
MessagePasser<T>::MessagePasser(std::shared_ptr<const MessageGraph> graph, MatrixView<const T> energies,
                                MatrixView<const T> unary)
    : memory_(std::make_unique<Memory>(std::move(graph), unary.rows)) {
  memory_->set_energies(energies, unary);
}

template <class T>
MessagePasser<T>::~MessagePasser() = default;

template <class T>
const MessageGraph& MessagePasser<T>::graph() const {
  return *memory_->graph;
}

template <class T>
Index MessagePasser<T>::n_graphs() const {
  return memory_->n_graphs;
}

template <class T>
void MessagePasser<T>::set_energies(MatrixView<const T> energies, MatrixView<const T> unary) {
  const std::lock_guard lock(memory_->mutex);
  memory_->set_energies(energies, unary);
}

template <class T>
void MessagePasser<T>::reset() {
  const std::lock_guard lock(memory_->mutex);
  memory_->reset();
}

template <class T>
void MessagePasser<T>::flood(const ScheduleOptions& options, const ScheduleReport& report) {
  check_options(options, "max_sweeps");
  const Temperature<T> t(options.beta);
  const std::lock_guard lock(memory_->mutex);
  memory_->prepare(t, options.n_jobs);
  memory_->for_each_panel(options.n_jobs, options.max_steps, [&](Panel<T>& panel, Index worker, int n_jobs) {
    panel.is_traceable = false;
    cpu::Flood<T>(panel, memory_->workers, worker, n_jobs, options, t).run(report);
  });
}

template <class T>
void MessagePasser<T>::residual(const ScheduleOptions& options, const ScheduleReport& report) {
  check_options(options, "max_updates");
  const Temperature<T> t(options.beta);
  const std::lock_guard lock(memory_->mutex);
  memory_->prepare(t, options.n_jobs);
  memory_->for_each_panel(options.n_jobs, 100, [&](Panel<T>& panel, Index worker, int n_jobs) {
    panel.is_traceable = false;
    std::fill_n(report.steps + panel.first_graph, panel.n_graphs, std::int64_t{0});
    std::fill_n(report.residual + panel.first_graph, panel.n_graphs, infinity<double>);
    const unsigned going = panel.graphs_going(options.is_going);
    if (going == 0) return;
    panel.update_beliefs(n_jobs);
    for (Index g = 0; g < panel.n_graphs; ++g)
      if ((going >> g & 1u) != 0)
        cpu::ResidualSchedule<T>(panel, g, options, t, memory_->workers[worker]->single).run(report);
  });
}

template <class T>
void MessagePasser<T>::two_pass(double beta, int n_jobs) {
  const Temperature<T> t(beta);
  require(memory_->structure.is_forest, "two_pass: expected a forest, got a graph with a cycle");
  const std::lock_guard lock(memory_->mutex);
  memory_->prepare(t, n_jobs);
  memory_->for_each_panel(n_jobs, 2, [&](Panel<T>& panel, Index worker, int) {
    auto& scratch = *memory_->workers[worker];
    if (memory_->plan.width() == 1)
      cpu::TwoPass<T, cpu::Single<T>>(panel, t, scratch.single).run();
    else
      cpu::TwoPass<T, cpu::Packed<T>>(panel, t, scratch.packed).run();
  });
}

template <class T>
void MessagePasser<T>::beliefs(double beta, MatrixView<T> out, int n_jobs) {
  const Temperature<T> t(beta);
  const std::lock_guard lock(memory_->mutex);
  memory_->prepare(t, n_jobs);
  memory_->for_each_panel(n_jobs, 1, [&](Panel<T>& panel, Index worker, int jobs) {
    cpu::Readout<T>(panel, memory_->workers, worker, jobs).beliefs(t, out);
  });
}

template <class T>
void MessagePasser<T>::statistics(double beta, MatrixView<T> out, int n_jobs) {
  const Temperature<T> t(beta);
  const std::lock_guard lock(memory_->mutex);
  if (t.is_finite) return memory_->expect(t, out, n_jobs);
  memory_->for_each_decoded(beta, n_jobs, [&](Panel<T>& panel, Index g, auto&, const std::int64_t* states) {
    cpu::Statistics<T>(panel, memory_->workers, 0, 1).at_states(g, states, out.row(panel.first_graph + g));
  });
}

template <class T>
void MessagePasser<T>::log_partition(double beta, double* out, int n_jobs) {
  const Temperature<T> t(beta);
  const std::lock_guard lock(memory_->mutex);
  if (!t.is_finite) {
    memory_->for_each_decoded(beta, n_jobs,
                              [&](Panel<T>& panel, Index g, auto& decoder, const std::int64_t* states) {
                                out[panel.first_graph + g] = -decoder.energy(states);
                              });
    return;
  }
  memory_->prepare(t, n_jobs);
  memory_->for_each_panel(n_jobs, 1, [&](Panel<T>& panel, Index worker, int jobs) {
    cpu::Readout<T>(panel, memory_->workers, worker, jobs).log_partition(t, out);
  });
}

template <class T>
void MessagePasser<T>::decode(double beta, MatrixView<std::int64_t> out, int n_jobs) {
  const std::lock_guard lock(memory_->mutex);
  memory_->for_each_decoded(beta, n_jobs, [&](Panel<T>& panel, Index g, auto&, const std::int64_t* states) {
    std::copy_n(states, out.cols, out.row(panel.first_graph + g));
  });
}

template class MessagePasser<float>;
template class MessagePasser<double>;

}  // namespace thalweg

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <memory>
#include <optional>

#include "bindings/array.hpp"
#include "bindings/bindings.hpp"
#include "kernels/messages.hpp"

namespace thalweg::bindings {
namespace {

using Integers = Array<std::int64_t>;

std::shared_ptr<MessageGraph> make_graph(const Integers& cardinalities, const Integers& kinds,
                                         const Integers& scope_starts, const Integers& scope_variables) {
  require_ndim(cardinalities, 1, "cardinalities");
  require_ndim(kinds, 1, "kinds");
  require_ndim(scope_variables, 1, "scope_variables");
  FactorStructureView view;
  view.cardinalities = cardinalities.data();
  view.n_variables = cardinalities.shape(0);
  view.kinds = kinds.data();
  view.n_factors = kinds.shape(0);
  view.scope_starts = vector(scope_starts, view.n_factors + 1, "scope_starts");
  view.scope_variables = scope_variables.data();
  view.n_scope_variables = scope_variables.shape(0);
  const py::gil_scoped_release release;
  return std::make_shared<MessageGraph>(view);
}

// One row for all graphs, or one each.
template <class T>
MatrixView<const T> rows_of(const Array<T>& a, const char* name) {
  if (a.ndim() == 1) return {a.data(), 1, a.shape(0)};
  require(a.ndim() == 2, name, ": expected 1 or 2 dimensions, got shape ", shape_text(a));
  return {a.data(), a.shape(0), a.shape(1)};
}

template <class T>
MatrixView<T> out_of(Array<T>& out, Index rows, Index cols) {
  const auto view = mutable_matrix(out, "out");
  require(view.rows == rows && view.cols == cols, "out: expected shape (", rows, ", ", cols, "), got ",
          shape_text(out));
  return view;
}

template <class T>
void check_rows(const MessageGraph& graph, const Array<T>& energies, const Array<T>& unary) {
  require_ndim(unary, 2, "unary");
  require(unary.shape(1) == graph.n_states(), "unary: expected shape (n_graphs, ", graph.n_states(),
          "), got ", shape_text(unary));
  const bool fits = energies.ndim() == 1 || (energies.ndim() == 2 && energies.shape(0) == unary.shape(0));
  require(fits && energies.shape(energies.ndim() - 1) == graph.n_energies(), "energies: expected shape (",
          graph.n_energies(), ",) or (", unary.shape(0), ", ", graph.n_energies(), "), got ",
          shape_text(energies));
}

template <class T>
std::shared_ptr<MessagePasser<T>> make_passer(std::shared_ptr<MessageGraph> graph, const Array<T>& energies,
                                              const Array<T>& unary) {
  check_rows(*graph, energies, unary);
  const auto numbers = rows_of(energies, "energies");
  const auto states = matrix(unary, "unary");
  const py::gil_scoped_release release;
  return std::make_shared<MessagePasser<T>>(std::move(graph), numbers, states);
}

// A schedule; the steps that every graph took, and its residual. `is_going` (n_graphs,) tells which graphs
// take part, None that all do; the others took no steps and have an infinite residual.
template <class T, void (MessagePasser<T>::*schedule)(const ScheduleOptions&, const ScheduleReport&)>
py::tuple run(MessagePasser<T>& passer, double beta, double damping, Index max_steps, double tol, int n_jobs,
              const std::optional<Array<bool>>& is_going) {
  const bool* going = is_going ? vector(*is_going, passer.n_graphs(), "is_going") : nullptr;
  Integers steps(passer.n_graphs());
  py::array_t<double> residual(passer.n_graphs());
  const ScheduleReport report{steps.mutable_data(), residual.mutable_data()};
  {
    const py::gil_scoped_release release;
    (passer.*schedule)({beta, damping, max_steps, tol, n_jobs, going}, report);
  }
  return py::make_tuple(steps, residual);
}

template <class T>
void bind(py::module_& m, const char* name) {
  using Passer = MessagePasser<T>;
  py::class_<Passer, std::shared_ptr<Passer>>(m, name)
      .def_property_readonly("n_graphs", &Passer::n_graphs)
      .def("reset", &Passer::reset, py::call_guard<py::gil_scoped_release>())
      .def("flood", &run<T, &Passer::flood>, py::arg("beta"), py::arg("damping"), py::arg("max_sweeps"),
           py::arg("tol"), py::arg("n_jobs") = 0, py::arg("is_going").noconvert() = py::none())
      .def("residual", &run<T, &Passer::residual>, py::arg("beta"), py::arg("damping"),
           py::arg("max_updates"), py::arg("tol"), py::arg("n_jobs") = 0,
           py::arg("is_going").noconvert() = py::none())
      .def("two_pass", &Passer::two_pass, py::arg("beta"), py::arg("n_jobs") = 0,
           py::call_guard<py::gil_scoped_release>())
      .def(
          "set_energies",
          [](Passer& passer, const Array<T>& energies, const Array<T>& unary) {
            check_rows(passer.graph(), energies, unary);
            require(unary.shape(0) == passer.n_graphs(), "unary: expected ", passer.n_graphs(),
                    " graph(s), got shape ", shape_text(unary));
            const auto numbers = rows_of(energies, "energies");
            const auto states = matrix(unary, "unary");
            const py::gil_scoped_release release;
            passer.set_energies(numbers, states);
          },
          py::arg("energies").noconvert(), py::arg("unary").noconvert())
      .def(
          "beliefs",
          [](Passer& passer, double beta, Array<T>& out, int n_jobs) {
            const auto view = out_of(out, passer.n_graphs(), passer.graph().n_states());
            const py::gil_scoped_release release;
            passer.beliefs(beta, view, n_jobs);
          },
          py::arg("beta"), py::arg("out").noconvert(), py::arg("n_jobs") = 0)
      .def(
          "statistics",
          [](Passer& passer, double beta, Array<T>& out, int n_jobs) {
            const auto view = out_of(out, passer.n_graphs(), passer.graph().n_energies());
            const py::gil_scoped_release release;
            passer.statistics(beta, view, n_jobs);
          },
          py::arg("beta"), py::arg("out").noconvert(), py::arg("n_jobs") = 0)
      .def(
          "log_partition",
          [](Passer& passer, double beta, Array<double>& out, int n_jobs) {
            double* data = mutable_vector(out, passer.n_graphs(), "out");
            const py::gil_scoped_release release;
            passer.log_partition(beta, data, n_jobs);
          },
          py::arg("beta"), py::arg("out").noconvert(), py::arg("n_jobs") = 0)
      .def(
          "decode",
          [](Passer& passer, double beta, Integers& out, int n_jobs) {
            const auto view = out_of(out, passer.n_graphs(), passer.graph().n_variables());
            const py::gil_scoped_release release;
            passer.decode(beta, view, n_jobs);
          },
          py::arg("beta"), py::arg("out").noconvert(), py::arg("n_jobs") = 0);
  m.def("message_passer", &make_passer<T>, py::arg("graph"), py::arg("energies").noconvert(),
        py::arg("unary").noconvert());
  m.def(
      "graph_energy",
      [](const MessageGraph& graph, const Array<T>& energies, const Array<T>& unary, const Integers& states,
         Array<double>& out, int n_jobs) {
        check_rows(graph, energies, unary);
        const auto numbers = rows_of(energies, "energies");
        const auto own = matrix(unary, "unary");
        const auto given = matrix(states, "states");
        require(given.rows == own.rows && given.cols == graph.n_variables(), "states: expected shape (",
                own.rows, ", ", graph.n_variables(), "), got ", shape_text(states));
        double* data = mutable_vector(out, own.rows, "out");
        const py::gil_scoped_release release;
        graph_energy<T>(graph, numbers, own, given, data, n_jobs);
      },
      py::arg("graph"), py::arg("energies").noconvert(), py::arg("unary").noconvert(),
      py::arg("states").noconvert(), py::arg("out").noconvert(), py::arg("n_jobs") = 0);
}

}  // namespace

void bind_messages(py::module_& m) {
  py::class_<MessageGraph, std::shared_ptr<MessageGraph>>(m, "MessageGraph")
      .def(py::init(&make_graph), py::arg("cardinalities").noconvert(), py::arg("kinds").noconvert(),
           py::arg("scope_starts").noconvert(), py::arg("scope_variables").noconvert())
      .def_property_readonly("n_variables", &MessageGraph::n_variables)
      .def_property_readonly("n_factors", &MessageGraph::n_factors)
      .def_property_readonly("n_states", &MessageGraph::n_states)
      .def_property_readonly("n_energies", &MessageGraph::n_energies)
      .def_property_readonly("is_forest", &MessageGraph::is_forest);
  bind<float>(m, "MessagePasserFloat32");
  bind<double>(m, "MessagePasserFloat64");
}

}  // namespace thalweg::bindings

// Table of contents of the compiled module.
#include "bindings/bindings.hpp"

#include <pybind11/pybind11.h>

#include <atomic>

#include "core/error.hpp"
#include "core/parallel.hpp"

namespace py = pybind11;

namespace {

// Python runs signal handlers on its main thread alone. No other one asks for them: a daemon thread that took
// the GIL while the interpreter ends would be torn down in the midst of a kernel.
std::atomic<unsigned long> main_thread{0};

void note_main_thread() {
  main_thread.store(
      py::module_::import("threading").attr("main_thread")().attr("ident").cast<unsigned long>());
}

// Runs pending Python signal handlers; true when one of them raised: its exception is then pending.
bool python_interrupted() {
  if (PyThread_get_thread_ident() != main_thread.load(std::memory_order_relaxed)) return false;
  const py::gil_scoped_acquire gil;
  return PyErr_CheckSignals() != 0;
}

void translate(std::exception_ptr error) {
  try {
    if (error) std::rethrow_exception(error);
  } catch (const thalweg::Interrupted&) {
    if (PyErr_Occurred() == nullptr) PyErr_SetNone(PyExc_KeyboardInterrupt);
  }
}

}  // namespace

PYBIND11_MODULE(THALWEG_MODULE, m) {
  m.doc() = "Native kernels of thalweg; use them through the thalweg package.";
  m.attr("level") = THALWEG_LEVEL;
  m.attr("compiler") = THALWEG_COMPILER;
#ifdef _OPENMP
  m.attr("openmp") = true;
#else
  m.attr("openmp") = false;
#endif
  m.def("thread_count", &thalweg::thread_count, py::arg("n_jobs") = 0);
  note_main_thread();
  const py::module_ os = py::module_::import("os");
  if (py::hasattr(os, "register_at_fork"))  // the thread that forks is the child's main thread
    os.attr("register_at_fork")(py::arg("after_in_child") = py::cpp_function(&note_main_thread));
  thalweg::set_interrupt_poll(&python_interrupted);
  thalweg::bindings::bind_gibbs(m);
  thalweg::bindings::bind_ais(m);  // takes the machine that bind_gibbs defines
  thalweg::bindings::bind_chains(m);
  thalweg::bindings::bind_conv(m);
  thalweg::bindings::bind_csc(m);
  thalweg::bindings::bind_descent(m);
  thalweg::bindings::bind_dictionary(m);
  thalweg::bindings::bind_elementwise(m);
  thalweg::bindings::bind_langevin(m);
  thalweg::bindings::bind_lasso(m);
  thalweg::bindings::bind_messages(m);
  thalweg::bindings::bind_omp(m);
  thalweg::bindings::bind_patches(m);
  thalweg::bindings::bind_rng(m);
  thalweg::bindings::bind_score_matching(m);
  py::register_local_exception_translator(&translate);
}

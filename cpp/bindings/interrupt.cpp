#include "bindings/interrupt.hpp"

#include <atomic>

#include "core/error.hpp"
#include "core/parallel.hpp"

namespace thalweg::bindings {
namespace {

namespace py = pybind11;

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
  } catch (const Interrupted&) {
    if (PyErr_Occurred() == nullptr) PyErr_SetNone(PyExc_KeyboardInterrupt);
  }
}

}  // namespace

void install_interrupts() {
  note_main_thread();
  const py::module_ os = py::module_::import("os");
  if (py::hasattr(os, "register_at_fork"))  // the thread that forks is the child's main thread
    os.attr("register_at_fork")(py::arg("after_in_child") = py::cpp_function(&note_main_thread));
  set_interrupt_poll(&python_interrupted);
  py::register_local_exception_translator(&translate);
}

}  // namespace thalweg::bindings

// Table of contents of the compiled module of the CUDA backend.
#include <pybind11/pybind11.h>

#include "bindings/cuda/bindings.hpp"
#include "bindings/cuda/device_array.hpp"
#include "bindings/interrupt.hpp"
#include "core/error.hpp"

namespace py = pybind11;

namespace thalweg::cuda::bindings {

void share(py::module_& m, std::initializer_list<const char*> names) {
  const py::object cpu = py::module_::import("thalweg._native").attr("cpu");
  for (const char* name : names) m.attr(name) = cpu.attr(name);
}

namespace {

py::dict device_properties() {
  const DeviceGuard guard;
  const Device& d = device();
  py::dict properties;
  properties["name"] = d.name;
  properties["compute_capability"] = py::make_tuple(d.major, d.minor);
  properties["multiprocessors"] = d.multiprocessors;
  properties["memory"] = d.memory;
  return properties;
}

void synchronize() {
  const DeviceGuard guard;
  const py::gil_scoped_release release;
  Stream::of_this_thread().synchronize();
}

// A moment in the calling thread's stream, to time what lies between two of them.
class Moment {
 public:
  Moment() : event_(true) { event_.record(Stream::of_this_thread().get()); }
  [[nodiscard]] double seconds_since(const Moment& start) const {
    return seconds_between(start.event_, event_);
  }

 private:
  DeviceGuard guard_;
  Event event_;
};

}  // namespace
}  // namespace thalweg::cuda::bindings

#ifdef THALWEG_CUDA_EMULATION
namespace thalweg::cuda {
void bind_faulty_kernels(py::module_& m);  // of the emulation's tests
}
#endif

PYBIND11_MODULE(_cuda, m) {
  namespace bindings = thalweg::cuda::bindings;
  m.doc() = "CUDA kernels of thalweg; use them through the thalweg package.";
  m.attr("is_emulated") = thalweg::cuda::is_emulated;
  m.attr("compiler") = THALWEG_COMPILER;
  py::register_exception<thalweg::cuda::Error>(m, "Error", PyExc_RuntimeError);
  m.def("device_fault", &thalweg::cuda::device_fault);
  m.def("device_properties", &bindings::device_properties);
  m.def("synchronize", &bindings::synchronize);
  m.def("trim_memory", &thalweg::cuda::trim_memory);
  py::class_<bindings::Moment>(m, "Moment")
      .def(py::init<>())
      .def("seconds_since", &bindings::Moment::seconds_since, py::arg("start"));
  thalweg::bindings::install_interrupts();
  bindings::bind_device_array(m);
  bindings::bind_ais(m);
  bindings::bind_conv(m);
  bindings::bind_csc(m);
  bindings::bind_elementwise(m);
  bindings::bind_gibbs(m);
  bindings::bind_langevin(m);
  bindings::bind_probes(m);
  bindings::bind_lasso(m);
  bindings::bind_rng(m);
#ifdef THALWEG_CUDA_EMULATION
  thalweg::cuda::bind_faulty_kernels(m);
#endif
}

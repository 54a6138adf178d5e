// Table of contents of the compiled module.
#include "bindings/bindings.hpp"

#include <pybind11/pybind11.h>

#include "bindings/interrupt.hpp"
#include "core/parallel.hpp"

namespace py = pybind11;

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
  thalweg::bindings::install_interrupts();
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
}

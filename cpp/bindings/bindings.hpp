// One entry per kernel family; module.cpp calls them in turn.
#pragma once

#include <pybind11/pybind11.h>

namespace thalweg::bindings {

void bind_ais(pybind11::module_& m);
void bind_chains(pybind11::module_& m);
void bind_conv(pybind11::module_& m);
void bind_csc(pybind11::module_& m);
void bind_descent(pybind11::module_& m);
void bind_dictionary(pybind11::module_& m);
void bind_elementwise(pybind11::module_& m);
void bind_gibbs(pybind11::module_& m);
void bind_langevin(pybind11::module_& m);
void bind_lasso(pybind11::module_& m);
void bind_messages(pybind11::module_& m);
void bind_omp(pybind11::module_& m);
void bind_patches(pybind11::module_& m);
void bind_rng(pybind11::module_& m);
void bind_score_matching(pybind11::module_& m);

}  // namespace thalweg::bindings

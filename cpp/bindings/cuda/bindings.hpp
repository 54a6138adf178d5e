// One entry per kernel family with a twin; module.cpp calls them in turn.
#pragma once

#include <pybind11/pybind11.h>

#include <initializer_list>

namespace thalweg::cuda::bindings {

// Gives `m` the classes and enums of these names that the CPU's module defines.
void share(pybind11::module_& m, std::initializer_list<const char*> names);

void bind_ais(pybind11::module_& m);
void bind_conv(pybind11::module_& m);
void bind_csc(pybind11::module_& m);
void bind_elementwise(pybind11::module_& m);
void bind_langevin(pybind11::module_& m);
void bind_probes(pybind11::module_& m);
void bind_lasso(pybind11::module_& m);
void bind_gibbs(pybind11::module_& m);
void bind_rng(pybind11::module_& m);

}  // namespace thalweg::cuda::bindings

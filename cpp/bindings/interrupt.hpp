// Ctrl-C: how kernels hear of it, and what becomes of the exception that they throw then.
#pragma once

#include <pybind11/pybind11.h>

namespace thalweg::bindings {

// Called by each extension module for itself while it is made.
void install_interrupts();

}  // namespace thalweg::bindings

// One entry per kernel family; module.cpp calls them in turn.
#pragma once

#include <pybind11/pybind11.h>

namespace thalweg::bindings {}  // namespace thalweg::bindings

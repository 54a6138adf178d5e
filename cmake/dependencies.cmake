# Everything here comes from the system or from the build requirements in pyproject.toml; nothing is downloaded.

find_package(Python 3.10 COMPONENTS Interpreter QUIET)
if(THALWEG_PYTHON)
  find_package(Python 3.10 REQUIRED COMPONENTS Interpreter Development.Module)
endif()

# cmeel packages install below site-packages/cmeel.prefix.
set(_cmeel_hints)
foreach(prefix IN LISTS CMAKE_PREFIX_PATH)
  list(APPEND _cmeel_hints ${prefix}/cmeel.prefix)
endforeach()
if(Python_FOUND)
  execute_process(COMMAND ${Python_EXECUTABLE} -c "import sysconfig; print(sysconfig.get_path('purelib'))"
                  OUTPUT_VARIABLE _site_packages OUTPUT_STRIP_TRAILING_WHITESPACE)
  list(APPEND _cmeel_hints ${_site_packages}/cmeel.prefix)
endif()
find_package(Eigen3 3.4 REQUIRED CONFIG HINTS ${_cmeel_hints})
set_target_properties(Eigen3::Eigen PROPERTIES SYSTEM ON)

find_package(OpenMP COMPONENTS CXX)
if(NOT OpenMP_CXX_FOUND)
  message(WARNING "OpenMP was not found: thalweg will run on one thread")
endif()

if(THALWEG_PYTHON)
  if(NOT pybind11_DIR AND Python_FOUND)
    execute_process(COMMAND ${Python_EXECUTABLE} -m pybind11 --cmakedir OUTPUT_VARIABLE _pybind11_dir
                    OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  endif()
  find_package(pybind11 3.0 REQUIRED CONFIG HINTS ${_pybind11_dir})
endif()

if(THALWEG_BENCHMARKS)
  find_package(benchmark REQUIRED)
endif()

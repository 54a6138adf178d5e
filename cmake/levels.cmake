# Instruction-set levels: one core library and one extension module each, never mixed in one shared object.

if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$" AND NOT MSVC)
  set(_default_levels v2 v3 v4)
else()
  set(_default_levels base)
endif()
set(THALWEG_LEVELS ${_default_levels} CACHE STRING "x86-64 levels to build: v2, v3, v4; elsewhere base")

function(thalweg_level_flags level out)
  if(level STREQUAL "base")
    set(flags)
  elseif(level STREQUAL "v4")
    set(flags -march=x86-64-v4 -mprefer-vector-width=512)
  elseif(level MATCHES "^v[23]$")
    set(flags -march=x86-64-${level})
  else()
    message(FATAL_ERROR "THALWEG_LEVELS: '${level}' is not one of v2, v3, v4, base")
  endif()
  set(${out} ${flags} PARENT_SCOPE)
endfunction()

function(thalweg_compile_options target level)
  thalweg_level_flags(${level} flags)
  target_compile_options(${target} PRIVATE ${flags})
  if(NOT MSVC)
    target_compile_options(${target} PRIVATE -Wall -Wextra -Wconversion -ffp-contract=fast -fno-math-errno
                                             -fno-trapping-math)
  endif()
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # GCC reports its own AVX-512 intrinsics, which begin from an undefined vector on purpose.
    target_compile_options(${target} PRIVATE -Wno-maybe-uninitialized -Wno-uninitialized)
  endif()
  if(THALWEG_WERROR)
    target_compile_options(${target} PRIVATE $<IF:$<CXX_COMPILER_ID:MSVC>,/WX,-Werror>)
  endif()
  if(THALWEG_SANITIZE)
    # -O1: unoptimised vector code under the sanitizers is too slow to test.
    target_compile_options(${target} PRIVATE -fsanitize=address,undefined -fno-sanitize-recover=undefined
                                             -fno-omit-frame-pointer -O1 -D_GLIBCXX_ASSERTIONS)
    target_link_options(${target} PRIVATE -fsanitize=address,undefined)
  endif()
endfunction()

function(thalweg_add_core target level)
  add_library(${target} STATIC ${THALWEG_CPU_SOURCES})
  target_include_directories(${target} PUBLIC ${PROJECT_SOURCE_DIR}/cpp)
  target_link_libraries(${target} PUBLIC Eigen3::Eigen)
  if(OpenMP_CXX_FOUND)
    target_link_libraries(${target} PUBLIC OpenMP::OpenMP_CXX)
  endif()
  target_compile_definitions(${target} PUBLIC EIGEN_DONT_PARALLELIZE)
  thalweg_compile_options(${target} ${level})
endfunction()

# In a wheel the module is installed into the package; in a developer's build it is written straight into the
# source package, so that PYTHONPATH=python finds it.
set(THALWEG_MODULE_DIR ${PROJECT_SOURCE_DIR}/python/thalweg
    CACHE PATH "Where a developer's build writes the extension modules")

function(thalweg_place_module target)
  if(SKBUILD)
    install(TARGETS ${target} LIBRARY DESTINATION thalweg)
  else()
    set_target_properties(${target} PROPERTIES LIBRARY_OUTPUT_DIRECTORY ${THALWEG_MODULE_DIR})
  endif()
endfunction()

function(thalweg_add_module name core level)
  pybind11_add_module(${name} NO_EXTRAS ${THALWEG_BINDINGS})
  target_compile_definitions(${name} PRIVATE THALWEG_MODULE=${name} THALWEG_LEVEL="${level}"
                                             THALWEG_COMPILER="${CMAKE_CXX_COMPILER_ID} ${CMAKE_CXX_COMPILER_VERSION}")
  target_link_libraries(${name} PRIVATE ${core})
  thalweg_compile_options(${name} ${level})
  thalweg_place_module(${name})
endfunction()

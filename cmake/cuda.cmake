# The CUDA backend: the extension module _cuda, by nvcc, or by the C++ compiler over an emulation of the device that is
# for tests.

# nvcc and cuBLAS may come from a toolkit or from the nvidia-* wheels of the building Python.
set(_nvidia_wheels ${_site_packages}/nvidia)

function(thalweg_enable_cuda)
  if(NOT CMAKE_CUDA_COMPILER AND NOT DEFINED ENV{CUDACXX})
    find_program(THALWEG_NVCC nvcc PATHS ${_nvidia_wheels}/cu13/bin ${_nvidia_wheels}/cuda_nvcc/bin
                                         /usr/local/cuda/bin)
    if(NOT THALWEG_NVCC)
      message(FATAL_ERROR "THALWEG_CUDA=ON: no nvcc was found: install the CUDA toolkit, or set CUDACXX to its nvcc")
    endif()
    set(CMAKE_CUDA_COMPILER ${THALWEG_NVCC} CACHE FILEPATH "nvcc")
  endif()
  if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
    set(CMAKE_CUDA_ARCHITECTURES 80-real 90 CACHE STRING "Devices to compile for: these, and by PTX later ones")
  endif()
endfunction()

# Headers of cuBLAS and its library, linked by its path: wheels have no name for it that a linker looks for.
function(thalweg_find_cublas)
  get_filename_component(nvcc ${CMAKE_CUDA_COMPILER} REALPATH)
  get_filename_component(toolkit ${nvcc}/../.. ABSOLUTE)
  set(roots ${CMAKE_CUDA_COMPILER_TOOLKIT_ROOT} ${toolkit} ${CMAKE_CUDA_TOOLKIT_INCLUDE_DIRECTORIES}/..
            ${_nvidia_wheels}/cu${CMAKE_CUDA_COMPILER_VERSION_MAJOR} ${_nvidia_wheels}/cublas
            ${_nvidia_wheels}/cu13)
  string(REGEX MATCH "^[0-9]+" major ${CMAKE_CUDA_COMPILER_VERSION})
  find_path(THALWEG_CUBLAS_INCLUDE cublas_v2.h HINTS ${roots} PATH_SUFFIXES include targets/x86_64-linux/include)
  find_file(THALWEG_CUBLAS_LIBRARY NAMES libcublas.so.${major} libcublas.so HINTS ${roots}
            PATH_SUFFIXES lib lib64 targets/x86_64-linux/lib lib/x86_64-linux-gnu PATHS /usr)
  if(NOT THALWEG_CUBLAS_INCLUDE OR NOT THALWEG_CUBLAS_LIBRARY)
    message(FATAL_ERROR "THALWEG_CUDA=ON: cuBLAS ${major} was not found beside ${CMAKE_CUDA_COMPILER} nor in "
                        "${_nvidia_wheels}: pip install 'nvidia-cublas==${major}.*'")
  endif()
endfunction()

function(thalweg_add_cuda_module)
  pybind11_add_module(_cuda NO_EXTRAS ${THALWEG_CUDA_SOURCES} ${THALWEG_CUDA_BINDINGS})
  target_include_directories(_cuda PRIVATE ${PROJECT_SOURCE_DIR}/cpp)
  target_compile_definitions(
    _cuda PRIVATE THALWEG_COMPILER="${CMAKE_CXX_COMPILER_ID} ${CMAKE_CXX_COMPILER_VERSION}$<$<BOOL:${THALWEG_CUDA}>:, nvcc ${CMAKE_CUDA_COMPILER_VERSION}>")
  thalweg_place_module(_cuda)
endfunction()

function(thalweg_add_cuda)
  thalweg_find_cublas()
  thalweg_add_cuda_module()
  target_include_directories(_cuda SYSTEM PRIVATE ${CMAKE_CUDA_TOOLKIT_INCLUDE_DIRECTORIES} ${THALWEG_CUBLAS_INCLUDE})
  target_link_libraries(_cuda PRIVATE ${THALWEG_CUBLAS_LIBRARY})
  set_target_properties(_cuda PROPERTIES CUDA_STANDARD 20 CUDA_STANDARD_REQUIRED ON CUDA_RUNTIME_LIBRARY Static)
  # Where the wheel of cuBLAS lies as seen from the module, and where it was found.
  get_filename_component(found ${THALWEG_CUBLAS_LIBRARY} DIRECTORY)
  set_target_properties(_cuda PROPERTIES BUILD_WITH_INSTALL_RPATH ON
                        INSTALL_RPATH "$ORIGIN/../nvidia/cu13/lib;$ORIGIN/../nvidia/cublas/lib;${found}")
  target_compile_options(
    _cuda PRIVATE $<$<COMPILE_LANGUAGE:CUDA>:--expt-relaxed-constexpr -Xcompiler=-Wall,-Wextra>
                  $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wconversion>)
  if(THALWEG_WERROR)
    target_compile_options(_cuda PRIVATE $<$<COMPILE_LANGUAGE:CUDA>:-Werror=all-warnings>
                                         $<$<COMPILE_LANGUAGE:CXX>:-Werror>)
  endif()
endfunction()

function(thalweg_add_cuda_emulation)
  set(shim ${PROJECT_SOURCE_DIR}/tests/cuda_emulation)
  thalweg_add_cuda_module()
  target_sources(_cuda PRIVATE ${shim}/cublas.cpp ${shim}/cuda_runtime.cpp ${shim}/emulation.cpp
                               ${shim}/faulty_kernels.cpp ${shim}/guards.cpp)
  set_source_files_properties(${THALWEG_CUDA_SOURCES} PROPERTIES LANGUAGE CXX)
  target_include_directories(_cuda BEFORE PRIVATE ${shim})
  target_compile_definitions(_cuda PRIVATE THALWEG_CUDA_EMULATION)
  # Threads of a kernel are fibers that jump between stacks, which fortified jumps take for an attack. Device code
  # reads numbers as vectors of numbers.
  target_compile_options(_cuda PRIVATE -Wall -Wextra -Wconversion -Wno-unknown-pragmas -U_FORTIFY_SOURCE
                                       -fno-strict-aliasing -O1
                                       $<$<BOOL:${THALWEG_WERROR}>:-Werror>)
  if(THALWEG_SANITIZE)
    target_compile_options(_cuda PRIVATE -fsanitize=address,undefined -fno-sanitize-recover=undefined
                                         -fno-omit-frame-pointer -O1 -D_GLIBCXX_ASSERTIONS)
    target_link_options(_cuda PRIVATE -fsanitize=address,undefined)
  endif()
endfunction()

#include <pybind11/native_enum.h>
#include <pybind11/pybind11.h>

#include <optional>
#include <vector>

#include "bindings/array.hpp"
#include "bindings/bindings.hpp"
#include "kernels/elementwise.hpp"

namespace thalweg::bindings {
namespace {

// Shorter calls keep the GIL: taking it back can cost more than they take.
constexpr Index size_to_release_gil = 10000;

class MaybeRelease {
 public:
  explicit MaybeRelease(Index size) {
    if (size >= size_to_release_gil) release_.emplace();
  }

 private:
  std::optional<py::gil_scoped_release> release_;
};

template <class T>
struct Output {
  std::vector<Index> shape;
  std::vector<Index> strides;
  StridedView<T> view;

  explicit Output(AnyStrides<T>& out)
      : shape(out.shape(), out.shape() + out.ndim()), strides(broadcast_strides(out, out, "out")) {
    require(out.writeable(), "out: expected a writeable array, got a read-only one");
    view = {out.mutable_data(), strides.data()};
  }

  [[nodiscard]] Index ndim() const { return static_cast<Index>(shape.size()); }
};

template <class T>
void smooth(Smooth f, const AnyStrides<T>& x, AnyStrides<T>& out, int n_jobs) {
  const Output<T> to(out);
  const auto x_strides = broadcast_strides(x, out, "x");
  const T* const data = x.data();
  const MaybeRelease release(out.size());
  apply_smooth<T>(f, to.ndim(), to.shape.data(), {data, x_strides.data()}, to.view, n_jobs);
}

template <class T>
void prox(Prox f, double q, const AnyStrides<T>& z, const AnyStrides<T>& alpha, AnyStrides<T>& out,
          int n_jobs) {
  const Output<T> to(out);
  const auto z_strides = broadcast_strides(z, out, "z");
  const auto alpha_strides = broadcast_strides(alpha, out, "alpha");
  const T* const data = z.data();
  const T* const weights = alpha.data();
  const MaybeRelease release(out.size());
  apply_prox<T>(f, q, to.ndim(), to.shape.data(), {data, z_strides.data()}, {weights, alpha_strides.data()},
                to.view, n_jobs);
}

template <class T>
void bind_for(py::module_& m) {
  m.def("apply_smooth", &smooth<T>, py::arg("f"), py::arg("x").noconvert(), py::arg("out").noconvert(),
        py::arg("n_jobs"));
  m.def("apply_prox", &prox<T>, py::arg("f"), py::arg("q"), py::arg("z").noconvert(),
        py::arg("alpha").noconvert(), py::arg("out").noconvert(), py::arg("n_jobs"));
}

}  // namespace

void bind_elementwise(py::module_& m) {
  py::native_enum<Smooth>(m, "Smooth", "enum.Enum")
      .value("softplus", Smooth::softplus)
      .value("sigmoid", Smooth::sigmoid)
      .value("log_sigmoid", Smooth::log_sigmoid)
      .value("d_sigmoid", Smooth::d_sigmoid)
      .value("d_log_sigmoid", Smooth::d_log_sigmoid)
      .finalize();
  py::native_enum<Prox>(m, "Prox", "enum.Enum")
      .value("shrink", Prox::shrink)
      .value("shrink_nonneg", Prox::shrink_nonneg)
      .value("lq", Prox::lq)
      .finalize();
  bind_for<float>(m);
  bind_for<double>(m);
}

}  // namespace thalweg::bindings

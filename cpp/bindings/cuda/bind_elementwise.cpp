#include "bindings/cuda/array.hpp"
#include "bindings/cuda/bindings.hpp"
#include "kernels/elementwise.hpp"

namespace thalweg::cuda::bindings {
namespace {

bool overlap(const DeviceArray& a, const DeviceArray& b) {
  const std::less<> before;
  const auto* const a_first = static_cast<const char*>(a.data);
  const auto* const b_first = static_cast<const char*>(b.data);
  return before(a_first, b_first + b.bytes()) && before(b_first, a_first + a.bytes());
}

// An operand, or a copy of it where writing to `out` would change elements that are still to be read.
template <class T>
class Operand {
 public:
  Operand(Call& call, const AnyStrides<T>& x, const AnyStrides<T>& out, const char* name)
      : strides_(broadcast_strides(x.shape(), out.shape(), name)), data_(call.data(x)), size_(x.size()) {
    const DeviceArray* const a = x.device();
    const DeviceArray* const b = out.device();
    const bool is_same = a != nullptr && b != nullptr && a->data == b->data && a->shape == b->shape;
    if (a != nullptr && b != nullptr && !is_same && overlap(*a, *b)) apart_ = Buffer<T>(size_, call.stream());
  }

  StridedView<const T> view(Stream& stream) const {
    if (apart_.data() == nullptr) return {data_, strides_.data()};
    copy(data_, apart_.data(), size_, stream);
    return {apart_.data(), strides_.data()};
  }

 private:
  std::vector<Index> strides_;
  const T* data_;
  Index size_;
  Buffer<T> apart_;
};

template <class T>
struct Output {
  std::vector<Index> shape;
  std::vector<Index> strides;
  StridedView<T> view;

  Output(Call& call, AnyStrides<T>& out)
      : shape(out.shape()), strides(broadcast_strides(shape, shape, "out")) {
    view = {call.result_data(out, "out"), strides.data()};
  }

  [[nodiscard]] Index ndim() const { return static_cast<Index>(shape.size()); }
};

template <class T>
void smooth(Smooth f, const AnyStrides<T>& x, AnyStrides<T>& out, int /*n_jobs*/) {
  Call call;
  const Output<T> to(call, out);
  const Operand<T> from(call, x, out, "x");
  call.run([&](Stream& stream) {
    apply_smooth<T>(f, to.ndim(), to.shape.data(), from.view(stream), to.view, stream);
  });
}

template <class T>
void prox(Prox f, double q, const AnyStrides<T>& z, const AnyStrides<T>& alpha, AnyStrides<T>& out,
          int /*n_jobs*/) {
  Call call;
  const Output<T> to(call, out);
  const Operand<T> from(call, z, out, "z");
  const Operand<T> weight(call, alpha, out, "alpha");
  call.run([&](Stream& stream) {
    apply_prox<T>(f, q, to.ndim(), to.shape.data(), from.view(stream), weight.view(stream), to.view, stream);
  });
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
  share(m, {"Smooth", "Prox"});
  bind_for<float>(m);
  bind_for<double>(m);
}

}  // namespace thalweg::cuda::bindings

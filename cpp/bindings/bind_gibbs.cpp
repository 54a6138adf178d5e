#include "bindings/bindings.hpp"
#include "bindings/rbm_arrays.hpp"

namespace thalweg::bindings {
namespace {

template <class T>
std::shared_ptr<BoundRbm<T>> make_rbm(Array<T> up, Array<T> down, Array<T> visible_bias, Array<T> hidden_bias,
                                      Maybe<T> sigma, std::shared_ptr<RbmWorkspace<T>> workspace) {
  auto rbm = std::make_shared<BoundRbm<T>>(BoundRbm<T>{std::move(up), std::move(down),
                                                       std::move(visible_bias), std::move(hidden_bias),
                                                       std::move(sigma), std::move(workspace)});
  rbm->check();
  return rbm;
}

template <class T>
void hidden(const BoundRbm<T>& rbm, const Maybe<T>& real, const std::optional<WordArray>& given_bits,
            const Maybe<T>& t, std::uint64_t seed, std::uint32_t stream, std::uint64_t first_row,
            std::uint32_t step, Maybe<T> logits, Maybe<T> mean, std::optional<WordArray> bits, int n_jobs) {
  const auto view = rbm.view();
  const auto given = states_view<T>(real, given_bits, view.n_visible, "visible");
  require(view.sigma == nullptr || real.has_value(), "visible: expected real numbers, got bits");
  const Index rows = rows_of(given);
  const auto tempering = tempering_view<T>(t, {}, {}, rows, view.n_visible);
  Activation<T> out;
  out.logits = output_view<T>(logits, rows, view.n_hidden, "logits");
  out.mean = output_view<T>(mean, rows, view.n_hidden, "mean");
  if (bits) out.bits = bits_view(*bits, rows, view.n_hidden, "bits");
  const Draw draw = make_draw(seed, stream, first_row, step);
  const py::gil_scoped_release release;
  hidden_given_visible(view, given, tempering, draw, out, *rbm.workspace, n_jobs);
}

template <class T>
void visible(const BoundRbm<T>& rbm, const Maybe<T>& real, const std::optional<WordArray>& given_bits,
             const Maybe<T>& t, const Maybe<T>& base_bias, const Maybe<T>& base_sigma, std::uint64_t seed,
             std::uint32_t stream, std::uint64_t first_row, std::uint32_t step, Maybe<T> mean,
             std::optional<WordArray> bits, Maybe<T> drawn, int n_jobs) {
  const auto view = rbm.view();
  const auto given = states_view<T>(real, given_bits, view.n_hidden, "hidden");
  const Index rows = rows_of(given);
  const auto tempering = tempering_view<T>(t, base_bias, base_sigma, rows, view.n_visible);
  require(view.sigma == nullptr || !bits, "bits: expected None for Gaussian visible units");
  require(view.sigma != nullptr || !drawn, "drawn: expected None for Bernoulli visible units");
  Activation<T> out;
  out.mean = output_view<T>(mean, rows, view.n_visible, "mean");
  if (bits) out.bits = bits_view(*bits, rows, view.n_visible, "bits");
  out.real = output_view<T>(drawn, rows, view.n_visible, "drawn");
  const Draw draw = make_draw(seed, stream, first_row, step);
  const py::gil_scoped_release release;
  visible_given_hidden(view, given, tempering, draw, out, *rbm.workspace, n_jobs);
}

template <class T>
void sweeps(const BoundRbm<T>& rbm, WordArray& hidden, std::optional<WordArray> visible,
            Maybe<T> visible_real, Maybe<T> hidden_mean, const Maybe<T>& t, const Maybe<T>& base_bias,
            const Maybe<T>& base_sigma, std::uint64_t seed, std::uint32_t stream, std::uint64_t first_row,
            std::uint32_t step, Index n_sweeps, int n_jobs) {
  const auto view = rbm.view();
  const Bits h = bits_view(hidden, -1, view.n_hidden, "hidden");
  require_no_more_bits({h.data, h.rows, h.units, h.stride}, "hidden");
  const bool is_gaussian = view.sigma != nullptr;
  require(n_sweeps >= 1, "n_sweeps: expected a number >= 1, got ", n_sweeps);
  require(visible.has_value() != is_gaussian && visible_real.has_value() == is_gaussian, "visible: expected ",
          is_gaussian ? "real numbers" : "bits");
  Bits v;
  if (visible) v = bits_view(*visible, h.rows, view.n_visible, "visible");
  const auto v_real = output_view<T>(visible_real, h.rows, view.n_visible, "visible_real");
  const auto mean = output_view<T>(hidden_mean, h.rows, view.n_hidden, "hidden_mean");
  const auto tempering = tempering_view<T>(t, base_bias, base_sigma, h.rows, view.n_visible);
  const Draw draw = make_draw(seed, stream, first_row, step);
  const py::gil_scoped_release release;
  gibbs_sweeps(view, h, v, v_real, mean, tempering, draw, n_sweeps, *rbm.workspace, n_jobs);
}

template <class T>
using PhaseTuple = std::tuple<Maybe<T>, std::optional<WordArray>, Array<T>, Array<T>>;

// A phase is (real visible states or None, their bits or None, hidden states, weights of the rows).
template <class T>
void statistics(const std::vector<PhaseTuple<T>>& given, Index n_extra, const Maybe<T>& scale, Array<T>& up,
                Array<T>& visible, Array<T>& hidden, RbmWorkspace<T>& workspace, int n_jobs) {
  const Index n_visible = visible.size();
  const Index n_hidden = hidden.size();
  std::vector<Phase<T>> phases;
  for (const auto& [real, bits, h, weight] : given) {
    Phase<T> phase;
    phase.visible = states_view<T>(real, bits, n_visible, "visible");
    phase.hidden = matrix(h, "hidden");
    require(phase.hidden.rows == rows_of(phase.visible) && phase.hidden.cols == n_hidden,
            "hidden: expected shape (", rows_of(phase.visible), ", ", n_hidden, "), got ", shape_text(h));
    phase.weight = vector(weight, phase.hidden.rows, "weight");
    phases.push_back(phase);
  }
  require(n_extra >= 0 && n_extra <= static_cast<Index>(phases.size()), "n_extra: expected at most ",
          phases.size(), ", got ", n_extra);
  const auto up_view = mutable_matrix(up, "up");
  require(up_view.rows == n_visible && up_view.cols >= padded_units<T>(n_hidden), "up: expected shape (",
          n_visible, ", at least ", padded_units<T>(n_hidden), "), got ", shape_text(up));
  T* visible_sums = mutable_vector(visible, n_visible, "visible");
  T* hidden_sums = mutable_vector(hidden, n_hidden, "hidden");
  const T* scales = scale ? vector(*scale, n_visible, "scale") : nullptr;
  const py::gil_scoped_release release;
  phase_statistics<T>(phases, n_extra, n_visible, n_hidden, scales, up_view.data, up_view.stride,
                      visible_sums, hidden_sums, workspace, n_jobs);
}

// `from` may be a view whose rows are apart.
template <class T>
void transpose_into(const AnyStrides<T>& from, const Maybe<T>& scale, Array<T>& to, int n_jobs) {
  require_ndim(from, 2, "from");
  const auto item = static_cast<py::ssize_t>(sizeof(T));
  require(from.shape(1) <= 1 || from.strides(1) == item, "from: expected contiguous rows");
  require(from.strides(0) % item == 0 && from.strides(0) >= 0, "from: expected rows in increasing order");
  const MatrixView<const T> rows(from.data(), from.shape(0), from.shape(1), from.strides(0) / item);
  const auto out = mutable_matrix(to, "to");
  require(out.rows == rows.cols && out.cols >= rows.rows, "to: expected shape (", rows.cols, ", at least ",
          rows.rows, "), got ", shape_text(to));
  const T* scales = scale ? vector(*scale, rows.cols, "scale") : nullptr;
  const py::gil_scoped_release release;
  transpose<T>(rows, scales, out.data, out.stride, n_jobs);
}

template <class T>
bool pack(const Array<T>& real, WordArray& bits, int n_jobs) {
  const auto x = matrix(real, "real");
  const Bits out = bits_view(bits, x.rows, x.cols, "bits");
  const py::gil_scoped_release release;
  return pack_states<T>(x, out, n_jobs);
}

template <class T>
void unpack(const WordArray& bits, Array<T>& real, int n_jobs) {
  const auto out = mutable_matrix(real, "real");
  const ConstBits given = const_bits_view(bits, out.cols, "bits");
  require(given.rows == out.rows, "bits: expected ", out.rows, " rows, got shape ", shape_text(bits));
  const py::gil_scoped_release release;
  unpack_states<T>(given, out, n_jobs);
}

template <class T>
void bind(py::module_& m, const char* rbm_name, const char* workspace_name) {
  py::class_<RbmWorkspace<T>, std::shared_ptr<RbmWorkspace<T>>>(m, workspace_name).def(py::init<>());
  py::class_<BoundRbm<T>, std::shared_ptr<BoundRbm<T>>>(m, rbm_name)
      .def("hidden_given_visible", &hidden<T>, py::arg("real").noconvert(), py::arg("given_bits").noconvert(),
           py::arg("t").noconvert(), py::arg("seed"), py::arg("stream"), py::arg("first_row"),
           py::arg("step"), py::arg("logits").noconvert(), py::arg("mean").noconvert(),
           py::arg("bits").noconvert(), py::arg("n_jobs"))
      .def("visible_given_hidden", &visible<T>, py::arg("real").noconvert(),
           py::arg("given_bits").noconvert(), py::arg("t").noconvert(), py::arg("base_bias").noconvert(),
           py::arg("base_sigma").noconvert(), py::arg("seed"), py::arg("stream"), py::arg("first_row"),
           py::arg("step"), py::arg("mean").noconvert(), py::arg("bits").noconvert(),
           py::arg("drawn").noconvert(), py::arg("n_jobs"))
      .def("sweeps", &sweeps<T>, py::arg("hidden").noconvert(), py::arg("visible").noconvert(),
           py::arg("visible_real").noconvert(), py::arg("hidden_mean").noconvert(), py::arg("t").noconvert(),
           py::arg("base_bias").noconvert(), py::arg("base_sigma").noconvert(), py::arg("seed"),
           py::arg("stream"), py::arg("first_row"), py::arg("step"), py::arg("n_sweeps"), py::arg("n_jobs"));
  m.def("rbm", &make_rbm<T>, py::arg("up").noconvert(), py::arg("down").noconvert(),
        py::arg("visible_bias").noconvert(), py::arg("hidden_bias").noconvert(), py::arg("sigma").noconvert(),
        py::arg("workspace"));
  m.def("phase_statistics", &statistics<T>, py::arg("phases"), py::arg("n_extra"),
        py::arg("scale").noconvert(), py::arg("up").noconvert(), py::arg("visible").noconvert(),
        py::arg("hidden").noconvert(), py::arg("workspace"), py::arg("n_jobs"));
  m.def("transpose", &transpose_into<T>, py::arg("source").noconvert(), py::arg("scale").noconvert(),
        py::arg("to").noconvert(), py::arg("n_jobs"));
  m.def("pack_states", &pack<T>, py::arg("real").noconvert(), py::arg("bits").noconvert(), py::arg("n_jobs"));
  m.def("unpack_states", &unpack<T>, py::arg("bits").noconvert(), py::arg("real").noconvert(),
        py::arg("n_jobs"));
}

}  // namespace

void bind_gibbs(py::module_& m) {
  bind<float>(m, "RbmFloat32", "RbmWorkspaceFloat32");
  bind<double>(m, "RbmFloat64", "RbmWorkspaceFloat64");
  m.def("weight_stride", [](Index units, bool is_double) {
    return is_double ? weight_stride<double>(units) : weight_stride<float>(units);
  });
}

}  // namespace thalweg::bindings

#include "bindings/cuda/bindings.hpp"
#include "bindings/cuda/rbm_arrays.hpp"

namespace thalweg::cuda::bindings {

// The arrays are copied: they may change, or be given back, as soon as the machine is made.
template <class T>
BoundRbm<T>::BoundRbm(const Array<T>& up, const Array<T>& down, const Array<T>& visible_bias,
                      const Array<T>& hidden_bias, const Maybe<T>& sigma) {
  require_ndim(visible_bias, 1, "visible_bias");
  require_ndim(hidden_bias, 1, "hidden_bias");
  require_ndim(up, 2, "up");
  require_ndim(down, 2, "down");
  view_.n_visible = visible_bias.size();
  view_.n_hidden = hidden_bias.size();
  view_.up_stride = up.shape(1);
  view_.down_stride = down.shape(1);
  require(up.shape(0) == view_.n_visible && view_.up_stride >= padded_units<T>(view_.n_hidden),
          "up: expected shape (", view_.n_visible, ", at least ", padded_units<T>(view_.n_hidden), "), got ",
          shape_text(up));
  require(down.shape(0) == view_.n_hidden && view_.down_stride >= padded_units<T>(view_.n_visible),
          "down: expected shape (", view_.n_hidden, ", at least ", padded_units<T>(view_.n_visible),
          "), got ", shape_text(down));
  if (sigma) {
    require_ndim(*sigma, 1, "sigma");
    require(sigma->size() == view_.n_visible, "sigma: expected ", view_.n_visible, " element(s), got shape ",
            shape_text(*sigma));
  }
  Call call;
  home_ = call.stream().shared_from_this();
  std::vector<std::pair<const T*, Index>> given;
  for (const Array<T>* a : {&up, &down, &visible_bias, &hidden_bias})
    given.emplace_back(call.data(*a), a->size());
  if (sigma) given.emplace_back(call.data(*sigma), sigma->size());
  call.run([&](Stream& stream) {
    for (const auto& [data, size] : given) {
      memory_.emplace_back(size, stream);
      copy(data, memory_.back().data(), size, stream);
    }
    view_.up = memory_[0].data();
    view_.down = memory_[1].data();
    view_.visible_bias = memory_[2].data();
    view_.hidden_bias = memory_[3].data();
    view_.sigma = sigma ? memory_[4].data() : nullptr;
    prepared_ = std::make_unique<PreparedRbm<T>>(view_, stream);
  });
}

template class BoundRbm<float>;
template class BoundRbm<double>;

namespace {

// Each call takes what memory it needs from the device's pool: there is nothing to keep between calls.
template <class T>
struct RbmWorkspace {};

template <class T>
std::shared_ptr<BoundRbm<T>> make_rbm(const Array<T>& up, const Array<T>& down, const Array<T>& visible_bias,
                                      const Array<T>& hidden_bias, const Maybe<T>& sigma,
                                      const std::shared_ptr<RbmWorkspace<T>>& workspace) {
  require(workspace != nullptr, "workspace: expected one, got None");
  return std::make_shared<BoundRbm<T>>(up, down, visible_bias, hidden_bias, sigma);
}

template <class T>
void hidden(const BoundRbm<T>& rbm, const Maybe<T>& real, const std::optional<WordArray>& given_bits,
            const Maybe<T>& t, std::uint64_t seed, std::uint32_t stream, std::uint64_t first_row,
            std::uint32_t step, Maybe<T> logits, Maybe<T> mean, std::optional<WordArray> bits,
            int /*n_jobs*/) {
  Call call;
  const auto given = states_view<T>(call, real, given_bits, rbm.n_visible(), "visible");
  require(!rbm.is_gaussian() || real.has_value(), "visible: expected real numbers, got bits");
  const Index rows = rows_of(real, given_bits);
  const auto tempering = tempering_view<T>(call, t, {}, {}, rows, rbm.n_visible());
  Activation<T> out;
  out.logits = output_view<T>(call, logits, rows, rbm.n_hidden(), "logits");
  out.mean = output_view<T>(call, mean, rows, rbm.n_hidden(), "mean");
  out.bits = output_bits(call, bits, rows, rbm.n_hidden(), "bits");
  const Draw draw = make_draw(seed, stream, first_row, step);
  const PreparedRbm<T>& prepared = rbm.in(call);
  call.run([&](Stream& s) {
    check_bits(given, "visible", s);
    hidden_given_visible(prepared, given, tempering, draw, out, s);
  });
}

template <class T>
void free_energy(const BoundRbm<T>& rbm, const Maybe<T>& real, const std::optional<WordArray>& given_bits,
                 Array<double>& out) {
  Call call;
  const auto given = states_view<T>(call, real, given_bits, rbm.n_visible(), "visible");
  require(!rbm.is_gaussian() || real.has_value(), "visible: expected real numbers, got bits");
  const Index rows = rows_of(real, given_bits);
  double* const energy = call.result_vector(out, rows, "out");
  const PreparedRbm<T>& prepared = rbm.in(call);
  call.run([&](Stream& s) {
    check_bits(given, "visible", s);
    free_energies(prepared, given, rows, energy, s);
  });
}

template <class T>
void visible(const BoundRbm<T>& rbm, const Maybe<T>& real, const std::optional<WordArray>& given_bits,
             const Maybe<T>& t, const Maybe<T>& base_bias, const Maybe<T>& base_sigma, std::uint64_t seed,
             std::uint32_t stream, std::uint64_t first_row, std::uint32_t step, Maybe<T> mean,
             std::optional<WordArray> bits, Maybe<T> drawn, int /*n_jobs*/) {
  Call call;
  const auto given = states_view<T>(call, real, given_bits, rbm.n_hidden(), "hidden");
  const Index rows = rows_of(real, given_bits);
  const auto tempering = tempering_view<T>(call, t, base_bias, base_sigma, rows, rbm.n_visible());
  require(!rbm.is_gaussian() || !bits, "bits: expected None for Gaussian visible units");
  require(rbm.is_gaussian() || !drawn, "drawn: expected None for Bernoulli visible units");
  Activation<T> out;
  out.mean = output_view<T>(call, mean, rows, rbm.n_visible(), "mean");
  out.bits = output_bits(call, bits, rows, rbm.n_visible(), "bits");
  out.real = output_view<T>(call, drawn, rows, rbm.n_visible(), "drawn");
  const Draw draw = make_draw(seed, stream, first_row, step);
  const PreparedRbm<T>& prepared = rbm.in(call);
  call.run([&](Stream& s) {
    check_bits(given, "hidden", s);
    visible_given_hidden(prepared, given, tempering, draw, out, s);
  });
}

template <class T>
void sweeps(const BoundRbm<T>& rbm, WordArray& hidden, std::optional<WordArray> visible,
            Maybe<T> visible_real, Maybe<T> hidden_mean, const Maybe<T>& t, const Maybe<T>& base_bias,
            const Maybe<T>& base_sigma, std::uint64_t seed, std::uint32_t stream, std::uint64_t first_row,
            std::uint32_t step, Index n_sweeps, int /*n_jobs*/) {
  require_words(hidden, -1, rbm.n_hidden(), "hidden");
  Call call;
  const Index rows = hidden.shape(1);
  const Bits h{call.mutable_data(hidden, "hidden"), rows, rbm.n_hidden(), rows};
  const bool is_gaussian = rbm.is_gaussian();
  require(n_sweeps >= 1, "n_sweeps: expected a number >= 1, got ", n_sweeps);
  require(visible.has_value() != is_gaussian && visible_real.has_value() == is_gaussian, "visible: expected ",
          is_gaussian ? "real numbers" : "bits");
  const Bits v = output_bits(call, visible, rows, rbm.n_visible(), "visible");
  const auto v_real = output_view<T>(call, visible_real, rows, rbm.n_visible(), "visible_real");
  const auto mean = output_view<T>(call, hidden_mean, rows, rbm.n_hidden(), "hidden_mean");
  const auto tempering = tempering_view<T>(call, t, base_bias, base_sigma, rows, rbm.n_visible());
  const Draw draw = make_draw(seed, stream, first_row, step);
  const PreparedRbm<T>& prepared = rbm.in(call);
  call.run([&](Stream& s) {
    require_no_more_bits({h.data, h.rows, h.units, h.stride}, "hidden", s);
    gibbs_sweeps(prepared, h, v, v_real, mean, tempering, draw, n_sweeps, s);
  });
}

template <class T>
using PhaseTuple = std::tuple<Maybe<T>, std::optional<WordArray>, Array<T>, Array<T>>;

// A phase is (real visible states or None, their bits or None, hidden states, weights of the rows).
template <class T>
void statistics(const std::vector<PhaseTuple<T>>& given, Index n_extra, const Maybe<T>& scale, Array<T>& up,
                Array<T>& visible, Array<T>& hidden, RbmWorkspace<T>& /*workspace*/, int /*n_jobs*/) {
  Call call;
  const Index n_visible = visible.size();
  const Index n_hidden = hidden.size();
  std::vector<Phase<T>> phases;
  for (const auto& [real, bits, h, weight] : given) {
    Phase<T> phase;
    phase.visible = states_view<T>(call, real, bits, n_visible, "visible");
    const Index rows = rows_of(real, bits);
    phase.hidden = call.matrix(h, "hidden");
    require(phase.hidden.rows == rows && phase.hidden.cols == n_hidden, "hidden: expected shape (", rows,
            ", ", n_hidden, "), got ", shape_text(h));
    phase.weight = call.vector(weight, rows, "weight");
    phases.push_back(phase);
  }
  require(n_extra >= 0 && n_extra <= static_cast<Index>(phases.size()), "n_extra: expected at most ",
          phases.size(), ", got ", n_extra);
  const auto up_view = call.result_matrix(up, "up");
  require(up_view.rows == n_visible && up_view.cols >= padded_units<T>(n_hidden), "up: expected shape (",
          n_visible, ", at least ", padded_units<T>(n_hidden), "), got ", shape_text(up));
  T* const visible_sums = call.result_vector(visible, n_visible, "visible");
  T* const hidden_sums = call.result_vector(hidden, n_hidden, "hidden");
  const T* const scales = scale ? call.vector(*scale, n_visible, "scale") : nullptr;
  call.run([&](Stream& s) {
    for (const Phase<T>& phase : phases) check_bits(phase.visible, "visible", s);
    phase_statistics<T>(phases, n_extra, n_visible, n_hidden, scales, up_view.data, up_view.stride,
                        visible_sums, hidden_sums, s);
  });
}

// `from` may be a view on the host whose rows are apart.
template <class T>
void transpose_into(const AnyStrides<T>& from, const Maybe<T>& scale, Array<T>& to, int /*n_jobs*/) {
  require_ndim(from, 2, "from");
  if (from.device() == nullptr) {
    const auto item = static_cast<py::ssize_t>(sizeof(T));
    const py::array& a = from.host();
    require(a.shape(1) <= 1 || a.strides(1) == item, "from: expected contiguous rows");
    require(a.strides(0) % item == 0 && a.strides(0) >= 0, "from: expected rows in increasing order");
  }
  Call call;
  const MatrixView<const T> rows(call.data(from), from.shape(0), from.shape(1));
  const auto out = call.result_matrix(to, "to");
  require(out.rows == rows.cols && out.cols >= rows.rows, "to: expected shape (", rows.cols, ", at least ",
          rows.rows, "), got ", shape_text(to));
  const T* const scales = scale ? call.vector(*scale, rows.cols, "scale") : nullptr;
  call.run([&](Stream& s) { transpose<T>(rows, scales, out.data, out.stride, s); });
}

template <class T>
bool pack(const Array<T>& real, WordArray& bits, int /*n_jobs*/) {
  require_ndim(real, 2, "real");
  require_words(bits, real.shape(0), real.shape(1), "bits");
  Call call;
  const auto x = call.matrix(real, "real");
  const Bits out{call.result_data(bits, "bits"), x.rows, x.cols, x.rows};
  bool are_binary = true;
  call.run([&](Stream& s) { are_binary = pack_states<T>(x, out, s); });
  return are_binary;
}

template <class T>
void unpack(const WordArray& bits, Array<T>& real, int /*n_jobs*/) {
  Call call;
  const auto out = call.result_matrix(real, "real");
  const auto given = states_view<T>(call, {}, bits, out.cols, "bits");
  require(given.bits.rows == out.rows, "bits: expected ", out.rows, " rows, got shape ", shape_text(bits));
  call.run([&](Stream& s) {
    check_bits(given, "bits", s);
    unpack_states<T>(given.bits, out, s);
  });
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
      .def("free_energy", &free_energy<T>, py::arg("real").noconvert(), py::arg("given_bits").noconvert(),
           py::arg("out").noconvert())
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

}  // namespace thalweg::cuda::bindings

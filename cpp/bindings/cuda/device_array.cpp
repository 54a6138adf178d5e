#include "bindings/cuda/device_array.hpp"

#include <pybind11/stl.h>

#include <array>
#include <functional>
#include <numeric>
#include <optional>
#include <shared_mutex>

#include "bindings/cuda/bindings.hpp"
#include "bindings/cuda/dlpack.hpp"
#include "core/error.hpp"
#include "cuda/graph.hpp"

namespace thalweg::cuda::bindings {
namespace {

// --- kinds of numbers, in NumPy's terms and DLPack's

struct KindNames {
  Kind kind;
  const char* numpy;  // null: NumPy has none
  dlpack::Code code;
  std::uint8_t bits;
};

constexpr std::array<KindNames, 13> kinds{{
    {Kind::boolean, "|b1", dlpack::Code::boolean, 8},
    {Kind::int8, "|i1", dlpack::Code::integer, 8},
    {Kind::int16, "<i2", dlpack::Code::integer, 16},
    {Kind::int32, "<i4", dlpack::Code::integer, 32},
    {Kind::int64, "<i8", dlpack::Code::integer, 64},
    {Kind::uint8, "|u1", dlpack::Code::unsigned_integer, 8},
    {Kind::uint16, "<u2", dlpack::Code::unsigned_integer, 16},
    {Kind::uint32, "<u4", dlpack::Code::unsigned_integer, 32},
    {Kind::uint64, "<u8", dlpack::Code::unsigned_integer, 64},
    {Kind::float16, "<f2", dlpack::Code::real, 16},
    {Kind::bfloat16, nullptr, dlpack::Code::bfloat, 16},
    {Kind::float32, "<f4", dlpack::Code::real, 32},
    {Kind::float64, "<f8", dlpack::Code::real, 64},
}};

const KindNames& names_of(Kind kind) {
  for (const auto& names : kinds)
    if (names.kind == kind) return names;
  throw std::invalid_argument("dtype: no such kind of number");
}

Kind kind_from_numpy(const py::object& given) {
  const py::dtype dtype = py::dtype::from_args(given);
  for (const auto& names : kinds)
    if (names.numpy != nullptr && py::dtype(names.numpy).equal(dtype)) return names.kind;
  throw std::invalid_argument("dtype: expected real numbers, got dtype " +
                              py::str(dtype).cast<std::string>());
}

Kind kind_from_dlpack(const dlpack::Dtype& dtype, const std::string& name) {
  require(dtype.code != dlpack::Code::complex, name, ": Complex data not supported");
  for (const auto& names : kinds)
    if (names.code == dtype.code && names.bits == dtype.bits && dtype.lanes == 1) return names.kind;
  throw std::invalid_argument(join(name, ": expected real numbers, got DLPack's type ", int{dtype.bits},
                                   " bits of code ", static_cast<int>(dtype.code)));
}

py::object dtype_of(const DeviceArray& a) {
  const char* const name = names_of(a.kind).numpy;
  return name == nullptr ? py::object(py::str("bfloat16")) : py::object(py::dtype(name));
}

// --- memory

struct OwnMemory final : Memory {
  Buffer<unsigned char> buffer;
};

// Memory of another library. That may use it again as soon as it is told that we are done.
template <class ManagedTensor>
struct ForeignMemory final : Memory {
  ManagedTensor* tensor;

  explicit ForeignMemory(ManagedTensor* given) : tensor(given) { is_foreign = true; }
  ~ForeignMemory() override {
    if (home) {
      std::optional<py::gil_scoped_release> release;
      if (PyGILState_Check() != 0) release.emplace();  // other libraries let go where they like
      const auto lock = home->alone();
      (void)cudaStreamSynchronize(home->get());
    }
    if (tensor->deleter != nullptr) tensor->deleter(tensor);
  }
};

bool overlaps_device(const void* data) {
  cudaPointerAttributes attributes{};
  const cudaError_t status = cudaPointerGetAttributes(&attributes, data);
  if (status != cudaSuccess) (void)cudaGetLastError();
  return status == cudaSuccess && attributes.device == device_number &&
         (attributes.type == cudaMemoryTypeDevice || attributes.type == cudaMemoryTypeManaged);
}

std::vector<Index> c_strides(const std::vector<Index>& shape) {
  std::vector<Index> strides(shape.size(), 1);
  for (std::size_t k = shape.size(); k-- > 1;) strides[k - 1] = strides[k] * shape[k];
  return strides;
}

// --- taking arrays in

DeviceArray from_tensor(const dlpack::Tensor& tensor, const std::shared_ptr<Memory>& memory,
                        const std::string& name) {
  const bool is_ours =
      (tensor.device.type == dlpack::cuda_device || tensor.device.type == dlpack::cuda_managed_device) &&
      tensor.device.number == device_number;
  require(is_ours, name, ": expected an array on CUDA device ", device_number, ", got one on device (",
          tensor.device.type, ", ", tensor.device.number, ") in DLPack's numbers");
  Stream& stream = Stream::of_this_thread();
  memory->home = stream.shared_from_this();
  DeviceArray array;
  array.kind = kind_from_dlpack(tensor.dtype, name);
  array.shape.assign(tensor.shape, tensor.shape + tensor.ndim);
  array.data = static_cast<char*>(tensor.data) + tensor.byte_offset;
  array.memory = memory;
  if (array.size() == 0) return array;
  require(overlaps_device(array.data), name, ": its memory is not on CUDA device ", device_number);
  const auto item = size_of(array.kind);
  require(reinterpret_cast<std::uintptr_t>(array.data) % item == 0, name, ": expected an aligned array");
  const auto contiguous = c_strides(array.shape);
  bool is_contiguous = true;
  if (tensor.strides != nullptr)
    for (std::size_t k = 0; k < contiguous.size(); ++k)
      is_contiguous = is_contiguous && (array.shape[k] == 1 || tensor.strides[k] == contiguous[k]);
  if (is_contiguous) return array;
  const std::vector<Index> strides(tensor.strides, tensor.strides + tensor.ndim);
  DeviceArray gathered = make_array(array.kind, array.shape, stream);
  convert(array.kind, array.data, array.ndim(), array.shape.data(), strides.data(), array.kind, gathered.data,
          stream);
  return gathered;
}

template <class ManagedTensor>
DeviceArray take_capsule(const py::capsule& capsule, const char* used_name, const std::string& name) {
  auto* const tensor = static_cast<ManagedTensor*>(PyCapsule_GetPointer(capsule.ptr(), capsule.name()));
  if (tensor == nullptr) throw py::error_already_set();
  const auto memory = std::make_shared<ForeignMemory<ManagedTensor>>(tensor);
  if (PyCapsule_SetName(capsule.ptr(), used_name) != 0) throw py::error_already_set();  // ours from now on
  if constexpr (std::is_same_v<ManagedTensor, dlpack::ManagedVersioned>) {
    require(tensor->major <= 1, name, ": expected DLPack 1 or older, got ", tensor->major);
    memory->is_read_only = (tensor->flags & dlpack::flag_read_only) != 0;
  }
  return from_tensor(tensor->tensor, memory, name);
}

DeviceArray from_capsule(const py::capsule& capsule, const std::string& name) {
  const std::string kind = capsule.name() == nullptr ? "" : capsule.name();
  if (kind == "dltensor") return take_capsule<dlpack::Managed>(capsule, "used_dltensor", name);
  if (kind == "dltensor_versioned")
    return take_capsule<dlpack::ManagedVersioned>(capsule, "used_dltensor_versioned", name);
  require(!kind.starts_with("used_"), name,
          ": expected a DLPack capsule that nobody has used, got one that was");
  throw py::type_error(name + ": expected a DLPack capsule, got one named '" + kind + "'");
}

DeviceArray from_dlpack(const py::object& x, const std::string& name) {
  const DeviceGuard guard;
  if (py::isinstance<py::capsule>(x)) return from_capsule(x, name);
  if (!py::hasattr(x, "__dlpack__") || !py::hasattr(x, "__dlpack_device__"))
    throw py::type_error(name + ": expected an array that speaks DLPack, got " +
                         py::str(py::type::of(x)).cast<std::string>());
  const auto [type, number] = x.attr("__dlpack_device__")().cast<std::pair<std::int32_t, std::int32_t>>();
  require((type == dlpack::cuda_device || type == dlpack::cuda_managed_device) && number == device_number,
          name, ": expected an array on CUDA device ", device_number, ", got one on device (", type, ", ",
          number, ") in DLPack's numbers");
  const auto handle = reinterpret_cast<std::uintptr_t>(Stream::of_this_thread().get());
  py::object capsule;
  try {
    capsule = x.attr("__dlpack__")(py::arg("stream") = handle, py::arg("max_version") = py::make_tuple(1, 0));
  } catch (py::error_already_set& error) {  // producers of the first protocol know no versions
    if (!error.matches(PyExc_TypeError)) throw;
    capsule = x.attr("__dlpack__")(py::arg("stream") = handle);
  }
  return from_capsule(capsule, name);
}

DeviceArray to_device(const py::array& given) {
  const DeviceGuard guard;
  const Kind kind = kind_from_numpy(given.dtype());
  const py::array x = py::array::ensure(given, py::array::c_style);
  if (!x) throw py::error_already_set();
  Stream& stream = Stream::of_this_thread();
  DeviceArray array = make_array(kind, std::vector<Index>(x.shape(), x.shape() + x.ndim()), stream);
  const auto* const from = static_cast<const char*>(x.data());
  const py::gil_scoped_release release;
  upload(from, static_cast<char*>(array.data), array.bytes(), stream);
  return array;
}

DeviceArray empty(const std::vector<Index>& shape, const py::object& dtype) {
  const DeviceGuard guard;
  for (const Index n : shape) require(n >= 0, "shape: expected sizes >= 0, got ", shape_text(shape));
  return make_array(kind_from_numpy(dtype), shape, Stream::of_this_thread());
}

// --- giving arrays out

// Work on an array by the calling thread's stream.
struct Use {
  DeviceGuard guard;
  Stream& stream = Stream::of_this_thread();
  Turn turn;

  explicit Use(const DeviceArray& a) : turn(*a.memory->home, stream) {}
};

py::array numpy(const DeviceArray& a) {
  const char* const name = names_of(a.kind).numpy;
  require(name != nullptr, "dtype: NumPy has no bfloat16; use astype('float32')");
  py::array out(py::dtype(name), a.shape);
  const Use use(a);
  auto* const to = static_cast<char*>(out.mutable_data());
  const py::gil_scoped_release release;
  if (a.size() > 0) download(static_cast<const char*>(a.data), to, a.bytes(), use.stream);
  return out;
}

DeviceArray astype(const DeviceArray& a, const py::object& dtype) {
  const Kind kind = kind_from_numpy(dtype);
  const Use use(a);
  DeviceArray out = make_array(kind, a.shape, use.stream);
  convert(a.kind, a.data, a.ndim(), a.shape.data(), c_strides(a.shape).data(), kind, out.data, use.stream);
  return out;
}

DeviceArray copied(const DeviceArray& a) {
  const Use use(a);
  DeviceArray out = make_array(a.kind, a.shape, use.stream);
  if (a.size() > 0)
    copy(static_cast<const char*>(a.data), static_cast<char*>(out.data), a.bytes(), use.stream);
  return out;
}

// The numbers of `from`, which shares no memory with `a`.
void assign(DeviceArray& a, const DeviceArray& from) {
  require(a.kind == from.kind && a.shape == from.shape, "from: expected shape ", shape_text(a.shape),
          " and the same dtype, got shape ", shape_text(from.shape));
  require(!a.memory->is_read_only, "array: expected one that may be written to, got a read-only one");
  const Use use(a);
  const Turn turn(*from.memory->home, use.stream);
  if (a.size() > 0)
    copy(static_cast<const char*>(from.data), static_cast<char*>(a.data), a.bytes(), use.stream);
}

DeviceArray rows(const DeviceArray& a, const py::slice& slice) {
  require(a.ndim() > 0, "rows: an array without axes has none");
  py::ssize_t start = 0, stop = 0, step = 0, length = 0;
  if (!slice.compute(a.shape[0], &start, &stop, &step, &length)) throw py::error_already_set();
  require(step == 1, "rows: expected a slice of step 1, got ", step);
  DeviceArray out = a;
  out.shape[0] = length;
  const Index row = a.shape[0] == 0 ? 0 : a.bytes() / a.shape[0];
  out.data = static_cast<char*>(a.data) + start * row;
  return out;
}

DeviceArray reshape(const DeviceArray& a, std::vector<Index> shape) {
  Index known = 1;
  Index* open = nullptr;
  for (Index& n : shape) {
    require(n >= 0 || (n == -1 && open == nullptr), "shape: expected sizes >= 0 and at most one -1, got ",
            shape_text(shape));
    if (n == -1) {
      open = &n;
    } else {
      known *= n;
    }
  }
  if (open != nullptr && known > 0) *open = a.size() / known;
  DeviceArray out = a;
  out.shape = std::move(shape);
  require(out.size() == a.size(), "shape: expected ", a.size(), " element(s), got shape ",
          shape_text(out.shape));
  return out;
}

// What a capsule of ours keeps.
template <class ManagedTensor>
struct Export {
  ManagedTensor managed{};
  DeviceArray array;
  std::vector<std::int64_t> shape, strides;
  std::optional<cudaStream_t> consumer;  // its stream, where that can be asked at the end
};

// The consumer's work may still be under way when it lets go: on the stream that it named, whose own affair
// others are that it used, or we do not know where.
template <class ManagedTensor>
void end_export(ManagedTensor* managed) {
  auto* const exported = static_cast<Export<ManagedTensor>*>(managed->context);
  try {
    const DeviceGuard guard;
    if (exported->consumer) {
      exported->array.memory->home->wait_for(*exported->consumer);
    } else {
      std::optional<py::gil_scoped_release> release;
      if (PyGILState_Check() != 0) release.emplace();
      const std::shared_lock no_graph(graphs_begun());
      check(cudaDeviceSynchronize());
    }
  } catch (const Error&) {
    return;  // the device is lost, or another process's: nothing is worth freeing
  }
  delete exported;
}

template <class ManagedTensor>
py::capsule export_array(const DeviceArray& a, const char* name, std::uint64_t flags,
                         const std::optional<cudaStream_t>& consumer) {
  auto exported = std::make_unique<Export<ManagedTensor>>();
  exported->array = a;
  exported->consumer = consumer;
  exported->shape.assign(a.shape.begin(), a.shape.end());
  const auto strides = c_strides(a.shape);
  exported->strides.assign(strides.begin(), strides.end());
  const KindNames& names = names_of(a.kind);
  exported->managed.tensor = {a.data,
                              {dlpack::cuda_device, device_number},
                              static_cast<std::int32_t>(a.ndim()),
                              {names.code, names.bits, 1},
                              exported->shape.data(),
                              exported->strides.data(),
                              0};
  exported->managed.context = exported.get();
  exported->managed.deleter = &end_export<ManagedTensor>;
  if constexpr (std::is_same_v<ManagedTensor, dlpack::ManagedVersioned>) {
    exported->managed.major = 1;
    exported->managed.flags = flags;
  }
  // A capsule that nobody used frees what it holds; one that was used has another name by then.
  const auto unused = [](PyObject* self) {
    const char* const own = PyCapsule_GetName(self);
    if (own == nullptr || std::string_view(own).starts_with("used_")) return;
    auto* const managed = static_cast<ManagedTensor*>(PyCapsule_GetPointer(self, own));
    managed->deleter(managed);
  };
  PyObject* const capsule = PyCapsule_New(&exported->managed, name, unused);
  if (capsule == nullptr) throw py::error_already_set();
  exported.release();
  return py::reinterpret_steal<py::capsule>(capsule);
}

// DLPack's numbers for streams: None and 1 the default one, 2 that of the thread which asks, -1 none at all.
// Returns the stream if it is the same one for every thread, and there to the end.
std::optional<cudaStream_t> let_consumer_wait(const DeviceArray& a,
                                              const std::optional<std::int64_t>& stream) {
  require(!stream || *stream >= -1, "stream: expected None, -1 or a stream's number, got ",
          stream.value_or(0));
  require(!stream || *stream != 0, "stream: 0 could be either default stream; use 1 or 2");
  const std::int64_t number = stream.value_or(1);
  if (number == -1) return {};
  const DeviceGuard guard;
  auto* const consumer = reinterpret_cast<cudaStream_t>(static_cast<std::uintptr_t>(number));
  a.memory->home->let_wait(consumer);
  return number == 1 ? std::optional(consumer) : std::nullopt;
}

py::capsule to_dlpack(const DeviceArray& given, const std::optional<std::int64_t>& stream,
                      const std::optional<std::pair<int, int>>& max_version,
                      const std::optional<std::pair<int, int>>& dl_device, const std::optional<bool>& copy) {
  const bool stays = !dl_device || *dl_device == std::pair<int, int>(dlpack::cuda_device, device_number);
  if (!stays)
    throw py::buffer_error("dl_device: the array stays on its device; use numpy() for a copy on the host");
  const bool is_copied = copy.value_or(false);
  const bool has_version = max_version && max_version->first >= 1;
  if (given.memory->is_read_only && !has_version && !is_copied)
    throw py::buffer_error("max_version: a read-only array needs DLPack 1; ask for a copy");
  const DeviceArray array = is_copied ? copied(given) : given;
  const auto consumer = let_consumer_wait(array, stream);
  if (!has_version) return export_array<dlpack::Managed>(array, "dltensor", 0, consumer);
  const std::uint64_t flags =
      (is_copied ? dlpack::flag_copied : 0) | (array.memory->is_read_only ? dlpack::flag_read_only : 0);
  return export_array<dlpack::ManagedVersioned>(array, "dltensor_versioned", flags, consumer);
}

py::dict array_interface(const DeviceArray& a) {
  const char* const name = names_of(a.kind).numpy;
  if (name == nullptr) throw py::attribute_error("__cuda_array_interface__: it has no bfloat16");
  py::dict interface;
  interface["shape"] = py::tuple(py::cast(a.shape));
  interface["typestr"] = name;
  interface["data"] =
      py::make_tuple(a.size() == 0 ? 0 : reinterpret_cast<std::uintptr_t>(a.data), a.memory->is_read_only);
  interface["version"] = 3;
  interface["strides"] = py::none();
  interface["stream"] = reinterpret_cast<std::uintptr_t>(a.memory->home->get());
  return interface;
}

template <class T>
Extent extent_there(const DeviceArray& a) {
  const Use use(a);
  const py::gil_scoped_release release;
  return extent_of(static_cast<const T*>(a.data), a.size(), use.stream);
}

// (whether there is NaN, the least and the largest number): infinity and its negative where there is none.
py::tuple extent(const DeviceArray& a) {
  require(a.kind == Kind::float32 || a.kind == Kind::float64, "extent: expected float32 or float64");
  const Extent found = a.kind == Kind::float32 ? extent_there<float>(a) : extent_there<double>(a);
  return py::make_tuple(found.has_nan, found.least, found.largest);
}

}  // namespace

Index DeviceArray::size() const {
  return std::accumulate(shape.begin(), shape.end(), Index{1}, std::multiplies<>());
}

DeviceArray make_array(Kind kind, std::vector<Index> shape, Stream& stream) {
  DeviceArray array;
  array.kind = kind;
  array.shape = std::move(shape);
  const auto memory = std::make_shared<OwnMemory>();
  memory->home = stream.shared_from_this();
  memory->buffer = Buffer<unsigned char>(array.bytes(), stream);
  array.data = memory->buffer.data();
  array.memory = memory;
  return array;
}

std::string shape_text(const std::vector<Index>& shape) {
  std::string text = "(";
  for (std::size_t i = 0; i < shape.size(); ++i) text += (i > 0 ? ", " : "") + std::to_string(shape[i]);
  return text + (shape.size() == 1 ? ",)" : ")");
}

void bind_device_array(py::module_& m) {
  py::class_<DeviceArray, std::shared_ptr<DeviceArray>>(
      m, "DeviceArray", "A C-contiguous array of real numbers in device memory.")
      .def_property_readonly("shape", [](const DeviceArray& a) { return py::tuple(py::cast(a.shape)); })
      .def_property_readonly("dtype", &dtype_of)
      .def_property_readonly("ndim", &DeviceArray::ndim)
      .def_property_readonly("size", &DeviceArray::size)
      .def_property_readonly("itemsize", [](const DeviceArray& a) { return size_of(a.kind); })
      .def_property_readonly("nbytes", &DeviceArray::bytes)
      .def_property_readonly("is_foreign", [](const DeviceArray& a) { return a.memory->is_foreign; })
      .def_property_readonly("__cuda_array_interface__", &array_interface)
      .def("__dlpack__", &to_dlpack, py::kw_only(), py::arg("stream") = py::none(),
           py::arg("max_version") = py::none(), py::arg("dl_device") = py::none(),
           py::arg("copy") = py::none())
      .def("__dlpack_device__",
           [](const DeviceArray&) { return py::make_tuple(dlpack::cuda_device, device_number); })
      .def("__len__",
           [](const DeviceArray& a) {
             if (a.ndim() == 0) throw py::type_error("an array without axes has no length");
             return a.shape[0];
           })
      .def("__getitem__", &rows, py::arg("rows"))
      .def("__repr__",
           [](const DeviceArray& a) {
             return "DeviceArray(shape=" + shape_text(a.shape) +
                    ", dtype=" + py::str(dtype_of(a)).cast<std::string>() + ")";
           })
      .def("reshape", &reshape, py::arg("shape"))
      .def("astype", &astype, py::arg("dtype"))
      .def("copy", &copied)
      .def("assign", &assign, py::arg("from"))
      .def("numpy", &numpy);
  m.def("from_dlpack", &from_dlpack, py::arg("x"), py::arg("name") = "x");
  m.def("to_device", &to_device, py::arg("x"));
  m.def("empty", &empty, py::arg("shape"), py::arg("dtype"));
  m.def("extent", &extent, py::arg("x"));
}

}  // namespace thalweg::cuda::bindings

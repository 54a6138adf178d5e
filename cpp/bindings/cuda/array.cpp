#include "bindings/cuda/array.hpp"

namespace thalweg::cuda::bindings {

void* Call::resident(const DeviceArray& a) {
  in_use_.push_back(a.memory);
  use(*a.memory->home);
  return a.data;
}

void* Call::travelling(const void* from, void* to, Index bytes) {
  buffers_.emplace_back(bytes, stream_);
  travels_.push_back({from, to, buffers_.back().data(), bytes});
  return buffers_.back().data();
}

void Call::bring_back() {
  bool waits = writes_foreign_;
  for (const Travel& t : travels_) waits = waits || t.to != nullptr;
  if (waits) stream_.synchronize();
  for (const Travel& t : travels_)
    if (t.to != nullptr && t.bytes > 0)
      download(static_cast<const char*>(t.device), static_cast<char*>(t.to), t.bytes, stream_);
}

std::vector<Index> broadcast_strides(const std::vector<Index>& shape, const std::vector<Index>& like,
                                     const char* name) {
  bool fits = shape.size() <= like.size();
  const std::size_t extra = fits ? like.size() - shape.size() : 0;
  for (std::size_t i = 0; fits && i < shape.size(); ++i) fits = shape[i] == 1 || shape[i] == like[i + extra];
  require(fits, name, ": expected a shape that broadcasts to ", shape_text(like), ", got ",
          shape_text(shape));
  std::vector<Index> strides(like.size(), 0);
  Index step = 1;
  for (std::size_t i = shape.size(); i-- > 0; step *= shape[i])
    if (shape[i] != 1) strides[i + extra] = step;
  return strides;
}

}  // namespace thalweg::cuda::bindings

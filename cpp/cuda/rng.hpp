// The numbers of core/rng.hpp, drawn on the device.
#pragma once

#include <cstdint>

#include "core/rng.hpp"
#include "core/view.hpp"

namespace thalweg::cuda {

class Stream;

// words (size,): the words of the sequence.
void philox_words(std::uint32_t* words, Index size, const rng::Sequence& sequence, Stream& stream);
// values (size,): standard normals, two of double precision or four of single precision from a block.
template <class T>
void standard_normals(T* values, Index size, const rng::Sequence& sequence, Stream& stream);

}  // namespace thalweg::cuda

// How contiguous arrays are cut for kernels that read and write 16 bytes a thread at a time.
#pragma once

#include <algorithm>

#include "core/view.hpp"

namespace thalweg::cuda {

inline constexpr Index pack_bytes = 16;
inline constexpr Index elementwise_block = 256;  // threads
inline constexpr Index packs_under_way = 4;      // loads of a thread before it computes

// `n` elements: [0, head) one by one, then `tiles` tiles of `tile` elements whose memory is aligned, then the
// rest one by one.
struct ElementwisePlan {
  Index head = 0;
  Index tiles = 0;
  Index tile = 0;

  [[nodiscard]] constexpr Index tail(Index n) const { return n - head - tiles * tile; }
  // Blocks of threads that have something to do at the same time.
  [[nodiscard]] constexpr Index blocks(Index n) const {
    return tiles > 0 ? tiles : (n + elementwise_block - 1) / elementwise_block;
  }
};

// `past` is how many elements the arrays lie behind an aligned address; -1 where they differ in that.
[[nodiscard]] constexpr ElementwisePlan plan_elementwise(Index n, Index item_bytes, Index past) {
  const Index pack = pack_bytes / item_bytes;
  ElementwisePlan plan;
  plan.tile = elementwise_block * packs_under_way * pack;
  if (past < 0) return plan;
  const Index head = std::min(n, past == 0 ? 0 : pack - past);
  plan.tiles = (n - head) / plan.tile;
  plan.head = plan.tiles > 0 ? head : 0;
  return plan;
}

}  // namespace thalweg::cuda

// How up to three arrays of a common shape and any strides are gone through.
#pragma once

#include <algorithm>
#include <array>
#include <cstdlib>
#include <numeric>
#include <vector>

#include "core/view.hpp"

namespace thalweg {

// The index space of up to three arrays, with axes in the order of out's memory and merged where all arrays
// allow.
struct Walk {
  std::vector<Index> shape;
  std::array<std::vector<Index>, 3> strides;  // of x, alpha (zeros without one), out
  Index size = 1;

  Walk(Index ndim, const Index* shape_, const Index* x, const Index* alpha, const Index* out) {
    std::vector<Index> axes;
    for (Index k = 0; k < ndim; ++k) {
      size *= shape_[k];
      if (shape_[k] != 1) axes.push_back(k);
    }
    std::stable_sort(axes.begin(), axes.end(),
                     [&](Index a, Index b) { return std::abs(out[a]) > std::abs(out[b]); });
    for (const Index k : axes) append(shape_[k], {x[k], alpha == nullptr ? 0 : alpha[k], out[k]});
    if (shape.empty()) append(1, {1, 0, 1});
  }

  void append(Index length, const std::array<Index, 3>& step) {
    bool merges = !shape.empty();
    for (std::size_t a = 0; merges && a < 3; ++a) merges = strides[a].back() == length * step[a];
    if (merges) {
      shape.back() *= length;
    } else {
      shape.push_back(length);
    }
    for (std::size_t a = 0; a < 3; ++a) {
      if (merges) {
        strides[a].back() = step[a];
      } else {
        strides[a].push_back(step[a]);
      }
    }
  }

  [[nodiscard]] bool is_contiguous() const {
    return shape.size() == 1 && strides[0][0] == 1 && strides[1][0] <= 1 && strides[1][0] >= 0 &&
           strides[2][0] == 1;
  }

  // Calls body(offsets of x, alpha and out, done, length) for runs along the last axis that make up the
  // elements [first, first + count).
  template <class Body>
  void runs(Index first, Index count, const Body& body) const {
    const std::size_t last = shape.size() - 1;
    std::vector<Index> index(shape.size());
    for (std::size_t k = shape.size(); k-- > 0; first /= shape[k]) index[k] = first % shape[k];
    for (Index done = 0; done < count;) {
      std::array<Index, 3> offset{};
      for (std::size_t a = 0; a < 3; ++a)
        offset[a] = std::inner_product(index.begin(), index.end(), strides[a].begin(), Index{0});
      const Index length = std::min(count - done, shape[last] - index[last]);
      body(offset, done, length);
      done += length;
      index[last] += length;
      for (std::size_t k = last; k > 0 && index[k] == shape[k]; --k) {
        index[k] = 0;
        ++index[k - 1];
      }
    }
  }
};

}  // namespace thalweg

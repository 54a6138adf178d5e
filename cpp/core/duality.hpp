// The relative duality gap of convolutional sparse codes, from the numbers that it is made of.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

namespace thalweg {

// What the gap is made of: 1/2 <w r, r>, <w r, y>, 1/2 <w y, y>, the penalty, the largest |c| / alpha.
struct DualityParts {
  double half_square = 0;
  double product = 0;
  double half_data = 0;
  double penalty = 0;
  double largest_ratio = 0;

  [[nodiscard]] double objective() const { return half_square + penalty; }

  [[nodiscard]] double gap() const {
    if (half_data == 0 && objective() == 0) return 0;
    if (!std::isnormal(half_data)) return std::numeric_limits<double>::infinity();
    const double free = half_square > 0 ? product / (2 * half_square) : 1.0;
    const double bound = largest_ratio > 0 ? 1 / largest_ratio : std::numeric_limits<double>::infinity();
    const double t = std::clamp(free, 0.0, bound);
    const double gap = (objective() - (t * product - t * t * half_square)) / half_data;
    return std::isfinite(gap) ? std::max(gap, 0.0) : std::numeric_limits<double>::infinity();
  }
};

}  // namespace thalweg

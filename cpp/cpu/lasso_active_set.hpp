// Active-set Newton method for one row of the lasso.
//
// The active set S holds the atoms whose coefficient may differ from zero, each with the sign it must keep.
// On S the energy is quadratic: its minimiser is one product with the inverse of the Gram matrix of S, which
// is kept explicitly and bordered or reduced by rank-one updates as atoms enter and leave. These are sums of
// whole rows, where a Cholesky factor would need chains of dependent divisions.
//
// One iteration: the worst violators of |c_j| <= alpha_j enter; Newton steps on S follow, each cut where a
// coefficient would change its sign, and that atom leaves; then all correlations are computed anew. The
// inverse is in working precision T, only a preconditioner: errors in it cost another step, not accuracy.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/buffer.hpp"
#include "core/lasso_numbers.hpp"
#include "core/parallel.hpp"
#include "core/simd.hpp"
#include "cpu/matmul.hpp"
#include "cpu/row_sums.hpp"

namespace thalweg::cpu {

// The l1 weights of one row, padded with ones to whole vectors.
template <class T>
struct WeightsRow {
  const T* alpha = nullptr;
  const T* inverse = nullptr;
};

// A point z_ref at which the correlations c = D (x - z D) - l2 z are known, with what the duality gap needs
// there.
struct ReferencePoint {
  Index count = 0;                // non-zeros of z_ref
  std::int32_t* atom = nullptr;   // (n_components,)
  double* value = nullptr;        // (n_components,)
  double residual_squared = 0.0;  // ||x - z D||^2 + l2 ||z||^2
  double x_residual = 0.0;        // <x, x - z D>
};

// The most atoms that enter in one pass over the inverse.
inline constexpr Index max_bordered = 16;

// Scratch for bordering, one per worker.
template <class T>
struct BorderingMemory {
  Index stride;
  Buffer<T> gathered;  // (max_bordered, stride) G[a, S]
  Buffer<T> border;    // (max_bordered, stride) the vectors v
  Buffer<T> scaled;    // (capacity, max_bordered) v / delta, transposed
  T inverse_delta[max_bordered] = {};

  explicit BorderingMemory(Index capacity)
      : stride(simd::padded<T>(capacity + max_bordered)),
        gathered(max_bordered * stride),
        border(max_bordered * stride),
        scaled((capacity + max_bordered) * max_bordered) {}
};

// S with its coefficients and the inverse Gram matrix.
template <class T>
class ActiveSet {
 public:
  explicit ActiveSet(Index capacity)
      : capacity_(capacity),
        stride_(simd::padded<T>(capacity) +
                simd::lanes<T>),  // no power of two: rows spread over the cache's sets
        atom_(capacity),
        sign_(capacity),
        value_(capacity),
        inverse_(stride_ * capacity) {}

  [[nodiscard]] Index size() const { return size_; }
  [[nodiscard]] Index capacity() const { return capacity_; }
  [[nodiscard]] Index padded_size() const { return simd::padded<T>(size_); }
  [[nodiscard]] std::int32_t atom(Index i) const { return atom_[i]; }
  [[nodiscard]] T sign(Index i) const { return sign_[i]; }
  [[nodiscard]] double& value(Index i) const { return value_[i]; }
  [[nodiscard]] T* inverse_row(Index i) const { return inverse_.data() + i * stride_; }
  void clear() { size_ = 0; }

  // Borders the inverse with atoms, in their order, and returns how many entered. One whose Schur complement
  // is at most `smallest` of its own square is left out. `entered` tells which.
  //
  // M grows by sum_b v_b v_b^T / delta_b, where v_b is 1 at the new atom and -M g_b before it. All products
  // with M are made in one pass, and so is its update: the matrix is too large for the first-level cache.
  Index push(const T* gram, Index gram_stride, const std::int32_t* atoms, Index count, T smallest,
             BorderingMemory<T>& memory, bool* entered) {
    const Index old_size = size_;
    count = std::min({count, capacity_ - old_size, max_bordered});
    const Index width = simd::padded<T>(old_size + count);
    const Index row = memory.stride;
    for (Index a = 0; a < count; ++a) {
      T* g = memory.gathered.data() + a * row;
      for (Index i = 0; i < old_size; ++i) g[i] = gram[atoms[a] * gram_stride + atom_[i]];
      std::fill(g + old_size, g + width, T(0));
    }
    matmul<T>({memory.gathered.data(), count, old_size, row}, inverse_.data(), stride_, padded_size(),
              [&](Index a, Index col, simd::Vec<T> acc) {
                simd::store(memory.border.data() + a * row + col, -acc);
              });
    Index accepted = 0;
    for (Index a = 0; a < count; ++a) {
      T* v = memory.border.data() + a * row;
      std::fill(v + old_size, v + width, T(0));
      const T* gram_row = gram + atoms[a] * gram_stride;
      const T delta =
          eliminate(v, memory.gathered.data() + a * row, gram_row, atoms[a], old_size, accepted, memory);
      entered[a] = delta > smallest * gram_row[atoms[a]];
      if (!entered[a]) continue;
      v[old_size + accepted] = T(1);
      if (a != accepted) std::copy_n(v, width, memory.border.data() + accepted * row);
      memory.inverse_delta[accepted] = T(1) / delta;
      atom_[old_size + accepted] = atoms[a];
      ++accepted;
    }
    size_ = old_size + accepted;
    if (accepted > 0) extend(old_size, accepted, memory);
    return accepted;
  }

  // Atom j's coefficients u = M g on the set, and its Schur complement. g and u are padded with zeros.
  T schur(const T* gram_row, std::int32_t j, T* g, T* u) const {
    for (Index i = 0; i < size_; ++i) g[i] = gram_row[atom_[i]];
    std::fill(g + size_, g + padded_size(), T(0));
    newton_direction(g, u);
    return gram_row[j] - dot(g, u, padded_size());
  }

  void set_coefficient(Index place, T sign, double value) {
    sign_[place] = sign;
    value_[place] = value;
  }

  // Takes place b out of the set. `direction` (size,) is projected along: it stays the Newton direction on
  // what remains. `column` is scratch.
  void remove(Index b, T* direction, T* column) {
    const Index width = padded_size();
    std::copy_n(inverse_row(b), width, column);
    const T inverse_pivot = T(1) / column[b];
    const T share = direction[b] * inverse_pivot;
    for (Index i = 0; i < width; ++i) direction[i] -= share * column[i];
    add_outer(column, -inverse_pivot);
    const Index last = size_ - 1;
    if (b != last) {
      std::copy_n(inverse_row(last), width, inverse_row(b));
      for (Index i = 0; i < last; ++i) inverse_row(i)[b] = inverse_row(i)[last];
      inverse_row(b)[b] = inverse_row(last)[last];
      atom_[b] = atom_[last];
      sign_[b] = sign_[last];
      value_[b] = value_[last];
      direction[b] = direction[last];
    }
    for (Index i = 0; i < last; ++i) inverse_row(i)[last] = T(0);
    direction[last] = T(0);
    --size_;
  }

  // d = M grad.
  void newton_direction(const T* grad, T* d) const {
    sum_rows<T>(nullptr, grad, size_, padded_size(), [this](Index i) { return inverse_row(i); }, d);
  }

 private:
  // v += sum_b v_b (v_b . g) / delta_b over the atoms b just accepted, which makes -v the coefficients of the
  // atom on all before it; returns its Schur complement. g is padded with zeros.
  T eliminate(T* v, T* g, const T* gram_row, std::int32_t atom, Index old_size, Index accepted,
              const BorderingMemory<T>& memory) const {
    const Index width = simd::padded<T>(old_size + accepted);
    for (Index b = 0; b < accepted; ++b) {
      g[old_size + b] = gram_row[atom_[old_size + b]];
      const T* other = memory.border.data() + b * memory.stride;
      const simd::Vec<T> factor = simd::broadcast(dot(other, g, width) * memory.inverse_delta[b]);
      for (Index i = 0; i < width; i += simd::lanes<T>)
        simd::store(v + i, simd::load(v + i) - factor * simd::load(other + i));
    }
    return gram_row[atom] + dot(v, g, width);
  }

  // M += sum_b v_b v_b^T / delta_b over the new square, whose new rows and columns begin as zeros.
  void extend(Index old_size, Index accepted, BorderingMemory<T>& memory) {
    const Index width = padded_size();
    const Index old_width = simd::padded<T>(old_size);
    for (Index i = 0; i < old_size; ++i) std::fill(inverse_row(i) + old_width, inverse_row(i) + width, T(0));
    for (Index i = old_size; i < size_; ++i) std::fill_n(inverse_row(i), width, T(0));
    for (Index i = 0; i < size_; ++i)
      for (Index b = 0; b < accepted; ++b)
        memory.scaled[i * max_bordered + b] = memory.border[b * memory.stride + i] * memory.inverse_delta[b];
    matmul<T>({memory.scaled.data(), size_, accepted, max_bordered}, memory.border.data(), memory.stride,
              width, [this](Index i, Index col, simd::Vec<T> acc) {
                T* at = inverse_row(i) + col;
                simd::store(at, simd::load(at) + acc);
              });
  }

  // M += factor * u u^T over the padded square.
  void add_outer(const T* u, T factor) {
    const Index width = padded_size();
    for (Index i = 0; i < size_; ++i) {
      T* row = inverse_row(i);
      const simd::Vec<T> w = simd::broadcast(factor * u[i]);
      for (Index j = 0; j < width; j += simd::lanes<T>)
        simd::store(row + j, simd::load(row + j) + w * simd::load(u + j));
    }
  }

  Index capacity_;
  Index stride_;
  Index size_ = 0;
  Buffer<std::int32_t> atom_;
  Buffer<T> sign_;
  Buffer<double> value_;
  Buffer<T> inverse_;
};

enum class ActiveSetOutcome { reached, stalled, out_of_iterations, broken };

// The method, with one worker's scratch memory.
template <class T>
class ActiveSetSolver {
 public:
  // gram: (n_components, stride) with rows padded to whole vectors by zeros.
  ActiveSetSolver(const T* gram, Index stride, Index n_components, Index capacity, bool positive)
      : gram_(gram),
        stride_(stride),
        n_components_(n_components),
        positive_(positive),
        correlation_(stride),
        violation_(stride),
        reference_value_(n_components, 0.0),
        in_set_(n_components, std::uint8_t(0)),
        candidate_(n_components),
        bordering_(capacity),
        gradient_scratch_(simd::padded<T>(capacity) + simd::lanes<T>),
        gradient_(simd::padded<T>(capacity) + simd::lanes<T>),
        direction_(simd::padded<T>(capacity) + simd::lanes<T>),
        change_(n_components + capacity),
        changed_atom_(n_components + capacity) {}

  // Goes on from the set (whose coefficients need not be optimal) until the estimated gap is at most
  // `gap_target`. c_ref (stride,): the correlations at `ref`; x_correlation: <x, d_j>, both padded with
  // zeros.
  ActiveSetOutcome run(ActiveSet<T>& set, const T* c_ref, const T* shift, const T* x_correlation,
                       const ReferencePoint& ref, const WeightsRow<T>& weights, double gap_target,
                       Index max_iter, std::int32_t& n_iter) {
    set_reference(ref);
    for (Index i = 0; i < set.size(); ++i) in_set_[set.atom(i)] = 1;
    const ActiveSetOutcome outcome =
        iterate(set, c_ref, shift, x_correlation, ref, weights, gap_target, max_iter, n_iter);
    for (Index i = 0; i < set.size(); ++i) in_set_[set.atom(i)] = 0;
    for (Index i = 0; i < ref.count; ++i) reference_value_[ref.atom[i]] = 0.0;
    return outcome;
  }

  // After a run that reached its target: the atoms among which the largest |c_j| / alpha_j is, if no
  // correlation is off by more than `error`. Returns how many; 0 where that cannot be told.
  Index find_suspects(const WeightsRow<T>& weights, T error, std::int32_t* suspects) const {
    using V = simd::Vec<T>;
    const auto size = [&](Index j) {
      const V c = simd::load(correlation_.data() + j);
      return positive_ ? c : (c < 0 ? -c : c);
    };
    V certain = {};
    for (Index j = 0; j < stride_; j += simd::lanes<T>) {
      const V least = (size(j) - error) * simd::load(weights.inverse + j);
      certain = least > certain ? least : certain;
    }
    const T largest = simd::max_lanes<T>(certain) * (1 - 8 * std::numeric_limits<T>::epsilon());
    if (!std::isfinite(largest)) return 0;
    Index count = 0;
    simd::for_each_lane<T>(
        stride_, [&](Index j) { return (size(j) + error) * simd::load(weights.inverse + j) >= largest; },
        [&](Index j) {
          if (j < n_components_) suspects[count++] = static_cast<std::int32_t>(j);
        });
    return count;
  }

  // Atom j enters at `value`, outside any run (a warm start); false where it depends on the set.
  bool enter(ActiveSet<T>& set, std::int32_t j, double value) {
    bool entered = false;
    if (set.size() == set.capacity() ||
        set.push(gram_, stride_, &j, 1, singularity, bordering_, &entered) == 0)
      return false;
    set.set_coefficient(set.size() - 1, value < 0 ? T(-1) : T(1), value);
    return true;
  }

 private:
  // A Schur complement below `dependence` of the atom's own square is too small to be trusted, one below
  // `singularity` is rounding.
  static constexpr T dependence = sizeof(T) == 4 ? T(1e-4) : T(1e-9);
  static constexpr T singularity = T(64) * std::numeric_limits<T>::epsilon();
  static constexpr double energy_noise = 256.0 * std::numeric_limits<T>::epsilon();
  static constexpr int patience = 8;
  // How many violators enter at a time: those at least this share as bad as the worst, at most this share of
  // the set's size.
  static constexpr double admitted_above = 0.3;
  static constexpr double admitted_share = 0.25;
  static constexpr Index min_admitted = 8;

  struct Estimate {
    double energy = 0.0;
    double gap = 0.0;
  };

  struct Violators {
    double max_violation = 0.0;
    double max_ratio = 0.0;
  };

  void set_reference(const ReferencePoint& ref) {
    for (Index i = 0; i < ref.count; ++i) reference_value_[ref.atom[i]] = ref.value[i];
  }

  ActiveSetOutcome iterate(ActiveSet<T>& set, const T* c_ref, const T* shift, const T* x_correlation,
                           const ReferencePoint& ref, const WeightsRow<T>& weights, double gap_target,
                           Index max_iter, std::int32_t& n_iter) {
    constexpr double infinity = std::numeric_limits<double>::infinity();
    const double noise =
        4.0 * static_cast<double>(std::numeric_limits<T>::epsilon()) * largest_size(c_ref, shift);
    double last_residual = infinity;
    double lowest = infinity;
    for (int idle = 0;;) {
      const Index changed = update_correlations(set, c_ref, ref);
      const Violators violators = find_violators(set, shift, weights);
      const Estimate now =
          estimate(set, c_ref, shift, x_correlation, ref, weights, changed, violators.max_ratio);
      // Descent is exact but for rounding: energy that grows, or stays, means that the inverse has become
      // useless.
      if (!std::isfinite(now.energy) || now.energy > lowest + energy_noise * ref.residual_squared)
        return ActiveSetOutcome::broken;
      if (now.gap <= gap_target) return ActiveSetOutcome::reached;
      idle = now.energy < lowest - energy_noise * energy_noise * ref.residual_squared ? 0 : idle + 1;
      if (idle > patience) return ActiveSetOutcome::stalled;
      lowest = std::min(lowest, now.energy);
      const double residual = stationarity(set, shift, weights);
      for (Index i = 0; i < ref.count; ++i) correlation_[ref.atom[i]] += shift[ref.atom[i]];
      const bool has_violators = violators.max_violation > noise;
      if (!has_violators && residual >= 0.5 * last_residual) return ActiveSetOutcome::stalled;
      if (n_iter >= max_iter) return ActiveSetOutcome::out_of_iterations;
      ++n_iter;
      poll_interrupt();
      const bool admitted = has_violators && admit(set, weights, violators.max_violation);
      // An atom that depends on the set may violate nothing once the set itself is at its minimum.
      if (!admitted && residual >= 0.5 * last_residual) return ActiveSetOutcome::stalled;
      last_residual = admitted ? infinity : residual;
      descend(set);
    }
  }

  // c = c_ref - G (z - z_ref); returns the number of coefficients that differ.
  Index update_correlations(const ActiveSet<T>& set, const T* c_ref, const ReferencePoint& ref) {
    Index changed = 0;
    const auto note = [&](std::int32_t j, double change) {
      if (change == 0) return;
      changed_atom_[changed] = j;
      change_[changed++] = static_cast<T>(-change);
    };
    for (Index i = 0; i < set.size(); ++i) note(set.atom(i), set.value(i) - reference_value_[set.atom(i)]);
    for (Index i = 0; i < ref.count; ++i)
      if (!in_set_[ref.atom[i]]) note(ref.atom[i], -ref.value[i]);
    sum_rows<T>(
        c_ref, change_.data(), changed, stride_,
        [this](Index i) { return gram_ + changed_atom_[i] * stride_; }, correlation_.data());
    return changed;
  }

  Violators find_violators(const ActiveSet<T>& set, const T* shift, const WeightsRow<T>& weights) {
    using V = simd::Vec<T>;
    V ratio = {};
    for (Index j = 0; j < stride_; j += simd::lanes<T>) {
      V c = simd::load(correlation_.data() + j) + simd::load(shift + j);
      if (!positive_) c = c < 0 ? -c : c;
      const V r = c * simd::load(weights.inverse + j);
      ratio = r > ratio ? r : ratio;
      simd::store(violation_.data() + j, c - simd::load(weights.alpha + j));
    }
    for (Index i = 0; i < set.size(); ++i) violation_[set.atom(i)] = T(-1);
    V largest = {};
    for (Index j = 0; j < stride_; j += simd::lanes<T>) {
      const V v = simd::load(violation_.data() + j);
      largest = v > largest ? v : largest;
    }
    Violators out;
    out.max_ratio = static_cast<double>(simd::max_lanes<T>(ratio));
    out.max_violation = static_cast<double>(simd::max_lanes<T>(largest));
    return out;
  }

  [[nodiscard]] double largest_size(const T* c_ref, const T* shift) const {
    simd::Vec<T> largest = {};
    for (Index j = 0; j < stride_; j += simd::lanes<T>) {
      simd::Vec<T> c = simd::load(c_ref + j) + simd::load(shift + j);
      c = c < 0 ? -c : c;
      largest = c > largest ? c : largest;
    }
    return static_cast<double>(simd::max_lanes<T>(largest));
  }

  Estimate estimate(const ActiveSet<T>& set, const T* c_ref, const T* shift, const T* x_correlation,
                    const ReferencePoint& ref, const WeightsRow<T>& weights, Index changed,
                    double max_ratio) const {
    double residual_squared = ref.residual_squared;
    double x_residual = ref.x_residual;
    for (Index i = 0; i < changed; ++i) {
      const std::int32_t j = changed_atom_[i];
      const double minus_change = change_[i];
      residual_squared += minus_change * (static_cast<double>(c_ref[j]) + correlation_[j] + 2.0 * shift[j]);
      x_residual += minus_change * x_correlation[j];
    }
    double l1 = 0.0;
    for (Index i = 0; i < set.size(); ++i) l1 += weights.alpha[set.atom(i)] * std::abs(set.value(i));
    residual_squared = std::max(residual_squared, 0.0);
    return {0.5 * residual_squared + l1, duality_gap(residual_squared, x_residual, l1, max_ratio)};
  }

  // Fills the gradient on the set (c - alpha sign); returns its largest size relative to alpha.
  double stationarity(const ActiveSet<T>& set, const T* shift, const WeightsRow<T>& weights) {
    double largest = 0.0;
    for (Index i = 0; i < set.size(); ++i) {
      const std::int32_t j = set.atom(i);
      gradient_[i] = correlation_[j] + (shift[j] - weights.alpha[j] * set.sign(i));
      largest = std::max(largest, static_cast<double>(std::abs(gradient_[i]) * weights.inverse[j]));
    }
    return largest;
  }

  // Lets the worst violators in; false when none could enter.
  bool admit(ActiveSet<T>& set, const WeightsRow<T>& weights, double max_violation) {
    const auto share = static_cast<Index>(admitted_share * static_cast<double>(set.size()));
    const Index wanted = std::clamp(share, min_admitted, max_bordered);
    const Index found = collect_candidates(static_cast<T>(admitted_above * max_violation));
    const Index count = std::min(found, wanted);
    std::partial_sort(candidate_.data(), candidate_.data() + count, candidate_.data() + found,
                      [this](std::int32_t a, std::int32_t b) {
                        return violation_[a] != violation_[b] ? violation_[a] > violation_[b] : a < b;
                      });
    if (enter_at_zero(set, weights, count, dependence)) return true;
    return exchange(set, weights, candidate_[0]);
  }

  bool enter_at_zero(ActiveSet<T>& set, const WeightsRow<T>& weights, Index count, T smallest) {
    if (set.size() == set.capacity()) return false;
    const Index first = set.size();
    bool entered[max_bordered];
    set.push(gram_, stride_, candidate_.data(), count, smallest, bordering_, entered);
    for (Index place = first; place < set.size(); ++place) begin(set, weights, place, 0.0);
    return set.size() > first;
  }

  // The coefficient and the gradient of an atom that has just entered.
  void begin(ActiveSet<T>& set, const WeightsRow<T>& weights, Index place, double size) {
    const std::int32_t j = set.atom(place);
    const T sign = correlation_[j] < 0 ? T(-1) : T(1);
    set.set_coefficient(place, sign, sign * size);
    gradient_[place] = correlation_[j] - weights.alpha[j] * sign;
    in_set_[j] = 1;
  }

  Index collect_candidates(T threshold) {
    Index found = 0;
    simd::for_each_lane<T>(
        stride_, [&](Index j) { return simd::load(violation_.data() + j) >= threshold; },
        [&](Index j) { candidate_[found++] = static_cast<std::int32_t>(j); });
    return found;
  }

  // Atom j is close to the span of the set. Along the line on which the correlations of S stay, the fit
  // hardly changes and the energy falls, until a coefficient of the set meets zero: that atom leaves, and j
  // enters.
  bool exchange(ActiveSet<T>& set, const WeightsRow<T>& weights, std::int32_t j) {
    const T* row = gram_ + j * stride_;
    const T sign = correlation_[j] < 0 ? T(-1) : T(1);
    T* coefficient = direction_.data();  // of atom j on the set
    const T delta = set.schur(row, j, gradient_scratch_.data(), coefficient);
    double descent = violation_[j];  // the slope at which the energy falls
    for (Index i = 0; i < set.size(); ++i)
      descent -= static_cast<double>(sign * coefficient[i] * gradient_[i]);
    if (!(descent > 0)) return false;
    double step = delta > singularity * row[j] && set.size() < set.capacity()
                      ? descent / static_cast<double>(delta)  // the minimum on the line
                      : std::numeric_limits<double>::infinity();
    Index blocker = -1;
    for (Index i = 0; i < set.size(); ++i) {
      const double d = -static_cast<double>(sign) * coefficient[i];
      if (d * set.sign(i) >= 0) continue;
      const double limit = -set.value(i) / d;
      if (limit < step) {
        step = limit;
        blocker = i;
      }
    }
    if (blocker >= 0) {
      for (Index i = 0; i < set.size(); ++i) set.value(i) -= step * sign * coefficient[i];
      leave(set, blocker);
    }
    bool entered = false;
    if (set.size() == set.capacity() ||
        set.push(gram_, stride_, &j, 1, singularity, bordering_, &entered) == 0)
      return blocker >= 0;
    begin(set, weights, set.size() - 1, blocker >= 0 ? step : 0.0);
    return true;
  }

  // Newton steps until one is taken in full.
  void descend(ActiveSet<T>& set) {
    for (Index i = set.size(); i < set.padded_size(); ++i) gradient_[i] = T(0);
    set.newton_direction(gradient_.data(), direction_.data());
    while (set.size() > 0) {
      double step = 1.0;
      Index blocker = -1;
      for (Index i = 0; i < set.size(); ++i) {
        const double d = direction_[i];
        if (d * set.sign(i) >= 0) continue;
        const double limit = -set.value(i) / d;
        if (limit < step) {
          step = limit;
          blocker = i;
        }
      }
      for (Index i = 0; i < set.size(); ++i) set.value(i) += step * direction_[i];
      if (blocker < 0) return;
      const T rest = static_cast<T>(1.0 - step);
      for (Index i = 0; i < set.size(); ++i) direction_[i] *= rest;
      leave(set, blocker);
    }
  }

  void leave(ActiveSet<T>& set, Index place) {
    in_set_[set.atom(place)] = 0;
    // The gradient follows the place of the last atom, as the set's own arrays do.
    gradient_[place] = gradient_[set.size() - 1];
    gradient_[set.size() - 1] = T(0);
    set.remove(place, direction_.data(), gradient_scratch_.data());
  }

  const T* gram_;
  Index stride_;
  Index n_components_;
  bool positive_;
  Buffer<T> correlation_;
  Buffer<T> violation_;
  Buffer<double> reference_value_;
  Buffer<std::uint8_t> in_set_;
  Buffer<std::int32_t> candidate_;
  BorderingMemory<T> bordering_;
  Buffer<T> gradient_scratch_;
  Buffer<T> gradient_;
  Buffer<T> direction_;
  Buffer<T> change_;
  Buffer<std::int32_t> changed_atom_;
};

}  // namespace thalweg::cpu

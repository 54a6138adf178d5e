// The active-set method on a block of rows: float32 inside, whatever the caller's dtype. The float64
// certificate gives the exact correlations from which the next round corrects; a row that float32 cannot
// serve is finished in float64.
#pragma once

#include <vector>

#include "cpu/lasso_active_set.hpp"
#include "cpu/lasso_coordinate_descent.hpp"
#include "cpu/lasso_prepared.hpp"

namespace thalweg::cpu {

template <class T>
class ActiveSetMethod final : public LassoMethodBase<T> {
 public:
  ActiveSetMethod(const typename CodingDictionary<T>::Prepared& dictionary, const LassoOptions& options,
                  Index capacity, bool shared_alpha)
      : dictionary_(dictionary),
        options_(options),
        code_stride_(simd::padded<float>(dictionary.n_components)),
        set_capacity_(dictionary.l2 > 0 ? dictionary.n_components
                                        : std::min(dictionary.n_components, dictionary.n_features)),
        solver_(dictionary.template gram<float>().data(), code_stride_, dictionary.n_components,
                set_capacity_, options.positive),
        x_(capacity * dictionary.n_features),
        x_correlation_(capacity * code_stride_),
        reference_correlation_(code_stride_),
        shift_(code_stride_, 0.0f),
        reference_atom_(dictionary.n_components),
        reference_value_(dictionary.n_components),
        alpha_((shared_alpha ? 1 : capacity) * code_stride_),
        inverse_alpha_((shared_alpha ? 1 : capacity) * code_stride_),
        alpha_stride_(shared_alpha ? 0 : code_stride_),
        rounds_(capacity),
        last_gap_(capacity),
        stage_(capacity),
        largest_atom_(largest_atom(dictionary)) {
    for (Index p = 0; p < capacity; ++p) sets_.emplace_back(set_capacity_);
  }

  [[nodiscard]] bool starts_from_certificate() const override { return options_.warm_start; }

  void start(LassoBlock<T>& block) override {
    if (alpha_stride_ > 0 || !weights_ready_) {
      for (Index p = 0; p < (alpha_stride_ > 0 ? block.count : 1); ++p)
        for (Index j = 0; j < code_stride_; ++j) {
          alpha_[p * alpha_stride_ + j] = static_cast<float>(block.alpha_row(p)[j]);
          inverse_alpha_[p * alpha_stride_ + j] = static_cast<float>(1.0 / block.alpha_row(p)[j]);
        }
      weights_ready_ = true;
    }
    for (Index p = 0; p < block.count; ++p)
      for (Index k = 0; k < dictionary_.n_features; ++k)
        x_[p * dictionary_.n_features + k] = static_cast<float>(block.x_row(p)[k]);
    matmul<float>({x_.data(), block.count, dictionary_.n_features}, dictionary_.template transposed<float>(),
                  [&](Index p, Index col, simd::Vec<float> acc) {
                    simd::store(x_correlation_.data() + p * code_stride_ + col, acc);
                  });
    for (Index p = 0; p < block.count; ++p) {
      sets_[static_cast<std::size_t>(p)].clear();
      rounds_[p] = 0;
      stage_[p] = Stage::single;
      last_gap_[p] = std::numeric_limits<double>::infinity();
    }
    if (options_.warm_start) warm_start(block);
  }

  // A round of the method, however many iterations it takes: the certificate is worth its price only then.
  void advance(LassoBlock<T>& block, Index) override {
    for (Index p = 0; p < block.count; ++p) advance_row(block, p);
  }

  void move(Index from, Index to) override {
    std::swap(sets_[static_cast<std::size_t>(from)], sets_[static_cast<std::size_t>(to)]);
    std::copy_n(x_correlation_.data() + from * code_stride_, code_stride_,
                x_correlation_.data() + to * code_stride_);
    if (alpha_stride_ > 0) {
      std::copy_n(alpha_.data() + from * code_stride_, code_stride_, alpha_.data() + to * code_stride_);
      std::copy_n(inverse_alpha_.data() + from * code_stride_, code_stride_,
                  inverse_alpha_.data() + to * code_stride_);
    }
    rounds_[to] = rounds_[from];
    last_gap_[to] = last_gap_[from];
    stage_[to] = stage_[from];
  }

 private:
  void warm_start(LassoBlock<T>& block) {
    for (Index p = 0; p < block.count; ++p) {
      auto& set = sets_[static_cast<std::size_t>(p)];
      for (Index j = 0; j < dictionary_.n_components; ++j) {
        const double value = block.code_row(p)[j];
        if (value != 0 && !solver_.enter(set, static_cast<std::int32_t>(j), value))
          block.code_row(p)[j] = T(0);
      }
    }
  }

  // What a row is worked on with: the inverse in float32, the inverse in float64, and, where the atoms are
  // too close to dependence for either, coordinate descent, which nothing can break.
  enum class Stage : std::uint8_t { single, precise, descent };
  static constexpr Index descent_sweeps = 10;
  // Below this a gap may well be that of the best codes that T can hold.
  static constexpr double rounding_gap = 64.0 * std::numeric_limits<T>::epsilon();

  // A stage that gains too little hands on to the next.
  void choose_stage(LassoBlock<T>& block, Index p) {
    const double gap = block.certificate[p].gap;
    if (stage_[p] == Stage::descent) return;  // goes on as long as the driver lets it
    if (!(gap < 0.5 * last_gap_[p])) {
      if (stage_[p] == Stage::single)
        stage_[p] = Stage::precise;
      else if (gap < rounding_gap)
        block.exhausted[p] = 1;
      else
        begin_descent(block, p);
    }
    last_gap_[p] = gap;
  }

  void begin_descent(LassoBlock<T>& block, Index p) {
    stage_[p] = Stage::descent;
    if (is_no_worse_than_zero(block, p)) return;
    std::fill_n(block.code_row(p), dictionary_.n_components, T(0));
    correlate_sample(block, p, block.correlation_row(p));
  }

  // False where numbers overflowed, too.
  static bool is_no_worse_than_zero(const LassoBlock<T>& block, Index p) {
    return block.certificate[p].gap <= 1.0;
  }

  // <x, d_j> of all atoms, in float64.
  void correlate_sample(const LassoBlock<T>& block, Index p, double* correlation) const {
    matmul<double>({block.x_row(p), 1, dictionary_.n_features}, dictionary_.template transposed<double>(),
                   [&](Index, Index col, simd::Vec<double> acc) { simd::store(correlation + col, acc); });
  }

  CoordinateDescentMethod<T, Penalty::l1>& descent() {
    if (!descent_)
      descent_ = std::make_unique<CoordinateDescentMethod<T, Penalty::l1>>(dictionary_, options_, 0, false);
    return *descent_;
  }

  void advance_row(LassoBlock<T>& block, Index p) {
    auto& set = sets_[static_cast<std::size_t>(p)];
    const Certificate& certificate = block.certificate[p];
    const bool first = rounds_[p]++ == 0;
    if (!first) choose_stage(block, p);
    if (block.exhausted[p]) return;
    if (stage_[p] == Stage::descent) {
      descent().advance_row(block, p, std::min(descent_sweeps, options_.max_iter - block.n_iter[p]));
      return;
    }
    ReferencePoint ref{0, reference_atom_.data(), reference_value_.data(), certificate.residual_squared,
                       certificate.x_residual};
    const T* codes = block.code_row(p);
    if (stage_[p] == Stage::precise) {
      solve_in_double(block, p, ref);
      return;
    }
    const float* c_ref = x_correlation_.data() + p * code_stride_;
    if (first && !options_.warm_start) {
      ref.residual_squared = ref.x_residual = block.x_squared[p];
    } else {
      take_reference(set, codes, ref);
      shift_correlations(set, block, p);
      c_ref = reference_correlation_.data();
    }
    const WeightsRow<float> weights{alpha_.data() + p * alpha_stride_,
                                    inverse_alpha_.data() + p * alpha_stride_};
    const double target = 0.9 * options_.tol * 0.5 * block.x_squared[p];
    const auto outcome = solver_.run(set, c_ref, shift_.data(), x_correlation_.data() + p * code_stride_, ref,
                                     weights, target, options_.max_iter, block.n_iter[p]);
    for (Index i = 0; i < ref.count; ++i) shift_[ref.atom[i]] = 0.0f;
    if (outcome == ActiveSetOutcome::broken) {
      stage_[p] = Stage::precise;
      last_gap_[p] = std::numeric_limits<double>::infinity();
    }
    write_codes(set, ref, block.code_row(p));
    if (outcome == ActiveSetOutcome::reached && first && !options_.warm_start)
      block.n_suspects[p] =
          solver_.find_suspects(weights, correlation_error(set, block.x_squared[p]), block.suspects_row(p));
  }

  // The largest norm of an atom, l2 included.
  static double largest_atom(const typename CodingDictionary<T>::Prepared& dictionary) {
    double squared = 0.0;
    for (Index j = 0; j < dictionary.n_components; ++j) {
      const double* d = dictionary.atom(j);
      squared = std::max(squared, dot(d, d, dictionary.feature_stride));
    }
    return std::sqrt(squared + dictionary.l2);
  }

  // How far rounding can have taken the float32 correlations x D^T - z G of a first round: each of the three
  // products rounds as often as it has terms, once more for each factor.
  [[nodiscard]] float correlation_error(const ActiveSet<float>& set, double x_squared) const {
    double l1 = 0.0;
    for (Index i = 0; i < set.size(); ++i) l1 += std::abs(set.value(i));
    const auto roundings = static_cast<double>(dictionary_.n_features + set.size() + 8);
    const double size = largest_atom_ * (std::sqrt(x_squared) + largest_atom_ * l1);
    const double rounded = 0.51 * std::numeric_limits<float>::epsilon() * roundings * size;
    const double vanished = std::numeric_limits<float>::denorm_min() * roundings * (1 + largest_atom_);
    return static_cast<float>(rounded + vanished);
  }

  // The codes as they were rounded for the certificate become the set's coefficients and the reference.
  void take_reference(ActiveSet<float>& set, const T* codes, ReferencePoint& ref) {
    for (Index i = 0; i < set.size(); ++i) {
      const std::int32_t j = set.atom(i);
      set.value(i) = codes[j];
      if (codes[j] == 0) continue;
      ref.atom[ref.count] = j;
      ref.value[ref.count++] = codes[j];
    }
  }

  void shift_correlations(const ActiveSet<float>& set, const LassoBlock<T>& block, Index p) {
    const double* c = block.correlation_row(p);
    const double* alpha = block.alpha_row(p);
    for (Index j = 0; j < code_stride_; ++j) reference_correlation_[j] = static_cast<float>(c[j]);
    for (Index i = 0; i < set.size(); ++i) {
      const std::int32_t j = set.atom(i);
      if (set.value(i) == 0) continue;
      shift_[j] = static_cast<float>(alpha[j]) * set.sign(i);
      reference_correlation_[j] = static_cast<float>(c[j] - alpha[j] * set.sign(i));
    }
  }

  template <class S>
  void write_codes(const ActiveSet<S>& set, const ReferencePoint& ref, T* codes) {
    for (Index i = 0; i < ref.count; ++i) codes[ref.atom[i]] = T(0);
    for (Index i = 0; i < set.size(); ++i) codes[set.atom(i)] = static_cast<T>(set.value(i));
  }

  struct Precise {
    ActiveSetSolver<double> solver;
    ActiveSet<double> set;
    Buffer<double> x_correlation;
    Buffer<double> inverse_alpha;
    Buffer<double> no_shift;
  };

  void solve_in_double(LassoBlock<T>& block, Index p, ReferencePoint& ref) {
    const Index stride = simd::padded<double>(dictionary_.n_components);
    if (!double_) {
      double_ = std::make_unique<Precise>(
          Precise{ActiveSetSolver<double>(dictionary_.template gram<double>().data(), stride,
                                          dictionary_.n_components, set_capacity_, options_.positive),
                  ActiveSet<double>(set_capacity_), Buffer<double>(code_stride_, 0.0),
                  Buffer<double>(code_stride_, 1.0), Buffer<double>(code_stride_, 0.0)});
    }
    correlate_sample(block, p, double_->x_correlation.data());
    for (Index j = 0; j < code_stride_; ++j) double_->inverse_alpha[j] = 1.0 / block.alpha_row(p)[j];
    T* codes = block.code_row(p);
    double_->set.clear();
    const double* c_ref = block.correlation_row(p);
    if (!is_no_worse_than_zero(block, p)) {
      std::fill_n(codes, dictionary_.n_components, T(0));
      ref.residual_squared = ref.x_residual = block.x_squared[p];
      c_ref = double_->x_correlation.data();
    }
    for (Index j = 0; j < dictionary_.n_components; ++j) {
      if (codes[j] == 0) continue;
      ref.atom[ref.count] = static_cast<std::int32_t>(j);
      ref.value[ref.count++] = codes[j];
      double_->solver.enter(double_->set, static_cast<std::int32_t>(j), codes[j]);
    }
    const WeightsRow<double> weights{block.alpha_row(p), double_->inverse_alpha.data()};
    const double target = 0.5 * options_.tol * 0.5 * block.x_squared[p];
    const auto outcome =
        double_->solver.run(double_->set, c_ref, double_->no_shift.data(), double_->x_correlation.data(), ref,
                            weights, target, options_.max_iter, block.n_iter[p]);
    if (outcome != ActiveSetOutcome::broken) write_codes(double_->set, ref, codes);
  }

  const typename CodingDictionary<T>::Prepared& dictionary_;
  const LassoOptions& options_;
  Index code_stride_;
  Index set_capacity_;
  ActiveSetSolver<float> solver_;
  std::vector<ActiveSet<float>> sets_;
  Buffer<float> x_;
  Buffer<float> x_correlation_;
  Buffer<float> reference_correlation_;
  Buffer<float> shift_;
  Buffer<std::int32_t> reference_atom_;
  Buffer<double> reference_value_;
  Buffer<float> alpha_;
  Buffer<float> inverse_alpha_;
  Index alpha_stride_;
  bool weights_ready_ = false;
  Buffer<Index> rounds_;
  Buffer<double> last_gap_;
  Buffer<Stage> stage_;
  double largest_atom_;
  std::unique_ptr<CoordinateDescentMethod<T, Penalty::l1>> descent_;
  std::unique_ptr<Precise> double_;
};

}  // namespace thalweg::cpu

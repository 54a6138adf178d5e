// Score matching on the CPU, a chunk of rows after the other: sums and activations by blocks of rows; the
// quadratic forms by blocks of rows, beside the gradient in G by rows of G; the rest by blocks of parameters.
#include "kernels/score_matching.hpp"

#include <algorithm>
#include <vector>

#include "core/buffer.hpp"
#include "core/error.hpp"
#include "core/parallel.hpp"
#include "cpu/density_activation.hpp"
#include "cpu/density_layers.hpp"
#include "cpu/density_sums.hpp"
#include "cpu/matmul.hpp"

namespace thalweg {
namespace {

constexpr Index block_rows = 12;               // of one task
constexpr Index chunk_rows = 20 * block_rows;  // in work at once
constexpr Index parameter_rows = 24;           // of one task
constexpr Index form_rows = 48;                // of W o s' that stay in the first-level cache

template <class T>
struct Worker {
  Buffer<T> forms, row_sums, pairs, columns;
};

// A row-major matrix of its own, rows padded.
template <class T>
struct Table {
  Index stride = 0;
  Buffer<T> data;

  Table() = default;
  Table(Index rows, Index stride_) : stride(stride_), data(rows * stride_) {}
  [[nodiscard]] T* row(Index r) const { return data.data() + r * stride; }
  [[nodiscard]] simd::Vec<T> at(Index r, Index j) const { return simd::load(row(r) + j); }
  void put(Index r, Index j, simd::Vec<T> v) const { simd::store(row(r) + j, v); }
  [[nodiscard]] MatrixView<const T> view(Index first, Index rows, Index cols) const {
    return {row(first), rows, cols, stride};
  }
  void clear() const { std::fill_n(data.data(), data.size(), T(0)); }
};

template <class T>
class ScoreMatcher {
 public:
  using V = simd::Vec<T>;
  static constexpr int lanes = simd::lanes<T>;

  ScoreMatcher(const DensityView<T>& view, Index rows, const DensityGradient<T>& gradient, int n_jobs)
      : view_(view),
        gradient_(gradient),
        D_(view.n_features),
        H_(view.layers[0].weights.rows),
        K_(view.top_weights.rows),
        h_stride_(simd::padded<T>(H_)),
        k_stride_(simd::padded<T>(K_)),
        left_stride_(simd::padded<T>(H_ + 1)),
        inverse_variance_(static_cast<T>(view.inverse_variance)),
        jobs_(jobs_for(rows * H_ * (D_ + K_ * H_), n_jobs)),
        workers_(static_cast<std::size_t>(thread_count(jobs_))),
        up_(D_, h_stride_),
        top_up_(H_, k_stride_),
        gram_(H_, h_stride_),
        of_gram_(H_, h_stride_),
        symmetric_(H_, left_stride_),
        bias_(cpu::padded_vector(view.layers[0].bias, H_, h_stride_)),
        top_bias_(cpu::padded_vector(view.top_bias, K_, k_stride_)),
        of_bias_(h_stride_, T(0)),
        diagonal_(h_stride_, T(0)),
        of_diagonal_(h_stride_, T(0)),
        of_visible_bias_(left_stride_, T(0)),
        t_sum_(h_stride_, T(0)) {
    const Index n = std::min(rows, chunk_rows);
    for (auto* table : {&u_, &s0_, &s1_, &s2_, &s3_, &q_, &t_, &e_, &dq_, &du_, &ds1_})
      *table = Table<T>(n, h_stride_);
    for (auto* table : {&p_, &p1_, &p2_, &y_, &dz_}) *table = Table<T>(n, k_stride_);
    left_ = Table<T>(n, left_stride_);
    squares_ = Buffer<double>(n);
    products_ = Buffer<double>(n);
    of_scale_ = Buffer<double>(n);
    const Index n_blocks = block_count(n, block_rows);
    of_top_ = Buffer<T>(n_blocks * K_ * h_stride_);
    top_.stride = h_stride_;
    top_.data = cpu::padded_rows(view.top_weights, h_stride_);
    prepare();
  }

  double run(MatrixView<const T> X, double* objective) {
    double of_log_sigma = 0;
    for (Index first = 0; first < X.rows; first += chunk_rows) {
      const auto rows = X.middle_rows(first, std::min(chunk_rows, X.rows - first));
      is_first_ = first == 0;
      is_last_ = first + rows.rows == X.rows;
      X_ = rows;
      ascend(first == 0);
      descend(objective + first);
      sum_parameters();
      sum_columns();
      for (Index r = 0; r < rows.rows; ++r) of_log_sigma += of_scale_[r];
      n_done_ += rows.rows;
    }
    return of_log_sigma;
  }

 private:
  void prepare() {
    transpose<T>(view_.layers[0].weights, nullptr, up_.data.data(), h_stride_, jobs_);
    transpose<T>(view_.top_weights, nullptr, top_up_.data.data(), k_stride_, 1);
    of_gram_.clear();
    symmetric_.clear();
    cpu::matmul<T>(MatrixView<const T>(view_.visible_bias, 1, D_), up_.data.data(), h_stride_, h_stride_,
                   [&](Index, Index col, V acc) { simd::store(of_bias_.data() + col, acc); });
    bias_square_ = cpu::wide_dot(view_.visible_bias, view_.visible_bias, D_);
  }

  // --- sums and activations

  void ascend(bool needs_gram) {
    const Index n_gram = needs_gram ? block_count(H_, block_rows) : 0;
    parallel_for(n_gram + n_blocks(), jobs_, [&](Index task, int) {
      if (task < n_gram)
        gram_rows(task * block_rows);
      else
        ascend_rows((task - n_gram) * block_rows);
    });
  }

  [[nodiscard]] Index n_blocks() const { return block_count(X_.rows, block_rows); }
  [[nodiscard]] Index rows_from(Index first) const { return std::min(block_rows, X_.rows - first); }

  void gram_rows(Index first) {
    const Index rows = std::min(block_rows, H_ - first);
    cpu::matmul<T>(view_.layers[0].weights.middle_rows(first, rows), up_.data.data(), h_stride_, h_stride_,
                   [&](Index r, Index col, V acc) { gram_.put(first + r, col, acc); });
    for (Index h = first; h < first + rows; ++h) diagonal_[h] = gram_.row(h)[h];
  }

  void ascend_rows(Index first) {
    const Index rows = rows_from(first);
    cpu::matmul<T>(
        X_.middle_rows(first, rows), up_.data.data(), h_stride_, h_stride_,
        [&](Index r, Index col, V acc) { u_.put(first + r, col, acc + simd::load(bias_.data() + col)); });
    cpu::with_activation(view_.layers[0].activation, [&](auto tag) {
      constexpr auto s = decltype(tag)::value;
      if constexpr (s != DensityActivation::relu)
        for (Index r = first; r < first + rows; ++r)
          for (Index j = 0; j < h_stride_; j += lanes) {
            V d[4];
            cpu::derivatives<T, s, 3>(u_.at(r, j), d);
            s0_.put(r, j, d[0]);
            s1_.put(r, j, d[1]);
            s2_.put(r, j, d[2]);
            s3_.put(r, j, d[3]);
          }
    });
    cpu::matmul<T>(
        s0_.view(first, rows, H_), top_up_.data.data(), k_stride_, k_stride_, [&](Index r, Index col, V acc) {
          V d[3];
          cpu::derivatives<T, DensityActivation::sigmoid, 2>(acc + simd::load(top_bias_.data() + col), d);
          p_.put(first + r, col, d[0]);
          p1_.put(first + r, col, d[1]);
          p2_.put(first + r, col, d[2]);
        });
    cpu::matmul<T>(p_.view(first, rows, K_), top_.data.data(), h_stride_, h_stride_,
                   [&](Index r, Index col, V acc) {
                     q_.put(first + r, col, acc);
                     t_.put(first + r, col, acc * s1_.at(first + r, col));
                   });
    for (Index r = first; r < first + rows; ++r) {
      squares_[r] = cpu::wide_dot(X_.row(r), X_.row(r), D_);
      products_[r] = cpu::wide_dot(X_.row(r), view_.visible_bias, D_);
    }
  }

  // --- objective and derivatives in the sums

  void descend(double* objective) {
    const Index n_gram = block_count(H_, gram_group);
    parallel_for(n_blocks() + n_gram, jobs_, [&](Index task, int worker) {
      Worker<T>& own = workers_[static_cast<std::size_t>(worker)];
      if (task < n_blocks())
        descend_rows(task, objective, own);
      else
        gram_gradient((task - n_blocks()) * gram_group, own);
    });
  }

  // y_k = a_k' G a_k with a_k = s' o w_k, and what follows of sum_k p'_k y_k for s' and, in `of_top`, for W.
  void quadratic_forms(Index r, T* of_top, Worker<T>& own) {
    T* const a = at_least(own.forms, form_rows * h_stride_);
    T* const sums = at_least(own.row_sums, k_stride_ * lanes);
    std::fill_n(sums, k_stride_ * lanes, T(0));
    const T* const s1 = s1_.row(r);
    const T* const p1 = p1_.row(r);
    T* const ds1 = ds1_.row(r);
    std::fill_n(ds1, h_stride_, T(0));
    for (Index first = 0; first < K_; first += form_rows) {
      const Index rows = std::min(form_rows, K_ - first);
      for (Index k = 0; k < rows; ++k)
        for (Index j = 0; j < h_stride_; j += lanes)
          simd::store(a + k * h_stride_ + j, top_.at(first + k, j) * simd::load(s1 + j));
      cpu::matmul<T>(MatrixView<const T>(a, rows, H_, h_stride_), gram_.data.data(), h_stride_, h_stride_,
                     [&](Index k, Index col, V acc) {
                       const V weighed = acc * (2 * p1[first + k]);
                       T* const w = of_top + (first + k) * h_stride_ + col;
                       T* const y = sums + (first + k) * lanes;
                       simd::store(w, simd::load(w) + weighed * simd::load(s1 + col));
                       simd::store(ds1 + col, simd::load(ds1 + col) + weighed * top_.at(first + k, col));
                       simd::store(y, simd::load(y) + acc * simd::load(a + k * h_stride_ + col));
                     });
      poll_interrupt();
    }
    for (Index k = 0; k < k_stride_; k += lanes) {
      V square[lanes];
      for (int l = 0; l < lanes; ++l) square[l] = simd::load(sums + (k + l) * lanes);
      simd::transpose<T>(square);
      for (int half = lanes / 2; half > 0; half /= 2)
        for (int l = 0; l < half; ++l) square[l] += square[l + half];
      y_.put(r, k, square[0]);
    }
  }

  void descend_rows(Index block, double* objective, Worker<T>& own) {
    const Index first = block * block_rows;
    const Index rows = rows_from(first);
    T* const of_top = of_top_.data() + block * K_ * h_stride_;
    std::fill_n(of_top, K_ * h_stride_, T(0));
    for (Index r = first; r < first + rows; ++r) quadratic_forms(r, of_top, own);
    T* const terms = at_least(own.row_sums, rows * h_stride_);
    // e = V psi = V r + G t
    cpu::matmul<T>(t_.view(first, rows, H_), gram_.data.data(), h_stride_, h_stride_,
                   [&](Index i, Index col, V acc) {
                     const Index r = first + i;
                     const V plain = simd::load(of_bias_.data() + col) -
                                     inverse_variance_ * (u_.at(r, col) - simd::load(bias_.data() + col));
                     const V e = plain + acc;
                     const V g = simd::load(diagonal_.data() + col);
                     e_.put(r, col, e);
                     dq_.put(r, col, s1_.at(r, col) * e + s2_.at(r, col) * g);
                     simd::store(terms + i * h_stride_ + col,
                                 t_.at(r, col) * (plain + T(0.5) * acc) + q_.at(r, col) * s2_.at(r, col) * g);
                   });
    for (Index i = 0; i < rows; ++i) finish_objective(first + i, terms + i * h_stride_, objective);
    cpu::matmul<T>(dq_.view(first, rows, H_), top_up_.data.data(), k_stride_, k_stride_,
                   [&](Index i, Index col, V acc) {
                     const Index r = first + i;
                     dz_.put(r, col, acc * p1_.at(r, col) + y_.at(r, col) * p2_.at(r, col));
                   });
    cpu::matmul<T>(
        dz_.view(first, rows, K_), top_.data.data(), h_stride_, h_stride_, [&](Index i, Index col, V acc) {
          const Index r = first + i;
          const V q = q_.at(r, col);
          const V g = simd::load(diagonal_.data() + col);
          const V du = acc * s1_.at(r, col) + (q * e_.at(r, col) + ds1_.at(r, col)) * s2_.at(r, col) +
                       q * g * s3_.at(r, col);
          du_.put(r, col, du);
          left_.put(r, col, du - inverse_variance_ * t_.at(r, col));
        });
    for (Index r = first; r < first + rows; ++r) left_.row(r)[H_] = -inverse_variance_;
  }

  void finish_objective(Index r, const T* terms, double* objective) {
    const double scale = view_.inverse_variance;
    const double curvature = cpu::wide_dot(p1_.row(r), y_.row(r), K_);
    const double plain = bias_square_ - 2 * scale * products_[r] + scale * scale * squares_[r];
    objective[r] = 0.5 * plain + cpu::wide_sum(terms, H_) + curvature - static_cast<double>(D_) * scale;
    // x'psi = x'b - ||x||^2 / sigma^2 + t'(V x)
    const double hidden =
        cpu::wide_dot(t_.row(r), u_.row(r), H_) - cpu::wide_dot(t_.row(r), bias_.data(), H_);
    of_scale_[r] = 2 * scale * (products_[r] - scale * squares_[r] + hidden + static_cast<double>(D_));
  }

  // Rows of sum_n (s's'') o (W' diag(p') W), from the diagonal's vector on.
  void gram_gradient(Index first, Worker<T>& own) {
    T* const pairs = at_least(own.pairs, K_ * h_stride_);
    for (Index h = first; h < std::min(H_, first + gram_group); ++h) {
      const Index from = h / lanes * lanes;
      const Index width = h_stride_ - from;
      for (Index k = 0; k < K_; ++k) {
        const V w = simd::broadcast(top_.row(k)[h]);
        for (Index j = 0; j < width; j += lanes) simd::store(pairs + k * width + j, w * top_.at(k, from + j));
      }
      T* const out = of_gram_.row(h) + from;
      cpu::matmul<T>(p1_.view(0, X_.rows, K_), pairs, width, width, [&](Index r, Index col, V acc) {
        const V both = s1_.row(r)[h] * s1_.at(r, from + col);
        simd::store(out + col, simd::load(out + col) + acc * both);
      });
      poll_interrupt();
    }
  }

  // --- sums over rows

  void sum_parameters() {
    const Index n_top = block_count(K_, parameter_rows);
    const Index n_gram = block_count(H_, parameter_rows);
    parallel_for(n_top + n_gram + 1, jobs_, [&](Index task, int) {
      if (task < n_top)
        top_gradient(task * parameter_rows);
      else if (task < n_top + n_gram)
        symmetric_rows((task - n_top) * parameter_rows);
      else
        sum_vectors();
    });
  }

  void top_gradient(Index first) {
    const Index rows = std::min(parameter_rows, K_ - first);
    const auto add = [&](Index r, Index col, V acc, bool adds) {
      cpu::put_vector(gradient_.top_weights.row(first + r) + col, acc, H_ - col, adds);
    };
    const Index n = X_.rows;
    cpu::transposed_matmul<T>(MatrixView<const T>(p_.row(0) + first, n, rows, k_stride_), dq_.data.data(),
                              h_stride_, h_stride_,
                              [&](Index r, Index col, V acc) { add(r, col, acc, !is_first_); });
    cpu::transposed_matmul<T>(MatrixView<const T>(dz_.row(0) + first, n, rows, k_stride_), s0_.data.data(),
                              h_stride_, h_stride_,
                              [&](Index r, Index col, V acc) { add(r, col, acc, true); });
    for (Index r = 0; r < rows; ++r)
      for (Index col = 0; col < h_stride_; col += lanes) {
        V sum = {};
        for (Index b = 0; b < n_blocks(); ++b)
          sum += simd::load(of_top_.data() + (b * K_ + first + r) * h_stride_ + col);
        add(r, col, sum, true);
      }
  }

  // Rows of Q = sum_n t t' + 2 dG + 2 diag(sum_n q o s''), complete after the last chunk; the column behind
  // them sum_n t, for the visible bias.
  void symmetric_rows(Index first) {
    const Index rows = std::min(parameter_rows, H_ - first);
    cpu::transposed_matmul<T>(MatrixView<const T>(t_.row(0) + first, X_.rows, rows, h_stride_),
                              t_.data.data(), h_stride_, h_stride_, [&](Index r, Index col, V acc) {
                                cpu::put_vector(symmetric_.row(first + r) + col, acc, H_ - col, true);
                              });
    if (!is_last_) return;
    for (Index h = first; h < first + rows; ++h) {
      T* const out = symmetric_.row(h);
      const Index from = h / lanes * lanes;
      for (Index j = 0; j < from; ++j) out[j] += 2 * of_gram_.row(j)[h];
      for (Index j = from; j < H_; ++j) out[j] += 2 * of_gram_.row(h)[j];
    }
  }

  void sum_vectors() {
    const Index n = X_.rows;
    const auto sum_rows = [&](const Table<T>& table, Index cols, T* out, bool adds) {
      for (Index j = 0; j < cols; j += lanes) {
        V sum = {};
        for (Index r = 0; r < n; ++r) sum += table.at(r, j);
        cpu::put_vector(out + j, sum, cols - j, adds);
      }
    };
    if (gradient_.layers[0].bias != nullptr) sum_rows(du_, H_, gradient_.layers[0].bias, !is_first_);
    sum_rows(dz_, K_, gradient_.top_bias, !is_first_);
    sum_rows(t_, H_, t_sum_.data(), true);
    for (Index j = 0; j < h_stride_; j += lanes) {
      V sum = {};
      for (Index r = 0; r < n; ++r) sum += q_.at(r, j) * s2_.at(r, j);
      simd::store(of_diagonal_.data() + j, simd::load(of_diagonal_.data() + j) + sum);
    }
  }

  // Panels of columns of [E X + Q V + (sum t) b'] and, in the row behind, of the visible bias's.
  void sum_columns() {
    if (is_last_)
      for (Index h = 0; h < H_; ++h) {
        symmetric_.row(h)[h] += 2 * of_diagonal_[h];
        symmetric_.row(h)[H_] = t_sum_[h];
        of_visible_bias_[h] = t_sum_[h];
      }
    of_visible_bias_[H_] = static_cast<T>(n_done_ + X_.rows);
    parallel_for(block_count(D_, cpu::column_panel<T>), jobs_, [&](Index task, int worker) {
      sum_panel(task * cpu::column_panel<T>, workers_[static_cast<std::size_t>(worker)].columns);
    });
  }

  void sum_panel(Index first, Buffer<T>& scratch) {
    const auto row_of = [&](Index r) {
      return (r < H_ ? gradient_.layers[0].weights.row(r) : gradient_.visible_bias) + first;
    };
    const auto x = cpu::columns_from(X_, first, scratch);
    cpu::transposed_matmul<T>(
        left_.view(0, X_.rows, H_ + 1), x.data, x.stride, x.padded,
        [&](Index r, Index col, V acc) { cpu::put_vector(row_of(r) + col, acc, x.cols - col, !is_first_); });
    if (!is_last_) return;
    const auto v = cpu::columns_from(view_.layers[0].weights, first, scratch);
    cpu::transposed_matmul<T>(
        symmetric_.view(0, H_, H_ + 1), v.data, v.stride, v.padded,
        [&](Index r, Index col, V acc) { cpu::put_vector(row_of(r) + col, acc, v.cols - col, true); });
    const auto b = cpu::columns_from(MatrixView<const T>(view_.visible_bias, 1, D_), first, scratch);
    for (Index r = 0; r <= H_; ++r)
      for (Index col = 0; col < b.padded; col += lanes)
        cpu::put_vector(row_of(r) + col, of_visible_bias_[r] * simd::load(b.data + col), b.cols - col, true);
  }

  static constexpr Index gram_group = 4;

  const DensityView<T>& view_;
  const DensityGradient<T>& gradient_;
  Index D_, H_, K_;
  Index h_stride_, k_stride_, left_stride_;
  T inverse_variance_;
  int jobs_;
  std::vector<Worker<T>> workers_;

  // Of the parameters: V', W, W', G = V V', its gradient from the diagonal on, and Q.
  Table<T> up_, top_, top_up_, gram_, of_gram_, symmetric_;
  Buffer<T> bias_, top_bias_;
  Buffer<T> of_bias_;          // V b
  Buffer<T> diagonal_;         // of G
  Buffer<T> of_diagonal_;      // sum_n q o s''
  Buffer<T> of_visible_bias_;  // sum_n t, and the number of rows
  Buffer<T> t_sum_;
  double bias_square_ = 0;

  // Of a chunk's rows: u, s and its derivatives, W'p, t, V psi, and derivatives of the objective.
  MatrixView<const T> X_;
  bool is_first_ = true;
  bool is_last_ = true;
  Index n_done_ = 0;
  Table<T> u_, s0_, s1_, s2_, s3_, q_, t_, e_, dq_, du_, ds1_;
  Table<T> p_, p1_, p2_, y_, dz_;
  Table<T> left_;  // what weighs the rows of X in the gradient of V, and of the visible bias
  Buffer<double> squares_, products_, of_scale_;
  Buffer<T> of_top_;  // each block's part of the gradient of W
};

}  // namespace

template <class T>
double density_score_matching(const DensityView<T>& view, MatrixView<const T> X, double* objective,
                              const DensityGradient<T>& gradient, int n_jobs) {
  check_shapes(view);
  require(view.layers.size() == 1, "weights: expected one hidden layer, got ", view.layers.size());
  require(view.layers[0].activation != DensityActivation::relu,
          "activation: expected one with a second derivative, got relu");
  require(X.rows >= 1, "X: expected at least one row");
  return ScoreMatcher<T>(view, X.rows, gradient, n_jobs).run(X, objective);
}

template double density_score_matching(const DensityView<float>&, MatrixView<const float>, double*,
                                       const DensityGradient<float>&, int);
template double density_score_matching(const DensityView<double>&, MatrixView<const double>, double*,
                                       const DensityGradient<double>&, int);

}  // namespace thalweg

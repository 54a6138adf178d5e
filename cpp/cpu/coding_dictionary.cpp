// The prepared dictionary that the coders share.
#include "cpu/lasso_prepared.hpp"

#include <Eigen/Dense>

#include "core/error.hpp"
#include "core/rng.hpp"

namespace thalweg {

template <class T>
CodingDictionary<T>::Prepared::Prepared(MatrixView<const T> d, double l2_, int n_jobs_)
    : n_components(d.rows),
      n_features(d.cols),
      feature_stride(simd::padded<double>(d.cols)),
      n_jobs(n_jobs_),
      atoms(d.rows * feature_stride, 0.0) {
  require(d.rows > 0 && d.cols > 0, "dictionary: expected at least one atom and one feature, got shape (",
          d.rows, ", ", d.cols, ")");
  require(l2_ >= 0 && std::isfinite(l2_), "l2: expected a finite number >= 0, got ", l2_);
  double largest = 0.0;
  for (Index j = 0; j < d.rows; ++j) {
    double norm = 0.0;
    for (Index k = 0; k < d.cols; ++k) norm = std::hypot(norm, static_cast<double>(d(j, k)));
    largest = std::max(largest, norm);
  }
  scale = unit_scale(largest);
  l2 = l2_ * scale * scale;
  for (Index j = 0; j < d.rows; ++j)
    for (Index k = 0; k < d.cols; ++k) atoms[j * feature_stride + k] = static_cast<double>(d(j, k)) * scale;
}

namespace {

using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using Atoms = Eigen::Map<const Matrix, 0, Eigen::OuterStride<>>;

// Up to this size the eigenvalues are computed; beyond, Lanczos' estimate takes a fraction of the time.
constexpr Index exact_size = 512;

double largest_eigenvalue(const Atoms& d) {
  const Matrix square = d.cols() <= d.rows() ? Matrix(d.transpose() * d) : Matrix(d * d.transpose());
  const double largest =
      Eigen::SelfAdjointEigenSolver<Matrix>(square, Eigen::EigenvaluesOnly).eigenvalues().maxCoeff();
  return largest * (1.0 + 1e-10);  // the margin covers the eigenvalue's own rounding
}

// After m steps from a random vector Lanczos' estimate of an n x n matrix falls short of the largest
// eigenvalue by more than its share e with probability at most 1.648 sqrt(n) exp(-sqrt(e) (2 m - 1)) (J.
// Kuczynski, H. Wozniakowski, SIAM J. Matrix Anal. Appl. 13, 1992, theorem 4.2): e is chosen to make this
// 1e-15.
double bound_largest_eigenvalue(const Atoms& d) {
  constexpr Index steps = 160;
  const Index n = d.cols();
  Matrix basis(steps + 1, n);
  Eigen::VectorXd diagonal(steps);
  Eigen::VectorXd off_diagonal(steps);
  for (Index k = 0; k < n; k += 2) {
    const auto pair = rng::normals(rng::Sequence{}.block(static_cast<std::uint32_t>(k / 2)));
    basis(0, k) = pair[0];
    if (k + 1 < n) basis(0, k + 1) = pair[1];
  }
  basis.row(0).normalize();
  Index made = 0;
  while (made < steps) {
    poll_interrupt();
    Eigen::VectorXd next = d.transpose() * (d * basis.row(made).transpose());
    diagonal[made] = next.dot(basis.row(made));
    const auto known = basis.topRows(made + 1);
    for (int pass = 0; pass < 2; ++pass) next -= known.transpose() * (known * next);
    off_diagonal[made] = next.norm();
    ++made;
    if (!(off_diagonal[made - 1] > 1e-14 * diagonal[0])) break;
    basis.row(made) = next.transpose() / off_diagonal[made - 1];
  }
  Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> tridiagonal;
  tridiagonal.computeFromTridiagonal(diagonal.head(made), off_diagonal.head(made - 1),
                                     Eigen::EigenvaluesOnly);
  const double estimate = tridiagonal.eigenvalues().maxCoeff();
  if (made < steps) return estimate * (1.0 + 1e-10);  // an invariant space: exact
  const double root =
      std::log(1.648 * std::sqrt(static_cast<double>(n)) * 1e15) / static_cast<double>(2 * steps - 1);
  return estimate / (1.0 - root * root);
}

}  // namespace

template <class T>
double CodingDictionary<T>::Prepared::lipschitz() const {
  return lipschitz_.get([this] {
    const Atoms d(atoms.data(), n_components, n_features, Eigen::OuterStride<>(feature_stride));
    const bool small = std::min(n_components, n_features) <= exact_size;
    const double largest = small ? largest_eigenvalue(d) : bound_largest_eigenvalue(d);
    return largest + l2 > 0 ? largest + l2 : 1.0;  // zeros still need a step
  });
}

template <class T>
CodingDictionary<T>::CodingDictionary(MatrixView<const T> atoms, double l2, int n_jobs)
    : prepared_(std::make_unique<Prepared>(atoms, l2, n_jobs)) {}

template <class T>
CodingDictionary<T>::~CodingDictionary() = default;

template <class T>
Index CodingDictionary<T>::n_components() const {
  return prepared_->n_components;
}

template <class T>
Index CodingDictionary<T>::n_features() const {
  return prepared_->n_features;
}

template <class T>
double CodingDictionary<T>::lipschitz() const {
  return prepared_->lipschitz() / (prepared_->scale * prepared_->scale);
}

// encode() is defined, and instantiated, with the lasso.
template class CodingDictionary<float>;
template class CodingDictionary<double>;

}  // namespace thalweg

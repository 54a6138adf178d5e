// The prepared dictionary that the coders share.
#include "cpu/lasso_prepared.hpp"

#include <Eigen/Dense>
#include <limits>

#include "core/error.hpp"

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

template <class T>
double CodingDictionary<T>::Prepared::lipschitz() const {
  return lipschitz_.get([this] {
    using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
    const Eigen::Map<const Matrix, 0, Eigen::OuterStride<>> d(atoms.data(), n_components, n_features,
                                                              Eigen::OuterStride<>(feature_stride));
    const Matrix square = n_features <= n_components ? Matrix(d.transpose() * d) : Matrix(d * d.transpose());
    const double largest =
        Eigen::SelfAdjointEigenSolver<Matrix>(square, Eigen::EigenvaluesOnly).eigenvalues().maxCoeff();
    // The margin covers the eigenvalue's own rounding; a dictionary of zeros still needs a step.
    return std::max(largest * (1.0 + 1e-10) + l2, std::numeric_limits<double>::min());
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

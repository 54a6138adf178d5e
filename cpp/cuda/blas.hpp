// Matrix products by cuBLAS, of row-major matrices.
#pragma once

#include <cublas_v2.h>

#include <cstdint>

#include "core/view.hpp"
#include "cuda/memory.hpp"

namespace thalweg::cuda {

enum class Transposed : bool { no, yes };

// How float operands are read: all of their bits, or the 11 leading ones that tensor cores take.
enum class Precision { full, tf32 };

// The bits of a bfloat16 number.
struct Bfloat16 {
  std::uint16_t bits;
};

// One of `count` matrices `batch_stride` elements apart; rows are `stride` elements apart.
template <class T>
struct Operand {
  T* data = nullptr;
  Index stride = 0;
  Transposed transposed = Transposed::no;
  Index batch_stride = 0;
};

// cuBLAS on one stream: same input, same bits.
class Products {
 public:
  explicit Products(Stream& stream);
  ~Products();
  Products(const Products&) = delete;
  Products& operator=(const Products&) = delete;

  [[nodiscard]] cublasHandle_t handle() const { return handle_; }

 private:
  void release() noexcept;

  Stream& stream_;  // whose own these products are: a Buffer would keep it alive for ever
  void* workspace_;
  cublasHandle_t handle_ = nullptr;
};

// C = alpha op(A) op(B) + beta C with op(A) (m, k), op(B) (k, n), C (m, n); where beta = 0, C is not read.
void gemm(Stream& stream, Index m, Index n, Index k, float alpha, Operand<const float> a,
          Operand<const float> b, float beta, Operand<float> c, Precision precision = Precision::full,
          Index count = 1);
void gemm(Stream& stream, Index m, Index n, Index k, double alpha, Operand<const double> a,
          Operand<const double> b, double beta, Operand<double> c, Precision precision = Precision::full,
          Index count = 1);
// Of bfloat16 numbers, summed in float.
void gemm(Stream& stream, Index m, Index n, Index k, float alpha, Operand<const Bfloat16> a,
          Operand<const Bfloat16> b, float beta, Operand<float> c, Index count = 1);

}  // namespace thalweg::cuda

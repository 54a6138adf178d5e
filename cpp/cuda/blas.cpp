#include "cuda/blas.hpp"

#include <algorithm>
#include <source_location>

#include "core/error.hpp"

namespace thalweg::cuda {
namespace {

constexpr std::size_t workspace_bytes = std::size_t{32} << 20;  // what cuBLAS asks for on the newest devices

void check_product(cublasStatus_t status, std::source_location where = std::source_location::current()) {
  if (status != CUBLAS_STATUS_SUCCESS)
    throw Error(
        join("cuBLAS: ", cublasGetStatusString(status), " (at ", where.file_name(), ":", where.line(), ")"));
}

int as_int(Index n) {
  require(n >= 0 && n < (Index{1} << 31), "matrix product: expected sizes below 2^31, got ", n);
  return static_cast<int>(n);
}

cublasOperation_t operation(Transposed t) { return t == Transposed::yes ? CUBLAS_OP_T : CUBLAS_OP_N; }

int stride_of(Index stride) {
  return as_int(std::max<Index>(stride, 1));
}  // also of matrices without columns

// What is row-major here is the transpose there: C' = op(B)' op(A)'.
template <class In, class Out>
void product(Stream& stream, Index m, Index n, Index k, Out alpha, Operand<const In> a, Operand<const In> b,
             Out beta, Operand<Out> c, cudaDataType_t in, cudaDataType_t out, cublasComputeType_t compute,
             Index count) {
  if (m == 0 || n == 0 || count == 0) return;
  const auto handle = stream.products().handle();
  const auto of_b = operation(b.transposed);
  const auto of_a = operation(a.transposed);
  // For one product cuBLAS has more ways, as to split a long sum among blocks.
  check_product(count == 1 ? cublasGemmEx(handle, of_b, of_a, as_int(n), as_int(m), as_int(k), &alpha, b.data,
                                          in, stride_of(b.stride), a.data, in, stride_of(a.stride), &beta,
                                          c.data, out, stride_of(c.stride), compute, CUBLAS_GEMM_DEFAULT)
                           : cublasGemmStridedBatchedEx(
                                 handle, of_b, of_a, as_int(n), as_int(m), as_int(k), &alpha, b.data, in,
                                 stride_of(b.stride), b.batch_stride, a.data, in, stride_of(a.stride),
                                 a.batch_stride, &beta, c.data, out, stride_of(c.stride), c.batch_stride,
                                 as_int(count), compute, CUBLAS_GEMM_DEFAULT));
}

}  // namespace

Products::Products(Stream& stream) : stream_(stream), workspace_(allocate(workspace_bytes, stream)) {
  try {
    check_product(cublasCreate(&handle_));
    check_product(cublasSetStream(handle_, stream.get()));
    check_product(cublasSetWorkspace(handle_, workspace_, workspace_bytes));
  } catch (...) {
    release();
    throw;
  }
}

Products::~Products() { release(); }

void Products::release() noexcept {
  if (handle_ != nullptr) (void)cublasDestroy(handle_);
  deallocate(workspace_, stream_);
}

void gemm(Stream& stream, Index m, Index n, Index k, float alpha, Operand<const float> a,
          Operand<const float> b, float beta, Operand<float> c, Precision precision, Index count) {
  const auto compute = precision == Precision::tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
  product(stream, m, n, k, alpha, a, b, beta, c, CUDA_R_32F, CUDA_R_32F, compute, count);
}

void gemm(Stream& stream, Index m, Index n, Index k, double alpha, Operand<const double> a,
          Operand<const double> b, double beta, Operand<double> c, Precision, Index count) {
  product(stream, m, n, k, alpha, a, b, beta, c, CUDA_R_64F, CUDA_R_64F, CUBLAS_COMPUTE_64F, count);
}

void gemm(Stream& stream, Index m, Index n, Index k, float alpha, Operand<const Bfloat16> a,
          Operand<const Bfloat16> b, float beta, Operand<float> c, Index count) {
  product(stream, m, n, k, alpha, a, b, beta, c, CUDA_R_16BF, CUDA_R_32F, CUBLAS_COMPUTE_32F, count);
}

}  // namespace thalweg::cuda

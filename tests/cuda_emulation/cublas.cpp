#include "cublas_v2.h"

namespace {

// As tensor cores read it: the low bits of a TF32 operand do not count.
float as_tf32(float x) { return __uint_as_float(__float_as_uint(x) & 0xFFFFE000U); }

double element(const void* data, cudaDataType_t type, long long i, bool is_tf32) {
  switch (type) {
    case CUDA_R_64F:
      return static_cast<const double*>(data)[i];
    case CUDA_R_16BF:
      return __uint_as_float(static_cast<unsigned>(static_cast<const std::uint16_t*>(data)[i]) << 16);
    case CUDA_R_32F:
      break;
  }
  const float value = static_cast<const float*>(data)[i];
  return is_tf32 ? as_tf32(value) : value;
}

double scalar(const void* p, cublasComputeType_t type) {
  return type == CUBLAS_COMPUTE_64F ? *static_cast<const double*>(p) : *static_cast<const float*>(p);
}

}  // namespace

const char* cublasGetStatusString(cublasStatus_t status) {
  return status == CUBLAS_STATUS_SUCCESS ? "success" : "an invalid value was passed";
}

cublasStatus_t cublasCreate(cublasHandle_t* handle) {
  *handle = new cudaStream_t(nullptr);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasDestroy(cublasHandle_t handle) {
  delete handle;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetStream(cublasHandle_t handle, cudaStream_t stream) {
  *handle = stream;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetWorkspace(cublasHandle_t, void*, std::size_t) { return CUBLAS_STATUS_SUCCESS; }

cublasStatus_t cublasGemmStridedBatchedEx(cublasHandle_t handle, cublasOperation_t transa,
                                          cublasOperation_t transb, int m, int n, int k, const void* alpha,
                                          const void* a, cudaDataType_t a_type, int lda, long long stride_a,
                                          const void* b, cudaDataType_t b_type, int ldb, long long stride_b,
                                          const void* beta, void* c, cudaDataType_t c_type, int ldc,
                                          long long stride_c, int count, cublasComputeType_t compute_type,
                                          cublasGemmAlgo_t) {
  const bool is_wide = compute_type == CUBLAS_COMPUTE_64F;
  const bool fits = m >= 0 && n >= 0 && k >= 0 && count >= 0 &&
                    lda >= std::max(1, transa == CUBLAS_OP_N ? m : k) &&
                    ldb >= std::max(1, transb == CUBLAS_OP_N ? k : n) && ldc >= std::max(1, m) &&
                    a_type == b_type && is_wide == (a_type == CUDA_R_64F) &&
                    (c_type == CUDA_R_64F) == is_wide && c_type != CUDA_R_16BF && *handle != nullptr;
  if (!fits) return CUBLAS_STATUS_INVALID_VALUE;
  const double scale = scalar(alpha, compute_type);
  const double keep = scalar(beta, compute_type);
  const bool is_tf32 = compute_type == CUBLAS_COMPUTE_32F_FAST_TF32;
  const auto one = [=](long long batch, int i, int j) {
    double sum = 0;
    for (int l = 0; l < k; ++l) {
      const long long at = batch * stride_a + (transa == CUBLAS_OP_N ? i + static_cast<long long>(l) * lda
                                                                     : l + static_cast<long long>(i) * lda);
      const long long bt = batch * stride_b + (transb == CUBLAS_OP_N ? l + static_cast<long long>(j) * ldb
                                                                     : j + static_cast<long long>(l) * ldb);
      sum += element(a, a_type, at, is_tf32) * element(b, b_type, bt, is_tf32);
    }
    const long long ct = batch * stride_c + i + static_cast<long long>(j) * ldc;
    const double before = keep == 0 ? 0 : keep * element(c, c_type, ct, false);
    if (is_wide) {
      static_cast<double*>(c)[ct] = scale * sum + before;
    } else {
      static_cast<float*>(c)[ct] = static_cast<float>(scale * sum + before);
    }
  };
  emulation::enqueue(*handle, [=] {
    for (long long batch = 0; batch < count; ++batch)
      for (int j = 0; j < n; ++j)
        for (int i = 0; i < m; ++i) one(batch, i, j);
  });
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasGemmEx(cublasHandle_t handle, cublasOperation_t transa, cublasOperation_t transb, int m,
                            int n, int k, const void* alpha, const void* a, cudaDataType_t a_type, int lda,
                            const void* b, cudaDataType_t b_type, int ldb, const void* beta, void* c,
                            cudaDataType_t c_type, int ldc, cublasComputeType_t compute_type,
                            cublasGemmAlgo_t algorithm) {
  return cublasGemmStridedBatchedEx(handle, transa, transb, m, n, k, alpha, a, a_type, lda, 0, b, b_type, ldb,
                                    0, beta, c, c_type, ldc, 0, 1, compute_type, algorithm);
}

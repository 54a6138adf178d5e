/* Copies of n floats, n a multiple of 8, with plain and with non-temporal stores. */
#include <immintrin.h>
#include <omp.h>
#include <stddef.h>

void copy_plain(float* out, const float* in, size_t n, int threads) {
#pragma omp parallel for schedule(static) num_threads(threads)
  for (size_t i = 0; i < n; i += 8) _mm256_store_ps(out + i, _mm256_load_ps(in + i));
}

void copy_nontemporal(float* out, const float* in, size_t n, int threads) {
#pragma omp parallel for schedule(static) num_threads(threads)
  for (size_t i = 0; i < n; i += 8) _mm256_stream_ps(out + i, _mm256_load_ps(in + i));
}

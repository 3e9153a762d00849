// SPDX-License-Identifier: GPL-2.0
// Plain loops around the libraries, with working memory made once, as a careful C program would.
#include "CReference.h"

#include <isa-l.h>
#include <lz4.h>
#include <lz4hc.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>
#include <zlib.h>
#include <zstd.h>

uint64_t reference_crc32c(void *data, size_t bytes, size_t passes) {
  uint32_t sum = 0;
  while (passes--) sum ^= crc32_iscsi(data, (int)bytes, sum);
  return sum;
}

uint64_t reference_crc64(void *data, size_t bytes, size_t passes) {
  uint64_t sum = 0;
  while (passes--) sum ^= crc64_ecma_norm(sum, data, bytes);
  return sum;
}

uint64_t reference_xxhash64(void *data, size_t bytes, size_t passes) {
  uint64_t sum = 0;
  while (passes--) sum ^= XXH64(data, bytes, sum);
  return sum;
}

uint64_t reference_chacha20(void *data, size_t bytes, size_t passes) {
  static const unsigned char key[32] = {1}, nonce[12] = {2};
  if (sodium_init() < 0) return 0;
  while (passes--) crypto_stream_chacha20_ietf_xor_ic(data, data, bytes, nonce, 0, key);
  return *(unsigned char *)data;
}

uint64_t reference_poly1305(void *data, size_t bytes, size_t passes) {
  static const unsigned char key[32] = {1};
  unsigned char code[16] = {0};
  if (sodium_init() < 0) return 0;
  while (passes--) crypto_onetimeauth_poly1305(code, data, bytes, key);
  return code[0];
}

uint64_t reference_xor_gen(void **blocks, int count, size_t bytes, size_t passes) {
  uint64_t failed = 0;
  while (passes--) failed |= (uint64_t)xor_gen(count, (int)bytes, blocks);
  return failed;
}

uint64_t reference_pq_gen(void **blocks, int count, size_t bytes, size_t passes) {
  uint64_t failed = 0;
  while (passes--) failed |= (uint64_t)pq_gen(count, (int)bytes, blocks);
  return failed;
}

uint64_t reference_lz4(
  const void *from, size_t bytes, void *to, size_t limit, int level, size_t passes) {
  void *fast = malloc((size_t)LZ4_sizeofState());
  void *high = malloc((size_t)LZ4_sizeofStateHC());
  int written = 0;
  while (passes--)
    written = level < LZ4HC_CLEVEL_MIN
                ? LZ4_compress_fast_extState(fast, from, to, (int)bytes, (int)limit, 1)
                : LZ4_compress_HC_extStateHC(high, from, to, (int)bytes, (int)limit, level);
  free(fast);
  free(high);
  return (uint64_t)written;
}

uint64_t reference_zlib(
  const void *from, size_t bytes, void *to, size_t limit, int level, size_t passes) {
  z_stream stream;
  memset(&stream, 0, sizeof stream);
  if (deflateInit2(&stream, level, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY) != Z_OK) return 0;
  uint64_t written = 0;
  while (passes--) {
    stream.next_in = (Bytef *)from;
    stream.avail_in = (uInt)bytes;
    stream.next_out = to;
    stream.avail_out = (uInt)limit;
    written = deflate(&stream, Z_FINISH) == Z_STREAM_END ? stream.total_out : 0;
    deflateReset(&stream);
  }
  deflateEnd(&stream);
  return written;
}

uint64_t reference_zstd(
  const void *from, size_t bytes, void *to, size_t limit, int level, size_t passes) {
  ZSTD_CCtx *context = ZSTD_createCCtx();
  size_t written = 0;
  while (passes--) written = ZSTD_compressCCtx(context, to, limit, from, bytes, level);
  ZSTD_freeCCtx(context);
  return ZSTD_isError(written) ? 0 : written;
}

uint64_t reference_lz4_decompress(
  const void *from, size_t bytes, void *to, size_t limit, size_t passes) {
  int written = 0;
  while (passes--) written = LZ4_decompress_safe(from, to, (int)bytes, (int)limit);
  return (uint64_t)written;
}

uint64_t reference_zlib_decompress(
  const void *from, size_t bytes, void *to, size_t limit, size_t passes) {
  z_stream stream;
  memset(&stream, 0, sizeof stream);
  if (inflateInit2(&stream, -MAX_WBITS) != Z_OK) return 0;
  uint64_t written = 0;
  while (passes--) {
    stream.next_in = (Bytef *)from;
    stream.avail_in = (uInt)bytes;
    stream.next_out = to;
    stream.avail_out = (uInt)limit;
    written = inflate(&stream, Z_FINISH) == Z_STREAM_END ? stream.total_out : 0;
    inflateReset(&stream);
  }
  inflateEnd(&stream);
  return written;
}

uint64_t reference_zstd_decompress(
  const void *from, size_t bytes, void *to, size_t limit, size_t passes) {
  ZSTD_DCtx *context = ZSTD_createDCtx();
  size_t written = 0;
  while (passes--) written = ZSTD_decompressDCtx(context, to, limit, from, bytes);
  ZSTD_freeDCtx(context);
  return ZSTD_isError(written) ? 0 : written;
}

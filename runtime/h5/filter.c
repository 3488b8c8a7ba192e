// SPDX-License-Identifier: Apache-2.0
/* HDF5's filters backwards, by its file format specification, "Filter Pipeline Message": deflate is a zlib
 * stream, shuffle puts the first bytes of all elements before the second ones, fletcher32 appends a checksum.
 * Each is there at most once, so the size that each must give is known.
 */
#include "runtime/h5/filter.h"

#include "runtime/base/alloc.h"

#include <string.h>
#include <zlib.h>

enum { FILTER_SUM_BYTES = 4 };

struct tri_h5_filter {
    int32_t filters[TRI_H5_MAX_FILTERS]; /* in the order of writing */
    int n_filters;
    int64_t element_bytes, chunk_bytes;
    char *from, *to; /* exchanged by each filter that moves bytes; the result is in `from` */
    int64_t index;   /* of the chunk that is unpacked; -1: none */
    z_stream stream;
    bool has_stream;
};

int64_t tri_h5_filter_bound(int64_t chunk_bytes)
{
    return chunk_bytes + chunk_bytes / 64 + 64;
}

tri_status tri_h5_filter_create(const tri_h5_record *record, int64_t chunk_bytes,
                                tri_h5_filter **out)
{
    TRI_AUTO(tri_h5_filter) *filter = NULL;
    TRI_TRY(TRI_NEW(&filter));
    memcpy(filter->filters, record->filters, sizeof filter->filters);
    filter->n_filters = record->n_filters;
    filter->element_bytes = record->element_bytes;
    filter->chunk_bytes = chunk_bytes;
    filter->index = -1;
    TRI_TRY(TRI_NEW_ARRAY(tri_h5_filter_bound(chunk_bytes), &filter->from));
    TRI_TRY(TRI_NEW_ARRAY(tri_h5_filter_bound(chunk_bytes), &filter->to));
    TRI_CHECK(inflateInit(&filter->stream) == Z_OK, TRI_ENOMEM, "memory to inflate dataset '%s'",
              record->object);
    filter->has_stream = true;
    *out = TRI_MOVE(filter);
    return TRI_OK;
}

void tri_h5_filter_destroy(tri_h5_filter **filter)
{
    if (!*filter) return;
    if ((*filter)->has_stream) inflateEnd(&(*filter)->stream);
    TRI_FREE((*filter)->from);
    TRI_FREE((*filter)->to);
    TRI_FREE(*filter);
}

char *tri_h5_filter_input(tri_h5_filter *filter)
{
    filter->index = -1;
    return filter->from;
}

const char *tri_h5_filter_find(const tri_h5_filter *filter, int64_t index)
{
    return index == filter->index ? filter->from : NULL;
}

static void filter_exchange(tri_h5_filter *filter)
{
    char *from = filter->from;
    filter->from = filter->to;
    filter->to = from;
}

/* To exactly `want` bytes. */
static const char *filter_inflate(tri_h5_filter *filter, int64_t bytes, int64_t want)
{
    z_stream *z = &filter->stream;
    if (inflateReset(z) != Z_OK) return "cannot be inflated";
    z->next_in = (Bytef *)filter->from;
    z->avail_in = (uInt)bytes;
    z->next_out = (Bytef *)filter->to;
    z->avail_out = (uInt)want;
    int rc = inflate(z, Z_FINISH);
    if (rc == Z_MEM_ERROR) return "finds no memory to be inflated";
    if (rc == Z_DATA_ERROR || rc == Z_NEED_DICT) return "is damaged: it is no zlib stream";
    if (rc != Z_STREAM_END || z->avail_out > 0) return "is damaged: it inflates to another size";
    filter_exchange(filter);
    return NULL;
}

static void filter_unshuffle(tri_h5_filter *filter, int64_t bytes)
{
    int64_t width = filter->element_bytes;
    int64_t n = bytes / width;
    for (int64_t b = 0; b < width; b++)
        for (int64_t i = 0; i < n; i++)
            filter->to[i * width + b] = filter->from[b * n + i];
    memcpy(filter->to + n * width, filter->from + n * width, (size_t)(bytes - n * width));
    filter_exchange(filter);
}

/* Fletcher's checksum over big-endian words of 16 bits. Between foldings no sum exceeds 32 bits. */
static uint32_t filter_fletcher32(const unsigned char *data, int64_t bytes)
{
    uint32_t low = 0;
    uint32_t high = 0;
    for (int64_t i = 0; i < bytes; i += 2) {
        low += (uint32_t)data[i] << 8 | (i + 1 < bytes ? data[i + 1] : 0u);
        low = (low & 0xffff) + (low >> 16);
        high += low;
        high = (high & 0xffff) + (high >> 16);
    }
    return high << 16 | low;
}

static const char *filter_check_sum(const tri_h5_filter *filter, int64_t bytes)
{
    const unsigned char *data = (const unsigned char *)filter->from;
    uint32_t sum = 0;
    for (int i = 0; i < FILTER_SUM_BYTES; i++)
        sum |= (uint32_t)data[bytes + i] << (8 * i);
    return filter_fletcher32(data, bytes) == sum ? NULL : "is damaged: its checksum is another";
}

const char *tri_h5_filter_undo(tri_h5_filter *filter, int64_t index, int64_t bytes,
                               uint32_t skipped)
{
    int64_t want[TRI_H5_MAX_FILTERS + 1] = {filter->chunk_bytes}; /* before filter i */
    for (int i = 0; i < filter->n_filters; i++) {
        bool sums = filter->filters[i] == TRI_H5_FLETCHER32 && !(skipped >> i & 1);
        want[i + 1] = want[i] + (sums ? FILTER_SUM_BYTES : 0);
    }
    for (int i = filter->n_filters - 1; i >= 0; i--) {
        const char *why = NULL;
        if (skipped >> i & 1) continue;
        if (filter->filters[i] == TRI_H5_DEFLATE) {
            why = filter_inflate(filter, bytes, want[i]);
            bytes = want[i];
        } else if (filter->filters[i] == TRI_H5_SHUFFLE) {
            filter_unshuffle(filter, bytes);
        } else if (bytes < FILTER_SUM_BYTES) {
            why = "is damaged: it is shorter than its checksum";
        } else {
            bytes -= FILTER_SUM_BYTES;
            why = filter_check_sum(filter, bytes);
        }
        if (why) return why;
    }
    if (bytes != filter->chunk_bytes) return "is damaged: it has another size";
    filter->index = index;
    return NULL;
}

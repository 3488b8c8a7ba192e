// SPDX-License-Identifier: Apache-2.0
/* The softmax of attention between its products: blocks of scores with a running maximum and sum
 * (online softmax, arXiv:1805.02867; FlashAttention, arXiv:2205.14135), and whole rows where one
 * query is all there is.
 */
#include "kernels/cpu/simd.h"
#include "kernels/cpu/vector_math.h"
#include "kernels/cpu/vector_memory.h"

/* x in lanes begin .. end of the vector, `other` outside. */
TRI_INLINE tri_vf lanes_of(tri_vf x, int64_t begin, int64_t end, float other)
{
    tri_vi lane = tri_v_index();
    tri_vi seen =
        (lane >= (int32_t)(begin > 0 ? begin : 0)) & (lane < (int32_t)(end < TRI_V ? end : TRI_V));
    return tri_v_select(seen, x, tri_v_set(other));
}

/* Largest of columns begin .. end. */
TRI_INLINE float row_maximum(const float *scores, int64_t begin, int64_t end, float scale)
{
    tri_vf largest = tri_v_set(-__builtin_inff());
    for (int64_t j = begin - begin % TRI_V; j < end; j += TRI_V) {
        int64_t lanes = tri_v_lanes(j, end);
        tri_vf x = tri_v_load_f32(scores + j, lanes) * scale;
        if (lanes < TRI_V || j < begin) x = lanes_of(x, begin - j, lanes, -__builtin_inff());
        largest = tri_v_max(largest, x);
    }
    return tri_v_maximum(largest);
}

/* p = exp(scale * score - offset) for columns begin .. end, 0 for the others up to width; gives the
 * sum of p. */
TRI_INLINE float row_exponentials(const tri_simd_softmax *block, int64_t at, int64_t begin,
                                  int64_t end, float offset, bool bf16)
{
    const float *scores = block->scores + at;
    tri_vf sum = {0};
    int64_t j = 0;
    for (; j + TRI_V <= begin; j += TRI_V)
        tri_v_store(block->p, at + j, TRI_V, (tri_vf){0}, bf16);
    for (; j < end; j += TRI_V) {
        int64_t lanes = tri_v_lanes(j, end);
        tri_vf x = tri_v_load_f32(scores + j, lanes) * block->scale;
        tri_vf p = tri_v_keep(tri_v_exp(x - offset), lanes);
        if (j < begin) p = lanes_of(p, begin - j, lanes, 0);
        sum += p;
        tri_v_store(block->p, at + j, tri_v_lanes(j, block->width), p, bf16);
    }
    for (; j < block->width; j += TRI_V)
        tri_v_store(block->p, at + j, tri_v_lanes(j, block->width), (tri_vf){0}, bf16);
    return tri_v_sum(sum);
}

TRI_INLINE float exp_one(float x)
{
    return tri_v_exp(tri_v_set(x))[0];
}

/* x within 0 .. n */
TRI_INLINE int64_t limit(int64_t x, int64_t n)
{
    return x < 0 ? 0 : x > n ? n : x;
}

TRI_INLINE void softmax_rows(const tri_simd_softmax *block, bool bf16)
{
    for (int64_t i = 0; i < block->rows; i++) {
        int64_t end = limit(block->visible + i, block->width);
        int64_t begin = block->first ? limit(block->first[i] - block->place, end) : 0;
        int64_t at = i * block->stride;
        float before = block->maximum[i];
        float now = row_maximum(block->scores + at, begin, end, block->scale);
        if (!(now > before)) now = before;
        /* nothing but -inf so far: inf - inf is no number */
        float offset = now == -__builtin_inff() ? 0 : now;
        float sum = row_exponentials(block, at, begin, end, offset, bf16);
        block->factor[i] = exp_one(before - offset);
        block->sum[i] = block->sum[i] * block->factor[i] + sum;
        block->maximum[i] = now;
    }
}

static void attention_softmax(const tri_simd_softmax *block)
{
    if (block->bf16)
        softmax_rows(block, true);
    else
        softmax_rows(block, false);
}

static void attention_merge(int64_t rows, int64_t width, const float *factor, const float *part,
                            float *total)
{
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < width; j += TRI_V) {
            int64_t lanes = tri_v_lanes(j, width);
            float *p = total + i * width + j;
            tri_vf x = tri_v_load_f32(p, lanes) * factor[i];
            tri_v_store_f32(p, lanes, x + tri_v_load_f32(part + i * width + j, lanes));
        }
}

static void attention_copy(const tri_simd_rows *rows, const float *divisor, const float *in,
                           void *out)
{
    bool bf16 = rows->bf16;
    for (int64_t i = 0; i < rows->n; i++) {
        float factor = !divisor ? 1.0F : divisor[i] == 0 ? 0.0F : 1.0F / divisor[i];
        for (int64_t j = 0; j < rows->width; j += TRI_V) {
            int64_t lanes = tri_v_lanes(j, rows->width);
            tri_vf x = tri_v_load_f32(in + i * rows->width + j, lanes) * factor;
            tri_v_store(out, i * rows->stride + j, lanes, x, bf16);
        }
    }
}

static void attention_add(const tri_simd_rows *rows, const float *in, float *out)
{
    for (int64_t i = 0; i < rows->n; i++)
        for (int64_t j = 0; j < rows->width; j += TRI_V) {
            int64_t lanes = tri_v_lanes(j, rows->width);
            float *to = out + i * rows->stride + j;
            tri_vf x = tri_v_load_f32(in + i * rows->width + j, lanes);
            tri_v_store_f32(to, lanes, tri_v_load_f32(to, lanes) + x);
        }
}

static void attention_delta(const tri_simd_rows *rows, const void *dout, const void *out,
                            float *delta)
{
    bool bf16 = rows->bf16;
    for (int64_t i = 0; i < rows->n; i++) {
        tri_vf sum = {0};
        for (int64_t j = 0; j < rows->width; j += TRI_V) {
            int64_t lanes = tri_v_lanes(j, rows->width);
            int64_t at = i * rows->stride + j;
            sum += tri_v_load(dout, at, lanes, bf16) * tri_v_load(out, at, lanes, bf16);
        }
        delta[i] = tri_v_sum(sum);
    }
}

/* Row `at` of p and ds: what queries begin .. end give, else 0. */
TRI_INLINE void gradient_row(const tri_simd_softmax_gradient *block, int64_t at, int64_t begin,
                             int64_t end, bool bf16)
{
    int64_t i = 0;
    for (; i < block->queries; i += TRI_V) {
        int64_t lanes = tri_v_lanes(i, block->queries);
        tri_vf p = {0};
        tri_vf ds = {0};
        if (i + lanes > begin && i < end) {
            tri_vf x = tri_v_load_f32(block->scores + at + i, lanes) * block->scale;
            p = tri_v_exp(x - tri_v_load_f32(block->lse + i, lanes));
            tri_vf dp = tri_v_load_f32(block->dp + at + i, lanes);
            ds = p * (dp - tri_v_load_f32(block->delta + i, lanes)) * block->scale;
        }
        if (i < begin || i + TRI_V > end) {
            p = lanes_of(p, begin - i, end - i, 0);
            ds = lanes_of(ds, begin - i, end - i, 0);
        }
        tri_v_store(block->p, at + i, lanes, p, bf16);
        tri_v_store(block->ds, at + i, lanes, ds, bf16);
    }
}

TRI_INLINE void gradient_rows(const tri_simd_softmax_gradient *block, bool bf16)
{
    int64_t end = block->visible ? 0 : block->queries;
    for (int64_t j = 0; j < block->keys; j++) {
        while (end < block->queries && block->visible[end] <= block->place + j)
            end++;
        gradient_row(block, j * block->stride, limit(block->first + j, end), end, bf16);
    }
}

static void attention_gradient(const tri_simd_softmax_gradient *block)
{
    if (block->bf16)
        gradient_rows(block, true);
    else
        gradient_rows(block, false);
}

/* scores[j] = scale * (q . key j) */
TRI_INLINE void query_scores(const tri_simd_query *row, bool bf16)
{
    for (int64_t j = 0; j < row->n_key; j++) {
        tri_vf sum = {0};
        for (int64_t d = 0; d < row->head_size; d += TRI_V) {
            int64_t lanes = tri_v_lanes(d, row->head_size);
            sum += tri_v_load(row->q, d, lanes, bf16) *
                   tri_v_load(row->k, j * row->k_stride + d, lanes, bf16);
        }
        row->scores[j] = tri_v_sum(sum);
    }
}

/* out = sum over keys of p[j] / total * value j, some columns at a time. */
TRI_INLINE void query_values(const tri_simd_query *row, float total, bool bf16)
{
    enum { CHUNK = 4 };
    for (int64_t d = 0; d < row->head_size; d += CHUNK * TRI_V) {
        tri_vf sum[CHUNK] = {{0}};
        for (int64_t j = 0; j < row->n_key; j++)
            for (int c = 0; c < CHUNK; c++) {
                int64_t at = d + c * TRI_V;
                if (at >= row->head_size) break;
                int64_t lanes = tri_v_lanes(at, row->head_size);
                sum[c] += tri_v_load(row->v, j * row->v_stride + at, lanes, bf16) * row->scores[j];
            }
        for (int c = 0; c < CHUNK; c++) {
            int64_t at = d + c * TRI_V;
            if (at >= row->head_size) break;
            tri_v_store(row->out, at, tri_v_lanes(at, row->head_size), sum[c] / total, bf16);
        }
    }
}

TRI_INLINE float query_row(const tri_simd_query *row, bool bf16)
{
    query_scores(row, bf16);
    float maximum = -__builtin_inff();
    float sum = 0;
    float factor = 0;
    tri_simd_softmax block = {.rows = 1,
                              .width = row->n_key,
                              .stride = row->n_key,
                              .visible = row->n_key,
                              .scale = row->scale,
                              .scores = row->scores,
                              .p = row->scores,
                              .maximum = &maximum,
                              .sum = &sum,
                              .factor = &factor};
    softmax_rows(&block, false);
    query_values(row, sum, bf16);
    return maximum + __builtin_logf(sum);
}

static float attention_query(const tri_simd_query *row)
{
    return row->bf16 ? query_row(row, true) : query_row(row, false);
}

const tri_simd_attention TRI_ISA_NAME(tri_simd_attention) = {
    .softmax = attention_softmax,
    .merge = attention_merge,
    .copy = attention_copy,
    .add = attention_add,
    .delta = attention_delta,
    .gradient = attention_gradient,
    .query = attention_query,
};

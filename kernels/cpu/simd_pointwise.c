// SPDX-License-Identifier: Apache-2.0
/* Activations, rotary embedding, dropout, sums and casts. GELU in the tanh form is
 * x sigmoid(2u), u = sqrt(2/pi) (x + 0.044715 x^3): the same value without a cancellation.
 */
#include "kernels/cpu/simd.h"
#include "kernels/cpu/vector_math.h"
#include "kernels/cpu/vector_memory.h"

static const float gelu_a = 1.5957691216057308f; /* 2 sqrt(2/pi) */
static const float gelu_b = 1.5957691216057308f * 0.044715f;

TRI_INLINE void gelu_forward_n(int64_t n, const void *x, void *y, bool bf16)
{
    for (int64_t i = 0; i < n; i += TRI_V) {
        int64_t lanes = tri_v_lanes(i, n);
        tri_vf v = tri_v_load(x, i, lanes, bf16);
        tri_vf s = tri_v_sigmoid(v * (gelu_a + gelu_b * (v * v)));
        tri_v_store(y, i, lanes, v * s, bf16);
    }
}

static void gelu_forward(bool bf16, int64_t n, const void *x, void *y)
{
    if (bf16)
        gelu_forward_n(n, x, y, true);
    else
        gelu_forward_n(n, x, y, false);
}

TRI_INLINE void gelu_backward_n(int64_t n, const void *x, const void *dy, void *dx, bool bf16)
{
    for (int64_t i = 0; i < n; i += TRI_V) {
        int64_t lanes = tri_v_lanes(i, n);
        tri_vf v = tri_v_load(x, i, lanes, bf16);
        tri_vf square = v * v;
        tri_vf s = tri_v_sigmoid(v * (gelu_a + gelu_b * square));
        /* where the sigmoid is 0 or 1, its slope is 0 and the rest may be infinite */
        tri_vf slope = s * (1.0f - s);
        tri_vf du = v * (gelu_a + 3.0f * gelu_b * square);
        tri_vf bend = (tri_vf)((slope != 0.0f) & (tri_vi)(slope * du));
        tri_v_store(dx, i, lanes, tri_v_load(dy, i, lanes, bf16) * (s + bend), bf16);
    }
}

static void gelu_backward(bool bf16, int64_t n, const void *x, const void *dy, void *dx)
{
    if (bf16)
        gelu_backward_n(n, x, dy, dx, true);
    else
        gelu_backward_n(n, x, dy, dx, false);
}

TRI_INLINE void swiglu_forward_n(int64_t n, const void *gate, const void *up, void *y, bool bf16)
{
    for (int64_t i = 0; i < n; i += TRI_V) {
        int64_t lanes = tri_v_lanes(i, n);
        tri_vf g = tri_v_load(gate, i, lanes, bf16);
        tri_v_store(y, i, lanes, g * tri_v_sigmoid(g) * tri_v_load(up, i, lanes, bf16), bf16);
    }
}

static void swiglu_forward(bool bf16, int64_t n, const void *gate, const void *up, void *y)
{
    if (bf16)
        swiglu_forward_n(n, gate, up, y, true);
    else
        swiglu_forward_n(n, gate, up, y, false);
}

TRI_INLINE void swiglu_backward_n(const tri_swiglu_backward_args *args, int64_t n, bool bf16)
{
    for (int64_t i = 0; i < n; i += TRI_V) {
        int64_t lanes = tri_v_lanes(i, n);
        tri_vf g = tri_v_load(args->gate, i, lanes, bf16);
        tri_vf u = tri_v_load(args->up, i, lanes, bf16);
        tri_vf dy = tri_v_load(args->dy, i, lanes, bf16);
        tri_vf s = tri_v_sigmoid(g);
        tri_v_store(args->dgate, i, lanes, dy * u * (s + g * (s * (1.0f - s))), bf16);
        tri_v_store(args->dup, i, lanes, dy * (g * s), bf16);
    }
}

static void swiglu_backward(const tri_swiglu_backward_args *args, int64_t n)
{
    if (args->dtype == TRI_BF16)
        swiglu_backward_n(args, n, true);
    else
        swiglu_backward_n(args, n, false);
}

TRI_INLINE void rope_tokens(const tri_rope_args *args, int64_t begin, int64_t end, bool bf16)
{
    int64_t half = args->head_size / 2;
    float sign = args->inverse ? -1.0f : 1.0f;
    for (int64_t j = begin; j < end; j++) {
        int64_t position =
            args->position ? args->position[j] : args->first_position + j % args->period;
        const float *c = args->table + position * args->head_size;
        for (int64_t head = 0; head < args->heads; head++) {
            int64_t at = j * args->stride + head * args->head_size;
            for (int64_t i = 0; i < half; i += TRI_V) {
                int64_t lanes = tri_v_lanes(i, half);
                tri_vf cosine = tri_v_load_f32(c + i, lanes);
                tri_vf sine = tri_v_load_f32(c + half + i, lanes) * sign;
                tri_vf a = tri_v_load(args->x, at + i, lanes, bf16);
                tri_vf b = tri_v_load(args->x, at + half + i, lanes, bf16);
                tri_v_store(args->x, at + i, lanes, a * cosine - b * sine, bf16);
                tri_v_store(args->x, at + half + i, lanes, b * cosine + a * sine, bf16);
            }
        }
    }
}

static void rope(const tri_rope_args *args, int64_t begin, int64_t end)
{
    if (args->dtype == TRI_BF16)
        rope_tokens(args, begin, end, true);
    else
        rope_tokens(args, begin, end, false);
}

/* Philox words of TRI_V / 2 blocks: the vector form of tri_rng_block. */
TRI_INLINE void philox_words(tri_rng rng, uint64_t block, uint32_t *words)
{
    tri_vq x0;
    for (int l = 0; l < TRI_V / 2; l++)
        x0[l] = block + (uint64_t)l;
    tri_vq x1 = x0 >> 32;
    tri_vq x2 = (rng.stream & 0xffffffffu) + (tri_vq){0};
    tri_vq x3 = (((uint64_t)rng.purpose << 24 | (rng.stream >> 32 & 0xffffffu)) & 0xffffffffu) +
                (tri_vq){0};
    uint32_t k0 = (uint32_t)rng.seed;
    uint32_t k1 = (uint32_t)(rng.seed >> 32);
    const tri_vq m0 = (uint64_t)0xD2511F53u + (tri_vq){0};
    const tri_vq m1 = (uint64_t)0xCD9E8D57u + (tri_vq){0};
    for (int round = 0; round < 10; round++) {
        /* only low halves matter: upper halves hold leftovers until the end */
        tri_vq p0 = tri_v_multiply_wide(x0, m0);
        tri_vq p1 = tri_v_multiply_wide(x2, m1);
        x0 = (p1 >> 32) ^ x1 ^ (uint64_t)k0;
        x2 = (p0 >> 32) ^ x3 ^ (uint64_t)k1;
        x1 = p1;
        x3 = p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    tri_vq low = (x0 & 0xffffffffu) | x1 << 32;
    tri_vq high = (x2 & 0xffffffffu) | x3 << 32;
    for (int l = 0; l < TRI_V / 2; l++) {
        uint64_t pair[2] = {low[l], high[l]};
        memcpy(words + (size_t)l * 4, pair, sizeof pair);
    }
}

enum { DROPOUT_ELEMENTS = 256 };

/* Elements at .. at + n of x, which are numbers index .. index + n of the sample. */
TRI_INLINE void dropout_piece(const tri_dropout_args *args, tri_rng rng, uint64_t index, int64_t at,
                              int64_t n, bool bf16)
{
    uint32_t words[DROPOUT_ELEMENTS + 2 * TRI_V + 4];
    int64_t skip = (int64_t)(index % 4);
    for (int64_t i = 0; i < n + skip + TRI_V; i += 2 * TRI_V)
        philox_words(rng, (index + (uint64_t)i) / 4, words + i);
    float factor = 1.0f / (1.0f - args->rate);
    for (int64_t i = 0; i < n; i += TRI_V) {
        int64_t lanes = tri_v_lanes(i, n);
        tri_vu word;
        memcpy(&word, words + skip + i, sizeof word);
        /* as tri_rng_uniform */
        tri_vf uniform = __builtin_convertvector((tri_vi)(word >> 8 | 1u), tri_vf) * 0x1p-24f;
        tri_vf v = tri_v_load(args->x, at + i, lanes, bf16) * factor;
        tri_vf kept = (tri_vf)((uniform >= args->rate) & (tri_vi)v);
        tri_v_store(args->y, at + i, lanes, kept, bf16);
    }
}

static void dropout(const tri_dropout_args *args, int64_t begin, int64_t end)
{
    for (int64_t row = begin; row < end; row++) {
        int64_t whole = args->first_row + row; /* in the micro-batch */
        int64_t place = whole % args->rows_per_sample;
        if (args->index) place = args->index[place];
        tri_rng rng = args->rng;
        rng.stream += (uint64_t)args->sample[whole / args->rows_per_sample];
        uint64_t index = (uint64_t)place * (uint64_t)args->width;
        for (int64_t i = 0; i < args->width; i += DROPOUT_ELEMENTS) {
            int64_t n = args->width - i < DROPOUT_ELEMENTS ? args->width - i : DROPOUT_ELEMENTS;
            if (args->dtype == TRI_BF16)
                dropout_piece(args, rng, index + (uint64_t)i, row * args->width + i, n, true);
            else
                dropout_piece(args, rng, index + (uint64_t)i, row * args->width + i, n, false);
        }
    }
}

TRI_INLINE void add_n(int64_t n, const void *a, const void *b, void *y, bool bf16)
{
    for (int64_t i = 0; i < n; i += TRI_V) {
        int64_t lanes = tri_v_lanes(i, n);
        tri_vf sum = tri_v_load(a, i, lanes, bf16) + tri_v_load(b, i, lanes, bf16);
        tri_v_store(y, i, lanes, sum, bf16);
    }
}

static void add(bool bf16, int64_t n, const void *a, const void *b, void *y)
{
    if (bf16)
        add_n(n, a, b, y, true);
    else
        add_n(n, a, b, y, false);
}

static void to_bf16(int64_t n, const float *in, tri_bf16 *out)
{
    for (int64_t i = 0; i < n; i += TRI_V) {
        int64_t lanes = tri_v_lanes(i, n);
        tri_v_store_bits(out + i, lanes, tri_v_narrow(tri_v_load_f32(in + i, lanes)));
    }
}

static void to_f32(int64_t n, const tri_bf16 *in, float *out)
{
    for (int64_t i = 0; i < n; i += TRI_V) {
        int64_t lanes = tri_v_lanes(i, n);
        tri_v_store_f32(out + i, lanes, tri_v_widen(tri_v_load_bits(in + i, lanes)));
    }
}

static void scale(int64_t n, float factor, float *x)
{
    for (int64_t i = 0; i < n; i += TRI_V) {
        int64_t lanes = tri_v_lanes(i, n);
        tri_v_store_f32(x + i, lanes, tri_v_load_f32(x + i, lanes) * factor);
    }
}

const tri_simd_pointwise TRI_ISA_NAME(tri_simd_pointwise) = {
    .gelu_forward = gelu_forward,
    .gelu_backward = gelu_backward,
    .swiglu_forward = swiglu_forward,
    .swiglu_backward = swiglu_backward,
    .rope = rope,
    .dropout = dropout,
    .add = add,
    .to_bf16 = to_bf16,
    .to_f32 = to_f32,
    .scale = scale,
};

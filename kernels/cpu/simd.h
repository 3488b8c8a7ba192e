// SPDX-License-Identifier: Apache-2.0
/* One table of vector loops per instruction set. The functions here work on pieces (rows or
 * elements begin .. end) on the calling thread and check nothing; the kernels of
 * kernels/cpu/{norm,pointwise,...}.c check, cut the work for the team and call them.
 *
 * A sum of a row is kept in vector lanes that are folded at its end: it depends on the instruction
 * set, never on how rows were cut.
 */
#ifndef TRI_KERNELS_CPU_SIMD_H
#define TRI_KERNELS_CPU_SIMD_H

#include "kernels/cpu/attention_loops.h"
#include "kernels/cpu/isa.h"
#include "kernels/embed.h"
#include "kernels/factor.h"
#include "kernels/loss.h"
#include "kernels/norm.h"
#include "kernels/pointwise.h"
#include "kernels/scatter.h"
#include "kernels/update.h"

/* Rows begin .. end and columns left .. right of a matrix: block `part` of its rows. */
typedef struct tri_simd_panel {
    int64_t part;
    int64_t begin, end;
    int64_t left, right;
} tri_simd_panel;

typedef struct tri_simd_norm {
    /* branch NULL: no residual */
    void (*forward)(const tri_norm_args *args, const void *branch, int64_t begin, int64_t end);
    void (*backward_input)(const tri_norm_args *args, int64_t begin, int64_t end);
    /* dweight, dbias[left .. right) = sums over the panel's rows; dbias NULL: none */
    void (*backward_weight)(const tri_norm_args *args, const tri_simd_panel *panel, float *dweight,
                            float *dbias);
} tri_simd_norm;

typedef struct tri_simd_pointwise {
    void (*gelu_forward)(bool bf16, int64_t n, const void *x, void *y);
    void (*gelu_backward)(bool bf16, int64_t n, const void *x, const void *dy, void *dx);
    void (*swiglu_forward)(bool bf16, int64_t n, const void *gate, const void *up, void *y);
    /* of args only the type is read; the pointers are at the first element */
    void (*swiglu_backward)(const tri_swiglu_backward_args *args, int64_t n);
    void (*rope)(const tri_rope_args *args, int64_t begin, int64_t end);
    void (*dropout)(const tri_dropout_args *args, int64_t begin, int64_t end);
    void (*add)(bool bf16, int64_t n, const void *a, const void *b, void *y);
    void (*to_bf16)(int64_t n, const float *in, tri_bf16 *out);
    void (*to_f32)(int64_t n, const tri_bf16 *in, float *out);
    void (*scale)(int64_t n, float factor, float *x);
} tri_simd_pointwise;

typedef struct tri_simd_reduce {
    /* out[left .. right) = sums over the panel's rows of x */
    void (*sum_rows)(bool bf16, const void *x, int64_t stride, const tri_simd_panel *panel,
                     float *out);
    double (*sum_squares)(int64_t n, const float *x);
    /* out += x */
    void (*accumulate)(int64_t n, const float *x, float *out);
} tri_simd_reduce;

typedef struct tri_simd_embed {
    void (*forward)(const tri_embed_args *args, int64_t begin, int64_t end);
    /* all tokens, in order, columns left .. right */
    void (*backward)(const tri_embed_args *args, int64_t left, int64_t right);
} tri_simd_embed;

typedef struct tri_simd_loss {
    void (*stats)(const tri_cross_entropy_args *args, int64_t begin, int64_t end);
    void (*gradient)(const tri_cross_entropy_args *args, int64_t begin, int64_t end);
} tri_simd_loss;

/* Scalars of an update, bias corrections folded in. */
typedef struct tri_simd_scalars {
    float keep; /* 1 - decay */
    float beta[2], rest[2];
    float correction;      /* 1 / (1 - beta0^step) */
    float root_correction; /* 1 / sqrt(1 - beta1^step) */
    float step_size;       /* rate * correction */
    uint64_t key; /* of bf16 moments, mixed: keys that follow one another have nothing in common */
} tri_simd_scalars;

typedef struct tri_simd_update {
    /* stream: write the compute copy around the caches; sums [2]: of this part */
    void (*update)(const tri_update_args *args, const tri_simd_scalars *scalars, bool stream,
                   int64_t begin, int64_t end, double *sums);
    void (*traffic)(const tri_update_traffic_args *args, int64_t begin, int64_t end);
} tri_simd_update;

typedef struct tri_simd_factor {
    /* rows begin .. end; sums may be NULL */
    void (*squares)(const tri_factor_args *args, int64_t begin, int64_t end, double *row_sums,
                    double *column_sums);
    double (*measure)(const tri_factor_args *args, int64_t begin, int64_t end);
    void (*step)(const tri_factor_args *args, int64_t begin, int64_t end);
} tri_simd_factor;

typedef struct tri_simd_scatter {
    /* elements begin .. end: sum of squared differences */
    double (*add)(const tri_scatter_args *args, int64_t begin, int64_t end);
    double (*ratio)(int64_t n, const float *squares, const float *x);
    double (*product)(int64_t n, const float *x, const float *y);
} tri_simd_scatter;

/* Numbers and what is sent for them (kernels/quantize.h). */
typedef struct tri_simd_quantized {
    int64_t n;
    int bits;
    bool bf16, add;
    const void *in; /* quantize: numbers, and what is made of them */
    uint8_t *bytes;
    float *scales;
    const uint8_t *sent; /* dequantize: what was sent, and the numbers */
    const float *sent_scales;
    void *out;
} tri_simd_quantized;

typedef struct tri_simd_quantize {
    /* blocks begin .. end */
    void (*quantize)(const tri_simd_quantized *q, int64_t begin, int64_t end);
    void (*dequantize)(const tri_simd_quantized *q, int64_t begin, int64_t end);
} tri_simd_quantize;

typedef struct tri_simd_ops {
    const char *name; /* "base", "avx2", "avx512", "avx512_bf16" */
    const char *doc;
    const tri_simd_norm *norm;
    const tri_simd_pointwise *pointwise;
    const tri_simd_reduce *reduce;
    const tri_simd_embed *embed;
    const tri_simd_loss *loss;
    const tri_simd_update *update;
    const tri_simd_factor *factor;
    const tri_simd_attention *attention;
    const tri_simd_quantize *quantize;
    const tri_simd_scatter *scatter;
} tri_simd_ops;

/* The loops of an instruction set that this processor has. Not collective. */
const tri_simd_ops *tri_simd_find(tri_isa isa);

/* Tables of the simd_*.c sources, one set per instruction set. */
#define TRI_SIMD_DECLARE(isa)                                 \
    extern const tri_simd_norm tri_simd_norm_##isa;           \
    extern const tri_simd_pointwise tri_simd_pointwise_##isa; \
    extern const tri_simd_reduce tri_simd_reduce_##isa;       \
    extern const tri_simd_embed tri_simd_embed_##isa;         \
    extern const tri_simd_loss tri_simd_loss_##isa;           \
    extern const tri_simd_update tri_simd_update_##isa;       \
    extern const tri_simd_factor tri_simd_factor_##isa;       \
    extern const tri_simd_attention tri_simd_attention_##isa; \
    extern const tri_simd_quantize tri_simd_quantize_##isa;   \
    extern const tri_simd_scatter tri_simd_scatter_##isa;     \
    extern const tri_simd_ops tri_simd_##isa;
TRI_SIMD_DECLARE(base)
TRI_SIMD_DECLARE(avx2)
TRI_SIMD_DECLARE(avx512)
TRI_SIMD_DECLARE(avx512_bf16)

#endif

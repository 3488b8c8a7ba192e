// SPDX-License-Identifier: Apache-2.0
/* Linear layers over one to three parameters: products of the parts, or of all at once. */
#include "parallel/layer/linear.h"

#include "kernels/matmul.h"
#include "kernels/pointwise.h"

/* A run of rows of W that one product covers: part `first` and those after it. */
typedef struct linear_span {
    int first;
    int64_t row, rows; /* of W, hence columns of y */
} linear_span;

/* Number of products: 1 if fused, else one per part; span i of them. */
static linear_span span_of(const tri_linear *linear, bool fused, int i)
{
    if (fused) return (linear_span){0, 0, tri_linear_out(linear)};
    int64_t row = 0;
    for (int p = 0; p < i; p++)
        row += linear->out[p];
    return (linear_span){i, row, linear->out[i]};
}

int64_t tri_linear_out(const tri_linear *linear)
{
    int64_t out = 0;
    for (int p = 0; p < linear->n_parts; p++)
        out += linear->out[p];
    return out;
}

void tri_linear_join(tri_linear *linear, tri_dtype dtype)
{
    bool weight = true;
    bool gradient = true;
    for (int p = 1; p < linear->n_parts; p++) {
        tri_param *const *pairs[] = {&linear->weight[p - 1], &linear->bias[p - 1]};
        for (int i = 0; i < 2; i++) {
            const tri_param *a = pairs[i][0];
            const tri_param *b = pairs[i][1];
            if (!a) continue;
            weight = weight && tri_layer_at(a->weight, a->count, dtype) == b->weight;
            gradient = gradient && a->gradient && a->gradient + a->count == b->gradient;
        }
    }
    linear->fused_weight = weight;
    linear->fused_gradient = gradient;
}

tri_status tri_linear_forward(const tri_layer_call *call, const tri_linear *linear, int64_t rows,
                              const void *x, void *y)
{
    int n = linear->fused_weight ? 1 : linear->n_parts;
    for (int i = 0; i < n; i++) {
        linear_span span = span_of(linear, linear->fused_weight, i);
        const tri_param *bias = linear->bias[span.first];
        tri_matmul_args args = {
            .m = rows,
            .n = span.rows,
            .k = linear->in,
            .a = x,
            .b = linear->weight[span.first]->weight,
            .c = tri_layer_at(y, span.row, call->dtype),
            .bias = bias ? bias->weight : NULL,
            .input_type = call->dtype,
            .output_type = call->dtype,
            .b_transposed = true,
            .lda = linear->in,
            .ldb = linear->in,
            .ldc = tri_linear_out(linear),
        };
        TRI_TRY(tri_matmul(call->kernels, &args));
    }
    return TRI_OK;
}

/* Products of parts that lie apart are added in the activations' type: sums of at most three. */
tri_status tri_linear_backward_input(const tri_layer_call *call, const tri_linear *linear,
                                     int64_t rows, const void *dy, void *dx, void *scratch)
{
    int n = linear->fused_weight ? 1 : linear->n_parts;
    for (int i = 0; i < n; i++) {
        linear_span span = span_of(linear, linear->fused_weight, i);
        tri_matmul_args args = {
            .m = rows,
            .n = linear->in,
            .k = span.rows,
            .a = tri_layer_at(dy, span.row, call->dtype),
            .b = linear->weight[span.first]->weight,
            .c = i > 0 ? scratch : dx,
            .input_type = call->dtype,
            .output_type = call->dtype,
            .lda = tri_linear_out(linear),
            .ldb = linear->in,
            .ldc = linear->in,
        };
        TRI_TRY(tri_matmul(call->kernels, &args));
        if (i > 0) TRI_TRY(tri_add(call->kernels, call->dtype, args.m * args.n, dx, scratch, dx));
    }
    return TRI_OK;
}

tri_status tri_linear_backward_weight(const tri_layer_call *call, const tri_linear *linear,
                                      const void *x, const void *dy)
{
    int64_t out = tri_linear_out(linear);
    int n = linear->fused_gradient ? 1 : linear->n_parts;
    for (int i = 0; i < n; i++) {
        linear_span span = span_of(linear, linear->fused_gradient, i);
        const void *part = tri_layer_at(dy, span.row, call->dtype);
        tri_matmul_args args = {
            .m = span.rows,
            .n = linear->in,
            .k = tri_layer_rows(call),
            .a = part,
            .b = x,
            .c = linear->weight[span.first]->gradient,
            .input_type = call->dtype,
            .output_type = TRI_F32,
            .a_transposed = true,
            .accumulate = true,
            .lda = out,
            .ldb = linear->in,
            .ldc = linear->in,
        };
        TRI_TRY(tri_matmul(call->kernels, &args));
        if (!linear->bias[span.first]) continue;
        TRI_TRY(tri_bias_backward(call->kernels, call->dtype, args.k, span.rows, out, part,
                                  linear->bias[span.first]->gradient, call->reduction));
    }
    return TRI_OK;
}

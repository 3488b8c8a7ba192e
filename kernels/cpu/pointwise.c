// SPDX-License-Identifier: Apache-2.0
/* Activations, sums of residuals, casts and scaling: checks, and elements cut for the team at
 * multiples of UNIT (cache lines of both types), so that no two threads write one line.
 */
#include "kernels/pointwise.h"

#include "kernels/cpu/simd.h"
#include "kernels/cpu/team.h"
#include "kernels/kernels_impl.h"

enum { UNIT = 64 };

/* Up to three operands of one flat kernel; what they are is the kernel's business. */
typedef struct flat_work {
    const tri_simd_pointwise *simd;
    tri_dtype dtype;
    const void *a, *b;
    void *y;
    float factor;
} flat_work;

static const void *from(const void *p, int64_t i, tri_dtype dtype)
{
    return (const char *)p + (size_t)i * tri_dtype_bytes(dtype);
}

static void *to(void *p, int64_t i, tri_dtype dtype)
{
    return (char *)p + (size_t)i * tri_dtype_bytes(dtype);
}

static tri_status run_flat(tri_kernels *kernels, const char *kernel, int64_t n, tri_team_fn fn,
                           flat_work work)
{
    TRI_TRY(tri_team_check(kernel, work.dtype, 1, n, n));
    work.simd = kernels->simd->pointwise;
    tri_team_run(kernels, n, UNIT, tri_team_grain((int64_t)tri_dtype_bytes(work.dtype)), fn, &work);
    return TRI_OK;
}

static void gelu_forward(const void *work, int64_t begin, int64_t end)
{
    const flat_work *w = work;
    w->simd->gelu_forward(w->dtype == TRI_BF16, end - begin, from(w->a, begin, w->dtype),
                          to(w->y, begin, w->dtype));
}

tri_status tri_gelu_forward(tri_kernels *kernels, tri_dtype dtype, int64_t n, const void *x,
                            void *y)
{
    TRI_TRY(
        run_flat(kernels, "GELU", n, gelu_forward, (flat_work){.dtype = dtype, .a = x, .y = y}));
    return TRI_OK;
}

static void gelu_backward(const void *work, int64_t begin, int64_t end)
{
    const flat_work *w = work;
    w->simd->gelu_backward(w->dtype == TRI_BF16, end - begin, from(w->a, begin, w->dtype),
                           from(w->b, begin, w->dtype), to(w->y, begin, w->dtype));
}

tri_status tri_gelu_backward(tri_kernels *kernels, tri_dtype dtype, int64_t n, const void *x,
                             const void *dy, void *dx)
{
    TRI_TRY(run_flat(kernels, "GELU backward", n, gelu_backward,
                     (flat_work){.dtype = dtype, .a = x, .b = dy, .y = dx}));
    return TRI_OK;
}

typedef struct swiglu_work {
    const tri_simd_pointwise *simd;
    tri_swiglu_backward_args args;
    void *y; /* forward */
} swiglu_work;

static void swiglu_forward(const void *work, int64_t begin, int64_t end)
{
    const swiglu_work *w = work;
    tri_dtype dtype = w->args.dtype;
    for (int64_t row = begin; row < end; row++)
        w->simd->swiglu_forward(
            dtype == TRI_BF16, w->args.width, from(w->args.gate, row * w->args.stride, dtype),
            from(w->args.up, row * w->args.stride, dtype), to(w->y, row * w->args.width, dtype));
}

tri_status tri_swiglu_forward(tri_kernels *kernels, tri_dtype dtype, int64_t rows, int64_t width,
                              int64_t stride, const void *gate, const void *up, void *y)
{
    TRI_TRY(tri_team_check("SwiGLU", dtype, rows, width, stride));
    swiglu_work work = {.simd = kernels->simd->pointwise, .y = y};
    work.args = (tri_swiglu_backward_args){
        .dtype = dtype, .rows = rows, .width = width, .stride = stride, .gate = gate, .up = up};
    int64_t row_bytes = width * (int64_t)tri_dtype_bytes(dtype);
    tri_team_run(kernels, rows, 1, tri_team_grain(row_bytes), swiglu_forward, &work);
    return TRI_OK;
}

static void swiglu_backward(const void *work, int64_t begin, int64_t end)
{
    const swiglu_work *w = work;
    tri_dtype dtype = w->args.dtype;
    for (int64_t row = begin; row < end; row++) {
        int64_t at = row * w->args.stride;
        tri_swiglu_backward_args piece = {.dtype = dtype,
                                          .gate = from(w->args.gate, at, dtype),
                                          .up = from(w->args.up, at, dtype),
                                          .dy = from(w->args.dy, row * w->args.width, dtype),
                                          .dgate = to(w->args.dgate, at, dtype),
                                          .dup = to(w->args.dup, at, dtype)};
        w->simd->swiglu_backward(&piece, w->args.width);
    }
}

tri_status tri_swiglu_backward(tri_kernels *kernels, const tri_swiglu_backward_args *args)
{
    TRI_TRY(tri_team_check("SwiGLU backward", args->dtype, args->rows, args->width, args->stride));
    swiglu_work work = {.simd = kernels->simd->pointwise, .args = *args};
    int64_t row_bytes = args->width * (int64_t)tri_dtype_bytes(args->dtype) * 2;
    tri_team_run(kernels, args->rows, 1, tri_team_grain(row_bytes), swiglu_backward, &work);
    return TRI_OK;
}

static void add(const void *work, int64_t begin, int64_t end)
{
    const flat_work *w = work;
    w->simd->add(w->dtype == TRI_BF16, end - begin, from(w->a, begin, w->dtype),
                 from(w->b, begin, w->dtype), to(w->y, begin, w->dtype));
}

tri_status tri_add(tri_kernels *kernels, tri_dtype dtype, int64_t n, const void *a, const void *b,
                   void *y)
{
    TRI_TRY(
        run_flat(kernels, "addition", n, add, (flat_work){.dtype = dtype, .a = a, .b = b, .y = y}));
    return TRI_OK;
}

typedef struct cast_work {
    const tri_simd_pointwise *simd;
    tri_span in, out;
} cast_work;

static void cast(const void *work, int64_t begin, int64_t end)
{
    const cast_work *w = work;
    tri_span in = tri_span_part(w->in, begin, end - begin);
    tri_span out = tri_span_part(w->out, begin, end - begin);
    if (in.dtype == out.dtype)
        memcpy(out.data, in.data, tri_span_bytes(in));
    else if (in.dtype == TRI_F32)
        w->simd->to_bf16(in.count, in.data, out.data);
    else
        w->simd->to_f32(in.count, in.data, out.data);
}

tri_status tri_cast(tri_kernels *kernels, tri_span in, tri_span out)
{
    TRI_CHECK(in.count == out.count && in.count >= 0, TRI_EINVAL, "cast of %lld elements into %lld",
              (long long)in.count, (long long)out.count);
    bool known = (in.dtype == TRI_F32 || in.dtype == TRI_BF16) &&
                 (out.dtype == TRI_F32 || out.dtype == TRI_BF16);
    TRI_CHECK(known || in.dtype == out.dtype, TRI_EINVAL,
              "cast of %s into %s: fp32 and bf16 are converted, other types only copied",
              tri_dtype_name(in.dtype), tri_dtype_name(out.dtype));
    cast_work work = {kernels->simd->pointwise, in, out};
    tri_team_run(kernels, in.count, UNIT, tri_team_grain(4), cast, &work);
    return TRI_OK;
}

static void scale(const void *work, int64_t begin, int64_t end)
{
    const flat_work *w = work;
    w->simd->scale(end - begin, w->factor, to(w->y, begin, TRI_F32));
}

tri_status tri_scale(tri_kernels *kernels, int64_t n, float factor, float *x)
{
    TRI_TRY(run_flat(kernels, "scaling", n, scale,
                     (flat_work){.dtype = TRI_F32, .y = x, .factor = factor}));
    return TRI_OK;
}

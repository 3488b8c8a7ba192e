// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1 timeout=180
/* Attention against the definition in double precision, on every instruction set, on one and two
 * threads, in fp32 and bf16; its gradients also against finite differences.
 */
#include "kernels/attention.h"
#include "tests/kernels/kernel_cases.h"

typedef struct shape {
    int64_t batch, n_query, n_key, heads, kv_heads, head_size;
    bool fused; /* q, k, v are parts of one buffer's rows */
    bool cache; /* samples of k and v are apart as in a cache with room left */
} shape;

/* Arrays of one case; elements of q, k, v as the kernel is told by args. */
typedef struct attention_case {
    shape s;
    tri_attention_args args;
    kernel_array *q, *k, *v, *out, *dout, *dq, *dk, *dv; /* fused: q holds all three */
    float *lse;
    void *workspace;
    double *want_out, *want_lse, *want_dq, *want_dk, *want_dv; /* dense, [tokens, heads, size] */
} attention_case;

static void attention_case_destroy(attention_case **c)
{
    if (!*c) return;
    kernel_array_destroy(&(*c)->q);
    kernel_array_destroy(&(*c)->k);
    kernel_array_destroy(&(*c)->v);
    kernel_array_destroy(&(*c)->out);
    kernel_array_destroy(&(*c)->dout);
    kernel_array_destroy(&(*c)->dq);
    kernel_array_destroy(&(*c)->dk);
    kernel_array_destroy(&(*c)->dv);
    TRI_FREE((*c)->lse);
    TRI_FREE((*c)->workspace);
    TRI_FREE((*c)->want_out);
    TRI_FREE((*c)->want_lse);
    TRI_FREE((*c)->want_dq);
    TRI_FREE((*c)->want_dk);
    TRI_FREE((*c)->want_dv);
    TRI_FREE(*c);
}

static void *at_element(const kernel_array *a, int64_t element)
{
    return (char *)a->data + element * (int64_t)tri_dtype_bytes(a->dtype);
}

static void case_layout(attention_case *c, tri_dtype dtype)
{
    const shape *s = &c->s;
    int64_t q_width = s->heads * s->head_size;
    int64_t kv_width = s->kv_heads * s->head_size;
    int64_t stride = s->fused ? q_width + 2 * kv_width : 0;
    c->args = (tri_attention_args){.batch = s->batch,
                                   .n_query = s->n_query,
                                   .n_key = s->n_key,
                                   .q_first = s->n_key - s->n_query,
                                   .heads = s->heads,
                                   .kv_heads = s->kv_heads,
                                   .head_size = s->head_size,
                                   .dtype = dtype,
                                   .scale = 1.0F / sqrtf((float)s->head_size),
                                   .q_stride = s->fused ? stride : q_width + 3,
                                   .k_stride = s->fused ? stride : kv_width,
                                   .v_stride = s->fused ? stride : kv_width + 1,
                                   .out_stride = q_width + 2};
    if (!s->cache) return;
    c->args.k_batch_stride = (s->n_key + 5) * kv_width;
    c->args.v_batch_stride = (s->n_key + 6) * (kv_width + 1);
}

static tri_status inputs_create(attention_case *c, const kernel_case *k)
{
    const tri_attention_args *a = &c->args;
    int64_t queries = a->batch * a->n_query;
    int64_t k_n =
        a->k_batch_stride ? a->batch * a->k_batch_stride : a->batch * a->n_key * a->k_stride;
    int64_t v_n =
        a->v_batch_stride ? a->batch * a->v_batch_stride : a->batch * a->n_key * a->v_stride;
    TRI_TRY(kernel_array_create(k->dtype, queries * a->q_stride, 1, 1, &c->q));
    TRI_TRY(kernel_array_create(k->dtype, queries * a->q_stride, 0, 0, &c->dq));
    TRI_TRY(kernel_array_create(k->dtype, queries * a->out_stride, 0, 0, &c->out));
    TRI_TRY(kernel_array_create(k->dtype, queries * a->out_stride, 4, 1, &c->dout));
    TRI_TRY(TRI_NEW_ARRAY(queries * a->heads, &c->lse));
    if (c->s.fused) return TRI_OK;
    TRI_TRY(kernel_array_create(k->dtype, k_n, 2, 1, &c->k));
    TRI_TRY(kernel_array_create(k->dtype, v_n, 3, 1, &c->v));
    TRI_TRY(kernel_array_create(k->dtype, k_n, 0, 0, &c->dk));
    TRI_TRY(kernel_array_create(k->dtype, v_n, 0, 0, &c->dv));
    return TRI_OK;
}

static tri_status attention_case_create(const shape *s, const kernel_case *k, attention_case **out)
{
    TRI_AUTO(attention_case) *c = NULL;
    TRI_TRY(TRI_NEW(&c));
    c->s = *s;
    case_layout(c, k->dtype);
    TRI_TRY(inputs_create(c, k));
    tri_attention_args *a = &c->args;
    int64_t q_width = s->heads * s->head_size;
    int64_t kv_width = s->kv_heads * s->head_size;
    a->q = c->q->data;
    a->k = s->fused ? at_element(c->q, q_width) : c->k->data;
    a->v = s->fused ? at_element(c->q, q_width + kv_width) : c->v->data;
    a->dq = c->dq->data;
    a->dk = s->fused ? at_element(c->dq, q_width) : c->dk->data;
    a->dv = s->fused ? at_element(c->dq, q_width + kv_width) : c->dv->data;
    a->out = c->out->data;
    a->dout = c->dout->data;
    a->lse = c->lse;
    TRI_TRY(tri_alloc(&c->workspace, (int64_t)tri_attention_workspace(k->kernels, a), 1));
    a->workspace = c->workspace;
    TRI_TRY(TRI_NEW_ARRAY(s->batch * s->n_query * q_width, &c->want_out));
    TRI_TRY(TRI_NEW_ARRAY(s->batch * s->n_query * s->heads, &c->want_lse));
    TRI_TRY(TRI_NEW_ARRAY(s->batch * s->n_query * q_width, &c->want_dq));
    TRI_TRY(TRI_NEW_ARRAY(s->batch * s->n_key * kv_width, &c->want_dk));
    TRI_TRY(TRI_NEW_ARRAY(s->batch * s->n_key * kv_width, &c->want_dv));
    *out = TRI_MOVE(c);
    return TRI_OK;
}

/* Values of row `token` of sample b, head h, as fp32. */
static const float *q_row(const attention_case *c, int64_t b, int64_t t, int64_t h)
{
    return c->q->value + (b * c->s.n_query + t) * c->args.q_stride + h * c->s.head_size;
}

static int64_t kv_at(const attention_case *c, int64_t batch_stride, int64_t stride, int64_t b,
                     int64_t j)
{
    return b * (batch_stride ? batch_stride : c->s.n_key * stride) + j * stride;
}

static const float *k_row(const attention_case *c, int64_t b, int64_t j, int64_t g)
{
    int64_t at = kv_at(c, c->args.k_batch_stride, c->args.k_stride, b, j) + g * c->s.head_size;
    return c->s.fused ? c->q->value + c->s.heads * c->s.head_size + at : c->k->value + at;
}

static const float *v_row(const attention_case *c, int64_t b, int64_t j, int64_t g)
{
    int64_t at = kv_at(c, c->args.v_batch_stride, c->args.v_stride, b, j) + g * c->s.head_size;
    int64_t skip = (c->s.heads + c->s.kv_heads) * c->s.head_size;
    return c->s.fused ? c->q->value + skip + at : c->v->value + at;
}

static double dot(int64_t n, const float *a, const float *b)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += (double)a[i] * (double)b[i];
    return sum;
}

/* p[j] = softmax of query (b, t, h); gives the log of the sum of exponentials. */
static double softmax_of(const attention_case *c, int64_t b, int64_t t, int64_t h, double *p)
{
    int64_t n = c->s.n_key - c->s.n_query + t + 1;
    int64_t g = h / (c->s.heads / c->s.kv_heads);
    double maximum = -INFINITY;
    double sum = 0;
    for (int64_t j = 0; j < n; j++) {
        p[j] = (double)c->args.scale * dot(c->s.head_size, q_row(c, b, t, h), k_row(c, b, j, g));
        maximum = p[j] > maximum ? p[j] : maximum;
    }
    for (int64_t j = 0; j < n; j++)
        sum += p[j] = exp(p[j] - maximum);
    for (int64_t j = 0; j < n; j++)
        p[j] /= sum;
    return maximum + log(sum);
}

/* One query's output, and its part in all gradients. */
static void reference_query(attention_case *c, int64_t b, int64_t t, int64_t h, double *p)
{
    const shape *s = &c->s;
    int64_t width = s->head_size;
    int64_t g = h / (s->heads / s->kv_heads);
    int64_t row = (b * s->n_query + t) * s->heads + h;
    double *out = c->want_out + row * width;
    double *dq = c->want_dq + row * width;
    const float *dout = c->dout->value + (b * s->n_query + t) * c->args.out_stride + h * width;
    c->want_lse[(b * s->heads + h) * s->n_query + t] = softmax_of(c, b, t, h, p);
    int64_t n = s->n_key - s->n_query + t + 1;
    double delta = 0;
    for (int64_t j = 0; j < n; j++) {
        const float *v = v_row(c, b, j, g);
        delta += p[j] * dot(width, dout, v);
        for (int64_t d = 0; d < width; d++)
            out[d] += p[j] * (double)v[d];
    }
    for (int64_t j = 0; j < n; j++) {
        double *dk = c->want_dk + ((b * s->n_key + j) * s->kv_heads + g) * width;
        double *dv = c->want_dv + ((b * s->n_key + j) * s->kv_heads + g) * width;
        double ds = p[j] * (dot(width, dout, v_row(c, b, j, g)) - delta) * (double)c->args.scale;
        const float *k = k_row(c, b, j, g);
        const float *q = q_row(c, b, t, h);
        for (int64_t d = 0; d < width; d++) {
            dq[d] += ds * (double)k[d];
            dk[d] += ds * (double)q[d];
            dv[d] += p[j] * (double)dout[d];
        }
    }
}

static tri_status reference(attention_case *c)
{
    double *p = NULL;
    TRI_TRY(TRI_NEW_ARRAY(c->s.n_key, &p));
    for (int64_t b = 0; b < c->s.batch; b++)
        for (int64_t t = 0; t < c->s.n_query; t++)
            for (int64_t h = 0; h < c->s.heads; h++)
                reference_query(c, b, t, h, p);
    TRI_FREE(p);
    return TRI_OK;
}

/* Relative error of strided rows against dense ones. */
static double rows_error(const kernel_array *a, int64_t first, int64_t batch_stride, int64_t stride,
                         const shape *s, int64_t tokens, int64_t width, const double *want)
{
    double difference = 0;
    double norm = 0;
    for (int64_t b = 0; b < s->batch; b++)
        for (int64_t t = 0; t < tokens; t++)
            for (int64_t j = 0; j < width; j++) {
                double got = (double)a->value[first + b * batch_stride + t * stride + j];
                double right = want[(b * tokens + t) * width + j];
                difference += (got - right) * (got - right);
                norm += right * right;
            }
    return norm > 0 ? sqrt(difference / norm) : sqrt(difference);
}

static void expect_error(const kernel_case *k, const shape *s, const char *what, double error)
{
    double limit = k->dtype == TRI_BF16 ? 1e-2 : 1e-5;
    EXPECT(error <= limit, "%s %s, %s, %d threads, [%lld %lld %lld %lld %lld %lld]: %g", what,
           k->isa, tri_dtype_name(k->dtype), k->threads, (long long)s->batch, (long long)s->n_query,
           (long long)s->n_key, (long long)s->heads, (long long)s->kv_heads,
           (long long)s->head_size, error);
}

static void check_forward(const kernel_case *k, attention_case *c)
{
    const shape *s = &c->s;
    int64_t q_width = s->heads * s->head_size;
    kernel_array_read(c->out);
    expect_error(k, s, "out",
                 rows_error(c->out, 0, s->n_query * c->args.out_stride, c->args.out_stride, s,
                            s->n_query, q_width, c->want_out));
    for (int64_t i = 0; i < s->batch * s->n_query * s->heads; i++)
        EXPECT(fabs((double)c->lse[i] - c->want_lse[i]) <= 1e-5 * (1 + fabs(c->want_lse[i])),
               "lse %lld is %g, not %g", (long long)i, (double)c->lse[i], c->want_lse[i]);
    for (int64_t t = 0; t < s->batch * s->n_query; t++)
        for (int64_t j = q_width; j < c->args.out_stride; j++)
            EXPECT(c->out->value[t * c->args.out_stride + j] == 0, "out was written behind a row");
}

static void check_backward(const kernel_case *k, attention_case *c)
{
    const shape *s = &c->s;
    const tri_attention_args *a = &c->args;
    int64_t q_width = s->heads * s->head_size;
    int64_t kv_width = s->kv_heads * s->head_size;
    kernel_array *dk = s->fused ? c->dq : c->dk;
    kernel_array *dv = s->fused ? c->dq : c->dv;
    int64_t k_batch = a->k_batch_stride ? a->k_batch_stride : s->n_key * a->k_stride;
    int64_t v_batch = a->v_batch_stride ? a->v_batch_stride : s->n_key * a->v_stride;
    kernel_array_read(c->dq);
    kernel_array_read(dk);
    kernel_array_read(dv);
    expect_error(k, s, "dq",
                 rows_error(c->dq, 0, s->n_query * a->q_stride, a->q_stride, s, s->n_query, q_width,
                            c->want_dq));
    expect_error(k, s, "dk",
                 rows_error(dk, s->fused ? q_width : 0, k_batch, a->k_stride, s, s->n_key, kv_width,
                            c->want_dk));
    expect_error(k, s, "dv",
                 rows_error(dv, s->fused ? q_width + kv_width : 0, v_batch, a->v_stride, s,
                            s->n_key, kv_width, c->want_dv));
}

static tri_status shape_run(const kernel_case *k, const shape *s)
{
    TRI_AUTO(attention_case) *c = NULL;
    TRI_TRY(attention_case_create(s, k, &c));
    TRI_TRY(reference(c));
    TRI_TRY(tri_attention_forward(k->kernels, &c->args));
    check_forward(k, c);
    TRI_TRY(tri_attention_backward(k->kernels, &c->args));
    check_backward(k, c);
    return TRI_OK;
}

static tri_status small_shapes(const kernel_case *k)
{
    const shape shapes[] = {
        {1, 1,   1,   1, 1, 4,  false, false},
        {2, 9,   9,   2, 2, 16, false, false},
        {2, 64,  64,  2, 2, 64, true,  false},
        {1, 65,  65,  3, 1, 20, true,  false},
        {1, 140, 140, 6, 3, 16, true,  false},
        {2, 130, 130, 4, 2, 32, true,  false},
        {1, 150, 150, 2, 2, 7,  false, true },
    };
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
        TRI_TRY(shape_run(k, &shapes[i]));
    return TRI_OK;
}

TRI_TEST(forward_and_backward_agree_with_the_definition)
{
    return kernel_cases_run(small_shapes);
}

static tri_status long_shapes(const kernel_case *k)
{
    const shape shapes[] = {
        {1, 577,  577,  2, 1, 16, true,  false},
        {1, 1090, 1090, 1, 1, 8,  false, false}
    };
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
        TRI_TRY(shape_run(k, &shapes[i]));
    return TRI_OK;
}

TRI_TEST(sequences_of_several_key_blocks)
{
    return kernel_cases_run(long_shapes);
}

static tri_status cache_shapes(const kernel_case *k)
{
    const shape shapes[] = {
        {2, 1,  1,   4, 2, 16, false, true},
        {2, 1,  37,  4, 2, 16, false, true},
        {1, 1,  700, 2, 2, 64, false, true},
        {2, 7,  40,  2, 1, 20, false, true},
        {2, 8,  40,  2, 1, 20, false, true},
        {1, 70, 600, 2, 2, 12, false, true}
    };
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
        TRI_TRY(shape_run(k, &shapes[i]));
    return TRI_OK;
}

TRI_TEST(queries_at_the_end_of_a_cache)
{
    return kernel_cases_run(cache_shapes);
}

/* sum of out * dout as the kernel has it */
static tri_status objective(const kernel_case *k, attention_case *c, double *value)
{
    TRI_TRY(tri_attention_forward(k->kernels, &c->args));
    kernel_array_read(c->out);
    *value = 0;
    int64_t width = c->s.heads * c->s.head_size;
    for (int64_t t = 0; t < c->s.batch * c->s.n_query; t++)
        *value += dot(width, c->out->value + t * c->args.out_stride,
                      c->dout->value + t * c->args.out_stride);
    return TRI_OK;
}

static tri_status difference_run(const kernel_case *k)
{
    if (k->dtype != TRI_F32) return TRI_OK;
    const shape s = {1, 70, 70, 4, 2, 8, true, false};
    TRI_AUTO(attention_case) *c = NULL;
    TRI_TRY(attention_case_create(&s, k, &c));
    double unused = 0;
    TRI_TRY(objective(k, c, &unused));
    TRI_TRY(tri_attention_backward(k->kernels, &c->args));
    kernel_array_read(c->dq);
    const float step = 1e-2F;
    double worst = 0;
    for (int64_t i = 11; i < c->q->n; i += 331) {
        float *x = (float *)c->q->data + i;
        float keep = *x;
        double up = 0;
        double down = 0;
        *x = keep + step;
        TRI_TRY(objective(k, c, &up));
        *x = keep - step;
        TRI_TRY(objective(k, c, &down));
        *x = keep;
        double error = fabs((up - down) / (2 * (double)step) - (double)c->dq->value[i]);
        worst = error > worst ? error : worst;
    }
    EXPECT(worst < 5e-3, "gradient is off by %g from finite differences", worst);
    return TRI_OK;
}

TRI_TEST(gradients_are_finite_differences)
{
    return kernel_cases_run(difference_run);
}

static tri_status repeat_run(const kernel_case *k)
{
    const shape s = {2, 200, 200, 4, 2, 32, true, false};
    TRI_AUTO(attention_case) *one = NULL;
    TRI_AUTO(attention_case) *two = NULL;
    TRI_TRY(attention_case_create(&s, k, &one));
    TRI_TRY(attention_case_create(&s, k, &two));
    TRI_TRY(tri_attention_forward(k->kernels, &one->args));
    TRI_TRY(tri_attention_backward(k->kernels, &one->args));
    int64_t before = tri_alloc_count();
    TRI_TRY(tri_attention_forward(k->kernels, &two->args));
    TRI_TRY(tri_attention_backward(k->kernels, &two->args));
    EXPECT(tri_alloc_count() == before, "%lld allocations in the second call",
           (long long)(tri_alloc_count() - before));
    size_t element_bytes = tri_dtype_bytes(k->dtype);
    EXPECT(kernel_same_bits(one->out->data, two->out->data, (size_t)one->out->n * element_bytes) &&
               kernel_same_bits(one->dq->data, two->dq->data, (size_t)one->dq->n * element_bytes),
           "the second call gave other bits");
    return TRI_OK;
}

TRI_TEST(a_repeated_call_gives_the_same_bits_and_allocates_nothing)
{
    return kernel_cases_run(repeat_run);
}

TRI_TEST(wrong_arguments_are_answered)
{
    TRI_AUTO(kernel_team) *team = NULL;
    TRI_TRY(kernel_team_create(NULL, 1, &team));
    kernel_case k = {team->kernels, TRI_F32, "default", 1, 0};
    const shape s = {1, 4, 4, 4, 2, 8, false, false};
    TRI_AUTO(attention_case) *c = NULL;
    TRI_TRY(attention_case_create(&s, &k, &c));
    tri_attention_args args = c->args;
    args.kv_heads = 3;
    EXPECT_STATUS(tri_attention_forward(k.kernels, &args), TRI_EINVAL, "4 heads on 3 key/value");
    args = c->args;
    args.n_key = -3;
    EXPECT_STATUS(tri_attention_forward(k.kernels, &args), TRI_EINVAL, "4 queries, -3 keys");
    args = c->args;
    args.lse_stride = 3;
    EXPECT_STATUS(tri_attention_backward(k.kernels, &args), TRI_EINVAL, "3 elements between");
    args = c->args;
    const int32_t falling[] = {0, 0, 2, 1};
    args.visible = falling;
    EXPECT_STATUS(tri_attention_forward(k.kernels, &args), TRI_EINVAL, "place 3 of sample 0");
    args.q_first = -1;
    EXPECT_STATUS(tri_attention_forward(k.kernels, &args), TRI_EINVAL, "from place -1 on");
    args = c->args;
    args.dtype = TRI_F16;
    EXPECT_STATUS(tri_attention_backward(k.kernels, &args), TRI_EINVAL, "fp16");
    args = c->args;
    args.q_stride = 31;
    EXPECT_STATUS(tri_attention_forward(k.kernels, &args), TRI_EINVAL, "strides q 31");
    args = c->args;
    args.batch = 0;
    TRI_TRY(tri_attention_forward(k.kernels, &args));
    TRI_TRY(tri_attention_backward(k.kernels, &args));
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(forward_and_backward_agree_with_the_definition),
              TRI_TEST_ROW(sequences_of_several_key_blocks),
              TRI_TEST_ROW(queries_at_the_end_of_a_cache),
              TRI_TEST_ROW(gradients_are_finite_differences),
              TRI_TEST_ROW(a_repeated_call_gives_the_same_bits_and_allocates_nothing),
              TRI_TEST_ROW(wrong_arguments_are_answered))

// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1 timeout=120
/* Products of every form against a scalar product in double, on every instruction set and on one and
 * two threads.
 */
#include "kernels/cpu/matmul_impl.h"
#include "kernels/matmul_bare.h"
#include "tests/test.h"

typedef struct sizes {
    int64_t m, n, k;
} sizes;

/* Everything that one case owns. */
typedef struct matmul_case {
    tri_matmul_args args;
    float *a, *b, *bias, *c, *want;
    tri_bf16 *a_half, *b_half, *bias_half, *c_half;
    int64_t n_a, n_b, n_c;
} matmul_case;

static void matmul_case_destroy(matmul_case *t)
{
    TRI_FREE(t->a);
    TRI_FREE(t->b);
    TRI_FREE(t->bias);
    TRI_FREE(t->c);
    TRI_FREE(t->want);
    TRI_FREE(t->a_half);
    TRI_FREE(t->b_half);
    TRI_FREE(t->bias_half);
    TRI_FREE(t->c_half);
}

static float noise(uint32_t *state)
{
    *state = *state * 1664525U + 1013904223U;
    return (float)(*state >> 8) / (float)(1U << 23) - 1.0F;
}

/* Fill, round to bf16 and keep the rounded value, so that the reference sees the same numbers. */
static void fill(uint32_t *state, int64_t n, bool rounds, float *x, tri_bf16 *half)
{
    for (int64_t i = 0; i < n; i++) {
        x[i] = noise(state);
        half[i] = tri_f32_to_bf16(x[i]);
        if (rounds) x[i] = tri_bf16_to_f32(half[i]);
    }
}

static void reference(matmul_case *t)
{
    const tri_matmul_args *p = &t->args;
    for (int64_t i = 0; i < p->m; i++)
        for (int64_t j = 0; j < p->n; j++) {
            double sum = p->bias ? (double)t->bias[j] : 0.0;
            for (int64_t l = 0; l < p->k; l++) {
                double a = (double)t->a[p->a_transposed ? l * p->lda + i : i * p->lda + l];
                double b = (double)t->b[p->b_transposed ? j * p->ldb + l : l * p->ldb + j];
                sum += a * b;
            }
            float *want = &t->want[i * p->ldc + j];
            *want = (float)(sum + (p->accumulate ? (double)*want : 0.0));
        }
}

/* bits of `form`: 1 a_transposed, 2 b_transposed, 4 bias, 8 accumulate, 16 padded rows, 32 bf16 in,
 * 64 bf16 out */
static tri_status case_make(sizes s, int form, matmul_case *t)
{
    tri_matmul_args *p = &t->args;
    int64_t pad = form & 16 ? 3 : 0;
    bool half_in = (form & 32) != 0;
    p->m = s.m;
    p->n = s.n;
    p->k = s.k;
    p->a_transposed = (form & 1) != 0;
    p->b_transposed = (form & 2) != 0;
    p->accumulate = (form & 8) != 0;
    p->input_type = half_in ? TRI_BF16 : TRI_F32;
    p->output_type = form & 64 ? TRI_BF16 : TRI_F32;
    p->lda = (p->a_transposed ? s.m : s.k) + pad;
    p->ldb = (p->b_transposed ? s.k : s.n) + pad;
    p->ldc = s.n + pad;
    t->n_a = (p->a_transposed ? s.k : s.m) * p->lda;
    t->n_b = (p->b_transposed ? s.n : s.k) * p->ldb;
    t->n_c = s.m * p->ldc;
    TRI_TRY(TRI_NEW_ARRAY(t->n_a, &t->a));
    TRI_TRY(TRI_NEW_ARRAY(t->n_b, &t->b));
    TRI_TRY(TRI_NEW_ARRAY(s.n, &t->bias));
    TRI_TRY(TRI_NEW_ARRAY(t->n_c, &t->c));
    TRI_TRY(TRI_NEW_ARRAY(t->n_c, &t->want));
    TRI_TRY(TRI_NEW_ARRAY(t->n_a, &t->a_half));
    TRI_TRY(TRI_NEW_ARRAY(t->n_b, &t->b_half));
    TRI_TRY(TRI_NEW_ARRAY(s.n, &t->bias_half));
    TRI_TRY(TRI_NEW_ARRAY(t->n_c, &t->c_half));
    uint32_t state = (uint32_t)(form * 131 + s.m * 7 + s.n * 3 + s.k);
    fill(&state, t->n_a, half_in, t->a, t->a_half);
    fill(&state, t->n_b, half_in, t->b, t->b_half);
    fill(&state, s.n, half_in, t->bias, t->bias_half);
    fill(&state, t->n_c, (form & 64) != 0, t->c, t->c_half);
    if (t->n_c) memcpy(t->want, t->c, (size_t)t->n_c * sizeof *t->c);
    p->a = half_in ? (void *)t->a_half : (void *)t->a;
    p->b = half_in ? (void *)t->b_half : (void *)t->b;
    if (form & 4) p->bias = half_in ? (void *)t->bias_half : (void *)t->bias;
    p->c = form & 64 ? (void *)t->c_half : (void *)t->c;
    return TRI_OK;
}

static tri_status case_run(tri_kernels *kernels, sizes s, int form)
{
    __attribute__((cleanup(matmul_case_destroy))) matmul_case t = {0};
    TRI_TRY(case_make(s, form, &t));
    reference(&t);
    TRI_TRY(tri_matmul(kernels, &t.args));
    if (form & 64)
        for (int64_t i = 0; i < t.n_c; i++)
            t.c[i] = tri_bf16_to_f32(t.c_half[i]);
    double error = tri_test_relative(t.n_c, t.c, t.want);
    double limit = form & 64 ? 1e-2 : 1e-5;
    EXPECT(error < limit, "[%lld %lld %lld] form %d isa %s: %g", (long long)s.m, (long long)s.n,
           (long long)s.k, form, tri_kernels_isa(kernels), error);
    for (int64_t i = 0; i < s.m; i++)
        for (int64_t j = s.n; j < t.args.ldc; j++)
            EXPECT(t.c[i * t.args.ldc + j] == t.want[i * t.args.ldc + j],
                   "element %lld %lld beyond the row was written", (long long)i, (long long)j);
    return TRI_OK;
}

static tri_status with_kernels(int n_threads, const char *isa,
                               tri_status (*body)(tri_kernels *kernels))
{
    tri_device_args args = {.name = "cpu", .n_threads = n_threads};
    TRI_AUTO(tri_device) *device = NULL;
    TRI_AUTO(tri_kernels) *kernels = NULL;
    TRI_TRY(tri_device_create(&args, &device));
    TRI_TRY(tri_kernels_create(device, isa, &kernels));
    TRI_TRY(body(kernels));
    return TRI_OK;
}

static tri_status all_forms(tri_kernels *kernels)
{
    const sizes shapes[] = {
        {1,   1,   1  },
        {1,   7,   5  },
        {7,   1,   3  },
        {5,   3,   1  },
        {17,  33,  65 },
        {64,  64,  64 },
        {1,   130, 97 },
        {129, 47,  128}
    };
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
        for (int form = 0; form < 128; form++) {
            bool has_half_out = (form & 64) != 0;
            if (has_half_out && (!(form & 32) || (form & 8))) continue;
            TRI_TRY(case_run(kernels, shapes[i], form));
        }
    return TRI_OK;
}

TRI_TEST(every_form_agrees_with_the_scalar_product)
{
    for (int n_threads = 1; n_threads <= 2; n_threads++)
        TRI_TRY(with_kernels(n_threads, NULL, all_forms));
    return TRI_OK;
}

/* Instruction sets differ in how bf16 is multiplied. */
static tri_status bf16_forms(tri_kernels *kernels)
{
    for (int form = 32; form < 128; form++)
        if ((form & 32) && (form & 72) != 72) TRI_TRY(case_run(kernels, (sizes){17, 33, 65}, form));
    return TRI_OK;
}

TRI_TEST(bf16_agrees_on_every_instruction_set)
{
    for (const char *const *isa = tri_kernels_isas(); *isa; isa++)
        TRI_TRY(with_kernels(2, *isa, bf16_forms));
    return TRI_OK;
}

static tri_status large_forms(tri_kernels *kernels)
{
    TRI_TRY(case_run(kernels, (sizes){520, 530, 1100}, 0));
    TRI_TRY(case_run(kernels, (sizes){520, 530, 1100}, 32 + 1 + 8 + 4));
    TRI_TRY(case_run(kernels, (sizes){520, 530, 1100}, 64 + 32 + 2 + 4 + 16));
    /* shapes whose b is packed first */
    TRI_TRY(case_run(kernels, (sizes){1100, 97, 130}, 16));
    TRI_TRY(case_run(kernels, (sizes){1100, 97, 130}, 64 + 32 + 4));
    TRI_TRY(case_run(kernels, (sizes){2100, 97, 130}, 32 + 16 + 8 + 1));
    TRI_TRY(case_run(kernels, (sizes){2100, 97, 130}, 32 + 2));
    TRI_TRY(case_run(kernels, (sizes){513, 2049, 33}, 1 + 8));
    return TRI_OK;
}

/* What tri_matmul_in_parts asked for; parts lie at the start of each other's k. */
static struct {
    int64_t k, n_parts;
    uintptr_t operands; /* where a and b begin */
    bool is_wrong;
} parts;

static tri_status part_note(tri_kernels *kernels, const tri_matmul_args *args)
{
    (void)kernels;
    bool is_first = parts.n_parts == 0;
    int64_t a = (int64_t)((uintptr_t)args->a - parts.operands);
    int64_t b = (int64_t)((uintptr_t)args->b - parts.operands);
    parts.is_wrong |= a != parts.k * 4 || b != parts.k * args->ldb * 4 ||
                      args->accumulate == is_first || (args->bias != NULL) != is_first;
    parts.k += args->k;
    parts.n_parts++;
    return TRI_OK;
}

TRI_TEST(parts_of_a_deep_product_cover_it)
{
    float one = 0; /* is not read: stands for all operands */
    tri_matmul_args args = {.a = &one,
                            .b = &one,
                            .m = 512,
                            .n = 768,
                            .k = 50257,
                            .lda = 50257,
                            .ldb = 800,
                            .ldc = 768,
                            .bias = &one,
                            .input_type = TRI_F32,
                            .output_type = TRI_F32};
    memset(&parts, 0, sizeof parts);
    parts.operands = (uintptr_t)&one;
    TRI_TRY(tri_matmul_in_parts(NULL, &args, part_note));
    EXPECT(parts.k == args.k && parts.n_parts > 1 && !parts.is_wrong, "%lld of k in %lld parts",
           (long long)parts.k, (long long)parts.n_parts);
    args.output_type = args.input_type = TRI_BF16; /* cannot be added to */
    memset(&parts, 0, sizeof parts);
    parts.operands = (uintptr_t)&one;
    TRI_TRY(tri_matmul_in_parts(NULL, &args, part_note));
    EXPECT(parts.n_parts == 1 && parts.k == args.k, "%lld parts", (long long)parts.n_parts);
    return TRI_OK;
}

TRI_TEST(large_products_agree)
{
    for (const char *const *isa = tri_kernels_isas(); *isa; isa++)
        TRI_TRY(with_kernels(2, *isa, large_forms));
    return TRI_OK;
}

static tri_status empty_forms(tri_kernels *kernels)
{
    const sizes shapes[] = {
        {0, 4, 5},
        {4, 0, 5},
        {4, 5, 0},
        {0, 0, 0}
    };
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
        for (int form = 0; form < 128; form++) {
            if ((form & 64) && (!(form & 32) || (form & 8))) continue;
            TRI_TRY(case_run(kernels, shapes[i], form));
        }
    return TRI_OK;
}

TRI_TEST(empty_products_are_zero_or_bias)
{
    return with_kernels(1, NULL, empty_forms);
}

static tri_status repeat_body(tri_kernels *kernels)
{
    __attribute__((cleanup(matmul_case_destroy))) matmul_case t = {0};
    TRI_TRY(case_make((sizes){96, 200, 310}, 32 + 2, &t));
    TRI_TRY(tri_matmul(kernels, &t.args));
    int64_t before = tri_alloc_count();
    memcpy(t.want, t.c, (size_t)t.n_c * sizeof *t.c);
    for (int i = 0; i < 3; i++) {
        memset(t.c, 0, (size_t)t.n_c * sizeof *t.c);
        TRI_TRY(tri_matmul(kernels, &t.args));
        EXPECT(!memcmp(t.want, t.c, (size_t)t.n_c * sizeof *t.c), "call %d gave other bits", i);
    }
    EXPECT(tri_alloc_count() == before, "%lld allocations after the first call",
           (long long)(tri_alloc_count() - before));
    return TRI_OK;
}

TRI_TEST(a_repeated_call_gives_the_same_bits_and_allocates_nothing)
{
    return with_kernels(2, NULL, repeat_body);
}

static tri_status many_shapes(tri_kernels *kernels)
{
    for (int pass = 0; pass < 2; pass++)
        for (int64_t m = 1; m <= 100; m++)
            TRI_TRY(case_run(kernels, (sizes){m, 3, 4}, 0));
    return TRI_OK;
}

TRI_TEST(the_cache_grows)
{
    return with_kernels(1, NULL, many_shapes);
}

static tri_status bare_run(tri_kernels *kernels, sizes s, int form, tri_matmul_way way)
{
    __attribute__((cleanup(matmul_case_destroy))) matmul_case t = {0};
    TRI_TRY(case_make(s, form, &t));
    reference(&t);
    TRI_AUTO(tri_matmul_bare) *bare = NULL;
    TRI_TRY(tri_matmul_bare_create(kernels, &t.args, way, &bare));
    TRI_TRY(tri_matmul_bare_run(bare, form & 8 ? 1 : 2));
    double error = tri_test_relative(t.n_c, t.c, t.want);
    EXPECT(error < 1e-5, "form %d, way %d: %g", form, (int)way, error);
    return TRI_OK;
}

static tri_status bare_forms(tri_kernels *kernels)
{
    for (int form = 0; form < 64; form++)
        for (int way = 0; way < TRI_MATMUL_WAYS; way++)
            if (!(form & 32) || tri_kernels_has_bf16())
                TRI_TRY(bare_run(kernels, (sizes){65, 80, 97}, form, (tri_matmul_way)way));
    tri_matmul_args nothing = {.input_type = TRI_F32, .output_type = TRI_F32};
    tri_matmul_bare *none = NULL;
    EXPECT_STATUS(tri_matmul_bare_create(kernels, &nothing, TRI_MATMUL_PLAIN, &none), TRI_EINVAL,
                  "nothing");
    return TRI_OK;
}

TRI_TEST(bare_products_agree)
{
    return with_kernels(2, NULL, bare_forms);
}

static tri_status wrong_args(tri_kernels *kernels)
{
    float x[64] = {0};
    tri_matmul_args good = {.m = 4,
                            .n = 4,
                            .k = 4,
                            .a = x,
                            .b = x + 16,
                            .c = x + 32,
                            .lda = 4,
                            .ldb = 4,
                            .ldc = 4,
                            .input_type = TRI_F32,
                            .output_type = TRI_F32};
    tri_matmul_args args = good;
    args.m = -1;
    EXPECT_STATUS(tri_matmul(kernels, &args), TRI_EINVAL, "[-1, 4] by [4, 4]");
    args = good;
    args.lda = 3;
    EXPECT_STATUS(tri_matmul(kernels, &args), TRI_EINVAL, "leading dimensions 3 4 4");
    args = good;
    args.output_type = TRI_BF16;
    EXPECT_STATUS(tri_matmul(kernels, &args), TRI_EINVAL, "fp32 matrices into bf16");
    args = good;
    args.input_type = TRI_F16;
    EXPECT_STATUS(tri_matmul(kernels, &args), TRI_EINVAL, "fp16");
    args = good;
    args.input_type = TRI_BF16;
    args.output_type = TRI_BF16;
    args.accumulate = true;
    EXPECT_STATUS(tri_matmul(kernels, &args), TRI_EINVAL, "accumulates into bf16");
    return TRI_OK;
}

TRI_TEST(wrong_arguments_are_answered)
{
    return with_kernels(1, NULL, wrong_args);
}

TRI_TEST(instruction_sets)
{
    tri_device_args args = {.name = "cpu", .n_threads = 2};
    TRI_AUTO(tri_device) *device = NULL;
    TRI_TRY(tri_device_create(&args, &device));
    int n = 0;
    for (const char *const *isa = tri_kernels_isas(); *isa; isa++, n++) {
        TRI_AUTO(tri_kernels) *kernels = NULL;
        TRI_TRY(tri_kernels_create(device, *isa, &kernels));
        EXPECT(!strcmp(tri_kernels_isa(kernels), *isa), "%s for %s", tri_kernels_isa(kernels),
               *isa);
        EXPECT(tri_kernels_threads(kernels) == 2, "%d threads", tri_kernels_threads(kernels));
    }
    EXPECT(n >= 1 && !strcmp(tri_kernels_isas()[n - 1], "base"), "%d sets, the last one base", n);
    EXPECT(tri_kernels_has_bf16() == !strcmp(tri_kernels_isas()[0], "avx512_bf16"), "bf16");
    tri_kernels *none = NULL;
    EXPECT_STATUS(tri_kernels_create(device, "sse9", &none), TRI_EINVAL, "'sse9'");
    EXPECT(!none, "a kernels object for an unknown set");
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(every_form_agrees_with_the_scalar_product),
              TRI_TEST_ROW(bf16_agrees_on_every_instruction_set),
              TRI_TEST_ROW(large_products_agree), TRI_TEST_ROW(parts_of_a_deep_product_cover_it),
              TRI_TEST_ROW(empty_products_are_zero_or_bias),
              TRI_TEST_ROW(a_repeated_call_gives_the_same_bits_and_allocates_nothing),
              TRI_TEST_ROW(the_cache_grows), TRI_TEST_ROW(bare_products_agree),
              TRI_TEST_ROW(wrong_arguments_are_answered), TRI_TEST_ROW(instruction_sets))

// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1
/* What a model says of itself: its rows, its bytes on paper and in a run, its operations; bf16 against
 * fp32; no allocation after the first pass; refusals of batches.
 */
#include "tests/parallel/model_batch.h"

static tri_model_config small(const char *family)
{
    tri_model_config config = {
        .layers = 2, .hidden = 64, .heads = 4, .context = 32, .vocab = 300, .tied = -1};
    snprintf(config.family, sizeof config.family, "%s", family);
    if (strcmp(family, "llama") == 0) config.kv_heads = 2;
    return config;
}

/* The row called `name`: its shape, its name elsewhere. */
static void expect_row(const model_rig *rig, const char *name, int64_t rows, int64_t columns,
                       const char *external)
{
    int i = tri_state_find(rig->state, name);
    EXPECT(i >= 0, "no row %s", name);
    if (i < 0) return;
    const tri_row *row = rig_row(rig, i);
    EXPECT(row->shape[0] == rows && (row->n_dims == 1 ? 0 : row->shape[1]) == columns,
           "%s is %lld x %lld", name, (long long)row->shape[0], (long long)row->shape[1]);
    EXPECT(strcmp(row->external, external) == 0, "%s is '%s' elsewhere", name, row->external);
    EXPECT(row->decay == (row->n_dims == 2), "%s: decay %d", name, row->decay);
    EXPECT(row->role == TRI_ROLE_PARAM && row->dtype == TRI_F32, "%s", name);
}

TRI_TEST(gpt2_rows)
{
    __attribute__((cleanup(model_rig_destroy))) model_rig rig = {0};
    TRI_TRY(rig_create(
        &(model_rig_args){.config = small("gpt2"), .compute = TRI_F32, .micro_batch = 1}, &rig));
    EXPECT(rig.n_params == 2 + 2 * 16 + 2, "%d parameters", rig.n_params);
    expect_row(&rig, "param/embed.token.weight", 300, 64, "transformer.wte.weight");
    expect_row(&rig, "param/embed.position.weight", 32, 64, "transformer.wpe.weight");
    expect_row(&rig, "param/layers.1.attention.q.weight", 64, 64,
               "transformer.h.1.attn.c_attn.weight[:, 0:64]^T");
    expect_row(&rig, "param/layers.1.attention.v.weight", 64, 64,
               "transformer.h.1.attn.c_attn.weight[:, 128:192]^T");
    expect_row(&rig, "param/layers.0.attention.k.bias", 64, 0,
               "transformer.h.0.attn.c_attn.bias[64:128]");
    expect_row(&rig, "param/layers.0.attention.out.weight", 64, 64,
               "transformer.h.0.attn.c_proj.weight^T");
    expect_row(&rig, "param/layers.0.mlp.up.weight", 256, 64, "transformer.h.0.mlp.c_fc.weight^T");
    expect_row(&rig, "param/layers.0.mlp.down.weight", 64, 256,
               "transformer.h.0.mlp.c_proj.weight^T");
    expect_row(&rig, "param/norm.bias", 64, 0, "transformer.ln_f.bias");
    EXPECT(tri_state_find(rig.state, "param/head.weight") < 0, "a tied head has a row");
    int zero_rows = 0;
    for (int i = 0; i < rig.n_params; i++)
        if (rig_row(&rig, i)->zero_grad) zero_rows++;
    EXPECT(zero_rows == 2, "%d rows without a gradient", zero_rows);
    const tri_row *out =
        rig_row(&rig, tri_state_find(rig.state, "param/layers.0.attention.out.weight"));
    EXPECT(fabsf(out->init.std - 0.01F) < 1e-7F, "std %g", (double)out->init.std);
    return TRI_OK;
}

TRI_TEST(llama_rows)
{
    __attribute__((cleanup(model_rig_destroy))) model_rig rig = {0};
    TRI_TRY(rig_create(
        &(model_rig_args){.config = small("llama"), .compute = TRI_F32, .micro_batch = 1}, &rig));
    EXPECT(rig.n_params == 1 + 2 * 9 + 2, "%d parameters", rig.n_params);
    expect_row(&rig, "param/layers.1.attention.k.weight", 32, 64,
               "model.layers.1.self_attn.k_proj.weight");
    expect_row(&rig, "param/layers.1.mlp.gate.weight", 192, 64,
               "model.layers.1.mlp.gate_proj.weight");
    expect_row(&rig, "param/layers.1.mlp.down.weight", 64, 192,
               "model.layers.1.mlp.down_proj.weight");
    expect_row(&rig, "param/head.weight", 300, 64, "lm_head.weight");
    EXPECT(tri_state_find(rig.state, "param/layers.0.attention.q.bias") < 0, "a bias");
    return TRI_OK;
}

/* Parts of a fused product lie together in a buffer of reverse export order. */
TRI_TEST(parts_are_neighbours)
{
    __attribute__((cleanup(model_rig_destroy))) model_rig rig = {0};
    static const char *const chains[][3] = {
        {"attention.q.weight", "attention.k.weight", "attention.v.weight"},
        {"mlp.gate.weight",    "mlp.up.weight",      NULL                }
    };
    TRI_TRY(rig_create(
        &(model_rig_args){.config = small("llama"), .compute = TRI_F32, .micro_batch = 1}, &rig));
    for (int c = 0; c < 2; c++)
        for (int p = 0; p + 1 < 3 && chains[c][p + 1]; p++) {
            char name[TRI_NAME_BYTES];
            snprintf(name, sizeof name, "param/layers.1.%s", chains[c][p]);
            int a = tri_state_find(rig.state, name);
            snprintf(name, sizeof name, "param/layers.1.%s", chains[c][p + 1]);
            int b = tri_state_find(rig.state, name);
            EXPECT(a >= 0 && rig.offset[a] + rig_count(&rig, a) == rig.offset[b], "%s is apart",
                   name);
        }
    return TRI_OK;
}

/* Bytes of each kind: on paper, declared, allocated. */
static tri_status check_bytes(const char *family, tri_dtype compute, bool serving)
{
    __attribute__((cleanup(model_rig_destroy))) model_rig rig = {0};
    model_rig_args args = {.config = small(family),
                           .compute = compute,
                           .micro_batch = 3,
                           .serving = serving,
                           .threads = 2};
    TRI_TRY(rig_create(&args, &rig));
    TRI_AUTO(tri_model) *paper = NULL;
    TRI_AUTO(tri_arena) *arena = NULL;
    tri_model_args on_paper = {.config = &args.config,
                               .kernels = rig.kernels,
                               .mesh = rig.mesh,
                               .compute = compute,
                               .micro_batch = 3,
                               .training = !serving};
    TRI_TRY(tri_model_create(&on_paper, &paper));
    TRI_TRY(tri_arena_create(&arena));
    TRI_TRY(tri_model_declare(paper, arena));
    tri_memory memory = tri_device_memory(rig.device);
    for (int kind = 0; kind < TRI_MEM_KINDS; kind++) {
        size_t declared = tri_arena_bytes(rig.arena, (tri_mem_kind)kind);
        size_t predicted = tri_arena_bytes(arena, (tri_mem_kind)kind);
        EXPECT(declared == predicted && declared == memory.bytes[kind],
               "%s %s: %zu predicted, %zu declared, %zu allocated", family,
               tri_mem_name((tri_mem_kind)kind), predicted, declared, memory.bytes[kind]);
    }
    EXPECT(memory.bytes[TRI_MEM_ACTIVATIONS] > 0, "no activations");
    return TRI_OK;
}

TRI_TEST(bytes_on_paper_are_those_of_a_run)
{
    TRI_TRY(check_bytes("gpt2", TRI_F32, false));
    TRI_TRY(check_bytes("gpt2", TRI_BF16, true));
    TRI_TRY(check_bytes("llama", TRI_BF16, false));
    return check_bytes("llama", TRI_F32, true);
}

static tri_status check_allocations(const char *family, tri_dtype compute)
{
    __attribute__((cleanup(model_rig_destroy))) model_rig rig = {0};
    static rig_batch batch;
    TRI_TRY(rig_create(
        &(model_rig_args){.config = small(family), .compute = compute, .micro_batch = 2}, &rig));
    rig_batch_fill(&batch, 2, 32, rig.config.vocab, 0);
    int64_t before = 0;
    double loss = 0;
    int64_t counted = 0;
    for (int i = 0; i < 3; i++) {
        if (i == 1) before = tri_alloc_count();
        TRI_TRY(rig_train(&rig, &batch.batch, 1, NULL, &loss, &counted));
        TRI_TRY(rig_evaluate(&rig, &batch.batch, &loss, &counted));
    }
    EXPECT(tri_alloc_count() == before, "%s %s: %lld allocations after the first pass", family,
           tri_dtype_name(compute), (long long)(tri_alloc_count() - before));
    return TRI_OK;
}

TRI_TEST(no_allocation_after_the_first_pass)
{
    TRI_TRY(check_allocations("gpt2", TRI_F32));
    TRI_TRY(check_allocations("gpt2", TRI_BF16));
    return check_allocations("llama", TRI_BF16);
}

/* The same weights (exact in bf16) in both types: loss and gradients. */
static tri_status check_precision(const char *family, int threads)
{
    __attribute__((cleanup(model_rig_destroy))) model_rig wide = {0};
    __attribute__((cleanup(model_rig_destroy))) model_rig narrow = {0};
    static rig_batch batch;
    model_rig_args args = {.config = small(family), .micro_batch = 2, .threads = threads};
    args.compute = TRI_F32;
    TRI_TRY(rig_create(&args, &wide));
    args.compute = TRI_BF16;
    TRI_TRY(rig_create(&args, &narrow));
    for (int64_t i = 0; i < wide.total; i++)
        wide.master[i] = tri_bf16_to_f32(narrow.copy[i]);
    rig_batch_fill(&batch, 2, 32, wide.config.vocab, 0);
    double loss[2] = {0};
    int64_t counted[2] = {0};
    TRI_TRY(rig_train(&wide, &batch.batch, 1, NULL, &loss[0], &counted[0]));
    TRI_TRY(rig_train(&narrow, &batch.batch, 1, NULL, &loss[1], &counted[1]));
    double error = tri_test_relative(wide.total, narrow.gradient, wide.gradient);
    EXPECT(error < 1e-2, "%s: bf16 gradients differ by %.3g", family, error);
    EXPECT(fabs(loss[1] - loss[0]) < 1e-3 * loss[0], "%s: losses %.6g %.6g", family, loss[0],
           loss[1]);
    return TRI_OK;
}

TRI_TEST(bf16_is_near_fp32)
{
    TRI_TRY(check_precision("gpt2", 1));
    return check_precision("llama", 2);
}

TRI_TEST(operations_of_gpt2_124m)
{
    tri_model_config config = {.family = "gpt2",
                               .layers = 12,
                               .hidden = 768,
                               .heads = 12,
                               .context = 1024,
                               .vocab = 50257};
    config.tied = 1;
    tri_mesh *mesh = NULL;
    tri_mesh_args one = {
        .n_ranks = 1, .size = {1, 1, 1, 1}
    };
    TRI_TRY(tri_mesh_create(&one, &mesh));
    TRI_AUTO(tri_model) *model = NULL;
    TRI_TRY(tri_model_create(
        &(tri_model_args){.config = &config, .mesh = mesh, .compute = TRI_BF16, .micro_batch = 4},
        &model));
    TRI_AUTO(tri_arena) *arena = NULL;
    TRI_TRY(tri_arena_create(&arena));
    EXPECT_STATUS(tri_model_declare(model, arena), TRI_EBUG, "without kernels");
    double matrices = 12.0 * 12 * 768 * 768 + 50257.0 * 768;
    double want = 6 * matrices + 12.0 * 12 * 768 * 512;
    double got = tri_model_flops_per_token(model, 512);
    EXPECT(got == want, "%.17g, want %.17g", got, want);
    tri_model_destroy(&model);
    tri_mesh_close(&mesh);
    return TRI_OK;
}

TRI_TEST(batches_that_do_not_fit)
{
    __attribute__((cleanup(model_rig_destroy))) model_rig rig = {0};
    static rig_batch batch;
    TRI_TRY(rig_create(
        &(model_rig_args){.config = small("gpt2"), .compute = TRI_F32, .micro_batch = 2}, &rig));
    rig_batch_fill(&batch, 2, 32, rig.config.vocab, 0);
    double loss = 0;
    int64_t counted = 0;
    tri_micro_batch wrong = batch.batch;
    wrong.sequences = 3;
    EXPECT_STATUS(rig_evaluate(&rig, &wrong, &loss, &counted), TRI_EINVAL,
                  "a batch of 3 sequences; the model was made for 1 to 2");
    wrong = batch.batch;
    wrong.length = 33;
    EXPECT_STATUS(rig_evaluate(&rig, &wrong, &loss, &counted), TRI_EINVAL,
                  "sequences of 33 tokens; model.context allows 1 to 32");
    batch.tokens[5] = 300;
    EXPECT_STATUS(rig_train(&rig, &batch.batch, 1, NULL, &loss, &counted), TRI_EINVAL,
                  "token 5 of the batch is 300; model.vocab has ids 0 to 299");
    batch.tokens[5] = 0;
    batch.targets[6] = 1000;
    EXPECT_STATUS(rig_evaluate(&rig, &batch.batch, &loss, &counted), TRI_EINVAL,
                  "target 6 of the batch is 1000");
    EXPECT(loss == 0 && counted == 0, "a refused batch was counted");
    EXPECT_STATUS(tri_model_decode(rig.model, true, batch.tokens, 1, NULL), TRI_EBUG,
                  "no key/value");
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(gpt2_rows), TRI_TEST_ROW(llama_rows), TRI_TEST_ROW(parts_are_neighbours),
              TRI_TEST_ROW(bytes_on_paper_are_those_of_a_run),
              TRI_TEST_ROW(no_allocation_after_the_first_pass), TRI_TEST_ROW(bf16_is_near_fp32),
              TRI_TEST_ROW(operations_of_gpt2_124m), TRI_TEST_ROW(batches_that_do_not_fit))

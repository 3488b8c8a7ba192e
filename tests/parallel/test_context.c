// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1 timeout=120
// TEST ranks=2,4 timeout=120
/* Attention over the context axis, ranks as threads (and as processes): outputs and all gradients of
 * every mode against dense attention in double precision, the same bits again, messages as predicted,
 * no allocation.
 */
#include "tests/parallel/context_rig.h"

/* Bits of what a pass made: compared between two passes. */
static uint64_t bits_of(uint64_t hash, const void *data, int64_t bytes)
{
    const unsigned char *p = data;
    for (int64_t i = 0; i < bytes; i++)
        hash = (hash ^ p[i]) * UINT64_C(1099511628211);
    return hash;
}

static uint64_t rig_bits(const context_rig *rig, const context_case *c)
{
    int64_t bytes = (int64_t)tri_dtype_bytes(c->dtype) * c->batch * rig->tokens;
    uint64_t hash = bits_of(UINT64_C(14695981039346656037), rig->out, bytes * query_width(c));
    return bits_of(hash, rig->dqkv, bytes * rig->stride);
}

static tri_status rig_pass(context_rig *rig, const context_case *c)
{
    TRI_TRY(tri_context_forward(rig->context, &rig->args, c->evaluates ? NULL : rig->store));
    if (c->evaluates) return TRI_OK;
    TRI_TRY(tri_context_backward(rig->context, &rig->args, rig->store));
    return TRI_OK;
}

static void check_truth(const context_rig *rig, const context_world *w, int rank)
{
    const context_case *c = &w->c;
    int64_t keys = query_width(c);
    /* bf16: probabilities and score gradients are rounded to 8 bits inside the kernel */
    double most = c->dtype == TRI_F32 ? 1e-5 : 1e-2;
    double error[4] = {0};
    error[0] = rig_error(rig, c, w->out, query_width(c), rig->out, query_width(c));
    if (!c->evaluates) {
        error[1] = rig_error(rig, c, w->dq, query_width(c), rig->dqkv, rig->stride);
        error[2] =
            rig_error(rig, c, w->dk, key_width(c), rig_column(rig, rig->dqkv, keys), rig->stride);
        error[3] = rig_error(rig, c, w->dv, key_width(c),
                             rig_column(rig, rig->dqkv, keys + key_width(c)), rig->stride);
    }
    static const char *const what[4] = {"out", "dq", "dk", "dv"};
    for (int i = 0; i < 4; i++)
        EXPECT(error[i] < most,
               "%s %d ranks, ulysses %d, B %lld T %lld H %lld Hk %lld Dh %lld, rank %d: %s differs "
               "by %.3g",
               tri_context_modes()[c->mode], c->size, c->n_ulysses, (long long)c->batch,
               (long long)c->length, (long long)c->heads, (long long)c->kv_heads,
               (long long)c->head_size, rank, what[i], error[i]);
}

/* What one communicator counted is what was predicted for its group. */
static void check_stats(const char *group, const tri_comm *comm, const tri_traffic_list *list)
{
    if (!comm) return;
    tri_coll_stats stats = tri_comm_stats(comm);
    for (int kind = 0; kind < TRI_COLL_KINDS; kind++) {
        int64_t calls = 0;
        int64_t bytes = 0;
        int of = kind == TRI_COLL_RECV ? TRI_COLL_SEND : kind; /* what one sends one receives */
        for (int i = 0; i < list->n; i++) {
            const tri_traffic *entry = &list->entry[i];
            if ((int)entry->kind != of || strcmp(entry->group, group) != 0) continue;
            EXPECT(entry->ranks == tri_comm_size(comm), "%s has %d ranks", group, entry->ranks);
            calls += entry->calls;
            bytes += entry->payload_bytes;
        }
        EXPECT(stats.calls[kind] == calls && stats.payload_bytes[kind] == bytes,
               "%s, kind %d: %lld calls of %lld bytes, predicted %lld of %lld", group, kind,
               (long long)stats.calls[kind], (long long)stats.payload_bytes[kind], (long long)calls,
               (long long)bytes);
    }
}

static tri_status rig_check(tri_comm *world, context_rig *rig, const context_world *w)
{
    const context_case *c = &w->c;
    TRI_TRY(rig_pass(rig, c));
    check_truth(rig, w, tri_comm_rank(world));
    uint64_t first = rig_bits(rig, c);
    tri_traffic_list list = {0};
    tri_context_traffic(rig->context, c->batch, 1, c->evaluates ? 0 : 1, &list);
    if (tri_comm_size(world) > 1) {
        check_stats("context ring", rig->ring, &list);
        check_stats("context ulysses", rig->ulysses, &list);
    }
    TRI_TRY(tri_barrier(world));
    int64_t before = tri_alloc_count();
    TRI_TRY(tri_barrier(world));
    TRI_TRY(rig_pass(rig, c));
    TRI_TRY(tri_barrier(world));
    EXPECT(tri_alloc_count() == before, "%lld allocations in a pass",
           (long long)(tri_alloc_count() - before));
    EXPECT(rig_bits(rig, c) == first, "another pass has other bits");
    rig_check_guard("workspace", rig->workspace, tri_context_workspace(rig->context));
    rig_check_guard("store", rig->store, (size_t)tri_context_store_bytes(rig->context));
    TRI_TRY(tri_barrier(world));
    return TRI_OK;
}

static tri_status rank_check(tri_comm *world, void *arg)
{
    context_rig rig = {0};
    tri_status rc = rig_create(world, arg, &rig);
    if (rc == TRI_OK) rc = rig_check(world, &rig, arg);
    rig_destroy(&rig);
    return rc;
}

static const tri_device_args one_thread = {.name = "cpu", .n_threads = 1, .yield = true};

/* With `processes`, as one of its ranks, which are as many as the case has. */
static tri_status case_run(tri_comm *processes, context_case c)
{
    context_world w;
    if (!c.data) c.data = 1;
    if (!c.tensor) c.tensor = 1;
    if (!c.n_ulysses) c.n_ulysses = 1;
    if (!c.head_size) c.head_size = 16;
    tri_status rc = world_create(&c, &w);
    if (rc == TRI_OK)
        rc = processes
                 ? rank_check(processes, &w)
                 : tri_comm_run_threads(c.data * c.size * c.tensor, &one_thread, rank_check, &w);
    world_destroy(&w);
    return rc;
}

static tri_status case_check(context_case c)
{
    return tri_comm_is_launched() ? TRI_OK : case_run(NULL, c);
}

#define SIZES(B, T, H, Hk) .batch = (B), .length = (T), .heads = (H), .kv_heads = (Hk)
#define CASE(m, n, ...) \
    case_check((context_case){.mode = TRI_CONTEXT_##m, .size = (n), __VA_ARGS__})

TRI_TEST(one_rank_is_the_kernel)
{
    TRI_TRY(CASE(RING, 1, SIZES(2, 70, 4, 2)));
    TRI_TRY(CASE(ULYSSES, 1, SIZES(1, 70, 3, 3), .documents = RANDOM));
    return CASE(ALLGATHER, 1, SIZES(1, 33, 3, 1));
}

TRI_TEST(rings)
{
    TRI_TRY(CASE(RING, 2, SIZES(1, 256, 4, 4)));
    TRI_TRY(CASE(RING, 2, SIZES(3, 60, 4, 2)));
    TRI_TRY(CASE(RING, 2, SIZES(1, 4, 2, 1))); /* chunks of one token */
    TRI_TRY(CASE(RING, 3, SIZES(2, 66, 6, 3)));
    TRI_TRY(CASE(RING, 4, SIZES(2, 200, 4, 1)));
    return CASE(RING, 4, SIZES(2, 1104, 2, 1)); /* parts of several blocks of the kernel */
}

TRI_TEST(rings_of_documents)
{
    TRI_TRY(CASE(RING, 2, SIZES(2, 256, 2, 2), .documents = RANDOM));
    TRI_TRY(CASE(RING, 3, SIZES(2, 150, 2, 2), .documents = RANDOM));
    TRI_TRY(CASE(RING, 4, SIZES(1, 256, 2, 2), .documents = ACROSS));
    TRI_TRY(CASE(RING, 4, SIZES(1, 256, 2, 2), .documents = ALIGNED));
    TRI_TRY(CASE(RING, 4, SIZES(1, 256, 2, 2), .n_ulysses = 2, .documents = ACROSS));
    TRI_TRY(CASE(ALLGATHER, 4, SIZES(1, 256, 2, 2), .documents = ACROSS));
    return CASE(RING, 4, SIZES(3, 800, 4, 2), .documents = RANDOM);
}

TRI_TEST(all_to_all)
{
    TRI_TRY(CASE(ULYSSES, 2, SIZES(1, 128, 4, 4), .n_ulysses = 2));
    TRI_TRY(CASE(ULYSSES, 2, SIZES(3, 90, 6, 2)));
    TRI_TRY(CASE(ULYSSES, 3, SIZES(2, 99, 6, 3), .documents = RANDOM));
    TRI_TRY(CASE(ULYSSES, 4, SIZES(2, 100, 8, 4), .documents = RANDOM));
    /* fewer key/value heads than ranks */
    TRI_TRY(CASE(ULYSSES, 4, SIZES(2, 100, 8, 2), .documents = RANDOM));
    return CASE(ULYSSES, 4, SIZES(1, 64, 4, 1));
}

TRI_TEST(gathers)
{
    TRI_TRY(CASE(ALLGATHER, 2, SIZES(1, 256, 4, 4)));
    TRI_TRY(CASE(ALLGATHER, 2, SIZES(3, 60, 10, 5), .documents = RANDOM));
    TRI_TRY(CASE(ALLGATHER, 3, SIZES(1, 96, 6, 6)));
    return CASE(ALLGATHER, 4, SIZES(2, 400, 8, 8), .documents = RANDOM);
}

TRI_TEST(rings_of_all_to_all)
{
    TRI_TRY(CASE(RING, 4, SIZES(2, 128, 4, 4), .n_ulysses = 2));
    TRI_TRY(CASE(RING, 4, SIZES(2, 120, 4, 1), .n_ulysses = 2, .documents = RANDOM));
    TRI_TRY(CASE(RING, 6, SIZES(1, 120, 6, 3), .n_ulysses = 3, .documents = RANDOM));
    TRI_TRY(CASE(RING, 4, SIZES(1, 128, 4, 2), .n_ulysses = 4)); /* all ulysses */
    TRI_TRY(CASE(ALLGATHER, 4, SIZES(2, 128, 4, 2), .n_ulysses = 2, .documents = RANDOM));
    TRI_TRY(CASE(RING, 8, SIZES(2, 256, 4, 2), .n_ulysses = 2, .documents = RANDOM));
    return CASE(RING, 8, SIZES(1, 256, 8, 2), .n_ulysses = 4, .documents = RANDOM);
}

TRI_TEST(other_axes_stay_apart)
{
    TRI_TRY(CASE(RING, 4, SIZES(1, 64, 4, 2), .n_ulysses = 2, .data = 2, .documents = RANDOM));
    return CASE(RING, 4, SIZES(1, 64, 4, 2), .n_ulysses = 2, .tensor = 2, .documents = RANDOM);
}

TRI_TEST(bf16)
{
    TRI_TRY(CASE(RING, 4, SIZES(2, 256, 4, 2), .dtype = TRI_BF16, .documents = RANDOM));
    TRI_TRY(CASE(ULYSSES, 4, SIZES(2, 256, 8, 2), .dtype = TRI_BF16));
    TRI_TRY(CASE(ALLGATHER, 2, SIZES(2, 256, 4, 2), .dtype = TRI_BF16));
    return CASE(RING, 4, SIZES(2, 256, 4, 2), .n_ulysses = 2, .dtype = TRI_BF16);
}

TRI_TEST(evaluation_keeps_nothing)
{
    TRI_TRY(CASE(RING, 2, SIZES(2, 128, 4, 2), .evaluates = true));
    TRI_TRY(CASE(ULYSSES, 2, SIZES(2, 128, 4, 2), .evaluates = true));
    TRI_TRY(CASE(ALLGATHER, 2, SIZES(2, 128, 4, 2), .evaluates = true));
    return CASE(RING, 4, SIZES(2, 128, 4, 2), .n_ulysses = 2, .evaluates = true);
}

static tri_status refuse(tri_comm *world, void *arg)
{
    context_rig rig = {0};
    tri_status rc = rig_create(world, arg, &rig);
    tri_attention_args *args = &rig.args;
    args->batch++;
    EXPECT_STATUS(
        tri_context_forward(rig.context, args, NULL), TRI_EBUG,
        "attention over the context axis of 2 sequences, 64 queries, 64 keys, 2 on 2 heads "
        "of 16 in fp32: made for 1 sequences, 64 tokens");
    args->batch--;
    args->merge = true;
    EXPECT_STATUS(tri_context_forward(rig.context, args, NULL), TRI_EBUG, "merges");
    args->merge = false;
    EXPECT_STATUS(tri_context_backward(rig.context, args, rig.store), TRI_EBUG,
                  "not made for training");
    args->batch = 0; /* nothing is nothing */
    if (rc == TRI_OK) rc = tri_context_forward(rig.context, args, NULL);
    rig_destroy(&rig);
    return rc;
}

TRI_TEST(other_arguments_are_refused)
{
    if (tri_comm_is_launched()) return TRI_OK;
    context_world w;
    context_case c = {.size = 1,
                      .data = 1,
                      .tensor = 1,
                      .n_ulysses = 1,
                      .head_size = 16,
                      SIZES(1, 64, 2, 2),
                      .evaluates = true};
    tri_status rc = world_create(&c, &w);
    if (rc == TRI_OK) rc = tri_comm_run_threads(1, &one_thread, refuse, &w);
    world_destroy(&w);
    return rc;
}

static tri_status processes_check(tri_comm *world)
{
    context_case c = {.size = tri_comm_size(world), SIZES(2, 1024, 4, 2), .documents = RANDOM};
    for (int mode = TRI_CONTEXT_RING; mode <= TRI_CONTEXT_ALLGATHER; mode++) {
        c.mode = (tri_context_mode)mode;
        TRI_TRY(case_run(world, c));
    }
    if (c.size < 4) return TRI_OK;
    c.mode = TRI_CONTEXT_RING;
    c.n_ulysses = 2;
    return case_run(world, c);
}

TRI_TEST(ranks_as_processes)
{
    if (!tri_comm_is_launched()) return TRI_OK;
    TRI_AUTO(tri_device) *device = NULL;
    TRI_TRY(tri_device_create(&one_thread, &device));
    tri_comm *world = NULL;
    TRI_TRY(tri_comm_open_mpi(device, &world));
    TRI_TRY(processes_check(world));
    tri_comm_close(&world);
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(one_rank_is_the_kernel), TRI_TEST_ROW(rings),
              TRI_TEST_ROW(rings_of_documents), TRI_TEST_ROW(all_to_all), TRI_TEST_ROW(gathers),
              TRI_TEST_ROW(rings_of_all_to_all), TRI_TEST_ROW(other_axes_stay_apart),
              TRI_TEST_ROW(bf16), TRI_TEST_ROW(evaluation_keeps_nothing),
              TRI_TEST_ROW(other_arguments_are_refused), TRI_TEST_ROW(ranks_as_processes))

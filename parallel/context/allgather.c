// SPDX-License-Identifier: Apache-2.0
/* All keys and values are gathered, a few heads at a time: those of the next group are under way while
 * this group is computed. In backward the gradients of all places' keys are summed in fp32 and
 * reduce-scattered, again while the next group is computed.
 */
#include "parallel/context/context_impl.h"

#include <stdio.h>
#include <string.h>

/* More groups bound memory further, but leave a call of the kernel fewer heads to share out. */
enum { ALLGATHER_GROUPS = 4 };

/* Groups of heads: the same on all ranks, whatever their threads. */
static int gather_groups(const tri_context *context)
{
    int groups = ALLGATHER_GROUPS;
    while (context->kv_heads % groups != 0)
        groups--;
    return groups;
}

/* A pass over the groups. */
typedef struct gather_pass {
    tri_context *context;
    const tri_attention_args *args; /* of the call: keys and their gradients */
    int groups;
    int64_t kv_heads; /* of a group */
    int64_t count;    /* elements of one place's keys and values of a group */
    tri_event gathered[2], reduced[2];
} gather_pass;

static gather_pass pass_make(tri_context *context, const tri_attention_args *args)
{
    int groups = gather_groups(context);
    int64_t heads = context->kv_heads / groups;
    return (gather_pass){.context = context,
                         .args = args,
                         .groups = groups,
                         .kv_heads = heads,
                         .count = tri_context_kv_count(context, args->batch, heads)};
}

/* Begin to gather the keys of `group`, if there is such a group. */
static tri_status gather_start(gather_pass *pass, int group)
{
    tri_context *context = pass->context;
    if (group == pass->groups) return TRI_OK;
    tri_span all =
        tri_span_make(context->kv[group % 2], pass->count * context->n_ring, context->args.dtype);
    tri_span mine = tri_span_part(all, context->i_ring * pass->count, pass->count);
    tri_context_pack(context, pass->args, group * pass->kv_heads, pass->kv_heads, mine.data);
    return tri_allgather(context->args.ring, mine, all, &pass->gathered[group % 2]);
}

/* `whole` of the call narrowed to the heads of a group; its keys are set place by place. */
static tri_attention_args group_args(const gather_pass *pass, const tri_attention_args *whole,
                                     int group)
{
    const tri_context *context = pass->context;
    tri_attention_args args = *whole;
    int64_t first = group * (context->heads / pass->groups);
    int64_t column = first * whole->head_size;
    args.heads = context->heads / pass->groups;
    args.kv_heads = pass->kv_heads;
    args.q = tri_context_at(whole->q, column, whole->dtype);
    args.out = tri_context_at(whole->out, column, whole->merge ? TRI_F32 : whole->dtype);
    args.lse = whole->lse + first * whole->lse_stride;
    args.dout = tri_context_at(whole->dout, column, whole->dtype);
    args.dq = whole->accumulate ? tri_context_at(whole->dq, column, TRI_F32) : NULL;
    return args;
}

static tri_status allgather_forward(tri_context *context, const tri_attention_args *args)
{
    gather_pass pass = pass_make(context, args);
    tri_attention_args sum;
    TRI_TRY(gather_start(&pass, 0));
    tri_context_sum_begin(context, args, &sum);
    for (int group = 0; group < pass.groups; group++) {
        TRI_TRY(tri_event_wait(pass.gathered[group % 2]));
        TRI_TRY(gather_start(&pass, group + 1));
        tri_attention_args call = group_args(&pass, &sum, group);
        for (int place = 0; place < context->n_ring; place++) {
            const void *kv =
                tri_context_at(context->kv[group % 2], place * pass.count, args->dtype);
            tri_context_use(context, &call, pass.kv_heads, kv, NULL);
            TRI_TRY(tri_context_blocks_forward(context, &call, place));
        }
    }
    return tri_context_sum_end(context, args);
}

/* All places' gradients of a group's keys: sums of this place's queries. */
static tri_status group_backward(gather_pass *pass, const tri_attention_args *sum, int group)
{
    tri_context *context = pass->context;
    float *dkv = context->dkv[group % 2];
    tri_attention_args call = group_args(pass, sum, group);
    memset(dkv, 0, (size_t)(pass->count * context->n_ring) * sizeof *dkv);
    for (int place = 0; place < context->n_ring; place++) {
        const void *kv = tri_context_at(context->kv[group % 2], place * pass->count, sum->dtype);
        tri_context_use(context, &call, pass->kv_heads, kv, dkv + place * pass->count);
        TRI_TRY(tri_context_blocks_backward(context, &call, place));
    }
    return TRI_OK;
}

static tri_status reduce_start(gather_pass *pass, int group)
{
    tri_context *context = pass->context;
    tri_span all = tri_span_make(context->dkv[group % 2], pass->count * context->n_ring, TRI_F32);
    tri_span mine = tri_span_part(all, context->i_ring * pass->count, pass->count);
    return tri_reduce_scatter(context->args.ring, all, mine, &pass->reduced[group % 2]);
}

/* dk, dv of a group whose reduction was begun, if there is such a group. */
static tri_status reduce_finish(gather_pass *pass, int group)
{
    tri_context *context = pass->context;
    if (group < 0) return TRI_OK;
    TRI_TRY(tri_event_wait(pass->reduced[group % 2]));
    const float *mine = context->dkv[group % 2] + context->i_ring * pass->count;
    return tri_context_unpack(context, pass->args, group * pass->kv_heads, pass->kv_heads, mine);
}

static tri_status allgather_backward(tri_context *context, const tri_attention_args *args)
{
    gather_pass pass = pass_make(context, args);
    tri_attention_args sum;
    TRI_TRY(gather_start(&pass, 0));
    tri_context_dq_begin(context, args, &sum);
    for (int group = 0; group < pass.groups; group++) {
        TRI_TRY(tri_event_wait(pass.gathered[group % 2]));
        TRI_TRY(gather_start(&pass, group + 1));
        TRI_TRY(group_backward(&pass, &sum, group));
        TRI_TRY(reduce_start(&pass, group));
        TRI_TRY(reduce_finish(&pass, group - 1));
    }
    TRI_TRY(tri_context_dq_end(context, args));
    return reduce_finish(&pass, pass.groups - 1);
}

static tri_status allgather_declare(tri_context *context, tri_arena *arena)
{
    int64_t heads = context->kv_heads / gather_groups(context);
    int64_t count = context->n_ring * tri_context_kv_count(context, context->args.sequences, heads);
    return tri_context_declare_inside(context, arena, count, 2, count);
}

static void allgather_kernel_heads(const tri_context *context, int64_t *heads, int64_t *kv_heads)
{
    *heads = context->heads / gather_groups(context);
    *kv_heads = context->kv_heads / gather_groups(context);
}

static void allgather_traffic(const tri_context *context, int64_t sequences, int64_t forwards,
                              int64_t backwards, tri_traffic_list *list)
{
    int groups = gather_groups(context);
    int64_t count = tri_context_kv_count(context, sequences, context->kv_heads / groups);
    int64_t calls = groups * (forwards + backwards);
    tri_traffic keys = {.group = "context ring",
                        .ranks = context->n_ring,
                        .kind = TRI_COLL_ALLGATHER,
                        .what = "keys, values",
                        .calls = calls,
                        .payload_bytes =
                            calls * count * (int64_t)tri_dtype_bytes(context->args.dtype)};
    tri_traffic gradients = keys;
    snprintf(gradients.what, sizeof gradients.what, "their gradients");
    gradients.kind = TRI_COLL_REDUCE_SCATTER;
    gradients.calls = groups * backwards;
    gradients.payload_bytes = gradients.calls * count * context->n_ring * (int64_t)sizeof(float);
    tri_traffic_add(list, &keys);
    tri_traffic_add(list, &gradients);
}

const tri_context_ops tri_context_allgather = {
    .name = "allgather",
    .doc = "all keys and values are gathered, their gradients reduce-scattered",
    .forward = allgather_forward,
    .backward = allgather_backward,
    .declare = allgather_declare,
    .kernel_heads = allgather_kernel_heads,
    .traffic = allgather_traffic,
};

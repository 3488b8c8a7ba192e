// SPDX-License-Identifier: Apache-2.0
/* Tokens for heads among the ulysses ranks of a ring place (arXiv:2309.14509), and back.
 *
 * A rank gives every other the q, k and v of that rank's heads, and gets the other tokens of its own:
 * one all-to-all for each sample, so that what arrives lies in the order of the tokens and is used
 * where it lies. Where there are fewer key/value heads than ranks, a head goes to all ranks that have
 * queries for it; their gradients come back rounded and are summed in fp32.
 *
 * What forward gathered stays in the store: backward moves gradients only. Nothing needs the lse of
 * local tokens, so the lse of own heads, as many numbers, takes its place.
 */
#include "parallel/context/context_impl.h"

#include "runtime/base/int.h"

/* Sizes of an exchange. */
typedef struct exchange_sizes {
    int64_t ranks;
    int64_t tokens;      /* of a rank */
    int64_t query_width; /* of a rank's queries and out, by its heads */
    int64_t key_width;   /* of its keys */
    int64_t width;       /* of a row of q, k and v */
} exchange_sizes;

static exchange_sizes sizes_of(const tri_context *context)
{
    exchange_sizes s = {.ranks = context->args.n_ulysses};
    s.tokens = context->tokens / s.ranks;
    s.query_width = context->heads * context->args.head_size;
    s.key_width = context->kv_heads * context->args.head_size;
    s.width = s.query_width + 2 * s.key_width;
    return s;
}

/* Where a call keeps what it gathers. */
typedef struct exchange_kept {
    void *qkv; /* [batch, tokens of the ring place, width] */
    void *out; /* [batch, tokens of the ring place, query_width] */
} exchange_kept;

static int64_t qkv_count(const tri_context *context)
{
    return context->args.sequences * context->tokens * sizes_of(context).width;
}

static int64_t out_count(const tri_context *context)
{
    return context->args.sequences * context->tokens * sizes_of(context).query_width;
}

static int64_t kept_out_at_bytes(const tri_context *context)
{
    return tri_round_up(qkv_count(context) * (int64_t)tri_dtype_bytes(context->args.dtype), 64);
}

int64_t tri_context_exchange_store_bytes(const tri_context *context)
{
    return kept_out_at_bytes(context) +
           out_count(context) * (int64_t)tri_dtype_bytes(context->args.dtype);
}

static exchange_kept kept_in(const tri_context *context, const void *store)
{
    char *base = (char *)(uintptr_t)store;
    if (!base) return (exchange_kept){context->qkv, context->out};
    return (exchange_kept){base, base + kept_out_at_bytes(context)};
}

/* The tensors of one sample that an exchange packs or unpacks: columns of q, k, v, or of out alone. */
typedef struct exchange_columns {
    int n;
    struct {
        tri_context_rows rows; /* of local tokens */
        int64_t heads;         /* in all */
        int64_t width;         /* of one rank */
    } part[3];
} exchange_columns;

static exchange_columns columns_qkv(const tri_context *context, const tri_attention_args *args,
                                    bool gradients)
{
    exchange_sizes s = sizes_of(context);
    const void *q = gradients ? args->dq : args->q;
    const void *k = gradients ? args->dk : args->k;
    const void *v = gradients ? args->dv : args->v;
    exchange_columns c = {.n = 3};
    c.part[0].rows = (tri_context_rows){(void *)(uintptr_t)q, args->q_stride, args->q_batch_stride};
    c.part[0].heads = args->heads;
    c.part[0].width = s.query_width;
    c.part[1].rows = (tri_context_rows){(void *)(uintptr_t)k, args->k_stride, args->k_batch_stride};
    c.part[2].rows = (tri_context_rows){(void *)(uintptr_t)v, args->v_stride, args->v_batch_stride};
    c.part[1].heads = c.part[2].heads = args->kv_heads;
    c.part[1].width = c.part[2].width = s.key_width;
    return c;
}

static exchange_columns columns_out(const tri_context *context, const tri_attention_args *args,
                                    const void *out)
{
    exchange_columns c = {.n = 1};
    c.part[0].rows =
        (tri_context_rows){(void *)(uintptr_t)out, args->out_stride, args->out_batch_stride};
    c.part[0].heads = args->heads;
    c.part[0].width = sizes_of(context).query_width;
    return c;
}

static int64_t columns_width(const exchange_columns *columns)
{
    int64_t width = 0;
    for (int i = 0; i < columns->n; i++)
        width += columns->part[i].width;
    return width;
}

/* Columns of part i that rank u has: of the head that its queries read, where heads are fewer. */
static int64_t columns_first(const tri_context *context, const exchange_columns *columns, int i,
                             int64_t u)
{
    return u * columns->part[i].heads / context->args.n_ulysses * context->args.head_size;
}

/* Rows of sample b of a tensor. */
static tri_context_rows rows_at(const tri_context *context, tri_context_rows rows, int64_t b,
                                int64_t column)
{
    int64_t at = b * rows.batch_stride + column;
    return (tri_context_rows){tri_context_at(rows.data, at, context->args.dtype), rows.stride, 0};
}

/* Sample b of local tokens -> context->pack, a block for each rank. */
static tri_span pack_sample(const tri_context *context, const exchange_columns *columns, int64_t b)
{
    exchange_sizes s = sizes_of(context);
    tri_dtype dtype = context->args.dtype;
    int64_t width = columns_width(columns);
    int64_t count = s.ranks * s.tokens * width;
    tri_span sample = tri_span_make(tri_context_at(context->pack, b * count, dtype), count, dtype);
    for (int64_t u = 0; u < s.ranks; u++) {
        int64_t at = u * s.tokens * width;
        for (int i = 0; i < columns->n; i++) {
            const int64_t shape[3] = {1, s.tokens, columns->part[i].width};
            int64_t first = columns_first(context, columns, i, u);
            tri_context_copy(context, shape, rows_at(context, columns->part[i].rows, b, first),
                             (tri_context_rows){tri_context_at(sample.data, at, dtype), width, 0});
            at += columns->part[i].width;
        }
    }
    return sample;
}

/* Tokens of local order -> tokens of the ring place, own heads: sample by sample; `into` [batch,
 * tokens of the place, width]. */
static tri_status exchange_gather(const tri_context *context, const exchange_columns *columns,
                                  int64_t batch, void *into)
{
    tri_dtype dtype = context->args.dtype;
    tri_event done = {0};
    for (int64_t b = 0; b < batch; b++) {
        tri_span out = pack_sample(context, columns, b);
        tri_span in = tri_span_make(tri_context_at(into, b * out.count, dtype), out.count, dtype);
        TRI_TRY(tri_alltoall(context->args.ulysses, out, in, &done));
    }
    return tri_event_wait(done);
}

/* y = sum of `n` rows x, `apart` elements from one another. */
static void sum_rows(tri_dtype dtype, int64_t width, int64_t n, const void *x, int64_t apart,
                     void *y)
{
    for (int64_t i = 0; i < width; i++) {
        float sum = 0;
        for (int64_t r = 0; r < n; r++)
            sum += dtype == TRI_F32 ? ((const float *)x)[r * apart + i]
                                    : tri_bf16_to_f32(((const tri_bf16 *)x)[r * apart + i]);
        if (dtype == TRI_F32)
            ((float *)y)[i] = sum;
        else
            ((tri_bf16 *)y)[i] = tri_f32_to_bf16(sum);
    }
}

/* Part i of sample b, as it came back from all ranks: where several had a head, their sum. */
static void unpack_part(const tri_context *context, const exchange_columns *columns, int i,
                        int64_t b, const void *part)
{
    exchange_sizes s = sizes_of(context);
    tri_dtype dtype = context->args.dtype;
    int64_t width = columns_width(columns);
    int64_t block = s.tokens * width;
    int64_t own = columns->part[i].width;
    int64_t copies = tri_max64(1, s.ranks / columns->part[i].heads);
    const int64_t shape[3] = {1, s.tokens, own};
    for (int64_t u = 0; u < s.ranks; u += copies) {
        tri_context_rows from = {tri_context_at(part, u * block, dtype), width, 0};
        tri_context_rows to =
            rows_at(context, columns->part[i].rows, b, columns_first(context, columns, i, u));
        if (copies == 1) {
            tri_context_copy(context, shape, from, to);
            continue;
        }
        for (int64_t t = 0; t < s.tokens; t++)
            sum_rows(dtype, own, copies, tri_context_at(from.data, t * width, dtype), block,
                     tri_context_at(to.data, t * to.stride, dtype));
    }
}

/* The way back: `from` [batch, tokens of the place, width] -> rows of local tokens, all heads. */
static tri_status exchange_scatter(const tri_context *context, const exchange_columns *columns,
                                   int64_t batch, const void *from)
{
    tri_dtype dtype = context->args.dtype;
    int64_t count = context->tokens * columns_width(columns);
    tri_event done = {0};
    for (int64_t b = 0; b < batch; b++) {
        tri_span out = tri_span_make(tri_context_at(from, b * count, dtype), count, dtype);
        tri_span in = tri_span_make(tri_context_at(context->pack, b * count, dtype), count, dtype);
        TRI_TRY(tri_alltoall(context->args.ulysses, out, in, &done));
    }
    TRI_TRY(tri_event_wait(done));
    for (int64_t b = 0; b < batch; b++) {
        int64_t at = b * count;
        for (int i = 0; i < columns->n; i++) {
            unpack_part(context, columns, i, b, tri_context_at(context->pack, at, dtype));
            at += columns->part[i].width;
        }
    }
    return TRI_OK;
}

/* Arguments inside: own heads of all tokens of the ring place, where they were gathered. */
static tri_attention_args inside_args(const tri_context *context, const tri_attention_args *args,
                                      const exchange_kept *kept)
{
    exchange_sizes s = sizes_of(context);
    int64_t tokens = context->tokens;
    tri_attention_args inside = *args;
    inside.n_query = inside.n_key = tokens;
    inside.heads = context->heads;
    inside.kv_heads = context->kv_heads;
    inside.q = kept->qkv;
    inside.k = tri_context_at(kept->qkv, s.query_width, args->dtype);
    inside.v = tri_context_at(kept->qkv, s.query_width + s.key_width, args->dtype);
    inside.q_stride = inside.k_stride = inside.v_stride = s.width;
    inside.q_batch_stride = inside.k_batch_stride = inside.v_batch_stride = tokens * s.width;
    inside.out = kept->out;
    inside.out_stride = s.query_width;
    inside.out_batch_stride = tokens * s.query_width;
    inside.lse_stride = tokens;
    inside.lse_batch_stride = context->heads * tokens;
    return inside;
}

tri_status tri_context_exchange_forward(tri_context *context, const tri_attention_args *args,
                                        void *store)
{
    exchange_kept kept = kept_in(context, store);
    exchange_columns qkv = columns_qkv(context, args, false);
    exchange_columns out = columns_out(context, args, args->out);
    tri_attention_args inside = inside_args(context, args, &kept);
    TRI_TRY(exchange_gather(context, &qkv, args->batch, kept.qkv));
    TRI_TRY(context->ops->forward(context, &inside));
    TRI_TRY(exchange_scatter(context, &out, args->batch, kept.out));
    return TRI_OK;
}

tri_status tri_context_exchange_backward(tri_context *context, const tri_attention_args *args,
                                         const void *store)
{
    TRI_CHECK(store, TRI_EBUG, "attention backward without what forward gathered");
    exchange_kept kept = kept_in(context, store);
    exchange_sizes s = sizes_of(context);
    exchange_columns dout = columns_out(context, args, args->dout);
    exchange_columns dqkv = columns_qkv(context, args, true);
    tri_attention_args inside = inside_args(context, args, &kept);
    inside.dout = context->out;
    inside.dq = context->qkv;
    inside.dk = tri_context_at(context->qkv, s.query_width, args->dtype);
    inside.dv = tri_context_at(context->qkv, s.query_width + s.key_width, args->dtype);
    TRI_TRY(exchange_gather(context, &dout, args->batch, context->out));
    TRI_TRY(context->ops->backward(context, &inside));
    TRI_TRY(exchange_scatter(context, &dqkv, args->batch, context->qkv));
    return TRI_OK;
}

tri_status tri_context_exchange_declare(tri_context *context, tri_arena *arena)
{
    tri_dtype dtype = context->args.dtype;
    TRI_TRY(tri_arena_add(arena, TRI_MEM_COMM, qkv_count(context), dtype, &context->pack));
    TRI_TRY(tri_arena_add(arena, TRI_MEM_COMM, qkv_count(context), dtype, &context->qkv));
    TRI_TRY(tri_arena_add(arena, TRI_MEM_COMM, out_count(context), dtype, &context->out));
    return TRI_OK;
}

void tri_context_exchange_traffic(const tri_context *context, int64_t sequences, int64_t forwards,
                                  int64_t backwards, tri_traffic_list *list)
{
    exchange_sizes s = sizes_of(context);
    int64_t calls = sequences * (forwards + backwards);
    int64_t row_bytes = calls * context->tokens * (int64_t)tri_dtype_bytes(context->args.dtype);
    tri_traffic_add(list, &(tri_traffic){.group = "context ulysses",
                                         .ranks = context->args.n_ulysses,
                                         .kind = TRI_COLL_ALLTOALL,
                                         .what = "q, k, v",
                                         .calls = calls,
                                         .payload_bytes = row_bytes * s.width});
    tri_traffic_add(list, &(tri_traffic){.group = "context ulysses",
                                         .ranks = context->args.n_ulysses,
                                         .kind = TRI_COLL_ALLTOALL,
                                         .what = "attention out",
                                         .calls = calls,
                                         .payload_bytes = row_bytes * s.query_width});
}

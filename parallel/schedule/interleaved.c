// SPDX-License-Identifier: Apache-2.0
/* Interleaved 1F1B (Narayanan 2021, arXiv:2104.04473, sec. 2.2; the order is Megatron-LM's): v chunks
 * per rank divide the bubble by v, for v times the messages.
 *
 * Forward k of a rank, k < m v: micro-batches go in groups of p; a group passes chunk 0, then chunk 1
 * and so on. Backward k is the same with the chunks from the back.
 */
#include "parallel/schedule/schedule_impl.h"
#include "runtime/base/int.h"

static tri_status interleaved_check(int ranks, int chunks, int micro_batches)
{
    (void)chunks;
    if (micro_batches % ranks == 0) return TRI_OK;
    int above = (int)tri_round_up(micro_batches, ranks);
    char nearest[64];
    if (above > ranks)
        snprintf(nearest, sizeof nearest, "the nearest are %d and %d", above - ranks, above);
    else
        snprintf(nearest, sizeof nearest, "the nearest is %d", above);
    TRI_FAIL(TRI_EINVAL,
             "parallel.schedule interleaved: batch.sequences (where it varies "
             "batch.adaptive.quantum / groups) gives micro-batches %d, which is no "
             "multiple of parallel.pipeline %d: %s",
             micro_batches, ranks, nearest);
}

/* The k-th forward (or backward) of a rank. */
static void put_virtual(tri_schedule *schedule, int rank, bool is_forward, int k)
{
    int p = schedule->ranks;
    int in_group = k % (p * schedule->chunks);
    int micro = k / (p * schedule->chunks) * p + in_group % p;
    int chunk = in_group / p;
    if (!is_forward) chunk = schedule->chunks - 1 - chunk;
    tri_schedule_put(schedule, rank, is_forward ? TRI_OP_FORWARD : TRI_OP_BACKWARD,
                     chunk * p + rank, micro);
}

static void interleaved_order(tri_schedule *schedule)
{
    int p = schedule->ranks;
    int n = schedule->micro_batches * schedule->chunks;
    for (int rank = 0; rank < p; rank++) {
        int warm = (int)tri_min64(2 * (p - rank - 1) + (schedule->chunks - 1) * p, n);
        for (int k = 0; k < warm; k++)
            put_virtual(schedule, rank, true, k);
        for (int k = 0; k < n; k++) {
            if (warm + k < n) put_virtual(schedule, rank, true, warm + k);
            put_virtual(schedule, rank, false, k);
        }
    }
}

const tri_schedule_ops tri_schedule_interleaved = {
    .name = "interleaved",
    .doc = "1f1b over several chunks of the model per rank: the bubble by their number smaller",
    .min_chunks = 2,
    .max_chunks = INT_MAX,
    .check = interleaved_check,
    .rank_of = tri_schedule_rank_around,
    .order = interleaved_order,
};

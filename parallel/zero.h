// SPDX-License-Identifier: Apache-2.0
/* Where parameters, gradients and masters lie, and how the data-parallel ranks share them: ZeRO
 * (Rajbhandari et al., arXiv:1910.02054), HSDP and MiCS (arXiv:2205.00119), and the three-level scheme of
 * low-bandwidth partitioning (arXiv:2501.04266) as points of one: three nested groups of the n = data x
 * context ranks, of sizes weights | gradients | optimizer | n. Stage 0 = [1,1,1], 1 = [1,1,n],
 * 2 = [1,n,n], 3 = [n,n,n].
 *
 * Parameters belong to units (the embedding, a block, the head). A unit's matrices are one flat
 * sequence in the order in which backward completes them; all vectors of a rank (norms, biases) are
 * one more unit, whose weights and gradients are always whole here and only its optimizer states are
 * shared. Sequences are cut into buckets of whole parameters (over unit borders where neither weights
 * nor gradients are shared), padded to equal pieces. The layout is the same on all tensor ranks.
 *
 * Gradients are summed over the gradient group as each micro-batch completes a unit (where that group
 * is 1: over the optimizer group, behind the last micro-batch), then over the optimizer group, then
 * over its replicas. A step may do this several times, group of micro-batches by group
 * (tri_zero_next_group): each reduction then gives the sum so far. Where weights are shared, a unit is gathered when it is used, the next one
 * ahead of time. A rank updates its piece of 1/optimizer and publishes it upwards.
 */
#ifndef TRI_PARALLEL_ZERO_H
#define TRI_PARALLEL_ZERO_H

#include "kernels/kernels.h"
#include "parallel/traffic.h"
#include "parallel/unit.h"
#include "runtime/arena.h"
#include "runtime/state.h"

typedef struct tri_zero tri_zero;

/* Told where a parameter lies now: compute copy (type `compute`) and fp32 gradient, both of the local
 * box; NULL: not here at present. */
typedef void (*tri_zero_bind_fn)(void *arg, int param, const void *weight, float *gradient);

/* A parameter as zero sees it. Parameter i is row first_row + i. */
typedef struct tri_zero_param {
    int unit; /* -1: not on this rank */
    int tensor_sum; /* neighbouring ranks of the tensor axis over which its gradient must be summed; 1: none */
} tri_zero_param;

typedef enum tri_quantize_kind {
    TRI_QUANTIZE_NONE,
    TRI_QUANTIZE_INT8,
    TRI_QUANTIZE_INT4
} tri_quantize_kind;

typedef struct tri_zero_args {
    tri_mesh *mesh;   /* kept */
    tri_state *state; /* with the parameters' rows, on that mesh; kept */
    int first_row;    /* of the parameters in the table, which follow one another */
    int n_params;     /* of the whole model; those not on this rank have no elements here */
    const tri_zero_param *params; /* [n_params], copied */
    int n_units;                  /* of this rank, in the order of forward */
    int group[3];                 /* ranks that share weights, gradients, optimizer states */
    int64_t bucket_bytes;         /* of fp32 gradients; a bucket closes when it has as many */
    int prefetch;     /* 0: units are gathered when used; n: the next one ahead, n + 1 stay here */
    int grad_buffers; /* units of one size whose gradients may be incomplete or on their way at a time,
                       * where gradients are shared; 0: 2 */
    /* how matrices travel: weights (none or int8) wherever new ones do, gradients over their own
     * group; vectors, and sums over other groups, as they are */
    tri_quantize_kind quantize_weights, quantize_gradients;
    tri_dtype compute;    /* fp32: the weights are their own master */
    bool training;        /* false: no gradients */
    tri_kernels *kernels; /* NULL on paper */
    /* A tied parameter that the last stage reads though its row is at the first: its index, -1: none
     * or both on one rank; `ends` joins the two ranks (NULL on paper), rank 0 is the owner. The guest's
     * unit is `tied_unit` there. Ranks of stages between may give the index, too. */
    int tied_param;
    bool is_guest;
    int tied_unit;
    tri_comm *ends;
    const tri_unit_visit *visits; /* of a round, in order, for the prediction; copied */
    int64_t n_visits;
} tri_zero_args;

/* A flat range of a parameter that this rank updates: see tri_zero_shard_at. */
typedef struct tri_zero_shard {
    int param;            /* 0 .. n_params - 1 */
    int64_t begin, count; /* in the parameter's local box; count 0: nothing here */
    bool is_counted;      /* by sums over the ranks: true on one of those that hold this range */
    float *weight;        /* master */
    float *gradient;
    void *copy; /* compute copy to refresh; NULL where the master is what computes */
} tri_zero_shard;

/* Make the communicators of the nested groups over the mesh's data x context group. Collective: world
 * (nothing on paper); then plan the flat layout, and say in the state table which range of each
 * parameter this rank holds. Keeps: state, kernels, mesh's communicators.
 * Errors: TRI_EINVAL group sizes that do not nest or divide, with the nearest that do. */
TRI_MUST_USE tri_status tri_zero_create(const tri_zero_args *args, tri_zero **out);
void tri_zero_destroy(tri_zero **zero);

/* Are these group sizes legal for n ranks? Not collective. Errors: TRI_EINVAL as above. */
TRI_MUST_USE tri_status tri_zero_check(const int group[3], int n_ranks);

/* Declare weights, masters, gradients and the buffers of gathered units. Not collective. */
TRI_MUST_USE tri_status tri_zero_declare(tri_zero *zero, tri_arena *arena);

/* After commit: give the state table the masters, and tell `bind` of everything that lies still; it is
 * told again whenever a unit is gathered. Not collective. Keeps: bind, arg. */
void tri_zero_bind(tri_zero *zero, tri_zero_bind_fn bind, void *arg);

/* Number of ranges that this rank updates (n_params; those that are not here have no elements), and the
 * one called `index`. Not collective. Pointers are NULL before commit. */
int tri_zero_shards(const tri_zero *zero);
tri_zero_shard tri_zero_shard_at(const tri_zero *zero, int index);

/* Whole compute copy of a parameter's local box where it lies now; NULL: not gathered at present, or not
 * on this rank. Not collective. */
const void *tri_zero_weight(const tri_zero *zero, int param);

/* Start a step: gradients = 0. Not collective. */
TRI_MUST_USE tri_status tri_zero_begin(tri_zero *zero);

/* `unit` is about to be used: wait until the weights that are needed are here, give matrices' gradients
 * that are needed a place, bind both, and begin to gather the weights of `next` (the unit read after
 * it, -1: none or unknown). Collective over the groups in the sense that all their ranks use units in
 * the same order. Free where neither weights nor gradients are shared. */
TRI_MUST_USE tri_status tri_zero_use(tri_zero *zero, int unit, tri_unit_need need, int next);

/* The gradients of `unit` are complete for one micro-batch, `last`: for the step. Collective over the
 * groups in the same sense; does not block for long. */
TRI_MUST_USE tri_status tri_zero_ready(tri_zero *zero, int unit, bool last);

/* Wait until all gradients are reduced, over the tensor axis too where they are partial there.
 * Collective over the groups and the tensor axis. Errors: TRI_ECOMM, TRI_EPEER, and TRI_EBUG if a unit
 * was never completed. */
TRI_MUST_USE tri_status tri_zero_reduce_wait(tri_zero *zero);

/* Behind a reduction, and before more micro-batches of the same step: the next reduction shall give what
 * was reduced so far and what is still to come. For that each element's sum is kept on one rank of those
 * whose gradients are added up, and made zero on the others. Not collective. */
void tri_zero_next_group(tri_zero *zero);

/* *out = sum of squares of the gradient pieces that this rank counts: over the whole mesh, each element
 * once, padding never. fp64. Not collective. */
TRI_MUST_USE tri_status tri_zero_sum_squares(const tri_zero *zero, double *out);

/* After the update: every rank gets the new weights that it holds. Collective over the groups. */
TRI_MUST_USE tri_status tri_zero_gather(tri_zero *zero);

/* After initialisation or a load: compute copies = masters, then gather. Collective over the groups. */
TRI_MUST_USE tri_status tri_zero_publish(tri_zero *zero);

/* Add the predicted messages of a step that repeats the visits `rounds` times and reduces behind each of
 * `groups` groups of them. Not collective. */
void tri_zero_traffic(const tri_zero *zero, int64_t rounds, int64_t groups, tri_traffic_list *list);

#endif

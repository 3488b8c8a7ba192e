// SPDX-License-Identifier: Apache-2.0
/* Where parameters, gradients and masters lie, and how the data-parallel ranks share them: plain
 * data parallelism (stage 0) and optimizer-state sharding (ZeRO stage 1; Rajbhandari et al.,
 * arXiv:1910.02054).
 *
 * All parameters form one flat sequence in the order in which backward completes their gradients.
 * It is cut into buckets of whole parameters; each bucket, padded to equal pieces, is reduced as
 * soon as its last gradient is complete, behind the rest of backward. At stage 1 rank r owns piece r
 * of every bucket: it alone receives that sum, updates it, and publishes the new weights. Offsets
 * are the same in the gradient (fp32), in the weights used for compute, and at stage 0 in the master.
 */
#ifndef TRI_PARALLEL_ZERO_H
#define TRI_PARALLEL_ZERO_H

#include "kernels/kernels.h"
#include "runtime/arena.h"
#include "runtime/state.h"

typedef struct tri_zero tri_zero;

typedef struct tri_zero_args {
    tri_state *state; /* with the parameters' rows; kept */
    int first_row;    /* of the parameters in the table, which follow one another */
    int n_params;
    int stage;            /* 0 or 1 */
    int64_t bucket_bytes; /* of fp32 gradients; a bucket closes when it has as many */
    tri_dtype compute;    /* fp32: the weights are their own master */
    bool training;        /* false: no gradients */
    tri_kernels *kernels; /* NULL on paper */
} tri_zero_args;

/* A flat range of a parameter that this rank updates: see tri_zero_shard. */
typedef struct tri_zero_shard {
    int param;            /* 0 .. n_params - 1 */
    int64_t begin, count; /* in the parameter's local box */
    float *weight;        /* master */
    float *gradient;
    void *copy; /* compute copy to refresh; NULL where the master is what computes */
} tri_zero_shard;

/* What one step moves over the data-parallel group, for `trireme check`. */
typedef struct tri_zero_traffic {
    int64_t reduce_calls, reduce_bytes; /* all-reduces (stage 0) or reduce-scatters (stage 1) */
    int64_t gather_calls, gather_bytes; /* all-gathers; bytes are of the whole buffers */
} tri_zero_traffic;

/* Plan the flat layout over the mesh's data x context group, and say in the state table which range
 * of each parameter this rank holds. Not collective. Keeps: state, kernels.
 * Errors: TRI_EINVAL stage. */
TRI_MUST_USE tri_status tri_zero_create(const tri_zero_args *args, tri_zero **out);
void tri_zero_destroy(tri_zero **zero);

/* Declare weights, masters and gradients. Not collective. */
TRI_MUST_USE tri_status tri_zero_declare(tri_zero *zero, tri_arena *arena);

/* After commit: give the state table the masters. Not collective. */
void tri_zero_bind(tri_zero *zero);

/* Compute copy (of type `compute`) and fp32 gradient (NULL where not training) of parameter `param`,
 * whole. Not collective. */
void *tri_zero_weight(const tri_zero *zero, int param);
float *tri_zero_gradient(const tri_zero *zero, int param);

/* Number of ranges that this rank updates, and the one called `index`. Not collective. Pointers are
 * NULL before commit. */
int tri_zero_shards(const tri_zero *zero);
tri_zero_shard tri_zero_shard_at(const tri_zero *zero, int index);

/* Start a step: gradients = 0. Not collective. */
void tri_zero_begin(tri_zero *zero);

/* The gradient of `param` is complete: start the reduction of each bucket that is. Collective over
 * the group in the sense that all its ranks complete parameters in the same order; does not block. */
TRI_MUST_USE tri_status tri_zero_ready(tri_zero *zero, int param);

/* Wait until all buckets are reduced. Collective over the group. Errors: TRI_ECOMM, TRI_EPEER, and
 * TRI_EBUG if a parameter was never completed. */
TRI_MUST_USE tri_status tri_zero_reduce_wait(tri_zero *zero);

/* *out = sum of squares of the gradient pieces that this rank counts: over the group, each element
 * once. fp64. Not collective. */
TRI_MUST_USE tri_status tri_zero_sum_squares(const tri_zero *zero, double *out);

/* After the update: every rank gets every rank's new weights. Collective over the group. */
TRI_MUST_USE tri_status tri_zero_gather(tri_zero *zero);

/* After initialisation or a load: compute copies = masters, then gather. Collective over the group. */
TRI_MUST_USE tri_status tri_zero_publish(tri_zero *zero);

/* Predicted traffic of one step. Not collective. */
tri_zero_traffic tri_zero_step_traffic(const tri_zero *zero);

#endif

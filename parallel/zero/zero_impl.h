// SPDX-License-Identifier: Apache-2.0
/* Inside of tri_zero: groups, layout, pools of buffers. See docs/sharding.md for the words. */
#ifndef TRI_PARALLEL_ZERO_ZERO_IMPL_H
#define TRI_PARALLEL_ZERO_ZERO_IMPL_H

#include "parallel/zero.h"
#include "parallel/zero/groups.h"
#include "parallel/zero/pool.h"

enum {
    ZERO_ALIGN = 32, /* elements: 64 bytes of bf16, so every row and piece is a cache line */
    ZERO_AXES = TRI_AXIS_BIT(TRI_AXIS_DATA) | TRI_AXIS_BIT(TRI_AXIS_CONTEXT),
    ZERO_SUMS = 8 /* different numbers of tensor ranks that have partial gradients */
};

enum { ZERO_MATRICES, ZERO_VECTORS, ZERO_SORTS };

typedef struct zero_param {
    int row, unit;
    int bucket; /* -1: not here */
    int tensor_sum;
    int64_t offset, count; /* in the bucket, padding not counted */
    int64_t padded;        /* of the largest box on the tensor axis */
    bool counts;           /* in the norm: this rank is the first of those with the same box */
} zero_param;

/* Where a bucket's gradients are on their way. */
typedef enum zero_hop {
    ZERO_HOP_REDUCE,  /* over the gradient group, then added to the piece kept here */
    ZERO_HOP_FINISH,  /* over the rest of the optimizer group */
    ZERO_HOP_REPLICA, /* over the optimizer group's replicas */
    ZERO_HOP_DONE
} zero_hop;

typedef struct zero_bucket {
    int sort;
    int64_t count;               /* a multiple of size[ZERO_OPTIMIZER] * ZERO_ALIGN */
    int first, n_params;         /* in zero->order */
    int64_t offset[ZERO_LEVELS]; /* of the piece kept here, in what is kept of that level */
    int64_t packed_offset;       /* of the weights' piece in what is kept quantised, bytes */
    int n_units, n_missing;      /* units not yet complete in this step */
    bool has_sum;                /* the piece of gradients holds some already */
    bool is_tied;                /* has the tied parameter, which is owned here */
    /* reduction under way, while in the queue */
    bool is_queued, is_last;
    bool is_started; /* the hop, which else is the next one */
    zero_hop hop;
    tri_event event;
    /* where the whole is bound; NULL: nowhere */
    int slot[2]; /* of the pools ZERO_WEIGHTS and ZERO_GRADIENTS, -1: none */
    void *weight;
    float *gradient;
    const void *told_weight; /* where the model believes them */
    const float *told_gradient;
} zero_bucket;

typedef struct zero_unit {
    int first_bucket, last_bucket; /* of its matrices; first > last: none */
    bool is_ready;                 /* for this step */
} zero_unit;

/* Parameters whose gradients are partial over as many neighbours of the tensor axis. */
typedef struct zero_sum {
    zero_group group;
    int64_t count;
    float *packed;
} zero_sum;

/* The far end of a tied parameter: whole weight and gradient, never updated here. */
typedef struct zero_guest {
    int64_t count;
    void *weight;
    float *gradient;
    tri_event event;
} zero_guest;

struct tri_zero {
    tri_zero_args args;
    int ranks, index; /* of data x context */
    zero_split split[ZERO_SORTS];
    zero_group replica;
    int n_sums;
    zero_sum sums[ZERO_SUMS];
    int n_buckets, n_order;
    tri_zero_param *given;  /* args.params */
    tri_unit_visit *visits; /* args.visits */
    zero_param *params;
    zero_bucket *buckets;
    zero_unit *units;
    int *order;           /* parameters, bucket by bucket */
    int *queue, n_queued; /* buckets whose reduction is under way, oldest first */
    int64_t elements[ZERO_LEVELS];
    void *weight;    /* [elements[ZERO_WEIGHTS]] of args.compute: what is kept */
    float *gradient; /* [elements[ZERO_GRADIENTS]] */
    float *master;   /* [elements[ZERO_OPTIMIZER]] of buckets that have one beside the weights */
    int64_t packed_bytes;
    uint8_t *packed; /* weights kept quantised */
    zero_pool pool[2];
    zero_pool paper; /* a copy of the weights' pool, in which the prediction walks */
    zero_guest guest;
    tri_zero_bind_fn bind;
    void *bind_arg;
};

/* Do a bucket's weights (gradients) travel quantised? Not collective. */
static inline bool tri_zero_packs(const tri_zero *zero, const zero_bucket *bucket, zero_level level)
{
    if (bucket->sort != ZERO_MATRICES) return false;
    return level == ZERO_WEIGHTS ? zero->args.quantize_weights && zero->args.group[2] > 1
                                 : zero->args.quantize_gradients && zero->args.group[1] > 1;
}

/* Is there a master beside the weights? Not collective. */
static inline bool tri_zero_has_master(const tri_zero *zero, const zero_bucket *bucket)
{
    return zero->args.compute != TRI_F32 || tri_zero_packs(zero, bucket, ZERO_WEIGHTS);
}

/* How a bucket is cut. Not collective. */
static inline const zero_split *tri_zero_split_of(const tri_zero *zero, const zero_bucket *bucket)
{
    return &zero->split[bucket->sort];
}

/* Elements of one piece of a bucket at a level. Not collective. */
static inline int64_t tri_zero_piece(const tri_zero *zero, const zero_bucket *bucket,
                                     zero_level level)
{
    return bucket->count / tri_zero_split_of(zero, bucket)->size[level];
}

/* First element of this rank's piece. Not collective. */
static inline int64_t tri_zero_begin_of(const tri_zero *zero, const zero_bucket *bucket,
                                        zero_level level)
{
    return tri_zero_piece(zero, bucket, level) * tri_zero_split_of(zero, bucket)->at[level];
}

/* Elements [begin, begin + count) of the bucket, which lie in the piece kept here: weights and
 * gradients. Not collective. */
tri_span tri_zero_weight_span(const tri_zero *zero, const zero_bucket *bucket, int64_t begin,
                              int64_t count);
tri_span tri_zero_gradient_span(const tri_zero *zero, const zero_bucket *bucket, int64_t begin,
                                int64_t count);

/* This rank's piece of a bucket's weights at a level, as it is kept and travels: quantised or not. Not
 * collective. */
tri_span tri_zero_kept_span(const tri_zero *zero, const zero_bucket *bucket, zero_level level);

/* The part of a parameter that this rank updates: first element in the parameter, count. Not
 * collective. */
void tri_zero_owned(const tri_zero *zero, const zero_param *param, int64_t *begin, int64_t *count);

/* Make all groups. Collective: world; nothing on paper. */
TRI_MUST_USE tri_status tri_zero_groups_make(tri_zero *zero);

/* Lay out parameters, buckets, units and pools. Not collective. */
TRI_MUST_USE tri_status tri_zero_plan(tri_zero *zero);

/* Is the whole of the bucket's weights (gradients) gathered into a buffer of a pool? Not collective. */
static inline bool tri_zero_is_pooled(const tri_zero *zero, const zero_bucket *bucket,
                                      zero_level level)
{
    return tri_zero_split_of(zero, bucket)->size[level] > 1;
}

/* The matrices' bucket of a unit, where each has one of its own; -1: none. Not collective. */
int tri_zero_unit_bucket(const tri_zero *zero, int unit);

/* Wait until a gathered unit can be read. Not collective by itself. */
TRI_MUST_USE tri_status tri_zero_slot_wait(tri_zero *zero, int slot);

/* Begin to gather a bucket's weights unless they are here. Writes: *slot. Collective. */
TRI_MUST_USE tri_status tri_zero_fetch(tri_zero *zero, int bucket, int keep, int *slot);

/* Wait for units gathered ahead of time, before what they are gathered from is written. Not collective
 * by itself. */
TRI_MUST_USE tri_status tri_zero_units_wait(tri_zero *zero);

/* Tell the model where the parameters of a bucket are. Not collective. */
void tri_zero_bind_bucket(const tri_zero *zero, zero_bucket *bucket);

/* Give a gradient buffer back, cleared. Not collective. */
void tri_zero_slot_release(tri_zero *zero, zero_bucket *bucket);

/* Go on with reductions whose hop has passed. Not collective by itself. */
TRI_MUST_USE tri_status tri_zero_advance(tri_zero *zero);

#endif

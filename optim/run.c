// SPDX-License-Identifier: Apache-2.0
/* From a tensor's segment to the kernel of its update. */
#include "optim/optim_impl.h"
#include "runtime/base/int.h"

#include <string.h>

/* Of the rounding of bf16 moments: another one for each tensor and step, the same on every mesh. */
static uint64_t noise_key(const tri_optim_tensor *tensor)
{
    uint64_t key = tensor->config->seed;
    for (const char *c = tensor->row->name; *c; c++)
        key = (key ^ (unsigned char)*c) * 0x100000001b3u;
    return (key ^ (uint64_t)tensor->step) * 0x9e3779b97f4a7c15u;
}

tri_update_args tri_optim_update_args(const tri_optim_tensor *tensor, tri_update_rule rule)
{
    const tri_optim_segment *segment = tensor->segment;
    const tri_optim_config *config = tensor->config;
    tri_update_args args = {
        .rule = rule,
        .range = {.n = segment->count,
                  .weight = segment->weight,
                  .gradient = segment->gradient,
                  .gradient_scale = (float)tensor->gradient_scale,
                  .copy = segment->copy,
                  .copy_type = TRI_BF16,
                  .far = tensor->far},
        .moment_type = config->moments,
        .key = noise_key(tensor),
        .rate = (float)tensor->lr,
        .beta = {(float)config->betas[0], (float)config->betas[1]    },
        .epsilon = (float)config->epsilon,
        .decay = (float)(tensor->lr * tensor->weight_decay),
        .step = tensor->step
    };
    for (int i = 0; i < tri_update_moments(rule); i++)
        args.moment[i] = tensor->moment[i];
    return args;
}

/* The part of an update from element `skip` of the segment on. */
static tri_update_args part_of(const tri_update_args *args, int64_t skip, int64_t n)
{
    tri_update_args part = *args;
    size_t bytes = tri_dtype_bytes(args->moment_type);
    part.range.n = n;
    part.range.weight += skip;
    part.range.gradient += skip;
    if (part.range.copy) part.range.copy = (tri_bf16 *)part.range.copy + skip;
    for (int i = 0; i < 2; i++)
        if (part.moment[i]) part.moment[i] = (char *)part.moment[i] + (size_t)skip * bytes;
    return part;
}

/* Elements of the local box that follow one another in the tensor, too: all, or lines of it. */
static int64_t run_length(const tri_optim_tensor *tensor)
{
    int d = tensor->row->n_dims - 1;
    int64_t run = tensor->box.count[d];
    while (d > 0 && tensor->box.count[d] == tensor->row->shape[d])
        run *= tensor->box.count[--d];
    return run;
}

/* Number, in the whole tensor, of an element of the local box. */
static int64_t place_of(const tri_optim_tensor *tensor, int64_t at)
{
    int64_t place = 0;
    int64_t stride = 1;
    for (int d = tensor->row->n_dims - 1; d >= 0; d--) {
        place += (tensor->box.start[d] + at % tensor->box.count[d]) * stride;
        at /= tensor->box.count[d];
        stride *= tensor->row->shape[d];
    }
    return place;
}

tri_status tri_optim_run(const tri_optim_tensor *tensor, tri_update_args *args)
{
    if (args->moment_type == TRI_F32) return tri_update(tensor->kernels, args);
    int64_t run = run_length(tensor);
    int64_t begin = tensor->segment->begin;
    int64_t end = begin + tensor->segment->count;
    for (int64_t at = begin; at < end;) {
        int64_t n = tri_min64(at / run * run + run, end) - at;
        tri_update_args part = part_of(args, at - begin, n);
        part.index = (uint64_t)place_of(tensor, at);
        TRI_TRY(tri_update(tensor->kernels, &part));
        at += n;
    }
    return TRI_OK;
}

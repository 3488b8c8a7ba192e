// SPDX-License-Identifier: Apache-2.0
/* The part of every optimizer that is the same: moments per segment, their rows, the walk. */
#include "optim/optim.h"

#include "optim/optim_impl.h"
#include "runtime/base/alloc.h"

#include <stdio.h>
#include <string.h>

struct tri_optim {
    tri_optim_config config;
    const tri_optim_ops *ops;
    tri_kernels *kernels;
    int n_moments;
    int n_segments;
    tri_optim_segment *segments;
    int *moment_row;                      /* [n_segments][n_moments] rows in the state table */
    int64_t elements;                     /* of one moment, segments padded to 16 */
    float *moment[TRI_OPTIM_MAX_MOMENTS]; /* [elements] */
};

/* Segments start on 64-byte boundaries, so that the update's vectors do. */
static int64_t padded(int64_t count)
{
    return (count + 15) / 16 * 16;
}

static const tri_optim_ops *optim_find(const char *name)
{
    for (int i = 0; tri_optim_list[i]; i++)
        if (strcmp(tri_optim_list[i]->name, name) == 0) return tri_optim_list[i];
    return NULL;
}

static tri_status unknown_name(const char *name)
{
    char known[256] = "";
    for (const char *const *n = tri_optim_names(); *n; n++) {
        size_t at = strlen(known);
        snprintf(known + at, sizeof known - at, "%s%s", at ? ", " : "", *n);
    }
    TRI_FAIL(TRI_EINVAL, "optimizer.name '%s' is unknown; known: %s", name, known);
}

tri_status tri_optim_check(const tri_optim_config *config)
{
    const tri_optim_ops *ops = optim_find(config->name);
    if (!ops) TRI_TRY(unknown_name(config->name));
    TRI_CHECK(config->lr > 0, TRI_EINVAL, "optimizer.lr is %g; it must be > 0", config->lr);
    TRI_CHECK(config->weight_decay >= 0, TRI_EINVAL,
              "optimizer.weight_decay is %g; it must be >= 0", config->weight_decay);
    TRI_CHECK(config->momentum >= 0 && config->momentum < 1, TRI_EINVAL,
              "optimizer.momentum is %g; it must be >= 0 and < 1", config->momentum);
    TRI_CHECK(config->clip >= 0, TRI_EINVAL, "optimizer.clip is %g; it must be >= 0 (0: none)",
              config->clip);
    if (ops->check) TRI_TRY(ops->check(config));
    return TRI_OK;
}

tri_status tri_optim_create(const tri_optim_config *config, tri_kernels *kernels,
                            const tri_optim_segment *segments, int n_segments, tri_optim **out)
{
    TRI_TRY(tri_optim_check(config));
    TRI_AUTO(tri_optim) *optim = NULL;
    TRI_TRY(TRI_NEW(&optim));
    optim->config = *config;
    optim->ops = optim_find(config->name);
    optim->kernels = kernels;
    optim->n_moments = optim->ops->n_moments(config);
    optim->n_segments = n_segments;
    TRI_TRY(TRI_NEW_ARRAY(n_segments, &optim->segments));
    TRI_TRY(TRI_NEW_ARRAY((int64_t)n_segments * TRI_OPTIM_MAX_MOMENTS, &optim->moment_row));
    for (int i = 0; i < n_segments; i++) {
        optim->segments[i] = segments[i];
        optim->elements += padded(segments[i].count);
    }
    *out = TRI_MOVE(optim);
    return TRI_OK;
}

void tri_optim_destroy(tri_optim **optim)
{
    if (!*optim) return;
    TRI_FREE((*optim)->segments);
    TRI_FREE((*optim)->moment_row);
    TRI_FREE(*optim);
}

/* The moment's row: the parameter's own, under another name. */
static tri_status moment_row(const tri_optim *optim, const tri_row *param, int moment, tri_row *out)
{
    const char *plain = strncmp(param->name, "param/", 6) == 0 ? param->name + 6 : param->name;
    *out = *param;
    int n = snprintf(out->name, sizeof out->name, "optim/%s/%s/%s", optim->ops->name,
                     optim->ops->moment_name[moment], plain);
    TRI_CHECK(n < (int)sizeof out->name, TRI_EINVAL, "the name of %s is too long for its moments",
              param->name);
    out->external[0] = '\0';
    out->role = TRI_ROLE_OPTIM;
    out->dtype = TRI_F32;
    out->init = (tri_init){.kind = TRI_INIT_ZERO};
    out->data = NULL;
    return TRI_OK;
}

tri_status tri_optim_export(tri_optim *optim, tri_state *state)
{
    for (int i = 0; i < optim->n_segments; i++) {
        const tri_optim_segment *s = &optim->segments[i];
        for (int j = 0; j < optim->n_moments; j++) {
            tri_row row;
            TRI_TRY(moment_row(optim, tri_state_row(state, s->row), j, &row));
            int index = 0;
            TRI_TRY(tri_state_add(state, &row, &index));
            tri_state_hold(state, index, s->begin, s->count, NULL);
            optim->moment_row[i * TRI_OPTIM_MAX_MOMENTS + j] = index;
        }
    }
    return TRI_OK;
}

tri_status tri_optim_declare(tri_optim *optim, tri_arena *arena)
{
    for (int j = 0; j < optim->n_moments; j++)
        TRI_TRY(tri_arena_add(arena, TRI_MEM_OPTIMIZER, optim->elements, TRI_F32,
                              (void **)&optim->moment[j]));
    return TRI_OK;
}

tri_status tri_optim_bind(tri_optim *optim, const tri_optim_segment *segments, tri_state *state)
{
    int64_t at = 0;
    for (int i = 0; i < optim->n_segments; i++) {
        tri_optim_segment *mine = &optim->segments[i];
        TRI_CHECK(segments[i].row == mine->row && segments[i].begin == mine->begin &&
                      segments[i].count == mine->count,
                  TRI_EBUG, "segment %d is not the one the optimizer was made for", i);
        *mine = segments[i];
        for (int j = 0; j < optim->n_moments; j++)
            tri_state_hold(state, optim->moment_row[i * TRI_OPTIM_MAX_MOMENTS + j], mine->begin,
                           mine->count, optim->moment[j] + at);
        at += padded(mine->count);
    }
    return TRI_OK;
}

tri_status tri_optim_step(tri_optim *optim, int64_t step, double lr, double gradient_scale)
{
    int64_t at = 0;
    for (int i = 0; i < optim->n_segments; i++) {
        const tri_optim_segment *segment = &optim->segments[i];
        tri_optim_update update = {
            .config = &optim->config,
            .kernels = optim->kernels,
            .segment = segment,
            .step = step,
            .lr = lr,
            .gradient_scale = gradient_scale,
            .weight_decay = segment->decay ? optim->config.weight_decay : 0,
        };
        for (int j = 0; j < optim->n_moments; j++)
            update.moment[j] = optim->moment[j] + at;
        if (segment->count > 0) TRI_TRY(optim->ops->update(&update));
        at += padded(segment->count);
    }
    return TRI_OK;
}

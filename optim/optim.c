// SPDX-License-Identifier: Apache-2.0
/* The part of every optimizer that is the same: moments and their rows, the sums over ranks, the walk
 * over tensors.
 */
#include "optim/optim.h"

#include "optim/group.h"
#include "optim/optim_impl.h"
#include "runtime/base/alloc.h"
#include "runtime/base/int.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

/* What is kept of a parameter. */
typedef struct optim_param {
    tri_optim_segment segment;
    tri_box box; /* local; no elements: it is on another stage */
    bool is_here;
    tri_optim_rates rates;
    int n_moments;
    tri_optim_moment moment[TRI_OPTIM_MAX_MOMENTS];
    int row[TRI_OPTIM_MAX_MOMENTS];        /* of the state table */
    int64_t offset[TRI_OPTIM_MAX_MOMENTS]; /* bytes, in the memory of all moments */
    int64_t sums[TRI_OPTIM_ROUNDS];        /* place in the round's message */
} optim_param;

struct tri_optim {
    tri_optim_config config;
    const tri_optim_ops *ops;
    tri_kernels *kernels;
    const tri_state *state;
    tri_comm *ranks;
    int n_params;
    optim_param *params;
    int64_t n_sums[TRI_OPTIM_ROUNDS]; /* doubles of a round; 0: there is none */
    int64_t n_scratch;
    int64_t n_elements; /* of all segments */
    int64_t moment_bytes;
    char *moments;
    double *sums[TRI_OPTIM_ROUNDS];
    double *scratch;
};

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

static tri_status check_common(const tri_optim_config *config)
{
    TRI_CHECK(config->lr > 0, TRI_EINVAL, "optimizer.lr is %g; it must be > 0", config->lr);
    TRI_CHECK(config->weight_decay >= 0, TRI_EINVAL,
              "optimizer.weight_decay is %g; it must be >= 0", config->weight_decay);
    TRI_CHECK(config->momentum >= 0 && config->momentum < 1, TRI_EINVAL,
              "optimizer.momentum is %g; it must be >= 0 and < 1", config->momentum);
    TRI_CHECK(config->clip >= 0, TRI_EINVAL, "optimizer.clip is %g; it must be >= 0 (0: none)",
              config->clip);
    for (int i = 0; i < TRI_OPTIM_MAX_GROUPS && config->groups[i][0]; i++) {
        tri_optim_group group;
        TRI_TRY(tri_optim_group_parse(config->groups[i], &group));
    }
    return TRI_OK;
}

tri_status tri_optim_resolve(tri_optim_config *config)
{
    const tri_optim_ops *ops = optim_find(config->name);
    if (!ops) TRI_TRY(unknown_name(config->name));
    TRI_TRY(check_common(config));
    for (int i = 0; i < 2; i++)
        if (config->betas[i] < 0) config->betas[i] = ops->betas[i];
    if (config->epsilon == 0) config->epsilon = ops->epsilon;
    if (ops->check) TRI_TRY(ops->check(config));
    return TRI_OK;
}

tri_status tri_optim_check_factors(const tri_optim_config *config, const char *key,
                                   const char *value, bool gradient)
{
    const tri_optim_ops *ops = optim_find(config->name);
    TRI_CHECK(ops, TRI_EBUG, "optimizer.name '%s' has not been checked", config->name);
    TRI_CHECK(ops->steps != TRI_OPTIM_STEPS_OWN, TRI_EINVAL,
              "%s %s: optimizer.name %s sizes its steps by norms of its own, which leaves no "
              "learning rates of tensors to scale; take %sadam, adamw, adamax, adam_atan2, lion, "
              "adagrad or adafactor",
              key, value, config->name, gradient ? "sgd, " : "");
    TRI_CHECK(gradient || ops->steps != TRI_OPTIM_STEPS_GRADIENT, TRI_EINVAL,
              "%s %s is for steps whose size is not the gradient's, and those of optimizer.name "
              "%s are; take adam, adamw, adamax, adam_atan2, lion, adagrad or adafactor",
              key, value, config->name);
    TRI_CHECK(ops->steps != TRI_OPTIM_STEPS_ADAFACTOR ||
                  (!config->scale_parameter && !config->relative_step),
              TRI_EINVAL,
              "%s %s: optimizer.name %s takes learning rates of tensors only with "
              "optimizer.scale_parameter false and optimizer.relative_step false",
              key, value, config->name);
    return TRI_OK;
}

bool tri_optim_has_rounds(const tri_optim_config *config)
{
    const tri_optim_ops *ops = optim_find(config->name);
    return ops && ops->sums;
}

tri_status tri_optim_check_betas(const tri_optim_config *config)
{
    for (int i = 0; i < 2; i++)
        TRI_CHECK(config->betas[i] >= 0 && config->betas[i] < 1, TRI_EINVAL,
                  "optimizer.betas[%d] is %g; it must be >= 0 and < 1", i, config->betas[i]);
    TRI_CHECK(config->epsilon >= 0, TRI_EINVAL, "optimizer.epsilon is %g; it must be >= 0",
              config->epsilon);
    return TRI_OK;
}

bool tri_optim_is_matrix(const tri_row *row)
{
    return row->n_dims == 2 && row->shape[0] > 1 && row->shape[1] > 1;
}

int tri_optim_one_moment(const tri_optim_config *config, const tri_row *row,
                         tri_optim_moment out[TRI_OPTIM_MAX_MOMENTS])
{
    (void)config, (void)row;
    out[0] = (tri_optim_moment){"m", TRI_OPTIM_ELEMENTS};
    return 1;
}

int tri_optim_two_moments(const tri_optim_config *config, const tri_row *row,
                          tri_optim_moment out[TRI_OPTIM_MAX_MOMENTS])
{
    out[1] = (tri_optim_moment){"v", TRI_OPTIM_ELEMENTS};
    return 1 + tri_optim_one_moment(config, row, out);
}

/* --- moments */

/* The row of what has one number for each row (dimension 0) or column (1) of a parameter: placed as that
 * dimension is, whole on all ranks of data and context. */
static void narrow_row(const tri_row *param, int dim, tri_row *out)
{
    out->n_dims = 1;
    memset(out->shape, 0, sizeof out->shape);
    out->shape[0] = param->shape[dim];
    out->vocabulary = param->vocabulary && dim == 0;
    for (int a = 0; a < TRI_AXES; a++) {
        if (out->place.axis[a].kind != TRI_SPLIT) continue;
        bool is_mine = out->place.axis[a].arg == dim;
        out->place.axis[a].arg = 0;
        if (!is_mine) out->place.axis[a].kind = TRI_REPLICATED;
        if (!is_mine) out->place.axis[a].parts = 0;
    }
}

/* The moment's row. */
static tri_status moment_row(const tri_optim *optim, const optim_param *param, int moment,
                             tri_row *out)
{
    const tri_row *row = tri_state_row(optim->state, param->segment.row);
    const char *plain = strncmp(row->name, "param/", 6) == 0 ? row->name + 6 : row->name;
    *out = *row;
    int n = snprintf(out->name, sizeof out->name, "optim/%s/%s/%s", optim->ops->name,
                     param->moment[moment].name, plain);
    TRI_CHECK(n < (int)sizeof out->name, TRI_EINVAL, "the name of %s is too long for its moments",
              row->name);
    out->external[0] = '\0';
    out->role = TRI_ROLE_OPTIM;
    out->dtype = TRI_F32;
    out->init = (tri_init){.kind = TRI_INIT_ZERO};
    out->data = NULL;
    switch (param->moment[moment].extent) {
    case TRI_OPTIM_ELEMENTS:
        out->dtype = optim->config.moments;
        break;
    case TRI_OPTIM_ROWS:
        narrow_row(row, 0, out);
        break;
    case TRI_OPTIM_COLUMNS:
        narrow_row(row, 1, out);
        break;
    case TRI_OPTIM_TENSOR:
        out->dtype = TRI_F64;
        out->n_dims = 1;
        out->shape[0] = 1;
        out->vocabulary = false;
        for (int a = 0; a < TRI_AXES; a++)
            if (out->place.axis[a].kind == TRI_SPLIT) out->place.axis[a].kind = TRI_REPLICATED;
        break;
    }
    return TRI_OK;
}

/* Numbers of a moment that lie here. */
static int64_t moment_count(const optim_param *param, int moment)
{
    switch (param->moment[moment].extent) {
    case TRI_OPTIM_ELEMENTS:
        return param->segment.count;
    case TRI_OPTIM_ROWS:
        return param->is_here ? param->box.count[0] : 0;
    case TRI_OPTIM_COLUMNS:
        return param->is_here ? param->box.count[1] : 0;
    case TRI_OPTIM_TENSOR:
        return param->is_here;
    }
    return 0;
}

static tri_dtype moment_type(const tri_optim *optim, const optim_param *param, int moment)
{
    tri_optim_extent extent = param->moment[moment].extent;
    if (extent == TRI_OPTIM_ELEMENTS) return optim->config.moments;
    return extent == TRI_OPTIM_TENSOR ? TRI_F64 : TRI_F32;
}

static void *moment_data(const tri_optim *optim, const optim_param *param, int moment)
{
    return optim->moments ? optim->moments + param->offset[moment] : NULL;
}

static void hold_moment(const tri_optim *optim, const optim_param *param, int moment,
                        tri_state *state)
{
    bool is_flat = param->moment[moment].extent == TRI_OPTIM_ELEMENTS;
    tri_state_hold(state, param->row[moment], is_flat ? param->segment.begin : 0,
                   moment_count(param, moment), moment_data(optim, param, moment));
}

/* Moments begin on 64-byte boundaries, so that the update's vectors do. */
static void place_moments(tri_optim *optim)
{
    for (int i = 0; i < optim->n_params; i++) {
        optim_param *param = &optim->params[i];
        for (int j = 0; j < param->n_moments; j++) {
            int64_t bytes =
                moment_count(param, j) * (int64_t)tri_dtype_bytes(moment_type(optim, param, j));
            param->offset[j] = optim->moment_bytes;
            optim->moment_bytes += tri_round_up(bytes, 64);
        }
    }
}

/* --- making */

/* Factor of the learning rate that the row asks of this optimizer. */
static double factor_of(const tri_optim_ops *ops, const tri_row *row)
{
    double factor = ops->steps == TRI_OPTIM_STEPS_GRADIENT ? row->gradient_lr : row->sign_lr;
    return ops->steps == TRI_OPTIM_STEPS_OWN || factor == 0 ? 1 : factor;
}

tri_status tri_optim_rates_of(const tri_optim_config *config, const tri_row *row, bool *matched,
                              tri_optim_rates *out)
{
    const tri_optim_ops *ops = optim_find(config->name);
    TRI_CHECK(ops, TRI_EBUG, "optimizer.name '%s' has not been checked", config->name);
    tri_optim_group last = {.lr = 1, .weight_decay = -1, .adapts = true};
    for (int i = 0; i < TRI_OPTIM_MAX_GROUPS && config->groups[i][0]; i++) {
        tri_optim_group group;
        TRI_TRY(tri_optim_group_parse(config->groups[i], &group));
        if (!tri_optim_group_matches(&group, row->name)) continue;
        if (matched) matched[i] = true;
        last = group;
    }
    double factor = factor_of(ops, row);
    double decay = row->decay ? config->weight_decay : 0;
    if (last.weight_decay >= 0) decay = last.weight_decay;
    /* lr * decay stays what it was: where decay is decoupled, what one step takes off a weight */
    *out = (tri_optim_rates){last.lr * factor, decay / factor, last.adapts};
    return TRI_OK;
}

static tri_status add_param(tri_optim *optim, int index, const tri_optim_segment *segment,
                            bool *matched)
{
    optim_param *param = &optim->params[index];
    const tri_row *row = tri_state_row(optim->state, segment->row);
    const tri_mesh *mesh = tri_state_mesh(optim->state);
    param->segment = *segment;
    optim->n_elements += segment->count;
    TRI_TRY(tri_place_box(&row->place, mesh, tri_mesh_rank(mesh), row->n_dims, row->shape,
                          &param->box));
    int stage = tri_mesh_coord(mesh, TRI_AXIS_PIPELINE);
    param->is_here = row->place.axis[TRI_AXIS_PIPELINE].kind != TRI_AT ||
                     row->place.axis[TRI_AXIS_PIPELINE].arg == stage;
    TRI_TRY(tri_optim_rates_of(&optim->config, row, matched, &param->rates));
    param->n_moments = optim->ops->moments(&optim->config, row, param->moment);
    if (!param->is_here) return TRI_OK;
    for (int r = 0; r < TRI_OPTIM_ROUNDS && optim->ops->sums; r++) {
        param->sums[r] = optim->n_sums[r];
        optim->n_sums[r] += optim->ops->sums(&optim->config, row, r);
    }
    if (optim->ops->scratch)
        optim->n_scratch = tri_max64(optim->n_scratch, optim->ops->scratch(&param->box));
    return TRI_OK;
}

tri_status tri_optim_create(const tri_optim_args *args, tri_optim **out)
{
    TRI_AUTO(tri_optim) *optim = NULL;
    TRI_TRY(TRI_NEW(&optim));
    optim->config = *args->config;
    optim->ops = optim_find(args->config->name);
    if (!optim->ops) TRI_TRY(unknown_name(args->config->name));
    optim->kernels = args->kernels;
    optim->state = args->state;
    optim->ranks = args->ranks;
    optim->n_params = args->n_segments;
    TRI_TRY(TRI_NEW_ARRAY(args->n_segments, &optim->params));
    bool matched[TRI_OPTIM_MAX_GROUPS] = {false};
    for (int i = 0; i < args->n_segments; i++)
        TRI_TRY(add_param(optim, i, &args->segments[i], matched));
    for (int i = 0; i < TRI_OPTIM_MAX_GROUPS && optim->config.groups[i][0]; i++)
        TRI_CHECK(matched[i], TRI_EINVAL,
                  "optimizer.groups: '%s' matches no parameter; `trireme check` lists their names",
                  optim->config.groups[i]);
    place_moments(optim);
    *out = TRI_MOVE(optim);
    return TRI_OK;
}

void tri_optim_destroy(tri_optim **optim)
{
    if (!*optim) return;
    TRI_FREE((*optim)->params);
    TRI_FREE(*optim);
}

tri_status tri_optim_export(tri_optim *optim, tri_state *state)
{
    for (int i = 0; i < optim->n_params; i++) {
        optim_param *param = &optim->params[i];
        for (int j = 0; j < param->n_moments; j++) {
            tri_row row;
            TRI_TRY(moment_row(optim, param, j, &row));
            TRI_TRY(tri_state_add(state, &row, &param->row[j]));
            hold_moment(optim, param, j, state);
        }
    }
    return TRI_OK;
}

tri_status tri_optim_declare(tri_optim *optim, tri_arena *arena)
{
    TRI_TRY(tri_arena_add(arena, TRI_MEM_OPTIMIZER, optim->moment_bytes, TRI_U8,
                          (void **)&optim->moments));
    for (int r = 0; r < TRI_OPTIM_ROUNDS; r++)
        TRI_TRY(tri_arena_add(arena, TRI_MEM_OPTIMIZER, optim->n_sums[r], TRI_F64,
                              (void **)&optim->sums[r]));
    return tri_arena_add(arena, TRI_MEM_OPTIMIZER, optim->n_scratch, TRI_F64,
                         (void **)&optim->scratch);
}

tri_status tri_optim_bind(tri_optim *optim, const tri_optim_segment *segments, tri_state *state)
{
    for (int i = 0; i < optim->n_params; i++) {
        optim_param *param = &optim->params[i];
        TRI_CHECK(segments[i].row == param->segment.row &&
                      segments[i].begin == param->segment.begin &&
                      segments[i].count == param->segment.count,
                  TRI_EBUG, "segment %d is not the one the optimizer was made for", i);
        param->segment = segments[i];
        for (int j = 0; j < param->n_moments; j++)
            hold_moment(optim, param, j, state);
    }
    return TRI_OK;
}

static void fill(void *data, tri_dtype dtype, int64_t n, double value)
{
    for (int64_t i = 0; i < n; i++) {
        if (dtype == TRI_F64) ((double *)data)[i] = value;
        if (dtype == TRI_F32) ((float *)data)[i] = (float)value;
        if (dtype == TRI_BF16) ((tri_bf16 *)data)[i] = tri_f32_to_bf16((float)value);
    }
}

void tri_optim_initialise(tri_optim *optim)
{
    double value = optim->ops->initial ? optim->ops->initial(&optim->config) : 0;
    for (int i = 0; i < optim->n_params; i++)
        for (int j = 0; j < optim->params[i].n_moments; j++)
            fill(moment_data(optim, &optim->params[i], j), moment_type(optim, &optim->params[i], j),
                 moment_count(&optim->params[i], j), value);
}

/* --- a step */

static tri_optim_tensor tensor_of(const tri_optim *optim, const tri_optim_step_args *args, int i)
{
    const optim_param *param = &optim->params[i];
    tri_optim_tensor tensor = {
        .config = &optim->config,
        .kernels = optim->kernels,
        .row = tri_state_row(optim->state, param->segment.row),
        .segment = &param->segment,
        .box = param->box,
        .step = args->step,
        .lr = args->lr * param->rates.lr,
        .weight_decay = param->rates.weight_decay,
        .gradient_scale = args->gradient_scale,
        .squares = args->squares * args->gradient_scale * args->gradient_scale,
        .adapts = param->rates.adapts,
        .far = optim->n_elements >= TRI_UPDATE_FAR_ELEMENTS,
        .scratch = optim->scratch,
    };
    for (int r = 0; r < TRI_OPTIM_ROUNDS; r++)
        tensor.sums[r] = optim->sums[r] + param->sums[r];
    for (int j = 0; j < param->n_moments; j++)
        tensor.moment[j] = moment_data(optim, param, j);
    return tensor;
}

/* Take the sums in, where there are such. */
static tri_status absorb(tri_optim *optim, const tri_optim_step_args *args, int round)
{
    for (int i = 0; i < optim->n_params && optim->ops->absorb; i++) {
        if (!optim->params[i].is_here) continue;
        tri_optim_tensor tensor = tensor_of(optim, args, i);
        TRI_TRY(optim->ops->absorb(&tensor, round));
    }
    return TRI_OK;
}

/* Add up what ranks measure; what several ranks hold is measured by all, for the sake of moments, and
 * counted by one. */
static tri_status run_round(tri_optim *optim, const tri_optim_step_args *args, int round)
{
    int64_t n = optim->n_sums[round];
    assert(optim->ops->sums && optim->ops->measure && "sums of an optimizer without any");
    memset(optim->sums[round], 0, (size_t)n * sizeof(double));
    for (int i = 0; i < optim->n_params; i++) {
        const optim_param *param = &optim->params[i];
        if (param->segment.count == 0) continue;
        tri_optim_tensor tensor = tensor_of(optim, args, i);
        TRI_TRY(optim->ops->measure(&tensor, round));
        int64_t mine = optim->ops->sums(&optim->config, tensor.row, round);
        if (!param->segment.is_counted)
            memset(tensor.sums[round], 0, (size_t)mine * sizeof(double));
    }
    tri_span sums = tri_span_make(optim->sums[round], n, TRI_F64);
    if (optim->ranks) TRI_TRY(tri_allreduce(optim->ranks, sums, TRI_SUM, NULL));
    return absorb(optim, args, round);
}

tri_status tri_optim_step(tri_optim *optim, const tri_optim_step_args *args)
{
    if (!optim->ops->sums) TRI_TRY(absorb(optim, args, 0));
    for (int round = 0; round < TRI_OPTIM_ROUNDS; round++)
        if (optim->n_sums[round] > 0) TRI_TRY(run_round(optim, args, round));
    for (int i = 0; i < optim->n_params; i++) {
        tri_optim_tensor tensor = tensor_of(optim, args, i);
        if (optim->params[i].segment.count > 0) TRI_TRY(optim->ops->update(&tensor));
    }
    return TRI_OK;
}

int tri_optim_messages(const tri_optim *optim, int64_t *doubles)
{
    int n = 0;
    *doubles = 0;
    for (int round = 0; round < TRI_OPTIM_ROUNDS; round++) {
        n += optim->n_sums[round] > 0;
        *doubles += optim->n_sums[round];
    }
    return n;
}

// SPDX-License-Identifier: Apache-2.0
/* What the keys of a job spec say together, for a number of ranks. */
#include "launch/spec.h"

#include "launch/spec_layout.h"

#include <string.h>

tri_batch_config tri_spec_batch(const tri_spec *spec)
{
    return (tri_batch_config){.sequences = spec->batch.sequences,
                              .adaptive = spec->batch.adaptive,
                              .ramp = spec->batch.ramp};
}

static tri_status check_batch(const tri_spec *spec)
{
    int64_t sequences = spec->batch.sequences;
    int64_t at_once = spec->parallel.data * spec->batch.micro;
    int64_t below = sequences / at_once * at_once;
    if (sequences == below) return TRI_OK;
    TRI_CHECK(
        below > 0, TRI_EINVAL,
        "batch.sequences: %lld is less than parallel.data %d x batch.micro %lld: the least is "
        "%lld",
        (long long)sequences, spec->parallel.data, (long long)spec->batch.micro,
        (long long)at_once);
    TRI_FAIL(TRI_EINVAL,
             "batch.sequences: %lld is no multiple of parallel.data %d x batch.micro %lld: the "
             "nearest are %lld and %lld",
             (long long)sequences, spec->parallel.data, (long long)spec->batch.micro,
             (long long)below, (long long)(below + at_once));
}

static tri_status check_data(tri_spec *spec)
{
    const tri_data_config *data = &spec->data;
    bool is_text = strcmp(data->format, "text") == 0;
    if (spec->model.vocab == 0 && is_text) spec->model.vocab = 256;
    TRI_CHECK(spec->model.vocab > 0, TRI_EINVAL,
              "model.vocab must be given for data.format %s: the number of ids of its tokenizer",
              data->format);
    TRI_CHECK(!is_text || spec->model.vocab >= 256, TRI_EINVAL,
              "model.vocab: %lld is less than 256, the ids of data.tokenizer bytes",
              (long long)spec->model.vocab);
    TRI_CHECK(strcmp(data->format, "hdf5") != 0 || data->dataset[0], TRI_EINVAL,
              "data.dataset must be given for data.format hdf5: the name of the dataset in the "
              "file");
    TRI_CHECK(data->separator < spec->model.vocab, TRI_EINVAL,
              "data.separator: %d is no token id of model.vocab %lld: the last is %lld",
              data->separator, (long long)spec->model.vocab, (long long)spec->model.vocab - 1);
    TRI_CHECK(spec->train.hang_seconds == 0 || spec->train.hang_seconds >= 1, TRI_EINVAL,
              "train.hang_seconds: %g is shorter than 1, in which a rank may just wait for its "
              "turn: take 1 or more, or 0 for never",
              spec->train.hang_seconds);
    TRI_CHECK(
        spec->train.eval_every == 0 || data->validation[0] || data->holdout > 0, TRI_EINVAL,
        "train.eval_every: %lld, but there is nothing to evaluate on: set data.validation, or "
        "data.holdout above 0",
        (long long)spec->train.eval_every);
    return TRI_OK;
}

tri_status tri_spec_lr(const tri_spec *spec, tri_lr *out)
{
    tri_lr_args args = {.config = &spec->schedule,
                        .lr = spec->optimizer.lr,
                        .steps = spec->train.steps,
                        .sequences = spec->batch.sequences};
    TRI_TRY(tri_lr_make(&args, out));
    return TRI_OK;
}

static tri_status check_stability(const tri_spec *spec)
{
    TRI_TRY(tri_stability_check(&spec->stability));
    TRI_CHECK(spec->stability.policy != TRI_STABILITY_ROLLBACK || spec->checkpoint.every > 0 ||
                  spec->checkpoint.every_seconds > 0,
              TRI_EINVAL,
              "stability.policy: rollback goes to the newest checkpoint, but the job makes none on "
              "its way: set checkpoint.every or checkpoint.every_seconds above 0");
    return TRI_OK;
}

/* A batch that varies: what it is made of. */
static tri_status resolve_rounds(tri_spec *spec)
{
    tri_batch_config batch = tri_spec_batch(spec);
    TRI_TRY(tri_batch_resolve(&batch, spec->optimizer.name));
    spec->batch.adaptive.quantum = batch.adaptive.quantum;
    spec->batch.round = tri_batch_round(&batch);
    return TRI_OK;
}

tri_status tri_spec_check(tri_spec *spec, int n_ranks)
{
    TRI_CHECK(n_ranks >= 1, TRI_EINVAL, "a job of %d ranks: at least 1 is needed", n_ranks);
    tri_spec checked = *spec;
    TRI_TRY(tri_spec_resolve_mesh(&checked, n_ranks));
    TRI_TRY(check_batch(&checked));
    TRI_TRY(resolve_rounds(&checked));
    TRI_TRY(check_data(&checked));
    TRI_TRY(tri_model_config_resolve(&checked.model));
    TRI_TRY(tri_spec_check_layout(&checked));
    TRI_TRY(tri_optim_resolve(&checked.optimizer));
    TRI_TRY(check_stability(&checked));
    tri_lr lr;
    TRI_TRY(tri_spec_lr(&checked, &lr));
    if (tri_model_is_scaled(&checked.model))
        TRI_TRY(tri_optim_check_factors(&checked.optimizer, "model.parameterization",
                                        checked.model.parameterization,
                                        tri_model_has_base(&checked.model)));
    *spec = checked;
    return TRI_OK;
}

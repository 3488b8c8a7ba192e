// SPDX-License-Identifier: Apache-2.0
/* What `trireme check` says about the learning rate: how the schedule lies on the steps, and what the
 * Step Law would take for this model and these tokens.
 */
#include "launch/check.h"

#include "launch/progress.h"
#include "optim/rules.h"

#include <math.h>
#include <string.h>

enum { CHECK_NUMBER_BYTES = 32 };

static void print_phase(const tri_spec *spec, const tri_lr *lr, int index, FILE *stream)
{
    const tri_lr_phase *phase = &lr->phase[index];
    int64_t last = phase->begin + phase->steps;
    fprintf(stream, "%-8s steps %lld to %lld: %lld of warm-up to %.4g, %s", index ? "" : "rate",
            (long long)phase->begin + 1, (long long)last, (long long)phase->warmup,
            lr->peak * phase->peak, spec->schedule.decay);
    if (strcmp(spec->schedule.decay, "polynomial") == 0)
        fprintf(stream, " of power %g", spec->schedule.power);
    if (phase->cooldown > 0 && phase->cooldown < phase->steps - phase->warmup)
        fprintf(stream, ", %lld of cooldown (%s)", (long long)phase->cooldown,
                spec->schedule.cooldown_shape);
    fprintf(stream, ", last %.4g\n", tri_lr_at(lr, last));
}

static void print_rate(const tri_spec *spec, const tri_lr *lr, FILE *stream)
{
    for (int i = 0; i < lr->n_phases; i++)
        print_phase(spec, lr, i, stream);
    if (spec->schedule.scale_from > 0)
        fprintf(stream, "         scaled from %.4g for %lld sequences by the %s rule\n",
                spec->optimizer.lr, (long long)spec->schedule.scale_from,
                spec->schedule.scale == TRI_RULES_LINEAR ? "linear" : "square root");
}

/* Say for which reasons the law does not quite speak of this job. */
static void print_doubts(const tri_spec *spec, const tri_rules_suggestion *law, FILE *stream)
{
    fprintf(stream,
            "         fitted with adamw, %.0fM to %.0fG such parameters, up to %.0fG tokens",
            TRI_RULES_STEP_MIN_PARAMS / 1e6, TRI_RULES_STEP_MAX_PARAMS / 1e9,
            TRI_RULES_STEP_MAX_TOKENS / 1e9);
    bool is_adamw = strcmp(spec->optimizer.name, "adamw") == 0;
    bool is_standard =
        !spec->model.parameterization[0] || strcmp(spec->model.parameterization, "standard") == 0;
    if (!law->has_params) fprintf(stream, "; these parameters are outside: an extrapolation");
    if (!law->has_tokens) fprintf(stream, "; these tokens are outside: an extrapolation");
    if (!is_adamw) fprintf(stream, "; of %s it knows nothing", spec->optimizer.name);
    if (!is_standard)
        fprintf(stream, "; nor of model.parameterization %s", spec->model.parameterization);
    fputc('\n', stream);
}

static void print_law(const tri_spec *spec, const tri_job_plan *plan, FILE *stream)
{
    double all_tokens = (double)plan->step_tokens * (double)spec->train.steps;
    tri_batch_config growth = tri_spec_batch(spec);
    if (plan->body_params < 1) return;
    tri_rules_suggestion law = tri_rules_step_law((double)plan->body_params, all_tokens);
    char batch[CHECK_NUMBER_BYTES];
    char params[CHECK_NUMBER_BYTES];
    char tokens[CHECK_NUMBER_BYTES];
    double sequences = fmax(1, rint(law.batch_tokens / (double)spec->model.context));
    fprintf(stream,
            "step law learning rate %.3g, batch %s tokens (%.0f sequence%s), for %s parameters "
            "outside embeddings and head and %s%s tokens\n",
            law.lr, tri_progress_short(law.batch_tokens, batch, sizeof batch), sequences,
            sequences == 1 ? "" : "s",
            tri_progress_short((double)plan->body_params, params, sizeof params),
            tri_batch_varies(&growth) ? "at least " : "",
            tri_progress_short(all_tokens, tokens, sizeof tokens));
    print_doubts(spec, &law, stream);
}

void tri_check_rate(const tri_spec *spec, const tri_job_plan *plan, FILE *stream)
{
    print_rate(spec, &plan->lr, stream);
    print_law(spec, plan, stream);
}

// SPDX-License-Identifier: Apache-2.0
/* Verdicts on steps. The mean of norms is geometric: plain over the first `window` good steps, then one that
 * forgets at a rate of 1 / window.
 */
#include "launch/stability.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* log2 of x > 0 in plain arithmetic: x = m 2^e, 0.707 <= m < 1.414, and with z = (m - 1) / (m + 1) the
 * series log m = 2 (z + z^3/3 + z^5/5 ...), |z| < 0.172. Good to 1e-15. */
static double log2_of(double x)
{
    static const double log2_e = 1.4426950408889634;
    int exponent = 0;
    double m = frexp(x, &exponent);
    if (m < 0.70710678118654752) {
        m *= 2;
        exponent--;
    }
    double z = (m - 1) / (m + 1);
    double sum = 0;
    for (int k = 19; k >= 1; k -= 2)
        sum = sum * z * z + 1.0 / k;
    return exponent + 2 * log2_e * z * sum;
}

static bool is_judged(const tri_stability *s, const tri_stability_config *config)
{
    return s->norms >= config->window;
}

static double ratio_of(const tri_stability *s, const tri_stability_config *config, double norm)
{
    if (!is_judged(s, config)) return 0;
    return norm / exp2(s->mean_log2);
}

static bool explodes(const tri_stability *s, const tri_stability_config *config, double norm)
{
    if (config->spike <= 0 || norm <= 0 || !is_judged(s, config)) return false;
    return log2_of(norm) - s->mean_log2 > log2_of(config->spike);
}

/* A gradient of nothing but zeros says nothing about those to come. */
static void remember(tri_stability *s, const tri_stability_config *config, double norm)
{
    if (norm <= 0) return;
    s->norms++;
    int64_t n = s->norms < config->window ? s->norms : config->window;
    s->mean_log2 += (log2_of(norm) - s->mean_log2) / (double)n;
}

tri_status tri_stability_check(const tri_stability_config *config)
{
    TRI_CHECK(config->spike == 0 || config->spike > 1, TRI_EINVAL,
              "stability.spike: %g is not above 1, so that ordinary gradients would explode: take "
              "more than 1 (10 is usual), or 0 for none",
              config->spike);
    return TRI_OK;
}

tri_verdict tri_stability_judge(tri_stability *s, const tri_stability_config *config,
                                const tri_stability_step *step, double *ratio)
{
    bool is_finite = isfinite(step->loss) && isfinite(step->norm);
    *ratio = is_finite ? ratio_of(s, config, step->norm) : 0;
    if (is_finite && !explodes(s, config, step->norm)) {
        remember(s, config, step->norm);
        if (step->step >= s->reached) s->in_row = 0;
        return TRI_VERDICT_GOOD;
    }
    s->spikes++;
    if (step->step > s->reached) s->reached = step->step;
    if (config->policy == TRI_STABILITY_STOP || s->in_row >= config->max_in_row)
        return TRI_VERDICT_STOP;
    s->in_row++;
    if (config->policy == TRI_STABILITY_ROLLBACK) return TRI_VERDICT_ROLLBACK;
    s->skipped++;
    return TRI_VERDICT_SKIP;
}

void tri_stability_describe(const tri_stability_step *step, const tri_stability_config *config,
                            double ratio, char *out, size_t out_bytes)
{
    int n = snprintf(out, out_bytes, "loss %g, gradient norm %g", step->loss, step->norm);
    if (!isfinite(step->loss) || !isfinite(step->norm) || n < 0 || (size_t)n >= out_bytes) return;
    snprintf(out + n, out_bytes - (size_t)n, ", which is %.3g times its mean (stability.spike %g)",
             ratio, config->spike);
}

tri_status tri_stability_fail(const tri_stability *s, const tri_stability_config *config,
                              const tri_stability_step *step, double ratio)
{
    char why[160];
    tri_stability_describe(step, config, ratio, why, sizeof why);
    if (config->policy == TRI_STABILITY_STOP)
        TRI_FAIL(
            TRI_EDIVERGED,
            "step %lld: %s; weights are as after step %lld; a smaller optimizer.lr or a longer "
            "schedule.warmup may help, or stability.policy skip or rollback",
            (long long)step->step, why, (long long)(step->step - 1));
    bool skips = config->policy == TRI_STABILITY_SKIP;
    TRI_FAIL(TRI_EDIVERGED,
             "step %lld: %s; %lld %s in a row (stability.max_in_row) were of no help, %lld samples "
             "were left out in all; %sa smaller optimizer.lr%s may",
             (long long)step->step, why, (long long)s->in_row,
             skips ? (s->in_row == 1 ? "skip" : "skips")
                   : (s->in_row == 1 ? "rollback" : "rollbacks"),
             (long long)s->left_out,
             skips ? "stability.policy rollback, which leaves weights that are spoilt, or " : "",
             isfinite(step->norm) && config->spike > 0 ? ", or a larger stability.spike if norms "
                                                         "have risen for good,"
                                                       : "");
}

void tri_stability_leave_out(tri_stability *s, int64_t begin, int64_t end)
{
    /* what a rollback leaves out may hold what skips left out before */
    while (s->n_ranges > 0 && s->range[s->n_ranges - 1][0] >= begin) {
        s->n_ranges--;
        s->left_out -= s->range[s->n_ranges][1] - s->range[s->n_ranges][0];
    }
    s->left_out += end - begin;
    int64_t *last = s->n_ranges > 0 ? s->range[s->n_ranges - 1] : NULL;
    if (last && last[1] >= begin) {
        s->left_out -= last[1] - begin;
        last[1] = end;
        return;
    }
    if (s->n_ranges == TRI_STABILITY_RANGES) {
        memmove(s->range[0], s->range[1], (TRI_STABILITY_RANGES - 1) * sizeof s->range[0]);
        s->n_ranges--;
    }
    s->range[s->n_ranges][0] = begin;
    s->range[s->n_ranges][1] = end;
    s->n_ranges++;
}

tri_status tri_stability_restore(const tri_stability *s)
{
    TRI_CHECK(
        s->n_ranges >= 0 && s->n_ranges <= TRI_STABILITY_RANGES && s->skipped >= 0 &&
            s->norms >= 0 && isfinite(s->mean_log2),
        TRI_EFORMAT,
        "stability/counts of the checkpoint has %lld ranges (0 to %d), %lld skipped steps and "
        "%lld norms of mean 2^%g: nothing that a job has saved",
        (long long)s->n_ranges, TRI_STABILITY_RANGES, (long long)s->skipped, (long long)s->norms,
        s->mean_log2);
    return TRI_OK;
}

void tri_stability_go_on(tri_stability *s, const tri_stability *before, int64_t begin, int64_t end)
{
    tri_stability loaded = *s;
    *s = *before;
    s->skipped = loaded.skipped;
    s->norms = loaded.norms;
    s->mean_log2 = loaded.mean_log2;
    s->rollbacks++;
    tri_stability_leave_out(s, begin, end);
}

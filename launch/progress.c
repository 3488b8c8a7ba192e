// SPDX-License-Identifier: Apache-2.0
/* Progress lines. */
#include "launch/progress.h"

#include "runtime/base/clock.h"

#include <math.h>

void tri_progress_init(tri_progress *progress, FILE *stream, bool is_terminal, int64_t steps,
                       int64_t log_every)
{
    *progress = (tri_progress){.stream = stream,
                               .is_terminal = is_terminal,
                               .steps = steps,
                               .log_every = log_every > 0 ? log_every : 1,
                               .drawn_s = -1};
}

char *tri_progress_time(double seconds, char *out, size_t out_bytes)
{
    if (!(seconds >= 0) || seconds > 1e9) {
        snprintf(out, out_bytes, "?");
        return out;
    }
    int64_t s = (int64_t)(seconds + 0.5);
    if (s >= 3600)
        snprintf(out, out_bytes, "%lld:%02d:%02d", (long long)(s / 3600), (int)(s / 60 % 60),
                 (int)(s % 60));
    else
        snprintf(out, out_bytes, "%d:%02d", (int)(s / 60), (int)(s % 60));
    return out;
}

char *tri_progress_short(double value, char *out, size_t out_bytes)
{
    static const char *const units[] = {"", "k", "M", "G", "T", "P"};
    int unit = 0;
    while (fabs(value) >= 999.5 && unit < 5) {
        value /= 1000;
        unit++;
    }
    int decimals = fabs(value) >= 99.95 || (unit == 0 && value == rint(value)) ? 0
                   : fabs(value) >= 9.995                                      ? 1
                                                                               : 2;
    snprintf(out, out_bytes, "%.*f%s", decimals, value, units[unit]);
    return out;
}

static void show_terminal(tri_progress *progress, const tri_progress_step *step)
{
    double now = tri_clock_s();
    bool is_last = step->step == progress->steps;
    if (!is_last && progress->drawn_s >= 0 && now - progress->drawn_s < 0.1) return;
    progress->drawn_s = now;
    char rate[16];
    char left[24];
    char peak[32] = "";
    double left_s = progress->mean_step_s * (double)(progress->steps - step->step);
    if (step->mfu >= 0) snprintf(peak, sizeof peak, "  %.0f %% of peak", step->mfu * 100);
    fprintf(progress->stream, "\r\033[Kstep %lld/%lld  loss %.4f  %s tokens/s%s  %s left",
            (long long)step->step, (long long)progress->steps, step->loss,
            tri_progress_short(step->tokens_per_s, rate, sizeof rate), peak,
            tri_progress_time(left_s, left, sizeof left));
    fflush(progress->stream);
}

static void show_plain(const tri_progress *progress, const tri_progress_step *step)
{
    char rate[16];
    char left[24];
    double left_s = progress->mean_step_s * (double)(progress->steps - step->step);
    fprintf(progress->stream, "step %lld/%lld  loss %.4f  norm %.3f  lr %.2e  %s tokens/s",
            (long long)step->step, (long long)progress->steps, step->loss, step->grad_norm,
            step->lr, tri_progress_short(step->tokens_per_s, rate, sizeof rate));
    if (step->mfu >= 0) fprintf(progress->stream, "  %.0f %% of peak", step->mfu * 100);
    fprintf(progress->stream, "  %s left\n", tri_progress_time(left_s, left, sizeof left));
    fflush(progress->stream);
}

void tri_progress_show(tri_progress *progress, const tri_progress_step *step)
{
    /* the mean forgets: the first steps are slow, and a machine may change its pace */
    bool is_first = progress->mean_step_s == 0;
    progress->mean_step_s =
        is_first ? step->step_s : 0.9 * progress->mean_step_s + 0.1 * step->step_s;
    bool is_due =
        is_first || step->step % progress->log_every == 0 || step->step == progress->steps;
    if (progress->is_terminal)
        show_terminal(progress, step);
    else if (is_due)
        show_plain(progress, step);
}

void tri_progress_end(tri_progress *progress)
{
    if (progress->is_terminal && progress->drawn_s >= 0) fputc('\n', progress->stream);
    progress->drawn_s = -1;
    fflush(progress->stream);
}

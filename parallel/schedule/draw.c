// SPDX-License-Identifier: Apache-2.0
/* Tables as text. F0 forward, B0 backward, W0 backward of the weights of micro-batch 0 (where the two
 * are apart, B0 is that of the input); with several chunks per rank a letter says which; a dash means
 * that the operation goes on, a dot that the rank waits.
 */
#include "parallel/schedule.h"

#include "runtime/base/alloc.h"
#include "runtime/base/int.h"

#include <math.h>
#include <string.h>

enum { MAX_COLUMNS = 1 << 16, LABEL_BYTES = 32 };

typedef struct drawing {
    const tri_schedule *schedule;
    double unit; /* time of a column */
    int cell;    /* characters of a column, the space behind it too */
    char *line;
    int64_t line_bytes;
} drawing;

/* "F12", with chunks "F12b"; "" for messages. */
static int label(const tri_schedule *schedule, const tri_op *op, char out[LABEL_BYTES])
{
    char chunk[LABEL_BYTES / 2] = "";
    out[0] = '\0';
    if (op->kind > TRI_OP_BACKWARD_WEIGHT) return 0;
    if (schedule->chunks > 26)
        snprintf(chunk, sizeof chunk, ".%d", op->chunk);
    else if (schedule->chunks > 1)
        snprintf(chunk, sizeof chunk, "%c", 'a' + op->chunk);
    const char *kind = op->kind == TRI_OP_FORWARD           ? "F"
                       : op->kind == TRI_OP_BACKWARD_WEIGHT ? "W"
                                                            : "B";
    return snprintf(out, LABEL_BYTES, "%s%d%s", kind, op->micro, chunk);
}

/* The shortest duration of an operation that takes time; 0: none does. */
static double shortest(const tri_schedule *schedule, const tri_schedule_times *times)
{
    double least = 0;
    double durations[] = {times->forward, times->backward_input, times->backward_weight};
    if (!schedule->split) {
        durations[1] += durations[2];
        durations[2] = 0;
    }
    for (int s = 0; s < schedule->ranks * schedule->chunks; s++)
        for (int i = 0; i < 3; i++) {
            double factor = times->stage_factor ? times->stage_factor[s] : 1;
            double time = durations[i] * factor;
            if (time > 0 && (least <= 0 || time < least)) least = time;
        }
    return least;
}

static double duration(const tri_schedule *schedule, const tri_schedule_times *times,
                       const tri_op *op)
{
    double factor = times->stage_factor ? times->stage_factor[op->stage] : 1;
    if (op->kind == TRI_OP_FORWARD) return times->forward * factor;
    if (op->kind == TRI_OP_BACKWARD_WEIGHT) return times->backward_weight * factor;
    if (schedule->split) return times->backward_input * factor;
    return (times->backward_input + times->backward_weight) * factor;
}

/* The line of one rank; `begin` is of its operations. */
static void draw_rank(drawing *d, int rank, const tri_schedule_times *times, const double *begin,
                      FILE *stream)
{
    int64_t column = 0; /* first free one */
    int64_t cell = d->cell;
    memset(d->line, ' ', (size_t)d->line_bytes);
    for (int i = 0; i < d->schedule->n_ops[rank]; i++) {
        const tri_op *op = &d->schedule->ops[rank][i];
        char text[LABEL_BYTES];
        int n = label(d->schedule, op, text);
        if (n == 0) continue;
        double end = begin[i] + duration(d->schedule, times, op);
        int64_t from = tri_max64(column, llround(begin[i] / d->unit));
        int64_t to = tri_max64(from + 1, llround(end / d->unit));
        for (; column < from; column++)
            d->line[column * cell] = '.';
        memset(d->line + from * cell, to > from + 1 ? '-' : ' ', (size_t)((to - from) * cell - 1));
        memcpy(d->line + from * cell, text, (size_t)n);
        column = to;
    }
    fprintf(stream, "rank %-3d %.*s\n", rank, (int)(column * cell - 1), d->line);
}

static void drawing_fini(drawing *d)
{
    TRI_FREE(d->line);
}

tri_status tri_schedule_draw(const tri_schedule *schedule, const tri_schedule_times *times,
                             FILE *stream)
{
    __attribute__((cleanup(drawing_fini))) drawing d = {.schedule = schedule};
    tri_schedule_outcome outcome;
    TRI_TRY(tri_schedule_simulate(schedule, times, true, &outcome));
    double *begin = outcome.begin;
    char text[LABEL_BYTES];
    tri_op widest = {.micro = schedule->micro_batches - 1, .chunk = schedule->chunks - 1};
    d.cell = label(schedule, &widest, text) + 1;
    d.unit = fmax(shortest(schedule, times), outcome.makespan / MAX_COLUMNS);
    if (d.unit <= 0) d.unit = 1;
    /* an operation that is shorter than a column takes one all the same */
    d.line_bytes = ((int64_t)ceil(outcome.makespan / d.unit) + schedule->n_ops[0] + 2) * d.cell;
    tri_status rc = TRI_NEW_ARRAY(d.line_bytes, &d.line);
    int64_t first = 0;
    for (int r = 0; r < schedule->ranks && rc == TRI_OK; r++) {
        draw_rank(&d, r, times, begin + first, stream);
        first += schedule->n_ops[r];
    }
    TRI_FREE(outcome.begin);
    TRI_TRY(rc);
    return TRI_OK;
}

// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1 timeout=120
/* Schedules as tables: the orders that the literature prints, makespans and activations against closed
 * formulas over many sizes and unequal times, sizes that are refused, drawings.
 */
#include "tests/parallel/schedule_tables.h"

static const tri_schedule_times unit_times = {
    .forward = 1, .backward_input = 1, .backward_weight = 1};

/* One row: words of rank `rank` of 4 ranks and 8 micro-batches. */
typedef struct order_case {
    const char *name;
    int chunks, rank;
    const char *words;
} order_case;

/* 1f1b: p - r - 1 forwards, then one of each. interleaved: forward k is micro-batch and chunk k of the
 * groups of 4 (0a 1a 2a 3a 0b 1b 2b 3b 4a ...), backward k the same with the letters exchanged, rank 0
 * warms up with 2 * 3 + 4 = 10 forwards and rank 3 with 4. zb_h1: 1f1b with W(k - r) behind B(k). */
static const order_case orders[] = {
    {"gpipe",       1, 2, "F0 F1 F2 F3 F4 F5 F6 F7 B0 B1 B2 B3 B4 B5 B6 B7"                        },
    {"1f1b",        1, 0, "F0 F1 F2 F3 B0 F4 B1 F5 B2 F6 B3 F7 B4 B5 B6 B7"                        },
    {"1f1b",        1, 1, "F0 F1 F2 B0 F3 B1 F4 B2 F5 B3 F6 B4 F7 B5 B6 B7"                        },
    {"1f1b",        1, 3, "F0 B0 F1 B1 F2 B2 F3 B3 F4 B4 F5 B5 F6 B6 F7 B7"                        },
    {"interleaved", 2, 0,
     "F0a F1a F2a F3a F0b F1b F2b F3b F4a F5a F6a B0b F7a B1b F4b B2b F5b B3b F6b B0a F7b B1a B2a "
     "B3a B4b B5b B6b B7b B4a B5a B6a B7a"                                                         },
    {"interleaved", 2, 3,
     "F0a F1a F2a F3a F0b B0b F1b B1b F2b B2b F3b B3b F4a B0a F5a B1a F6a B2a F7a B3a F4b B4b F5b "
     "B5b F6b B6b F7b B7b B4a B5a B6a B7a"                                                         },
    {"zb_h1",       1, 0, "F0 F1 F2 F3 B0 W0 F4 B1 W1 F5 B2 W2 F6 B3 W3 F7 B4 W4 B5 W5 B6 W6 B7 W7"},
    {"zb_h1",       1, 1, "F0 F1 F2 B0 F3 B1 W0 F4 B2 W1 F5 B3 W2 F6 B4 W3 F7 B5 W4 B6 W5 B7 W6 W7"},
    {"zb_h1",       1, 2, "F0 F1 B0 F2 B1 F3 B2 W0 F4 B3 W1 F5 B4 W2 F6 B5 W3 F7 B6 W4 B7 W5 W6 W7"},
    {"zb_h1",       1, 3, "F0 B0 F1 B1 F2 B2 F3 B3 W0 F4 B4 W1 F5 B5 W2 F6 B6 W3 F7 B7 W4 W5 W6 W7"},
};

TRI_TEST(orders_are_those_published)
{
    for (size_t i = 0; i < sizeof orders / sizeof *orders; i++) {
        TRI_AUTO(tri_schedule) *schedule = NULL;
        char words[TABLE_WORDS_BYTES];
        TRI_TRY(tri_schedule_create(orders[i].name, 4, orders[i].chunks, 8, &schedule));
        table_words(schedule, orders[i].rank, words);
        EXPECT(strcmp(words, orders[i].words) == 0, "%s rank %d: %s", orders[i].name,
               orders[i].rank, words);
    }
    return TRI_OK;
}

static int least(int a, int b)
{
    return a < b ? a : b;
}

/* Makespan beyond the busy time of a rank, by the formula; NAN: there is none for these sizes. */
static double bubble_time(const char *name, int p, int m, const tri_schedule_times *t)
{
    double all = t->forward + t->backward_input + t->backward_weight;
    bool is_equal = t->forward == t->backward_input && t->forward == t->backward_weight;
    if (strcmp(name, "zb_h1") == 0) return m >= p ? (p - 1) * (all - 2 * t->backward_weight) : NAN;
    /* the last rank begins p - 1 forwards late and waits for nothing after that */
    if (strcmp(name, "zb_v") == 0) return is_equal && m >= 2 * p - 1 ? (p - 1) * t->forward : NAN;
    return (p - 1) * all;
}

/* Activations alive at once on a rank, in chunks, by the formula; -1: there is none. */
static int peak_chunks(const char *name, int p, int v, int m, int rank)
{
    if (strcmp(name, "gpipe") == 0) return m;
    if (strcmp(name, "1f1b") == 0) return least(m, p - rank);
    if (strcmp(name, "interleaved") == 0) return least(m * v, v * p + p - 1 - 2 * rank);
    if (strcmp(name, "zb_h1") == 0) return least(m, p);
    return m >= 2 * p - 1 ? 2 * p : -1;
}

static tri_status check_formulas(const char *name, int p, int v, int m,
                                 const tri_schedule_times *times)
{
    TRI_AUTO(tri_schedule) *schedule = NULL;
    tri_schedule_outcome outcome;
    TRI_TRY(tri_schedule_create(name, p, v, m, &schedule));
    TRI_TRY(tri_schedule_simulate(schedule, times, false, &outcome));
    double busy = m * v * (times->forward + times->backward_input + times->backward_weight);
    double bubble = bubble_time(name, p, m, times);
    EXPECT(fabs(outcome.busy - busy) < 1e-9 * busy, "%s p %d v %d m %d: busy %g", name, p, v, m,
           outcome.busy);
    EXPECT(isnan(bubble) || fabs(outcome.makespan - busy - bubble) < 1e-9 * busy,
           "%s p %d v %d m %d, times %g %g %g: %g, not %g + %g", name, p, v, m, times->forward,
           times->backward_input, times->backward_weight, outcome.makespan, busy, bubble);
    EXPECT(fabs(outcome.bubble - (1 - busy / outcome.makespan)) < 1e-9, "bubble %g",
           outcome.bubble);
    int most = 0;
    for (int r = 0; r < p; r++) {
        int peak = tri_schedule_peak(schedule, r);
        int wanted = peak_chunks(name, p, v, m, r);
        int slots = 0;
        for (int s = 0; s < p * v; s++)
            slots += schedule->rank_of[s] == r ? schedule->slots[s] : 0;
        EXPECT(wanted < 0 || peak == wanted, "%s p %d v %d m %d rank %d: %d alive, not %d", name, p,
               v, m, r, peak, wanted);
        EXPECT(v > 1 ? slots >= peak : slots == peak, "%d slots for %d alive", slots, peak);
        most = peak > most ? peak : most;
    }
    EXPECT(outcome.peak_slots == most, "%d alive, not %d", outcome.peak_slots, most);
    return TRI_OK;
}

/* Every size that is allowed creates a verified table; times are dyadic, so sums are exact. */
TRI_TEST(formulas_hold)
{
    static const tri_schedule_times times[] = {
        {.forward = 1, .backward_input = 1,    .backward_weight = 1   },
        {.forward = 4, .backward_input = 5,    .backward_weight = 3   },
        {.forward = 1, .backward_input = 1.25, .backward_weight = 0.75},
        {.forward = 2, .backward_input = 2,    .backward_weight = 1   },
    };
    int n_tables = 0;
    for (const char *const *name = tri_schedule_names(); *name; name++)
        for (int p = 1; p <= 8; p++)
            for (int v = 1; v <= 4; v++)
                for (int m = 1; m <= 24; m++) {
                    if (tri_schedule_check(*name, p, v, m) != TRI_OK) {
                        tri_err_clear();
                        continue;
                    }
                    n_tables++;
                    for (size_t t = 0; t < sizeof times / sizeof *times; t++)
                        TRI_TRY(check_formulas(*name, p, v, m, &times[t]));
                }
    EXPECT(n_tables > 600, "only %d tables", n_tables);
    return TRI_OK;
}

/* With enough micro-batches no rank of zb_v waits once it has begun. */
TRI_TEST(zb_v_does_not_wait)
{
    for (int p = 2; p <= 8; p++) {
        TRI_AUTO(tri_schedule) *schedule = NULL;
        tri_schedule_outcome outcome;
        int m = 2 * p;
        TRI_TRY(tri_schedule_create("zb_v", p, 2, m, &schedule));
        TRI_TRY(tri_schedule_simulate(schedule, &unit_times, true, &outcome));
        const double *begin = outcome.begin;
        for (int r = 0; r < p; r++) {
            double start = begin[table_find(schedule, TRI_OP_FORWARD, r, 0)];
            double end = begin[schedule->n_ops[r] - 1] + 1; /* the last one computes */
            EXPECT(end - start == 6 * m, "p %d rank %d: %g for %d units of work", p, r, end - start,
                   6 * m);
            begin += schedule->n_ops[r];
        }
        TRI_FREE(outcome.begin);
    }
    return TRI_OK;
}

/* Messages and stages of different length, against sums along the longest path. */
TRI_TEST(simulation_counts_messages)
{
    const double factor[] = {1, 3};
    tri_schedule_times times = {
        .forward = 1, .backward_input = 1, .backward_weight = 1, .message = 0.5};
    TRI_AUTO(tri_schedule) *one = NULL;
    TRI_AUTO(tri_schedule) *two = NULL;
    tri_schedule_outcome outcome;
    TRI_TRY(tri_schedule_create("1f1b", 2, 1, 1, &one));
    TRI_TRY(tri_schedule_simulate(one, &times, false, &outcome));
    EXPECT(outcome.makespan == 7, "1 + 1/2 + 1 + 2 + 1/2 + 2, not %g", outcome.makespan);
    times.stage_factor = factor;
    TRI_TRY(tri_schedule_create("gpipe", 2, 1, 2, &two));
    TRI_TRY(tri_schedule_simulate(two, &times, false, &outcome));
    EXPECT(outcome.makespan == 22, "1 + 1/2 + 2 * (3 + 6) + 1/2 + 2, not %g", outcome.makespan);
    EXPECT(outcome.busy == 18, "busy %g", outcome.busy);
    EXPECT(fabs(outcome.bubble - (1 - 12.0 / 22)) < 1e-12, "bubble %g", outcome.bubble);
    times.message = -1;
    EXPECT_STATUS(tri_schedule_simulate(two, &times, false, &outcome), TRI_EINVAL,
                  "-1 of a message");
    return TRI_OK;
}

TRI_TEST(sizes_are_refused)
{
    static const struct {
        const char *name;
        int ranks, chunks, micro_batches;
        const char *part;
    } cases[] = {
        {"1f2b",        4, 1, 8,       "parallel.schedule '1f2b' is not one of gpipe, 1f1b"     },
        {"1f1b",        4, 2, 8,       "parallel.chunks 2: parallel.schedule 1f1b has exactly 1"},
        {"gpipe",       4, 0, 8,       "parallel.chunks 0"                                      },
        {"zb_v",        4, 1, 8,       "parallel.schedule zb_v has exactly 2 on each rank"      },
        {"interleaved", 4, 1, 8,       "or more: the nearest is 2"                              },
        {"interleaved", 4, 2, 6,
         "micro-batches 6, which is no multiple of parallel.pipeline 4: the nearest are 4 and 8"},
        {"interleaved", 4, 2, 3,       "parallel.pipeline 4: the nearest is 4"                  },
        {"1f1b",        0, 1, 8,       "parallel.pipeline 0"                                    },
        {"zb_h1",       4, 1, 0,       "micro-batches 0"                                        },
        {"1f1b",        8, 1, 1 << 22, "has room for 131072"                                    },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        TRI_AUTO(tri_schedule) *schedule = NULL;
        EXPECT_STATUS(tri_schedule_check(cases[i].name, cases[i].ranks, cases[i].chunks,
                                         cases[i].micro_batches),
                      TRI_EINVAL, cases[i].part);
        EXPECT_STATUS(tri_schedule_create(cases[i].name, cases[i].ranks, cases[i].chunks,
                                          cases[i].micro_batches, &schedule),
                      TRI_EINVAL, cases[i].part);
    }
    return TRI_OK;
}

static tri_status drawn(const char *name, int p, int v, int m, const tri_schedule_times *times,
                        const char *wanted)
{
    TRI_AUTO(tri_schedule) *schedule = NULL;
    TRI_TRY(tri_schedule_create(name, p, v, m, &schedule));
    char *text = NULL;
    size_t n = 0;
    FILE *stream = open_memstream(&text, &n);
    tri_status rc = tri_schedule_draw(schedule, times, stream);
    fclose(stream);
    EXPECT(rc != TRI_OK || strcmp(text, wanted) == 0, "%s:\n%s", name, text);
    free(text);
    TRI_TRY(rc);
    return TRI_OK;
}

TRI_TEST(drawings)
{
    TRI_TRY(drawn("1f1b", 2, 1, 2, &unit_times,
                  "rank 0   F0 F1 .  .  B0--- .  B1---\n"
                  "rank 1   .  F0 B0--- F1 B1---\n"));
    TRI_TRY(drawn("zb_h1", 2, 1, 2, &unit_times,
                  "rank 0   F0 F1 .  B0 W0 B1 W1\n"
                  "rank 1   .  F0 B0 F1 B1 W0 W1\n"));
    TRI_TRY(drawn("zb_v", 1, 2, 1, &unit_times, "rank 0   F0a F0b B0b W0b B0a W0a\n"));
    const double factor[] = {0.5, 1};
    tri_schedule_times times = {
        .forward = 1, .backward_input = 1, .backward_weight = 1, .stage_factor = factor};
    TRI_TRY(drawn("gpipe", 2, 1, 1, &times,
                  "rank 0   F0 .  .  .  .  .  .  B0---\n"
                  "rank 1   .  F0--- B0---------\n"));
    tri_schedule_times none = {0};
    TRI_TRY(drawn("1f1b", 1, 1, 2, &none, "rank 0   F0 B0 F1 B1\n"));
    return TRI_OK;
}

/* The executor gives hooks each operation in order, and names the one that failed. */
typedef struct run_log {
    const tri_schedule *schedule;
    int n_begun, n_run, fail_at;
} run_log;

static void log_begin(void *arg, const tri_op *op)
{
    run_log *log = arg;
    EXPECT(op == &log->schedule->ops[1][log->n_begun], "operation %d", log->n_begun);
    log->n_begun++;
}

static tri_status log_run(void *arg, const tri_op *op)
{
    run_log *log = arg;
    EXPECT(op == &log->schedule->ops[1][log->n_run], "operation %d", log->n_run);
    TRI_CHECK(log->n_run++ != log->fail_at, TRI_EIO, "no space left");
    return TRI_OK;
}

TRI_TEST(executor_names_failures)
{
    TRI_AUTO(tri_schedule) *schedule = NULL;
    TRI_TRY(tri_schedule_create("1f1b", 2, 1, 3, &schedule));
    const tri_schedule_hooks hooks = {.run = log_run, .begin = log_begin};
    const tri_schedule_hooks quiet = {.run = log_run};
    run_log all = {.schedule = schedule, .fail_at = -1};
    TRI_TRY(tri_schedule_run(schedule, 1, &hooks, &all));
    EXPECT(all.n_run == schedule->n_ops[1] && all.n_begun == all.n_run, "%d of %d", all.n_run,
           schedule->n_ops[1]);
    run_log failing = {.schedule = schedule,
                       .fail_at = table_find(schedule, TRI_OP_SEND_BACKWARD, 1, 1)};
    char wanted[TRI_ERR_TEXT_BYTES];
    snprintf(wanted, sizeof wanted,
             "send of the input's gradient of micro-batch 1, stage 1, to pipeline rank 0 (pipeline "
             "rank 1, operation %d of %d): no space left",
             failing.fail_at, schedule->n_ops[1]);
    EXPECT_STATUS(tri_schedule_run(schedule, 1, &quiet, &failing), TRI_EIO, wanted);
    EXPECT(failing.n_run == failing.fail_at + 1, "went on after a failure");
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(orders_are_those_published), TRI_TEST_ROW(formulas_hold),
              TRI_TEST_ROW(zb_v_does_not_wait), TRI_TEST_ROW(simulation_counts_messages),
              TRI_TEST_ROW(sizes_are_refused), TRI_TEST_ROW(drawings),
              TRI_TEST_ROW(executor_names_failures))

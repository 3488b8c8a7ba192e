// SPDX-License-Identifier: Apache-2.0
/* A rehearsal: the table and the executor of a job, the messages of a job, and computations that sleep,
 * so that neither cores nor their speed matter. Each ordered pair of ranks has a communicator for
 * forward and one for backward messages. Slots are as in a job: who takes one again waits until what
 * was sent from it is gone, then overwrites it.
 */
#include "launch/bench_schedule.h"

#include "launch/commands.h"
#include "runtime/base/alloc.h"
#include "runtime/base/clock.h"
#include "runtime/base/thread.h"

#include <getopt.h>
#include <math.h>
#include <string.h>

enum { LETTER_WORDS = 64, SIZES = 3 };

/* Buffers of one micro-batch on one stage. */
typedef struct pipe_slot {
    int64_t input[LETTER_WORDS], output[LETTER_WORDS];
    int64_t output_gradient[LETTER_WORDS], input_gradient[LETTER_WORDS];
    tri_event input_there, gradient_there, output_sent, gradient_sent;
} pipe_slot;

typedef struct rehearsal {
    const tri_schedule *schedule;
    const tri_schedule_times *times;
    double *start_s, *end_s; /* [ranks] */
} rehearsal;

/* Communicators of one rank with one other, by whether the messages are forward ones. */
typedef struct pipe_peer {
    tri_comm *to[2], *from[2];
} pipe_peer;

typedef struct pipe_rank {
    const rehearsal *all;
    int rank;
    pipe_peer *peers;  /* [ranks] */
    pipe_slot **slots; /* [chunks] */
    uint8_t *done;     /* [stages * m] of this rank: 1 forward, 2 backward */
} pipe_rank;

static void pipe_rank_destroy(pipe_rank **pipe)
{
    if (!*pipe) return;
    for (int i = 0; (*pipe)->slots && i < (*pipe)->all->schedule->chunks; i++)
        TRI_FREE((*pipe)->slots[i]);
    TRI_FREE((*pipe)->slots);
    TRI_FREE((*pipe)->done);
    TRI_FREE((*pipe)->peers);
    TRI_FREE(*pipe);
}

static tri_status pipe_rank_create(const rehearsal *all, int rank, pipe_rank **out)
{
    const tri_schedule *schedule = all->schedule;
    int n_stages = schedule->ranks * schedule->chunks;
    TRI_AUTO(pipe_rank) *pipe = NULL;
    TRI_TRY(TRI_NEW(&pipe));
    pipe->all = all;
    pipe->rank = rank;
    TRI_TRY(TRI_NEW_ARRAY(schedule->ranks, &pipe->peers));
    TRI_TRY(TRI_NEW_ARRAY(schedule->chunks, &pipe->slots));
    TRI_TRY(TRI_NEW_ARRAY((int64_t)n_stages * schedule->micro_batches, &pipe->done));
    int chunk = 0;
    for (int s = 0; s < n_stages; s++) {
        if (schedule->rank_of[s] != rank) continue;
        TRI_TRY(TRI_NEW_ARRAY(schedule->slots[s], &pipe->slots[chunk]));
        chunk++;
    }
    *out = TRI_MOVE(pipe);
    return TRI_OK;
}

/* Open the communicator for messages from one rank to another. Collective: world. */
static tri_status open_channel(pipe_rank *pipe, tri_comm *world, int from, int to, bool is_forward)
{
    int rank = pipe->rank;
    if (from == to) return TRI_OK;
    tri_comm **mine = rank == from ? &pipe->peers[to].to[is_forward]
                      : rank == to ? &pipe->peers[from].from[is_forward]
                                   : NULL;
    tri_comm *none = NULL;
    bool is_mine = mine && !*mine;
    TRI_TRY(tri_comm_split(world, is_mine ? 0 : -1, rank == from ? 0 : 1, is_mine ? mine : &none));
    return TRI_OK;
}

static tri_status open_channels(pipe_rank *pipe, tri_comm *world)
{
    const tri_schedule *schedule = pipe->all->schedule;
    for (int s = 0; s + 1 < schedule->ranks * schedule->chunks; s++) {
        int from = schedule->rank_of[s];
        int to = schedule->rank_of[s + 1];
        TRI_TRY(open_channel(pipe, world, from, to, true));
        TRI_TRY(open_channel(pipe, world, to, from, false));
    }
    return TRI_OK;
}

/* The two ranks of a channel close it at the same point of a common order. */
static void close_channels(pipe_rank *pipe)
{
    int ranks = pipe->all->schedule->ranks;
    for (int pair = 0; pair < ranks * ranks; pair++)
        for (int i = 0; i < 2; i++) {
            if (pair / ranks == pipe->rank) tri_comm_close(&pipe->peers[pair % ranks].to[i]);
            if (pair % ranks == pipe->rank) tri_comm_close(&pipe->peers[pair / ranks].from[i]);
        }
}

/* What the output of a stage's forward, or its input's gradient, consists of. */
static int64_t letter(bool is_forward, int stage, int micro)
{
    return ((int64_t)(is_forward ? 1 : 2) << 56) + ((int64_t)stage << 32) + micro;
}

static void write_letter(int64_t words[LETTER_WORDS], int64_t word)
{
    for (int i = 0; i < LETTER_WORDS; i++)
        words[i] = word;
}

static tri_status read_letter(const int64_t words[LETTER_WORDS], int64_t word)
{
    for (int i = 0; i < LETTER_WORDS; i++)
        TRI_CHECK(words[i] == word, TRI_EBUG, "word %d of its message is %llx, not %llx", i,
                  (unsigned long long)words[i], (unsigned long long)word);
    return TRI_OK;
}

static tri_span span_of(int64_t words[LETTER_WORDS])
{
    return tri_span_make(words, LETTER_WORDS, TRI_I64);
}

static tri_status take_slot(pipe_slot *slot)
{
    TRI_TRY(tri_event_wait(slot->output_sent));
    TRI_TRY(tri_event_wait(slot->gradient_sent));
    memset(slot, 0, sizeof *slot);
    return TRI_OK;
}

/* Sleep from now on for as long as the operation takes; until then exactly, however late one wakes. */
static void compute(const rehearsal *all, const tri_op *op)
{
    const tri_schedule_times *times = all->times;
    double begin_s = tri_clock_s();
    double seconds = op->kind == TRI_OP_FORWARD          ? times->forward
                     : op->kind == TRI_OP_BACKWARD_INPUT ? times->backward_input
                     : op->kind == TRI_OP_BACKWARD_WEIGHT
                         ? times->backward_weight
                         : times->backward_input + times->backward_weight;
    tri_clock_sleep(begin_s + seconds - tri_clock_s());
}

/* A forward or backward: what the neighbouring stage gave must be there, from a message or from this
 * rank itself. */
static tri_status run_pass(pipe_rank *pipe, const tri_op *op, pipe_slot *slot)
{
    const tri_schedule *schedule = pipe->all->schedule;
    bool is_forward = op->kind == TRI_OP_FORWARD;
    int from = op->stage + (is_forward ? -1 : 1);
    uint8_t bit = is_forward ? 1 : 2;
    if (from >= 0 && from < schedule->ranks * schedule->chunks) {
        if (schedule->rank_of[from] == pipe->rank) {
            TRI_CHECK(pipe->done[(int64_t)from * schedule->micro_batches + op->micro] & bit,
                      TRI_EBUG, "stage %d has not given what it needs", from);
        } else {
            TRI_TRY(tri_event_wait(is_forward ? slot->input_there : slot->gradient_there));
            TRI_TRY(read_letter(is_forward ? slot->input : slot->output_gradient,
                                letter(is_forward, from, op->micro)));
        }
    }
    compute(pipe->all, op);
    write_letter(is_forward ? slot->output : slot->input_gradient,
                 letter(is_forward, op->stage, op->micro));
    pipe->done[(int64_t)op->stage * schedule->micro_batches + op->micro] |= bit;
    return TRI_OK;
}

static tri_status run_op(void *arg, const tri_op *op)
{
    pipe_rank *pipe = arg;
    pipe_slot *slot = &pipe->slots[op->chunk][op->slot];
    const pipe_peer *peer = &pipe->peers[op->peer < 0 ? pipe->rank : op->peer];
    int from = op->stage - 1;
    switch (op->kind) {
    case TRI_OP_FORWARD:
        if (from < 0 || pipe->all->schedule->rank_of[from] == pipe->rank) TRI_TRY(take_slot(slot));
        TRI_TRY(run_pass(pipe, op, slot));
        break;
    case TRI_OP_BACKWARD:
    case TRI_OP_BACKWARD_INPUT:
        TRI_TRY(run_pass(pipe, op, slot));
        break;
    case TRI_OP_BACKWARD_WEIGHT:
        compute(pipe->all, op);
        break;
    case TRI_OP_SEND_FORWARD: /* each of these communicators has two ranks; 1 receives */
        TRI_TRY(tri_send(peer->to[true], span_of(slot->output), 1, &slot->output_sent));
        break;
    case TRI_OP_RECV_FORWARD:
        TRI_TRY(take_slot(slot));
        TRI_TRY(tri_recv(peer->from[true], span_of(slot->input), 0, &slot->input_there));
        break;
    case TRI_OP_SEND_BACKWARD:
        TRI_TRY(tri_send(peer->to[false], span_of(slot->input_gradient), 1, &slot->gradient_sent));
        break;
    default:
        TRI_TRY(
            tri_recv(peer->from[false], span_of(slot->output_gradient), 0, &slot->gradient_there));
    }
    return TRI_OK;
}

static tri_status wait_for_sends(pipe_rank *pipe)
{
    const tri_schedule *schedule = pipe->all->schedule;
    int chunk = 0;
    for (int s = 0; s < schedule->ranks * schedule->chunks; s++) {
        if (schedule->rank_of[s] != pipe->rank) continue;
        for (int i = 0; i < schedule->slots[s]; i++)
            TRI_TRY(take_slot(&pipe->slots[chunk][i]));
        chunk++;
    }
    return TRI_OK;
}

static tri_status rank_body(tri_comm *world, void *arg)
{
    rehearsal *all = arg;
    int rank = tri_comm_rank(world);
    const tri_schedule_hooks hooks = {.run = run_op};
    TRI_AUTO(pipe_rank) *pipe = NULL;
    tri_thread_be_punctual();
    TRI_TRY(pipe_rank_create(all, rank, &pipe));
    TRI_TRY(open_channels(pipe, world));
    TRI_TRY(tri_barrier(world));
    all->start_s[rank] = tri_clock_s();
    TRI_TRY(tri_schedule_run(all->schedule, rank, &hooks, pipe));
    all->end_s[rank] = tri_clock_s();
    TRI_TRY(wait_for_sends(pipe));
    close_channels(pipe);
    return TRI_OK;
}

tri_status tri_bench_schedule_run(const tri_schedule *schedule, const tri_schedule_times *times,
                                  double *seconds)
{
    tri_device_args device = {.name = "cpu", .n_threads = 1, .yield = true};
    rehearsal all = {.schedule = schedule, .times = times};
    TRI_TRY(TRI_NEW_ARRAY(2 * schedule->ranks, &all.start_s));
    all.end_s = all.start_s + schedule->ranks;
    tri_status rc = tri_comm_run_threads(schedule->ranks, &device, rank_body, &all);
    double start_s = all.start_s[0];
    double end_s = 0;
    for (int r = 0; r < schedule->ranks; r++) {
        if (all.start_s[r] < start_s) start_s = all.start_s[r];
        if (all.end_s[r] > end_s) end_s = all.end_s[r];
    }
    TRI_FREE(all.start_s);
    TRI_TRY(rc);
    *seconds = end_s - start_s;
    return TRI_OK;
}

typedef struct schedule_options {
    int64_t unit_ms, rounds, ranks; /* ranks 0: 2, 4 and 8 */
} schedule_options;

static tri_status read_options(const tri_bench_args *args, schedule_options *options)
{
    static const struct option known[] = {
        {"unit-ms", required_argument, NULL, 'u'},
        {"rounds",  required_argument, NULL, 'r'},
        {"ranks",   required_argument, NULL, 'n'},
        {NULL,      0,                 NULL, 0  }
    };
    optind = 1;
    for (int c; (c = getopt_long(args->argc, args->argv, ":", known, NULL)) != -1;) {
        if (c == 'u')
            TRI_TRY(tri_option_int("--unit-ms", optarg, 1, 1000, &options->unit_ms));
        else if (c == 'r')
            TRI_TRY(tri_option_int("--rounds", optarg, 1, 1000, &options->rounds));
        else if (c == 'n')
            TRI_TRY(tri_option_int("--ranks", optarg, 2, 64, &options->ranks));
        else
            TRI_FAIL(TRI_EINVAL,
                     "bench schedule: option '%.60s' is unknown or its value is missing; "
                     "docs/benchmarks.md lists them",
                     args->argv[optind - 1]);
    }
    TRI_CHECK(optind == args->argc, TRI_EINVAL, "bench schedule: '%.40s' is no option",
              args->argv[optind]);
    return TRI_OK;
}

/* One schedule on `ranks` ranks with twice as many micro-batches. */
static tri_status measure(const tri_bench_args *args, const schedule_options *options,
                          const char *name, int ranks)
{
    double unit_s = (double)options->unit_ms * 1e-3;
    tri_schedule_times times = {
        .forward = unit_s, .backward_input = unit_s, .backward_weight = unit_s};
    TRI_AUTO(tri_schedule) *schedule = NULL;
    int chunks = tri_schedule_check(name, ranks, 1, 2 * ranks) == TRI_OK ? 1 : 2;
    tri_err_clear();
    TRI_TRY(tri_schedule_create(name, ranks, chunks, 2 * ranks, &schedule));
    tri_schedule_outcome outcome;
    TRI_TRY(tri_schedule_simulate(schedule, &times, false, &outcome));
    double best_s = INFINITY; /* what else runs on the machine can only add */
    for (int64_t i = 0; i < options->rounds; i++) {
        double seconds = 0;
        TRI_TRY(tri_bench_schedule_run(schedule, &times, &seconds));
        best_s = fmin(best_s, seconds);
    }
    char title[48];
    char detail[96];
    snprintf(title, sizeof title, "schedule.%s.p%d", name, ranks);
    snprintf(detail, sizeof detail, "%d micro-batches, %d chunks, idle %.3f; limit: simulated",
             2 * ranks, chunks, outcome.bubble);
    tri_bench_line line = {
        .name = title, .value = best_s, .unit = "s", .limit = outcome.makespan, .detail = detail};
    line.share = line.limit / line.value;
    TRI_TRY(tri_bench_report(args, &line));
    return TRI_OK;
}

tri_status tri_bench_schedule(const tri_bench_args *args)
{
    static const int sizes[SIZES] = {2, 4, 8};
    schedule_options options = {.unit_ms = 25, .rounds = 3};
    TRI_TRY(read_options(args, &options));
    TRI_CHECK(tri_comm_size(args->session->world) == 1, TRI_EINVAL,
              "bench schedule makes its ranks itself, as threads: start it without mpirun");
    for (int i = 0; i < (options.ranks ? 1 : SIZES); i++)
        for (const char *const *name = tri_schedule_names(); *name; name++)
            TRI_TRY(measure(args, &options, *name, options.ranks ? (int)options.ranks : sizes[i]));
    return TRI_OK;
}

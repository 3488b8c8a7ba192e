// SPDX-License-Identifier: Apache-2.0
/* `trireme check`: a job on paper. Memory and messages come from the same declarations that `train`
 * commits, so they cannot drift apart.
 */
#include "launch/check.h"

#include "launch/check_schedule.h"
#include "launch/commands.h"
#include "launch/progress.h"

#include <getopt.h>
#include <string.h>

enum { CHECK_NUMBER_BYTES = 32 };

char *tri_check_bytes(double bytes, char *out, size_t out_bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    int unit = 0;
    while (bytes >= 1024 && unit < 5) {
        bytes /= 1024;
        unit++;
    }
    int decimals = unit == 0 || bytes >= 100 ? 0 : bytes >= 10 ? 1 : 2;
    snprintf(out, out_bytes, "%.*f %s", decimals, bytes, units[unit]);
    return out;
}

static void print_layout(const tri_spec *spec, int n_ranks, const tri_job_plan *plan, FILE *stream)
{
    char params[CHECK_NUMBER_BYTES];
    char tokens[CHECK_NUMBER_BYTES];
    char all_tokens[CHECK_NUMBER_BYTES];
    double steps = (double)spec->train.steps;
    tri_progress_short((double)plan->params, params, sizeof params);
    tri_progress_short((double)plan->step_tokens, tokens, sizeof tokens);
    tri_progress_short((double)plan->step_tokens * steps, all_tokens, sizeof all_tokens);
    fprintf(stream, "job      %s, seed %llu, %s\n", spec->name, (unsigned long long)spec->seed,
            tri_dtype_name(spec->precision));
    fprintf(stream, "ranks    %d = data %d x tensor %d x pipeline %d x context %d, zero %d\n",
            n_ranks, spec->parallel.data, spec->parallel.tensor, spec->parallel.pipeline,
            spec->parallel.context, spec->parallel.zero_stage);
    fprintf(stream,
            "model    %s, %lld layers, hidden %lld, %lld heads, ffn %lld, context %lld, vocabulary "
            "%lld: %s parameters\n",
            spec->model.family, (long long)spec->model.layers, (long long)spec->model.hidden,
            (long long)spec->model.heads, (long long)spec->model.ffn,
            (long long)spec->model.context, (long long)spec->model.vocab, params);
    fprintf(stream,
            "batch    %lld sequences = data %d x micro %lld x %lld accumulated, %s tokens a step\n",
            (long long)spec->batch.sequences, spec->parallel.data, (long long)spec->batch.micro,
            (long long)plan->accumulation, tokens);
    fprintf(stream, "run      %lld steps, %s tokens, %.3g operations\n",
            (long long)spec->train.steps, all_tokens,
            plan->flops_per_token * (double)plan->step_tokens * steps);
}

static void print_memory(const tri_job_plan *plan, FILE *stream)
{
    char text[CHECK_NUMBER_BYTES];
    double total = 0;
    fprintf(stream, "memory of rank 0\n");
    for (int kind = 0; kind < TRI_MEM_KINDS; kind++) {
        double bytes = (double)plan->bytes[kind];
        total += bytes;
        if (bytes > 0)
            fprintf(stream, "  %-14s %12s\n", tri_mem_name((tri_mem_kind)kind),
                    tri_check_bytes(bytes, text, sizeof text));
    }
    fprintf(stream, "  %-14s %12s\n", "total", tri_check_bytes(total, text, sizeof text));
}

static void print_messages(const tri_job_plan *plan, FILE *stream)
{
    static const char *const names[TRI_COLL_KINDS] = {
        [TRI_COLL_ALLREDUCE] = "all-reduce", [TRI_COLL_REDUCE_SCATTER] = "reduce-scatter",
        [TRI_COLL_ALLGATHER] = "all-gather", [TRI_COLL_BROADCAST] = "broadcast",
        [TRI_COLL_ALLTOALL] = "all-to-all",  [TRI_COLL_SEND] = "send",
        [TRI_COLL_RECV] = "receive",         [TRI_COLL_BARRIER] = "barrier"};
    char text[CHECK_NUMBER_BYTES];
    if (plan->messages.n == 0) {
        fprintf(stream, "messages of a step: none\n");
        return;
    }
    fprintf(stream, "messages of a step, on each rank\n");
    for (int i = 0; i < plan->messages.n; i++) {
        const tri_traffic *entry = &plan->messages.entry[i];
        fprintf(stream, "  %-14s %5lld calls %12s  %s, over %s (%d)\n", names[entry->kind],
                (long long)entry->calls,
                tri_check_bytes((double)entry->payload_bytes, text, sizeof text), entry->what,
                entry->group, entry->ranks);
    }
}

/* The messages of every rank, one JSON object a line, with what it sends by ring algorithms. */
static tri_status print_messages_json(const tri_spec *spec, int n_ranks)
{
    for (int rank = 0; rank < n_ranks; rank++) {
        tri_job_plan plan;
        TRI_TRY(tri_job_plan_make(spec, n_ranks, rank, &plan));
        for (int i = 0; i < plan.messages.n; i++) {
            const tri_traffic *entry = &plan.messages.entry[i];
            printf("{\"rank\": %d, \"kind\": \"%s\", \"group\": \"%s\", \"what\": \"%s\", ", rank,
                   tri_coll_kind_name(entry->kind), entry->group, entry->what);
            printf(
                "\"ranks\": %d, \"calls\": %lld, \"payload_bytes\": %lld, \"sent_bytes\": %.0f}\n",
                entry->ranks, (long long)entry->calls, (long long)entry->payload_bytes,
                tri_traffic_sent_bytes(entry));
        }
    }
    return TRI_OK;
}

void tri_check_print(const tri_spec *spec, int n_ranks, const tri_job_plan *plan, FILE *stream)
{
    print_layout(spec, n_ranks, plan, stream);
    print_memory(plan, stream);
    print_messages(plan, stream);
}

/* The data must be there and of the format that the spec says. */
static tri_status check_tokens(const tri_spec *spec, const char *title, const char *path)
{
    tri_tokens_args args = {.path = path,
                            .format = spec->data.format,
                            .tokenizer = spec->data.tokenizer,
                            .dataset = spec->data.dataset};
    TRI_AUTO(tri_tokens) *tokens = NULL;
    TRI_TRY(tri_tokens_open(&args, &tokens));
    char count[CHECK_NUMBER_BYTES];
    printf("%-8s %s tokens in %s\n", title,
           tri_progress_short((double)tri_tokens_count(tokens), count, sizeof count), path);
    return TRI_OK;
}

tri_status tri_cmd_check(const tri_cmd_args *args)
{
    static const struct option options[] = {
        {"ranks",    required_argument, NULL, 'r'},
        {"schedule", no_argument,       NULL, 's'},
        {"messages", no_argument,       NULL, 'm'},
        {NULL,       0,                 NULL, 0  }
    };
    int64_t ranks = 1;
    bool draws = false, is_json = false;
    optind = 1;
    for (int c; (c = getopt_long(args->argc, args->argv, ":", options, NULL)) != -1;) {
        if (c == 's')
            draws = true;
        else if (c == 'm')
            is_json = true;
        else if (c == 'r')
            TRI_TRY(tri_option_int("--ranks", optarg, 1, 1 << 24, &ranks));
        else
            return tri_option_fail(args);
    }
    TRI_CHECK(optind < args->argc, TRI_EINVAL,
              "check takes a job spec: trireme check JOB.yaml [--ranks N] [--schedule] "
              "[--messages] [key=value ...]");
    tri_spec spec;
    tri_job_plan plan;
    TRI_TRY(tri_spec_read(args->argv[optind], args->argc - optind - 1,
                          (const char *const *)(args->argv + optind + 1), &spec));
    TRI_TRY(tri_spec_check(&spec, (int)ranks));
    TRI_TRY(tri_job_plan_make(&spec, (int)ranks, 0, &plan));
    if (is_json) {
        TRI_TRY(print_messages_json(&spec, (int)ranks));
        return TRI_OK;
    }
    tri_check_print(&spec, (int)ranks, &plan, stdout);
    if (draws) TRI_TRY(tri_check_schedule(&spec, stdout));
    TRI_TRY(check_tokens(&spec, "data", spec.data.train));
    if (spec.data.validation[0]) TRI_TRY(check_tokens(&spec, "held out", spec.data.validation));
    return TRI_OK;
}

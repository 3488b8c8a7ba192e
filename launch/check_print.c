// SPDX-License-Identifier: Apache-2.0
/* A job on paper, as text: what it is, who is in whose groups, what each place of the pipeline has, and
 * what the rank with most memory needs and moves.
 */
#include "launch/check.h"

#include "launch/progress.h"

#include <string.h>

enum { CHECK_NUMBER_BYTES = 32, CHECK_SHOWN_RANKS = 8, CHECK_SHOWN_PLACES = 64 };

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

static void print_zero(const tri_spec *spec, FILE *stream)
{
    const int *group = spec->parallel.zero;
    if (spec->parallel.zero_stage >= 0)
        fprintf(stream, "zero %d", spec->parallel.zero_stage);
    else
        fprintf(stream, "zero [%d, %d, %d]", group[0], group[1], group[2]);
}

/* What is not as in a job of replicas alone. */
static void print_modes(const tri_spec *spec, FILE *stream)
{
    static const char *const modes[] = {"ring", "ulysses", "allgather"};
    static const char *const recompute[] = {"none", "selective", "full"};
    static const char *const codes[] = {"none", "int8", "int4"};
    fprintf(stream, "layout   ");
    print_zero(spec, stream);
    if (spec->parallel.pipeline > 1 || spec->parallel.chunks > 1)
        fprintf(stream, "; schedule %s, %d chunk%s", spec->parallel.schedule, spec->parallel.chunks,
                spec->parallel.chunks > 1 ? "s" : "");
    if (spec->parallel.tensor > 1 && spec->parallel.tensor_sequence)
        fprintf(stream, "; norms shared out over tensor");
    if (spec->parallel.tensor > 1 && spec->parallel.tensor_chunks > 1)
        fprintf(stream, "; products in %d pieces", spec->parallel.tensor_chunks);
    if (spec->parallel.context > 1)
        fprintf(stream, "; context %s", modes[spec->parallel.context_mode]);
    if (spec->parallel.context > 1 && spec->parallel.ulysses > 1)
        fprintf(stream, ", ulysses %d", spec->parallel.ulysses);
    fprintf(stream, "; recompute %s", recompute[spec->parallel.recompute]);
    if (spec->parallel.recompute_layers > 0)
        fprintf(stream, " of the first %d blocks", spec->parallel.recompute_layers);
    if (spec->parallel.quantize_weights)
        fprintf(stream, "; weights travel as %s", codes[spec->parallel.quantize_weights]);
    if (spec->parallel.quantize_gradients)
        fprintf(stream, "; gradients travel as %s", codes[spec->parallel.quantize_gradients]);
    fputc('\n', stream);
}

/* Only where it is not the plain one. */
static void print_parameterization(const tri_model_config *model, FILE *stream)
{
    tri_model_multipliers m = tri_model_multipliers_of(model);
    bool is_plain = model->attention_multiplier == 1 && m.embedding == 1 && m.logits == 1;
    if (is_plain && !tri_model_is_scaled(model)) return;
    fprintf(stream, "         %s", model->parameterization);
    if (tri_model_has_base(model))
        fprintf(stream, " from hidden %lld", (long long)model->base_hidden);
    if (tri_model_is_scaled(model)) fprintf(stream, ": learning rates by docs/parameterization.md");
    fprintf(stream, "; embedding x %g, scores x %g, logits x %g\n", m.embedding, m.scores,
            m.logits);
}

/* Where the batch is not the same in all steps. */
static void print_growth(const tri_spec *spec, FILE *stream)
{
    tri_batch_config batch = tri_spec_batch(spec);
    if (!tri_batch_varies(&batch)) return;
    fprintf(stream, "         grows to %lld in quanta of %lld, rounds of %lld; ",
            (long long)tri_batch_largest(&batch), (long long)batch.adaptive.quantum,
            (long long)spec->batch.round);
    if (batch.ramp.to > 0)
        fprintf(stream, "a ramp over %lld samples\n", (long long)batch.ramp.samples);
    else
        fprintf(stream, "%s test of %d groups, every %lld step%s\n",
                tri_batch_tests()[batch.adaptive.test], batch.adaptive.groups,
                (long long)batch.adaptive.interval, batch.adaptive.interval == 1 ? "" : "s");
}

static void print_job(const tri_spec *spec, int n_ranks, const tri_job_plan *plan, FILE *stream)
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
    fprintf(stream, "ranks    %d = data %d x tensor %d x pipeline %d x context %d\n", n_ranks,
            spec->parallel.data, spec->parallel.tensor, spec->parallel.pipeline,
            spec->parallel.context);
    print_modes(spec, stream);
    fprintf(stream,
            "model    %s, %lld layers, hidden %lld, %lld heads, ffn %lld, context %lld, vocabulary "
            "%lld: %s parameters\n",
            spec->model.family, (long long)spec->model.layers, (long long)spec->model.hidden,
            (long long)spec->model.heads, (long long)spec->model.ffn,
            (long long)spec->model.context, (long long)spec->model.vocab, params);
    print_parameterization(&spec->model, stream);
    fprintf(stream,
            "batch    %lld sequences = data %d x micro %lld x %lld accumulated, %s tokens a step\n",
            (long long)spec->batch.sequences, spec->parallel.data, (long long)spec->batch.micro,
            (long long)plan->accumulation, tokens);
    print_growth(spec, stream);
    tri_batch_config batch = tri_spec_batch(spec);
    fprintf(stream, "run      %lld steps, %s%s tokens, %.3g operations\n",
            (long long)spec->train.steps, tri_batch_varies(&batch) ? "at least " : "", all_tokens,
            plan->flops_per_token * (double)plan->step_tokens * steps);
}

/* --- the mesh */

/* A group that rank 0 is in: `size` ranks, `stride` apart. */
static void print_group(const char *name, int size, int stride, int n_ranks, FILE *stream)
{
    if (size == 1) return;
    fprintf(stream, "  %-18s %5d ranks %5d groups  rank 0 with", name, size, n_ranks / size);
    for (int i = 1; i < size && i < CHECK_SHOWN_RANKS; i++)
        fprintf(stream, " %d", i * stride);
    if (size > CHECK_SHOWN_RANKS) fprintf(stream, " ... %d", (size - 1) * stride);
    fputc('\n', stream);
}

static void print_mesh(const tri_spec *spec, int n_ranks, FILE *stream)
{
    int tensor = spec->parallel.tensor;
    int context = spec->parallel.context;
    int data = spec->parallel.data;
    int replicas = data * context;
    fprintf(stream,
            "mesh     rank = ((pipeline * %d + data) * %d + context) * %d + tensor; who talks to "
            "whom:\n",
            data, context, tensor);
    if (n_ranks == 1) fprintf(stream, "  one rank, alone\n");
    print_group("tensor", tensor, 1, n_ranks, stream);
    print_group("context", context, tensor, n_ranks, stream);
    print_group("data", data, tensor * context, n_ranks, stream);
    print_group("pipeline", spec->parallel.pipeline, n_ranks / spec->parallel.pipeline, n_ranks,
                stream);
    if (context > 1 && data > 1) print_group("data x context", replicas, tensor, n_ranks, stream);
    static const char *const names[] = {"shared weights", "shared gradients", "shared optimizer"};
    for (int i = 0; i < 3; i++)
        print_group(names[i], spec->parallel.zero[i], tensor, n_ranks, stream);
}

/* --- the pipeline */

static double total_of(const tri_job_plan *plan)
{
    double total = 0;
    for (int kind = 0; kind < TRI_MEM_KINDS; kind++)
        total += (double)plan->bytes[kind];
    return total;
}

static double sent_by(const tri_traffic_list *messages)
{
    double sent = 0;
    for (int i = 0; i < messages->n; i++)
        sent += tri_traffic_sent_bytes(&messages->entry[i]);
    return sent;
}

/* "0-2, 6-8": the blocks of a place, and in *slots the micro-batches that each of its chunks keeps. */
static void blocks_of(const tri_job_plan *plan, int place, char *blocks, char *slots, size_t bytes)
{
    size_t at = 0;
    size_t slots_at = 0;
    blocks[0] = '\0';
    slots[0] = '\0';
    for (int s = 0; s < plan->n_stages; s++) {
        const tri_model_stage *stage = &plan->stages[s];
        if (stage->rank != place || at >= bytes || slots_at >= bytes) continue;
        at += (size_t)snprintf(blocks + at, bytes - at, "%s%lld-%lld", at ? ", " : "",
                               (long long)stage->first,
                               (long long)(stage->first + stage->layers - 1));
        slots_at += (size_t)snprintf(slots + slots_at, bytes - slots_at, "%s%d",
                                     slots_at ? " + " : "", stage->slots);
    }
}

static void print_pipeline(const tri_spec *spec, int n_ranks, const tri_job_plan *plans,
                           FILE *stream)
{
    if (spec->parallel.pipeline == 1) return;
    int stride = n_ranks / spec->parallel.pipeline;
    fprintf(stream, "pipeline bubble %.1f %% of a step, with stages of equal length\n",
            100 * plans[0].bubble);
    fprintf(stream, "  %5s %6s  %-20s %-16s %12s %14s\n", "place", "rank", "blocks",
            "kept micro-b.", "memory", "sent a step");
    for (int place = 0; place < spec->parallel.pipeline && place < CHECK_SHOWN_PLACES; place++) {
        char memory[CHECK_NUMBER_BYTES];
        char sent[CHECK_NUMBER_BYTES];
        char blocks[128];
        char slots[128];
        blocks_of(&plans[place], place, blocks, slots, sizeof blocks);
        fprintf(stream, "  %5d %6d  %-20s %-16s %12s %14s\n", place, place * stride, blocks, slots,
                tri_check_bytes(total_of(&plans[place]), memory, sizeof memory),
                tri_check_bytes(sent_by(&plans[place].messages), sent, sizeof sent));
    }
}

/* --- one rank */

static void print_memory(const tri_job_plan *plan, int rank, bool is_most, FILE *stream)
{
    char text[CHECK_NUMBER_BYTES];
    fprintf(stream, "memory of rank %d%s\n", rank, is_most ? ", which needs most" : "");
    for (int kind = 0; kind < TRI_MEM_KINDS; kind++)
        if (plan->bytes[kind] > 0)
            fprintf(stream, "  %-14s %12s\n", tri_mem_name((tri_mem_kind)kind),
                    tri_check_bytes((double)plan->bytes[kind], text, sizeof text));
    fprintf(stream, "  %-14s %12s\n", "total", tri_check_bytes(total_of(plan), text, sizeof text));
}

static void print_messages(const tri_traffic_list *messages, const char *step, int rank,
                           FILE *stream)
{
    char payload[CHECK_NUMBER_BYTES];
    char sent[CHECK_NUMBER_BYTES];
    if (messages->n == 0) {
        fprintf(stream, "messages of %s: none\n", step);
        return;
    }
    fprintf(stream, "messages of %s of rank %d\n", step, rank);
    fprintf(stream, "  %-18s %5s  %-14s %-22s %7s %12s %12s\n", "over", "ranks", "call", "of",
            "calls", "payload", "sent");
    for (int i = 0; i < messages->n; i++) {
        const tri_traffic *entry = &messages->entry[i];
        fprintf(stream, "  %-18s %5d  %-14s %-22s %7lld %12s %12s\n", entry->group, entry->ranks,
                tri_coll_kind_name(entry->kind), entry->what, (long long)entry->calls,
                tri_check_bytes((double)entry->payload_bytes, payload, sizeof payload),
                tri_check_bytes(tri_traffic_sent_bytes(entry), sent, sizeof sent));
    }
    fprintf(stream, "  %-18s %69s %12s\n", "total", "",
            tri_check_bytes(sent_by(messages), sent, sizeof sent));
}

void tri_check_print(const tri_spec *spec, int n_ranks, const tri_job_plan *plans, FILE *stream)
{
    int most = 0;
    for (int place = 1; place < spec->parallel.pipeline; place++)
        if (total_of(&plans[place]) > total_of(&plans[most])) most = place;
    int rank = most * (n_ranks / spec->parallel.pipeline);
    print_job(spec, n_ranks, &plans[0], stream);
    tri_check_rate(spec, &plans[0], stream);
    print_mesh(spec, n_ranks, stream);
    print_pipeline(spec, n_ranks, plans, stream);
    print_memory(&plans[most], rank, spec->parallel.pipeline > 1, stream);
    tri_batch_config batch = tri_spec_batch(spec);
    bool has_tests = batch.adaptive.test != TRI_BATCH_OFF;
    bool varies = tri_batch_varies(&batch);
    print_messages(&plans[most].messages, varies ? "the first step" : "a step", rank, stream);
    if (has_tests)
        print_messages(&plans[most].test_messages, "such a step with a test of the batch", rank,
                       stream);
}

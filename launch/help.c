// SPDX-License-Identifier: Apache-2.0
/* The table of commands, and the commands `help` and `version`. */
#include "launch/help.h"

#include "launch/bench.h"
#include "launch/checkpoint.h"
#include "launch/version.h"

#include <string.h>

static const char train_more[] =
    "The job resumes by itself from the newest checkpoint in its folder. SIGUSR1, to a rank or\n"
    "to mpirun, saves after the current step and goes on; SIGTERM, SIGINT or SIGUSR2 to a rank,\n"
    "or SIGUSR2 to mpirun, saves and ends. Any key of the spec can be overridden as\n"
    "section.key=value; `trireme help spec` lists them. mpirun adds text of its own to a\n"
    "failure: `mpirun -q`, or OMPI_MCA_orte_execute_quiet=1, keeps it quiet.\n";
static const char check_more[] =
    "  --ranks N    ranks that the job will have (1)\n"
    "  --schedule   draw the pipeline's schedule (docs/schedules.md)\n"
    "  --messages   those of a step on every rank, one JSON object a line, with bytes sent\n"
    "  --coordinate train a few steps at several widths: do activations change as much at each?\n"
    "               (docs/parameterization.md); exit code 1 where they do not\n"
    "  --widths L   of that check, separated by commas (64,128,256,512, as heads divide them)\n"
    "  --steps N    of that check (5)\n";
static const char eval_more[] =
    "CHECKPOINT is a checkpoint's folder, or a folder of them or of a run: then the newest.\n"
    "  --batches N  global batches to evaluate (those of the spec)\n"
    "  --data PATH  other data of the same format (the job's own held-out part)\n"
    "  --json       loss and tokens as one JSON object, all digits\n"
    "  --threads N  threads of a rank (its share of the cores)\n";
static const char generate_more[] =
    "CHECKPOINT is a checkpoint's folder, or a folder of them or of a run: then the newest.\n"
    "  --prompt TEXT      how the text begins (a new line)\n"
    "  --tokens N         how many to add (256)\n"
    "  --temperature X    0: always the most likely (0.8)\n"
    "  --top-k N          choose among the N most likely; 0: all (0)\n"
    "  --seed N           of the choices (1)\n"
    "  --threads N        (all cores)\n";
static const char checkpoint_more[] =
    "CKPT is a checkpoint's folder, or a folder of checkpoints or a run's: then the newest.\n"
    "Each works in one process, and under mpirun. Exit code 1 also where the answer is no:\n"
    "damaged, different.\n";
static const char bench_more[] = "  --json       one JSON object per line\n"
                                 "  --threads N  threads of a rank (its share of the cores)\n"
                                 "  others       options of the benchmark itself\n";
static const char help_more[] =
    "  trireme help COMMAND   one command\n"
    "  trireme help spec      all keys of a job spec (docs/job-spec.md)\n";

static const char version_more[] = "";

#define COMMAND(name, usage, doc)                      \
    {                                                  \
#name, usage, doc, name##_more, tri_cmd_##name \
    }

static const tri_command commands[] = {
    COMMAND(train, "JOB.yaml [key=value ...]", "train the model that a job spec describes"),
    COMMAND(check, "JOB.yaml [options] [key=value ...]", "layout, memory, messages of a job"),
    COMMAND(eval, "CHECKPOINT [options]", "loss of a checkpoint on held-out data"),
    COMMAND(generate, "CHECKPOINT [options]", "sample text from a checkpoint"),
    COMMAND(checkpoint, "TOOL ...", "list, compare and convert checkpoints"),
    COMMAND(bench, "NAME [--json]", "measure a part against its limit"),
    COMMAND(version, "", "version and what this build has"),
    COMMAND(help, "[COMMAND | spec]", "this text, or more of it"),
    {NULL, NULL, NULL, NULL, NULL},
};

const tri_command *tri_command_list(void)
{
    return commands;
}

const tri_command *tri_command_find(const char *name)
{
    for (const tri_command *row = commands; row->name; row++)
        if (strcmp(row->name, name) == 0) return row;
    return NULL;
}

void tri_help_print(FILE *stream)
{
    fprintf(stream, "usage: [mpirun -n N] trireme COMMAND ...\n\n");
    for (const tri_command *row = commands; row->name; row++)
        fprintf(stream, "  %-10s %-36s %s\n", row->name, row->usage, row->doc);
    fprintf(stream, "\nTRIREME_LOG=error|warn|info|debug|trace sets what is said on the terminal.\n"
                    "Exit codes: 0 done, 1 failed, 2 wrong use.\n");
}

static void print_benches(void)
{
    printf("\nnames:\n");
    for (const tri_bench *bench = tri_bench_list(); bench->name; bench++)
        printf("  %-12s %s\n", bench->name, bench->doc);
}

static void print_tools(void)
{
    printf("\ntools:\n");
    for (const tri_checkpoint_tool *tool = tri_checkpoint_tools(); tool->name; tool++)
        printf("  %s %s\n    %s.\n%s", tool->name, tool->usage, tool->doc, tool->more);
}

tri_status tri_cmd_help(const tri_cmd_args *args)
{
    TRI_CHECK(args->argc <= 2, TRI_EINVAL, "help takes one word: a command, or spec");
    if (args->argc == 1) {
        tri_help_print(stdout);
        return TRI_OK;
    }
    const char *topic = args->argv[1];
    if (strcmp(topic, "spec") == 0) {
        tri_spec_reference(stdout);
        return TRI_OK;
    }
    const tri_command *row = tri_command_find(topic);
    TRI_CHECK(row, TRI_EINVAL, "help: '%.40s' is not a command; `trireme help` lists them", topic);
    printf("usage: trireme %s %s\n\n%s.\n", row->name, row->usage, row->doc);
    if (row->more[0]) printf("\n%s", row->more);
    if (row->run == tri_cmd_bench) print_benches();
    if (row->run == tri_cmd_checkpoint) print_tools();
    return TRI_OK;
}

tri_status tri_cmd_version(const tri_cmd_args *args)
{
    TRI_CHECK(args->argc == 1, TRI_EINVAL, "version takes nothing more, got '%.60s'",
              args->argv[1]);
    tri_version_print(stdout);
    return TRI_OK;
}

// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1 timeout=120
/* The program itself: exit codes, one report for the whole job, nothing written where something is
 * wrong. Runs the trireme that lies beside this test.
 */
#include "tests/folder.h"
#include "tests/test.h"

#include <libgen.h>
#include <limits.h>
#include <sys/wait.h>

enum { CLI_OUTPUT_BYTES = 65536 };

static const char job[] = "name: x\n"
                          "model: {family: gpt2, layers: 1, hidden: 32, heads: 2, context: 16}\n"
                          "data: {train: text.txt}\n"
                          "batch: {sequences: 4, micro: 2}\n"
                          "optimizer: {lr: 1.0e-3}\n"
                          "train: {steps: 2}\n";

/* What a command printed, both streams, and its exit code. */
typedef struct cli_result {
    int code;
    char text[CLI_OUTPUT_BYTES];
} cli_result;

/* Run `START PROGRAM ARGS` in `folder`, where PROGRAM is the trireme beside this test. A program that
 * reports a failure ends with what it holds: its leaks are not looked for. */
static tri_status cli_shell(const char *folder, const char *start, const char *args,
                            cli_result *out)
{
    char self[PATH_MAX] = "";
    char command[PATH_MAX + 1024];
    TRI_TRY(TRI_SYS(readlink("/proc/self/exe", self, sizeof self - 1), "finding this test"));
    snprintf(command, sizeof command, "cd %s && ASAN_OPTIONS=detect_leaks=0 %s %s/trireme %s 2>&1",
             folder, start, dirname(self), args);
    FILE *pipe = popen(command, "r");
    TRI_TRY(TRI_SYS(pipe ? 0 : -1, "running %s", command));
    size_t n = fread(out->text, 1, sizeof out->text - 1, pipe);
    out->text[n] = '\0';
    int status = pclose(pipe);
    out->code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    return TRI_OK;
}

/* Run `trireme ARGS`; `ranks` > 0: under mpirun. */
static tri_status cli_run(const char *folder, int ranks, const char *args, cli_result *out)
{
    char mpirun[160] = "";
    if (ranks > 0)
        snprintf(mpirun, sizeof mpirun,
                 "mpirun -q --oversubscribe --bind-to none --mca mpi_yield_when_idle 1 -n %d",
                 ranks);
    TRI_TRY(cli_shell(folder, mpirun, args, out));
    return TRI_OK;
}

static int count(const char *text, const char *part)
{
    int n = 0;
    for (const char *at = text; (at = strstr(at, part)); at++)
        n++;
    return n;
}

typedef struct cli_case {
    const char *args;
    int code;
    const char *part;
} cli_case;

/* Each command line gives this code and text, and at most one report. */
static tri_status cli_cases(tri_folder *folder, int ranks, const cli_case *cases, int n_cases)
{
    cli_result *got = NULL;
    TRI_TRY(TRI_NEW(&got));
    for (int i = 0; i < n_cases; i++) {
        tri_status rc = cli_run(folder->path, ranks, cases[i].args, got);
        EXPECT(rc == TRI_OK, "%s", tri_err_last()->text);
        EXPECT(got->code == cases[i].code, "'%s' gave %d:\n%s", cases[i].args, got->code,
               got->text);
        EXPECT(strstr(got->text, cases[i].part), "'%s' did not say '%s':\n%s", cases[i].args,
               cases[i].part, got->text);
        EXPECT(count(got->text, "error: ") == (cases[i].code != 0), "'%s' reported:\n%s",
               cases[i].args, got->text);
    }
    TRI_FREE(got);
    return TRI_OK;
}

static tri_status cli_folder(tri_folder **out)
{
    TRI_AUTO(tri_folder) *folder = NULL;
    TRI_TRY(tri_folder_create(&folder));
    TRI_TRY(tri_folder_put(folder, "job.yaml", "w", job, strlen(job)));
    TRI_TRY(tri_folder_put(folder, "bad.yaml", "w", job, strlen(job)));
    TRI_TRY(tri_folder_put(folder, "bad.yaml", "a", "sead: 3\n", 8));
    for (int i = 0; i < 200; i++)
        TRI_TRY(tri_folder_put(folder, "text.txt", "a", "In the beginning God created ", 29));
    *out = TRI_MOVE(folder);
    return TRI_OK;
}

TRI_TEST(one_process)
{
    static const cli_case cases[] = {
        {"",                                         2, "a command is missing"                                },
        {"--version",                                0, "trireme "                                            },
        {"version",                                  0, "oneDNN"                                              },
        {"version please",                           2, "takes nothing more"                                  },
        {"--help",                                   0, "usage:"                                              },
        {"help train",                               0, "usage: trireme train JOB.yaml"                       },
        {"help spec",                                0, "`optimizer.betas`"                                   },
        {"help nothing",                             2, "'nothing' is not a command"                          },
        {"--nothing",                                2, "unknown option '--nothing'"                          },
        {"trian job.yaml",                           2, "'trian' is not a command"                            },
        {"check",                                    2, "check takes a job spec"                              },
        {"check job.yaml --ranks 2",                 0, "ranks    2 = data 2"                                 },
        {"check --ranks=2 job.yaml train.steps=7",   0, "7 steps"                                             },
        {"check job.yaml --ranks 0",                 2, "--ranks '0': takes a whole number from 1"            },
        {"check job.yaml --rank",                    2, "its value is missing"                                },
        {"check job.yaml --nothing",                 2, "option '--nothing' is unknown"                       },
        {"check job.yaml --ranks 3",                 2, "batch.sequences: 4 is less than"                     },
        {"check job.yaml model.heads=3",             2, "heads"                                               },
        {"check bad.yaml",                           2, "bad.yaml:7: unknown key 'sead'; did you mean 'seed'?"},
        {"check job.yaml --coordinate --ranks 2",    2, "--coordinate trains on one rank"                     },
        {"check job.yaml --widths 64,128",           2, "give --coordinate as well"                           },
        {"check job.yaml --coordinate --widths 8,x", 2, "--widths 'x'"                                        },
        {"check none.yaml",                          1, "none.yaml"                                           },
        {"check job.yaml data.train=none.txt",       1, "none.txt"                                            },
        {"bench",                                    2, "bench takes a name"                                  },
        {"bench nothing",                            2, "'nothing' is not one of"                             },
        {"train bad.yaml",                           2, "unknown key 'sead'"                                  },
    };
    TRI_AUTO(tri_folder) *folder = NULL;
    TRI_TRY(cli_folder(&folder));
    TRI_TRY(cli_cases(folder, 0, cases, (int)(sizeof cases / sizeof cases[0])));
    EXPECT(access(tri_folder_at(folder, "runs"), F_OK) != 0, "%s was made", folder->file);
    return TRI_OK;
}

/* That something is not flat is a finding: the exit code tells, but no error is reported. */
TRI_TEST(coordinate_check_tells_by_its_exit_code)
{
    static const char *const args[] = {
        "check job.yaml --coordinate --widths 16,64 --steps 2 optimizer.lr=0.003 "
        "model.parameterization=mup model.base_hidden=16",
        "check job.yaml --coordinate --widths 16,256 --steps 3 optimizer.lr=0.02"};
    static const char *const part[] = {"\nflat: ", "\nnot flat: "};
    TRI_AUTO(tri_folder) *folder = NULL;
    TRI_TRY(cli_folder(&folder));
    cli_result *got = NULL;
    TRI_TRY(TRI_NEW(&got));
    for (int i = 0; i < 2; i++) {
        tri_status rc = cli_run(folder->path, 0, args[i], got);
        EXPECT(rc == TRI_OK && got->code == i && strstr(got->text, part[i]) &&
                   count(got->text, "error: ") == 0,
               "'%s' gave %d:\n%s", args[i], got->code, got->text);
    }
    TRI_FREE(got);
    return TRI_OK;
}

TRI_TEST(two_ranks_report_once)
{
    static const cli_case cases[] = {
        {"trian job.yaml",                     2, "'trian' is not a command"},
        {"train bad.yaml",                     2, "unknown key 'sead'"      },
        {"train job.yaml batch.micro=3",       2, "batch.sequences"         },
        {"train job.yaml data.train=none.txt", 1, "none.txt"                },
    };
    TRI_AUTO(tri_folder) *folder = NULL;
    TRI_TRY(cli_folder(&folder));
    TRI_TRY(cli_cases(folder, 2, cases, (int)(sizeof cases / sizeof cases[0])));
    return TRI_OK;
}

/* In this order: a run, which then is finished, goes on with more steps, and meets wrong use. */
TRI_TEST(run_folder_is_respected)
{
    static const cli_case cases[] = {
        {"train job.yaml run.dir=/proc/nothing",        1, "making the folder /proc/nothing" },
        {"train job.yaml run.dir=text.txt",             2, "is a file"                       },
        {"train job.yaml run.dir=.",                    2, "is not empty and holds no run"   },
        {"train job.yaml",                              0, "step 2/2"                        },
        {"train job.yaml",                              2, "holds a finished run of 2 steps" },
        {"train job.yaml train.steps=3 model.layers=2", 2, "was begun with model.layers 1"   },
        {"train job.yaml train.steps=3",                0, "resumed after step 2"            },
        {"train job.yaml name=y run.dir=runs/x",        2, "holds another run ('x'), not 'y'"},
        {"generate runs/x/ckpt --tokens 4",             0, "\n"                              },
        {"generate runs/x/ckpt --tokens x",             2, "--tokens 'x'"                    },
        {"generate runs/none",                          1, "runs/none"                       },
        {"eval runs/x/ckpt --batches 1",                0, "held-out loss"                   },
    };
    TRI_AUTO(tri_folder) *folder = NULL;
    TRI_TRY(cli_folder(&folder));
    TRI_TRY(cli_cases(folder, 0, cases, (int)(sizeof cases / sizeof cases[0])));
    return TRI_OK;
}

/* To mpirun, once some steps are recorded: SIGUSR1, upon which the job saves and goes on; then SIGUSR2, upon
 * which it saves and ends well. */
TRI_TEST(signals_save_the_state_and_end_the_job)
{
    static const char script[] =
        "#!/bin/sh\n"
        "mpirun -q --oversubscribe --bind-to none --mca mpi_yield_when_idle 1 -n 2 \"$1\" train "
        "job.yaml train.steps=100000000 train.log_every=100000 &\n"
        "job=$!\n"
        "while kill -0 $job && ! grep -q '\"step\": *3' runs/x/metrics.jsonl; do sleep 0.1; done "
        "2>/dev/null\n"
        "kill -USR1 $job\n"
        "while kill -0 $job && ! ls runs/x/ckpt/*/manifest.h5; do sleep 0.1; done >/dev/null 2>&1\n"
        "kill -USR2 $job && wait $job\n";
    TRI_AUTO(tri_folder) *folder = NULL;
    TRI_TRY(cli_folder(&folder));
    TRI_TRY(tri_folder_put(folder, "run.sh", "w", script, strlen(script)));
    cli_result *got = NULL;
    TRI_TRY(TRI_NEW(&got));
    tri_status rc = cli_shell(folder->path, "sh run.sh", "", got);
    EXPECT(rc == TRI_OK && got->code == 0 && strstr(got->text, "stopped by SIGUSR2"),
           "exit code %d:\n%s", got->code, got->text);
    rc = cli_run(folder->path, 0, "eval runs/x/ckpt --batches 1", got);
    EXPECT(rc == TRI_OK && got->code == 0 && strstr(got->text, "held-out loss"),
           "exit code %d:\n%s", got->code, got->text);
    TRI_FREE(got);
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(one_process), TRI_TEST_ROW(coordinate_check_tells_by_its_exit_code),
              TRI_TEST_ROW(two_ranks_report_once), TRI_TEST_ROW(run_folder_is_respected),
              TRI_TEST_ROW(signals_save_the_state_and_end_the_job))

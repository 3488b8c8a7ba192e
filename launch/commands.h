// SPDX-License-Identifier: Apache-2.0
/* The commands of the program: one function each, one row each in help.c. A command returns a status;
 * main reports a failure once for the whole job and closes what the session holds.
 */
#ifndef TRI_LAUNCH_COMMANDS_H
#define TRI_LAUNCH_COMMANDS_H

#include "launch/session.h"

/* What a command gets: argv[0] is its name, then what stood behind it. */
typedef struct tri_cmd_args {
    int argc;
    char **argv; /* ends in NULL; getopt_long may reorder it */
    tri_session *session;
} tri_cmd_args;

/* train JOB.yaml [key=value ...]: Collective over the ranks that the launcher started. */
TRI_MUST_USE tri_status tri_cmd_train(const tri_cmd_args *args);

/* eval CHECKPOINT [options]: Collective over the ranks that the launcher started. */
TRI_MUST_USE tri_status tri_cmd_eval(const tri_cmd_args *args);

/* generate CHECKPOINT [options]. Not collective. */
TRI_MUST_USE tri_status tri_cmd_generate(const tri_cmd_args *args);

/* check JOB.yaml --ranks N [key=value ...]. Not collective. */
TRI_MUST_USE tri_status tri_cmd_check(const tri_cmd_args *args);

/* checkpoint TOOL ...: Collective over the ranks that the launcher started. */
TRI_MUST_USE tri_status tri_cmd_checkpoint(const tri_cmd_args *args);

/* bench NAME [--json]: Collective over the ranks that the launcher started. */
TRI_MUST_USE tri_status tri_cmd_bench(const tri_cmd_args *args);

/* help [COMMAND | spec]. Not collective. */
TRI_MUST_USE tri_status tri_cmd_help(const tri_cmd_args *args);

/* version. Not collective. */
TRI_MUST_USE tri_status tri_cmd_version(const tri_cmd_args *args);

/* Value of an option: a whole number in [min, max]. Not collective. `name` as the user wrote it.
 * Errors: TRI_EINVAL with name, text and range. */
TRI_MUST_USE tri_status tri_option_int(const char *name, const char *text, int64_t min, int64_t max,
                                       int64_t *out);

/* The same for a finite number. Not collective. */
TRI_MUST_USE tri_status tri_option_double(const char *name, const char *text, double min,
                                          double max, double *out);

/* The failure for what getopt_long answers '?' or ':' to. Not collective. Errors: TRI_EINVAL, always. */
TRI_MUST_USE tri_status tri_option_fail(const tri_cmd_args *args);

#endif

// SPDX-License-Identifier: Apache-2.0
/* The program: find the command, run it, report a failure once for the whole job, close. */
#include "launch/help.h"
#include "launch/report.h"

#include <getopt.h>
#include <unistd.h>

/* getopt keeps the order it was first asked for ("+"); commands want options anywhere. */
static void reset_getopt(void)
{
    static char name[] = "trireme";
    static char *const words[] = {name, NULL};
    optind = 0;
    (void)getopt(1, words, ":");
}

/* Options before the command. Writes: *command, the arguments from it on (argc 0: nothing to run). */
static tri_status read_front(int argc, char **argv, tri_cmd_args *command)
{
    static const struct option options[] = {
        {"help",    no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'v'},
        {NULL,      0,           NULL, 0  }
    };
    static char version[] = "version";
    static char help[] = "help";
    static char *words[2];
    opterr = 0;
    /* + : the first word that is no option is the command; what follows is the command's */
    int c = getopt_long(argc, argv, "+:hv", options, NULL);
    TRI_CHECK(c != '?' && c != ':', TRI_EINVAL, "unknown option '%.60s'; see `trireme help`",
              argv[optind > 1 ? optind - 1 : 1]);
    if (c != -1) {
        words[0] = c == 'v' ? version : help;
        command->argc = 1;
        command->argv = words;
        return TRI_OK;
    }
    TRI_CHECK(optind < argc, TRI_EINVAL, "a command is missing; see `trireme help`");
    command->argc = argc - optind;
    command->argv = argv + optind;
    reset_getopt();
    return TRI_OK;
}

static tri_status run(int argc, char **argv, tri_session *session)
{
    TRI_TRY(tri_env_read(&session->env));
    bool is_terminal = isatty(STDERR_FILENO) && !session->env.is_plain;
    session->log = (tri_log_sink){.terminal = stderr,
                                  .terminal_level = (int)session->env.log,
                                  .file_level = -1,
                                  .rank = -1,
                                  .erases_line = is_terminal && session->env.rank == 0};
    tri_log_set(&session->log);

    tri_cmd_args command = {.session = session};
    TRI_TRY(read_front(argc, argv, &command));
    const tri_command *row = tri_command_find(command.argv[0]);
    TRI_CHECK(row, TRI_EINVAL, "'%.40s' is not a command; `trireme help` lists them",
              command.argv[0]);
    TRI_TRY(row->run(&command));
    return TRI_OK;
}

int main(int argc, char **argv)
{
    tri_session session = {.step = -1};
    tri_status rc = run(argc, argv, &session);
    if (rc != TRI_OK) return tri_report_end(&session, rc);
    tri_session_close(&session);
    if (fflush(stdout) != 0) {
        fprintf(stderr, "error: writing to standard output failed\n");
        return 1;
    }
    return session.verdict;
}

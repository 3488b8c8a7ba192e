// SPDX-License-Identifier: Apache-2.0
/* The list of commands, for main and help. */
#ifndef TRI_LAUNCH_HELP_H
#define TRI_LAUNCH_HELP_H

#include "launch/commands.h"

/* One command. */
typedef struct tri_command {
    const char *name;
    const char *usage; /* behind the name */
    const char *doc;   /* one line */
    const char *more;  /* options, with line ends; "" if none */
    tri_status (*run)(const tri_cmd_args *args);
} tri_command;

/* All commands; the last row has no name. Not collective. */
const tri_command *tri_command_list(void);

/* The command called `name`; NULL if there is none. Not collective. */
const tri_command *tri_command_find(const char *name);

/* What the program can do, in one screen. Not collective. */
void tri_help_print(FILE *stream);

#endif

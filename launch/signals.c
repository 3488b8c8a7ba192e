// SPDX-License-Identifier: Apache-2.0
/* The handlers only set flags. */
#include "launch/signals.h"

#include <signal.h>
#include <unistd.h>

static volatile sig_atomic_t signals_first;
static volatile sig_atomic_t signals_interrupts;
static volatile sig_atomic_t signals_save;

static void on_signal(int number)
{
    if (number == SIGUSR1) {
        signals_save = 1;
        return;
    }
    if (!signals_first) signals_first = number;
    if (number == SIGINT && ++signals_interrupts > 1) _exit(128 + SIGINT);
}

tri_status tri_signals_install(void)
{
    static const int numbers[] = {SIGTERM, SIGINT, SIGUSR1, SIGUSR2};
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        TRI_TRY(TRI_SYS(sigaction(numbers[i], &action, NULL), "taking over %s",
                        tri_signals_name(numbers[i])));
    return TRI_OK;
}

int tri_signals_received(void)
{
    return signals_first;
}

bool tri_signals_take_save(void)
{
    bool came = signals_save != 0;
    if (came) signals_save = 0;
    return came;
}

const char *tri_signals_name(int number)
{
    switch (number) {
    case SIGTERM:
        return "SIGTERM";
    case SIGINT:
        return "SIGINT";
    case SIGUSR1:
        return "SIGUSR1";
    case SIGUSR2:
        return "SIGUSR2";
    default:
        return "signal";
    }
}

// SPDX-License-Identifier: Apache-2.0
/* Nothing is handled on a thread that computes: the fp32 products of oneDNN 2 run with the stack pointer
 * in their scratch memory on the heap, and the frame of a signal, kilobytes with AVX-512, would be
 * written over what lies below it. So the signals are blocked everywhere and one thread waits for them.
 */
#include "launch/signals.h"

#include "runtime/base/thread.h"

#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

static struct {
    tri_thread *thread;
    atomic_int stop; /* the first that asks to end */
    atomic_bool save;
    atomic_bool is_ending;
} signals;

static sigset_t signals_ours(void)
{
    static const int numbers[] = {SIGTERM, SIGINT, SIGUSR1, SIGUSR2};
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        sigaddset(&set, numbers[i]);
    return set;
}

static void signals_wait(void *arg)
{
    (void)arg;
    sigset_t set = signals_ours();
    int n_interrupts = 0;
    for (;;) {
        int number = sigwaitinfo(&set, NULL);
        if (atomic_load(&signals.is_ending)) return;
        if (number < 0) continue;
        if (number == SIGUSR1) {
            atomic_store(&signals.save, true);
            continue;
        }
        int none = 0;
        atomic_compare_exchange_strong(&signals.stop, &none, number);
        if (number == SIGINT && ++n_interrupts > 1) _exit(128 + SIGINT);
    }
}

tri_status tri_signals_begin(void)
{
    sigset_t set = signals_ours();
    sigset_t before;
    pthread_sigmask(SIG_BLOCK, &set, &before);
    tri_status rc = tri_thread_start("signals", signals_wait, NULL, &signals.thread);
    if (rc != TRI_OK) pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc;
}

void tri_signals_end(void)
{
    if (!signals.thread) return;
    atomic_store(&signals.is_ending, true);
    kill(getpid(), SIGUSR2);
    tri_thread_wait(&signals.thread);
    atomic_store(&signals.is_ending, false);
}

int tri_signals_received(void)
{
    return atomic_load(&signals.stop);
}

bool tri_signals_take_save(void)
{
    return atomic_exchange(&signals.save, false);
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

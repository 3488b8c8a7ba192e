// SPDX-License-Identifier: Apache-2.0
/* What a rank is doing now: the step and a stack of operations, which other threads (and, where the
 * record lies in shared memory, other processes) can read at any time, even of a rank that is
 * stopped. Reports of failures and hangs name it; while a trace records, each operation that ends
 * becomes one of its events. One thread, the rank's own, begins and ends; that costs some 0.2 us.
 *
 * An operation that fails is not ended: its name is what the report needs.
 */
#ifndef TRI_RUNTIME_BASE_ACTIVITY_H
#define TRI_RUNTIME_BASE_ACTIVITY_H

#include "runtime/base/trace.h"

#include <stdatomic.h>

enum {
    TRI_ACTIVITY_WORDS = 8,
    TRI_ACTIVITY_BYTES = 8 * TRI_ACTIVITY_WORDS,
    TRI_ACTIVITY_DEPTH = 8
};

/* The record, made of words that are read without a lock; zeroed: nothing begun. */
typedef struct tri_activity_cell {
    atomic_ullong changes; /* odd: being written */
    atomic_llong step;
    atomic_ullong begin_ns;
    atomic_ullong text[TRI_ACTIVITY_WORDS];
} tri_activity_cell;

/* A reading of it. */
typedef struct tri_activity_now {
    uint64_t changes;  /* grows with every begin, end and step: progress; odd: not whole */
    int64_t step;      /* 0: none begun */
    uint64_t begin_ns; /* clock of that host */
    char text[TRI_ACTIVITY_BYTES]; /* "": between operations */
} tri_activity_now;

typedef struct tri_activity tri_activity;

/* Not collective, both. */
TRI_MUST_USE tri_status tri_activity_create(tri_activity **out);
void tri_activity_destroy(tri_activity **activity);

/* Keep the record in `cell` (NULL: in the object) from now on. Not collective; not while others read.
 * Keeps: cell. */
void tri_activity_place(tri_activity *activity, tri_activity_cell *cell);

/* Record operations that end, and collectives (see runtime/coll.h), in `trace`; NULL: nowhere. Not
 * collective. Keeps: trace, for as long as communication is under way. */
void tri_activity_set_trace(tri_activity *activity, tri_trace *trace);
tri_trace *tri_activity_trace(const tri_activity *activity);

/* A step begins: counted from 1; what was under way is forgotten. Not collective. */
void tri_activity_step(tri_activity *activity, int64_t step);

/* Begin an operation within the one that is under way, "backward of micro-batch 2". Not collective. */
void tri_activity_begin(tri_activity *activity, const char *format, ...) TRI_PRINTF(2, 3);

/* The innermost operation is done, and this one follows it. Not collective. */
void tri_activity_next(tri_activity *activity, const char *format, ...) TRI_PRINTF(2, 3);

/* The innermost operation is done. Not collective. */
void tri_activity_end(tri_activity *activity);

/* Where it stands. Not collective; any thread. */
tri_activity_now tri_activity_read(const tri_activity *activity);
tri_activity_now tri_activity_cell_read(const tri_activity_cell *cell);

#endif

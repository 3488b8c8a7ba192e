// SPDX-License-Identifier: Apache-2.0
/* Status codes and the error stack of a thread.
 *
 * A function that can fail returns tri_status. The first function to see a failure raises it with
 * a message (what was attempted, on what, with which values); callers add a frame with TRI_TRY.
 * The library never prints an error: launch/ prints one report for the whole job.
 */
#ifndef TRI_RUNTIME_BASE_STATUS_H
#define TRI_RUNTIME_BASE_STATUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TRI_STATUS_MAP(X)                               \
    X(EINVAL, "invalid argument or configuration")      \
    X(ENOMEM, "out of memory")                          \
    X(EIO, "file or socket error")                      \
    X(EFORMAT, "content is not what was written")       \
    X(ECOMM, "communication failed")                    \
    X(EDEVICE, "accelerator error")                     \
    X(EPEER, "another rank failed")                     \
    X(ETIMEOUT, "deadline passed")                      \
    X(EUNSUP, "not supported by this build or version") \
    X(EDIVERGED, "training diverged")                   \
    X(EBUG, "invariant broken: a bug in this program")

/* What a call came to; TRI_OK is 0. */
typedef enum tri_status {
    TRI_OK = 0,
#define X(name, text) TRI_##name,
    TRI_STATUS_MAP(X)
#undef X
} tri_status;

#define TRI_MUST_USE     __attribute__((warn_unused_result))
#define TRI_PRINTF(f, a) __attribute__((format(printf, f, a)))

/* Raise: record code, place and message, and return the code (said here, and not by the call, so that
 * static analysers see that a failure is not TRI_OK). */
#define TRI_FAIL(code, ...) \
    return ((void)tri_err_raise((code), __FILE__, __LINE__, __func__, __VA_ARGS__), (code))
/* Raise unless `cond` holds: for input, not for our own invariants (assert). */
#define TRI_CHECK(cond, code, ...)                \
    do {                                          \
        if (!(cond)) TRI_FAIL(code, __VA_ARGS__); \
    } while (0)
/* Return on failure and add this frame. */
#define TRI_TRY(...)                                                                       \
    do {                                                                                   \
        tri_status rc_ = (__VA_ARGS__);                                                    \
        if (rc_ != TRI_OK) return (tri_err_trace(rc_, __FILE__, __LINE__, __func__), rc_); \
    } while (0)
/* A system call that answers -1 and errno: TRI_TRY(TRI_SYS(close(fd), "close %s", path)). */
#define TRI_SYS(call, ...) \
    ((call) == -1 ? tri_err_system(__FILE__, __LINE__, __func__, __VA_ARGS__) : TRI_OK)
/* A local that owns: destroyed on every exit from its scope unless taken by TRI_MOVE. */
#define TRI_AUTO(type) __attribute__((cleanup(type##_destroy))) type
#define TRI_MOVE(p)                 \
    __extension__({                 \
        __typeof__(p) taken_ = (p); \
        (p) = NULL;                 \
        taken_;                     \
    })

enum { TRI_ERR_TEXT_BYTES = 768, TRI_ERR_FRAMES = 12 };

/* One place a failure passed through. */
typedef struct tri_err_frame {
    const char *file;
    const char *function;
    int line;
} tri_err_frame;

/* A failure as a value: can be taken from one thread and put into another, or sent to a peer. */
typedef struct tri_err {
    tri_status code;
    int n_frames;
    tri_err_frame frames[TRI_ERR_FRAMES];
    char text[TRI_ERR_TEXT_BYTES];
} tri_err;

/* Record a failure in this thread's error and return `code`. Not collective. */
tri_status tri_err_raise(tri_status code, const char *file, int line, const char *function,
                         const char *format, ...) TRI_PRINTF(5, 6);

/* Like tri_err_raise, from errno: ENOMEM becomes TRI_ENOMEM, all else TRI_EIO; the system's text is
 * appended. Not collective. */
tri_status tri_err_system(const char *file, int line, const char *function, const char *format, ...)
    TRI_PRINTF(4, 5);

/* Add a frame to this thread's error and return `code`. Not collective. */
tri_status tri_err_trace(tri_status code, const char *file, int line, const char *function);

/* This thread's error; code TRI_OK if there is none. Not collective. */
const tri_err *tri_err_last(void);

/* Move this thread's error into `*out` and clear it. Not collective. */
void tri_err_take(tri_err *out);

/* Make `err` this thread's error and return its code. Not collective. */
tri_status tri_err_put(const tri_err *err);

/* Forget this thread's error (the caller has dealt with it). Not collective. */
void tri_err_clear(void);

/* "TRI_EIO" and "file or socket error". Not collective. */
const char *tri_status_name(tri_status code);
const char *tri_status_text(tri_status code);

#ifdef __cplusplus
}
#endif
#endif

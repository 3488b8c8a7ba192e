// SPDX-License-Identifier: Apache-2.0
/* The error of a thread: one message, the frames it passed through. */
#include "runtime/base/status.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static _Thread_local tri_err err_here;

static void err_begin(tri_status code, const char *file, int line, const char *function)
{
    err_here.code = code;
    err_here.n_frames = 0;
    tri_err_trace(code, file, line, function);
}

tri_status tri_err_raise(tri_status code, const char *file, int line, const char *function,
                         const char *format, ...)
{
    err_begin(code, file, line, function);
    va_list args;
    va_start(args, format);
    vsnprintf(err_here.text, sizeof err_here.text, format, args);
    va_end(args);
    return code;
}

tri_status tri_err_system(const char *file, int line, const char *function, const char *format, ...)
{
    int number = errno;
    err_begin(number == ENOMEM ? TRI_ENOMEM : TRI_EIO, file, line, function);
    va_list args;
    va_start(args, format);
    int n = vsnprintf(err_here.text, sizeof err_here.text, format, args);
    va_end(args);
    if (n >= 0 && (size_t)n < sizeof err_here.text) {
        char why[128];
        snprintf(err_here.text + n, sizeof err_here.text - (size_t)n, ": %s",
                 strerror_r(number, why, sizeof why));
    }
    return err_here.code;
}

tri_status tri_err_trace(tri_status code, const char *file, int line, const char *function)
{
    /* raised and passed on in one function: one frame */
    const tri_err_frame *last = err_here.n_frames ? &err_here.frames[err_here.n_frames - 1] : NULL;
    bool is_same = last && last->line == line && strcmp(last->function, function) == 0;
    if (!is_same && err_here.n_frames < TRI_ERR_FRAMES)
        err_here.frames[err_here.n_frames++] = (tri_err_frame){file, function, line};
    return code;
}

const tri_err *tri_err_last(void)
{
    return &err_here;
}

void tri_err_take(tri_err *out)
{
    *out = err_here;
    tri_err_clear();
}

tri_status tri_err_put(const tri_err *err)
{
    err_here = *err;
    return err->code;
}

void tri_err_clear(void)
{
    err_here.code = TRI_OK;
    err_here.n_frames = 0;
    err_here.text[0] = '\0';
}

const char *tri_status_name(tri_status code)
{
    switch (code) {
    case TRI_OK:
        return "TRI_OK";
#define X(name, text) \
    case TRI_##name:  \
        return "TRI_" #name;
        TRI_STATUS_MAP(X)
#undef X
    }
    return "unknown status";
}

const char *tri_status_text(tri_status code)
{
    switch (code) {
    case TRI_OK:
        return "no error";
#define X(name, text) \
    case TRI_##name:  \
        return text;
        TRI_STATUS_MAP(X)
#undef X
    }
    return "unknown status";
}

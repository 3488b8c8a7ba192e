// SPDX-License-Identifier: Apache-2.0
/* Texts of the tools for checkpoints. */
#include "launch/checkpoint_text.h"

void tri_checkpoint_time(time_t when, char *out, size_t bytes)
{
    struct tm parts;
    if (!localtime_r(&when, &parts) || strftime(out, bytes, "%Y-%m-%d %H:%M", &parts) == 0)
        snprintf(out, bytes, "-");
}

void tri_checkpoint_bytes(int64_t n_bytes, char *out, size_t bytes)
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};
    double value = (double)n_bytes;
    size_t unit = 0;
    while (value >= 999.5 && unit + 1 < sizeof units / sizeof *units) {
        value /= 1000;
        unit++;
    }
    snprintf(out, bytes, "%.3g %s", value, units[unit]);
}

void tri_checkpoint_mesh(const int64_t axis[TRI_AXES], char *out, size_t bytes)
{
    size_t n = 0;
    out[0] = '\0';
    for (int a = 0; a < TRI_AXES && n < bytes; a++)
        if (axis[a] > 1)
            n += (size_t)snprintf(out + n, bytes - n, "%s%s %lld", n ? ", " : "",
                                  tri_axis_name((tri_axis)a), (long long)axis[a]);
    if (n == 0) snprintf(out, bytes, "one rank");
}

void tri_checkpoint_json_numbers(FILE *stream, int n, const int64_t *numbers)
{
    fputc('[', stream);
    for (int i = 0; i < n; i++)
        fprintf(stream, "%s%lld", i ? ", " : "", (long long)numbers[i]);
    fputc(']', stream);
}

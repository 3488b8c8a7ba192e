// SPDX-License-Identifier: Apache-2.0
/* Values of command line options. */
#include "launch/commands.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

tri_status tri_option_int(const char *name, const char *text, int64_t min, int64_t max,
                          int64_t *out)
{
    char *end = NULL;
    errno = 0;
    long long number = strtoll(text, &end, 10);
    bool is_number = text[0] && strchr("+-0123456789", text[0]) && end != text && !*end;
    TRI_CHECK(is_number && errno != ERANGE && number >= min && number <= max, TRI_EINVAL,
              "%s '%.40s': takes a whole number from %lld to %lld", name, text, (long long)min,
              (long long)max);
    *out = number;
    return TRI_OK;
}

tri_status tri_option_double(const char *name, const char *text, double min, double max,
                             double *out)
{
    char *end = NULL;
    double number = strtod(text, &end);
    bool is_number = text[0] && strspn(text, "+-.0123456789eE") == strlen(text) && end != text &&
                     !*end && isfinite(number);
    TRI_CHECK(is_number && number >= min && number <= max, TRI_EINVAL,
              "%s '%.40s': takes a number from %g to %g", name, text, min, max);
    *out = number;
    return TRI_OK;
}

tri_status tri_option_fail(const tri_cmd_args *args)
{
    /* optind is behind what getopt_long could not read */
    int at = optind > 1 && optind <= args->argc ? optind - 1 : 0;
    TRI_FAIL(TRI_EINVAL,
             "%s: option '%.60s' is unknown or its value is missing; see `trireme help %s`",
             args->argv[0], args->argv[at], args->argv[0]);
}

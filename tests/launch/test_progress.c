// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1 timeout=30
/* Progress on a terminal and in a pipe, short numbers, option values. */
#include "launch/commands.h"
#include "launch/progress.h"
#include "tests/test.h"

static void run(bool is_terminal, int64_t log_every, char *out, size_t out_bytes)
{
    FILE *stream = fmemopen(out, out_bytes, "w");
    tri_progress progress;
    tri_progress_init(&progress, stream, is_terminal, 10, log_every);
    for (int64_t i = 1; i <= 10; i++) {
        tri_progress_step step = {i, 3.25, 1.5, 1e-3, 0.5, 12345, 0.42};
        tri_progress_show(&progress, &step);
    }
    tri_progress_end(&progress);
    fclose(stream);
}

static int count(const char *text, char c)
{
    int n = 0;
    for (; *text; text++)
        n += *text == c;
    return n;
}

TRI_TEST(pipe_gets_lines)
{
    char text[4096] = "";
    run(false, 4, text, sizeof text);
    EXPECT(count(text, '\n') == 4, "%s", text); /* steps 1, 4, 8, 10 */
    EXPECT(count(text, '\r') == 0 && count(text, '\033') == 0, "%s", text);
    EXPECT(strncmp(text,
                   "step 1/10  loss 3.2500  norm 1.500  lr 1.00e-03  12.3k tokens/s  42 % of peak  "
                   "0:05 left\n",
                   80) == 0,
           "%s", text);
    return TRI_OK;
}

TRI_TEST(terminal_is_rewritten)
{
    char text[4096] = "";
    run(true, 1, text, sizeof text);
    EXPECT(count(text, '\n') == 1 && text[strlen(text) - 1] == '\n', "%s", text);
    EXPECT(count(text, '\r') >= 2 && strstr(text, "step 10/10"), "%s", text);
    return TRI_OK;
}

TRI_TEST(short_numbers)
{
    static const struct {
        double value;
        const char *text;
    } cases[] = {
        {0,       "0"    },
        {7,       "7"    },
        {1.5,     "1.50" },
        {42.25,   "42.2" },
        {999,     "999"  },
        {999.6,   "1.00k"},
        {1000,    "1.00k"},
        {12345,   "12.3k"},
        {99960,   "100k" },
        {1234567, "1.23M"},
        {5e18,    "5000P"}
    };
    char out[24];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        EXPECT(strcmp(tri_progress_short(cases[i].value, out, sizeof out), cases[i].text) == 0,
               "%g is %s", cases[i].value, out);
    EXPECT(strcmp(tri_progress_time(59.6, out, sizeof out), "1:00") == 0, "%s", out);
    EXPECT(strcmp(tri_progress_time(3723, out, sizeof out), "1:02:03") == 0, "%s", out);
    EXPECT(strcmp(tri_progress_time(NAN, out, sizeof out), "?") == 0, "%s", out);
    return TRI_OK;
}

TRI_TEST(option_values)
{
    int64_t n = 0;
    double x = 0;
    TRI_TRY(tri_option_int("--tokens", "12", 1, 20, &n));
    TRI_TRY(tri_option_double("--temperature", "1e-1", 0, 2, &x));
    EXPECT(n == 12 && x == 0.1, "%lld %g", (long long)n, x);
    static const char *const wrong[] = {"", " 1", "1 ", "x", "21", "1.5", "99999999999999999999"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        EXPECT_STATUS(tri_option_int("--tokens", wrong[i], 1, 20, &n), TRI_EINVAL,
                      "takes a whole number from 1 to 20");
    EXPECT_STATUS(tri_option_double("--temperature", "inf", 0, 2, &x), TRI_EINVAL,
                  "--temperature 'inf': takes a number from 0 to 2");
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(pipe_gets_lines), TRI_TEST_ROW(terminal_is_rewritten),
              TRI_TEST_ROW(short_numbers), TRI_TEST_ROW(option_values))

// SPDX-License-Identifier: Apache-2.0
/* The text of a hang: first those who do not answer, then those who answer but wait for nobody (they
 * compute, or loop), then the waiting, those with the same to say in one line.
 */
#include "launch/health_report.h"

#include <string.h>

enum { REPORT_NAMED = 16, REPORT_GROUPS = 24 };

static bool waits(const tri_health_line *line)
{
    return line->source == TRI_HEALTH_ANSWERS && line->wait_s >= 0;
}

static bool is_busy(const tri_health_line *line)
{
    return line->source == TRI_HEALTH_ANSWERS && line->wait_s < 0;
}

/* "step 12, backward of micro-batch 2" */
static void put_place(const tri_health_line *line, FILE *stream)
{
    if (line->step > 0)
        fprintf(stream, "step %lld", (long long)line->step);
    else
        fputs("the start", stream);
    if (line->text[0]) fprintf(stream, ", %s", line->text);
}

static void put_head(const tri_health_line *line, int n_ranks, const char *code, FILE *stream)
{
    fprintf(stream, "error: rank %d of %d", line->rank, n_ranks);
    if (line->host[0]) fprintf(stream, ", host %s", line->host);
    if (line->source != TRI_HEALTH_UNKNOWN) {
        fputs(", ", stream);
        put_place(line, stream);
    }
    fprintf(stream, ": %s\n", code);
}

/* The rank that the report is about: one that does not answer, else the one that has been busy for
 * longest, else the one that noticed. */
static const tri_health_line *find_culprit(const tri_health_line *lines, int n_ranks, int mine)
{
    const tri_health_line *found = NULL;
    for (int r = 0; r < n_ranks; r++) {
        if (lines[r].source != TRI_HEALTH_ANSWERS) return &lines[r];
        if (is_busy(&lines[r]) && (!found || lines[r].still_s > found->still_s)) found = &lines[r];
    }
    return found ? found : &lines[mine];
}

static void put_silent(const tri_health_line *lines, int n_ranks, double limit_s, FILE *stream)
{
    int n = 0;
    for (int r = 0; r < n_ranks; r++) {
        if (lines[r].source == TRI_HEALTH_ANSWERS || n++ >= REPORT_NAMED) continue;
        fprintf(stream, "  rank %d has not come for %.3g s and does not answer: ", r,
                lines[r].source == TRI_HEALTH_SEEN ? lines[r].still_s : limit_s);
        if (lines[r].source == TRI_HEALTH_SEEN) {
            fputs("last seen in ", stream);
            put_place(&lines[r], stream);
            fputc('\n', stream);
        } else {
            fputs("nothing is seen of its host\n", stream);
        }
    }
    if (n > REPORT_NAMED) fprintf(stream, "  and %d more ranks do not answer\n", n - REPORT_NAMED);
}

static void put_busy(const tri_health_line *lines, int n_ranks, FILE *stream)
{
    int n = 0;
    for (int r = 0; r < n_ranks; r++) {
        if (!is_busy(&lines[r]) || n++ >= REPORT_NAMED) continue;
        fprintf(stream, "  rank %d waits for nobody: for %.3g s in ", r, lines[r].still_s);
        put_place(&lines[r], stream);
        fputc('\n', stream);
    }
    if (n > REPORT_NAMED)
        fprintf(stream, "  and %d more ranks wait for nobody\n", n - REPORT_NAMED);
}

static bool is_same(const tri_health_line *a, const tri_health_line *b)
{
    return a->step == b->step && strcmp(a->text, b->text) == 0 && strcmp(a->wait, b->wait) == 0;
}

/* One line for all that wait as rank `first` does. */
static void put_group(const tri_health_line *lines, int n_ranks, int first, FILE *stream)
{
    int n = 0;
    int more = 0;
    for (int r = first; r < n_ranks; r++)
        more += waits(&lines[r]) && is_same(&lines[r], &lines[first]);
    fprintf(stream, "  rank%s", more > 1 ? "s" : "");
    for (int r = first; r < n_ranks && n < REPORT_NAMED; r++) {
        if (!waits(&lines[r]) || !is_same(&lines[r], &lines[first])) continue;
        fprintf(stream, " %d", r);
        n++;
    }
    if (more > n) fprintf(stream, " and %d more", more - n);
    fprintf(stream, " wait%s for %.3g s in ", more > 1 ? "" : "s", lines[first].wait_s);
    put_place(&lines[first], stream);
    fprintf(stream, ": %s\n", lines[first].wait);
}

static void put_waiting(const tri_health_line *lines, int n_ranks, FILE *stream)
{
    int leaders[REPORT_GROUPS];
    int n = 0;
    int left_out = 0;
    for (int r = 0; r < n_ranks; r++) {
        if (!waits(&lines[r])) continue;
        int g = 0;
        while (g < n && !is_same(&lines[leaders[g]], &lines[r]))
            g++;
        if (g < n) continue;
        if (n == REPORT_GROUPS) {
            left_out++;
            continue;
        }
        leaders[n++] = r;
        put_group(lines, n_ranks, r, stream);
    }
    if (left_out) fprintf(stream, "  and %d more ranks wait elsewhere\n", left_out);
}

void tri_health_write_hang(const tri_health_line *lines, int n_ranks, int mine, double limit_s,
                           FILE *stream)
{
    const tri_health_line *culprit = find_culprit(lines, n_ranks, mine);
    char code[128];
    snprintf(code, sizeof code, "%s %s", tri_status_name(TRI_ETIMEOUT),
             tri_status_text(TRI_ETIMEOUT));
    put_head(culprit, n_ranks, code, stream);
    put_silent(lines, n_ranks, limit_s, stream);
    put_busy(lines, n_ranks, stream);
    if (waits(culprit))
        fputs("  no rank is missing: each waits for another, so a message was lost or calls were "
              "made in different orders\n",
              stream);
    put_waiting(lines, n_ranks, stream);
    fprintf(stream, "  no progress for %.3g s (train.hang_seconds): all ranks are ended\n",
            limit_s);
}

void tri_health_write_death(const tri_health_line *dead, int n_ranks, int mine, FILE *stream)
{
    char code[128];
    snprintf(code, sizeof code, "%s %s", tri_status_name(TRI_EPEER), tri_status_text(TRI_EPEER));
    put_head(dead, n_ranks, code, stream);
    fprintf(stream,
            "  its process died without a word: it crashed, or was killed (by hand, or for want "
            "of memory); rank %d noticed\n  %d other rank%s stopped\n",
            mine, n_ranks - 1, n_ranks > 2 ? "s" : "");
}

// SPDX-License-Identifier: Apache-2.0
/* metrics.jsonl reads back to the same bits, the event file by a reader of its own; a resumed run
 * leaves each step once.
 */
// TEST ranks=1 timeout=60
#include "runtime/base/crc.h"
#include "runtime/metrics.h"
#include "runtime/metrics/tensorboard.h"

#include "tests/folder.h"
#include "tests/test.h"

enum { MAX_EVENTS = 64, MAX_VALUES = 32, FILE_BYTES = 1 << 16 };

/* A row whose numbers are hard to print. */
static tri_metrics_row row_at(int64_t step)
{
    return (tri_metrics_row){.step = step,
                             .loss = 10.0 / 3.0 / (double)step,
                             .grad_norm = 0.1 + 1e-17 * (double)step,
                             .lr = 1e-3 * (double)step / 7.0,
                             .samples = step * 32,
                             .tokens = step * 9007199254740993,
                             .tokens_per_s = 5e-324,
                             .mfu = NAN,
                             .step_s = 1.7976931348623157e308,
                             .comm_exposed_s = INFINITY,
                             .memory_bytes = INT64_MAX};
}

static tri_status open_at(tri_folder *folder, int64_t resume_step, tri_metrics **out)
{
    tri_metrics_args args = {.dir = folder->path, .resume_step = resume_step};
    TRI_TRY(tri_metrics_open(&args, out));
    return TRI_OK;
}

static tri_status write_rows(tri_folder *folder, int64_t resume_step, int64_t from, int64_t to)
{
    TRI_AUTO(tri_metrics) *metrics = NULL;
    TRI_TRY(open_at(folder, resume_step, &metrics));
    for (int64_t step = from; step <= to; step++) {
        tri_metrics_row row = row_at(step);
        if (step % 4 == 0) row.extra[row.n_extra++] = (tri_metrics_extra){"eval_loss", 1.0 / 3.0};
        TRI_TRY(tri_metrics_write(metrics, &row));
    }
    TRI_TRY(tri_metrics_close(&metrics));
    return TRI_OK;
}

static tri_status slurp(tri_folder *folder, const char *name, char text[FILE_BYTES], size_t *bytes)
{
    FILE *file = fopen(tri_folder_at(folder, name), "r");
    TRI_CHECK(file, TRI_EIO, "opening %s", folder->file);
    *bytes = fread(text, 1, FILE_BYTES - 1, file);
    fclose(file);
    text[*bytes] = '\0';
    return TRI_OK;
}

/* The text behind "key": in a line. */
static const char *value_of(const char *line, const char *key)
{
    char quoted[64];
    snprintf(quoted, sizeof quoted, "\"%s\":", key);
    const char *at = strstr(line, quoted);
    return at ? at + strlen(quoted) : "missing";
}

static void expect_line(const char *line, int64_t step)
{
    tri_metrics_row want = row_at(step);
    EXPECT(strtoll(value_of(line, "step"), NULL, 10) == step, "step %lld in '%.60s'",
           (long long)step, line);
    EXPECT(strtod(value_of(line, "loss"), NULL) == want.loss, "%.80s", line);
    EXPECT(strtod(value_of(line, "grad_norm"), NULL) == want.grad_norm, "%.80s", line);
    EXPECT(strtod(value_of(line, "lr"), NULL) == want.lr, "%.80s", line);
    EXPECT(strtod(value_of(line, "tokens_per_s"), NULL) == want.tokens_per_s, "%s", line);
    EXPECT(strtod(value_of(line, "step_s"), NULL) == want.step_s, "%s", line);
    EXPECT(strtoll(value_of(line, "samples"), NULL, 10) == want.samples, "%s", line);
    EXPECT(strtoll(value_of(line, "tokens"), NULL, 10) == want.tokens, "%s", line);
    EXPECT(strtoll(value_of(line, "memory_bytes"), NULL, 10) == want.memory_bytes, "%s", line);
    EXPECT(strncmp(value_of(line, "mfu"), "null,", 5) == 0, "%s", line);
    EXPECT(strncmp(value_of(line, "comm_exposed_s"), "null,", 5) == 0, "%s", line);
    bool has_eval = strncmp(value_of(line, "eval_loss"), "missing", 7) != 0;
    EXPECT(has_eval == (step % 4 == 0), "%s", line);
}

/* Rows 1 to n, in order, each once. */
static tri_status expect_rows(tri_folder *folder, int64_t n)
{
    static char text[FILE_BYTES];
    size_t bytes = 0;
    TRI_TRY(slurp(folder, "metrics.jsonl", text, &bytes));
    int64_t step = 0;
    for (char *line = text; *line; line++) {
        char *end = strchr(line, '\n');
        TRI_CHECK(end, TRI_EFORMAT, "a line without its end");
        *end = '\0';
        EXPECT(line[0] == '{' && end[-1] == '}', "%s", line);
        expect_line(line, ++step);
        line = end;
    }
    EXPECT(step == n, "%lld rows, %lld wanted", (long long)step, (long long)n);
    return TRI_OK;
}

/* What the reader below finds. */
typedef struct event {
    double wall_time;
    int64_t step;
    char version[32];
    int n_values;
    char tag[MAX_VALUES][64];
    float value[MAX_VALUES];
} event;

/* A field of a protobuf message: its number, and its value or bytes. */
typedef struct field {
    unsigned number;
    uint64_t value;
    const unsigned char *data;
    size_t bytes;
} field;

static uint64_t read_varint(const unsigned char **at)
{
    uint64_t value = 0;
    for (int shift = 0;; shift += 7) {
        value |= (uint64_t)(**at & 0x7f) << shift;
        if (*(*at)++ < 0x80) return value;
    }
}

static field read_field(const unsigned char **at)
{
    uint64_t key = read_varint(at);
    field out = {.number = (unsigned)(key >> 3)};
    unsigned wire = key & 7;
    if (wire == 0) {
        out.value = read_varint(at);
        return out;
    }
    out.bytes = wire == 1 ? 8 : wire == 5 ? 4 : (size_t)read_varint(at);
    out.data = *at;
    *at += out.bytes;
    return out;
}

static void read_value(field summary, event *out)
{
    const unsigned char *at = summary.data;
    while (at < summary.data + summary.bytes) {
        field value = read_field(&at);
        const unsigned char *inner = value.data;
        EXPECT(value.number == 1 && out->n_values < MAX_VALUES, "field %u", value.number);
        while (inner < value.data + value.bytes) {
            field part = read_field(&inner);
            if (part.number == 1 && part.data)
                memcpy(out->tag[out->n_values], part.data, part.bytes);
            if (part.number == 2 && part.data) memcpy(&out->value[out->n_values], part.data, 4);
        }
        EXPECT(inner == value.data + value.bytes, "value of wrong length");
        out->n_values++;
    }
}

static uint32_t unmask(uint32_t masked)
{
    uint32_t rotated = masked - 0xa282ead8u;
    return rotated >> 17 | rotated << 15;
}

/* Read a whole event file, checking every checksum. */
static tri_status read_events(tri_folder *folder, event *events, int *n)
{
    static char text[FILE_BYTES];
    size_t bytes = 0;
    TRI_TRY(slurp(folder, "events.out.tfevents.trireme", text, &bytes));
    *n = 0;
    for (size_t at = 0; at < bytes; (*n)++) {
        uint64_t length = 0;
        uint32_t crc = 0;
        memcpy(&length, text + at, 8);
        memcpy(&crc, text + at + 8, 4);
        TRI_CHECK(unmask(crc) == tri_crc32c(text + at, 8), TRI_EFORMAT, "crc of a length");
        TRI_CHECK(at + 16 + length <= bytes && *n < MAX_EVENTS, TRI_EFORMAT, "length of a record");
        memcpy(&crc, text + at + 12 + length, 4);
        TRI_CHECK(unmask(crc) == tri_crc32c(text + at + 12, length), TRI_EFORMAT, "crc of data");
        const unsigned char *in = (const unsigned char *)text + at + 12;
        const unsigned char *end = in + length;
        event *e = &events[*n];
        *e = (event){0};
        while (in < end) {
            field f = read_field(&in);
            if (f.number == 1 && f.data) memcpy(&e->wall_time, f.data, 8);
            if (f.number == 2) e->step = (int64_t)f.value;
            if (f.number == 3 && f.data) memcpy(e->version, f.data, f.bytes);
            if (f.number == 5) read_value(f, e);
        }
        EXPECT(in == end, "event of wrong length");
        at += 16 + length;
    }
    return TRI_OK;
}

/* Steps 1 to n, each once, with the finite numbers of row_at. */
static tri_status expect_events(tri_folder *folder, int64_t n_steps)
{
    static event events[MAX_EVENTS];
    int n = 0;
    TRI_TRY(read_events(folder, events, &n));
    EXPECT(n == n_steps + 1, "%d events", n);
    EXPECT(strcmp(events[0].version, "brain.Event:2") == 0, "'%s'", events[0].version);
    for (int64_t i = 1; i < n; i++) {
        const event *e = &events[i];
        tri_metrics_row want = row_at(i);
        EXPECT(e->step == i, "event %lld is of step %lld", (long long)i, (long long)e->step);
        EXPECT(e->wall_time > 1.6e9 && e->wall_time < 1e11, "at %g", e->wall_time);
        /* step_s overflows fp32, mfu and comm_exposed_s are not finite: left out */
        EXPECT(e->n_values == 7 + (i % 4 == 0), "%d values", e->n_values);
        EXPECT(strcmp(e->tag[0], "loss") == 0 && e->value[0] == (float)want.loss, "%s %g",
               e->tag[0], (double)e->value[0]);
        EXPECT(strcmp(e->tag[2], "lr") == 0 && e->value[2] == (float)want.lr, "%s %g", e->tag[2],
               (double)e->value[2]);
        if (i % 4 == 0)
            EXPECT(strcmp(e->tag[7], "eval_loss") == 0 && e->value[7] == (float)(1.0 / 3.0),
                   "%s %g", e->tag[7], (double)e->value[7]);
    }
    return TRI_OK;
}

TRI_TEST(rows_read_back)
{
    TRI_AUTO(tri_folder) *folder = NULL;
    TRI_TRY(tri_folder_create(&folder));
    TRI_TRY(write_rows(folder, 0, 1, 9));
    TRI_TRY(expect_rows(folder, 9));
    TRI_TRY(expect_events(folder, 9));
    return TRI_OK;
}

TRI_TEST(resume_drops_later_rows)
{
    TRI_AUTO(tri_folder) *folder = NULL;
    TRI_TRY(tri_folder_create(&folder));
    TRI_TRY(write_rows(folder, 0, 1, 9));
    TRI_TRY(write_rows(folder, 5, 6, 12));
    TRI_TRY(expect_rows(folder, 12));
    TRI_TRY(expect_events(folder, 12));
    TRI_TRY(write_rows(folder, 12, 13, 12));
    TRI_TRY(expect_rows(folder, 12));
    TRI_TRY(write_rows(folder, 0, 1, 3));
    TRI_TRY(expect_rows(folder, 3));
    TRI_TRY(expect_events(folder, 3));
    return TRI_OK;
}

TRI_TEST(resume_after_a_crash)
{
    TRI_AUTO(tri_folder) *folder = NULL;
    TRI_TRY(tri_folder_create(&folder));
    for (int cut = 1; cut < 60; cut += 7) {
        TRI_TRY(write_rows(folder, 0, 1, 9));
        static const char *const names[] = {"metrics.jsonl", "events.out.tfevents.trireme"};
        for (int i = 0; i < 2; i++) {
            struct stat info;
            TRI_TRY(TRI_SYS(stat(tri_folder_at(folder, names[i]), &info), "stat"));
            TRI_TRY(TRI_SYS(truncate(folder->file, info.st_size - cut), "truncate"));
        }
        TRI_TRY(write_rows(folder, 8, 9, 10));
        TRI_TRY(expect_rows(folder, 10));
        TRI_TRY(expect_events(folder, 10));
    }
    TRI_TRY(write_rows(folder, 0, 1, 4));
    char zeros[5000] = {0};
    TRI_TRY(tri_folder_put(folder, "metrics.jsonl", "a", zeros, sizeof zeros));
    TRI_TRY(write_rows(folder, 4, 5, 6));
    TRI_TRY(expect_rows(folder, 6));
    return TRI_OK;
}

TRI_TEST(foreign_files_are_left_alone)
{
    TRI_AUTO(tri_folder) *folder = NULL;
    TRI_TRY(tri_folder_create(&folder));
    TRI_AUTO(tri_metrics) *metrics = NULL;
    static const char note[] = "my notes\nof this run\n";
    TRI_TRY(tri_folder_put(folder, "metrics.jsonl", "w", note, sizeof note - 1));
    EXPECT_STATUS(open_at(folder, 3, &metrics), TRI_EFORMAT, "metrics.jsonl:1 is no row");
    static char text[FILE_BYTES];
    size_t bytes = 0;
    TRI_TRY(slurp(folder, "metrics.jsonl", text, &bytes));
    EXPECT(strcmp(text, note) == 0, "'%s'", text);
    TRI_TRY(TRI_SYS(unlink(folder->file), "unlink"));
    TRI_TRY(tri_folder_put(folder, "events.out.tfevents.trireme", "w", note, sizeof note - 1));
    EXPECT_STATUS(open_at(folder, 3, &metrics), TRI_EFORMAT, "no event file of this program");
    tri_metrics_args nowhere = {.dir = "/nonexistent/run"};
    EXPECT_STATUS(tri_metrics_open(&nowhere, &metrics), TRI_EIO, "/nonexistent/run/");
    return TRI_OK;
}

TRI_TEST(extras_are_checked_and_no_allocation)
{
    TRI_AUTO(tri_folder) *folder = NULL;
    TRI_TRY(tri_folder_create(&folder));
    TRI_AUTO(tri_metrics) *metrics = NULL;
    TRI_TRY(open_at(folder, 0, &metrics));
    tri_metrics_row row = row_at(1);
    row.n_extra = 1;
    row.extra[0].name = "a\"b";
    EXPECT_STATUS(tri_metrics_write(metrics, &row), TRI_EINVAL, "metric 'a\"b'");
    row.extra[0].name = "loss";
    EXPECT_STATUS(tri_metrics_write(metrics, &row), TRI_EINVAL, "field of every row");
    row.n_extra = TRI_METRICS_MAX_EXTRA + 1;
    EXPECT_STATUS(tri_metrics_write(metrics, &row), TRI_EINVAL, "25 extra");
    row.n_extra = TRI_METRICS_MAX_EXTRA;
    char names[TRI_METRICS_MAX_EXTRA][TRI_SCALAR_TAG_BYTES + 1];
    for (int i = 0; i < TRI_METRICS_MAX_EXTRA; i++) {
        memset(names[i], 'a' + i, TRI_SCALAR_TAG_BYTES);
        names[i][TRI_SCALAR_TAG_BYTES] = '\0';
        row.extra[i] = (tri_metrics_extra){names[i], 0.1 + 0.2};
    }
    int64_t before = tri_alloc_count();
    TRI_TRY(tri_metrics_write(metrics, &row));
    EXPECT(tri_alloc_count() == before, "writing allocates");
    TRI_TRY(tri_metrics_close(&metrics));
    static event events[MAX_EVENTS];
    int n = 0;
    TRI_TRY(read_events(folder, events, &n));
    EXPECT(n == 2 && events[1].n_values == 7 + TRI_METRICS_MAX_EXTRA, "%d", events[1].n_values);
    return TRI_OK;
}

/* A note stands before its row, in both files, and is cut off with it. */
TRI_TEST(notes_are_kept_like_rows)
{
    TRI_AUTO(tri_folder) *folder = NULL;
    TRI_TRY(tri_folder_create(&folder));
    static const tri_metrics_extra numbers[] = {
        {"rolled_back_from", 9  },
        {"rolled_back_loss", NAN}
    };
    TRI_TRY(write_rows(folder, 0, 1, 5));
    for (int64_t from = 5; from >= 4; from--) {
        static char text[FILE_BYTES];
        static event events[MAX_EVENTS];
        size_t bytes = 0;
        int n = 0;
        TRI_AUTO(tri_metrics) *metrics = NULL;
        TRI_TRY(open_at(folder, from, &metrics));
        TRI_TRY(tri_metrics_note(metrics, from + 1, 2, numbers));
        TRI_TRY(tri_metrics_close(&metrics));
        TRI_TRY(slurp(folder, "metrics.jsonl", text, &bytes));
        const char *last = strstr(text, "rolled_back_from");
        EXPECT(last && !strstr(last + 1, "rolled_back_from"), "the older note is there: %s", text);
        char want[96];
        snprintf(want, sizeof want,
                 "{\"step\":%lld,\"rolled_back_from\":9,\"rolled_back_loss\":null}\n",
                 (long long)from + 1);
        EXPECT(strcmp(text + bytes - strlen(want), want) == 0, "%s", text);
        TRI_TRY(read_events(folder, events, &n));
        EXPECT(n == from + 2 && events[n - 1].step == from + 1 && events[n - 1].n_values == 1,
               "%d events", n);
        if (from == 5) TRI_TRY(write_rows(folder, 6, 6, 9));
    }
    TRI_TRY(write_rows(folder, 4, 5, 9));
    TRI_TRY(expect_rows(folder, 9));
    return TRI_OK;
}

TRI_TEST(full_disk_is_reported)
{
    TRI_AUTO(tri_tensorboard) *board = NULL;
    if (access("/dev/full", W_OK) != 0) return TRI_OK;
    EXPECT_STATUS(tri_tensorboard_open("/dev/full", -1, &board), TRI_EIO, "/dev/full");
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(rows_read_back), TRI_TEST_ROW(resume_drops_later_rows),
              TRI_TEST_ROW(resume_after_a_crash), TRI_TEST_ROW(foreign_files_are_left_alone),
              TRI_TEST_ROW(extras_are_checked_and_no_allocation),
              TRI_TEST_ROW(notes_are_kept_like_rows), TRI_TEST_ROW(full_disk_is_reported))

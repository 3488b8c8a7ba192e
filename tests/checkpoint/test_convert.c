// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1 timeout=180
/* Conversion: another layout by links, which outlives its source and a crash at any point; one plain file
 * with every row whole.
 */
#include "checkpoint/convert.h"

#include "checkpoint/consolidate.h"
#include "checkpoint/disk.h"
#include "checkpoint/verify.h"
#include "runtime/h5.h"
#include "tests/checkpoint/fixture_run.h"

#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

static const fixture_layout layouts[] = {
    {{1, 1, 1, 1}, HOLD_WHOLE },
    {{1, 4, 1, 1}, HOLD_SHARDS},
    {{1, 4, 1, 1}, HOLD_PAIRS },
    {{2, 1, 1, 3}, HOLD_WHOLE },
    {{2, 2, 1, 2}, HOLD_SHARDS},
};
enum { LAYOUTS = sizeof layouts / sizeof *layouts };

/* A folder of checkpoints, beside which others are made. */
typedef struct place {
    char top[64];
    char from[80];
    char to[80];
} place;

static void place_destroy(place *p)
{
    if (p->top[0]) fixture_remove(p->top, 2);
}

static tri_status place_create(place *p)
{
    TRI_TRY(fixture_folder(p->top));
    snprintf(p->from, sizeof p->from, "%s/from", p->top);
    snprintf(p->to, sizeof p->to, "%s/to", p->top);
    return TRI_OK;
}

static tri_status save(const fixture_layout *layout, const char *dir, int64_t step)
{
    fixture_job job = {.layout = *layout, .dir = dir, .step = step, .body = fixture_body_save};
    return fixture_run(job);
}

static tri_status restore(const fixture_layout *layout, const char *dir, int64_t step)
{
    fixture_job job = {.layout = *layout, .dir = dir, .step = step, .body = fixture_body_restore};
    return fixture_run(job);
}

/* Convert the newest of `from` into `to`. */
static tri_status convert(const char *from, const char *to, const fixture_layout *layout,
                          const tri_ckpt_hook *hook, tri_ckpt_info *source, tri_ckpt_info *made)
{
    char path[TRI_CKPT_PATH_BYTES];
    int64_t n_linked = 0;
    TRI_TRY(tri_ckpt_read_info(from, source));
    tri_convert_args args = {
        .source = source->path, .dir = to, .job_yaml = "name: other\n", .version = "test 2"};
    memcpy(args.mesh, layout->size, sizeof args.mesh);
    if (hook) args.hook = *hook;
    TRI_TRY(tri_convert_layout(&args, path, &n_linked));
    EXPECT(n_linked >= 1, "%lld files linked", (long long)n_linked);
    TRI_TRY(tri_ckpt_read_info(path, made));
    return tri_ckpt_verify(path);
}

static void expect_facts(const tri_ckpt_info *source, const tri_ckpt_info *made,
                         const fixture_layout *layout, uint64_t sequence)
{
    EXPECT(made->sequence == sequence && made->step == source->step &&
               strcmp(made->parent, source->uuid) == 0 && strcmp(made->uuid, source->uuid) != 0 &&
               strcmp(made->job_yaml, "name: other\n") == 0 &&
               strcmp(made->version, "test 2") == 0 &&
               memcmp(made->mesh, layout->size, sizeof made->mesh) == 0,
           "sequence %lld, step %lld, parent %s", (long long)made->sequence, (long long)made->step,
           made->parent);
}

/* The values of a row in an open file, which has them whole. */
static tri_status expect_row(tri_h5 *h5, const fixture_row *row, int64_t step)
{
    TRI_AUTO(tri_h5_dataset) *dataset = NULL;
    char values[1 << 14];
    TRI_TRY(tri_h5_dataset_open(h5, row->name, &dataset));
    int64_t shape[TRI_MAX_DIMS] = {0};
    EXPECT(tri_h5_dataset_shape(dataset, shape) == row->n_dims &&
               memcmp(shape, row->shape, (size_t)row->n_dims * sizeof *shape) == 0,
           "row %s has another shape", row->name);
    int64_t n = tri_h5_dataset_count(dataset);
    size_t bytes = tri_dtype_bytes(row->dtype);
    TRI_TRY(tri_h5_dataset_read(dataset, 0, n, row->dtype, values));
    int64_t wrong = 0;
    for (int64_t i = 0; i < n; i++) {
        uint64_t bits = fixture_bits(row->dtype, fixture_value(row->name, i, step));
        wrong += memcmp(values + (size_t)i * bytes, &bits, bytes) != 0;
    }
    EXPECT(wrong == 0, "row %s: %lld of %lld values are wrong", row->name, (long long)wrong,
           (long long)n);
    return TRI_OK;
}

static tri_status expect_rows(const char *file, int64_t step)
{
    TRI_AUTO(tri_h5) *h5 = NULL;
    TRI_TRY(tri_h5_open_own(file, &h5));
    for (int i = 0; i < FIXTURE_ROWS; i++)
        TRI_TRY(expect_row(h5, &fixture_rows[i], step));
    return TRI_OK;
}

static tri_status convert_and_delete(int from, int to)
{
    TRI_AUTO(place) p = {{0}, {0}, {0}};
    TRI_TRY(place_create(&p));
    TRI_TRY(save(&layouts[from], p.from, 7 + from));
    tri_ckpt_info source = {0};
    tri_ckpt_info made = {0};
    TRI_TRY(convert(p.from, p.to, &layouts[to], NULL, &source, &made));
    expect_facts(&source, &made, &layouts[to], 1);
    TRI_TRY(restore(&layouts[to], p.to, 7 + from));

    /* without its source; and a conversion of a conversion, whose files are of the first */
    fixture_remove(p.from, 1);
    TRI_TRY(restore(&layouts[to], p.to, 7 + from));
    TRI_TRY(tri_ckpt_verify(made.path));
    tri_ckpt_info_fini(&source);
    tri_ckpt_info_fini(&made);
    TRI_TRY(convert(p.to, p.to, &layouts[from], NULL, &source, &made));
    expect_facts(&source, &made, &layouts[from], 2);
    TRI_TRY(tri_folder_remove(p.to, strrchr(source.path, '/') + 1, NULL));
    TRI_TRY(restore(&layouts[from], p.to, 7 + from));
    char view[TRI_DISK_PATH_BYTES];
    TRI_TRY(tri_disk_path(view, made.path, "universal.h5", ""));
    TRI_TRY(expect_rows(view, 7 + from));

    /* the next save goes on from it */
    TRI_TRY(save(&layouts[from], p.to, 100));
    TRI_TRY(restore(&layouts[to], p.to, 100));
    tri_ckpt_info_fini(&source);
    tri_ckpt_info_fini(&made);
    return TRI_OK;
}

TRI_TEST(it_outlives_its_source)
{
    for (int from = 0; from < LAYOUTS; from++)
        TRI_TRY(convert_and_delete(from, (from + 1) % LAYOUTS));
    return TRI_OK;
}

TRI_TEST(files_are_the_same_files)
{
    TRI_AUTO(place) p = {{0}, {0}, {0}};
    TRI_TRY(place_create(&p));
    TRI_TRY(save(&layouts[1], p.from, 1));
    tri_ckpt_info source = {0};
    tri_ckpt_info made = {0};
    TRI_TRY(convert(p.from, p.to, &layouts[0], NULL, &source, &made));
    TRI_AUTO(tri_manifest) *m = NULL;
    TRI_TRY(tri_manifest_read(made.path, &m));
    for (int64_t i = 0; i < m->head.n_files; i++) {
        char a[TRI_DISK_PATH_BYTES];
        char b[TRI_DISK_PATH_BYTES];
        struct stat from = {0};
        struct stat to = {0};
        TRI_TRY(tri_disk_path(a, source.path, m->files[i].name, ""));
        TRI_TRY(tri_disk_path(b, made.path, m->files[i].name, ""));
        EXPECT(stat(a, &from) == 0 && stat(b, &to) == 0, "%s", b);
        bool is_view = strcmp(m->files[i].name, TRI_MANIFEST_VIEW) == 0;
        EXPECT((from.st_ino == to.st_ino) == !is_view, "%s: %s", b, is_view ? "shared" : "copied");
        EXPECT(strcmp(m->files[i].uuid, is_view ? made.uuid : source.uuid) == 0, "%s is of %s", b,
               m->files[i].uuid);
    }
    tri_ckpt_info_fini(&source);
    tri_ckpt_info_fini(&made);
    return TRI_OK;
}

static void die_at(void *arg, tri_ckpt_point point)
{
    if (point == *(const tri_ckpt_point *)arg) kill(getpid(), SIGKILL);
}

static tri_status crash_at(tri_ckpt_point point)
{
    TRI_AUTO(place) p = {{0}, {0}, {0}};
    TRI_TRY(place_create(&p));
    TRI_TRY(save(&layouts[1], p.from, 2));
    TRI_TRY(save(&layouts[0], p.to, 1));
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        tri_ckpt_hook hook = {die_at, &point};
        tri_ckpt_info source = {0};
        tri_ckpt_info made = {0};
        _exit(convert(p.from, p.to, &layouts[0], &hook, &source, &made) == TRI_OK ? 0 : 3);
    }
    int status = 0;
    EXPECT(waitpid(child, &status, 0) == child && WIFSIGNALED(status), "point %d: status %x",
           (int)point, (unsigned)status);
    TRI_TRY(restore(&layouts[0], p.to, point >= TRI_CKPT_AT_COMMITTED ? 2 : 1));
    TRI_TRY(restore(&layouts[0], p.from, 2));
    TRI_TRY(save(&layouts[0], p.to, 3)); /* removes what was left half-made */
    TRI_TRY(restore(&layouts[1], p.to, 3));
    TRI_TRY(restore(&layouts[1], p.from, 2));
    TRI_AUTO(tri_folder) folder = {0};
    TRI_TRY(tri_folder_list(p.to, &folder));
    for (int64_t i = 0; i < folder.n; i++)
        EXPECT(folder.entries[i].state == TRI_FOLDER_COMMITTED, "point %d: %s is left", (int)point,
               folder.entries[i].name);
    return TRI_OK;
}

TRI_TEST(killed_at_every_point)
{
    static const tri_ckpt_point points[] = {TRI_CKPT_AT_FOLDER, TRI_CKPT_AT_SHARD, TRI_CKPT_AT_VIEW,
                                            TRI_CKPT_AT_MANIFEST_SYNCED, TRI_CKPT_AT_COMMITTED};
    for (size_t i = 0; i < sizeof points / sizeof *points; i++)
        TRI_TRY(crash_at(points[i]));
    return TRI_OK;
}

/* Cut the last byte of a file of the newest checkpoint. */
static tri_status cut(const char *dir, const char *name)
{
    char path[TRI_DISK_PATH_BYTES];
    struct stat about = {.st_size = 1};
    tri_ckpt_info info = {0};
    TRI_TRY(tri_ckpt_read_info(dir, &info));
    TRI_TRY(tri_disk_path(path, info.path, name, ""));
    EXPECT(stat(path, &about) == 0 && truncate(path, about.st_size - 1) == 0, "%s", path);
    tri_ckpt_info_fini(&info);
    return TRI_OK;
}

TRI_TEST(what_cannot_be_converted)
{
    TRI_AUTO(place) p = {{0}, {0}, {0}};
    TRI_TRY(place_create(&p));
    TRI_TRY(save(&layouts[1], p.from, 1));
    tri_ckpt_info source = {0};
    char path[TRI_CKPT_PATH_BYTES];
    TRI_TRY(tri_ckpt_read_info(p.from, &source));
    tri_convert_args args = {
        .source = source.path,
        .dir = "/dev/shm/trireme_test_convert",
        .mesh = {1, 1, 1, 1},
        .job_yaml = ""
    };
    struct stat here = {0};
    struct stat there = {0};
    EXPECT(stat("/tmp", &here) == 0, "/tmp");
    if (stat("/dev/shm", &there) == 0 && here.st_dev != there.st_dev) {
        EXPECT_STATUS(tri_convert_layout(&args, path, NULL), TRI_EINVAL, "different file systems");
        EXPECT_STATUS(tri_convert_layout(&args, path, NULL), TRI_EINVAL, source.path);
        EXPECT_STATUS(tri_convert_layout(&args, path, NULL), TRI_EINVAL, args.dir);
        EXPECT(rmdir(args.dir) == 0, "%s is not empty", args.dir);
    }
    args.dir = p.to;
    args.source = p.from;
    EXPECT_STATUS(tri_convert_layout(&args, path, NULL), TRI_EIO, "manifest.h5");
    args.source = source.path;
    TRI_TRY(cut(p.from, "shard-00001.h5"));
    EXPECT_STATUS(tri_convert_layout(&args, path, NULL), TRI_EFORMAT, "shard-00001.h5");
    EXPECT(access(p.to, F_OK) == -1, "%s was made", p.to);
    tri_ckpt_info_fini(&source);
    return TRI_OK;
}

TRI_TEST(one_plain_file)
{
    for (int from = 0; from < LAYOUTS; from++) {
        TRI_AUTO(place) p = {{0}, {0}, {0}};
        TRI_TRY(place_create(&p));
        TRI_TRY(save(&layouts[from], p.from, 5));
        tri_ckpt_info source = {0};
        char file[96];
        snprintf(file, sizeof file, "%s/whole.h5", p.top);
        TRI_TRY(tri_ckpt_read_info(p.from, &source));
        int64_t n_bytes = 0;
        struct stat about = {0};
        TRI_TRY(tri_consolidate(source.path, file, &n_bytes));
        EXPECT(stat(file, &about) == 0 && about.st_size == n_bytes, "%s has %lld bytes", file,
               (long long)about.st_size);
        fixture_remove(p.from, 1); /* whole means: without the shards */
        TRI_TRY(expect_rows(file, 5));
        TRI_AUTO(tri_h5) *h5 = NULL;
        char text[64];
        int64_t step = 0;
        int64_t mesh[TRI_AXES];
        TRI_TRY(tri_h5_open(file, &h5));
        TRI_TRY(tri_h5_get_ints(h5, "/", "step", 1, &step));
        TRI_TRY(tri_h5_get_ints(h5, "/", "mesh", TRI_AXES, mesh));
        EXPECT(step == 5 && mesh[TRI_AXIS_TENSOR] == layouts[from].size[TRI_AXIS_TENSOR],
               "step %lld", (long long)step);
        TRI_TRY(tri_h5_get_text(h5, "/", "uuid", sizeof text, text));
        EXPECT(strcmp(text, source.uuid) == 0, "uuid %s", text);
        TRI_TRY(tri_h5_get_text(h5, "param/embed", "external", sizeof text, text));
        EXPECT(strcmp(text, "hf.0") == 0, "external %s", text);
        char job[12];
        TRI_TRY(tri_h5_read_text(h5, "job.yaml", 1, strlen("name: test\n"), job));
        EXPECT(strncmp(job, "name: test\n", strlen("name: test\n")) == 0, "another job");
        tri_ckpt_info_fini(&source);
    }
    return TRI_OK;
}

TRI_TEST(no_plain_file_of_damaged_rows)
{
    TRI_AUTO(place) p = {{0}, {0}, {0}};
    TRI_TRY(place_create(&p));
    TRI_TRY(save(&layouts[1], p.from, 5));
    tri_ckpt_info source = {0};
    char file[96];
    snprintf(file, sizeof file, "%s/whole.h5", p.top);
    TRI_TRY(tri_ckpt_read_info(p.from, &source));
    TRI_AUTO(tri_manifest) *m = NULL;
    TRI_TRY(tri_manifest_read(source.path, &m));
    char path[TRI_DISK_PATH_BYTES];
    TRI_AUTO(tri_disk_fd) fd = -1;
    TRI_TRY(tri_disk_path(path, source.path, m->files[m->boxes[3].file].name, ""));
    TRI_TRY(tri_disk_open(path, true, &fd, NULL));
    char byte = 0;
    TRI_TRY(tri_disk_read(fd, path, &byte, 1, m->boxes[3].offset));
    byte = (char)~byte;
    TRI_TRY(tri_disk_write(fd, path, &byte, 1, m->boxes[3].offset));
    EXPECT_STATUS(tri_consolidate(source.path, file, NULL), TRI_EFORMAT,
                  m->rows[m->boxes[3].row].name);
    DIR *stream = opendir(p.top);
    struct dirent *entry = NULL;
    while (stream && (entry = readdir(stream)))
        EXPECT(!strstr(entry->d_name, "whole"), "%s is left", entry->d_name);
    if (stream) closedir(stream);
    EXPECT_STATUS(tri_consolidate(source.path, path, NULL), TRI_EINVAL, "is there already");
    tri_ckpt_info_fini(&source);
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(it_outlives_its_source), TRI_TEST_ROW(files_are_the_same_files),
              TRI_TEST_ROW(killed_at_every_point), TRI_TEST_ROW(what_cannot_be_converted),
              TRI_TEST_ROW(one_plain_file), TRI_TEST_ROW(no_plain_file_of_damaged_rows))

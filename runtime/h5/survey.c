// SPDX-License-Identifier: Apache-2.0
/* The child: nothing that happens here reaches the job but through the pipe. It is given some memory and
 * some time; whatever it does not survive is an answer, too.
 */
#include "runtime/h5/survey.h"

#include "runtime/base/int.h"
#include "runtime/h5/type.h"

#include <errno.h>
#include <fcntl.h>
#include <hdf5.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

enum { SURVEY_CPU_S = 20, SURVEY_MEMORY_BYTES = 256 << 20, SURVEY_OBJECT_BYTES = 16 };

#if H5_VERSION_GE(1, 12, 0)
typedef H5L_info1_t survey_link;
#define SURVEY_VISIT H5Lvisit1
#else
typedef H5L_info_t survey_link;
#define SURVEY_VISIT H5Lvisit
#endif

typedef struct survey {
    int out;
    hid_t file;
    int64_t file_bytes;
    int64_t n_left; /* records that a file of this size may have */
    bool has_user_block;
} survey;

static bool survey_write(int out, const void *data, size_t n)
{
    const char *at = data;
    while (n > 0) {
        ssize_t done = write(out, at, n);
        if (done < 0 && errno == EINTR) continue;
        if (done <= 0) return false;
        at += done;
        n -= (size_t)done;
    }
    return true;
}

/* 0: go on; -1 ends the visit. */
static herr_t survey_send(survey *s, const tri_h5_record *record, const void *more)
{
    if (s->n_left-- <= 0) return -1;
    bool ok = survey_write(s->out, record, sizeof *record) &&
              survey_write(s->out, more, (size_t)record->n_bytes);
    return ok ? 0 : -1;
}

static void survey_refuse(tri_h5_record *record, const char *why)
{
    if (!record->refusal[0]) snprintf(record->refusal, sizeof record->refusal, "%s", why);
}

static void survey_integer(hid_t type, tri_h5_record *record)
{
    size_t n = H5Tget_size(type);
    H5T_order_t order = H5Tget_order(type);
    bool plain = (n == 1 || n == 2 || n == 4 || n == 8) && H5Tget_offset(type) == 0 &&
                 H5Tget_precision(type) == 8 * n &&
                 (order == H5T_ORDER_LE || order == H5T_ORDER_BE);
    record->kind = plain ? TRI_H5_INTEGER : TRI_H5_OTHER;
    record->is_signed = H5Tget_sign(type) == H5T_SGN_2;
    record->is_big_endian = order == H5T_ORDER_BE;
}

static void survey_float(hid_t type, tri_h5_record *record)
{
    static const tri_dtype ours[] = {TRI_F32, TRI_BF16, TRI_F16, TRI_F64};
    record->kind = TRI_H5_FLOAT;
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++) {
        hid_t one = tri_h5_type_make(ours[i]);
        if (H5Tequal(type, one) > 0) record->dtype = (int32_t)ours[i];
        H5Tclose(one);
    }
}

static bool survey_type(hid_t type, tri_h5_record *record)
{
    if (type < 0) return false;
    H5T_class_t class = H5Tget_class(type);
    record->kind = TRI_H5_OTHER;
    record->dtype = -1;
    record->element_bytes = (int64_t)H5Tget_size(type);
    if (class == H5T_INTEGER) survey_integer(type, record);
    if (class == H5T_FLOAT) survey_float(type, record);
    if (class == H5T_STRING && H5Tis_variable_str(type) == 0) record->kind = TRI_H5_TEXT;
    return record->element_bytes > 0;
}

static bool survey_space(hid_t space, tri_h5_record *record)
{
    hsize_t dims[H5S_MAX_RANK];
    int n = space < 0 ? -1 : H5Sget_simple_extent_ndims(space);
    if (n < 0 || n > H5S_MAX_RANK || H5Sget_simple_extent_type(space) == H5S_NULL) return false;
    if (n > 0 && H5Sget_simple_extent_dims(space, dims, NULL) < 0) return false;
    record->n_dims = n;
    for (int d = 0; d < n && n <= TRI_MAX_DIMS; d++)
        record->shape[d] = dims[d] <= INT64_MAX ? (int64_t)dims[d] : -1;
    return true;
}

/* Where the chunks are, in row-major order; their number, 0 after a refusal. */
static int64_t survey_chunks(const survey *s, hid_t dataset, hid_t space, tri_h5_record *record,
                             tri_h5_chunk chunks[TRI_H5_MAX_CHUNKS])
{
    int64_t grid[TRI_MAX_DIMS] = {0};
    int64_t want = 1;
    for (int d = 0; d < record->n_dims; d++) {
        grid[d] = (record->shape[d] + record->chunk[d] - 1) / record->chunk[d];
        if (grid[d] > TRI_H5_MAX_CHUNKS) grid[d] = TRI_H5_MAX_CHUNKS + 1;
        want = tri_min64(want * grid[d], TRI_H5_MAX_CHUNKS + 1);
    }
    hsize_t n = 0;
    if (want > TRI_H5_MAX_CHUNKS) survey_refuse(record, "is in more chunks than can be read");
    if (s->has_user_block) survey_refuse(record, "is in chunks behind a user block");
    if (record->refusal[0]) return 0;
    if (H5Dget_num_chunks(dataset, space, &n) < 0 || (int64_t)n != want) {
        survey_refuse(record, "has chunks that were never written");
        return 0;
    }
    for (int64_t i = 0; i < want; i++)
        chunks[i] = (tri_h5_chunk){.offset = -1};
    for (hsize_t i = 0; i < n; i++) {
        hsize_t at[H5S_MAX_RANK];
        haddr_t address = HADDR_UNDEF;
        hsize_t bytes = 0;
        unsigned skipped = 0;
        int64_t index = 0;
        if (H5Dget_chunk_info(dataset, space, i, at, &skipped, &address, &bytes) < 0) break;
        for (int d = 0; d < record->n_dims; d++)
            index = index * grid[d] +
                    tri_min64((int64_t)(at[d] / (hsize_t)record->chunk[d]), grid[d] - 1);
        if (bytes <= UINT32_MAX)
            chunks[index] = (tri_h5_chunk){
                .offset = (int64_t)address, .bytes = (uint32_t)bytes, .skipped = skipped};
    }
    return want;
}

/* The filters of a dataset: each that can be undone, once. */
static void survey_filters(hid_t properties, tri_h5_record *record)
{
    unsigned options = 0;
    unsigned seen = 0;
    int n = H5Pget_nfilters(properties);
    for (int i = 0; i < n || n < 0; i++) {
        unsigned flags = 0;
        unsigned parameter = 0; /* the first one; of shuffle: the width of an element */
        size_t n_parameters = 1;
        char name[64] = "";
        H5Z_filter_t id = i >= TRI_H5_MAX_FILTERS || n < 0
                              ? H5Z_FILTER_ERROR
                              : H5Pget_filter2(properties, (unsigned)i, &flags, &n_parameters,
                                               &parameter, sizeof name, name, NULL);
        bool ok =
            (id == H5Z_FILTER_DEFLATE || id == H5Z_FILTER_SHUFFLE || id == H5Z_FILTER_FLETCHER32) &&
            !(seen >> id & 1);
        if (id == H5Z_FILTER_SHUFFLE && (n_parameters < 1 || parameter != record->element_bytes))
            ok = false;
        if (!ok) {
            survey_refuse(record,
                          "is filtered by other than deflate, shuffle, fletcher32, once each");
            return;
        }
        seen |= 1u << id;
        record->filters[record->n_filters++] = (int32_t)id;
    }
    if (n > 0 && H5Pget_layout(properties) == H5D_CHUNKED &&
        (H5Pget_chunk_opts(properties, &options) < 0 || options != 0))
        survey_refuse(record, "is compressed but for its partial chunks");
}

/* Layout: what can be read with plain reads, and why the rest cannot. */
static int64_t survey_layout(const survey *s, hid_t dataset, hid_t space, tri_h5_record *record,
                             tri_h5_chunk chunks[TRI_H5_MAX_CHUNKS])
{
    hid_t properties = H5Dget_create_plist(dataset);
    H5D_layout_t layout = properties < 0 ? H5D_LAYOUT_ERROR : H5Pget_layout(properties);
    int64_t n_chunks = 0;
    if (layout == H5D_LAYOUT_ERROR) survey_refuse(record, "has no layout that can be read");
    size_t parts = 0;
    if (layout == H5D_VIRTUAL) survey_refuse(record, "is virtual: its elements lie in other files");
    if (layout == H5D_VIRTUAL && H5Pget_virtual_count(properties, &parts) >= 0)
        record->parts = (int64_t)parts;
    if (layout == H5D_COMPACT) survey_refuse(record, "lies in its own header (compact)");
    if (properties >= 0 && H5Pget_external_count(properties) > 0)
        survey_refuse(record, "keeps its elements in other files (external)");
    if (properties >= 0 && layout == H5D_CHUNKED) survey_filters(properties, record);
    if (record->n_dims > TRI_MAX_DIMS) survey_refuse(record, "has more than four dimensions");
    hsize_t chunk[H5S_MAX_RANK];
    if (!record->refusal[0] && layout == H5D_CHUNKED) {
        bool ok = H5Pget_chunk(properties, H5S_MAX_RANK, chunk) == record->n_dims;
        for (int d = 0; ok && d < record->n_dims; d++) {
            record->chunk[d] = (int64_t)chunk[d];
            ok = chunk[d] > 0 && chunk[d] <= UINT32_MAX;
        }
        if (!ok) survey_refuse(record, "has no layout that can be read");
        if (ok) n_chunks = survey_chunks(s, dataset, space, record, chunks);
    }
    if (!record->refusal[0] && layout == H5D_CONTIGUOUS) {
        haddr_t at = H5Dget_offset(dataset);
        record->offset = at == HADDR_UNDEF ? -1 : (int64_t)at;
    }
    if (properties >= 0) H5Pclose(properties);
    return n_chunks;
}

static herr_t survey_dataset(survey *s, hid_t dataset, const char *name)
{
    tri_h5_chunk chunks[TRI_H5_MAX_CHUNKS];
    tri_h5_record record = {.offset = -1};
    snprintf(record.object, sizeof record.object, "%s", name);
    hid_t type = H5Dget_type(dataset);
    hid_t space = H5Dget_space(dataset);
    if (!survey_type(type, &record) || !survey_space(space, &record))
        survey_refuse(&record, "has no type or shape that can be read");
    int64_t n = survey_layout(s, dataset, space, &record, chunks);
    record.n_bytes = n * (int64_t)sizeof *chunks;
    if (space >= 0) H5Sclose(space);
    if (type >= 0) H5Tclose(type);
    return survey_send(s, &record, chunks);
}

typedef struct survey_object {
    survey *survey;
    const char *name;
} survey_object;

static herr_t survey_attribute(hid_t object, const char *name, const H5A_info_t *info, void *arg)
{
    (void)info;
    survey_object *of = arg;
    if (strlen(name) >= TRI_H5_NAME_BYTES) return 0;
    hid_t attribute = H5Aopen(object, name, H5P_DEFAULT);
    if (attribute < 0) return 0;
    hid_t type = H5Aget_type(attribute);
    hid_t space = H5Aget_space(attribute);
    char value[TRI_H5_VALUE_BYTES];
    tri_h5_record record = {.n_bytes = 0};
    snprintf(record.object, sizeof record.object, "%s", of->name);
    snprintf(record.attribute, sizeof record.attribute, "%s", name);
    bool ok = survey_type(type, &record) && survey_space(space, &record);
    hssize_t n = ok ? H5Sget_simple_extent_npoints(space) : -1;
    bool is_integer = record.kind == TRI_H5_INTEGER;
    if (is_integer) record.element_bytes = (int64_t)sizeof(int64_t);
    ok = ok && (is_integer || record.kind == TRI_H5_TEXT) && n > 0 && n <= TRI_H5_VALUE_BYTES &&
         record.element_bytes <= TRI_H5_VALUE_BYTES / n;
    if (ok && H5Aread(attribute, is_integer ? H5T_NATIVE_INT64 : type, value) >= 0) {
        record.n_bytes = n * record.element_bytes;
        (void)survey_send(of->survey, &record, value);
    }
    if (space >= 0) H5Sclose(space);
    if (type >= 0) H5Tclose(type);
    H5Aclose(attribute);
    return 0;
}

static void survey_attributes(survey *s, hid_t object, const char *name)
{
    survey_object of = {.survey = s, .name = name};
    H5Aiterate2(object, H5_INDEX_NAME, H5_ITER_INC, NULL, survey_attribute, &of);
}

/* Links within the file alone: soft and external ones are not followed. */
static herr_t survey_visit(hid_t root, const char *name, const survey_link *link, void *arg)
{
    survey *s = arg;
    if (link->type != H5L_TYPE_HARD || strlen(name) >= TRI_H5_NAME_BYTES) return 0;
    hid_t object = H5Oopen(root, name, H5P_DEFAULT);
    if (object < 0) return 0;
    herr_t rc = H5Iget_type(object) == H5I_DATASET ? survey_dataset(s, object, name) : 0;
    survey_attributes(s, object, name);
    H5Oclose(object);
    return rc;
}

/* Memory and time of the child; faults end it at once and silently, whatever MPI had in mind. */
static void survey_confine(int64_t file_bytes)
{
    static const int faults[] = {SIGSEGV, SIGBUS,  SIGABRT, SIGFPE,
                                 SIGILL,  SIGXCPU, SIGTERM, SIGINT};
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
        signal(faults[i], SIG_DFL);
    signal(SIGPIPE, SIG_IGN);
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0); /* nobody would end it if it stood still */
    int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (nowhere >= 0) dup2(nowhere, 2);
    struct rlimit none = {.rlim_cur = 0, .rlim_max = 0};
    setrlimit(RLIMIT_CORE, &none);
    struct rlimit time = {.rlim_cur = SURVEY_CPU_S, .rlim_max = SURVEY_CPU_S + 1};
    setrlimit(RLIMIT_CPU, &time);
    char text[64] = "";
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    long long pages = 0;
    if (fd >= 0 && read(fd, text, sizeof text - 1) > 0) pages = strtoll(text, NULL, 10);
    if (fd >= 0) close(fd);
    if (pages <= 0) return;
    rlim_t most = (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE) + SURVEY_MEMORY_BYTES +
                  (rlim_t)tri_min64(file_bytes, 1 << 30);
    struct rlimit memory = {.rlim_cur = most, .rlim_max = most};
    setrlimit(RLIMIT_AS, &memory);
}

static herr_t survey_cause(unsigned n, const H5E_error2_t *error, void *arg)
{
    if (n == 0) snprintf(arg, 96, "%s", error->desc ? error->desc : "");
    return 0;
}

static void survey_run(int file, int64_t file_bytes, int out)
{
    char path[64];
    survey s = {
        .out = out, .file_bytes = file_bytes, .n_left = 64 + file_bytes / SURVEY_OBJECT_BYTES};
    tri_h5_record end = {.is_end = true};
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    hid_t access = H5Pcreate(H5P_FILE_ACCESS);
#if H5_VERSION_GE(1, 10, 7)
    H5Pset_file_locking(access, 0, 1); /* who reads does not wait for who writes */
#endif
    s.file = H5Fopen(path, H5F_ACC_RDONLY, access);
    if (s.file < 0) {
        H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, survey_cause, end.refusal);
        if (!end.refusal[0]) survey_refuse(&end, "no reason given");
    } else {
        hsize_t user = 0;
        hid_t properties = H5Fget_create_plist(s.file);
        s.has_user_block = properties < 0 || H5Pget_userblock(properties, &user) < 0 || user > 0;
        survey_attributes(&s, s.file, "");
        if (SURVEY_VISIT(s.file, H5_INDEX_NAME, H5_ITER_INC, survey_visit, &s) < 0)
            survey_refuse(&end,
                          "its groups cannot be read, or are more than its size has room for");
    }
    survey_write(out, &end, sizeof end);
}

tri_status tri_h5_survey_start(int file, int64_t file_bytes, int *out, int *child)
{
    int ends[2];
    TRI_TRY(TRI_SYS(pipe2(ends, O_CLOEXEC), "making a pipe to read an HDF5 file"));
    pid_t pid = fork();
    if (pid == 0) {
        survey_confine(file_bytes);
        survey_run(file, file_bytes, ends[1]);
        _exit(0);
    }
    int why = errno;
    close(ends[1]);
    if (pid < 0) close(ends[0]);
    errno = why;
    TRI_TRY(TRI_SYS(pid, "making a process to read an HDF5 file"));
    *out = ends[0];
    *child = pid;
    return TRI_OK;
}
